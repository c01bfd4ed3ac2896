//! A watch over one compiler that runs: its time, its memory, its processes, its messages. Knows when to look and what is
//! too much; not what becomes of the compiler then.
//!
//! Most compilers have ended before the first look.

use std::time::{Duration, Instant};

use crate::daemon::exchange::ConnectionLimits;
use crate::daemon::job::RunningJob;
use crate::daemon::sandbox::TASKS_MAX;
use crate::exit_code::ExitCode;
use crate::protocol::limits::MESSAGES_BYTES_MAX;
use crate::sys::process_tree::{self, Usage};

/// How long a compiler runs before it is looked at, and how long it runs between two looks: a tenth of a millisecond
/// each, for a driver with its compiler and assembler.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Processes of one job: half of the tasks that the kernel allows it, without a word to the client.
const PROCESSES_MAX: usize = TASKS_MAX as usize / 2;

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
    pub fn begin(limits: &ConnectionLimits, now: Instant) -> Vigil {
        let mut vigil = Vigil { began: now, look_at: now };
        vigil.plan(limits, now);
        vigil
    }

    /// When to look next.
    pub fn look_at(&self) -> Instant {
        self.look_at
    }

    fn plan(&mut self, limits: &ConnectionLimits, now: Instant) {
        let next = now + LOOK_INTERVAL;
        self.look_at = limits.job_lifetime.map_or(next, |lifetime| next.min(self.began + lifetime));
    }

    /// Looks. `Some` if it is time to end the compiler.
    pub fn look(&mut self, running: &RunningJob, limits: &ConnectionLimits, now: Instant) -> Option<Overrun> {
        self.plan(limits, now);
        if let Some(lifetime) = limits.job_lifetime
            && now.duration_since(self.began) >= lifetime
        {
            let limit = lifetime.as_secs();
            let reason = format!("job takes too long, timeout after {limit} s (--job-lifetime)");
            return Some(Overrun { code: ExitCode::Timeout, reason });
        }
        let usage = process_tree::usage(running.pid(), PROCESSES_MAX);
        let reason = excess(running.messages_bytes(), usage, limits.job_memory)?;
        Some(Overrun { code: ExitCode::OutOfMemory, reason })
    }
}

/// What a job has too much of.
fn excess(messages: u64, usage: Usage, memory_max: Option<u64>) -> Option<String> {
    if messages > MESSAGES_BYTES_MAX.into() {
        return Some(format!("the compiler wrote more than {} MiB of messages", MESSAGES_BYTES_MAX >> 20));
    }
    if usage.processes > PROCESSES_MAX {
        return Some(format!("the compiler started more than {PROCESSES_MAX} processes"));
    }
    let limit = memory_max.filter(|limit| usage.resident_bytes > *limit)?;
    Some(format!(
        "the compiler's processes have {} MiB of memory, and may have {} (--job-memory)",
        usage.resident_bytes >> 20,
        limit >> 20
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_named_with_its_limit() {
        const MESSAGES: u64 = MESSAGES_BYTES_MAX as u64;
        for (messages, processes, memory, limit, expected) in [
            (MESSAGES, PROCESSES_MAX, 1 << 30, Some(1 << 30), ""),
            (0, 1, 1 << 40, None, ""),
            (MESSAGES + 1, 1, 0, None, "more than 64 MiB of messages"),
            (0, PROCESSES_MAX + 1, 0, None, "more than 64 processes"),
            (
                0,
                3,
                (1 << 30) + (1 << 20),
                Some(1 << 30),
                "have 1025 MiB of memory, and may have 1024 (--job-memory)",
            ),
        ] {
            let found =
                excess(messages, Usage { processes, resident_bytes: memory }, limit).unwrap_or_default();
            assert!(
                found.contains(expected) && found.is_empty() == expected.is_empty(),
                "{found:?} {expected:?}"
            );
        }
    }

    #[test]
    fn a_compiler_is_looked_at_each_second_and_at_its_end_of_life() {
        let began = Instant::now();
        let seconds = Duration::from_secs;
        let limits =
            |lifetime| ConnectionLimits { silence: seconds(1), job_lifetime: lifetime, job_memory: None };
        for (lifetime, at, expected) in [
            (None, 0, seconds(1)),
            (None, 100, seconds(101)),
            (Some(seconds(5)), 3, seconds(4)),
            (Some(Duration::from_millis(4500)), 4, Duration::from_millis(4500)),
        ] {
            let mut vigil = Vigil::begin(&limits(lifetime), began);
            vigil.plan(&limits(lifetime), began + seconds(at));
            assert_eq!(vigil.look_at() - began, expected, "{lifetime:?} {at}");
        }
    }
}
