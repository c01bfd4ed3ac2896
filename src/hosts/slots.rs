//! Slots: how many jobs may run on a host, or on this machine, at a time, counted over all clients of a user.
//!
//! Owns the `cpu_*` files of the lock directory; knows what a host is called, not how it is reached.
//!
//! A slot is a record lock on a file, named as distcc 3.4 names it, whose clients share the slots and ask
//! again once a second. Here nobody asks in vain: closing the file, which is how a slot is released and what
//! also happens when its holder dies, is an event for whoever watches the directory. One client watches, the
//! head of a line (`turnstile`), and takes what comes free; then the next one is the head.
//!
//! Lock order: first the host's slot, then a local one for the preprocessor. A turnstile is held only while
//! waiting for slots, never while waiting for another turnstile, and slots come free by themselves.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::name_hash;
use super::spec::{Host, Transport};
use super::turnstile::Turnstile;
use crate::log_debug;
use crate::sys::lock::{self, LockFile};
use crate::sys::watch::{CloseWatch, Closed};

/// The shortest pause between two looks at what gives no event: with less, a mistaken setting would spin.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// The slots of one lock directory.
#[derive(Debug)]
pub struct Slots {
    directory: PathBuf,
    pause: Duration,
}

/// The right to run one job on a host; dropping it frees the slot.
#[derive(Debug)]
pub struct HostLease {
    host_index: usize,
    slot: u32,
    _lock: LockFile,
}

impl HostLease {
    /// The host's place among those that [`Slots::lease_host`] was given.
    pub fn host_index(&self) -> usize {
        self.host_index
    }

    /// Which of the host's slots it is, counted from 0; monitors show it.
    pub fn slot(&self) -> u32 {
        self.slot
    }
}

/// The right to run one process on this machine; dropping it frees the slot.
#[derive(Debug)]
pub struct LocalSlot {
    slot: u32,
    _lock: LockFile,
}

impl LocalSlot {
    /// Which slot it is, counted from 0.
    pub fn slot(&self) -> u32 {
        self.slot
    }
}

/// Why no slot can be had, now or later.
#[derive(Debug)]
pub enum SlotError {
    /// There is no host to choose from.
    NoHosts,
    /// The lock directory could not be made.
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// No slot's file can be locked; this is the first one's error.
    Lock {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

impl fmt::Display for SlotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SlotError::NoHosts => f.write_str("choose a host: none is left"),
            SlotError::Directory { path, cause } => write!(f, "create {}: {cause}", path.display()),
            SlotError::Lock { path, cause } => write!(f, "lock {}: {cause}", path.display()),
        }
    }
}

impl std::error::Error for SlotError {}

/// One slot that would do.
#[derive(Debug, PartialEq, Eq)]
struct Candidate {
    file_name: OsString,
    host_index: usize,
    slot: u32,
}

impl Slots {
    /// The slots of this lock directory, which is made if it is missing (its parent is not).
    ///
    /// `pause` (`DISTCC_PAUSE_TIME_MSEC`) is how often to look at what gives no event, such as a slot that
    /// another machine frees on a shared file system. It does not delay the handing over of slots on one
    /// machine.
    pub fn open(directory: &Path, pause: Duration) -> Result<Slots, SlotError> {
        match fs::create_dir(directory) {
            Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => {
                Err(SlotError::Directory { path: directory.to_owned(), cause })
            }
            _ => Ok(Slots { directory: directory.to_owned(), pause: pause.max(PAUSE_MIN) }),
        }
    }

    /// Takes a slot on one of the hosts, best host first: slot 0 of every host before slot 1 of any. Waits
    /// until one is free, after telling `on_wait` so, once.
    ///
    /// The hosts are those that may be used: neither down nor backed off ([`super::list::HostList::usable`]).
    pub fn lease_host(&self, hosts: &[&Host], on_wait: impl FnOnce()) -> Result<HostLease, SlotError> {
        let limits: Vec<_> = hosts.iter().map(|host| (host.lock_name(), host.slots)).collect();
        let (candidate, lock) = self.take(&limits, on_wait)?;
        Ok(HostLease { host_index: candidate.host_index, slot: candidate.slot, _lock: lock })
    }

    /// Takes one of the first `limit` slots of this machine, for a job or a preprocessor. Waits as
    /// [`Slots::lease_host`] does. Both kinds of work and a `localhost` entry of the list share these slots.
    ///
    /// Who holds a lease of a remote host may wait here; the reverse could make two clients wait for each
    /// other.
    pub fn take_local(&self, limit: u32, on_wait: impl FnOnce()) -> Result<LocalSlot, SlotError> {
        let (candidate, lock) = self.take(&[(Transport::Local.lock_name(), limit)], on_wait)?;
        Ok(LocalSlot { slot: candidate.slot, _lock: lock })
    }

    fn take(
        &self,
        limits: &[(String, u32)],
        on_wait: impl FnOnce(),
    ) -> Result<(Candidate, LockFile), SlotError> {
        let mut candidates = candidates(limits);
        if candidates.is_empty() {
            return Err(SlotError::NoHosts);
        }
        let turnstile = Turnstile::new(&self.directory, line_key(limits), self.pause);
        let head = turnstile.try_enter();
        // Who meets nobody may look at once; who meets someone would only jump the queue.
        if head.is_some()
            && let Some((index, lock)) = self.take_any(&candidates)?
        {
            return Ok((candidates.swap_remove(index), lock));
        }
        on_wait();
        let _head = head.unwrap_or_else(|| turnstile.enter());
        let (index, lock) = self.take_when_free(&candidates)?;
        Ok((candidates.swap_remove(index), lock))
    }

    /// At the head of the line: takes the first slot that comes free.
    fn take_when_free(&self, candidates: &[Candidate]) -> Result<(usize, LockFile), SlotError> {
        // When many clients start together, most only waited for someone to pass the turnstile, and need no
        // watch.
        if let Some(taken) = self.take_any(candidates)? {
            return Ok(taken);
        }
        // The watch comes before the next look, or a slot freed in between would be missed.
        let mut watch = CloseWatch::new(&self.directory)
            .inspect_err(|error| log_debug!("watch {}: {error}", self.directory.display()))
            .ok();
        loop {
            let looked = Instant::now();
            if let Some(taken) = self.take_any(candidates)? {
                return Ok(taken);
            }
            while let Some(left) = self.pause.checked_sub(looked.elapsed()) {
                let closed = watch.as_ref().map(|watch| watch.wait(left).and_then(|()| watch.drain()));
                match closed {
                    Some(Ok(Closed { incomplete: true, .. })) => break,
                    Some(Ok(Closed { names, .. })) => {
                        if let Some(taken) = self.take_named(candidates, &names) {
                            return Ok(taken);
                        }
                    }
                    Some(Err(_)) => watch = None,
                    None => thread::sleep(left),
                }
            }
        }
    }

    /// Takes the first free one of all slots; fails only if every slot that is not held cannot be locked, and
    /// none is held.
    fn take_any(&self, candidates: &[Candidate]) -> Result<Option<(usize, LockFile)>, SlotError> {
        let (mut held, mut fault) = (false, None);
        for (index, candidate) in candidates.iter().enumerate() {
            let path = self.directory.join(&candidate.file_name);
            match take_slot(&path) {
                Ok(Some(lock)) => return Ok(Some((index, lock))),
                Ok(None) => held = true,
                Err(cause) => fault = fault.or(Some(SlotError::Lock { path, cause })),
            }
        }
        match fault {
            Some(fault) if !held => Err(fault),
            _ => Ok(None),
        }
    }

    /// Takes the first free one of the slots whose files were just closed, which is not all of them: clients
    /// of 3.4 that ask in vain close files, too.
    fn take_named(&self, candidates: &[Candidate], names: &[OsString]) -> Option<(usize, LockFile)> {
        let named = |candidate: &Candidate| names.contains(&candidate.file_name);
        let mut closed = candidates.iter().enumerate().filter(|(_, candidate)| named(candidate));
        // An error here would show in the next look at all slots, which also knows if it matters.
        closed.find_map(|(index, candidate)| {
            Some((index, take_slot(&self.directory.join(&candidate.file_name)).ok()??))
        })
    }
}

/// Takes the slot if it is free. Looks before it opens: closing a file opened for locking in vain would be an
/// event, for us and for every other watcher.
fn take_slot(path: &Path) -> io::Result<Option<LockFile>> {
    if lock::is_locked(path)? {
        return Ok(None);
    }
    match LockFile::open(path) {
        Ok(file) => Ok(file.try_lock()?.then_some(file)),
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Ok(None),
        Err(error) => Err(error),
    }
}

/// All slots in order of preference, each once, even if the list names a host twice.
fn candidates(limits: &[(String, u32)]) -> Vec<Candidate> {
    let slots_max = limits.iter().map(|(_, slots)| *slots).max().unwrap_or(0);
    let mut seen = BTreeSet::new();
    let mut candidates = Vec::new();
    for slot in 0..slots_max {
        for (host_index, (name, _)) in limits.iter().enumerate().filter(|(_, (_, slots))| slot < *slots) {
            if seen.insert((slot, name)) {
                candidates.push(Candidate {
                    file_name: format!("cpu_{name}_{slot}").into(),
                    host_index,
                    slot,
                });
            }
        }
    }
    candidates
}

/// Who waits for the same slots stands in the same line, in whichever order the hosts are preferred. A
/// collision of two keys does no harm but that of waiting in turn.
fn line_key(limits: &[(String, u32)]) -> u32 {
    let mut sorted: Vec<_> = limits.iter().collect();
    sorted.sort_unstable();
    let parts: Vec<String> = sorted.into_iter().map(|(name, slots)| format!("{name}/{slots}")).collect();
    name_hash::of_parts(parts.iter().map(String::as_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::list::HostList;
    use crate::hosts::tests::TestDirectory;

    const PAUSE: Duration = Duration::from_secs(60);

    /// Takes slots as long as some are free; "host word, slot" of each.
    fn all_free(slots: &Slots, list: &HostList) -> (Vec<HostLease>, Vec<String>) {
        let hosts: Vec<_> = list.hosts.iter().collect();
        let mut leases = Vec::new();
        for _ in 0..list.total_slots() {
            leases.push(slots.lease_host(&hosts, || panic!("no slot is free")).unwrap());
        }
        let names = leases
            .iter()
            .map(|lease| format!("{} {}", hosts[lease.host_index()].word, lease.slot()))
            .collect();
        (leases, names)
    }

    #[test]
    fn slot_0_of_every_host_comes_before_slot_1_of_any() {
        let directory = TestDirectory::new("order");
        let slots = Slots::open(&directory.join("lock"), PAUSE).unwrap();
        let list = HostList::parse("a/1 b/3 @c/2", "list").unwrap();
        let (mut leases, names) = all_free(&slots, &list);
        assert_eq!(names, ["a/1 0", "b/3 0", "@c/2 0", "b/3 1", "@c/2 1", "b/3 2"]);
        for file in ["cpu_tcp_a_3632_0", "cpu_tcp_b_3632_2", "cpu_ssh_c_1"] {
            assert_eq!(fs::metadata(directory.join("lock").join(file)).unwrap().len(), 0, "{file}");
        }
        drop(leases.remove(3));
        let lease = slots.lease_host(&list.hosts.iter().collect::<Vec<_>>(), || panic!()).unwrap();
        assert_eq!((lease.host_index(), lease.slot()), (1, 1));
    }

    #[test]
    fn a_host_named_twice_has_the_greater_of_its_limits() {
        let list = [(String::from("a"), 1), (String::from("b"), 1), (String::from("a"), 3)];
        let order: Vec<_> = candidates(&list).into_iter().map(|c| (c.host_index, c.slot)).collect();
        assert_eq!(order, [(0, 0), (1, 0), (2, 1), (2, 2)]);
    }

    #[test]
    fn local_work_and_localhost_share_slots_within_a_process_too() {
        let directory = TestDirectory::new("local");
        let slots = Slots::open(&directory, PAUSE).unwrap();
        let list = HostList::parse("localhost/2", "list").unwrap();
        let lease = slots.lease_host(&[&list.hosts[0]], || panic!()).unwrap();
        let local = slots.take_local(3, || panic!()).unwrap();
        assert_eq!((lease.slot(), local.slot()), (0, 1));
        drop(lease);
        assert_eq!(slots.take_local(3, || panic!()).unwrap().slot(), 0);
        assert_eq!(local.slot(), 1);
    }

    #[test]
    fn the_line_depends_on_the_hosts_and_limits_but_not_on_their_order() {
        let key = |text: &str| {
            let list = HostList::parse(text, "list").unwrap();
            line_key(&list.hosts.iter().map(|host| (host.lock_name(), host.slots)).collect::<Vec<_>>())
        };
        assert_eq!(key("a b/2"), key("b/2,lzo a"));
        assert_ne!(key("a b/2"), key("a b/3"));
        assert_ne!(key("a b/2"), key("a c/2"));
    }

    #[test]
    fn what_can_never_be_had_is_an_error() {
        let directory = TestDirectory::new("never");
        let slots = Slots::open(&directory.join("lock"), PAUSE).unwrap();
        assert!(matches!(slots.lease_host(&[], || panic!()), Err(SlotError::NoHosts)));
        assert!(matches!(slots.take_local(0, || panic!()), Err(SlotError::NoHosts)));
        fs::remove_dir_all(directory.join("lock")).unwrap();
        let error = slots.take_local(2, || panic!()).unwrap_err();
        let path = directory.join("lock/cpu_localhost_0");
        assert_eq!(
            error.to_string(),
            format!("lock {}: No such file or directory (os error 2)", path.display())
        );
        let error = Slots::open(&directory.join("a/b"), PAUSE).unwrap_err();
        assert!(matches!(error, SlotError::Directory { .. }), "{error}");
    }

    #[test]
    fn a_slot_that_cannot_be_locked_is_left_out_while_others_can() {
        let directory = TestDirectory::new("left_out");
        fs::create_dir(directory.join("cpu_localhost_0")).unwrap();
        let slots = Slots::open(&directory, PAUSE).unwrap();
        assert_eq!(slots.take_local(2, || panic!()).unwrap().slot(), 1);
        assert!(matches!(slots.take_local(1, || panic!()), Err(SlotError::Lock { .. })));
    }
}
