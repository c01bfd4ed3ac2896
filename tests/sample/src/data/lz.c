/* A small compressor: copies of earlier bytes found through a table of hashes, everything else as it is.

   The compressed form is a row of items. An item's first byte below 128 announces that many bytes plus one as they
   are; otherwise it holds, less 128, a length minus MATCH_MIN, and two bytes of distance follow. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "satchel/check.h"
#include "satchel/crc32.h"
#include "satchel/prng.h"
#include "satchel/strbuf.h"

enum { MATCH_MIN = 4, MATCH_MAX = MATCH_MIN + 127, LITERALS_MAX = 128, DISTANCE_MAX = 65535, HASH_BITS = 12 };

static unsigned hash_at(const char *at)
{
    uint32_t word;
    memcpy(&word, at, sizeof word);
    return word * 2654435761u >> (32 - HASH_BITS);
}

static void put_literals(struct strbuf *out, const char *bytes, size_t count)
{
    while (count) {
        size_t piece = count < LITERALS_MAX ? count : LITERALS_MAX;
        strbuf_put(out, (char)(piece - 1));
        strbuf_add(out, bytes, piece);
        bytes += piece;
        count -= piece;
    }
}

static void lz_pack(struct strbuf *out, const char *bytes, size_t count)
{
    size_t heads[1 << HASH_BITS] = {0}; /* the place after the latest one with this hash */
    size_t at = 0, pending = 0;
    while (at + MATCH_MIN <= count) {
        size_t *head = &heads[hash_at(bytes + at)];
        size_t candidate = *head;
        *head = at + 1;
        size_t length = 0;
        if (candidate && at - (candidate - 1) <= DISTANCE_MAX) {
            const char *earlier = bytes + candidate - 1;
            while (length < MATCH_MAX && at + length < count && earlier[length] == bytes[at + length])
                length++;
        }
        if (length < MATCH_MIN) {
            at++;
            continue;
        }
        put_literals(out, bytes + pending, at - pending);
        size_t distance = at - (candidate - 1);
        strbuf_put(out, (char)(128 + length - MATCH_MIN));
        strbuf_put(out, (char)(distance & 0xFF));
        strbuf_put(out, (char)(distance >> 8));
        at += length;
        pending = at;
    }
    put_literals(out, bytes + pending, count - pending);
}

/* False when the bytes cannot have come from lz_pack. Nothing is read or copied from outside either text. */
static bool lz_unpack(struct strbuf *out, const char *bytes, size_t count)
{
    size_t at = 0;
    while (at < count) {
        unsigned char item = (unsigned char)bytes[at++];
        if (item < 128) {
            size_t length = item + 1u;
            if (count - at < length)
                return false;
            strbuf_add(out, bytes + at, length);
            at += length;
            continue;
        }
        if (count - at < 2)
            return false;
        size_t distance = (unsigned char)bytes[at] | (size_t)(unsigned char)bytes[at + 1] << 8;
        at += 2;
        if (distance == 0 || distance > out->length)
            return false;
        for (size_t length = item - 128u + MATCH_MIN; length; length--)
            strbuf_put(out, out->text[out->length - distance]);
    }
    return true;
}

static bool survives(const struct strbuf *plain, size_t *packed_length)
{
    struct strbuf packed = STRBUF_EMPTY, again = STRBUF_EMPTY;
    lz_pack(&packed, strbuf_text(plain), plain->length);
    *packed_length = packed.length;
    bool same = lz_unpack(&again, strbuf_text(&packed), packed.length) && again.length == plain->length &&
                crc32_add(0, strbuf_text(&again), again.length) == crc32_add(0, strbuf_text(plain), plain->length);
    strbuf_free(&packed);
    strbuf_free(&again);
    return same;
}

void lz_check(struct check *check)
{
    struct strbuf plain = STRBUF_EMPTY;
    struct prng prng;
    size_t packed;
    prng_seed(&prng, SATCHEL_SEED);
    CHECK(survives(&plain, &packed) && packed == 0);
    for (int i = 0; i < 2000; i++)
        strbuf_printf(&plain, "line %d of %s; ", i, i % 7 ? "many" : "some");
    CHECK(survives(&plain, &packed) && packed < plain.length / 2);
    strbuf_clear(&plain);
    strbuf_repeat(&plain, 'z', 100000);
    CHECK(survives(&plain, &packed) && packed < 3000);
    strbuf_clear(&plain);
    for (int i = 0; i < 100000; i++)
        strbuf_put(&plain, (char)prng_next(&prng));
    CHECK(survives(&plain, &packed) && packed < plain.length + plain.length / 100);

    /* Rubbish is refused or unpacked to rubbish, but never read beyond its end. */
    for (int i = 0; i < 500; i++) {
        struct strbuf out = STRBUF_EMPTY;
        lz_unpack(&out, plain.text + i * 100, 100);
        CHECK(out.length <= 100 * MATCH_MAX);
        strbuf_free(&out);
    }
    CHECK(!lz_unpack(&plain, "\x05short", 6 - 1));
    strbuf_free(&plain);
}
