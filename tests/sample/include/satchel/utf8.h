/* UTF-8 in both directions. */
#ifndef SATCHEL_UTF8_H
#define SATCHEL_UTF8_H

#include <stddef.h>
#include <stdint.h>

#define UTF8_BAD 0xFFFFFFFFu

/* Decodes the code point at *text and moves past it. A malformed byte gives UTF8_BAD and is skipped alone. */
uint32_t utf8_next(const char **text);
/* Writes one to four bytes; returns how many, 0 for a number that is no code point. */
size_t utf8_encode(uint32_t point, char bytes[4]);
/* Columns the text takes on a terminal: wide East Asian characters count twice, combining marks not at all. */
size_t utf8_columns(const char *text);

#endif
