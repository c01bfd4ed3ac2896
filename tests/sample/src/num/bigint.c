/* Natural numbers of any size up to LIMBS_MAX limbs, in base 10^9 so that printing needs no division. */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "satchel/check.h"
#include "satchel/strbuf.h"

enum { LIMBS_MAX = 128, LIMB_DIGITS = 9 };
static const uint64_t base = 1000000000;

struct natural {
    uint32_t limbs[LIMBS_MAX]; /* least significant first */
    size_t count;              /* no leading zero limb; zero has none */
    bool overflowed;
};

static struct natural from_u64(uint64_t value)
{
    struct natural n = {.count = 0};
    for (; value; value /= base)
        n.limbs[n.count++] = (uint32_t)(value % base);
    return n;
}

static void trim(struct natural *n)
{
    while (n->count && n->limbs[n->count - 1] == 0)
        n->count--;
}

static struct natural add(const struct natural *a, const struct natural *b)
{
    struct natural sum = {.overflowed = a->overflowed || b->overflowed};
    uint64_t carry = 0;
    for (size_t i = 0; i < a->count || i < b->count || carry; i++) {
        if (i == LIMBS_MAX) {
            sum.overflowed = true;
            break;
        }
        carry += (i < a->count ? a->limbs[i] : 0) + (uint64_t)(i < b->count ? b->limbs[i] : 0);
        sum.limbs[i] = (uint32_t)(carry % base);
        carry /= base;
        sum.count = i + 1;
    }
    return sum;
}

static struct natural multiply(const struct natural *a, const struct natural *b)
{
    struct natural product = {.overflowed = a->overflowed || b->overflowed};
    if (a->count + b->count > LIMBS_MAX) {
        product.overflowed = true;
        return product;
    }
    for (size_t i = 0; i < a->count; i++) {
        uint64_t carry = 0;
        for (size_t j = 0; j < b->count || carry; j++) {
            carry += product.limbs[i + j];
            if (j < b->count)
                carry += (uint64_t)a->limbs[i] * b->limbs[j];
            product.limbs[i + j] = (uint32_t)(carry % base);
            carry /= base;
        }
    }
    product.count = a->count + b->count;
    trim(&product);
    return product;
}

static uint32_t remainder_by(const struct natural *n, uint32_t divisor)
{
    uint64_t rest = 0;
    for (size_t i = n->count; i-- > 0;)
        rest = (rest * base + n->limbs[i]) % divisor;
    return (uint32_t)rest;
}

static struct natural power(struct natural of, unsigned exponent)
{
    struct natural result = from_u64(1);
    for (; exponent; exponent >>= 1) {
        if (exponent & 1)
            result = multiply(&result, &of);
        if (exponent > 1)
            of = multiply(&of, &of);
    }
    return result;
}

static void print(struct strbuf *out, const struct natural *n)
{
    strbuf_printf(out, "%" PRIu32, n->count ? n->limbs[n->count - 1] : 0);
    for (size_t i = n->count; i-- > 1;)
        strbuf_printf(out, "%0*" PRIu32, LIMB_DIGITS, n->limbs[i - 1]);
}

void bigint_check(struct check *check)
{
    struct strbuf out = STRBUF_EMPTY;
    struct natural n = power(from_u64(2), 200);
    print(&out, &n);
    CHECK_TEXT(strbuf_text(&out), "1606938044258990275541962092341162602522202993782792835301376");

    n = from_u64(1);
    for (unsigned i = 2; i <= 30; i++) {
        struct natural factor = from_u64(i);
        n = multiply(&n, &factor);
    }
    strbuf_clear(&out);
    print(&out, &n);
    CHECK_TEXT(strbuf_text(&out), "265252859812191058636308480000000");
    CHECK(remainder_by(&n, 31) == 30); /* Wilson: (p - 1)! is -1 modulo a prime p */

    struct natural previous = from_u64(0), fibonacci = from_u64(1);
    for (unsigned i = 1; i < 300; i++) {
        struct natural next = add(&previous, &fibonacci);
        previous = fibonacci;
        fibonacci = next;
    }
    strbuf_clear(&out);
    print(&out, &fibonacci);
    CHECK_TEXT(strbuf_text(&out), "222232244629420445529739893461909967206666939096499764990979600");
    CHECK(remainder_by(&fibonacci, 2) == 0 && remainder_by(&fibonacci, 5) == 0);

    struct natural huge = power(from_u64(10), LIMBS_MAX * LIMB_DIGITS / 2);
    CHECK(!huge.overflowed);
    huge = multiply(&huge, &huge);
    CHECK(huge.overflowed);
    strbuf_clear(&out);
    n = from_u64(0);
    print(&out, &n);
    CHECK_TEXT(strbuf_text(&out), "0");
    strbuf_free(&out);
}
