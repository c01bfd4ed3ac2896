/* xoshiro256** of Blackman and Vigna, seeded through splitmix64. */
#include "satchel/prng.h"

#include "satchel/check.h"

static uint64_t rotate_left(uint64_t value, unsigned by)
{
    return value << by | value >> (64 - by);
}

static uint64_t splitmix(uint64_t *state)
{
    uint64_t mixed = *state += 0x9E3779B97F4A7C15u;
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9u;
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EBu;
    return mixed ^ mixed >> 31;
}

void prng_seed(struct prng *prng, uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        prng->state[i] = splitmix(&seed);
}

uint64_t prng_next(struct prng *prng)
{
    uint64_t *s = prng->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t prng_below(struct prng *prng, uint64_t limit)
{
    uint64_t biased = -limit % limit; /* 2^64 mod limit */
    uint64_t value;
    do {
        value = prng_next(prng);
    } while (value < biased);
    return value % limit;
}

double prng_unit(struct prng *prng)
{
    return (double)(prng_next(prng) >> 11) * 0x1.0p-53;
}

void prng_check(struct check *check)
{
    enum { SIDES = 6, THROWS = 60000 };
    struct prng prng, twin;
    prng_seed(&prng, SATCHEL_SEED);
    prng_seed(&twin, SATCHEL_SEED);
    unsigned counts[SIDES] = {0};
    for (int i = 0; i < THROWS; i++)
        counts[prng_below(&prng, SIDES)]++;
    double chi_square = 0;
    for (int i = 0; i < SIDES; i++) {
        double off = counts[i] - (double)THROWS / SIDES;
        chi_square += off * off / ((double)THROWS / SIDES);
    }
    CHECK(chi_square < 20.5); /* 5 degrees of freedom: beyond this once in a thousand seeds */

    double sum = 0;
    bool inside = true;
    for (int i = 0; i < THROWS; i++) {
        double value = prng_unit(&twin);
        inside = inside && value >= 0 && value < 1;
        sum += value;
    }
    CHECK(inside);
    CHECK(sum / THROWS > 0.49 && sum / THROWS < 0.51);
    uint64_t zero = 0;
    CHECK(splitmix(&zero) == 0xE220A8397B1DCDAFu);
}
