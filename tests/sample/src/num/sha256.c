/* SHA-256 (FIPS 180-4). Its constants are the fractions of roots of primes, and are computed that way once. */
#include <stdint.h>
#include <string.h>

#include "satchel/check.h"
#include "satchel/strbuf.h"

enum { ROUNDS = 64, BLOCK = 64, DIGEST = 32 };

struct sha256 {
    uint32_t state[8];
    uint64_t length;
    unsigned char block[BLOCK];
};

static uint32_t round_constants[ROUNDS];
static uint32_t initial_state[8];

/* The first 32 bits after the binary point of the root of `prime`: the root of prime * 2^(32 * degree). */
static uint32_t root_fraction(unsigned prime, int degree)
{
    uint64_t low = 0, high = (uint64_t)1 << 36;
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        long double value = (long double)middle / 4294967296.0L;
        long double reached = degree == 2 ? value * value : value * value * value;
        if (reached <= prime)
            low = middle;
        else
            high = middle;
    }
    return (uint32_t)low;
}

static void prepare_constants(void)
{
    unsigned found = 0;
    for (unsigned candidate = 2; found < ROUNDS; candidate++) {
        bool prime = true;
        for (unsigned i = 2; i * i <= candidate && prime; i++)
            prime = candidate % i != 0;
        if (!prime)
            continue;
        round_constants[found] = root_fraction(candidate, 3);
        if (found < 8)
            initial_state[found] = root_fraction(candidate, 2);
        found++;
    }
}

static uint32_t rotate(uint32_t word, unsigned by)
{
    return word >> by | word << (32 - by);
}

static void compress(struct sha256 *hash)
{
    uint32_t w[ROUNDS], s[8];
    for (int i = 0; i < 16; i++) {
        const unsigned char *at = hash->block + 4 * i;
        w[i] = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
    }
    for (int i = 16; i < ROUNDS; i++) {
        uint32_t low = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t high = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + low + w[i - 7] + high;
    }
    memcpy(s, hash->state, sizeof s);
    for (int i = 0; i < ROUNDS; i++) {
        uint32_t mix = rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25);
        uint32_t first = s[7] + mix + ((s[4] & s[5]) ^ (~s[4] & s[6])) + round_constants[i] + w[i];
        uint32_t majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
        uint32_t second = (rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22)) + majority;
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += first;
        s[0] = first + second;
    }
    for (int i = 0; i < 8; i++)
        hash->state[i] += s[i];
}

static void begin(struct sha256 *hash)
{
    if (!initial_state[0])
        prepare_constants();
    memcpy(hash->state, initial_state, sizeof hash->state);
    hash->length = 0;
}

static void feed(struct sha256 *hash, const void *bytes, size_t count)
{
    const unsigned char *at = bytes;
    while (count--) {
        hash->block[hash->length++ % BLOCK] = *at++;
        if (hash->length % BLOCK == 0)
            compress(hash);
    }
}

static void finish(struct sha256 *hash, unsigned char digest[DIGEST])
{
    uint64_t bits = hash->length * 8;
    feed(hash, "\x80", 1);
    while (hash->length % BLOCK != BLOCK - 8)
        feed(hash, "", 1);
    for (int shift = 56; shift >= 0; shift -= 8)
        feed(hash, &(unsigned char){(unsigned char)(bits >> shift)}, 1);
    for (int i = 0; i < DIGEST; i++)
        digest[i] = (unsigned char)(hash->state[i / 4] >> (24 - 8 * (i % 4)));
}

void sha256_check(struct check *check)
{
    static const struct {
        const char *text;
        unsigned repeat;
        const char *expected;
    } cases[] = {
        {"", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"aaaaaaaaaa", 100000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sha256 hash;
        unsigned char digest[DIGEST];
        struct strbuf out = STRBUF_EMPTY;
        begin(&hash);
        for (unsigned n = 0; n < cases[i].repeat; n++)
            feed(&hash, cases[i].text, strlen(cases[i].text));
        finish(&hash, digest);
        for (int j = 0; j < DIGEST; j++)
            strbuf_printf(&out, "%02x", digest[j]);
        CHECK_TEXT(strbuf_text(&out), cases[i].expected);
        strbuf_free(&out);
    }
}
