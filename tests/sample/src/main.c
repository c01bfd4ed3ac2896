/* Runs the check of every module and says what came of it. Exit status 1 when a claim did not hold. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "satchel/check.h"

#ifndef SATCHEL_VERSION
#error "the Makefile names the version"
#endif

struct module {
    const char *name;
    void (*run)(struct check *);
};

static const struct module modules[] = {
#define MODULE(name) {#name, name##_check},
#include "satchel/modules.def"
#undef MODULE
};

enum { MODULES = sizeof modules / sizeof *modules, LINE_WIDTH = 72 };

static void print_names(const bool *good)
{
    size_t column = 0;
    for (size_t i = 0; i < MODULES; i++) {
        if (!good[i])
            continue;
        size_t width = strlen(modules[i].name) + 1;
        if (column + width > LINE_WIDTH) {
            putchar('\n');
            column = 0;
        }
        printf("%s%s", column ? " " : "  ", modules[i].name);
        column += width;
    }
    putchar('\n');
}

static int usage(const char *program)
{
    fprintf(stderr, "usage: %s [MODULE]\n", program);
    return 2;
}

int main(int argc, char **argv)
{
    bool good[MODULES] = {false};
    unsigned made = 0, failed = 0, ran = 0;
    if (argc > 2)
        return usage(argv[0]);
    printf("satchel %s\n", SATCHEL_VERSION);
    clock_t start = clock();
    for (size_t i = 0; i < MODULES; i++) {
        struct check check = {modules[i].name, 0, 0};
        if (argc == 2 && strcmp(argv[1], modules[i].name) != 0)
            continue;
        modules[i].run(&check);
        made += check.made;
        failed += check.failed;
        good[i] = check.failed == 0 && check.made > 0;
        ran++;
    }
    if (ran == 0)
        return usage(argv[0]);
    print_names(good);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    printf("%u modules, %u claims, %u failed, %.0f ms\n", ran, made, failed, seconds * 1000);
    return failed ? 1 : 0;
}
