//! What all clients of a user are doing: the reader of their state files.
//!
//! Anybody who may write to the directory may put anything there, so nothing is believed, and nothing takes more than a
//! bounded time. Knows no host list, and not how states are shown.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::state_file::{
    FILE_AT, HOST_AT, LEFT_AFTER, MAGIC, NAME_PREFIX, PHASE_AT, Phase, SLOT_AT, STATE_BYTES,
};
use crate::log_debug;
use crate::sys::open;

/// How many jobs are shown at most: more than one machine's clients are, and few enough to be read in a moment.
const STATES_MAX: usize = 10_000;
/// How many names of the directory are looked at. Each costs some microseconds.
const NAMES_MAX: usize = 100_000;
/// Clients of 3.4 count a state as left when it is older, also that of a living process. Younger ones need no proof.
const FRESH_FOR: Duration = Duration::from_secs(60);
/// Clock ticks of the kernel in a second, as processes see them (proc_pid_stat(5)); the same on all machines of Linux.
const TICKS_IN_SECOND: f64 = 100.0;
/// How much older than its process a state may seem, for the rounding of clocks.
const CLOCK_SLACK: Duration = Duration::from_secs(2);

/// What one client is doing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct State {
    /// The host; `localhost` is this machine. Any bytes but NUL.
    pub host: Vec<u8>,
    /// The slot on it, counted from 0.
    pub slot: i32,
    /// The client's process.
    pub process: u64,
    /// The source's last part. Any bytes but NUL.
    pub file: Vec<u8>,
    /// What is done with it; a number without a meaning counts as compiling, as in 3.4.
    pub phase: Phase,
}

/// The running jobs, by host, then slot. What killed clients have left is removed on the way.
///
/// The error is the directory's: it cannot be read.
pub fn read_all(state_directory: &Path) -> io::Result<Vec<State>> {
    let mut states = Vec::new();
    for entry in fs::read_dir(state_directory)?.take(NAMES_MAX) {
        let Ok(entry) = entry else { continue };
        if !entry.file_name().as_encoded_bytes().starts_with(NAME_PREFIX.as_bytes()) {
            continue;
        }
        match read_living(&entry.path()) {
            Ok(Some(state)) if state.phase != Phase::Done => states.push(state),
            Ok(_) => {}
            Err(error) => log_debug!("{}: {error}", entry.path().display()),
        }
        if states.len() == STATES_MAX {
            break;
        }
    }
    states.sort_unstable();
    Ok(states)
}

/// The state in a file, unless its process is gone.
fn read_living(path: &Path) -> io::Result<Option<State>> {
    let mut file = open::without_waiting(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(None);
    }
    let changed = metadata.modified()?;
    // By its distance, should the clock have been set back.
    let age = SystemTime::now().duration_since(changed).unwrap_or_else(|ahead| ahead.duration());
    let Some(state) = read_state(&mut file)? else {
        log_debug!("{} is no state of this kind of machine", path.display());
        return Ok(None);
    };
    match lifetime(state.process) {
        Some(lived) if age < FRESH_FOR || lived.is_none_or(|lived| lived + CLOCK_SLACK >= age) => {
            Ok(Some(state))
        }
        // Its number went to another process since.
        Some(_) => fs::remove_file(path).map(|()| None),
        // It may live where we cannot see it: in another container, or on another machine.
        None if age >= LEFT_AFTER => fs::remove_file(path).map(|()| None),
        None => Ok(None),
    }
}

fn read_state(file: &mut File) -> io::Result<Option<State>> {
    let mut record = Vec::with_capacity(STATE_BYTES);
    file.take(STATE_BYTES as u64).read_to_end(&mut record)?;
    Ok((record.len() == STATE_BYTES).then(|| parse(&record)).flatten())
}

/// A state from its record; none if it is none.
fn parse(record: &[u8]) -> Option<State> {
    let number = |at: usize| record[at..at + 8].try_into().map_or(0, u64::from_ne_bytes);
    let short = |at: usize| record[at..at + 4].try_into().map_or(0, i32::from_ne_bytes);
    if number(0) != STATE_BYTES as u64 || number(8) != MAGIC {
        return None;
    }
    let name = |field: &[u8]| field.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
    Some(State {
        host: name(&record[HOST_AT..SLOT_AT]),
        slot: short(SLOT_AT),
        process: number(16),
        file: name(&record[FILE_AT..HOST_AT]),
        phase: Phase::from_number(short(PHASE_AT)),
    })
}

/// How long a process has run, if there is one; the inner value is missing if the kernel does not say.
fn lifetime(process: u64) -> Option<Option<Duration>> {
    let directory = format!("/proc/{process}");
    if process == 0 || !Path::new(&directory).exists() {
        return None;
    }
    let lived = || {
        let stat = fs::read(format!("{directory}/stat")).ok()?;
        // The name, in parentheses, may hold anything; field 22 is the start, in ticks since the machine's.
        let rest = &stat[stat.iter().rposition(|byte| *byte == b')')? + 2..];
        let start: f64 = std::str::from_utf8(rest).ok()?.split(' ').nth(19)?.parse().ok()?;
        let up: f64 = fs::read_to_string("/proc/uptime").ok()?.split(' ').next()?.parse().ok()?;
        Duration::try_from_secs_f64((up - start / TICKS_IN_SECOND).max(0.0)).ok()
    };
    Some(lived())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::state_file::StateFile;
    use crate::sys::temp::TempDir;
    use std::ffi::OsStr;

    /// No process has so high a number (proc_sys_kernel(5), pid_max).
    const DEAD: u64 = 1 << 22;

    fn record(process: u64, file: &[u8], host: &[u8], slot: i32, phase: i32) -> Vec<u8> {
        let mut record = vec![0; STATE_BYTES];
        record[..8].copy_from_slice(&(STATE_BYTES as u64).to_ne_bytes());
        record[8..16].copy_from_slice(&MAGIC.to_ne_bytes());
        record[16..24].copy_from_slice(&process.to_ne_bytes());
        record[FILE_AT..][..file.len()].copy_from_slice(file);
        record[HOST_AT..][..host.len()].copy_from_slice(host);
        record[SLOT_AT..PHASE_AT].copy_from_slice(&slot.to_ne_bytes());
        record[PHASE_AT..PHASE_AT + 4].copy_from_slice(&phase.to_ne_bytes());
        record
    }

    #[test]
    fn what_a_client_writes_is_read() {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let mut job = StateFile::new(OsStr::new("src/hello.c"));
        job.open(dir.path());
        job.set(Phase::Send, "build3", 2);
        let states = read_all(dir.path()).unwrap();
        let process = u64::from(std::process::id());
        let want =
            State { host: b"build3".into(), slot: 2, process, file: b"hello.c".into(), phase: Phase::Send };
        assert_eq!(states, [want]);
    }

    #[test]
    fn states_stand_by_host_then_slot_and_done_ones_not_at_all() {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let own = u64::from(std::process::id());
        for (number, (host, slot, phase)) in
            [(&b"b"[..], 10, 5), (b"b", 2, 5), (b"a", 7, 99), (b"\xff", -1, -1), (b"c", 0, 7)]
                .iter()
                .enumerate()
        {
            let path = dir.path().join(format!("{NAME_PREFIX}{number}"));
            fs::write(path, record(own, b"x.c", host, *slot, *phase)).unwrap();
        }
        let states = read_all(dir.path()).unwrap();
        let order: Vec<_> = states.iter().map(|state| (&state.host[..], state.slot, state.phase)).collect();
        let compiling = Phase::Compile;
        assert_eq!(
            order,
            [
                (&b"a"[..], 7, compiling),
                (b"b", 2, compiling),
                (b"b", 10, compiling),
                (b"\xff", -1, compiling)
            ]
        );
    }

    #[test]
    fn what_is_no_state_is_passed_over_and_left_alone() {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let own = u64::from(std::process::id());
        let good = record(own, b"a.c", b"h", 0, 5);
        let mut of_32_bits = good.clone();
        of_32_bits[0] = 1;
        let mut other_magic = good.clone();
        other_magic[8] = 1;
        for (name, bytes) in [
            ("binstate_1", &good[..295]),
            ("binstate_2", &of_32_bits),
            ("binstate_3", &other_magic),
            ("binstate_4", b""),
            ("other", &good),
            (".binstate_5", &good),
            ("binstate_6", &record(DEAD, b"a.c", b"h", 0, 5)),
            ("binstate_7", &record(u64::MAX, b"a.c", b"h", 0, 5)),
            ("binstate_8", &record(0, b"a.c", b"h", 0, 5)),
        ] {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        fs::create_dir(dir.path().join("binstate_9")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", dir.path().join("binstate_10")).unwrap();
        std::os::unix::fs::symlink("nothing", dir.path().join("binstate_11")).unwrap();
        assert_eq!(read_all(dir.path()).unwrap(), []);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 12);
        assert!(read_all(&dir.path().join("missing")).is_err());
    }

    #[test]
    fn what_is_left_goes_and_a_long_job_stays() {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let path = dir.path().join("binstate_1");
        // The first process is as old as the machine; this one is younger than the third file.
        for (process, age, shown, kept) in [
            (1, FRESH_FOR * 2, 1, true),
            (DEAD, FRESH_FOR * 2, 0, true),
            (DEAD, LEFT_AFTER * 2, 0, false),
            (u64::from(std::process::id()), Duration::from_secs(24 * 3600), 0, false),
        ] {
            fs::write(&path, record(process, b"a.c", b"h", 0, 5)).unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(SystemTime::now() - age).unwrap();
            let found = read_all(dir.path()).unwrap().len();
            let up = lifetime(1).flatten().unwrap_or_default();
            let shown = if process == 1 && up < age { 0 } else { shown };
            assert_eq!(found, shown, "process {process}, {age:?}");
            assert_eq!(path.exists(), kept || shown > 0, "process {process}, {age:?}");
        }
    }
}
