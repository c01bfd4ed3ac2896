/* Three ways to sort, checked against each other: insertion, merge (stable) and quick with three parts. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "satchel/check.h"
#include "satchel/prng.h"

enum { SMALL = 12 };

struct record {
    uint32_t key;
    uint32_t place; /* where it was before */
};

static void insertion_sort(struct record *records, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct record moving = records[i];
        size_t hole = i;
        for (; hole > 0 && records[hole - 1].key > moving.key; hole--)
            records[hole] = records[hole - 1];
        records[hole] = moving;
    }
}

static void merge_sort(struct record *records, size_t count, struct record *spare)
{
    if (count <= SMALL) {
        insertion_sort(records, count);
        return;
    }
    size_t half = count / 2;
    merge_sort(records, half, spare);
    merge_sort(records + half, count - half, spare);
    memcpy(spare, records, half * sizeof *records);
    size_t left = 0, right = half, out = 0;
    while (left < half) {
        if (right < count && records[right].key < spare[left].key)
            records[out++] = records[right++];
        else
            records[out++] = spare[left++];
    }
}

static void swap(struct record *a, struct record *b)
{
    struct record kept = *a;
    *a = *b;
    *b = kept;
}

static uint32_t median(uint32_t a, uint32_t b, uint32_t c)
{
    if (a > b)
        return b > c ? b : a > c ? c : a;
    return a > c ? a : b > c ? c : b;
}

static void quick_sort(struct record *records, size_t count)
{
    while (count > SMALL) {
        uint32_t pivot = median(records[0].key, records[count / 2].key, records[count - 1].key);
        size_t less = 0, at = 0, more = count;
        while (at < more) {
            if (records[at].key < pivot)
                swap(&records[less++], &records[at++]);
            else if (records[at].key > pivot)
                swap(&records[at], &records[--more]);
            else
                at++;
        }
        /* Recurse into the smaller part, so that the stack stays shallow. */
        if (less < count - more) {
            quick_sort(records, less);
            records += more;
            count -= more;
        } else {
            quick_sort(records + more, count - more);
            count = less;
        }
    }
    insertion_sort(records, count);
}

static void fill(struct record *records, size_t count, uint32_t different_keys)
{
    struct prng prng;
    prng_seed(&prng, SATCHEL_SEED + count);
    for (size_t i = 0; i < count; i++)
        records[i] = (struct record){(uint32_t)prng_below(&prng, different_keys), (uint32_t)i};
}

void sort_check(struct check *check)
{
    enum { MOST = 5000 };
    static const size_t counts[] = {0, 1, 2, SMALL, SMALL + 1, 100, MOST};
    struct record *merged = calloc(2 * MOST, sizeof *merged), *quick = calloc(MOST, sizeof *quick);
    if (!merged || !quick)
        abort();
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        for (uint32_t keys = 1; keys <= 100000; keys *= 10) {
            size_t count = counts[c];
            fill(merged, count, keys);
            fill(quick, count, keys);
            merge_sort(merged, count, merged + MOST);
            quick_sort(quick, count);
            bool ordered = true, agree = true;
            for (size_t i = 0; i < count; i++) {
                agree = agree && merged[i].key == quick[i].key;
                if (i > 0 && merged[i].key == merged[i - 1].key)
                    ordered = ordered && merged[i - 1].place < merged[i].place;
                else if (i > 0)
                    ordered = ordered && merged[i - 1].key < merged[i].key;
            }
            CHECK(ordered);
            CHECK(agree);
        }
    }
    free(merged);
    free(quick);
}
