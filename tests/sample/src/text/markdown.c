/* Turns a small part of Markdown into plain text for a terminal. */
#include <ctype.h>
#include <string.h>

#include "satchel/check.h"
#include "satchel/strbuf.h"
#include "satchel/utf8.h"
#include "satchel/wrap.h"

enum { WIDTH = 40 };

enum block { BLOCK_NONE, BLOCK_PARAGRAPH, BLOCK_ITEM, BLOCK_CODE };

struct page {
    struct strbuf out;
    struct strbuf pending; /* the paragraph or item being gathered */
    enum block block;
};

/* Drops the marks of emphasis and code, and writes a link as "text <address>". */
static void plain(struct strbuf *out, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        const char *close;
        switch (text[i]) {
        case '\\':
            if (i + 1 < length && ispunct((unsigned char)text[i + 1]))
                i++;
            strbuf_put(out, text[i]);
            break;
        case '*':
        case '`':
            break;
        case '[':
            close = memchr(text + i, ']', length - i);
            if (close && close[1] == '(' && memchr(close, ')', length - (size_t)(close - text))) {
                const char *end = memchr(close, ')', length - (size_t)(close - text));
                plain(out, text + i + 1, (size_t)(close - text) - i - 1);
                strbuf_printf(out, " <%.*s>", (int)(end - close - 2), close + 2);
                i = (size_t)(end - text);
                break;
            }
            /* fallthrough */
        default:
            strbuf_put(out, text[i]);
        }
    }
}

static void flush(struct page *page)
{
    if (page->block == BLOCK_PARAGRAPH) {
        wrap_paragraph(&page->out, strbuf_text(&page->pending), WIDTH, 0);
        strbuf_put(&page->out, '\n');
    } else if (page->block == BLOCK_ITEM) {
        size_t bullet = page->out.length;
        wrap_paragraph(&page->out, strbuf_text(&page->pending), WIDTH, 2);
        page->out.text[bullet] = '-';
    }
    strbuf_clear(&page->pending);
    page->block = BLOCK_NONE;
}

static void heading(struct page *page, const char *line, size_t length)
{
    size_t level = strspn(line, "#");
    flush(page);
    size_t start = page->out.length;
    while (level < length && line[level] == ' ')
        level++;
    plain(&page->out, line + level, length - level);
    size_t columns = utf8_columns(page->out.text + start);
    strbuf_put(&page->out, '\n');
    strbuf_repeat(&page->out, line[1] == '#' ? '-' : '=', columns);
    strbuf_puts(&page->out, "\n\n");
}

static void take_line(struct page *page, const char *line, size_t length)
{
    bool fence = length >= 3 && memcmp(line, "```", 3) == 0;
    if (page->block == BLOCK_CODE) {
        if (fence) {
            page->block = BLOCK_NONE;
            strbuf_put(&page->out, '\n');
        } else {
            strbuf_printf(&page->out, "    %.*s\n", (int)length, line);
        }
    } else if (fence) {
        flush(page);
        page->block = BLOCK_CODE;
    } else if (length == 0) {
        bool after_list = page->block == BLOCK_ITEM;
        flush(page);
        if (after_list)
            strbuf_put(&page->out, '\n');
    } else if (line[0] == '#') {
        heading(page, line, length);
    } else {
        bool item = length > 2 && line[1] == ' ' && (line[0] == '-' || line[0] == '*');
        if (item)
            flush(page);
        if (page->block == BLOCK_NONE)
            page->block = item ? BLOCK_ITEM : BLOCK_PARAGRAPH;
        size_t skip = item ? 2 : 0;
        strbuf_put(&page->pending, ' ');
        plain(&page->pending, line + skip, length - skip);
    }
}

void markdown_check(struct check *check)
{
    struct page page = {STRBUF_EMPTY, STRBUF_EMPTY, BLOCK_NONE};
    const char *text = "# The *satchel*\n\nIt holds `tools`, see [the list](list.txt), and is quite\nlight.\n\n"
                       "- one\n- two, which is so long that it goes on and on\n\n## Use\n```\nmake * check\n```\n"
                       "Not \\*bold\\* nor a [link.\n\n";
    for (const char *end; (end = strchr(text, '\n')); text = end + 1)
        take_line(&page, text, (size_t)(end - text));
    flush(&page);
    CHECK_TEXT(strbuf_text(&page.out), "The satchel\n===========\n\n"
                                       "It holds tools, see the list <list.txt>,\nand is quite light.\n\n"
                                       "- one\n- two, which is so long that it goes on\n  and on\n\n"
                                       "Use\n---\n\n    make * check\n\nNot *bold* nor a [link.\n\n");
    strbuf_free(&page.out);
    strbuf_free(&page.pending);
}
