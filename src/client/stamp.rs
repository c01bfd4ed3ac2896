//! A file whose age says that something happened lately. What happened is the owner's business.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::sys::open;

/// The mark of one event.
#[derive(Clone, Debug)]
pub struct Stamp {
    path: PathBuf,
    lasts: Duration,
}

impl Stamp {
    /// The mark at `path`, which counts for a time.
    pub fn new(path: PathBuf, lasts: Duration) -> Stamp {
        Stamp { path, lasts }
    }

    /// Whether the event happened less than that time ago.
    pub fn is_fresh(&self) -> bool {
        is_younger(&self.path, self.lasts)
    }

    /// Records that it happens now. Without the mark it is forgotten, which every owner can bear.
    pub fn set(&self) {
        if open::anew(&self.path, 0o666).is_err() {
            crate::log_debug!("{} could not be written", self.path.display());
        }
    }
}

/// Whether a file was written less than `time` ago. One from the future, after a clock was set back, counts by its
/// distance, or it would count for as long as the clock was wrong.
pub fn is_younger(path: &Path, time: Duration) -> bool {
    let written = fs::metadata(path).and_then(|metadata| metadata.modified());
    written.is_ok_and(|written| {
        SystemTime::now().duration_since(written).unwrap_or_else(|ahead| ahead.duration()) < time
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::temp::TempDir;
    use std::fs::File;

    #[test]
    fn a_stamp_counts_for_its_time() {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let path = dir.path().join("stamp");
        let stamp = Stamp::new(path.clone(), Duration::from_secs(60));
        assert!(!stamp.is_fresh());
        stamp.set();
        assert!(stamp.is_fresh());
        for (age, fresh) in [(59, true), (61, false)] {
            for time in
                [SystemTime::now() - Duration::from_secs(age), SystemTime::now() + Duration::from_secs(age)]
            {
                File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
                assert_eq!(stamp.is_fresh(), fresh, "{age}");
            }
        }
        stamp.set();
        assert!(stamp.is_fresh());
    }
}
