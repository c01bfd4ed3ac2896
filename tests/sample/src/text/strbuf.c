#include "satchel/strbuf.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "satchel/check.h"

enum { SMALLEST = 32 };

static void reserve(struct strbuf *buf, size_t more)
{
    size_t wanted = buf->length + more + 1;
    if (wanted <= buf->capacity)
        return;
    size_t capacity = buf->capacity ? buf->capacity : SMALLEST;
    while (capacity < wanted)
        capacity *= 2;
    char *text = realloc(buf->text, capacity);
    if (!text) {
        fputs("satchel: out of memory\n", stderr);
        abort();
    }
    buf->text = text;
    buf->capacity = capacity;
}

void strbuf_free(struct strbuf *buf)
{
    free(buf->text);
    buf->text = NULL;
    buf->length = buf->capacity = 0;
}

void strbuf_clear(struct strbuf *buf)
{
    buf->length = 0;
    if (buf->text)
        buf->text[0] = '\0';
}

void strbuf_add(struct strbuf *buf, const char *bytes, size_t count)
{
    reserve(buf, count);
    if (count)
        memcpy(buf->text + buf->length, bytes, count);
    buf->length += count;
    buf->text[buf->length] = '\0';
}

void strbuf_put(struct strbuf *buf, char c)
{
    strbuf_add(buf, &c, 1);
}

void strbuf_puts(struct strbuf *buf, const char *text)
{
    strbuf_add(buf, text, strlen(text));
}

void strbuf_repeat(struct strbuf *buf, char c, size_t count)
{
    reserve(buf, count);
    memset(buf->text + buf->length, c, count);
    buf->length += count;
    buf->text[buf->length] = '\0';
}

void strbuf_trim_end(struct strbuf *buf)
{
    while (buf->length && isspace((unsigned char)buf->text[buf->length - 1]))
        buf->text[--buf->length] = '\0';
}

void strbuf_printf(struct strbuf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int needed = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (needed < 0)
        return;
    reserve(buf, (size_t)needed);
    va_start(args, format);
    vsnprintf(buf->text + buf->length, (size_t)needed + 1, format, args);
    va_end(args);
    buf->length += (size_t)needed;
}

const char *strbuf_text(const struct strbuf *buf)
{
    return buf->text ? buf->text : "";
}

void strbuf_check(struct check *check)
{
    struct strbuf buf = STRBUF_EMPTY;
    CHECK_TEXT(strbuf_text(&buf), "");
    strbuf_puts(&buf, "one");
    strbuf_put(&buf, ',');
    strbuf_printf(&buf, " %d and %s", 2, "three");
    CHECK_TEXT(strbuf_text(&buf), "one, 2 and three");
    strbuf_repeat(&buf, ' ', 100);
    CHECK(buf.length == 116 && buf.capacity > 116);
    strbuf_trim_end(&buf);
    CHECK(buf.length == 16);
    strbuf_clear(&buf);
    CHECK(buf.length == 0 && strbuf_text(&buf)[0] == '\0');
    strbuf_free(&buf);
    CHECK(buf.text == NULL);
}
