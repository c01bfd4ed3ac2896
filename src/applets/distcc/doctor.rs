//! `distcc --doctor`: its words, and what they print.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};

use crate::client::settings::{LogSettings, Neighbours, Settings};
use crate::doctor::{self, Question, report};
use crate::exit_code::ExitCode;
use crate::log_error;

/// The exit status when work cannot be distributed.
const STATUS_PROBLEMS: i32 = 1;

/// Examines the hosts named by `words`, or those of the host list, and returns the exit status.
pub(super) fn run(words: &[OsString], settings: &Settings) -> i32 {
    let mut wants_json = false;
    let mut hosts = Vec::new();
    for word in words {
        match word.to_str() {
            Some("--json") => wants_json = true,
            Some(host) if !host.starts_with('-') => hosts.push(host.to_string()),
            _ => {
                log_error!("--doctor: {}: want --json, or words of a host list", word.display());
                return ExitCode::BadArguments.number();
            }
        }
    }
    let (log, neighbours) = (LogSettings::from_environment(), Neighbours::from_environment());
    let question = Question { hosts: &hosts, settings, log: &log, neighbours: &neighbours };
    let findings = doctor::examine(&question);
    let colours = io::stdout().is_terminal() && settings.terminal_colours && !settings.no_colour;
    let text = if wants_json { report::json(&findings) } else { report::text(&findings, colours) };
    if let Err(error) = io::stdout().write_all(text.as_bytes()) {
        log_error!("write the findings: {error}");
        return ExitCode::IoError.number();
    }
    if findings.can_distribute() { 0 } else { STATUS_PROBLEMS }
}
