//! Where the daemon's log goes, and its file, which is opened again after a log rotation.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::daemon::config::{Config, LogTarget};
use crate::log::{self, Sink};
use crate::{log_error, log_notice};

/// Sends messages where the configuration says, or to the system's log if that is impossible.
pub fn open(config: &Config) {
    let sink = match &config.log {
        LogTarget::Stderr => Sink::Stderr,
        LogTarget::Syslog => Sink::Syslog,
        LogTarget::File(path) => match append_to(path) {
            Ok(file) => Sink::File(file),
            Err(error) => {
                log_error!("open log file {}: {error}; logging to syslog", path.display());
                Sink::Syslog
            }
        },
    };
    log::set("distccd", config.log_level, sink);
}

/// Opens the file again: the old one may have been moved away.
pub fn reopen(config: &Config) {
    let LogTarget::File(path) = &config.log else { return };
    match append_to(path) {
        Ok(file) => {
            log::set_sink(Sink::File(file));
            log_notice!("log reopened");
        }
        Err(error) => log_error!("open log file {} again: {error}; staying with the old one", path.display()),
    }
}

/// Opens a log file to be written at its end.
pub fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o666).open(path)
}
