// Counts words, and hands out the buckets of a hash table whose sizes are primes.
#include <algorithm>
#include <cctype>
#include <functional>
#include <iterator>
#include <numeric>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <satchel/tables.h>

#include "satchel/check.h"
#include "satchel/cxx/lines.hpp"

namespace {

using Count = std::pair<std::string, unsigned>;

std::unordered_map<std::string, unsigned> count_words(std::string_view text)
{
    std::unordered_map<std::string, unsigned> counts;
    std::string word;
    auto finish = [&] {
        if (!word.empty())
            counts[std::exchange(word, {})]++;
    };
    for (unsigned char c : text) {
        if (std::isalpha(c) || (c == '\'' && !word.empty()))
            word += static_cast<char>(std::tolower(c));
        else
            finish();
    }
    finish();
    return counts;
}

std::vector<Count> most_frequent(const std::unordered_map<std::string, unsigned> &counts, std::size_t how_many)
{
    std::vector<Count> result(std::min(how_many, counts.size()));
    std::partial_sort_copy(counts.begin(), counts.end(), result.begin(), result.end(), [](const auto &a, const auto &b) {
        return a.second != b.second ? a.second > b.second : a.first < b.first;
    });
    return result;
}

// The least prime of the generated table that is not below `wanted`, or 0.
unsigned bucket_count(unsigned wanted)
{
    const auto *end = std::end(small_primes);
    const auto *found = std::lower_bound(std::begin(small_primes), end, wanted);
    return found == end ? 0 : *found;
}

std::size_t fullest_bucket(const std::unordered_map<std::string, unsigned> &counts, unsigned buckets)
{
    std::vector<std::size_t> sizes(buckets);
    for (const auto &entry : counts) {
        unsigned sum = std::accumulate(entry.first.begin(), entry.first.end(), 7u,
                                       [](unsigned hash, unsigned char c) { return hash * 31 + c; });
        sizes[sum % buckets]++;
    }
    return *std::max_element(sizes.begin(), sizes.end());
}

} // namespace

extern "C" void census_check(struct check *check)
{
    const char *rhyme = "The farmer's in the dell, the farmer's in the dell; heigh-ho, the derry-o, the farmer's in "
                        "the dell. The farmer takes a wife, the farmer takes a wife.";
    auto counts = count_words(rhyme);
    std::vector<std::string> lines;
    for (const auto &[word, count] : most_frequent(counts, 4))
        lines.push_back(word + "=" + std::to_string(count));
    CHECK_TEXT(satchel::join(lines, " ").c_str(), "the=9 dell=3 farmer's=3 in=3");
    CHECK(counts["farmer"] == 2);
    CHECK(counts.count("ho") == 1 && counts.count("") == 0);
    CHECK(most_frequent(counts, 1000).size() == counts.size());

    CHECK(SMALL_PRIMES_COUNT == std::size(small_primes));
    CHECK(std::is_sorted(std::begin(small_primes), std::end(small_primes)));
    CHECK(bucket_count(0) == 2 && bucket_count(90) == 97 && bucket_count(1021) == 1021 && bucket_count(1022) == 0);
    CHECK(fullest_bucket(counts, bucket_count(60)) <= 3);
}
