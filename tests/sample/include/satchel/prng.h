/* Reproducible random numbers: the same seed gives the same run on every machine. */
#ifndef SATCHEL_PRNG_H
#define SATCHEL_PRNG_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct prng {
    uint64_t state[4];
};

void prng_seed(struct prng *prng, uint64_t seed);
uint64_t prng_next(struct prng *prng);
/* Uniform in [0, limit), without the bias of a plain remainder. `limit` is not zero. */
uint64_t prng_below(struct prng *prng, uint64_t limit);
/* Uniform in [0, 1). */
double prng_unit(struct prng *prng);

#ifdef __cplusplus
}
#endif

#endif
