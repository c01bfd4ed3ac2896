// Polygons: area, convex hull, a point inside, and the closest pair of many points.
#include <algorithm>
#include <array>
#include <cmath>
#include <iostream>
#include <iterator>
#include <limits>
#include <sstream>
#include <vector>

#include "satchel/check.h"
#include "satchel/cxx/lines.hpp"
#include "satchel/cxx/vector2.hpp"
#include "satchel/prng.h"

namespace {

using satchel::Vector2;
using Polygon = std::vector<Vector2>;

double area(const Polygon &polygon)
{
    double twice = 0;
    for (std::size_t i = 0; i < polygon.size(); i++)
        twice += cross(polygon[i], polygon[(i + 1) % polygon.size()]);
    return twice / 2;
}

// Andrew's monotone chain: counterclockwise, without points that lie on an edge.
Polygon convex_hull(Polygon points)
{
    std::sort(points.begin(), points.end(), [](Vector2 a, Vector2 b) { return a.x != b.x ? a.x < b.x : a.y < b.y; });
    if (points.size() < 3)
        return points;
    Polygon hull;
    auto chain = [&hull](auto first, auto last) {
        std::size_t start = hull.size();
        for (; first != last; ++first) {
            while (hull.size() >= start + 2 && cross(hull.back() - *(hull.end() - 2), *first - hull.back()) <= 0)
                hull.pop_back();
            hull.push_back(*first);
        }
        hull.pop_back();
    };
    chain(points.begin(), points.end());
    chain(points.rbegin(), points.rend());
    return hull;
}

bool contains(const Polygon &polygon, Vector2 point)
{
    bool inside = false;
    for (std::size_t i = 0, j = polygon.size() - 1; i < polygon.size(); j = i++) {
        Vector2 a = polygon[i], b = polygon[j];
        if ((a.y > point.y) != (b.y > point.y) && point.x < (b.x - a.x) * (point.y - a.y) / (b.y - a.y) + a.x)
            inside = !inside;
    }
    return inside;
}

// The points are sorted by x; they leave sorted by y.
double closest(std::vector<Vector2>::iterator first, std::vector<Vector2>::iterator last)
{
    constexpr auto by_y = [](Vector2 a, Vector2 b) { return a.y < b.y; };
    auto count = std::distance(first, last);
    if (count < 2)
        return std::numeric_limits<double>::infinity();
    auto middle = first + count / 2;
    double x = middle->x;
    double best = std::min(closest(first, middle), closest(middle, last));
    std::inplace_merge(first, middle, last, by_y);
    std::vector<Vector2> strip;
    std::copy_if(first, last, std::back_inserter(strip), [&](Vector2 p) { return std::abs(p.x - x) < best; });
    for (auto a = strip.begin(); a != strip.end(); ++a)
        for (auto b = a + 1; b != strip.end() && b->y - a->y < best; ++b)
            best = std::min(best, length(*b - *a));
    return best;
}

double closest_pair(std::vector<Vector2> points)
{
    std::sort(points.begin(), points.end(), [](Vector2 a, Vector2 b) { return a.x < b.x; });
    return closest(points.begin(), points.end());
}

std::vector<Vector2> random_points(std::size_t count)
{
    prng random;
    prng_seed(&random, SATCHEL_SEED);
    std::vector<Vector2> points(count);
    for (Vector2 &point : points)
        point = {prng_unit(&random), prng_unit(&random)};
    return points;
}

} // namespace

extern "C" void geometry_check(struct check *check)
{
    const Polygon arrow{{0, 0}, {4, 0}, {4, 4}, {2, 1}, {0, 4}};
    CHECK(area(arrow) == 10);
    CHECK(area(Polygon(arrow.rbegin(), arrow.rend())) == -10);
    CHECK(contains(arrow, {3.5, 2}) && !contains(arrow, {2, 2}) && !contains(arrow, {5, 1}));
    CHECK_TEXT(satchel::join(convex_hull(arrow), " ").c_str(), "(0,0) (4,0) (4,4) (0,4)");
    CHECK_TEXT(satchel::join(convex_hull({{0, 0}, {1, 1}, {2, 2}, {1, 0}, {2, 0}}), " ").c_str(), "(0,0) (2,0) (2,2)");

    auto points = random_points(400);
    double slow = std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < points.size(); i++)
        for (std::size_t j = i + 1; j < points.size(); j++)
            slow = std::min(slow, length(points[i] - points[j]));
    CHECK(closest_pair(points) == slow);
    Polygon hull = convex_hull(points);
    CHECK(area(hull) > 0.9 && area(hull) < 1);
    CHECK(std::all_of(points.begin(), points.end(), [&](Vector2 point) {
        return contains(hull, point) || std::find(hull.begin(), hull.end(), point) != hull.end();
    }));
}
