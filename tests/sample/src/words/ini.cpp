// Configuration in sections of "name = value" lines, with typed access that says what is wrong and where.
#include <algorithm>
#include <chrono>
#include <iostream>
#include <map>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "satchel/check.h"
#include "satchel/cxx/lines.hpp"

namespace {

using satchel::trim;

struct Entry {
    std::string text;
    int line;
};

class Config {
public:
    static Config read(std::istream &in)
    {
        Config config;
        std::string section, raw;
        for (int number = 1; std::getline(in, raw); number++) {
            std::string_view line = trim(std::string_view(raw).substr(0, raw.find_first_of("#;")));
            if (line.empty())
                continue;
            if (line.front() == '[') {
                if (line.back() != ']')
                    complain(number, "a section without ]");
                section = trim(line.substr(1, line.size() - 2));
                continue;
            }
            auto equals = line.find('=');
            if (equals == std::string_view::npos || equals == 0)
                complain(number, "expected name = value");
            std::string name = section + '.' + std::string(trim(line.substr(0, equals)));
            auto [at, fresh] = config.entries_.try_emplace(name, Entry{std::string(trim(line.substr(equals + 1))), number});
            if (!fresh)
                complain(number, name + " is already set in line " + std::to_string(at->second.line));
        }
        return config;
    }

    template <typename T>
    T get(const std::string &name, T otherwise) const
    {
        auto found = entries_.find(name);
        return found == entries_.end() ? otherwise : convert<T>(found->second);
    }

private:
    std::map<std::string, Entry> entries_;

    [[noreturn]] static void complain(int line, const std::string &what)
    {
        throw std::runtime_error("line " + std::to_string(line) + ": " + what);
    }

    template <typename T>
    static T convert(const Entry &entry)
    {
        if constexpr (std::is_same_v<T, std::string>) {
            return entry.text;
        } else if constexpr (std::is_same_v<T, bool>) {
            if (entry.text == "yes" || entry.text == "no")
                return entry.text == "yes";
            complain(entry.line, entry.text + " is neither yes nor no");
        } else if constexpr (std::is_same_v<T, std::chrono::seconds>) {
            static const std::map<char, long> units{{'s', 1}, {'m', 60}, {'h', 3600}};
            auto unit = entry.text.empty() ? units.end() : units.find(entry.text.back());
            if (unit == units.end())
                complain(entry.line, entry.text + " has no unit");
            return std::chrono::seconds(unit->second * convert<long>({entry.text.substr(0, entry.text.size() - 1), entry.line}));
        } else {
            T value;
            std::istringstream in(entry.text);
            if (!(in >> value) || in.peek() != std::istringstream::traits_type::eof())
                complain(entry.line, entry.text + " is not a number");
            return value;
        }
    }
};

template <typename T>
std::string show(const std::string &text, const std::string &name, T otherwise)
{
    try {
        std::istringstream in(text);
        std::ostringstream out;
        out << std::boolalpha;
        T value = Config::read(in).get<T>(name, otherwise);
        if constexpr (std::is_same_v<T, std::chrono::seconds>)
            out << value.count() << " s";
        else
            out << value;
        return out.str();
    } catch (const std::runtime_error &error) {
        return error.what();
    }
}

} // namespace

extern "C" void ini_check(struct check *check)
{
    using std::chrono::seconds;
    const std::string text = "; a press\ncolour = blue # paint\n[ press ]\nspeed=2.5\npaper = A4\nduplex = yes\n"
                             "pause = 3m\nlimit = 1x\n\n[empty]\n";
    CHECK_TEXT(show<std::string>(text, ".colour", "").c_str(), "blue");
    CHECK_TEXT(show<double>(text, "press.speed", 0).c_str(), "2.5");
    CHECK_TEXT(show<bool>(text, "press.duplex", false).c_str(), "true");
    CHECK_TEXT(show<bool>(text, "press.paper", false).c_str(), "line 5: A4 is neither yes nor no");
    CHECK_TEXT(show<seconds>(text, "press.pause", seconds(0)).c_str(), "180 s");
    CHECK_TEXT(show<seconds>(text, "press.speed", seconds(0)).c_str(), "line 4: 2.5 has no unit");
    CHECK_TEXT(show<int>(text, "press.limit", 0).c_str(), "line 8: 1x is not a number");
    CHECK_TEXT(show<int>(text, "press.trays", 2).c_str(), "2");
    CHECK_TEXT(show<int>("a = 1\n\na = 2\n", ".a", 0).c_str(), "line 3: .a is already set in line 1");
    CHECK_TEXT(show<int>("[open\n", "", 0).c_str(), "line 1: a section without ]");
    CHECK_TEXT(show<int>("= 3\n", "", 0).c_str(), "line 1: expected name = value");
}
