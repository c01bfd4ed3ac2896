//! A watch over one compiler that runs: its time, its memory, its processes, its messages. Knows when to look and what is
//! too much; not what becomes of the compiler then.
//!
//! Most compilers have ended before the first look.

use std::time::{Duration, Instant};

use crate::daemon::connection::Limits;
use crate::daemon::job::RunningJob;
use crate::exit_code::ExitCode;
use crate::protocol::limits::MESSAGES_BYTES_MAX;
use crate::sys::process_tree;

/// How long a compiler runs before it is looked at, and how long it runs between two looks: 30 microseconds each, for a
/// driver with its compiler.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Processes of one job: a driver, a compiler and an assembler, and what a wrapper or two may add.
const PROCESSES_MAX: usize = 64;

/// Why a compiler is ended before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overrun {
    /// The class of the reason.
    pub code: ExitCode,
    /// What is beyond which limit.
    pub reason: String,
}

/// The watch.
#[derive(Clone, Copy, Debug)]
pub struct Vigil {
    began: Instant,
    look_at: Instant,
}

impl Vigil {
    /// Of a compiler that was just started.
    pub fn begin(limits: &Limits, now: Instant) -> Vigil {
        let mut vigil = Vigil { began: now, look_at: now };
        vigil.plan(limits, now);
        vigil
    }

    /// When to look next.
    pub fn look_at(&self) -> Instant {
        self.look_at
    }

    fn plan(&mut self, limits: &Limits, now: Instant) {
        let next = now + LOOK_INTERVAL;
        self.look_at = limits.job_lifetime.map_or(next, |lifetime| next.min(self.began + lifetime));
    }

    /// Looks. `Some` if it is time to end the compiler.
    pub fn look(&mut self, running: &RunningJob, limits: &Limits, now: Instant) -> Option<Overrun> {
        self.plan(limits, now);
        if let Some(lifetime) = limits.job_lifetime
            && now.duration_since(self.began) >= lifetime
        {
            let limit = lifetime.as_secs();
            let reason = format!("job takes too long, timeout after {limit} s (--job-lifetime)");
            return Some(Overrun { code: ExitCode::Timeout, reason });
        }
        let reason = excess(running, limits)?;
        Some(Overrun { code: ExitCode::OutOfMemory, reason })
    }
}

/// What a job has too much of.
fn excess(running: &RunningJob, limits: &Limits) -> Option<String> {
    let messages = running.messages_bytes();
    if messages > MESSAGES_BYTES_MAX.into() {
        return Some(format!("the compiler wrote more than {} MiB of messages", MESSAGES_BYTES_MAX >> 20));
    }
    let usage = process_tree::usage(running.pid(), PROCESSES_MAX);
    if usage.processes > PROCESSES_MAX {
        return Some(format!("the compiler started more than {PROCESSES_MAX} processes"));
    }
    let limit = limits.job_memory.filter(|limit| usage.resident_bytes > *limit)?;
    Some(format!(
        "the compiler's processes have {} MiB of memory, and may have {} (--job-memory)",
        usage.resident_bytes >> 20,
        limit >> 20
    ))
}
