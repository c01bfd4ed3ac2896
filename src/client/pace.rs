//! How slowly a request may leave, or a reply come, before its host counts as failed. Silence is the socket's business;
//! this is about peers that are never silent and never done. Knows bytes and time; nothing of what they mean.

use std::time::{Duration, Instant};

/// How many times the longest silence (DISTCC_IO_TIMEOUT) a transfer may take whatever its speed: a link that is lost
/// and found again now and then is no reason to give up.
const SILENCES_MAX: u32 = 4;
/// What a transfer that takes longer must have moved on average, in bytes per second: less than a modem did. A peer
/// that sends a byte a second would take weeks for an object.
const BYTES_PER_SECOND_MIN: u64 = 1 << 10;

/// The pace of one transfer.
#[derive(Debug)]
pub struct Pace {
    began: Instant,
    grace: Duration,
    bytes: u64,
}

impl Pace {
    /// A transfer that begins at `now`, on a connection that may be silent for `silence`.
    pub fn new(silence: Duration, now: Instant) -> Pace {
        Pace { began: now, grace: silence.saturating_mul(SILENCES_MAX), bytes: 0 }
    }

    /// Counts bytes that have been moved; whether the transfer may go on.
    pub fn keeps_up(&mut self, bytes: usize, now: Instant) -> bool {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        let earned = Duration::from_secs(self.bytes / BYTES_PER_SECOND_MIN);
        now.duration_since(self.began) <= self.grace.saturating_add(earned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trickles_are_cut_and_slow_links_are_not() {
        let begin = Instant::now();
        // Bytes each second, seconds, and whether the transfer is still welcome then.
        for (each, seconds, want) in
            [(1, 40, true), (1, 42, false), (1 << 10, 100_000, true), (512, 78, true), (512, 84, false)]
        {
            let mut pace = Pace::new(Duration::from_secs(10), begin);
            let now = |second: u64| begin + Duration::from_secs(second);
            let kept_up = (1..=seconds).all(|second| pace.keeps_up(each, now(second)));
            assert_eq!(kept_up, want, "{each} bytes a second for {seconds} s");
        }
    }
}
