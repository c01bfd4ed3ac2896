/* A string that grows. Always ends with a NUL that `length` does not count. */
#ifndef SATCHEL_STRBUF_H
#define SATCHEL_STRBUF_H

#include <stdarg.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct strbuf {
    char *text;
    size_t length;
    size_t capacity;
};

#define STRBUF_EMPTY {NULL, 0, 0}

void strbuf_free(struct strbuf *buf);
void strbuf_clear(struct strbuf *buf);
void strbuf_add(struct strbuf *buf, const char *bytes, size_t count);
void strbuf_put(struct strbuf *buf, char c);
void strbuf_puts(struct strbuf *buf, const char *text);
void strbuf_repeat(struct strbuf *buf, char c, size_t count);
void strbuf_trim_end(struct strbuf *buf);
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void strbuf_printf(struct strbuf *buf, const char *format, ...);

/* The text, also when nothing was ever added. */
const char *strbuf_text(const struct strbuf *buf);

#ifdef __cplusplus
}
#endif

#endif
