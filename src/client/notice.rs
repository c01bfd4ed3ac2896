//! What is said once and not with every job: a stamp file for each text that was said lately.
//!
//! A build of a thousand files that a server refuses is refused for one reason; the user wants to read it once.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::client::stamp::{self, Stamp};
use crate::hosts::name_hash;
use crate::log_info;
use crate::log_warning;
use crate::sys::process;

/// How long a text is not repeated.
const QUIET_TIME: Duration = Duration::from_secs(60);

/// How the names of stamps begin.
const STAMP_PREFIX: &str = "said_";

/// Warns with `text`, unless a client of the same process group (a build started by one command is usually one) did
/// so a short time ago; then it is only logged as information. Stamps are files of `directory`.
pub fn warn_once(directory: Option<&Path>, text: &str) {
    let Some(directory) = directory else {
        log_warning!("{text}");
        return;
    };
    let key = name_hash::of_parts([text.as_bytes(), &process::group().to_ne_bytes()]);
    let stamp = Stamp::new(directory.join(format!("{STAMP_PREFIX}{key:08x}")), QUIET_TIME);
    if stamp.is_fresh() {
        log_info!("{text}");
        return;
    }
    log_warning!("{text}");
    // With it goes what earlier builds left, or every build that warns would leave another file.
    remove_old_stamps(directory);
    stamp.set();
}

fn remove_old_stamps(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let is_stamp = entry.file_name().as_encoded_bytes().starts_with(STAMP_PREFIX.as_bytes());
        if is_stamp && !stamp::is_younger(&entry.path(), QUIET_TIME) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::temp::TempDir;
    use std::fs::File;
    use std::time::SystemTime;

    #[test]
    fn stamps_do_not_pile_up() {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let names = || {
            let entries = fs::read_dir(dir.path()).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        for (name, age) in
            [("said_old", QUIET_TIME * 2), ("said_new", QUIET_TIME / 2), ("cpu_x_0", QUIET_TIME * 2)]
        {
            let file = File::create(dir.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
        }
        warn_once(Some(dir.path()), "a text of this test");
        let left = names();
        assert_eq!(left.len(), 3, "{left:?}");
        assert!(!left.contains(&"said_old".into()) && left.contains(&"said_new".into()), "{left:?}");
        warn_once(Some(dir.path()), "a text of this test");
        assert_eq!(names(), left);
    }
}
