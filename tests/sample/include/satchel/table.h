/* A hash table from text to numbers, with open addressing. */
#ifndef SATCHEL_TABLE_H
#define SATCHEL_TABLE_H

#include <stdbool.h>
#include <stddef.h>

struct table_slot {
    char *key; /* NULL: never used */
    double value;
    unsigned hash;
    bool removed;
};

struct table {
    struct table_slot *slots;
    size_t capacity; /* a power of two, or 0 */
    size_t used;     /* slots that are not free, removed ones included */
    size_t live;
};

/* The value of the key, made with 0 if it is new. Valid until the next table_put. */
double *table_put(struct table *table, const char *key, size_t length);
/* The value of the key, or NULL. */
double *table_get(const struct table *table, const char *key, size_t length);
bool table_remove(struct table *table, const char *key, size_t length);
void table_free(struct table *table);

#endif
