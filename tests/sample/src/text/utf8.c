#include "satchel/utf8.h"

#include <string.h>

#include "satchel/check.h"

struct range {
    uint32_t first;
    uint32_t last;
};

static const struct range combining[] = {
    {0x0300, 0x036F}, {0x0483, 0x0489}, {0x0591, 0x05BD}, {0x064B, 0x065F}, {0x1AB0, 0x1AFF},
    {0x1DC0, 0x1DFF}, {0x200B, 0x200F}, {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F},
};

static const struct range wide[] = {
    {0x1100, 0x115F}, {0x2E80, 0x303E}, {0x3041, 0x33FF}, {0x3400, 0x4DBF}, {0x4E00, 0x9FFF}, {0xA000, 0xA4CF},
    {0xAC00, 0xD7A3}, {0xF900, 0xFAFF}, {0xFF00, 0xFF60}, {0xFFE0, 0xFFE6}, {0x1F300, 0x1F64F}, {0x20000, 0x3FFFD},
};

static bool within(const struct range *ranges, size_t count, uint32_t point)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (point > ranges[middle].last)
            low = middle + 1;
        else if (point < ranges[middle].first)
            high = middle;
        else
            return true;
    }
    return false;
}

uint32_t utf8_next(const char **text)
{
    static const uint32_t smallest[] = {0, 0x80, 0x800, 0x10000};
    const unsigned char *at = (const unsigned char *)*text;
    unsigned extra = *at < 0x80 ? 0 : *at < 0xC2 ? 9 : *at < 0xE0 ? 1 : *at < 0xF0 ? 2 : *at < 0xF5 ? 3 : 9;
    *text += 1;
    if (extra == 9)
        return UTF8_BAD;
    uint32_t point = extra == 0 ? *at : *at & (0x3Fu >> extra);
    for (unsigned i = 1; i <= extra; i++) {
        if ((at[i] & 0xC0) != 0x80)
            return UTF8_BAD;
        point = point << 6 | (at[i] & 0x3Fu);
    }
    if (point < smallest[extra] || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF))
        return UTF8_BAD;
    *text += extra;
    return point;
}

size_t utf8_encode(uint32_t point, char bytes[4])
{
    if (point < 0x80) {
        bytes[0] = (char)point;
        return 1;
    }
    if (point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF))
        return 0;
    size_t count = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = count - 1; i > 0; i--) {
        bytes[i] = (char)(0x80 | (point & 0x3F));
        point >>= 6;
    }
    bytes[0] = (char)(lead[count] | point);
    return count;
}

size_t utf8_columns(const char *text)
{
    size_t columns = 0;
    while (*text) {
        uint32_t point = utf8_next(&text);
        if (within(combining, sizeof combining / sizeof *combining, point))
            continue;
        columns += within(wide, sizeof wide / sizeof *wide, point) ? 2 : 1;
    }
    return columns;
}

void utf8_check(struct check *check)
{
    static const struct {
        uint32_t point;
        const char *bytes;
    } cases[] = {{'a', "a"}, {0xE9, "\xC3\xA9"}, {0x20AC, "\xE2\x82\xAC"}, {0x1F600, "\xF0\x9F\x98\x80"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char bytes[5] = "";
        CHECK(utf8_encode(cases[i].point, bytes) == strlen(cases[i].bytes));
        CHECK_TEXT(bytes, cases[i].bytes);
        const char *at = cases[i].bytes;
        CHECK(utf8_next(&at) == cases[i].point && *at == '\0');
    }
    static const char *const malformed[] = {"\x80", "\xC0\xAF", "\xE2\x82", "\xED\xA0\x80", "\xF5\x80\x80\x80"};
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
        const char *at = malformed[i];
        CHECK(utf8_next(&at) == UTF8_BAD && at == malformed[i] + 1);
    }
    CHECK(utf8_columns("cafe\xCC\x81") == 4);
    CHECK(utf8_columns("\xE6\xBC\xA2\xE5\xAD\x97") == 4);
}
