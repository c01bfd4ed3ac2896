/* Shell patterns: `*`, `?`, `[a-z]`, `[!a-z]` and backslash. */
#include <stddef.h>
#include <string.h>

#include "satchel/check.h"

static const char *skip_class(const char *at)
{
    at++;
    if (*at == '!')
        at++;
    if (*at == ']')
        at++;
    while (*at && *at != ']')
        at++;
    return *at == ']' ? at + 1 : NULL;
}

static bool class_has(const char *at, unsigned char c)
{
    bool negated = *++at == '!';
    bool found = false;
    if (negated)
        at++;
    const char *first = at;
    while (at == first || *at != ']') {
        unsigned char low = (unsigned char)*at, high = low;
        if (at[1] == '-' && at[2] != ']') {
            high = (unsigned char)at[2];
            at += 2;
        }
        found |= low <= c && c <= high;
        at++;
    }
    return found != negated;
}

/* Whether the pattern's first element takes c; *rest is the pattern after that element. */
static bool takes(const char *pattern, char c, const char **rest)
{
    const char *after;
    switch (*pattern) {
    case '?':
        *rest = pattern + 1;
        return true;
    case '[':
        after = skip_class(pattern);
        if (after) {
            *rest = after;
            return class_has(pattern, (unsigned char)c);
        }
        *rest = pattern + 1;
        return c == '[';
    case '\\':
        if (pattern[1])
            pattern++;
        /* fallthrough */
    default:
        *rest = pattern + 1;
        return *pattern == c;
    }
}

static bool glob_matches(const char *pattern, const char *text)
{
    const char *star = NULL, *resume = NULL;
    for (;;) {
        const char *rest;
        if (*pattern == '*') {
            star = ++pattern;
            resume = text;
        } else if (*text == '\0' && *pattern == '\0') {
            return true;
        } else if (*text && *pattern && takes(pattern, *text, &rest)) {
            pattern = rest;
            text++;
        } else if (star && *resume) {
            pattern = star;
            text = ++resume;
        } else {
            return false;
        }
    }
}

void glob_check(struct check *check)
{
    static const struct {
        const char *pattern;
        const char *text;
        bool expected;
    } cases[] = {
        {"", "", true},
        {"*", "", true},
        {"*.c", "main.c", true},
        {"*.c", "main.cpp", false},
        {"a*b*c", "a-bb-b-c", true},
        {"a*b*c", "a-bb-b-d", false},
        {"?at", "cat", true},
        {"?at", "at", false},
        {"[a-cx]*", "box", true},
        {"[!a-c]*", "box", false},
        {"[]]", "]", true},
        {"[open", "[open", true},
        {"\\*", "*", true},
        {"\\*", "x", false},
        {"a\\", "a\\", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK(glob_matches(cases[i].pattern, cases[i].text) == cases[i].expected);
    char slow[64];
    memset(slow, 'a', sizeof slow - 1);
    slow[sizeof slow - 1] = '\0';
    CHECK(!glob_matches("*a*a*a*a*a*a*a*b", slow));
}
