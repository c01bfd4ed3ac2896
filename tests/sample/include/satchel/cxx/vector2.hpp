// Points and vectors of the plane.
#ifndef SATCHEL_CXX_VECTOR2_HPP
#define SATCHEL_CXX_VECTOR2_HPP

#include <cmath>
#include <ostream>

namespace satchel {

struct Vector2 {
    double x = 0;
    double y = 0;

    friend constexpr Vector2 operator+(Vector2 a, Vector2 b) { return {a.x + b.x, a.y + b.y}; }
    friend constexpr Vector2 operator-(Vector2 a, Vector2 b) { return {a.x - b.x, a.y - b.y}; }
    friend constexpr Vector2 operator*(double k, Vector2 v) { return {k * v.x, k * v.y}; }
    friend constexpr bool operator==(Vector2 a, Vector2 b) { return a.x == b.x && a.y == b.y; }
    friend std::ostream &operator<<(std::ostream &out, Vector2 v) { return out << '(' << v.x << ',' << v.y << ')'; }
};

constexpr double dot(Vector2 a, Vector2 b) { return a.x * b.x + a.y * b.y; }
// Twice the area of the triangle 0, a, b; positive when b is to the left of a.
constexpr double cross(Vector2 a, Vector2 b) { return a.x * b.y - a.y * b.x; }
inline double length(Vector2 v) { return std::hypot(v.x, v.y); }

} // namespace satchel

#endif
