/* Reads comma-separated values with quoted fields, and writes them back. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "satchel/check.h"
#include "satchel/strbuf.h"

enum { FIELDS_MAX = 16 };

struct row {
    struct strbuf fields[FIELDS_MAX];
    size_t count;
};

static void row_free(struct row *row)
{
    for (size_t i = 0; i < FIELDS_MAX; i++)
        strbuf_free(&row->fields[i]);
    row->count = 0;
}

/* Reads a quoted field from just after its opening quote; returns the place after the closing one, or NULL. */
static const char *read_quoted(struct strbuf *field, const char *at)
{
    for (;;) {
        if (*at == '\0')
            return NULL;
        if (*at == '"') {
            if (at[1] != '"')
                return at + 1;
            at++;
        }
        strbuf_put(field, *at++);
    }
}

/* Reads one row; returns where the next one begins, or NULL when this one is malformed. */
static const char *row_read(struct row *row, const char *at)
{
    row->count = 0;
    for (;;) {
        if (row->count == FIELDS_MAX)
            return NULL;
        struct strbuf *field = &row->fields[row->count++];
        strbuf_clear(field);
        if (*at == '"') {
            at = read_quoted(field, at + 1);
            if (!at)
                return NULL;
        } else {
            size_t length = strcspn(at, ",\"\n");
            strbuf_add(field, at, length);
            at += length;
        }
        switch (*at) {
        case ',':
            at++;
            continue;
        case '\n':
            at++;
            /* fallthrough */
        case '\0':
            return at;
        default:
            return NULL;
        }
    }
}

static void row_write(struct strbuf *out, const struct row *row)
{
    for (size_t i = 0; i < row->count; i++) {
        const char *text = strbuf_text(&row->fields[i]);
        if (i > 0)
            strbuf_put(out, ',');
        if (!text[strcspn(text, ",\"\n")]) {
            strbuf_puts(out, text);
            continue;
        }
        strbuf_put(out, '"');
        for (; *text; text++) {
            if (*text == '"')
                strbuf_put(out, '"');
            strbuf_put(out, *text);
        }
        strbuf_put(out, '"');
    }
    strbuf_put(out, '\n');
}

void csv_check(struct check *check)
{
    const char *source = "name,price,remark\n"
                         "\"bolt, small\",0.05,\n"
                         "nut,\"0.04\",\"fits the \"\"bolt\"\"\nand nothing else\"\n";
    struct row row = {0};
    struct strbuf again = STRBUF_EMPTY;
    double total = 0;
    size_t rows = 0;
    for (const char *at = source; *at; rows++) {
        at = row_read(&row, at);
        if (!at)
            break;
        CHECK(row.count == 3);
        total += strtod(strbuf_text(&row.fields[1]), NULL);
        row_write(&again, &row);
    }
    CHECK(rows == 3);
    CHECK(total > 0.0899 && total < 0.0901);
    CHECK_TEXT(strbuf_text(&again), "name,price,remark\n\"bolt, small\",0.05,\n"
                                    "nut,0.04,\"fits the \"\"bolt\"\"\nand nothing else\"\n");
    static const char *const malformed[] = {"\"open", "a\"b,c", "\"a\"b", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17"};
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++)
        CHECK(row_read(&row, malformed[i]) == NULL);
    row_free(&row);
    strbuf_free(&again);
}
