#include "satchel/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "satchel/check.h"

enum { SMALLEST = 8 };

/* FNV-1a */
static unsigned hash_of(const char *key, size_t length)
{
    unsigned hash = 2166136261u;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)key[i]) * 16777619u;
    return hash;
}

static struct table_slot *find(const struct table *table, const char *key, size_t length, unsigned hash)
{
    struct table_slot *reusable = NULL;
    for (size_t i = hash;; i++) {
        struct table_slot *slot = &table->slots[i & (table->capacity - 1)];
        if (!slot->key)
            return slot->removed ? slot : reusable ? reusable : slot;
        if (slot->removed) {
            if (!reusable)
                reusable = slot;
        } else if (slot->hash == hash && strncmp(slot->key, key, length) == 0 && !slot->key[length]) {
            return slot;
        }
    }
}

static void grow(struct table *table)
{
    struct table bigger = {NULL, table->capacity, 0, 0};
    if (bigger.capacity == 0)
        bigger.capacity = SMALLEST;
    else if (table->live * 2 >= table->capacity)
        bigger.capacity *= 2;
    bigger.slots = calloc(bigger.capacity, sizeof *bigger.slots);
    if (!bigger.slots)
        abort();
    for (size_t i = 0; i < table->capacity; i++) {
        struct table_slot *old = &table->slots[i];
        if (old->key && !old->removed) {
            *find(&bigger, old->key, strlen(old->key), old->hash) = *old;
            bigger.used++;
            bigger.live++;
        } else {
            free(old->key);
        }
    }
    free(table->slots);
    *table = bigger;
}

double *table_put(struct table *table, const char *key, size_t length)
{
    if ((table->used + 1) * 4 > table->capacity * 3)
        grow(table);
    unsigned hash = hash_of(key, length);
    struct table_slot *slot = find(table, key, length, hash);
    if (slot->key && !slot->removed)
        return &slot->value;
    if (!slot->key)
        table->used++;
    free(slot->key);
    char *copy = malloc(length + 1);
    if (!copy)
        abort();
    memcpy(copy, key, length);
    copy[length] = '\0';
    *slot = (struct table_slot){copy, 0, hash, false};
    table->live++;
    return &slot->value;
}

double *table_get(const struct table *table, const char *key, size_t length)
{
    if (table->live == 0)
        return NULL;
    struct table_slot *slot = find(table, key, length, hash_of(key, length));
    return slot->key && !slot->removed ? &slot->value : NULL;
}

bool table_remove(struct table *table, const char *key, size_t length)
{
    double *value = table_get(table, key, length);
    if (!value)
        return false;
    find(table, key, length, hash_of(key, length))->removed = true;
    table->live--;
    return true;
}

void table_free(struct table *table)
{
    for (size_t i = 0; i < table->capacity; i++)
        free(table->slots[i].key);
    free(table->slots);
    *table = (struct table){NULL, 0, 0, 0};
}

void table_check(struct check *check)
{
    enum { KEYS = 2000 };
    struct table table = {NULL, 0, 0, 0};
    char key[16];
    CHECK(table_get(&table, "absent", 6) == NULL);
    for (int i = 0; i < KEYS; i++) {
        int length = snprintf(key, sizeof key, "key%d", i);
        *table_put(&table, key, (size_t)length) = i;
    }
    unsigned wrong = 0;
    for (int i = 0; i < KEYS; i++) {
        int length = snprintf(key, sizeof key, "key%d", i);
        double *value = table_get(&table, key, (size_t)length);
        wrong += !value || *value != i;
        if (i % 3 == 0)
            wrong += !table_remove(&table, key, (size_t)length);
    }
    CHECK(wrong == 0);
    CHECK(table.live == KEYS - (KEYS + 2) / 3);
    CHECK(!table_remove(&table, "key3", 4));
    CHECK(table_get(&table, "key4", 3) == NULL);
    *table_put(&table, "key3", 4) += 0.5;
    CHECK(*table_get(&table, "key3", 4) == 0.5);
    for (int i = 0; i < 50 * KEYS; i++) { /* removed slots are reclaimed: the table does not grow for ever */
        *table_put(&table, "passing", 7) = i;
        table_remove(&table, "passing", 7);
    }
    CHECK(table.capacity <= 4096);
    table_free(&table);
}
