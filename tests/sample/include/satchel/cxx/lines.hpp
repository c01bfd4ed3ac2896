// Cutting text in pieces and putting pieces together.
#ifndef SATCHEL_CXX_LINES_HPP
#define SATCHEL_CXX_LINES_HPP

#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace satchel {

inline std::vector<std::string> split(std::string_view text, char separator)
{
    std::vector<std::string> pieces;
    while (!text.empty()) {
        auto end = text.find(separator);
        pieces.emplace_back(text.substr(0, end));
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
    return pieces;
}

inline std::string_view trim(std::string_view text)
{
    auto first = text.find_first_not_of(" \t\r\n");
    if (first == std::string_view::npos)
        return {};
    return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

template <typename Range>
std::string join(const Range &range, std::string_view separator)
{
    std::ostringstream out;
    std::string_view before;
    for (const auto &item : range) {
        out << before << item;
        before = separator;
    }
    return out.str();
}

} // namespace satchel

#endif
