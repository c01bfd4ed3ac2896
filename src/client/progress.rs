//! What a job tells of itself while it runs: to monitors now, and to the record of the build when it ends.

use crate::monitor::state_file::{Phase, StateFile};
use crate::trace::recorder::Recorder;

/// Both listeners.
#[derive(Debug)]
pub struct Progress {
    /// What monitors see.
    pub state: StateFile,
    /// The job's line of the record.
    pub record: Recorder,
}

impl Progress {
    /// Says that the job is in `phase` on slot `slot` of `host`.
    pub fn set(&mut self, phase: Phase, host: &str, slot: u32) {
        self.state.set(phase, host, slot);
        self.record.phase(phase.name(), host, slot);
    }
}
