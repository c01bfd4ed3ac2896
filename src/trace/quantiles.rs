//! Medians and the like of any number of durations, in a fixed amount of memory: to one part in sixteen.

/// Steps in which a power of two is divided: the error is half of one.
const STEPS: u64 = 16;
/// Up to this duration each number is counted by itself.
const EXACT: u64 = STEPS;

/// How often durations of about each length occurred. They are microseconds.
#[derive(Clone, Debug, Default)]
pub struct Quantiles {
    /// Grows to at most 976 numbers, for the longest duration.
    counts: Vec<u32>,
    count: u64,
    sum: u64,
}

impl Quantiles {
    /// Counts one.
    pub fn add(&mut self, duration: u64) {
        let place = place(duration);
        if self.counts.len() <= place {
            self.counts.resize(place + 1, 0);
        }
        self.counts[place] = self.counts[place].saturating_add(1);
        self.count += 1;
        self.sum = self.sum.saturating_add(duration);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// All together.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The duration that so many percent do not exceed; 0 if there are none.
    pub fn percentile(&self, percent: u64) -> u64 {
        let wanted = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (place, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted {
                return middle(place);
            }
        }
        0
    }
}

fn place(duration: u64) -> usize {
    if duration < EXACT {
        return duration as usize;
    }
    let exponent = u64::from(duration.ilog2()) - 4;
    // From 16 to 31: the five highest bits.
    let step = duration >> exponent;
    (EXACT + exponent * STEPS + (step - STEPS)) as usize
}

/// The middle of what is counted in a place.
fn middle(place: usize) -> u64 {
    let place = place as u64;
    if place < EXACT {
        return place;
    }
    let (exponent, step) = ((place - EXACT) / STEPS, (place - EXACT) % STEPS + STEPS);
    (step << exponent) + ((1 << exponent) >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_close() {
        let mut quantiles = Quantiles::default();
        assert_eq!(quantiles.percentile(50), 0);
        for number in 1..=100_000u64 {
            quantiles.add(number * 7);
        }
        for percent in [1, 50, 90, 100] {
            let (found, want) = (quantiles.percentile(percent) as f64, percent as f64 * 7000.0);
            assert!((found - want).abs() <= want / 16.0, "{percent}: {found} for {want}");
        }
        assert_eq!((quantiles.count(), quantiles.sum()), (100_000, 7 * 50_000 * 100_001));
    }

    #[test]
    fn every_duration_has_a_place_near_itself() {
        for duration in (0..64).map(|bit| 1u64 << bit).flat_map(|power| [power - 1, power, power + power / 3])
        {
            let near = middle(place(duration));
            assert!(near.abs_diff(duration) <= duration / 32 + 1, "{near} for {duration}");
        }
        assert!(place(u64::MAX) < 1000);
        let mut quantiles = Quantiles::default();
        quantiles.add(u64::MAX);
        quantiles.add(u64::MAX);
        assert!(quantiles.percentile(50) > 1 << 62);
    }
}
