/* Where the claims of all modules are counted and the false ones are shown. */
#include "satchel/check.h"

#include <stdio.h>
#include <string.h>

enum { REPORTED_MAX = 5, CONTEXT = 24 };

static bool may_report(const struct check *check)
{
    if (check->failed == REPORTED_MAX + 1)
        fprintf(stderr, "%s: more claims do not hold\n", check->module);
    return check->failed <= REPORTED_MAX;
}

/* Shows a piece of text on one line, with what is not printable in C's notation. */
static void show(const char *label, const char *text, size_t from)
{
    size_t length = strlen(text);
    fprintf(stderr, "    %-9s\"", label);
    for (size_t i = from; i < length && i < from + 2 * CONTEXT; i++) {
        unsigned char c = (unsigned char)text[i];
        switch (c) {
        case '\n':
            fputs("\\n", stderr);
            break;
        case '"':
        case '\\':
            fputc('\\', stderr);
            /* fallthrough */
        default:
            if (c < ' ' || c > '~')
                fprintf(stderr, "\\%03o", c);
            else
                fputc(c, stderr);
        }
    }
    fputs("\"\n", stderr);
}

void check_that(struct check *check, bool holds, const char *claim, const char *file, int line)
{
    check->made++;
    if (holds)
        return;
    check->failed++;
    if (may_report(check))
        fprintf(stderr, "%s:%d: %s: does not hold: %s\n", file, line, check->module, claim);
}

void check_text(struct check *check, const char *got, const char *expected, const char *file, int line)
{
    check->made++;
    if (strcmp(got, expected) == 0)
        return;
    check->failed++;
    if (!may_report(check))
        return;
    size_t same = 0;
    while (got[same] == expected[same])
        same++;
    fprintf(stderr, "%s:%d: %s: texts differ from byte %zu on\n", file, line, check->module, same);
    size_t from = same > CONTEXT ? same - CONTEXT : 0;
    show("got", got, from);
    show("expected", expected, from);
}
