//! What clients may make the server hold, all together: memory, unpacked trees, bytes on disk. Only counts; what is held
//! is the business of whoever holds it.
//!
//! A pool is shared by all. No address may take more than half of one, so that whoever takes what there is to be had
//! leaves as much to everybody else; and each connection has a little of its own beside that.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::daemon::patron::{Origin, Patron};
use crate::daemon::refusal::Refusal;
use crate::exit_code::ExitCode;

/// What each job may hold beside that, in bytes. A usual command is a tenth of it, so that clients who hold all
/// that is shared keep nobody else from working.
const OWN_BYTES: u64 = 64 << 10;
/// The part of a pool that one address may have: one half.
const PARTS: u64 = 2;

/// The pools of a server.
#[derive(Debug)]
pub struct Pools {
    /// Of the server's own memory.
    pub memory: Pool,
    /// Of memory for the unpacked files of jobs that run.
    pub trees: Pool,
    /// Of TMPDIR's disk, for sources and files of jobs that wait.
    pub spool: Pool,
}

impl Pools {
    /// Full pools, in bytes.
    pub fn new(memory: u64, trees: u64, spool: u64) -> Pools {
        let pool = |bytes, what, remedy| {
            Pool(Arc::new(Stock { bytes, what, remedy, taken: Mutex::new(Taken::default()) }))
        };
        Pools {
            memory: pool(memory, "memory for commands, files and results", "distccd --buffers"),
            trees: pool(trees, "memory for unpacked files", "distccd --trees"),
            spool: pool(spool, "disk for sources and files", "distccd --spool, and TMPDIR"),
        }
    }
}

/// Something that there is a limited number of bytes of.
#[derive(Clone, Debug)]
pub struct Pool(Arc<Stock>);

#[derive(Debug)]
struct Stock {
    bytes: u64,
    /// What it is, and what an administrator can do when it is short.
    what: &'static str,
    remedy: &'static str,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: u64,
    by: HashMap<Origin, u64>,
}

/// Why there is no more, in words for the client. Nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    what: &'static str,
    remedy: &'static str,
    /// What there is for whoever has taken too much: for one address, or for all.
    limit: u64,
    whose: Whose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// The job wants more than any may have.
    Job,
    /// Jobs of this client's address have the rest.
    Address,
    /// Other clients have.
    Others,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shortage { what, remedy, limit, whose } = self;
        let whose = match whose {
            Whose::Job => "one job may take at most",
            Whose::Address => "jobs from your address hold all they may,",
            Whose::Others => "clients hold all there is,",
        };
        let (number, unit) = if *limit >= 1 << 20 { (limit >> 20, "MiB") } else { (limit >> 10, "KiB") };
        write!(f, "this server has no {what} left for this job: {whose} {number} {unit} ({remedy})")
    }
}

impl From<Shortage> for Refusal {
    fn from(shortage: Shortage) -> Refusal {
        // Only in the first case is it something about the job.
        let code = if shortage.whose == Whose::Job { ExitCode::OutOfMemory } else { ExitCode::Busy };
        Refusal::new(code, shortage.to_string())
    }
}

impl Pool {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Whoever panicked did so elsewhere: the numbers are changed together.
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What one origin may have. A server for one client shares with nobody.
    fn part(&self, origin: Origin) -> u64 {
        if origin == Origin::Only { self.0.bytes } else { self.0.bytes / PARTS }
    }

    /// Takes `more` for someone who has `held` already.
    fn take(&self, origin: Origin, held: u64, more: u64) -> Result<(), Shortage> {
        let shortage = |limit, whose| Shortage { what: self.0.what, remedy: self.0.remedy, limit, whose };
        let part = self.part(origin);
        if more > part.saturating_sub(held) {
            return Err(shortage(part, Whose::Job));
        }
        let mut taken = self.taken();
        let theirs = taken.by.get(&origin).copied().unwrap_or(0);
        if more > part.saturating_sub(theirs) {
            return Err(shortage(part, Whose::Address));
        }
        if more > self.0.bytes.saturating_sub(taken.all) {
            return Err(shortage(self.0.bytes, Whose::Others));
        }
        taken.all += more;
        *taken.by.entry(origin).or_default() += more;
        Ok(())
    }

    fn give_back(&self, origin: Origin, bytes: u64) {
        let mut taken = self.taken();
        taken.all -= bytes;
        let Entry::Occupied(mut theirs) = taken.by.entry(origin) else {
            unreachable!("BUG: bytes are given back that nobody took")
        };
        *theirs.get_mut() -= bytes;
        if *theirs.get() == 0 {
            theirs.remove();
        }
    }
}

/// One job's part of a pool; given back when dropped.
#[derive(Debug)]
pub struct Share {
    origin: Origin,
    of: Option<Pool>,
    bytes: u64,
}

impl Share {
    /// Nothing yet, for a job of this client.
    pub fn of(patron: &Patron) -> Share {
        Share { origin: patron.origin, of: None, bytes: 0 }
    }

    /// Grows to what `held` bytes need, and never shrinks. A share is always of the same pool.
    pub fn grow_to(&mut self, held: u64, pool: &Pool) -> Result<(), Shortage> {
        let more = held.saturating_sub(OWN_BYTES).saturating_sub(self.bytes);
        if more > 0 {
            pool.take(self.origin, self.bytes, more)?;
            self.of.get_or_insert_with(|| pool.clone());
            self.bytes += more;
        }
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(pool) = &self.of {
            pool.give_back(self.origin, self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(address: &str) -> Share {
        Share::of(&Patron::new(Origin::of(address.parse().unwrap())))
    }

    fn pool(bytes: u64) -> Pool {
        Pools::new(bytes, 0, 0).memory
    }

    #[test]
    fn an_address_gets_half_and_leaves_the_other() {
        let pool = pool(100);
        let (mut one, mut same, mut other) = (share("10.0.0.1"), share("10.0.0.1"), share("10.0.0.2"));
        let mut third = share("10.0.0.3");
        let whose = |result: Result<(), Shortage>| result.map_err(|shortage| shortage.whose);
        assert_eq!(whose(one.grow_to(OWN_BYTES + 51, &pool)), Err(Whose::Job));
        assert_eq!(whose(one.grow_to(OWN_BYTES + 40, &pool)), Ok(()));
        assert_eq!(whose(same.grow_to(OWN_BYTES + 11, &pool)), Err(Whose::Address));
        assert_eq!(whose(same.grow_to(OWN_BYTES + 10, &pool)), Ok(()));
        // What is one's own is had in any case.
        assert_eq!(whose(same.grow_to(OWN_BYTES, &pool)), Ok(()));
        assert_eq!(whose(other.grow_to(OWN_BYTES + 50, &pool)), Ok(()));
        assert_eq!(whose(third.grow_to(OWN_BYTES + 1, &pool)), Err(Whose::Others));
        assert_eq!(whose(third.grow_to(OWN_BYTES, &pool)), Ok(()));
        drop(one);
        assert_eq!(whose(third.grow_to(OWN_BYTES + 40, &pool)), Ok(()));
        assert_eq!(whose(third.grow_to(u64::MAX, &pool)), Err(Whose::Job));
        drop((same, other, third));
        let taken = pool.taken();
        assert_eq!((taken.all, taken.by.len()), (0, 0));
    }

    #[test]
    fn an_only_client_may_have_all() {
        let pool = pool(100);
        let mut only = Share::of(&Patron::default());
        assert_eq!(only.grow_to(OWN_BYTES + 100, &pool), Ok(()));
        assert!(only.grow_to(OWN_BYTES + 101, &pool).is_err());
    }

    #[test]
    fn a_shortage_names_the_limit_and_the_remedy() {
        let pools = Pools::new(64 << 20, 64 << 20, 64 << 20);
        let refusal = Refusal::from(share("10.0.0.1").grow_to(1 << 30, &pools.spool).unwrap_err());
        assert_eq!(refusal.code, ExitCode::OutOfMemory);
        let expected = "this server has no disk for sources and files left for this job: one job may take at most \
                        32 MiB (distccd --spool, and TMPDIR)";
        assert_eq!(refusal.reason, expected);
        let mut hog = share("10.0.0.1");
        hog.grow_to(32 << 20, &pools.spool).unwrap();
        let refusal = Refusal::from(share("10.0.0.1").grow_to(1 << 20, &pools.spool).unwrap_err());
        assert_eq!(refusal.code, ExitCode::Busy);
        assert!(refusal.reason.contains("your address hold all they may, 32 MiB"), "{refusal}");
    }
}
