/* Writes satchel/tables.h: the constants that are easier to compute than to type. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { PER_LINE = 8, BASE64_NONE = 255, SIEVE_END = 1024 };

static uint32_t crc_of_byte(uint32_t byte)
{
    for (int bit = 0; bit < 8; bit++)
        byte = byte & 1 ? 0xEDB88320u ^ byte >> 1 : byte >> 1;
    return byte;
}

static unsigned base64_value(unsigned byte)
{
    if (byte >= 'A' && byte <= 'Z')
        return byte - 'A';
    if (byte >= 'a' && byte <= 'z')
        return byte - 'a' + 26;
    if (byte >= '0' && byte <= '9')
        return byte - '0' + 52;
    return byte == '+' ? 62 : byte == '/' ? 63 : BASE64_NONE;
}

static void separator(unsigned index)
{
    fputs(index % PER_LINE == 0 ? "\n    " : " ", stdout);
}

static void crc_table(void)
{
    printf("__attribute__((unused)) static const uint32_t crc32_values[256] = {");
    for (unsigned i = 0; i < 256; i++) {
        separator(i);
        printf("0x%08Xu,", (unsigned)crc_of_byte(i));
    }
    printf("\n};\n\n");
}

static void base64_table(void)
{
    printf("#define BASE64_NONE %du\n", BASE64_NONE);
    printf("__attribute__((unused)) static const unsigned char base64_values[256] = {");
    for (unsigned i = 0; i < 256; i++) {
        separator(i);
        printf("%3u,", base64_value(i));
    }
    printf("\n};\n\n");
}

static void primes_table(void)
{
    unsigned char composite[SIEVE_END];
    unsigned count = 0;
    memset(composite, 0, sizeof composite);
    printf("__attribute__((unused)) static const unsigned short small_primes[] = {");
    for (unsigned i = 2; i < SIEVE_END; i++) {
        if (composite[i])
            continue;
        for (unsigned j = i * i; j < SIEVE_END; j += i)
            composite[j] = 1;
        separator(count++);
        printf("%u,", i);
    }
    printf("\n};\n#define SMALL_PRIMES_COUNT %uu\n\n", count);
}

int main(void)
{
    printf("/* Made by make_tables; changes here are lost. */\n");
    printf("#ifndef SATCHEL_TABLES_H\n#define SATCHEL_TABLES_H\n\n#include <stdint.h>\n\n");
    crc_table();
    base64_table();
    primes_table();
    printf("#endif\n");
    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
