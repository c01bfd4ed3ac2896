/* A machine with a stack, a few registers and an assembler of one pass with labels. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "satchel/check.h"
#include "satchel/strbuf.h"

#define OPCODES(X)                                                                                                    \
    X(push, true) X(load, true) X(store, true) X(jump, true) X(jzero, true) X(call, true)                             \
    X(ret, false) X(add, false) X(sub, false) X(mul, false) X(mod, false) X(less, false) X(print, false) X(halt, false)

enum opcode {
#define OPCODE(name, takes_operand) OP_##name,
    OPCODES(OPCODE)
#undef OPCODE
};

static const struct {
    const char *name;
    bool takes_operand;
} opcodes[] = {
#define OPCODE(name, takes_operand) {#name, takes_operand},
    OPCODES(OPCODE)
#undef OPCODE
};

enum { CODE_MAX = 256, STACK_MAX = 64, REGISTERS = 8, LABELS_MAX = 32, NAME_MAX_BYTES = 16, STEPS_MAX = 1000000 };

struct instruction {
    enum opcode opcode;
    int64_t operand;
};

struct label {
    char name[NAME_MAX_BYTES];
    int64_t place; /* -1 until it is seen */
};

struct program {
    struct instruction code[CODE_MAX];
    size_t length;
    struct label labels[LABELS_MAX];
    size_t label_count;
};

static struct label *label_named(struct program *program, const char *name)
{
    for (size_t i = 0; i < program->label_count; i++)
        if (strcmp(program->labels[i].name, name) == 0)
            return &program->labels[i];
    if (program->label_count == LABELS_MAX)
        return NULL;
    struct label *label = &program->labels[program->label_count++];
    snprintf(label->name, sizeof label->name, "%s", name);
    label->place = -1;
    return label;
}

/* Until all labels are known, a jump's operand is the label's number. */
static bool assemble_word(struct program *program, char *word)
{
    size_t length = strlen(word);
    struct instruction *last = program->length ? &program->code[program->length - 1] : NULL;
    if (word[length - 1] == ':') {
        word[length - 1] = '\0';
        struct label *label = label_named(program, word);
        if (label)
            label->place = (int64_t)program->length;
        return label != NULL;
    }
    for (size_t i = 0; i < sizeof opcodes / sizeof *opcodes; i++) {
        if (strcmp(word, opcodes[i].name) == 0) {
            if (program->length == CODE_MAX)
                return false;
            program->code[program->length++] = (struct instruction){(enum opcode)i, 0};
            return true;
        }
    }
    if (!last || !opcodes[last->opcode].takes_operand)
        return false;
    char *end;
    last->operand = strtoll(word, &end, 10);
    if (*end == '\0')
        return true;
    struct label *label = label_named(program, word);
    last->operand = label ? label - program->labels : 0;
    return label != NULL;
}

static bool assemble(struct program *program, const char *source)
{
    char word[NAME_MAX_BYTES];
    memset(program, 0, sizeof *program);
    for (int used; sscanf(source, " %15s%n", word, &used) == 1; source += used)
        if (!assemble_word(program, word))
            return false;
    for (size_t i = 0; i < program->length; i++) {
        enum opcode opcode = program->code[i].opcode;
        if (opcode != OP_jump && opcode != OP_jzero && opcode != OP_call)
            continue;
        program->code[i].operand = program->labels[program->code[i].operand].place;
        if (program->code[i].operand < 0)
            return false;
    }
    return true;
}

struct machine {
    int64_t stack[STACK_MAX];
    size_t depth;
    size_t returns[STACK_MAX];
    size_t calls;
    int64_t registers[REGISTERS];
};

static int64_t binary(enum opcode opcode, int64_t a, int64_t b)
{
    switch (opcode) {
    case OP_add:
        return a + b;
    case OP_sub:
        return a - b;
    case OP_mul:
        return a * b;
    case OP_mod:
        return b ? a % b : 0;
    default:
        return a < b;
    }
}

/* Runs to `halt`. False on a fault: too many steps, a stack too full or too empty, a bad register. */
static bool run(const struct program *program, struct strbuf *out)
{
    struct machine m = {.depth = 0};
    size_t at = 0;
    for (unsigned step = 0; step < STEPS_MAX && at < program->length; step++) {
        const struct instruction *now = &program->code[at++];
        size_t needs = now->opcode >= OP_add && now->opcode <= OP_less ? 2
                       : now->opcode == OP_store || now->opcode == OP_jzero || now->opcode == OP_print;
        bool bad_register = (now->opcode == OP_load || now->opcode == OP_store) &&
                            (now->operand < 0 || now->operand >= REGISTERS);
        if (m.depth < needs || m.depth >= STACK_MAX - 1 || bad_register)
            return false;
        switch (now->opcode) {
        case OP_push:
            m.stack[m.depth++] = now->operand;
            break;
        case OP_load:
            m.stack[m.depth++] = m.registers[now->operand];
            break;
        case OP_store:
            m.registers[now->operand] = m.stack[--m.depth];
            break;
        case OP_call:
            if (m.calls == STACK_MAX)
                return false;
            m.returns[m.calls++] = at;
            at = (size_t)now->operand;
            break;
        case OP_ret:
            if (m.calls == 0)
                return false;
            at = m.returns[--m.calls];
            break;
        case OP_jzero:
            if (m.stack[--m.depth] != 0)
                break;
            /* fallthrough */
        case OP_jump:
            at = (size_t)now->operand;
            break;
        case OP_print:
            strbuf_printf(out, "%" PRId64 " ", m.stack[--m.depth]);
            break;
        case OP_halt:
            return true;
        default:
            m.depth--;
            m.stack[m.depth - 1] = binary(now->opcode, m.stack[m.depth - 1], m.stack[m.depth]);
        }
    }
    return false;
}

void vm_check(struct check *check)
{
    static const struct {
        const char *source;
        bool assembles, runs;
        const char *output;
    } cases[] = {
        {"push 6 push 7 mul print halt", true, true, "42 "},
        /* The primes below 30, by trial division. */
        {"push 2 store 0 next: load 0 push 30 less jzero end push 2 store 1 "
         "try: load 1 load 1 mul load 0 less jzero maybe load 0 load 1 mod jzero composite "
         "load 1 push 1 add store 1 jump try "
         "maybe: load 1 load 1 mul load 0 sub jzero composite load 0 print "
         "composite: load 0 push 1 add store 0 jump next end: halt",
         true, true, "2 3 5 7 11 13 17 19 23 29 "},
        {"push 5 call square print halt square: store 2 load 2 load 2 mul ret", true, true, "25 "},
        {"for: jump for", true, false, ""},
        {"more: push 1 jump more", true, false, ""},
        {"add halt", true, false, ""},
        {"ret", true, false, ""},
        {"push 1 store 8 halt", true, false, ""},
        {"jump nowhere", false, false, ""},
        {"fly", false, false, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct program program;
        struct strbuf out = STRBUF_EMPTY;
        bool assembles = assemble(&program, cases[i].source);
        CHECK(assembles == cases[i].assembles);
        CHECK((assembles && run(&program, &out)) == cases[i].runs);
        CHECK_TEXT(strbuf_text(&out), cases[i].output);
        strbuf_free(&out);
    }
}
