/* The tally a module's self-check writes to, and the list of the modules. */
#ifndef SATCHEL_CHECK_H
#define SATCHEL_CHECK_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

struct check {
    const char *module;
    unsigned made;
    unsigned failed;
};

/* Counts one claim; a claim that does not hold is reported on stderr with its place. */
void check_that(struct check *check, bool holds, const char *claim, const char *file, int line);

/* Like check_that, for two strings; shows both when they differ. */
void check_text(struct check *check, const char *got, const char *expected, const char *file, int line);

#define CHECK(claim) check_that(check, (claim), #claim, __FILE__, __LINE__)
#define CHECK_TEXT(got, expected) check_text(check, (got), (expected), __FILE__, __LINE__)

#define MODULE(name) void name##_check(struct check *check);
#include "satchel/modules.def"
#undef MODULE

#ifdef __cplusplus
}
#endif

#endif
