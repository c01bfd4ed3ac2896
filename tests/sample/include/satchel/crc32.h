#ifndef SATCHEL_CRC32_H
#define SATCHEL_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* Continues a CRC-32 (IEEE 802.3); start with 0. */
uint32_t crc32_add(uint32_t crc, const void *bytes, size_t count);

#endif
