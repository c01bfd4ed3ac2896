//! The reader's side: lines of a record, some of which may be cut short, damaged or from another version. Holds one line
//! at a time.

use std::io::{self, BufRead};

use super::job::VERSION;
pub use super::job::{Job, LINE_BYTES_MAX};

/// The longest time a job can have taken, in microseconds (30 days): a longer one is a damaged number.
const DURATION_MAX: u64 = 30 * 24 * 3600 * 1_000_000;
/// The latest start, in microseconds since 1970 (the year 2554), so that sums of times are safe.
const START_MAX: u64 = 1 << 54;

/// Why a line is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// It is not a whole job.
    Unreadable,
    /// It is of another version.
    OtherVersion,
}

/// What was read of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// Jobs.
    pub read: u64,
    /// Lines that were cut or damaged.
    pub unreadable: u64,
    /// Lines of other versions.
    pub other_versions: u64,
}

/// The job of one line, without the line's end.
pub fn parse(line: &[u8]) -> Result<Job, Skipped> {
    if line.len() > LINE_BYTES_MAX {
        return Err(Skipped::Unreadable);
    }
    let job: Job = match serde_json::from_slice(line) {
        Ok(job) => job,
        Err(_) => return Err(is_of_other_version(line)),
    };
    let is_plausible = |start: u64, duration: u64| start <= START_MAX && duration <= DURATION_MAX;
    if job.v != VERSION {
        return Err(Skipped::OtherVersion);
    }
    let attempts = job.attempts.iter().all(|attempt| is_plausible(attempt.start, attempt.duration));
    let phases = job.phases.iter().all(|phase| is_plausible(phase.start, phase.duration));
    if is_plausible(job.start, job.duration) && attempts && phases {
        Ok(job)
    } else {
        Err(Skipped::Unreadable)
    }
}

/// What is wrong with a line that is no job of this version: another version may have other fields.
fn is_of_other_version(line: &[u8]) -> Skipped {
    let version =
        serde_json::from_slice(line).ok().and_then(|line: serde_json::Value| line.get("v")?.as_u64());
    match version {
        Some(version) if version != u64::from(VERSION) => Skipped::OtherVersion,
        _ => Skipped::Unreadable,
    }
}

/// Calls `on_job` for each job of a record and says what was passed over.
pub fn each_job(mut record: impl BufRead, mut on_job: impl FnMut(Job)) -> io::Result<Lines> {
    let mut lines = Lines::default();
    let mut line = Vec::new();
    while read_line(&mut record, &mut line)? {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match parse(&line) {
            Ok(job) => {
                lines.read += 1;
                on_job(job);
            }
            Err(Skipped::Unreadable) => lines.unreadable += 1,
            Err(Skipped::OtherVersion) => lines.other_versions += 1,
        }
    }
    Ok(lines)
}

/// The next line without its end; of one that is too long, a part that is too long as well.
fn read_line(record: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    loop {
        let part = record.fill_buf()?;
        if part.is_empty() {
            return Ok(!line.is_empty());
        }
        let end = part.iter().position(|byte| *byte == b'\n');
        let length = end.unwrap_or(part.len());
        let room = (LINE_BYTES_MAX + 1).saturating_sub(line.len());
        line.extend_from_slice(&part[..length.min(room)]);
        record.consume(length + usize::from(end.is_some()));
        if end.is_some() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_job_is_counted_and_passed_over() {
        let good = r#"{"v":1,"start":1,"duration":2,"new field":[{"x":null}]}"#;
        let long = format!(r#"{{"v":1,"start":1,"duration":2,"source":"{}"}}"#, "x".repeat(LINE_BYTES_MAX));
        let huge = r#"{"v":1,"start":1,"duration":18446744073709551615}"#;
        let text = [
            good,
            &good[..20],
            "",
            "\0\x1b",
            r#"{"v":2,"start":1,"duration":2}"#,
            r#"{"v":7,"begin":"noon"}"#,
            &long,
            "[1]",
            huge,
            r#"{"v":1,"start":1,"duration":2,"status":null,"phases":[]}"#,
            good,
        ]
        .join("\n");
        let mut jobs = Vec::new();
        let lines = each_job(text.as_bytes(), |job| jobs.push(job)).unwrap();
        assert_eq!(lines, Lines { read: 3, unreadable: 5, other_versions: 2 });
        assert_eq!((jobs.len(), jobs[0].start), (3, 1));
    }
}
