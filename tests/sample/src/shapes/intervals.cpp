// A set of numbers kept as intervals that neither touch nor overlap; used here as a diary of booked minutes.
#include <algorithm>
#include <iomanip>
#include <iterator>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "satchel/check.h"
#include "satchel/prng.h"

namespace {

// Half-open intervals: [from, to).
class Intervals {
public:
    void add(int from, int to)
    {
        if (from >= to)
            return;
        auto at = spans_.upper_bound(from);
        if (at != spans_.begin() && std::prev(at)->second >= from)
            --at;
        while (at != spans_.end() && at->first <= to) {
            from = std::min(from, at->first);
            to = std::max(to, at->second);
            at = spans_.erase(at);
        }
        spans_.emplace(from, to);
    }

    void remove(int from, int to)
    {
        if (from >= to)
            return;
        auto at = spans_.upper_bound(from);
        if (at != spans_.begin() && std::prev(at)->second > from)
            --at;
        while (at != spans_.end() && at->first < to) {
            auto [start, end] = *at;
            at = spans_.erase(at);
            if (start < from)
                spans_.emplace(start, from);
            if (end > to)
                spans_.emplace(to, end);
        }
    }

    bool contains(int value) const
    {
        auto at = spans_.upper_bound(value);
        return at != spans_.begin() && std::prev(at)->second > value;
    }

    // The first gap of `length` in [from, to).
    std::optional<int> gap(int from, int to, int length) const
    {
        int start = from;
        for (const auto &[begin, end] : spans_) {
            if (end <= start)
                continue;
            if (begin - start >= length)
                break;
            start = end;
        }
        if (to - start < length)
            return std::nullopt;
        return start;
    }

    int size() const
    {
        int sum = 0;
        for (const auto &[from, to] : spans_)
            sum += to - from;
        return sum;
    }

    std::string clock_times() const
    {
        std::ostringstream out;
        out << std::setfill('0');
        for (const auto &[from, to] : spans_)
            out << std::setw(2) << from / 60 << ':' << std::setw(2) << from % 60 << '-' << std::setw(2) << to / 60
                << ':' << std::setw(2) << to % 60 << ' ';
        return out.str();
    }

private:
    std::map<int, int> spans_;
};

} // namespace

extern "C" void intervals_check(struct check *check)
{
    Intervals diary;
    diary.add(9 * 60, 10 * 60);
    diary.add(11 * 60, 12 * 60);
    diary.add(10 * 60, 10 * 60 + 30);
    CHECK_TEXT(diary.clock_times().c_str(), "09:00-10:30 11:00-12:00 ");
    CHECK(diary.gap(9 * 60, 17 * 60, 30) == 10 * 60 + 30);
    CHECK(diary.gap(9 * 60, 17 * 60, 45) == 12 * 60);
    CHECK(!diary.gap(9 * 60, 12 * 60, 45));
    diary.remove(9 * 60 + 30, 11 * 60 + 15);
    CHECK_TEXT(diary.clock_times().c_str(), "09:00-09:30 11:15-12:00 ");
    diary.add(0, 24 * 60);
    CHECK_TEXT(diary.clock_times().c_str(), "00:00-24:00 ");

    // Against a plain set of numbers.
    constexpr int limit = 200;
    prng random;
    prng_seed(&random, SATCHEL_SEED);
    Intervals intervals;
    std::set<int> numbers;
    unsigned wrong = 0;
    for (int round = 0; round < 2000; round++) {
        int from = static_cast<int>(prng_below(&random, limit));
        int to = from + static_cast<int>(prng_below(&random, 20));
        bool adds = prng_below(&random, 2) == 0;
        adds ? intervals.add(from, to) : intervals.remove(from, to);
        for (int i = from; i < to; i++)
            adds ? void(numbers.insert(i)) : void(numbers.erase(i));
        wrong += intervals.size() != static_cast<int>(numbers.size());
        int probe = static_cast<int>(prng_below(&random, limit));
        wrong += intervals.contains(probe) != (numbers.count(probe) == 1);
    }
    CHECK(wrong == 0);
}
