//! Whose jobs they were: a share for each address, as far as there is room; the rest is summed. Knows sums; nothing of
//! how they are shown.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::daemon::patron::Origin;
use crate::daemon::statistics::Ending;
use crate::daemon::summary::Outcome;

/// Addresses that are told apart.
const CLIENTS_MAX: usize = 64;
/// Whoever is silent for so long gives way to somebody new.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

/// The sums of one address.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Share {
    /// Jobs that were compiled, with success or without.
    pub jobs: u64,
    /// Of these, those without.
    pub failed: u64,
    /// Jobs that were refused.
    pub refused: u64,
    /// The compilers' time.
    pub compiling: Duration,
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
}

impl Share {
    fn add(&mut self, more: &Share) {
        self.jobs += more.jobs;
        self.failed += more.failed;
        self.refused += more.refused;
        self.compiling += more.compiling;
        self.received += more.received;
        self.sent += more.sent;
    }

    fn of(ending: &Ending) -> Share {
        let has_compiled = matches!(ending.outcome, Outcome::Compiled | Outcome::Failed);
        Share {
            jobs: has_compiled.into(),
            failed: (ending.outcome == Outcome::Failed).into(),
            refused: ending.refusal.is_some().into(),
            compiling: ending.compiling.unwrap_or_default(),
            received: ending.received,
            sent: ending.sent,
        }
    }
}

/// The shares of all.
#[derive(Debug, Default)]
pub struct Clients {
    known: HashMap<Origin, (Share, Instant)>,
    /// What those have who are not told apart. It only grows.
    others: Share,
}

impl Clients {
    /// Adds a job to its client's share.
    pub fn note(&mut self, ending: &Ending, now: Instant) {
        let more = Share::of(ending);
        if let Some((share, seen)) = self.known.get_mut(&ending.origin) {
            share.add(&more);
            *seen = now;
            return;
        }
        // Only who had something compiled is worth a name: others come with any address they like.
        if more.jobs == 0 || !self.has_room(now) {
            self.others.add(&more);
            return;
        }
        self.known.insert(ending.origin, (more, now));
    }

    fn has_room(&mut self, now: Instant) -> bool {
        if self.known.len() < CLIENTS_MAX {
            return true;
        }
        let oldest =
            self.known.iter().min_by_key(|(_, (_, seen))| *seen).map(|(origin, (_, seen))| (*origin, *seen));
        let Some((origin, seen)) = oldest else { return true };
        if now.saturating_duration_since(seen) < FORGOTTEN_AFTER {
            return false;
        }
        if let Some((share, _)) = self.known.remove(&origin) {
            self.others.add(&share);
        }
        true
    }

    /// Everybody with a name, who had most of the compilers' time first.
    pub fn by_time(&self) -> Vec<(Origin, &Share, Instant)> {
        let mut shares: Vec<_> =
            self.known.iter().map(|(origin, (share, seen))| (*origin, share, *seen)).collect();
        shares.sort_by_key(|(origin, share, _)| (std::cmp::Reverse(share.compiling), *origin));
        shares
    }

    /// All the others.
    pub fn others(&self) -> &Share {
        &self.others
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::refusal::Refusal;
    use crate::daemon::statistics::cases::ending;
    use crate::exit_code::ExitCode;

    fn of(last: u32, outcome: Outcome) -> Ending {
        Ending { origin: Origin::of(std::net::Ipv4Addr::from_bits(last).into()), ..ending(outcome, 100) }
    }

    #[test]
    fn there_is_a_bound_to_the_addresses_and_nothing_is_lost_beyond_it() {
        let mut clients = Clients::default();
        let began = Instant::now();
        for client in 0..1000 {
            clients.note(&of(client, Outcome::Compiled), began + Duration::from_secs(client.into()));
        }
        assert_eq!(clients.known.len(), CLIENTS_MAX);
        assert_eq!(clients.others().jobs, 1000 - CLIENTS_MAX as u64);
        // An hour later somebody new has a name, and whoever was silent longest is one of the others.
        let late = began + Duration::from_secs(3600 + 30);
        clients.note(&of(5000, Outcome::Failed), late);
        assert_eq!(clients.others().jobs, 1000 - CLIENTS_MAX as u64 + 1);
        assert!(clients.known.contains_key(&of(5000, Outcome::Failed).origin));
        let all: u64 = clients.by_time().iter().map(|(_, share, _)| share.jobs).sum();
        assert_eq!(all + clients.others().jobs, 1001);
    }

    #[test]
    fn who_has_nothing_compiled_has_no_name() {
        let mut clients = Clients::default();
        let refusal = Some(Refusal::new(ExitCode::AccessDenied, "no"));
        clients.note(&Ending { refusal, ..of(1, Outcome::Other) }, Instant::now());
        assert_eq!((clients.known.len(), clients.others().refused), (0, 1));
    }
}
