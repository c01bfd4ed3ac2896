// JSON (RFC 8259): a value type, a parser with a depth limit, and a writer.
#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdint>
#include <map>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "satchel/check.h"

namespace {

struct Value;
using Array = std::vector<Value>;
using Object = std::map<std::string, Value>;

struct Value {
    std::variant<std::nullptr_t, bool, double, std::string, Array, Object> data = nullptr;
};

constexpr int depth_max = 100;

class Parser {
public:
    explicit Parser(std::string_view text) : text_(text) {}

    Value document()
    {
        Value value = this->value(0);
        skip_blanks();
        if (!text_.empty())
            fail("something follows the value");
        return value;
    }

private:
    std::string_view text_;

    [[noreturn]] static void fail(const char *why) { throw std::invalid_argument(why); }

    void skip_blanks()
    {
        auto first = text_.find_first_not_of(" \t\r\n");
        text_.remove_prefix(first == std::string_view::npos ? text_.size() : first);
    }

    bool take(std::string_view word)
    {
        if (text_.substr(0, word.size()) != word)
            return false;
        text_.remove_prefix(word.size());
        return true;
    }

    char next()
    {
        if (text_.empty())
            fail("the text ends early");
        char c = text_.front();
        text_.remove_prefix(1);
        return c;
    }

    Value value(int depth)
    {
        if (depth > depth_max)
            fail("nested too deeply");
        skip_blanks();
        if (take("null"))
            return {nullptr};
        if (take("true"))
            return {true};
        if (take("false"))
            return {false};
        if (take("\""))
            return {string()};
        if (take("["))
            return {array(depth)};
        if (take("{"))
            return {object(depth)};
        return {number()};
    }

    double number()
    {
        double result = 0;
        auto length = text_.find_first_not_of("+-.0123456789eE");
        std::string_view digits = text_.substr(0, length);
        std::string_view whole = digits.substr(digits.substr(0, 1) == "-" ? 1 : 0);
        bool begins_well = !whole.empty() && std::isdigit(static_cast<unsigned char>(whole[0]));
        if (!begins_well || (whole.size() > 1 && whole[0] == '0' && std::isdigit(static_cast<unsigned char>(whole[1]))))
            fail("not a number");
        std::istringstream in{std::string(digits)};
        if (!(in >> result) || in.peek() != std::istringstream::traits_type::eof())
            fail("not a number");
        text_.remove_prefix(digits.size());
        return result;
    }

    std::string string()
    {
        std::string result;
        for (char c = next(); c != '"'; c = next()) {
            if (static_cast<unsigned char>(c) < 0x20)
                fail("a control character in a string");
            if (c == '\\')
                escape(result);
            else
                result += c;
        }
        return result;
    }

    void escape(std::string &result)
    {
        static constexpr std::string_view letters = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
        char c = next();
        if (auto at = letters.find(c); at != std::string_view::npos) {
            result += meanings[at];
            return;
        }
        unsigned point = 0;
        auto [end, error] = std::from_chars(text_.data(), text_.data() + std::min<std::size_t>(4, text_.size()), point, 16);
        if (c != 'u' || error != std::errc() || end != text_.data() + 4 || (point >= 0xD800 && point < 0xE000))
            fail("a bad escape");
        text_.remove_prefix(4);
        if (point < 0x80) {
            result += static_cast<char>(point);
        } else if (point < 0x800) {
            result += static_cast<char>(0xC0 | point >> 6);
            result += static_cast<char>(0x80 | (point & 0x3F));
        } else {
            result += static_cast<char>(0xE0 | point >> 12);
            result += static_cast<char>(0x80 | (point >> 6 & 0x3F));
            result += static_cast<char>(0x80 | (point & 0x3F));
        }
    }

    Array array(int depth)
    {
        Array result;
        skip_blanks();
        if (take("]"))
            return result;
        for (;;) {
            result.push_back(value(depth + 1));
            skip_blanks();
            if (take("]"))
                return result;
            if (!take(","))
                fail("expected , or ]");
        }
    }

    Object object(int depth)
    {
        Object result;
        skip_blanks();
        if (take("}"))
            return result;
        for (;;) {
            skip_blanks();
            if (!take("\""))
                fail("expected a name");
            std::string name = string();
            skip_blanks();
            if (!take(":"))
                fail("expected :");
            result.insert_or_assign(std::move(name), value(depth + 1));
            skip_blanks();
            if (take("}"))
                return result;
            if (!take(","))
                fail("expected , or }");
        }
    }
};

struct Writer {
    std::ostream &out;

    void write(const Value &value) { std::visit(*this, value.data); }
    void operator()(std::nullptr_t) { out << "null"; }
    void operator()(bool value) { out << (value ? "true" : "false"); }
    void operator()(double value) { out << value; }
    void operator()(const std::string &value)
    {
        out << '"';
        for (char c : value) {
            if (c == '"' || c == '\\')
                out << '\\' << c;
            else if (static_cast<unsigned char>(c) < 0x20)
                out << "\\u00" << "0123456789abcdef"[c >> 4] << "0123456789abcdef"[c & 15];
            else
                out << c;
        }
        out << '"';
    }
    void operator()(const Array &array)
    {
        const char *before = "[";
        for (const Value &value : array) {
            out << before;
            write(value);
            before = ",";
        }
        out << (array.empty() ? "[]" : "]");
    }
    void operator()(const Object &object)
    {
        const char *before = "{";
        for (const auto &[name, value] : object) {
            out << before;
            (*this)(name);
            out << ':';
            write(value);
            before = ",";
        }
        out << (object.empty() ? "{}" : "}");
    }
};

// The text parsed and written again, or why it is not JSON.
std::string again(std::string_view text)
{
    try {
        std::ostringstream out;
        Writer{out}.write(Parser(text).document());
        return out.str();
    } catch (const std::invalid_argument &error) {
        return error.what();
    }
}

} // namespace

extern "C" void json_check(struct check *check)
{
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {" null ", "null"},
        {"[1, -2.5e1 ,true]", "[1,-25,true]"},
        {"{\"b\":[],\"a\":{\"x\":\"\\u00e9\\n\"}}", "{\"a\":{\"x\":\"\xC3\xA9\\u000a\"},\"b\":[]}"},
        {"{\"twice\":1,\"twice\":2}", "{\"twice\":2}"},
        {"\"\\\"\\\\\\u20aC\"", "\"\\\"\\\\\xE2\x82\xAC\""},
        {"{}", "{}"},
        {"", "not a number"},
        {"01", "not a number"},
        {"1.5.2", "not a number"},
        {"[1,]", "not a number"},
        {"[1 2]", "expected , or ]"},
        {"{a:1}", "expected a name"},
        {"\"open", "the text ends early"},
        {"\"\\q\"", "a bad escape"},
        {"\"\\u12\"", "a bad escape"},
        {"1 1", "something follows the value"},
    };
    for (const auto &one : cases)
        CHECK_TEXT(again(one.text).c_str(), one.expected);
    CHECK_TEXT(again(std::string(1000, '[')).c_str(), "nested too deeply");
}
