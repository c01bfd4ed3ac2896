/* Words in a tree of letters: membership, completion, and the words within a few edits of a misspelt one. */
#include <stdlib.h>
#include <string.h>

#include "satchel/check.h"
#include "satchel/strbuf.h"

enum { LETTERS = 26, DEPTH_MAX = 32 };

struct node {
    struct node *children[LETTERS];
    bool is_word;
};

static struct node *node_new(void)
{
    struct node *node = calloc(1, sizeof *node);
    if (!node)
        abort();
    return node;
}

static void node_free(struct node *node)
{
    if (!node)
        return;
    for (int i = 0; i < LETTERS; i++)
        node_free(node->children[i]);
    free(node);
}

static bool add(struct node *root, const char *word)
{
    if (strlen(word) >= DEPTH_MAX || word[strspn(word, "abcdefghijklmnopqrstuvwxyz")])
        return false;
    for (; *word; word++) {
        struct node **child = &root->children[*word - 'a'];
        if (!*child)
            *child = node_new();
        root = *child;
    }
    root->is_word = true;
    return true;
}

static const struct node *descend(const struct node *node, const char *prefix)
{
    for (; node && *prefix; prefix++)
        node = node->children[*prefix - 'a'];
    return node;
}

static void list(const struct node *node, char *path, size_t depth, struct strbuf *out)
{
    if (!node)
        return;
    if (node->is_word)
        strbuf_printf(out, "%.*s ", (int)depth, path);
    for (int i = 0; i < LETTERS; i++) {
        path[depth] = (char)('a' + i);
        list(node->children[i], path, depth + 1, out);
    }
}

static void complete(const struct node *root, const char *prefix, struct strbuf *out)
{
    char path[DEPTH_MAX + 1];
    strcpy(path, prefix);
    list(descend(root, prefix), path, strlen(prefix), out);
    strbuf_trim_end(out);
}

struct search {
    const char *wanted;
    size_t length;
    unsigned limit;
    struct strbuf *out;
};

/* `above` is the row of the edit distance table for the path so far. */
static void near(const struct search *search, const struct node *node, char *path, size_t depth, const unsigned *above)
{
    if (node->is_word && above[search->length] <= search->limit)
        strbuf_printf(search->out, "%.*s ", (int)depth, path);
    for (int i = 0; i < LETTERS; i++) {
        if (!node->children[i])
            continue;
        unsigned row[DEPTH_MAX + 1] = {above[0] + 1}, least = row[0];
        for (size_t j = 1; j <= search->length; j++) {
            unsigned replaced = above[j - 1] + (search->wanted[j - 1] != 'a' + i);
            unsigned inserted = (row[j - 1] < above[j] ? row[j - 1] : above[j]) + 1;
            row[j] = replaced < inserted ? replaced : inserted;
            least = row[j] < least ? row[j] : least;
        }
        path[depth] = (char)('a' + i);
        if (least <= search->limit)
            near(search, node->children[i], path, depth + 1, row);
    }
}

static void suggest(const struct node *root, const char *misspelt, unsigned edits, struct strbuf *out)
{
    char path[DEPTH_MAX + 1];
    unsigned row[DEPTH_MAX + 1];
    struct search search = {misspelt, strlen(misspelt), edits, out};
    for (unsigned i = 0; i <= search.length; i++)
        row[i] = i;
    near(&search, root, path, 0, row);
    strbuf_trim_end(out);
}

void trie_check(struct check *check)
{
    static const char *const words[] = {"compile", "compiler", "compiled", "complete", "compute", "link",
                                        "linker",  "load",     "loaded",   "object",   "objects", "source"};
    struct node *root = node_new();
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        CHECK(add(root, words[i]));
    CHECK(!add(root, "Not-a-word"));
    const struct node *link = descend(root, "link"), *lin = descend(root, "lin");
    CHECK(link && link->is_word && lin && !lin->is_word && !descend(root, "links"));
    struct strbuf out = STRBUF_EMPTY;
    complete(root, "compi", &out);
    CHECK_TEXT(strbuf_text(&out), "compile compiled compiler");
    strbuf_clear(&out);
    suggest(root, "conpiler", 1, &out);
    CHECK_TEXT(strbuf_text(&out), "compiler");
    strbuf_clear(&out);
    suggest(root, "lod", 2, &out);
    CHECK_TEXT(strbuf_text(&out), "load");
    strbuf_clear(&out);
    suggest(root, "compile", 2, &out);
    CHECK_TEXT(strbuf_text(&out), "compile compiled compiler compute");
    strbuf_free(&out);
    node_free(root);
}
