// Conway's Life on an endless board, and the recognition of what a pattern becomes.
#include <algorithm>
#include <iostream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "satchel/check.h"
#include "satchel/cxx/lines.hpp"

namespace {

struct Cell {
    int x, y;
    friend bool operator==(Cell a, Cell b) { return a.x == b.x && a.y == b.y; }
    friend bool operator<(Cell a, Cell b) { return std::tie(a.y, a.x) < std::tie(b.y, b.x); }
};

struct CellHash {
    std::size_t operator()(Cell cell) const
    {
        return static_cast<std::size_t>(cell.x) * 73856093u ^ static_cast<std::size_t>(cell.y) * 19349663u;
    }
};

using Board = std::unordered_set<Cell, CellHash>;

Board parse(std::string_view picture)
{
    Board board;
    int y = 0;
    for (const std::string &row : satchel::split(picture, '/')) {
        for (std::size_t x = 0; x < row.size(); x++)
            if (row[x] == 'O')
                board.insert({static_cast<int>(x), y});
        y++;
    }
    return board;
}

Board step(const Board &board)
{
    std::unordered_map<Cell, int, CellHash> neighbours;
    for (Cell cell : board)
        for (int dy = -1; dy <= 1; dy++)
            for (int dx = -1; dx <= 1; dx++)
                if (dx || dy)
                    neighbours[{cell.x + dx, cell.y + dy}]++;
    Board next;
    for (const auto &[cell, count] : neighbours)
        if (count == 3 || (count == 2 && board.count(cell)))
            next.insert(cell);
    return next;
}

struct Shape {
    std::vector<Cell> cells; // sorted, its box beginning at 0, 0
    Cell corner;
};

Shape shape_of(const Board &board)
{
    Shape shape{{board.begin(), board.end()}, {0, 0}};
    if (board.empty())
        return shape;
    auto by_x = [](Cell a, Cell b) { return a.x < b.x; };
    shape.corner.x = std::min_element(shape.cells.begin(), shape.cells.end(), by_x)->x;
    shape.corner.y = std::min_element(shape.cells.begin(), shape.cells.end())->y;
    for (Cell &cell : shape.cells)
        cell = {cell.x - shape.corner.x, cell.y - shape.corner.y};
    std::sort(shape.cells.begin(), shape.cells.end());
    return shape;
}

std::string fate(std::string_view picture, int generations)
{
    Board board = parse(picture);
    std::map<std::vector<Cell>, std::pair<int, Cell>> seen;
    std::ostringstream out;
    for (int generation = 0; generation <= generations; generation++, board = step(board)) {
        Shape shape = shape_of(board);
        if (shape.cells.empty()) {
            out << "dies after " << generation;
            return out.str();
        }
        auto [at, fresh] = seen.try_emplace(shape.cells, generation, shape.corner);
        if (fresh)
            continue;
        auto [since, corner] = at->second;
        int period = generation - since;
        if (!(corner == shape.corner))
            out << "moves by " << shape.corner.x - corner.x << ',' << shape.corner.y - corner.y << " every " << period;
        else if (period == 1)
            out << "rests with " << board.size() << " cells after " << since;
        else
            out << "repeats every " << period;
        return out.str();
    }
    out << "still lively with " << board.size() << " cells";
    return out.str();
}

} // namespace

extern "C" void life_check(struct check *check)
{
    static const struct {
        const char *picture, *expected;
    } cases[] = {
        {"OO/OO", "rests with 4 cells after 0"},
        {"OOO", "repeats every 2"},
        {".O/..O/OOO", "moves by 1,1 every 4"},
        {".O..O/O/O...O/OOOO", "moves by -2,0 every 4"},
        {"OO", "dies after 1"},
        {"......O/OO/.O...OOO", "dies after 130"},
        {"..OOO...OOO//O....O.O....O/O....O.O....O/O....O.O....O/..OOO...OOO//..OOO...OOO/O....O.O....O/"
         "O....O.O....O/O....O.O....O//..OOO...OOO",
         "repeats every 3"},
    };
    for (const auto &one : cases)
        CHECK_TEXT(fate(one.picture, 200).c_str(), one.expected);
    CHECK_TEXT(fate(".OO/OO/.O", 20).substr(0, 12).c_str(), "still lively");
}
