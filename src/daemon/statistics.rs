//! The statistics of a server (`--stats`): what is told, by whom, to whom.
//!
//! The loop tells what happens ([`Occurrence`]) and never waits for anybody. A thread of its own ([`server`]) owns all
//! the numbers ([`ledger`]), looks at the machine ([`machine`]) and answers whoever asks. See "The statistics' thread" in
//! docs/design-notes.md.

pub mod clients;
pub mod http;
mod json;
pub mod ledger;
pub mod machine;
mod metrics;
mod page;
pub mod reason;
pub mod server;
pub mod steps;
mod text;
mod visitor;

#[cfg(test)]
mod cases;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::Waker;

use crate::daemon::patron::Origin;
use crate::daemon::refusal::Refusal;
use crate::daemon::summary::Outcome;

/// Occurrences that may wait for the thread: a flood that comes while it is busy costs some megabytes, and what is
/// beyond is counted as lost.
const WAITING_MAX: usize = 1 << 14;
/// With so many waiting, the thread is woken for them. Fewer wait for its next round.
const WAKE_AT: usize = 1 << 11;

/// What the loop tells.
#[derive(Clone, Debug)]
pub enum Occurrence {
    /// A client has connected.
    Connected,
    /// A client was dropped without a word: there are too many.
    Dropped,
    /// A client has left.
    Ended(Box<Ending>),
    /// So much is going on from now on.
    Levels(Levels),
}

/// How busy the server is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    /// Compilers that run, or are being started.
    pub running: usize,
    /// Jobs that wait for a slot.
    pub waiting: usize,
    /// Clients that are connected.
    pub clients: usize,
}

/// What became of a client's job.
#[derive(Clone, Debug)]
pub struct Ending {
    /// Where the client is.
    pub origin: Origin,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it was refused, if it was.
    pub refusal: Option<Refusal>,
    /// The compiler's name; empty before it is known.
    pub compiler: String,
    /// The source's name, the client's words; empty before it is known.
    pub source: String,
    /// From the first byte to the last.
    pub time: Duration,
    /// How long the compiler ran, if one did.
    pub compiling: Option<Duration>,
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
}

/// What the loop and the thread have in common.
#[derive(Debug, Default)]
struct Shared {
    waiting: AtomicUsize,
    lost: AtomicU64,
}

/// The loop's side. Dropping it ends the thread.
#[derive(Debug)]
pub struct Reporter {
    sender: Option<Sender<(Instant, Occurrence)>>,
    shared: Arc<Shared>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
    levels: Levels,
}

impl Reporter {
    /// Tells what has happened; costs no system call, and never waits.
    pub fn tell(&self, at: Instant, occurrence: Occurrence) {
        let waiting = self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        if waiting >= WAITING_MAX {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // Without its thread a server goes on.
        let _ = self.sender.as_ref().map(|sender| sender.send((at, occurrence)));
        if waiting + 1 == WAKE_AT {
            let _ = self.waker.wake();
        }
    }

    /// Tells how much is going on, if that has changed.
    pub fn tell_levels(&mut self, levels: Levels) {
        if self.levels != levels {
            self.levels = levels;
            self.tell(Instant::now(), Occurrence::Levels(levels));
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.sender = None;
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread's end.
#[derive(Debug)]
struct Inbox {
    receiver: Receiver<(Instant, Occurrence)>,
    shared: Arc<Shared>,
}

impl Inbox {
    /// The next occurrence. An error when there will be none any more.
    fn next(&self) -> Result<Option<(Instant, Occurrence)>, Ended> {
        match self.receiver.try_recv() {
            Ok(told) => {
                self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
                Ok(Some(told))
            }
            Err(std::sync::mpsc::TryRecvError::Empty) => Ok(None),
            Err(std::sync::mpsc::TryRecvError::Disconnected) => Err(Ended),
        }
    }

    /// How many occurrences there was no room for.
    fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }
}

/// The server has ended.
#[derive(Clone, Copy, Debug)]
struct Ended;
