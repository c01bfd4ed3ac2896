//! Hearing of files that were closed after writing, or after reading, in one directory (inotify(7)).
//!
//! Knows nothing of what the files are.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of an event before the name: four 32-bit numbers (watch, mask, cookie, length of the name).
const EVENT_HEADER_BYTES: usize = 16;
/// Bytes read at a time: hundreds of events with names as long as ours.
const BUFFER_BYTES: usize = 16 * 1024;

/// Stack of the thread that closes a watch, in bytes; it makes one system call.
const CLOSING_THREAD_STACK_BYTES: usize = 64 * 1024;

/// A watch on one directory. Its descriptor is closed on exec.
///
/// Dropping it is quick, although closing an inotify descriptor is not: the kernel first waits, for 10 to 20
/// ms, until every processor has let go of the watch. That is left to a thread of its own. (Keeping the
/// descriptor for later would be simpler, but a user may have only 128 of them.)
#[derive(Debug)]
pub struct CloseWatch {
    /// `None` only while being dropped.
    events: Option<File>,
    watch: libc::c_int,
}

/// What happened since the last look.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Closed {
    /// The names of the files closed, in order; a name may occur more than once.
    pub names: Vec<OsString>,
    /// Events were lost, or the directory is gone: any file may have been closed.
    pub incomplete: bool,
}

impl CloseWatch {
    /// Starts watching the directory. Fails where inotify is missing or the user has too many instances open.
    pub fn new(directory: &Path) -> io::Result<CloseWatch> {
        CloseWatch::of(directory, libc::IN_CLOSE_WRITE)
    }

    /// The same for files that were open for reading only: who has looked, on file systems that keep no such times, too.
    pub fn of_readers(directory: &Path) -> io::Result<CloseWatch> {
        CloseWatch::of(directory, libc::IN_CLOSE_NOWRITE)
    }

    fn of(directory: &Path, closings: u32) -> io::Result<CloseWatch> {
        let path = CString::new(directory.as_os_str().as_bytes())?;
        // SAFETY: the call takes no pointers.
        let descriptor = unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else has it.
        let events = File::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
        // SAFETY: the path is NUL-terminated and outlives the call.
        let watch = unsafe {
            libc::inotify_add_watch(
                events.as_raw_fd(),
                path.as_ptr(),
                closings | libc::IN_DELETE_SELF | libc::IN_ONLYDIR,
            )
        };
        if watch < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(CloseWatch { events: Some(events), watch })
    }

    fn events(&self) -> &File {
        self.events.as_ref().expect("the descriptor is there until dropped")
    }

    /// Waits until something happened, or the time is over.
    pub fn wait(&self, timeout: Duration) -> io::Result<()> {
        let deadline = Instant::now() + timeout;
        loop {
            // Rounded up, so that the last part of a millisecond is slept and not spun.
            let left = deadline.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
            let mut entry = libc::pollfd { fd: self.events().as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: the pointer is to one pollfd, and the count is one.
            let ready = unsafe { libc::poll(&raw mut entry, 1, i32::try_from(left).unwrap_or(i32::MAX)) };
            if ready >= 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    /// Takes all that happened, without waiting.
    pub fn drain(&self) -> io::Result<Closed> {
        let mut closed = Closed::default();
        let mut buffer = [0; BUFFER_BYTES];
        loop {
            match self.events().read(&mut buffer) {
                Ok(0) => return Ok(closed),
                Ok(length) => parse(&buffer[..length], &mut closed),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(closed),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for CloseWatch {
    fn drop(&mut self) {
        // It fails only if the directory is gone, and the watch with it.
        // SAFETY: the call takes no pointers.
        unsafe { libc::inotify_rm_watch(self.events().as_raw_fd(), self.watch) };
        let events = self.events.take();
        // Where no thread can be had, the closure with the descriptor is dropped here, and we wait.
        let closing = thread::Builder::new().stack_size(CLOSING_THREAD_STACK_BYTES);
        let _ = closing.spawn(move || drop(events));
    }
}

fn parse(mut bytes: &[u8], closed: &mut Closed) {
    while let Some((header, rest)) = bytes.split_at_checked(EVENT_HEADER_BYTES) {
        let number = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let (mask, length) = (number(4), number(12) as usize);
        let (name, rest) = rest.split_at(length.min(rest.len()));
        if mask & libc::IN_CLOSE != 0 {
            // The name is padded with NULs.
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            closed.names.push(OsString::from_vec(name.to_vec()));
        } else {
            closed.incomplete = true;
        }
        bytes = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    struct Directory(PathBuf);

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn directory(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("watch_{name}_{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Directory(path)
    }

    #[test]
    fn only_a_close_after_writing_is_heard() {
        let directory = directory("heard");
        let watch = CloseWatch::new(&directory.0).unwrap();
        let file = File::create(directory.0.join("a")).unwrap();
        File::open(directory.0.join("a")).unwrap();
        assert_eq!(watch.drain().unwrap(), Closed::default());
        drop(file);
        File::create(directory.0.join("longer name")).unwrap();
        watch.wait(Duration::from_secs(10)).unwrap();
        assert_eq!(watch.drain().unwrap().names, ["a", "longer name"]);
    }

    #[test]
    fn waiting_ends_with_the_time() {
        let directory = directory("time");
        let watch = CloseWatch::new(&directory.0).unwrap();
        let start = Instant::now();
        watch.wait(Duration::from_millis(20)).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn dropping_does_not_wait_for_the_kernel() {
        let directory = directory("drop");
        let drop_time = |_| {
            let watch = CloseWatch::new(&directory.0).unwrap();
            let start = Instant::now();
            drop(watch);
            start.elapsed()
        };
        // The best of a few, since this machine may be busy; closing in place takes 10 ms every time.
        let best = (0..5).map(drop_time).min().unwrap();
        assert!(best < Duration::from_millis(5), "{best:?}");
    }

    #[test]
    fn a_directory_that_goes_away_is_noticed() {
        let directory = directory("gone");
        let watch = CloseWatch::new(&directory.0).unwrap();
        std::fs::remove_dir(&directory.0).unwrap();
        assert!(watch.drain().unwrap().incomplete);
        assert!(CloseWatch::new(&directory.0).is_err());
    }
}
