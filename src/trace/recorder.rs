//! The writer's side: is told what a job does, and appends one line when it ends. Without a file to write to it is told
//! in vain, and costs nothing.

use std::ffi::OsStr;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::job::{
    ATTEMPTS_MAX, Attempt, CAUSE_BYTES_MAX, Job, LINE_BYTES_MAX, PATH_BYTES_MAX, PHASES_MAX, Phase, VERSION,
    cut,
};
use crate::sys::open;

/// How much of a host's name each phase repeats, in bytes.
pub const PHASE_HOST_BYTES_MAX: usize = 64;
/// How a job that runs here is called.
const HERE: &str = "localhost";

/// A job's line while it is made; nothing if no record is kept.
#[derive(Debug, Default)]
pub struct Recorder(Option<Box<Notes>>);

#[derive(Debug)]
struct Notes {
    file: PathBuf,
    began: Instant,
    job: Job,
    /// What is done now, until the next thing begins.
    phase: Option<Phase>,
    /// The host that is tried now.
    attempt: Option<Attempt>,
    /// `plain` or `pump`: what was sent last.
    sent_as: &'static str,
}

impl Recorder {
    /// A record in this file, if there is one: DISTCC_TRACE.
    pub fn new(file: Option<&Path>) -> Recorder {
        Recorder(file.map(|file| {
            let start =
                SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros() as u64);
            let job = Job { v: VERSION, pid: std::process::id(), start, ..Job::default() };
            let file = file.to_owned();
            Box::new(Notes { file, began: Instant::now(), job, phase: None, attempt: None, sent_as: "" })
        }))
    }

    /// The command's compiler.
    pub fn compiler(&mut self, compiler: &OsStr) {
        if let Some(notes) = &mut self.0 {
            notes.job.compiler = path(compiler, CAUSE_BYTES_MAX);
            notes.job.directory =
                std::env::current_dir().ok().map(|here| path(here.as_os_str(), PATH_BYTES_MAX));
        }
    }

    /// What was decided about the command, and why it is not distributed.
    pub fn verdict(&mut self, verdict: &str, reason: Option<&dyn Display>) {
        if let Some(notes) = &mut self.0 {
            notes.job.verdict = verdict.into();
            notes.job.reason = reason.map(|reason| cut(&reason.to_string(), CAUSE_BYTES_MAX));
        }
    }

    /// What is compiled, and to what.
    pub fn files(&mut self, source: &OsStr, output: &OsStr) {
        if let Some(notes) = &mut self.0 {
            notes.job.source = Some(path(source, PATH_BYTES_MAX));
            notes.job.output = Some(path(output, PATH_BYTES_MAX));
        }
    }

    /// Something is begun, and what was done before is over. Any number of times.
    pub fn phase(&mut self, name: &str, host: &str, slot: u32) {
        let Some(notes) = &mut self.0 else { return };
        let now = notes.now();
        notes.end_phase(now);
        if name == "Compile" {
            notes.job.mode = if host == HERE { "local" } else { notes.sent_as }.into();
            notes.job.host = cut(host, CAUSE_BYTES_MAX);
            notes.job.slot = Some(slot);
        }
        notes.phase = Some(Phase {
            phase: name.to_ascii_lowercase(),
            host: cut(host, PHASE_HOST_BYTES_MAX),
            slot,
            start: now,
            duration: 0,
        });
    }

    /// A host is tried.
    pub fn attempt(&mut self, host: &str, slot: u32) {
        let Some(notes) = &mut self.0 else { return };
        let host = cut(host, CAUSE_BYTES_MAX);
        notes.attempt = Some(Attempt { host, slot, start: notes.now(), ..Attempt::default() });
    }

    /// What that host is sent: `plain` text or the files, `pump`.
    pub fn sends(&mut self, mode: &'static str) {
        if let Some(notes) = &mut self.0 {
            notes.sent_as = mode;
        }
    }

    /// What went over the wire to that host, and back.
    pub fn traffic(&mut self, sent: u64, received: u64) {
        if let Some(attempt) = self.0.as_mut().and_then(|notes| notes.attempt.as_mut()) {
            attempt.sent += sent;
            attempt.received += received;
        }
    }

    /// How much that was before it was packed and after it was unpacked.
    pub fn contents(&mut self, source_bytes: u64, result_bytes: u64) {
        if let Some(attempt) = self.0.as_mut().and_then(|notes| notes.attempt.as_mut()) {
            (attempt.source_bytes, attempt.result_bytes) = (source_bytes, result_bytes);
        }
    }

    /// What came of it: `done`, or who is at fault.
    pub fn attempt_ended(&mut self, outcome: &str, cause: Option<&dyn Display>) {
        let Some(notes) = &mut self.0 else { return };
        let now = notes.now();
        notes.end_phase(now);
        let Some(mut attempt) = notes.attempt.take() else { return };
        attempt.duration = now.saturating_sub(attempt.start);
        attempt.outcome = outcome.into();
        attempt.cause = cause.map(|cause| cut(&cause.to_string(), CAUSE_BYTES_MAX));
        if notes.job.attempts.len() < ATTEMPTS_MAX {
            notes.job.attempts.push(attempt);
        }
    }

    /// Why the job is done here although it was to be distributed.
    pub fn fallback(&mut self, cause: &dyn Display) {
        if let Some(notes) = &mut self.0 {
            notes.job.fallback = Some(cut(&cause.to_string(), CAUSE_BYTES_MAX));
        }
    }

    /// The job has ended: its line is appended, in one write, so that lines of jobs beside each other do not mix. None:
    /// this process becomes another program.
    pub fn write(&mut self, status: Option<i32>) -> io::Result<()> {
        let Some(mut notes) = self.0.take() else { return Ok(()) };
        let now = notes.now();
        notes.end_phase(now);
        notes.job.duration = now.saturating_sub(notes.job.start);
        notes.job.status = status;
        let mut line = serde_json::to_vec(&notes.job).map_err(io::Error::other)?;
        line.push(b'\n');
        assert!(line.len() <= LINE_BYTES_MAX, "BUG: a line of {} bytes", line.len());
        let mut file = open::to_append(&notes.file, 0o666)?;
        let written = file.write(&line)?;
        if written < line.len() { Err(io::ErrorKind::WriteZero.into()) } else { Ok(()) }
    }
}

impl Notes {
    /// Microseconds since 1970, by a clock that is never set back within a job.
    fn now(&self) -> u64 {
        self.job.start + self.began.elapsed().as_micros() as u64
    }

    fn end_phase(&mut self, now: u64) {
        if let Some(mut phase) = self.phase.take() {
            phase.duration = now.saturating_sub(phase.start);
            if self.job.phases.len() < PHASES_MAX {
                self.job.phases.push(phase);
            }
        }
    }
}

fn path(name: &OsStr, bytes_max: usize) -> String {
    cut(&name.to_string_lossy(), bytes_max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::temp::TempDir;
    use crate::trace::reading;

    #[test]
    fn what_was_told_is_one_line() {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let file = dir.path().join("trace");
        let mut recorder = Recorder::new(Some(&file));
        recorder.compiler(OsStr::new("gcc"));
        recorder.verdict("distribute", None);
        recorder.files(OsStr::new("a\n\"b.c"), OsStr::new("a.o"));
        recorder.phase("Blocked", "", 0);
        for (host, outcome, cause) in
            [("red/2", "host", Some("connect: refused")), ("blue,lzo", "done", None)]
        {
            recorder.attempt(host, 3);
            recorder.phase("Connect", host, 3);
            recorder.sends("plain");
            recorder.phase("Compile", host, 3);
            recorder.traffic(100, 50);
            recorder.contents(1000, 500);
            recorder.attempt_ended(outcome, cause.as_ref().map(|cause| cause as &dyn Display));
        }
        recorder.write(Some(0)).unwrap();
        recorder.write(Some(1)).unwrap();
        let text = std::fs::read(&file).unwrap();
        assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 1);
        let job = reading::parse(text.trim_ascii_end()).unwrap();
        assert_eq!(
            (job.status, job.source.as_deref(), job.mode.as_str()),
            (Some(0), Some("a\n\"b.c"), "plain")
        );
        assert_eq!((job.host.as_str(), job.slot), ("blue,lzo", Some(3)));
        let phases: Vec<_> = job.phases.iter().map(|phase| phase.phase.as_str()).collect();
        assert_eq!(phases, ["blocked", "connect", "compile", "connect", "compile"]);
        assert_eq!(job.attempts[0].cause.as_deref(), Some("connect: refused"));
        assert_eq!((job.attempts[1].sent, job.attempts[1].result_bytes), (100, 500));
        assert!(job.phases.iter().all(|phase| phase.start >= job.start && phase.duration <= job.duration));
    }

    #[test]
    fn a_job_without_end_is_still_one_line() {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let file = dir.path().join("trace");
        let mut recorder = Recorder::new(Some(&file));
        for slot in 0..10_000 {
            recorder.attempt("host", slot);
            recorder.phase("Connect", "host", slot);
            recorder.attempt_ended("host", Some(&"x".repeat(10_000)));
        }
        recorder.write(None).unwrap();
        assert!(std::fs::metadata(&file).unwrap().len() < LINE_BYTES_MAX as u64);
    }

    #[test]
    fn a_pipe_that_nobody_reads_holds_no_job_up() {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let pipe = dir.path().join("trace");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(Recorder::new(Some(&pipe)).write(Some(0)).is_err());
        let _reader = open::without_waiting(&pipe).unwrap();
        let refused = (0..100_000).find_map(|_| Recorder::new(Some(&pipe)).write(Some(0)).err());
        assert_eq!(refused.map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
    }

    #[test]
    fn without_a_file_nothing_is_kept() {
        let mut recorder = Recorder::new(None);
        recorder.attempt("host", 0);
        assert!(recorder.0.is_none() && recorder.write(Some(0)).is_ok());
        assert!(Recorder::new(Some(Path::new("/nonexistent/x"))).write(Some(0)).is_err());
    }
}
