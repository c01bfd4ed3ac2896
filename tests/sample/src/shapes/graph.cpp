// What depends on what: an order of work, the loop that forbids one, the shortest way and the longest chain.
#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <queue>
#include <set>
#include <string>
#include <vector>

#include "satchel/check.h"
#include "satchel/cxx/lines.hpp"

namespace {

struct Edge {
    std::string to;
    int cost;
};

class Graph {
public:
    void add(const std::string &from, const std::string &to, int cost)
    {
        edges_[from].push_back({to, cost});
        edges_[to];
    }

    // Every node after those that lead to it; ties by name. Nothing when there is a loop.
    std::optional<std::vector<std::string>> order() const
    {
        std::map<std::string, int> incoming;
        for (const auto &[from, edges] : edges_) {
            incoming[from];
            for (const Edge &edge : edges)
                incoming[edge.to]++;
        }
        std::set<std::string> ready;
        for (const auto &[node, count] : incoming)
            if (count == 0)
                ready.insert(node);
        std::vector<std::string> result;
        while (!ready.empty()) {
            std::string node = ready.extract(ready.begin()).value();
            for (const Edge &edge : edges_.at(node))
                if (--incoming[edge.to] == 0)
                    ready.insert(edge.to);
            result.push_back(std::move(node));
        }
        if (result.size() != edges_.size())
            return std::nullopt;
        return result;
    }

    std::vector<std::string> loop() const
    {
        std::map<std::string, int> state; // 1: on the way, 2: done
        std::vector<std::string> way;
        std::function<bool(const std::string &)> visit = [&](const std::string &node) {
            state[node] = 1;
            way.push_back(node);
            for (const Edge &edge : edges_.at(node)) {
                if (state[edge.to] == 1) {
                    way.erase(way.begin(), std::find(way.begin(), way.end(), edge.to));
                    way.push_back(edge.to);
                    return true;
                }
                if (state[edge.to] == 0 && visit(edge.to))
                    return true;
            }
            state[node] = 2;
            way.pop_back();
            return false;
        };
        for (const auto &entry : edges_)
            if (state[entry.first] == 0 && visit(entry.first))
                return way;
        return {};
    }

    // Dijkstra's algorithm; -1 when there is no way.
    int distance(const std::string &from, const std::string &to) const
    {
        using Reached = std::pair<int, std::string>;
        std::priority_queue<Reached, std::vector<Reached>, std::greater<>> queue;
        std::set<std::string> done;
        queue.emplace(0, from);
        while (!queue.empty()) {
            auto [cost, node] = queue.top();
            queue.pop();
            if (node == to)
                return cost;
            if (!done.insert(node).second)
                continue;
            for (const Edge &edge : edges_.at(node))
                queue.emplace(cost + edge.cost, edge.to);
        }
        return -1;
    }

    int longest_chain() const
    {
        std::map<std::string, int> reached;
        int longest = 0;
        for (const std::string &node : order().value_or(std::vector<std::string>{})) {
            for (const Edge &edge : edges_.at(node))
                reached[edge.to] = std::max(reached[edge.to], reached[node] + edge.cost);
            longest = std::max(longest, reached[node]);
        }
        return longest;
    }

private:
    std::map<std::string, std::vector<Edge>> edges_;
};

} // namespace

extern "C" void graph_check(struct check *check)
{
    Graph build;
    build.add("source", "object", 5);
    build.add("header", "object", 1);
    build.add("object", "library", 2);
    build.add("library", "program", 1);
    build.add("object", "program", 9);
    build.add("manual", "package", 3);
    build.add("program", "package", 1);
    auto order = build.order();
    CHECK(order.has_value());
    CHECK_TEXT(satchel::join(order.value(), " ").c_str(), "header manual source object library program package");
    CHECK(build.distance("source", "package") == 9);
    CHECK(build.distance("source", "manual") == -1);
    CHECK(build.longest_chain() == 15);
    CHECK(build.loop().empty());

    build.add("program", "source", 0); // it generates its own source
    CHECK(!build.order());
    CHECK_TEXT(satchel::join(build.loop(), " ").c_str(), "object library program source object");
    CHECK(build.longest_chain() == 0);
}
