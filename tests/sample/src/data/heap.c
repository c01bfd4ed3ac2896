/* A binary heap as the queue of a small simulation: the counters of a post office. */
#include <stddef.h>

#include "satchel/check.h"
#include "satchel/prng.h"

enum { EVENTS_MAX = 256 };

enum event_kind { EVENT_ARRIVAL, EVENT_DEPARTURE, EVENT_CLOSING };

struct event {
    double time;
    enum event_kind kind;
};

struct queue {
    struct event events[EVENTS_MAX];
    size_t count;
};

static void swap(struct event *a, struct event *b)
{
    struct event kept = *a;
    *a = *b;
    *b = kept;
}

static bool push(struct queue *queue, struct event event)
{
    if (queue->count == EVENTS_MAX)
        return false;
    size_t at = queue->count++;
    queue->events[at] = event;
    for (; at > 0; at = (at - 1) / 2) {
        size_t parent = (at - 1) / 2;
        if (queue->events[parent].time <= queue->events[at].time)
            break;
        swap(&queue->events[parent], &queue->events[at]);
    }
    return true;
}

static struct event pop(struct queue *queue)
{
    struct event first = queue->events[0];
    queue->events[0] = queue->events[--queue->count];
    for (size_t at = 0;;) {
        size_t least = at, left = 2 * at + 1;
        for (size_t child = left; child < left + 2 && child < queue->count; child++)
            if (queue->events[child].time < queue->events[least].time)
                least = child;
        if (least == at)
            return first;
        swap(&queue->events[least], &queue->events[at]);
        at = least;
    }
}

struct office {
    struct queue queue;
    struct prng prng;
    unsigned counters, busy, waiting, served, longest_line;
    bool open;
};

static void serve(struct office *office, double now)
{
    office->busy++;
    push(&office->queue, (struct event){now + 1 + 4 * prng_unit(&office->prng), EVENT_DEPARTURE});
}

static double run(struct office *office, double closing_time)
{
    double now = 0;
    office->open = true;
    push(&office->queue, (struct event){0, EVENT_ARRIVAL});
    push(&office->queue, (struct event){closing_time, EVENT_CLOSING});
    while (office->queue.count) {
        struct event event = pop(&office->queue);
        now = event.time;
        switch (event.kind) {
        case EVENT_ARRIVAL:
            if (!office->open)
                break;
            push(&office->queue, (struct event){now + 2 * prng_unit(&office->prng), EVENT_ARRIVAL});
            if (office->busy < office->counters)
                serve(office, now);
            else if (++office->waiting > office->longest_line)
                office->longest_line = office->waiting;
            break;
        case EVENT_DEPARTURE:
            office->busy--;
            office->served++;
            if (office->waiting) {
                office->waiting--;
                serve(office, now);
            }
            break;
        case EVENT_CLOSING:
            office->open = false;
            break;
        }
    }
    return now;
}

void heap_check(struct check *check)
{
    struct queue queue = {.count = 0};
    struct prng prng;
    prng_seed(&prng, SATCHEL_SEED);
    for (int i = 0; i < EVENTS_MAX; i++)
        CHECK(push(&queue, (struct event){prng_unit(&prng), EVENT_ARRIVAL}));
    CHECK(!push(&queue, (struct event){0, EVENT_ARRIVAL}));
    bool ordered = true;
    for (double last = -1; queue.count;) {
        double time = pop(&queue).time;
        ordered = ordered && time >= last;
        last = time;
    }
    CHECK(ordered);

    struct office few = {.counters = 2}, many = {.counters = 12};
    prng_seed(&few.prng, 1);
    prng_seed(&many.prng, 1);
    double few_end = run(&few, 120), many_end = run(&many, 120);
    CHECK(few.longest_line > 20 && many.longest_line == 0);
    CHECK(few_end > 150 && many_end >= 120 && many_end < 126);
    CHECK(few.busy == 0 && few.waiting == 0 && few.served > 80 && many.served > 80);
}
