//! The file in which a client tells monitors what it is doing: `state/binstate_PID`.
//!
//! An interface shared with distcc 3.4's monitors: 296 bytes in the machine's own byte order, rewritten at each
//! change of phase, removed at the end. See "State: `state/binstate_PID`" in docs/protocol.md. Knows nothing of jobs.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::sys::process;
use crate::sys::signal::CleanupFile;

/// Length of a state file, in bytes (the layout of a 64-bit machine).
pub const STATE_BYTES: usize = 296;
const MAGIC: u64 = 0x4449_4800;
const NAME_BYTES: usize = 128;
const FILE_AT: usize = 24;
const HOST_AT: usize = FILE_AT + NAME_BYTES;
const SLOT_AT: usize = HOST_AT + NAME_BYTES;
const PHASE_AT: usize = SLOT_AT + 4;
/// How the files' names begin, before the process id.
const NAME_PREFIX: &str = "binstate_";
/// One job in so many looks for files that killed ones have left: reading the directory costs as much as the rest here.
const SWEEP_EACH: u64 = 16;
/// When a file counts as left if its process is not to be seen, after the last change. A process in another container,
/// or on another machine, is not to be seen either; it is only shown no longer if one phase of it takes so long.
const LEFT_AFTER: Duration = Duration::from_secs(600);

/// What a job is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Phase {
    /// Just started.
    Startup = 0,
    /// Waiting for a slot.
    Blocked = 1,
    /// Connecting to the server.
    Connect = 2,
    /// Preprocessing, locally.
    Preprocess = 3,
    /// Sending the request.
    Send = 4,
    /// Waiting for the compiler.
    Compile = 5,
    /// Receiving the result.
    Receive = 6,
    /// Finished.
    Done = 7,
}

/// The state file of this process; removed when dropped, also after a fatal signal.
///
/// A state that cannot be written must not fail the job: after the first error it is given up silently.
#[derive(Debug)]
pub struct StateFile {
    file: Option<(File, CleanupFile)>,
    record: [u8; STATE_BYTES],
}

impl StateFile {
    /// Prepares the state of one job; the file appears with the first phase. `source` is shown by its basename.
    pub fn new(source: &OsStr) -> StateFile {
        let mut record = [0; STATE_BYTES];
        record[..8].copy_from_slice(&(STATE_BYTES as u64).to_ne_bytes());
        record[8..16].copy_from_slice(&MAGIC.to_ne_bytes());
        record[16..24].copy_from_slice(&u64::from(std::process::id()).to_ne_bytes());
        let base = Path::new(source).file_name().unwrap_or(source);
        put_name(&mut record[FILE_AT..HOST_AT], base.as_bytes());
        StateFile { file: None, record }
    }

    /// Opens the file below the state directory, which is made if it is missing (its parent is not).
    pub fn open(&mut self, state_directory: &Path) {
        if process::random_seed().is_multiple_of(SWEEP_EACH) {
            remove_left(state_directory);
        }
        let path = state_directory.join(format!("{NAME_PREFIX}{}", std::process::id()));
        let open = || OpenOptions::new().write(true).create(true).truncate(true).mode(0o666).open(&path);
        let file = open().or_else(|_| {
            // Another client may be quicker; whether the directory is there now shows at once.
            let _ = std::fs::create_dir(state_directory);
            open()
        });
        self.file = file.ok().map(|file| (file, CleanupFile::new(&path)));
    }

    /// Says that the job is in `phase` on slot `slot` of `host`.
    pub fn set(&mut self, phase: Phase, host: &str, slot: u32) {
        let Some((file, _)) = &self.file else { return };
        self.record[HOST_AT..SLOT_AT].fill(0);
        put_name(&mut self.record[HOST_AT..SLOT_AT], host.as_bytes());
        self.record[SLOT_AT..PHASE_AT].copy_from_slice(&slot.to_ne_bytes());
        self.record[PHASE_AT..PHASE_AT + 4].copy_from_slice(&(phase as u32).to_ne_bytes());
        if file.write_all_at(&self.record, 0).is_err() {
            self.file = None;
        }
    }
}

/// Removes the files of clients that were killed outright. Nothing is said of errors: the next one may succeed.
fn remove_left(state_directory: &Path) {
    for entry in fs::read_dir(state_directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(NAME_PREFIX)?.parse::<u32>().ok());
        let Some(process) = process else { continue };
        let changed = entry.metadata().and_then(|metadata| metadata.modified());
        // By its distance, should the clock have been set back.
        let age =
            |changed| SystemTime::now().duration_since(changed).unwrap_or_else(|ahead| ahead.duration());
        if changed.is_ok_and(|changed| age(changed) >= LEFT_AFTER)
            && !Path::new(&format!("/proc/{process}")).exists()
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Copies a name, cut so that its NUL terminator stays.
fn put_name(field: &mut [u8], name: &[u8]) {
    let length = name.len().min(field.len() - 1);
    field[..length].copy_from_slice(&name[..length]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::temp::TempDir;

    #[test]
    fn the_layout_is_that_of_distcc_34() {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let state = dir.path().join("state");
        let mut job = StateFile::new(OsStr::new("src/hello.c"));
        job.open(&state);
        job.set(Phase::Compile, "build3", 2);
        let path = state.join(format!("binstate_{}", std::process::id()));
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 296);
        assert_eq!(bytes[..8], 296u64.to_ne_bytes());
        assert_eq!(bytes[8..16], 0x44494800u64.to_ne_bytes());
        assert_eq!(bytes[16..24], u64::from(std::process::id()).to_ne_bytes());
        assert_eq!(&bytes[24..32], b"hello.c\0");
        assert_eq!(&bytes[152..159], b"build3\0");
        assert_eq!(bytes[280..284], 2u32.to_ne_bytes());
        assert_eq!(bytes[284..288], 5u32.to_ne_bytes());
        job.set(Phase::Receive, "b", 2);
        assert_eq!(&std::fs::read(&path).unwrap()[152..156], b"b\0\0\0");
        drop(job);
        assert!(!path.exists());
    }

    #[test]
    fn clients_that_start_together_all_have_their_state() {
        for _ in 0..200 {
            let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
            let state = dir.path().join("state");
            let together = std::sync::Barrier::new(2);
            let start = || {
                let mut job = StateFile::new(OsStr::new("a.c"));
                together.wait();
                job.open(&state);
                job.file.is_some()
            };
            std::thread::scope(|scope| {
                let other = scope.spawn(start);
                assert!(start() && other.join().unwrap());
            });
        }
    }

    #[test]
    fn what_killed_clients_left_goes_and_nothing_else() {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        // No process has so high a number (proc_sys_kernel(5), pid_max).
        let dead = 1 << 22;
        for (process, age, is_kept) in [
            (dead, LEFT_AFTER + Duration::from_secs(1), false),
            (dead + 1, LEFT_AFTER / 2, true),
            (std::process::id(), LEFT_AFTER * 2, true),
        ] {
            for when in [SystemTime::now() - age, SystemTime::now() + age] {
                let path = dir.path().join(format!("binstate_{process}"));
                File::create(&path).unwrap().set_modified(when).unwrap();
                remove_left(dir.path());
                assert_eq!(path.exists(), is_kept, "process {process}, {age:?}");
            }
        }
        File::create(dir.path().join("binstate_x")).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        remove_left(dir.path());
        assert!(dir.path().join("binstate_x").exists());
    }

    #[test]
    fn long_names_are_cut_before_their_terminator() {
        let job = StateFile::new(OsStr::new(&"x".repeat(300)));
        assert_eq!(job.record[FILE_AT + NAME_BYTES - 2], b'x');
        assert_eq!(job.record[FILE_AT + NAME_BYTES - 1], 0);
    }
}
