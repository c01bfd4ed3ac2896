//! Which hosts failed lately (manual, "DISTCC_BACKOFF_PERIOD"): one file per host, shared with distcc 3.4.
//!
//! The file's modification time is the time of the failure. Knows nothing of what failed, nor of slots.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::spec::Host;
use crate::sys::open;

/// The memory of failures: a directory of files, and how long a failure counts.
#[derive(Clone, Debug)]
pub struct Backoff {
    directory: PathBuf,
    period: Duration,
}

impl Backoff {
    /// Failures recorded in the lock directory count for `period`; a period of zero switches the memory off.
    pub fn new(directory: &Path, period: Duration) -> Backoff {
        Backoff { directory: directory.to_owned(), period }
    }

    /// Whether the host failed less than a period before `now`.
    pub fn is_backed_off(&self, host: &Host, now: SystemTime) -> bool {
        self.time_left(host, now).is_some()
    }

    /// For how long the host is left alone yet, if it is.
    pub fn time_left(&self, host: &Host, now: SystemTime) -> Option<Duration> {
        let failure = fs::metadata(self.path(host)).and_then(|metadata| metadata.modified()).ok()?;
        // A failure that lies ahead is a clock that was set back. Measured in both directions it counts for a
        // period at most on either side, and cannot keep a host away for as long as the clock was wrong.
        let age = now.duration_since(failure).unwrap_or_else(|ahead| ahead.duration());
        self.period.checked_sub(age).filter(|left| !left.is_zero())
    }

    /// Records that the host failed just now. Without effect if the memory is switched off.
    pub fn mark(&self, host: &Host) -> io::Result<()> {
        if self.period.is_zero() {
            return Ok(());
        }
        open::anew(&self.path(host), 0o666)?.write_all(b"x")
    }

    /// Forgets the host's failure.
    pub fn clear(&self, host: &Host) -> io::Result<()> {
        match fs::remove_file(self.path(host)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn path(&self, host: &Host) -> PathBuf {
        // Always slot 0: the name is that of a lock file in 3.4, but it is the host as a whole that failed.
        self.directory.join(format!("backoff_{}_0", host.lock_name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::spec::parse_word;
    use std::fs::File;

    const PERIOD: Duration = Duration::from_secs(60);

    #[test]
    fn a_failure_counts_for_one_period_and_until_cleared() {
        let directory = crate::hosts::tests::TestDirectory::new("backoff");
        let backoff = Backoff::new(&directory, PERIOD);
        let (red, blue) = (parse_word("red:99/3").unwrap(), parse_word("blue").unwrap());
        let now = SystemTime::now();
        assert!(!backoff.is_backed_off(&red, now));
        backoff.mark(&red).unwrap();
        assert_eq!(fs::read(directory.join("backoff_tcp_red_99_0")).unwrap(), b"x");
        assert!(backoff.is_backed_off(&red, now));
        assert!(!backoff.is_backed_off(&blue, now));
        assert!(backoff.is_backed_off(&red, now + PERIOD / 2));
        assert!(!backoff.is_backed_off(&red, now + PERIOD * 2));
        backoff.clear(&red).unwrap();
        assert!(!backoff.is_backed_off(&red, now));
        backoff.clear(&red).unwrap();
    }

    #[test]
    fn a_second_failure_counts_from_its_own_time() {
        let directory = crate::hosts::tests::TestDirectory::new("again");
        let backoff = Backoff::new(&directory, PERIOD);
        let red = parse_word("red").unwrap();
        backoff.mark(&red).unwrap();
        let file = File::options().write(true).open(directory.join("backoff_tcp_red_3632_0")).unwrap();
        file.set_modified(SystemTime::now() - PERIOD * 2).unwrap();
        assert!(!backoff.is_backed_off(&red, SystemTime::now()));
        backoff.mark(&red).unwrap();
        assert!(backoff.is_backed_off(&red, SystemTime::now()));
    }

    #[test]
    fn a_clock_set_back_does_not_disable_a_host_for_ever() {
        let directory = crate::hosts::tests::TestDirectory::new("clock");
        let backoff = Backoff::new(&directory, PERIOD);
        let red = parse_word("red").unwrap();
        backoff.mark(&red).unwrap();
        let now = SystemTime::now();
        assert!(backoff.is_backed_off(&red, now - PERIOD / 2));
        assert!(!backoff.is_backed_off(&red, now - PERIOD * 2));
    }

    #[test]
    fn a_period_of_zero_records_nothing() {
        let directory = crate::hosts::tests::TestDirectory::new("zero");
        let backoff = Backoff::new(&directory, Duration::ZERO);
        let red = parse_word("red").unwrap();
        backoff.mark(&red).unwrap();
        assert_eq!(fs::read_dir(&*directory).unwrap().count(), 0);
    }
}
