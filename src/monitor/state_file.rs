//! The file in which a client tells monitors what it is doing: `state/binstate_PID`.
//!
//! An interface shared with distcc 3.4's monitors: 296 bytes in the machine's own byte order, rewritten at each
//! change of phase, removed at the end. See "State: `state/binstate_PID`" in docs/protocol.md. Knows nothing of jobs.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::sys::signal::CleanupFile;
use crate::sys::{open, process};

/// Length of a state file, in bytes (the layout of a 64-bit machine).
pub const STATE_BYTES: usize = 296;
pub(super) const MAGIC: u64 = 0x4449_4800;
const NAME_BYTES: usize = 128;
pub(super) const FILE_AT: usize = 24;
pub(super) const HOST_AT: usize = FILE_AT + NAME_BYTES;
pub(super) const SLOT_AT: usize = HOST_AT + NAME_BYTES;
pub(super) const PHASE_AT: usize = SLOT_AT + 4;
/// How the files' names begin, before the process id.
pub(super) const NAME_PREFIX: &str = "binstate_";
/// One job in so many looks for files that killed ones have left: reading the directory costs as much as the rest here.
const SWEEP_EACH: u64 = 16;
/// When a file counts as left if its process is not to be seen, after the last change. A process in another container,
/// or on another machine, is not to be seen either; it is only shown no longer if one phase of it takes so long.
pub(super) const LEFT_AFTER: Duration = Duration::from_secs(600);

/// What a job is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

impl Phase {
    /// The phase with this number in a file; one that we do not know is taken for the longest one, as in 3.4.
    pub fn from_number(number: i32) -> Phase {
        match number {
            0 => Phase::Startup,
            1 => Phase::Blocked,
            2 => Phase::Connect,
            3 => Phase::Preprocess,
            4 => Phase::Send,
            6 => Phase::Receive,
            7 => Phase::Done,
            _ => Phase::Compile,
        }
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Startup => "Startup",
            Phase::Blocked => "Blocked",
            Phase::Connect => "Connect",
            Phase::Preprocess => "Preprocess",
            Phase::Send => "Send",
            Phase::Compile => "Compile",
            Phase::Receive => "Receive",
            Phase::Done => "Done",
        }
    }
}

/// The state file of this process; removed when dropped, also after a fatal signal.
///
/// A state that cannot be written must not fail the job: after the first error it is given up silently.
#[derive(Debug)]
pub struct StateFile {
    place: Option<Place>,
    record: [u8; STATE_BYTES],
}

/// Where the file is. The first state is written beside it and then takes its place, so that a monitor finds a whole
/// record, and a link that somebody has put there is not followed. Later ones are written over it in one call: to
/// replace the file each time would be the most expensive thing a client does for a job.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    beside: PathBuf,
    file: Option<File>,
    _removal: [CleanupFile; 2],
}

impl Place {
    fn in_directory(directory: &Path) -> Place {
        let name = format!("{NAME_PREFIX}{}", std::process::id());
        // Monitors of 3.4 read names that begin with `binstate_`.
        let (path, beside) = (directory.join(&name), directory.join(format!(".{name}")));
        let _removal = [CleanupFile::new(&path), CleanupFile::new(&beside)];
        Place { _removal, path, beside, file: None }
    }

    fn write(&mut self, record: &[u8; STATE_BYTES]) -> io::Result<()> {
        if let Some(file) = &self.file {
            return file.write_all_at(record, 0);
        }
        let mut file = open::anew(&self.beside, 0o644)?;
        file.write_all(record)?;
        fs::rename(&self.beside, &self.path)?;
        self.file = Some(file);
        Ok(())
    }
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
        StateFile { place: None, record }
    }

    /// Chooses the state directory, which is made if it is missing (its parent is not).
    pub fn open(&mut self, state_directory: &Path) {
        if process::random_seed().is_multiple_of(SWEEP_EACH) {
            remove_left(state_directory);
        }
        // Whether it is there now shows at once.
        let _ = fs::create_dir(state_directory);
        self.place = Some(Place::in_directory(state_directory));
    }

    /// Says that the job is in `phase` on slot `slot` of `host`.
    pub fn set(&mut self, phase: Phase, host: &str, slot: u32) {
        let Some(place) = &mut self.place else { return };
        self.record[HOST_AT..SLOT_AT].fill(0);
        put_name(&mut self.record[HOST_AT..SLOT_AT], host.as_bytes());
        self.record[SLOT_AT..PHASE_AT].copy_from_slice(&slot.to_ne_bytes());
        self.record[PHASE_AT..PHASE_AT + 4].copy_from_slice(&(phase as u32).to_ne_bytes());
        if place.write(&self.record).is_err() {
            self.place = None;
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
    fn no_reader_sees_less_than_a_state() {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let path = dir.path().join(format!("binstate_{}", std::process::id()));
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for _ in 0..500 {
                    let mut job = StateFile::new(OsStr::new("a.c"));
                    job.open(dir.path());
                    job.set(Phase::Connect, "short", 1);
                    job.set(Phase::Compile, "longer", 2);
                }
            });
            while !writer.is_finished() {
                let Ok(bytes) = fs::read(&path) else { continue };
                assert_eq!(bytes.len(), STATE_BYTES);
                assert_eq!(bytes[8..16], MAGIC.to_ne_bytes());
            }
        });
    }

    #[test]
    fn what_lies_at_the_files_place_is_replaced() {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        let name = format!("binstate_{}", std::process::id());
        std::os::unix::fs::symlink(&victim, dir.path().join(&name)).unwrap();
        std::os::unix::fs::symlink(&victim, dir.path().join(format!(".{name}"))).unwrap();
        let mut job = StateFile::new(OsStr::new("a.c"));
        job.open(dir.path());
        job.set(Phase::Compile, "host", 0);
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        assert_eq!(fs::read(dir.path().join(&name)).unwrap().len(), STATE_BYTES);
        drop(job);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
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
