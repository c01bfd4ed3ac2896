#include "satchel/tokens.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "satchel/check.h"

static const char *const operators[] = {"**", "<=", ">=", "==", "!=", "&&", "||", "<<", ">>"};

static size_t operator_length(const char *text)
{
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++)
        if (strncmp(text, operators[i], 2) == 0)
            return 2;
    return strchr("+-*/%^()<>=!,?:&|~", *text) ? 1 : 0;
}

static size_t name_length(const char *text)
{
    size_t length = 0;
    while (isalnum((unsigned char)text[length]) || text[length] == '_')
        length++;
    return length;
}

static size_t string_length(const char *text)
{
    size_t length = 1;
    while (text[length] && text[length] != '"')
        length += text[length] == '\\' && text[length + 1] ? 2 : 1;
    return text[length] == '"' ? length + 1 : 0;
}

struct token token_next(const char **line)
{
    while (isspace((unsigned char)**line))
        ++*line;
    struct token token = {TOKEN_END, *line, 0, 0};
    unsigned char first = (unsigned char)**line;
    if (first == '\0' || first == '#')
        return token;
    if (isdigit(first) || (first == '.' && isdigit((unsigned char)(*line)[1]))) {
        char *end;
        token.number = strtod(*line, &end);
        token.kind = TOKEN_NUMBER;
        token.length = (size_t)(end - *line);
    } else if (isalpha(first) || first == '_') {
        token.kind = TOKEN_NAME;
        token.length = name_length(*line);
    } else if (first == '"') {
        token.length = string_length(*line);
        token.kind = TOKEN_STRING;
    } else {
        token.length = operator_length(*line);
        token.kind = TOKEN_OPERATOR;
    }
    if (token.length == 0) {
        token.kind = TOKEN_BAD;
        token.length = 1;
    }
    *line += token.length;
    return token;
}

int token_is(const struct token *token, const char *text)
{
    return strlen(text) == token->length && memcmp(text, token->start, token->length) == 0;
}

void tokens_check(struct check *check)
{
    static const struct {
        enum token_kind kind;
        const char *text;
    } expected[] = {
        {TOKEN_NAME, "rate_2"},     {TOKEN_OPERATOR, "<="},   {TOKEN_NUMBER, "3.5e2"}, {TOKEN_OPERATOR, "&&"},
        {TOKEN_OPERATOR, "!"},      {TOKEN_OPERATOR, "("},    {TOKEN_NAME, "x"},       {TOKEN_OPERATOR, "**"},
        {TOKEN_NUMBER, ".5"},       {TOKEN_OPERATOR, ")"},    {TOKEN_OPERATOR, "+"},   {TOKEN_STRING, "\"a \\\" b\""},
        {TOKEN_BAD, "@"},           {TOKEN_END, ""},          {TOKEN_END, ""},
    };
    const char *line = " rate_2<=3.5e2 && !(x**.5)+\"a \\\" b\" @ # the rest is a comment";
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        struct token token = token_next(&line);
        CHECK(token.kind == expected[i].kind);
        CHECK(token_is(&token, expected[i].text));
    }
    line = "\"never closed";
    CHECK(token_next(&line).kind == TOKEN_BAD);
    line = "0.25";
    CHECK(token_next(&line).number == 0.25);
}
