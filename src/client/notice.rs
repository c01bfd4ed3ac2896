//! What is said once and not with every job: a stamp file for each text that was said lately.
//!
//! A build of a thousand files that a server refuses is refused for one reason; the user wants to read it once.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::hosts::name_hash;
use crate::log_info;
use crate::log_warning;
use crate::sys::process;

/// How long a text is not repeated.
const QUIET_TIME: Duration = Duration::from_secs(60);

/// Warns with `text`, unless a client of the same process group (a build started by one command is usually one) did
/// so a short time ago; then it is only logged as information.
pub fn warn_once(directory: Option<&Path>, text: &str) {
    let stamp = directory.map(|directory| {
        directory.join(format!(
            "said_{:08x}",
            name_hash::of_parts([text.as_bytes(), &process::group().to_ne_bytes()])
        ))
    });
    let Some(stamp) = stamp else {
        log_warning!("{text}");
        return;
    };
    let said = fs::metadata(&stamp).and_then(|metadata| metadata.modified()).ok();
    let lately = said.is_some_and(|said| {
        SystemTime::now().duration_since(said).unwrap_or_else(|ahead| ahead.duration()) < QUIET_TIME
    });
    if lately {
        log_info!("{text}");
        return;
    }
    log_warning!("{text}");
    // Without the stamp the text is repeated, which is no harm. Removing first makes the time of creation the time
    // of the file.
    let _ = fs::remove_file(&stamp);
    let _ = File::create(&stamp);
}
