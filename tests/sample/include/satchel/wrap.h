#ifndef SATCHEL_WRAP_H
#define SATCHEL_WRAP_H

#include "satchel/strbuf.h"

/* Appends the words of `text` in lines of at most `width` bytes, each after `indent` blanks. A longer word
   stands alone on its line. */
void wrap_paragraph(struct strbuf *out, const char *text, size_t width, size_t indent);

#endif
