// Finds and sums up the requests in a web server's log, by regular expression.
#include <iomanip>
#include <map>
#include <optional>
#include <regex>
#include <sstream>
#include <string>

#include "satchel/check.h"
#include "satchel/cxx/lines.hpp"

namespace {

struct Request {
    std::string host, method, path;
    int status;
    long bytes;
};

const std::regex &line_pattern()
{
    static const std::regex pattern(R"re(^(\S+) \S+ (\S+) \[([^\]]*)\] "([A-Z]+) ([^ "]+)[^"]*" ([1-5][0-9]{2}) (\d+|-)$)re",
                                    std::regex::ECMAScript | std::regex::optimize);
    return pattern;
}

std::optional<Request> parse(const std::string &line)
{
    std::smatch match;
    if (!std::regex_match(line, match, line_pattern()))
        return std::nullopt;
    long bytes = match[7] == "-" ? 0 : std::stol(match[7]);
    return Request{match[1], match[4], match[5], std::stoi(match[6]), bytes};
}

// A path without what makes each request different: "/item/17?page=2" becomes "/item/N".
std::string shape(const std::string &path)
{
    static const std::regex query(R"(\?.*)"), number(R"(/\d+(?=/|$))");
    return std::regex_replace(std::regex_replace(path, query, ""), number, "/N");
}

struct Totals {
    unsigned requests = 0, errors = 0;
    long bytes = 0;
};

std::string report(std::string_view log)
{
    std::map<std::string, Totals> by_shape;
    unsigned unreadable = 0;
    for (const std::string &line : satchel::split(log, '\n')) {
        auto request = parse(line);
        if (!request) {
            unreadable++;
            continue;
        }
        Totals &totals = by_shape[request->method + ' ' + shape(request->path)];
        totals.requests++;
        totals.errors += request->status >= 400;
        totals.bytes += request->bytes;
    }
    std::ostringstream out;
    for (const auto &[name, totals] : by_shape)
        out << std::left << std::setw(18) << name << std::right << std::setw(3) << totals.requests << std::setw(3)
            << totals.errors << std::setw(7) << totals.bytes << '\n';
    out << unreadable << " unreadable\n";
    return out.str();
}

} // namespace

extern "C" void logscan_check(struct check *check)
{
    const char *log = "10.0.0.1 - ann [01/Feb/2024:10:00:00 +0000] \"GET /item/17?page=2 HTTP/1.1\" 200 512\n"
                      "10.0.0.2 - - [01/Feb/2024:10:00:01 +0000] \"GET /item/4/ HTTP/1.1\" 404 -\n"
                      "10.0.0.2 - - [01/Feb/2024:10:00:02 +0000] \"GET /item/9 HTTP/1.1\" 200 1000\n"
                      "this is not a request\n"
                      "10.0.0.3 - bob [01/Feb/2024:10:00:03 +0000] \"POST /orders HTTP/2\" 201 88\n"
                      "10.0.0.3 - bob [01/Feb/2024:10:00:04 +0000] \"GET /item/12 HTTP/1.1\" 500 13\n"
                      "10.0.0.3 - bob [01/Feb/2024:10:00:05 +0000] \"GET / HTTP/1.1\" 999 13\n";
    CHECK_TEXT(report(log).c_str(), "GET /item/N         3  1   1525\n"
                                    "GET /item/N/        1  1      0\n"
                                    "POST /orders        1  0     88\n"
                                    "2 unreadable\n");
    CHECK_TEXT(shape("/a/1/b/22?c=/3/").c_str(), "/a/N/b/N");
    CHECK(!parse(""));
}
