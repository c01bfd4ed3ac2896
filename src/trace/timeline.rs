//! How many jobs ran at a time, over the time of a build, in a fixed amount of memory.

use std::collections::BTreeMap;

/// The width of a piece of time at first, in microseconds. It doubles as the build turns out to be longer.
const WIDTH_MIN: u64 = 1 << 17;
/// How many pieces are kept.
const PIECES_MAX: u64 = 2048;

/// Work in each piece of time, in microseconds.
#[derive(Clone, Debug)]
pub struct Timeline {
    width: u64,
    pieces: BTreeMap<u64, u64>,
}

impl Default for Timeline {
    fn default() -> Timeline {
        Timeline { width: WIDTH_MIN, pieces: BTreeMap::new() }
    }
}

impl Timeline {
    /// Something ran from `start` on.
    pub fn add(&mut self, start: u64, duration: u64) {
        let end = start + duration;
        let first = self.pieces.keys().next().map_or(start, |piece| start.min(piece * self.width));
        let last = self.pieces.keys().next_back().map_or(end, |piece| end.max(piece * self.width));
        while last / self.width - first / self.width >= PIECES_MAX {
            self.widen();
        }
        for piece in start / self.width..=end / self.width {
            let (from, to) = (piece * self.width, (piece + 1) * self.width);
            *self.pieces.entry(piece).or_default() += end.min(to) - start.max(from);
        }
    }

    fn widen(&mut self) {
        self.width *= 2;
        for (piece, work) in std::mem::take(&mut self.pieces) {
            *self.pieces.entry(piece / 2).or_default() += work;
        }
    }

    /// The time from `first` to `end` in so many rows: how many things ran at once on average in each.
    pub fn rows(&self, first: u64, end: u64, rows: u64) -> Vec<f64> {
        let span = (end - first).max(1).div_ceil(rows.max(1));
        let count = (end - first).div_ceil(span).max(1);
        (0..count)
            .map(|row| {
                let (from, to) = (first + row * span, (first + (row + 1) * span).min(end.max(first + 1)));
                self.between(from, to) / (to - from) as f64
            })
            .collect()
    }

    /// The work between two times, as if it were even within a piece.
    fn between(&self, from: u64, to: u64) -> f64 {
        let pieces = self.pieces.range(from / self.width..=to / self.width);
        let part = |piece: u64| {
            let (start, end) = (piece * self.width, (piece + 1) * self.width);
            end.min(to).saturating_sub(start.max(from)) as f64 / self.width as f64
        };
        pieces.map(|(piece, work)| *work as f64 * part(*piece)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn jobs_beside_each_other_add_up() {
        let start = 1_700_000_000 * SECOND;
        let mut timeline = Timeline::default();
        for _ in 0..8 {
            timeline.add(start, 10 * SECOND);
        }
        timeline.add(start + 10 * SECOND, 10 * SECOND);
        let rows = timeline.rows(start, start + 20 * SECOND, 2);
        assert_eq!(rows.len(), 2);
        assert!((rows[0] - 8.0).abs() < 0.2 && (rows[1] - 1.0).abs() < 0.2, "{rows:?}");
    }

    #[test]
    fn years_take_no_more_memory_than_seconds() {
        let mut timeline = Timeline::default();
        for (start, duration) in [(0, 1), (1 << 54, 30 * 24 * 3600 * SECOND), (SECOND, 5 * SECOND), (7, 0)] {
            timeline.add(start, duration);
            assert!(timeline.pieces.len() as u64 <= PIECES_MAX + 1);
        }
        assert_eq!(timeline.rows(5, 5, 10).len(), 1);
    }
}
