// Form letters: a template with values, conditions and repeated parts, compiled to a tree and then filled in.
#include <functional>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "satchel/check.h"
#include "satchel/cxx/lines.hpp"

namespace {

struct Data {
    std::map<std::string, std::string> values;
    std::map<std::string, std::vector<Data>> lists;
};

// What a name means where it stands: the innermost item first.
using Scope = std::vector<const Data *>;

class Part {
public:
    virtual ~Part() = default;
    virtual void fill(std::ostream &out, Scope &scope) const = 0;
};

using Parts = std::vector<std::unique_ptr<Part>>;

void fill_all(const Parts &parts, std::ostream &out, Scope &scope)
{
    for (const auto &part : parts)
        part->fill(out, scope);
}

class Text final : public Part {
public:
    explicit Text(std::string_view text) : text_(text) {}
    void fill(std::ostream &out, Scope &) const override { out << text_; }

private:
    std::string text_;
};

class Field final : public Part {
public:
    explicit Field(std::string name) : name_(std::move(name)) {}
    void fill(std::ostream &out, Scope &scope) const override
    {
        for (auto data = scope.rbegin(); data != scope.rend(); ++data) {
            if (auto found = (*data)->values.find(name_); found != (*data)->values.end()) {
                out << found->second;
                return;
            }
        }
        out << '?' << name_ << '?';
    }

private:
    std::string name_;
};

class Section final : public Part {
public:
    Section(std::string name, bool when_empty, Parts parts)
        : name_(std::move(name)), when_empty_(when_empty), parts_(std::move(parts))
    {
    }
    void fill(std::ostream &out, Scope &scope) const override
    {
        auto found = scope.back()->lists.find(name_);
        bool empty = found == scope.back()->lists.end() || found->second.empty();
        if (when_empty_ && empty)
            fill_all(parts_, out, scope);
        if (when_empty_ || empty)
            return;
        for (const Data &item : found->second) {
            scope.push_back(&item);
            fill_all(parts_, out, scope);
            scope.pop_back();
        }
    }

private:
    std::string name_;
    bool when_empty_;
    Parts parts_;
};

// Reads up to the end of `section`, or of the text when it is empty.
Parts compile(std::string_view &text, const std::string &section)
{
    Parts parts;
    while (!text.empty()) {
        auto open = text.find('{');
        parts.push_back(std::make_unique<Text>(text.substr(0, open)));
        if (open == std::string_view::npos) {
            text = {};
            break;
        }
        auto close = text.find('}', open);
        if (close == std::string_view::npos)
            throw std::runtime_error("a { is never closed");
        std::string name(satchel::trim(text.substr(open + 1, close - open - 1)));
        text.remove_prefix(close + 1);
        char mark = name.empty() ? '\0' : name[0];
        switch (mark) {
        case '\0':
            throw std::runtime_error("a field without a name");
        case '/':
            if (name.substr(1) != section)
                throw std::runtime_error("{" + name + "} closes nothing");
            return parts;
        case '#':
        case '^':
            name.erase(0, 1);
            parts.push_back(std::make_unique<Section>(name, mark == '^', compile(text, name)));
            break;
        default:
            parts.push_back(std::make_unique<Field>(name));
        }
    }
    if (!section.empty())
        throw std::runtime_error("{#" + section + "} is never closed");
    return parts;
}

std::string letter(std::string_view text, const Data &data)
{
    try {
        Parts parts = compile(text, "");
        std::ostringstream out;
        Scope scope{&data};
        fill_all(parts, out, scope);
        return out.str();
    } catch (const std::runtime_error &error) {
        return error.what();
    }
}

} // namespace

extern "C" void letters_check(struct check *check)
{
    Data data;
    data.values = {{"name", "Ms Byron"}, {"sum", "12.50"}};
    data.lists["items"] = {Data{{{"what", "gears"}, {"sum", "9"}}, {}}, Data{{{"what", "cards"}, {"sum", "3.50"}}, {}}};
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"Dear { name }, you owe {sum}.", "Dear Ms Byron, you owe 12.50."},
        {"{#items}{what} for {name}: {sum}; {/items}total {sum}", "gears for Ms Byron: 9; cards for Ms Byron: 3.50; total 12.50"},
        {"{^items}nothing{/items}{^rebates}no rebates{/rebates}", "no rebates"},
        {"{street}", "?street?"},
        {"", ""},
        {"{#items}", "{#items} is never closed"},
        {"{/items}", "{/items} closes nothing"},
        {"{#a}{#b}{/a}{/b}", "{/a} closes nothing"},
        {"{name", "a { is never closed"},
        {"{ }", "a field without a name"},
    };
    for (const auto &one : cases)
        CHECK_TEXT(letter(one.text, data).c_str(), one.expected);
}
