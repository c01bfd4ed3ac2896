// A cache that forgets what was not used for longest, and counts how well that went.
#include <list>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>

#include "satchel/check.h"
#include "satchel/prng.h"

namespace {

template <typename Key, typename Value>
class Cache {
public:
    explicit Cache(std::size_t capacity) : capacity_(capacity) {}

    // The value of the key; `make` is called for it when the cache does not have it.
    template <typename Make>
    std::shared_ptr<const Value> get(const Key &key, Make make)
    {
        std::lock_guard guard(mutex_);
        if (auto found = places_.find(key); found != places_.end()) {
            hits_++;
            order_.splice(order_.begin(), order_, found->second);
            return found->second->second;
        }
        misses_++;
        auto value = std::make_shared<const Value>(make(key));
        order_.emplace_front(key, value);
        places_[key] = order_.begin();
        if (places_.size() > capacity_) {
            places_.erase(order_.back().first);
            order_.pop_back();
        }
        return value;
    }

    bool has(const Key &key) const { return places_.count(key) == 1; }
    std::size_t size() const { return places_.size(); }
    unsigned hits() const { return hits_; }
    unsigned misses() const { return misses_; }

private:
    using Order = std::list<std::pair<Key, std::shared_ptr<const Value>>>;

    std::size_t capacity_;
    std::mutex mutex_;
    Order order_; // the latest used first
    std::unordered_map<Key, typename Order::iterator> places_;
    unsigned hits_ = 0, misses_ = 0;
};

std::string spell(int number)
{
    static const char *const small[] = {"zero", "one", "two",   "three", "four",
                                        "five", "six", "seven", "eight", "nine"};
    if (number < 0)
        throw std::out_of_range("only natural numbers are spelt");
    std::string text = number >= 10 ? spell(number / 10) + '-' : "";
    return text + small[number % 10];
}

} // namespace

extern "C" void lru_check(struct check *check)
{
    Cache<int, std::string> cache(3);
    for (int number : {1, 2, 3, 1, 4})
        CHECK(*cache.get(number, spell) == spell(number));
    CHECK(cache.has(1) && !cache.has(2) && cache.has(3) && cache.has(4));
    CHECK(cache.hits() == 1 && cache.misses() == 4 && cache.size() == 3);
    auto kept = cache.get(1, spell);
    for (int number = 100; number < 110; number++)
        cache.get(number, spell);
    CHECK(!cache.has(1) && *kept == "one");
    bool thrown = false;
    try {
        cache.get(-5, spell);
    } catch (const std::out_of_range &) {
        thrown = true;
    }
    CHECK(thrown && !cache.has(-5) && cache.size() == 3);

    // Skewed use: a cache of a fifth of the keys serves far more than a fifth of the requests.
    Cache<unsigned, unsigned> skewed(20);
    prng random;
    prng_seed(&random, SATCHEL_SEED);
    for (int i = 0; i < 10000; i++) {
        double unit = prng_unit(&random);
        unsigned key = static_cast<unsigned>(unit * unit * unit * unit * 100);
        skewed.get(key, [](unsigned k) { return k * k; });
    }
    CHECK(skewed.hits() + skewed.misses() == 10000);
    CHECK(skewed.hits() > 4500);
}
