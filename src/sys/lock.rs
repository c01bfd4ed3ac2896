//! POSIX record locks on whole files (fcntl(2), `F_SETLK`), shared with other programs and over NFS.
//!
//! Knows nothing of what a lock stands for.
//!
//! Such a lock belongs to the process, and closing *any* descriptor of the file gives it up, even one that
//! was opened only to look. So a process must never have a lock file open twice. This module keeps the paths
//! it has open and refuses a second time; it cannot see through links, so callers spell a path in one way
//! only.
//!
//! Releasing is closing. The kernel removes the lock first and then reports the close to whoever watches the
//! directory (`watch`), so that a waiter who hears of it finds the file unlocked. A process that dies closes
//! too.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::sys::open;

/// How long a reader pauses until it looks again whether the writer has finished, who needs much less.
const READERS_PAUSE: Duration = Duration::from_millis(2);

/// The same for who waits for a lock until a deadline.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The lock files this process has open. Process-wide, as the locks themselves are.
static OPEN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn open_files() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A lock file, open and perhaps locked; dropping it gives the lock up.
#[derive(Debug)]
pub struct LockFile {
    /// `None` only while being dropped.
    file: Option<File>,
    path: PathBuf,
}

impl LockFile {
    /// Opens the file, making it if need be (mode 0666 and the umask), without locking it. It is closed on
    /// exec. What is a link, or a pipe that nobody reads, is no lock file: others may write to the directory.
    ///
    /// Fails with [`io::ErrorKind::ResourceBusy`] if this process has it open already.
    pub fn open(path: &Path) -> io::Result<LockFile> {
        let mut opened = open_files();
        if opened.contains(path) {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let file = open::itself(path, 0o666)?;
        opened.insert(path.to_owned());
        Ok(LockFile { file: Some(file), path: path.to_owned() })
    }

    /// Locks the file unless another process has; whether it is ours now.
    pub fn try_lock(&self) -> io::Result<bool> {
        match record_lock(self.file(), libc::F_SETLK) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Locks the file, waiting as long as it takes. Linux serves waiters in order of arrival and wakes only
    /// the next one. A handled signal does not end the waiting but costs the place in the order.
    ///
    /// Fails with `EDEADLK` where the kernel believes that the holder waits for us.
    pub fn lock(&self) -> io::Result<()> {
        record_lock(self.file(), libc::F_SETLKW).map(drop)
    }

    /// Locks the file, waiting no longer than until the deadline; whether it is ours now. For what may be asked for often
    /// by many: nobody is served in order.
    pub fn lock_until(&self, deadline: Instant) -> io::Result<bool> {
        while !self.try_lock()? {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            thread::sleep(LOCK_PAUSE);
        }
        Ok(true)
    }

    /// The process that has the file locked, if it is another one than this. Not above 0 if the holder is in
    /// a pid namespace we cannot see; meaningless if it is on another machine.
    pub fn holder(&self) -> io::Result<Option<i32>> {
        holder(self.file())
    }

    fn file(&self) -> &File {
        self.file.as_ref().expect("the file is there until dropped")
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Closed before it is forgotten: the other order would let another thread open it in between, and our
        // close would cost that thread its lock.
        let mut open = open_files();
        drop(self.file.take());
        open.remove(&self.path);
    }
}

/// Whether some process, including this one, has the file locked. One that does not exist is not locked.
///
/// Looks through a read-only descriptor, whose closing wakes no one who watches for released locks.
pub fn is_locked(path: &Path) -> io::Result<bool> {
    let open = open_files();
    if open.contains(path) {
        return Ok(true);
    }
    match open::without_waiting(path) {
        Ok(file) => Ok(holder(&file)?.is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A turn at writing to an open file that other processes write to as well, such as a terminal or a pipe. It
/// ends when this value is dropped.
#[derive(Debug)]
pub struct WritersTurn {
    /// A descriptor of our own: closing it gives the lock up.
    _file: File,
}

impl WritersTurn {
    /// Waits for a turn among those who also ask for one (GNU make does so with `--output-sync`). The file
    /// must be open for writing, and be of a kind that can be locked.
    pub fn wait(descriptor: OwnedFd) -> io::Result<WritersTurn> {
        let file = File::from(descriptor);
        record_lock(&file, libc::F_SETLKW)?;
        Ok(WritersTurn { _file: file })
    }
}

/// A turn at reading a file that another process rewrites in its place under a [`WritersTurn`]. It ends when this value
/// is dropped.
#[derive(Debug)]
pub struct ReadersTurn(File);

impl ReadersTurn {
    /// Opens the file and waits until nobody writes it, or until the deadline, which is an error. Where locks do not work,
    /// it is read as it is.
    pub fn wait(path: &Path, deadline: Instant) -> io::Result<ReadersTurn> {
        let file = open::without_waiting(path)?;
        while let Err(error) = lock_records(&file, libc::F_SETLK, libc::F_RDLCK) {
            let is_taken = matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES));
            if !is_taken {
                break;
            }
            if Instant::now() >= deadline {
                let text = "somebody has had it locked for writing for too long";
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            thread::sleep(READERS_PAUSE);
        }
        Ok(ReadersTurn(file))
    }

    /// The file.
    pub fn file(&mut self) -> &mut File {
        &mut self.0
    }
}

fn holder(file: &File) -> io::Result<Option<i32>> {
    let found = record_lock(file, libc::F_GETLK)?;
    Ok((i32::from(found.l_type) != libc::F_UNLCK).then_some(found.l_pid))
}

/// Carries out one lock command for an exclusive lock over the whole file.
fn record_lock(file: &File, command: libc::c_int) -> io::Result<libc::flock> {
    lock_records(file, command, libc::F_WRLCK)
}

/// The same for a lock of either kind.
fn lock_records(file: &File, command: libc::c_int, kind: libc::c_int) -> io::Result<libc::flock> {
    // SAFETY: flock is plain numbers, for which zero is valid; some platforms have more fields than we name.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    loop {
        // SAFETY: the descriptor is open for as long as `file` is borrowed, and the three commands used here
        // take a pointer to a flock.
        if unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) } == 0 {
            return Ok(lock);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn path(name: &str) -> Scratch {
        Scratch(std::env::temp_dir().join(format!("lock_{name}_{}", std::process::id())))
    }

    #[test]
    fn a_file_is_open_once_per_process_and_free_after_the_drop() {
        let path = path("once");
        assert!(!is_locked(&path.0).unwrap());
        let file = LockFile::open(&path.0).unwrap();
        assert!(file.try_lock().unwrap());
        assert_eq!(LockFile::open(&path.0).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        assert!(is_locked(&path.0).unwrap());
        drop(file);
        assert!(!is_locked(&path.0).unwrap());
        assert!(LockFile::open(&path.0).is_ok());
    }

    #[test]
    fn opening_leaves_the_contents_alone() {
        let path = path("contents");
        std::fs::write(&path.0, "kept").unwrap();
        LockFile::open(&path.0).unwrap().lock().unwrap();
        assert_eq!(std::fs::read(&path.0).unwrap(), b"kept");
    }

    #[test]
    fn who_holds_a_lock_for_ever_is_not_waited_for() {
        let path = path("held");
        let script = "import fcntl,sys,time; f=open(sys.argv[1],'w'); fcntl.lockf(f,fcntl.LOCK_EX); print(1,flush=True); time.sleep(60)";
        let mut holder = std::process::Command::new("python3")
            .args(["-c", script])
            .arg(&path.0)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        let file = LockFile::open(&path.0).unwrap();
        let soon = || Instant::now() + Duration::from_millis(50);
        assert!(!file.lock_until(soon()).unwrap());
        holder.kill().unwrap();
        holder.wait().unwrap();
        assert!(file.lock_until(soon()).unwrap());
    }

    #[test]
    fn a_lock_we_hold_ourselves_has_no_other_holder() {
        let path = path("holder");
        let file = LockFile::open(&path.0).unwrap();
        file.lock().unwrap();
        assert_eq!(file.holder().unwrap(), None);
    }
}
