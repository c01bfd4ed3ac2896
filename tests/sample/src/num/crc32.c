/* CRC-32 by table, and the sum of two pieces' CRCs without seeing the pieces again. */
#include "satchel/crc32.h"

#include <string.h>

#include <satchel/tables.h>

#include "satchel/check.h"

enum { BITS = 32 };

uint32_t crc32_add(uint32_t crc, const void *bytes, size_t count)
{
    const unsigned char *at = bytes;
    crc = ~crc;
    while (count--)
        crc = crc32_values[(crc ^ *at++) & 0xFF] ^ crc >> 8;
    return ~crc;
}

/* A linear map over the bits of a CRC: one column per bit. */
struct bit_matrix {
    uint32_t columns[BITS];
};

static uint32_t apply(const struct bit_matrix *matrix, uint32_t vector)
{
    uint32_t sum = 0;
    for (int i = 0; vector; i++, vector >>= 1)
        if (vector & 1)
            sum ^= matrix->columns[i];
    return sum;
}

static struct bit_matrix square(const struct bit_matrix *matrix)
{
    struct bit_matrix result;
    for (int i = 0; i < BITS; i++)
        result.columns[i] = apply(matrix, matrix->columns[i]);
    return result;
}

/* The map that one zero byte is. */
static struct bit_matrix zero_byte(void)
{
    struct bit_matrix matrix;
    for (int i = 0; i < BITS; i++) {
        uint32_t bit = 1u << i;
        matrix.columns[i] = crc32_values[bit & 0xFF] ^ bit >> 8;
    }
    return matrix;
}

/* The CRC of A followed by B, of which only the CRCs and B's length are known. */
static uint32_t combine(uint32_t first, uint32_t second, size_t second_length)
{
    struct bit_matrix zeros = zero_byte();
    for (; second_length; second_length >>= 1) {
        if (second_length & 1)
            first = apply(&zeros, first);
        zeros = square(&zeros);
    }
    return first ^ second;
}

void crc32_check(struct check *check)
{
    const char *text = "the quick brown fox jumps over the lazy dog";
    size_t length = strlen(text);
    CHECK(crc32_add(0, "123456789", 9) == 0xCBF43926u);
    CHECK(crc32_add(0, "", 0) == 0);
    uint32_t whole = crc32_add(0, text, length);
    for (size_t cut = 0; cut <= length; cut++) {
        uint32_t first = crc32_add(0, text, cut);
        CHECK(crc32_add(first, text + cut, length - cut) == whole);
        CHECK(combine(first, crc32_add(0, text + cut, length - cut), length - cut) == whole);
    }
}
