//! The line in which clients wait for a slot: first come, first served, and only its head watches slots.
//!
//! Owns the `wait_*` files of the lock directory; knows nothing of slots.
//!
//! Being at the head is holding a record lock on the turnstile's file. The others stand behind it in a
//! blocking lock call, where they cost nothing, and where the kernel keeps their order and wakes only the
//! next one.
//!
//! A head that does not move would keep everyone behind it from slots that are free: Ctrl-Z stops a whole
//! build, and another one may wait behind it. So a waiter looks at the head now and then, and passes by one
//! that is stopped, to the next turnstile, where those who passed by form a line of their own. The same goes
//! for a head that cannot be judged for a while (in another container, or on another machine over NFS). That
//! may make two heads where one would do; they compete for slots as clients of distcc 3.4 do.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use crate::sys::lock::{self, LockFile};

/// Turnstiles in a row. One more is needed for each head that is stopped at the same time, as for each build
/// that was put aside; who passes them all competes without order.
const TURNSTILES_MAX: u32 = 8;
/// How often in a row a head may turn out not to be judgeable before it is passed.
const UNKNOWN_HEADS_MAX: u32 = 3;
/// Stack of the waiting thread, in bytes; it makes one system call and sends one message.
const WAITING_THREAD_STACK_BYTES: usize = 64 * 1024;

/// A row of turnstiles that lead to the same slots.
#[derive(Debug)]
pub(super) struct Turnstile<'a> {
    directory: &'a Path,
    /// Tells apart lines for different slots.
    key: u32,
    /// How often a waiter looks at the head.
    pause: Duration,
}

/// The right to watch the slots; dropping it lets the next waiter through.
#[derive(Debug)]
pub(super) struct Head {
    /// `None` if turnstiles do not work here, or all are blocked: then there is no order to keep.
    _lock: Option<Arc<LockFile>>,
}

/// What is known of the process at the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeadState {
    Working,
    Stopped,
    Unknown,
}

impl<'a> Turnstile<'a> {
    pub(super) fn new(directory: &'a Path, key: u32, pause: Duration) -> Turnstile<'a> {
        Turnstile { directory, key, pause }
    }

    /// Becomes the head if nobody is; never waits.
    pub(super) fn try_enter(&self) -> Option<Head> {
        let path = self.path(0);
        // Asked first, since closing a file that was opened in vain would wake the head.
        if lock::is_locked(&path).unwrap_or(false) {
            return None;
        }
        match LockFile::open(&path).and_then(|file| Ok(file.try_lock()?.then_some(file))) {
            Ok(Some(file)) => Some(Head { _lock: Some(Arc::new(file)) }),
            Ok(None) => None,
            // Without turnstiles there is no line; if the cause concerns the slots too, their error is
            // reported.
            Err(_) => Some(Head { _lock: None }),
        }
    }

    /// Waits in line until at the head.
    pub(super) fn enter(&self) -> Head {
        let lock = (0..TURNSTILES_MAX).find_map(|number| self.enter_one(&self.path(number)));
        Head { _lock: lock }
    }

    /// `None` if this turnstile is to be passed by.
    fn enter_one(&self, path: &Path) -> Option<Arc<LockFile>> {
        // It is busy if we gave up waiting here before and the thread still stands in line.
        let file = Arc::new(LockFile::open(path).ok()?);
        if file.try_lock().ok()? {
            return Some(file);
        }
        if head_state(&file) == HeadState::Stopped {
            return None;
        }
        self.stand_behind(file)
    }

    /// Waits in a thread of its own, so that this one can look at the head without losing the place in line.
    fn stand_behind(&self, file: Arc<LockFile>) -> Option<Arc<LockFile>> {
        let (sender, turn) = mpsc::channel();
        let waiting = Arc::clone(&file);
        // If we have passed by when its turn comes, the message finds no receiver, or is dropped with it;
        // with the message goes the last reference, and the lock is released at once.
        let wait = move || {
            let result = waiting.lock().map(|()| waiting);
            let _ = sender.send(result);
        };
        thread::Builder::new().stack_size(WAITING_THREAD_STACK_BYTES).spawn(wait).ok()?;
        let mut unknown = 0;
        loop {
            match turn.recv_timeout(self.pause) {
                // The error may be EDEADLK: nobody waits for a turnstile while at another, but the kernel
                // counts all threads as one, and threads left in line elsewhere can look like a circle to it.
                Ok(result) => return result.ok(),
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
                Err(mpsc::RecvTimeoutError::Timeout) => match head_state(&file) {
                    HeadState::Working => unknown = 0,
                    HeadState::Stopped => return None,
                    HeadState::Unknown => unknown += 1,
                },
            }
            if unknown >= UNKNOWN_HEADS_MAX {
                return None;
            }
        }
    }

    fn path(&self, number: u32) -> PathBuf {
        let key = self.key;
        self.directory.join(match number {
            0 => format!("wait_{key:08x}"),
            number => format!("wait_{key:08x}_{number}"),
        })
    }
}

fn head_state(file: &LockFile) -> HeadState {
    match file.holder() {
        // Nobody: the line moves, perhaps to us, at this very moment.
        Ok(None) => HeadState::Working,
        Ok(Some(pid)) if pid > 0 => fs::read(format!("/proc/{pid}/stat"))
            .map_or(HeadState::Unknown, |stat| process_state(&String::from_utf8_lossy(&stat))),
        Ok(Some(_)) | Err(_) => HeadState::Unknown,
    }
}

/// Reads the state letter of proc_pid_stat(5), which follows the command's name in parentheses.
fn process_state(stat: &str) -> HeadState {
    match stat.rsplit_once(')').map(|(_, rest)| rest.trim_start().as_bytes()) {
        Some([b'T' | b't', ..]) => HeadState::Stopped,
        Some([_, ..]) => HeadState::Working,
        Some([]) | None => HeadState::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::tests::TestDirectory;

    #[test]
    fn the_letter_after_the_last_parenthesis_is_the_state() {
        for (stat, expected) in [
            ("12 (distcc) S 1 12", HeadState::Working),
            ("12 (distcc) T 1 12", HeadState::Stopped),
            ("12 (a) T) t 1 12", HeadState::Stopped),
            ("12 (a) T) R 1 12", HeadState::Working),
            ("12 (a)", HeadState::Unknown),
            ("", HeadState::Unknown),
        ] {
            assert_eq!(process_state(stat), expected, "{stat}");
        }
    }

    #[test]
    fn a_turnstile_that_cannot_be_made_keeps_nobody() {
        let directory = TestDirectory::new("no_turnstile");
        let missing = directory.join("missing");
        let turnstile = Turnstile::new(&missing, 1, Duration::from_secs(60));
        assert!(turnstile.try_enter().is_some());
        assert!(turnstile.enter()._lock.is_none());
    }

    #[test]
    fn one_process_passes_by_where_it_stands_already() {
        let directory = TestDirectory::new("twice");
        let turnstile = Turnstile::new(&directory, 0xab, Duration::from_secs(60));
        let first = turnstile.enter();
        let second = turnstile.enter();
        assert!(directory.join("wait_000000ab").exists() && directory.join("wait_000000ab_1").exists());
        drop((first, second));
        assert!(turnstile.try_enter().is_some_and(|head| head._lock.is_some()));
    }
}
