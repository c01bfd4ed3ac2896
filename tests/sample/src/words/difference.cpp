// The difference between two texts, line by line: Myers' greedy algorithm, printed with context.
#include <algorithm>
#include <deque>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "satchel/check.h"
#include "satchel/cxx/lines.hpp"

namespace {

using Lines = std::vector<std::string>;

enum class Change : char { keep = ' ', remove = '-', insert = '+' };

struct Edit {
    Change change;
    std::string line;
};

// The furthest place in `a` reached on every diagonal, for each number of edits spent.
std::vector<std::map<int, int>> explore(const Lines &a, const Lines &b)
{
    std::vector<std::map<int, int>> rounds;
    std::map<int, int> furthest{{1, 0}};
    const int a_size = static_cast<int>(a.size()), b_size = static_cast<int>(b.size());
    for (int edits = 0; edits <= a_size + b_size; edits++) {
        rounds.push_back(furthest);
        for (int k = -edits; k <= edits; k += 2) {
            bool down = k == -edits || (k != edits && furthest[k - 1] < furthest[k + 1]);
            int x = down ? furthest[k + 1] : furthest[k - 1] + 1;
            while (x < a_size && x - k < b_size && a[x] == b[x - k])
                x++;
            furthest[k] = x;
            if (x >= a_size && x - k >= b_size)
                return rounds;
        }
    }
    return rounds;
}

std::deque<Edit> difference(const Lines &a, const Lines &b)
{
    auto rounds = explore(a, b);
    std::deque<Edit> script;
    int x = static_cast<int>(a.size()), y = static_cast<int>(b.size());
    for (int edits = static_cast<int>(rounds.size()) - 1; edits >= 0; edits--) {
        auto &furthest = rounds[edits];
        int k = x - y;
        bool down = k == -edits || (k != edits && furthest[k - 1] < furthest[k + 1]);
        int from_k = down ? k + 1 : k - 1;
        int from_x = furthest[from_k], from_y = from_x - from_k;
        while (x > from_x && y > from_y && x > 0 && y > 0 && a[x - 1] == b[y - 1]) {
            x--, y--;
            script.push_front({Change::keep, a[x]});
        }
        if (edits == 0)
            break;
        if (down)
            script.push_front({Change::insert, b[--y]});
        else
            script.push_front({Change::remove, a[--x]});
    }
    return script;
}

std::string print(const std::deque<Edit> &script, std::size_t context)
{
    std::ostringstream out;
    std::size_t skipped = 0;
    for (std::size_t i = 0; i < script.size(); i++) {
        auto first = script.begin() + static_cast<long>(i > context ? i - context : 0);
        auto last = script.begin() + static_cast<long>(std::min(i + context + 1, script.size()));
        if (std::any_of(first, last, [](const Edit &edit) { return edit.change != Change::keep; })) {
            if (skipped)
                out << "@@ " << std::exchange(skipped, 0) << " lines\n";
            out << static_cast<char>(script[i].change) << script[i].line << '\n';
        } else {
            skipped++;
        }
    }
    return out.str();
}

Lines replay(const std::deque<Edit> &script, Change without)
{
    Lines result;
    for (const Edit &edit : script)
        if (edit.change != without)
            result.push_back(edit.line);
    return result;
}

} // namespace

extern "C" void difference_check(struct check *check)
{
    Lines before = satchel::split("head\nstay\nlight\nold\nkeep\nkeep\nkeep\ntail\n", '\n');
    Lines after = satchel::split("head\nstay\nheavy\nold\nkeep\nkeep\nkeep\nmore\ntail\n", '\n');
    CHECK_TEXT(print(difference(before, after), 1).c_str(),
               "@@ 1 lines\n stay\n-light\n+heavy\n old\n@@ 2 lines\n keep\n+more\n tail\n");

    auto letters = [](const char *word) {
        Lines lines;
        for (; *word; word++)
            lines.emplace_back(1, *word);
        return lines;
    };
    static const char *const words[] = {"", "a", "abcabba", "cbabac", "satchel", "chattels", "xxxxxxxx"};
    for (const char *from : words) {
        for (const char *to : words) {
            auto script = difference(letters(from), letters(to));
            CHECK(replay(script, Change::insert) == letters(from));
            CHECK(replay(script, Change::remove) == letters(to));
        }
    }
    auto shortest = difference(letters("abcabba"), letters("cbabac"));
    CHECK(std::count_if(shortest.begin(), shortest.end(), [](const Edit &e) { return e.change != Change::keep; }) == 5);
}
