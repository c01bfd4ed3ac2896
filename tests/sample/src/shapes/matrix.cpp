// Matrices whose sizes are part of their type, over any field: doubles here, and numbers modulo a prime.
#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <initializer_list>
#include <iostream>
#include <numeric>
#include <optional>
#include <sstream>
#include <string>
#include <utility>

#include "satchel/check.h"

namespace {

template <unsigned Prime>
struct Modular {
    unsigned value = 0;

    constexpr Modular() = default;
    constexpr Modular(int number) : value(static_cast<unsigned>((number % int(Prime) + int(Prime)) % int(Prime))) {}
    friend constexpr Modular operator+(Modular a, Modular b) { return from((a.value + b.value) % Prime); }
    friend constexpr Modular operator-(Modular a, Modular b) { return from((a.value + Prime - b.value) % Prime); }
    friend constexpr Modular operator*(Modular a, Modular b) { return from(a.value * b.value % Prime); }
    friend constexpr Modular operator/(Modular a, Modular b) { return a * b.power(Prime - 2); } // Fermat
    friend constexpr bool operator==(Modular a, Modular b) { return a.value == b.value; }
    friend std::ostream &operator<<(std::ostream &out, Modular m) { return out << m.value; }

    constexpr Modular power(unsigned exponent) const
    {
        Modular result = 1, square = *this;
        for (; exponent; exponent /= 2, square = square * square)
            if (exponent % 2)
                result = result * square;
        return result;
    }

private:
    static constexpr Modular from(unsigned value)
    {
        Modular result;
        result.value = value;
        return result;
    }
};

double magnitude(double x) { return std::abs(x); }
double magnitude(std::complex<double> x) { return std::abs(x); }
template <unsigned Prime>
double magnitude(Modular<Prime> x) { return x.value != 0; }

template <typename T, std::size_t Rows, std::size_t Columns>
struct Matrix {
    std::array<std::array<T, Columns>, Rows> at{};

    static Matrix identity()
    {
        static_assert(Rows == Columns, "only a square matrix has an identity");
        Matrix result;
        for (std::size_t i = 0; i < Rows; i++)
            result.at[i][i] = T(1);
        return result;
    }

    template <std::size_t Others>
    friend Matrix<T, Rows, Others> operator*(const Matrix &a, const Matrix<T, Columns, Others> &b)
    {
        Matrix<T, Rows, Others> product;
        for (std::size_t i = 0; i < Rows; i++)
            for (std::size_t j = 0; j < Others; j++)
                for (std::size_t k = 0; k < Columns; k++)
                    product.at[i][j] = product.at[i][j] + a.at[i][k] * b.at[k][j];
        return product;
    }

    Matrix<T, Columns, Rows> transposed() const
    {
        Matrix<T, Columns, Rows> result;
        for (std::size_t i = 0; i < Rows; i++)
            for (std::size_t j = 0; j < Columns; j++)
                result.at[j][i] = at[i][j];
        return result;
    }

    // Gauss and Jordan, with the largest pivot. Nothing when the matrix is singular.
    std::optional<Matrix> inverse() const
    {
        Matrix left = *this, right = identity();
        for (std::size_t column = 0; column < Columns; column++) {
            std::size_t pivot = column;
            for (std::size_t row = column + 1; row < Rows; row++)
                if (magnitude(left.at[row][column]) > magnitude(left.at[pivot][column]))
                    pivot = row;
            if (magnitude(left.at[pivot][column]) < 1e-12)
                return std::nullopt;
            std::swap(left.at[pivot], left.at[column]);
            std::swap(right.at[pivot], right.at[column]);
            T scale = T(1) / left.at[column][column];
            for (std::size_t k = 0; k < Columns; k++) {
                left.at[column][k] = scale * left.at[column][k];
                right.at[column][k] = scale * right.at[column][k];
            }
            for (std::size_t row = 0; row < Rows; row++) {
                if (row == column)
                    continue;
                T factor = left.at[row][column];
                for (std::size_t k = 0; k < Columns; k++) {
                    left.at[row][k] = left.at[row][k] - factor * left.at[column][k];
                    right.at[row][k] = right.at[row][k] - factor * right.at[column][k];
                }
            }
        }
        return right;
    }

    friend std::ostream &operator<<(std::ostream &out, const Matrix &m)
    {
        for (const auto &row : m.at)
            for (const T &value : row)
                out << value << (&value == &row.back() ? ";" : " ");
        return out;
    }
};

template <typename T, std::size_t R, std::size_t C>
std::string text(const Matrix<T, R, C> &matrix)
{
    std::ostringstream out;
    out << matrix;
    return out.str();
}

template <typename T, std::size_t N>
double distance_to_identity(const Matrix<T, N, N> &matrix)
{
    double sum = 0;
    for (std::size_t i = 0; i < N; i++)
        for (std::size_t j = 0; j < N; j++)
            sum += magnitude(matrix.at[i][j] - T(i == j ? 1 : 0));
    return sum;
}

} // namespace

extern "C" void matrix_check(struct check *check)
{
    Matrix<double, 2, 3> a{{{{1, 2, 3}, {4, 5, 6}}}};
    CHECK_TEXT(text(a * a.transposed()).c_str(), "14 32;32 77;");
    Matrix<double, 2, 2> singular{{{{1, 2}, {2, 4}}}}, exchange{{{{0, 1}, {2, 0}}}};
    CHECK(!singular.inverse());
    CHECK_TEXT(text(exchange.inverse().value()).c_str(), "0 0.5;1 0;");

    Matrix<double, 6, 6> hilbert;
    for (std::size_t i = 0; i < 6; i++)
        for (std::size_t j = 0; j < 6; j++)
            hilbert.at[i][j] = 1.0 / double(i + j + 1);
    CHECK(distance_to_identity(hilbert * hilbert.inverse().value()) < 1e-6);

    using Seven = Modular<7>;
    Matrix<Seven, 2, 2> m{{{{Seven(3), Seven(5)}, {Seven(1), Seven(-5)}}}};
    CHECK_TEXT(text(m.inverse().value()).c_str(), "2 2;6 3;");
    CHECK(distance_to_identity(m * m.inverse().value()) == 0);

    using Complex = std::complex<double>;
    Matrix<Complex, 2, 2> turn{{{{Complex(0, 1), Complex(0)}, {Complex(0), Complex(0, -1)}}}};
    CHECK(distance_to_identity(turn * turn * turn * turn) == 0);
}
