//! The two processes behind zeroconf, which are started by the programs that need them and not by people:
//! `distccd-announcer` by the server, `distcc-zeroconf` by a user's first client.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use crate::daemon::announcer;
use crate::exit_code::ExitCode;
use crate::hosts::{browser, zeroconf};
use crate::log::{self, Level, Sink};
use crate::log_error;
use crate::sys::process;

/// Announces a server until its standard input ends.
pub(super) fn announce(argv: &[OsString]) -> i32 {
    process::close_inherited_descriptors();
    log::set("distccd", Level::Notice, Sink::Stderr);
    let mut words: Vec<String> =
        argv.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    if words.last().is_some_and(|word| word == announcer::TO_SYSLOG) {
        words.pop();
        log::set("distccd", Level::Notice, Sink::Syslog);
    }
    finish(announcer::run(&words))
}

/// Keeps a user's list of servers in the directory it is given, for compilers on the search path that follows; a third
/// word is how many seconds nobody needs to read the list until it ends.
pub(super) fn browse(argv: &[OsString]) -> i32 {
    process::close_inherited_descriptors();
    let [_, directory, search_path, rest @ ..] = argv else {
        return finish(Err(format!(
            "{}: this is a part of distcc, which starts it for +zeroconf",
            zeroconf::PROGRAM
        )));
    };
    log::set("distcc", Level::Warning, Sink::Syslog);
    let idle = rest
        .first()
        .and_then(|word| word.to_str()?.parse().ok())
        .map_or(browser::IDLE_TIME_MAX, Duration::from_secs);
    let answered = || {
        let _ = io::stdout().write_all(b"\n").and_then(|()| io::stdout().flush());
    };
    finish(browser::run(Path::new(directory), idle, search_path, answered))
}

fn finish(ended: Result<(), String>) -> i32 {
    match ended {
        Ok(()) => 0,
        Err(error) => {
            log_error!("{error}");
            ExitCode::DistccFailed.number()
        }
    }
}
