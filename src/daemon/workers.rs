//! The compilers that run: how many may, which job each belongs to, and what becomes of the stragglers.
//!
//! Knows process ids and job numbers; nothing of sockets or the protocol.

use std::collections::{HashMap, VecDeque};

use crate::daemon::job::Remains;
use crate::exit_code::WaitStatus;
use crate::sys::child;

/// The number by which the server knows a connection.
pub type ConnectionId = u64;

/// The compile slots and the jobs that wait for one.
#[derive(Debug)]
pub struct Workers {
    slots: usize,
    running: HashMap<i32, ConnectionId>,
    waiting: VecDeque<ConnectionId>,
    /// Ended jobs whose process group is not empty yet.
    ending: Vec<Remains>,
}

impl Workers {
    /// At most `slots` compilers at once (`--jobs`).
    pub fn new(slots: usize) -> Workers {
        Workers { slots, running: HashMap::new(), waiting: VecDeque::new(), ending: Vec::new() }
    }

    /// Puts a job at the end of the queue.
    pub fn enqueue(&mut self, id: ConnectionId) {
        self.waiting.push_back(id);
    }

    /// The next job to start, if a slot is free for it.
    pub fn next_to_start(&mut self) -> Option<ConnectionId> {
        if self.running.len() < self.slots { self.waiting.pop_front() } else { None }
    }

    /// Forgets a job that waits.
    pub fn cancel(&mut self, id: ConnectionId) {
        self.waiting.retain(|waiting| *waiting != id);
    }

    /// Notes that the compiler of a job runs.
    pub fn started(&mut self, pid: i32, id: ConnectionId) {
        let before = self.running.insert(pid, id);
        assert!(before.is_none(), "BUG: two running compilers with process id {pid}");
    }

    /// The next compiler that has ended, and its job; `None` when no more have.
    pub fn next_exited(&mut self) -> Option<(ConnectionId, WaitStatus)> {
        while let Some((pid, status)) = child::reap() {
            // A process we do not know is an orphan that a compiler left us.
            if let Some(id) = self.running.remove(&pid) {
                return Some((id, status));
            }
        }
        self.ending.retain(|remains| child::kill_group(remains.group));
        None
    }

    /// Keeps a job's directory until the last process of its group is gone, which is usually now.
    pub fn bury(&mut self, remains: Remains) {
        if child::kill_group(remains.group) {
            self.ending.push(remains);
        }
    }

    /// Compilers that run.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Jobs that wait for a slot.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing runs and nothing lingers.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.ending.is_empty()
    }
}
