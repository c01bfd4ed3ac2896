/* Lays out a paragraph in lines whose raggedness, summed as squares, is the least possible. */
#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "satchel/check.h"
#include "satchel/strbuf.h"
#include "satchel/wrap.h"

enum { WORDS_MAX = 4096 };

struct word {
    const char *start;
    size_t length;
};

static size_t split(const char *text, struct word *words)
{
    size_t count = 0;
    while (count < WORDS_MAX) {
        while (isspace((unsigned char)*text))
            text++;
        if (!*text)
            break;
        const char *start = text;
        while (*text && !isspace((unsigned char)*text))
            text++;
        words[count++] = (struct word){start, (size_t)(text - start)};
    }
    return count;
}

/* best[i]: the least cost of laying out the words from i on; next[i]: where the second of those lines begins. */
static void choose_breaks(const struct word *words, size_t count, size_t width, uint64_t *best, size_t *next)
{
    best[count] = 0;
    for (size_t i = count; i-- > 0;) {
        best[i] = UINT64_MAX;
        size_t used = 0;
        for (size_t j = i; j < count; j++) {
            used += words[j].length + (j > i);
            if (used > width && j > i)
                break;
            uint64_t slack = used < width ? width - used : 0;
            uint64_t cost = (j + 1 == count ? 0 : slack * slack) + best[j + 1];
            if (cost < best[i]) {
                best[i] = cost;
                next[i] = j + 1;
            }
        }
    }
}

void wrap_paragraph(struct strbuf *out, const char *text, size_t width, size_t indent)
{
    struct word *words = calloc(WORDS_MAX, sizeof *words);
    uint64_t *best = calloc(WORDS_MAX + 1, sizeof *best);
    size_t *next = calloc(WORDS_MAX + 1, sizeof *next);
    if (!words || !best || !next)
        abort();
    size_t count = split(text, words);
    choose_breaks(words, count, width > indent ? width - indent : 1, best, next);
    for (size_t line = 0; line < count; line = next[line]) {
        strbuf_repeat(out, ' ', indent);
        for (size_t i = line; i < next[line]; i++) {
            if (i > line)
                strbuf_put(out, ' ');
            strbuf_add(out, words[i].start, words[i].length);
        }
        strbuf_put(out, '\n');
    }
    free(words);
    free(best);
    free(next);
}

void wrap_check(struct check *check)
{
    static const struct {
        const char *text;
        size_t width;
        size_t indent;
        const char *expected;
    } cases[] = {
        {"", 20, 0, ""},
        {"  one\n two ", 20, 2, "  one two\n"},
        /* A greedy layout would leave "bbb cc" and a lonely line. */
        {"aaa bb cc ddddd", 6, 0, "aaa\nbb cc\nddddd\n"},
        {"unbreakable-word here", 5, 0, "unbreakable-word\nhere\n"},
        {"to be or not to be that is the question", 16, 4,
         "    to be or\n    not to be\n    that is the\n    question\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct strbuf out = STRBUF_EMPTY;
        wrap_paragraph(&out, cases[i].text, cases[i].width, cases[i].indent);
        CHECK_TEXT(strbuf_text(&out), cases[i].expected);
        strbuf_free(&out);
    }
}
