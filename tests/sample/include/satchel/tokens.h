/* Splits a line of a small expression language into tokens. */
#ifndef SATCHEL_TOKENS_H
#define SATCHEL_TOKENS_H

#include <stddef.h>

enum token_kind {
    TOKEN_END,
    TOKEN_NUMBER,
    TOKEN_NAME,
    TOKEN_STRING,
    TOKEN_OPERATOR,
    TOKEN_BAD,
};

struct token {
    enum token_kind kind;
    const char *start;
    size_t length;
    double number; /* of a TOKEN_NUMBER */
};

/* The token at *line, which moves past it. At the end of the line it is TOKEN_END, again and again. */
struct token token_next(const char **line);
int token_is(const struct token *token, const char *text);

#endif
