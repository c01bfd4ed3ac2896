//! Removing what jobs left: a few files in place, a large tree on a thread of its own, so that neither the event loop nor
//! those who start jobs wait for tens of thousands of files to go.
//!
//! Knows how much there is to remove; not when it may be.

use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use crate::daemon::job::Remains;
use crate::log_warning;

/// Files, links and directories that are removed in place: on a disk some milliseconds' work.
const LIGHT_FILES_MAX: u64 = 256;

/// The thread, started when first needed. Dropping it waits until all is removed.
#[derive(Debug, Default)]
pub struct Graves {
    queue: Option<Sender<Remains>>,
    thread: Option<JoinHandle<()>>,
}

impl Graves {
    /// Removes what nobody uses any more, now or soon.
    pub fn take(&mut self, remains: Remains) {
        if remains.files() <= LIGHT_FILES_MAX {
            return drop(remains);
        }
        if self.queue.is_none() {
            let (queue, work) = mpsc::channel::<Remains>();
            match thread::Builder::new().spawn(move || work.into_iter().for_each(drop)) {
                Ok(thread) => (self.queue, self.thread) = (Some(queue), Some(thread)),
                Err(error) => log_warning!("start a thread for large trees: {error}"),
            }
        }
        match &self.queue {
            Some(queue) => queue.send(remains).expect("BUG: the thread lives as long as its queue"),
            None => drop(remains),
        }
    }
}

impl Drop for Graves {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
