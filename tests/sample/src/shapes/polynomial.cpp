// Polynomials: arithmetic, printing, real roots by bracketing, and products through a fast Fourier transform.
#include <algorithm>
#include <cmath>
#include <complex>
#include <iostream>
#include <numeric>
#include <sstream>
#include <string>
#include <valarray>
#include <vector>

#include "satchel/check.h"

namespace {

// The coefficient of x^i is at place i; the last one is not zero.
using Polynomial = std::vector<double>;

void trim(Polynomial &p)
{
    while (!p.empty() && p.back() == 0)
        p.pop_back();
}

double value(const Polynomial &p, double x)
{
    return std::accumulate(p.rbegin(), p.rend(), 0.0, [x](double sum, double c) { return sum * x + c; });
}

Polynomial derivative(const Polynomial &p)
{
    Polynomial result;
    for (std::size_t i = 1; i < p.size(); i++)
        result.push_back(double(i) * p[i]);
    return result;
}

Polynomial multiply_plainly(const Polynomial &a, const Polynomial &b)
{
    Polynomial product(a.empty() || b.empty() ? 0 : a.size() + b.size() - 1);
    for (std::size_t i = 0; i < a.size(); i++)
        for (std::size_t j = 0; j < b.size(); j++)
            product[i + j] += a[i] * b[j];
    return product;
}

using Spectrum = std::valarray<std::complex<double>>;

void transform(Spectrum &values, double sign)
{
    const std::size_t count = values.size();
    if (count <= 1)
        return;
    Spectrum even = values[std::slice(0, count / 2, 2)], odd = values[std::slice(1, count / 2, 2)];
    transform(even, sign);
    transform(odd, sign);
    for (std::size_t k = 0; k < count / 2; k++) {
        auto turned = std::polar(1.0, sign * 2 * M_PI * double(k) / double(count)) * odd[k];
        values[k] = even[k] + turned;
        values[k + count / 2] = even[k] - turned;
    }
}

Polynomial multiply_fast(const Polynomial &a, const Polynomial &b)
{
    std::size_t wanted = a.size() + b.size(), count = 1;
    while (count < wanted)
        count *= 2;
    Spectrum left(count), right(count);
    std::copy(a.begin(), a.end(), std::begin(left));
    std::copy(b.begin(), b.end(), std::begin(right));
    transform(left, 1);
    transform(right, 1);
    left *= right;
    transform(left, -1);
    Polynomial product(wanted - 1);
    for (std::size_t i = 0; i < product.size(); i++)
        product[i] = left[i].real() / double(count);
    return product;
}

// Between the roots of the derivative a polynomial is monotone, so each stretch holds one root or none.
std::vector<double> roots(const Polynomial &p, double low, double high)
{
    if (p.size() < 2)
        return {};
    std::vector<double> borders{low};
    for (double turn : roots(derivative(p), low, high))
        borders.push_back(turn);
    borders.push_back(high);
    std::vector<double> found;
    for (std::size_t i = 0; i + 1 < borders.size(); i++) {
        double a = borders[i], b = borders[i + 1];
        if ((value(p, a) < 0) == (value(p, b) < 0))
            continue;
        for (int step = 0; step < 200 && a < b; step++) {
            double middle = a + (b - a) / 2;
            ((value(p, middle) < 0) == (value(p, a) < 0) ? a : b) = middle;
        }
        found.push_back(a);
    }
    return found;
}

std::string text(const Polynomial &p)
{
    std::ostringstream out;
    for (std::size_t i = p.size(); i-- > 0;) {
        if (p[i] == 0)
            continue;
        bool first = out.tellp() == std::streampos(0);
        out << (p[i] < 0 ? (first ? "-" : " - ") : (first ? "" : " + "));
        if (std::abs(p[i]) != 1 || i == 0)
            out << std::abs(p[i]);
        if (i > 0)
            out << 'x';
        if (i > 1)
            out << '^' << i;
    }
    return out.tellp() == std::streampos(0) ? "0" : out.str();
}

} // namespace

extern "C" void polynomial_check(struct check *check)
{
    Polynomial p{-6, 11, -6, 1};
    CHECK_TEXT(text(p).c_str(), "x^3 - 6x^2 + 11x - 6");
    CHECK_TEXT(text(derivative(p)).c_str(), "3x^2 - 12x + 11");
    Polynomial zeros{0, 0};
    trim(zeros);
    CHECK_TEXT(text(zeros).c_str(), "0");
    CHECK_TEXT(text(multiply_plainly({-1, 1}, {1, 1})).c_str(), "x^2 - 1");
    auto found = roots(p, -100, 100);
    CHECK(found.size() == 3);
    for (std::size_t i = 0; i < found.size(); i++)
        CHECK(std::abs(found[i] - double(i + 1)) < 1e-9);
    CHECK(roots({1, 0, 1}, -100, 100).empty());

    Polynomial binomial{1}, step{1, 1};
    for (int i = 0; i < 32; i++)
        binomial = multiply_plainly(binomial, step);
    auto slow = multiply_plainly(binomial, binomial), fast = multiply_fast(binomial, binomial);
    CHECK(slow.size() == fast.size());
    CHECK(slow[32] == 1832624140942590534.0); // 64 over 32
    for (std::size_t i = 0; i < slow.size(); i++)
        CHECK(std::abs(slow[i] - fast[i]) < 1e-12 * slow[32]);
}
