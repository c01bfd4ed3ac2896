//! The compilers that run: how many may, which job each belongs to, and what becomes of the stragglers.
//!
//! Knows process ids and job numbers; nothing of sockets or the protocol.

use std::collections::HashMap;

use crate::daemon::graves::Graves;
use crate::daemon::job::Remains;
use crate::daemon::patron::Origin;
use crate::daemon::queue::Queue;
use crate::daemon::refusal::Refusal;
use crate::exit_code::WaitStatus;
use crate::sys::child;

/// The number by which the server knows a connection.
pub type ConnectionId = u64;

/// The compile slots and the jobs that wait for one.
#[derive(Debug)]
pub struct Workers {
    slots: usize,
    running: HashMap<i32, ConnectionId>,
    queue: Queue,
    /// Jobs that are being started, perhaps on a thread, and the number of each start.
    starting: HashMap<ConnectionId, u64>,
    starts: u64,
    /// Children that ended before anybody said whose they are, and how many starts had begun by then.
    unclaimed: HashMap<i32, (WaitStatus, u64)>,
    /// Ended jobs whose process group is not empty yet.
    ending: Vec<Remains>,
    graves: Graves,
}

impl Workers {
    /// At most `slots` compilers at once (`--jobs`), and `waiting` jobs that wait for one (`--queue`).
    pub fn new(slots: usize, waiting: usize) -> Workers {
        Workers {
            slots,
            running: HashMap::new(),
            queue: Queue::new(waiting),
            starting: HashMap::new(),
            starts: 0,
            unclaimed: HashMap::new(),
            ending: Vec::new(),
            graves: Graves::default(),
        }
    }

    /// Puts a job of this client into the queue; a reason if it is full.
    pub fn enqueue(&mut self, id: ConnectionId, origin: Origin) -> Result<(), Refusal> {
        let is_free = self.running() < self.slots;
        self.queue.join(id, origin, is_free)
    }

    /// The next job to start, if a slot is free for it. It has the slot until [`Workers::started`] or
    /// [`Workers::not_started`] is told what became of it.
    pub fn next_to_start(&mut self) -> Option<ConnectionId> {
        if self.running.len() + self.starting.len() >= self.slots {
            return None;
        }
        let id = self.queue.start_next()?;
        self.starting.insert(id, self.starts);
        self.starts += 1;
        Some(id)
    }

    /// Forgets a job that waits, or that was to be started.
    pub fn cancel(&mut self, id: ConnectionId) {
        self.not_started(id);
    }

    /// Notes that the compiler of a job runs; or how it ended, if it has.
    pub fn started(&mut self, pid: i32, id: ConnectionId) -> Option<WaitStatus> {
        let number = self.starting.get(&id).copied().unwrap_or(self.starts);
        let ended = self.unclaimed.remove(&pid).filter(|(_, starts)| *starts > number);
        self.forget_start(id);
        if let Some((status, _)) = ended {
            self.queue.leave(id);
            return Some(status);
        }
        let before = self.running.insert(pid, id);
        assert!(before.is_none(), "BUG: two running compilers with process id {pid}");
        None
    }

    /// Notes that a job that was being started will not run.
    pub fn not_started(&mut self, id: ConnectionId) {
        self.queue.leave(id);
        self.forget_start(id);
    }

    fn forget_start(&mut self, id: ConnectionId) {
        self.starting.remove(&id);
        // What ended before the oldest start that is under way is nobody's: its number may be used again.
        let oldest = self.starting.values().min().copied().unwrap_or(u64::MAX);
        self.unclaimed.retain(|_, (_, starts)| *starts > oldest);
    }

    /// The next compiler that has ended, and its job; `None` when no more have.
    pub fn next_exited(&mut self) -> Option<(ConnectionId, WaitStatus)> {
        while let Some((pid, status)) = child::reap() {
            if let Some(id) = self.running.remove(&pid) {
                self.queue.leave(id);
                return Some((id, status));
            }
            // An orphan that a compiler left us; or a compiler that a thread has started and not yet reported.
            if !self.starting.is_empty() {
                self.unclaimed.insert(pid, (status, self.starts));
            }
        }
        for remains in self.ending.extract_if(.., |remains| !child::kill_group(remains.group)) {
            self.graves.take(remains);
        }
        None
    }

    /// Keeps a job's directory until the last process of its group is gone, which is usually now.
    pub fn bury(&mut self, remains: Remains) {
        if child::kill_group(remains.group) {
            self.ending.push(remains);
        } else {
            self.graves.take(remains);
        }
    }

    /// Compilers that run, or are being started.
    pub fn running(&self) -> usize {
        self.running.len() + self.starting.len()
    }

    /// Jobs that wait for a slot.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing runs and nothing lingers.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.starting.is_empty() && self.ending.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers(slots: usize, jobs: u64) -> Workers {
        let mut workers = Workers::new(slots, 100);
        (0..jobs).for_each(|id| workers.enqueue(id, Origin::Only).unwrap());
        workers
    }

    #[test]
    fn a_job_that_is_being_started_has_its_slot() {
        let mut workers = workers(2, 4);
        assert_eq!((workers.next_to_start(), workers.next_to_start()), (Some(0), Some(1)));
        assert_eq!(workers.next_to_start(), None);
        workers.not_started(1);
        assert_eq!(workers.next_to_start(), Some(2));
        assert_eq!(workers.started(100, 0), None);
        assert_eq!((workers.next_to_start(), workers.running()), (None, 2));
        workers.cancel(2);
        workers.cancel(3);
        assert_eq!((workers.next_to_start(), workers.is_idle()), (None, false));
    }

    #[test]
    fn a_compiler_may_end_before_its_start_is_reported() {
        let mut workers = workers(4, 4);
        let end =
            |workers: &mut Workers, pid| workers.unclaimed.insert(pid, (WaitStatus(0x100), workers.starts));
        workers.next_to_start();
        end(&mut workers, 100);
        assert_eq!(workers.started(100, 0), Some(WaitStatus(0x100)));
        assert!(workers.unclaimed.is_empty() && workers.is_idle());
        // The number is used again by a job whose start began after that end.
        workers.next_to_start();
        end(&mut workers, 100);
        workers.next_to_start();
        assert_eq!(workers.started(100, 2), None);
        end(&mut workers, 101);
        workers.not_started(1);
        assert!(workers.unclaimed.is_empty());
    }
}
