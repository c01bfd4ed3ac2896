/* Base64 with padding, in both directions; the decoding table comes from the generated header. */
#include <stdint.h>
#include <string.h>

#include <satchel/tables.h>

#include "satchel/check.h"
#include "satchel/strbuf.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void encode(struct strbuf *out, const unsigned char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i += 3) {
        size_t have = count - i < 3 ? count - i : 3;
        uint32_t group = (uint32_t)bytes[i] << 16;
        if (have > 1)
            group |= (uint32_t)bytes[i + 1] << 8;
        if (have > 2)
            group |= bytes[i + 2];
        for (size_t j = 0; j < 4; j++)
            strbuf_put(out, j <= have ? digits[group >> (18 - 6 * j) & 63] : '=');
    }
}

static bool decode(struct strbuf *out, const char *text)
{
    size_t length = strlen(text);
    if (length % 4)
        return false;
    for (size_t i = 0; i < length; i += 4) {
        bool last = i + 4 == length;
        size_t padding = last && text[i + 3] == '=' ? (text[i + 2] == '=' ? 2 : 1) : 0;
        uint32_t group = 0;
        for (size_t j = 0; j < 4; j++) {
            unsigned char digit = j < 4 - padding ? base64_values[(unsigned char)text[i + j]] : 0;
            if (digit == BASE64_NONE)
                return false;
            group = group << 6 | digit;
        }
        /* The bits that no byte uses must be zero: one text per value. */
        if ((padding == 1 && (group & 0xFF)) || (padding == 2 && (group & 0xFFFF)))
            return false;
        for (size_t j = 0; j < 3 - padding; j++)
            strbuf_put(out, (char)(group >> (16 - 8 * j) & 0xFF));
    }
    return true;
}

void base64_check(struct check *check)
{
    static const struct {
        const char *plain;
        const char *coded;
    } cases[] = {{"", ""},
                 {"f", "Zg=="},
                 {"fo", "Zm8="},
                 {"foo", "Zm9v"},
                 {"foob", "Zm9vYg=="},
                 {"\xFF\xFE\xFD>?", "//79Pj8="}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct strbuf coded = STRBUF_EMPTY, plain = STRBUF_EMPTY;
        encode(&coded, (const unsigned char *)cases[i].plain, strlen(cases[i].plain));
        CHECK_TEXT(strbuf_text(&coded), cases[i].coded);
        CHECK(decode(&plain, cases[i].coded));
        CHECK_TEXT(strbuf_text(&plain), cases[i].plain);
        strbuf_free(&coded);
        strbuf_free(&plain);
    }
    static const char *const malformed[] = {"Zg=", "Zg==Zg==", "Z===", "Zh==", "Zm9=", "Zm 8"};
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
        struct strbuf plain = STRBUF_EMPTY;
        CHECK(!decode(&plain, malformed[i]));
        strbuf_free(&plain);
    }
}
