//! What a client sends after its request, while its job is under way: nothing, as a rule. Counts it, and says when the
//! client counts as gone.

use crate::daemon::exchange::Event;

/// Bytes a client may send after its request before it counts as broken; 3.4's server eats them, too.
const EXCESS_BYTES_MAX: u64 = 64 << 10;

/// What has come so far, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Excess(u64);

impl Excess {
    /// Whether the client is gone with this event, or counts as gone.
    pub fn is_the_end(&mut self, event: &Event<'_>) -> bool {
        if let Event::Bytes(bytes) = event {
            self.0 += bytes.len() as u64;
        }
        matches!(event, Event::HungUp) || self.0 > EXCESS_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_gone_when_it_hangs_up_and_when_it_does_not_stop() {
        let half = vec![0; EXCESS_BYTES_MAX as usize / 2];
        for (events, expected) in [
            (vec![], false),
            (vec![Event::Bytes(&half), Event::TimeOut, Event::Bytes(&half)], false),
            (vec![Event::Bytes(&half), Event::Bytes(&half), Event::Bytes(b"x")], true),
            (vec![Event::HungUp], true),
        ] {
            let mut excess = Excess::default();
            let ends: Vec<bool> = events.iter().map(|event| excess.is_the_end(event)).collect();
            assert_eq!(ends.last().copied().unwrap_or(false), expected, "{events:?}");
        }
    }
}
