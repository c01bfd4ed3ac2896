/* Evaluates arithmetic with variables and functions, by precedence climbing. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "satchel/check.h"
#include "satchel/table.h"
#include "satchel/tokens.h"

enum { DEPTH_MAX = 64 };

struct reader {
    const char *rest;
    struct token token;
    struct table *variables;
    const char *problem; /* the first one, or NULL */
    unsigned depth;
};

struct operator {
    const char *text;
    int strength;
    bool from_right;
};

static const struct operator operators[] = {
    {"||", 1, false}, {"&&", 2, false}, {"==", 3, false}, {"!=", 3, false}, {"<", 4, false},  {"<=", 4, false},
    {">", 4, false},  {">=", 4, false}, {"+", 5, false},  {"-", 5, false},  {"*", 6, false},  {"/", 6, false},
    {"%", 6, false},  {"**", 8, true},  {"^", 8, true},
};

enum { UNARY_STRENGTH = 7 };

static const struct {
    const char *name;
    double (*call)(double);
} functions[] = {{"sqrt", sqrt}, {"sin", sin}, {"cos", cos}, {"exp", exp}, {"log", log}, {"abs", fabs}, {"floor", floor}};

static double fail(struct reader *reader, const char *problem)
{
    if (!reader->problem)
        reader->problem = problem;
    return 0;
}

static void advance(struct reader *reader)
{
    reader->token = token_next(&reader->rest);
}

static bool take(struct reader *reader, const char *text)
{
    bool there = reader->token.kind == TOKEN_OPERATOR && token_is(&reader->token, text);
    if (there)
        advance(reader);
    return there;
}

static double expression(struct reader *reader, int weakest);

static double parenthesised(struct reader *reader)
{
    double value = expression(reader, 1);
    return take(reader, ")") ? value : fail(reader, "missing )");
}

static double named(struct reader *reader)
{
    struct token name = reader->token;
    advance(reader);
    if (!take(reader, "(")) {
        const double *value = table_get(reader->variables, name.start, name.length);
        return value ? *value : fail(reader, "unknown variable");
    }
    double argument = parenthesised(reader);
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (token_is(&name, functions[i].name))
            return functions[i].call(argument);
    return fail(reader, "unknown function");
}

static double operand(struct reader *reader)
{
    double value;
    switch (reader->token.kind) {
    case TOKEN_NUMBER:
        value = reader->token.number;
        advance(reader);
        return value;
    case TOKEN_NAME:
        return named(reader);
    case TOKEN_OPERATOR:
        if (take(reader, "("))
            return parenthesised(reader);
        if (take(reader, "-"))
            return -expression(reader, UNARY_STRENGTH);
        if (take(reader, "!"))
            return expression(reader, UNARY_STRENGTH) == 0;
        /* fallthrough */
    default:
        return fail(reader, "a value is missing");
    }
}

static double combine(struct reader *reader, const char *with, double a, double b)
{
    switch (with[0]) {
    case '+':
        return a + b;
    case '-':
        return a - b;
    case '/':
        return b != 0 ? a / b : fail(reader, "division by zero");
    case '%':
        return b != 0 ? fmod(a, b) : fail(reader, "division by zero");
    case '<':
        return with[1] ? a <= b : a < b;
    case '>':
        return with[1] ? a >= b : a > b;
    case '=':
        return a == b;
    case '!':
        return a != b;
    case '&':
        return a != 0 && b != 0;
    case '|':
        return a != 0 || b != 0;
    case '*':
        if (!with[1])
            return a * b;
        /* fallthrough */
    default:
        return pow(a, b);
    }
}

static const struct operator *current_operator(const struct reader *reader)
{
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++)
        if (reader->token.kind == TOKEN_OPERATOR && token_is(&reader->token, operators[i].text))
            return &operators[i];
    return NULL;
}

static double expression(struct reader *reader, int weakest)
{
    if (reader->problem || ++reader->depth > DEPTH_MAX)
        return fail(reader, "nested too deeply");
    double value = operand(reader);
    const struct operator *op;
    while (!reader->problem && (op = current_operator(reader)) && op->strength >= weakest) {
        advance(reader);
        double right = expression(reader, op->from_right ? op->strength : op->strength + 1);
        value = combine(reader, op->text, value, right);
    }
    reader->depth--;
    return value;
}

/* Evaluates "EXPRESSION" or "NAME = EXPRESSION". Returns NULL, or what is wrong. */
static const char *calculate(struct table *variables, const char *line, double *value)
{
    struct reader reader = {line, {0}, variables, NULL, 0};
    advance(&reader);
    struct token target = reader.token;
    const char *after_name = reader.rest;
    struct token second = token_next(&after_name);
    bool assigns = target.kind == TOKEN_NAME && token_is(&second, "=");
    if (assigns) {
        reader.rest = after_name;
        advance(&reader);
    }
    *value = expression(&reader, 1);
    if (!reader.problem && reader.token.kind != TOKEN_END)
        reader.problem = "something is left over";
    if (!reader.problem && assigns)
        *table_put(variables, target.start, target.length) = *value;
    return reader.problem;
}

void calc_check(struct check *check)
{
    static const struct {
        const char *line;
        double expected;
        const char *problem;
    } cases[] = {
        {"1 + 2 * 3", 7, NULL},
        {"(1 + 2) * 3 # comment", 9, NULL},
        {"2 ** 3 ** 2", 512, NULL},
        {"-2 ^ 2", -4, NULL},
        {"10 - 4 - 3", 3, NULL},
        {"17 % 5 / 4", 0.5, NULL},
        {"side = sqrt(3*3 + 4*4)", 5, NULL},
        {"side >= 5 && !(side > 5)", 1, NULL},
        {"area = side * side", 25, NULL},
        {"abs(-area) + floor(2.75) != 27", 0, NULL},
        {"1 / 0", 0, "division by zero"},
        {"2 +", 0, "a value is missing"},
        {"2 * * 3", 0, "a value is missing"},
        {"(2", 0, "missing )"},
        {"2 3", 0, "something is left over"},
        {"volume", 0, "unknown variable"},
        {"cube(2)", 0, "unknown function"},
        {"wrong = 1 / 0", 0, "division by zero"},
        {"wrong", 0, "unknown variable"},
    };
    struct table variables = {NULL, 0, 0, 0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double value = 0;
        const char *problem = calculate(&variables, cases[i].line, &value);
        CHECK_TEXT(problem ? problem : "", cases[i].problem ? cases[i].problem : "");
        CHECK(problem || value == cases[i].expected);
    }
    char deep[2 * DEPTH_MAX];
    memset(deep, '(', sizeof deep - 1);
    deep[sizeof deep - 1] = '\0';
    double value;
    CHECK_TEXT(calculate(&variables, deep, &value), "nested too deeply");
    table_free(&variables);
}
