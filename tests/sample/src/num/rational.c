/* Fractions in lowest terms, and the continued fractions that approximate a number by them. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "satchel/check.h"

struct rational {
    int64_t above;
    int64_t below; /* positive; 0 marks "not a number" */
};

static const struct rational nothing = {0, 0};

static int64_t greatest_common_divisor(int64_t a, int64_t b)
{
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a < 0 ? -a : a;
}

static struct rational make(int64_t above, int64_t below)
{
    if (below == 0)
        return nothing;
    int64_t divisor = greatest_common_divisor(above, below);
    if (below < 0)
        divisor = -divisor;
    return (struct rational){above / divisor, below / divisor};
}

static struct rational add(struct rational a, struct rational b)
{
    int64_t divisor = greatest_common_divisor(a.below, b.below);
    if (divisor == 0)
        return nothing;
    return make(a.above * (b.below / divisor) + b.above * (a.below / divisor), a.below / divisor * b.below);
}

static struct rational multiply(struct rational a, struct rational b)
{
    struct rational left = make(a.above, b.below), right = make(b.above, a.below);
    return make(left.above * right.above, left.below * right.below);
}

static struct rational divide(struct rational a, struct rational b)
{
    return multiply(a, make(b.below, b.above));
}

static bool equal(struct rational a, int64_t above, int64_t below)
{
    return a.above == above && a.below == below;
}

/* The best fraction for `value` whose denominator does not exceed `limit`, along its convergents. */
static struct rational approximate(double value, int64_t limit)
{
    int64_t above[2] = {1, (int64_t)floor(value)};
    int64_t below[2] = {0, 1};
    double rest = value - floor(value);
    while (rest > 1e-12) {
        double inverse = 1 / rest;
        int64_t whole = (int64_t)floor(inverse);
        int64_t next_below = whole * below[1] + below[0];
        if (next_below > limit)
            break;
        int64_t next_above = whole * above[1] + above[0];
        above[0] = above[1];
        below[0] = below[1];
        above[1] = next_above;
        below[1] = next_below;
        rest = inverse - floor(inverse);
    }
    return make(above[1], below[1]);
}

void rational_check(struct check *check)
{
    CHECK(equal(make(6, -8), -3, 4));
    CHECK(equal(add(make(1, 6), make(3, 10)), 7, 15));
    CHECK(equal(add(make(1, 2), make(-1, 2)), 0, 1));
    CHECK(equal(multiply(make(4, 9), make(-3, 2)), -2, 3));
    CHECK(equal(divide(make(1, 3), make(-2, 5)), -5, 6));
    CHECK(equal(divide(make(1, 3), make(0, 1)), 0, 0));

    const double pi = 3.14159265358979323846;
    CHECK(equal(approximate(pi, 10), 22, 7));
    CHECK(equal(approximate(pi, 1000), 355, 113));
    CHECK(equal(approximate(0.75, 100), 3, 4));
    CHECK(equal(approximate(5, 100), 5, 1));

    /* 1/1 + 1/2 + ... + 1/20 */
    struct rational harmonic = make(0, 1);
    for (int64_t i = 1; i <= 20; i++)
        harmonic = add(harmonic, make(1, i));
    CHECK(equal(harmonic, 55835135, 15519504));
}
