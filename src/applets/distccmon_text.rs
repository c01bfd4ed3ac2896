//! `distccmon-text`: what clients are doing, as 3.4's lines or as a live view (distccmon-text(1)).

use std::ffi::OsString;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::applets::distcc;
use crate::client::session;
use crate::client::settings::Settings;
use crate::exit_code::ExitCode;
use crate::hosts::backoff::Backoff;
use crate::log_error;
use crate::monitor::{states, text, watch};

const USAGE: &str = "\
usage: distccmon-text [-w|--watch] [DELAY]

Displays current compilation jobs in text form.

If delay is specified, repeatedly updates after that many (fractional)
seconds.  Otherwise, runs just once.

  -w, --watch  a live view: hosts, slots, phases, failures; on a terminal
               also with a DELAY alone. Else, lines as ever.";

/// The time from one picture to the next, unless a delay is given.
const WATCH_DELAY: Duration = Duration::from_millis(500);
/// The longest delay, in seconds: a day.
const DELAY_SECONDS_MAX: f64 = 86_400.0;
/// The exit status for mistaken arguments, which is 3.4's.
const USAGE_STATUS: i32 = 1;

/// What the arguments ask for.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Request {
    watch: bool,
    delay: Option<Duration>,
}

/// Runs the monitor.
pub fn run(argv: &[OsString]) -> i32 {
    if argv[1..] == ["--help"] {
        say!("{USAGE}");
        return 0;
    }
    let Some(request) = parse(&argv[1..]) else {
        eprintln!("{USAGE}");
        return USAGE_STATUS;
    };
    distcc::start_log("distccmon-text");
    let settings = match Settings::from_environment() {
        Ok(settings) => settings,
        Err(code) => return code.number(),
    };
    let states = match state_directory(&settings) {
        Ok(states) => states,
        Err((code, cause)) => {
            log_error!("{cause}");
            return code.number();
        }
    };
    let wants_view = request.watch || request.delay.is_some();
    let result = match request.delay {
        delay if wants_view && io::stdout().is_terminal() => {
            watch::run(&view(&settings, states, delay.unwrap_or(WATCH_DELAY)))
        }
        None if request.watch => print_lines(&states, Some(WATCH_DELAY)),
        delay => print_lines(&states, delay),
    };
    match result {
        Ok(()) => 0,
        // Nobody reads on.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(error) => {
            log_error!("{}: {error}", argv[0].display());
            ExitCode::IoError.number()
        }
    }
}

/// A delay of zero is none.
fn parse(words: &[OsString]) -> Option<Request> {
    let mut request = Request { watch: false, delay: None };
    let mut has_delay = false;
    for word in words {
        match word.to_str()? {
            "-w" | "--watch" => request.watch = true,
            _ if has_delay => return None,
            delay => {
                let seconds: f64 = if delay.is_empty() { 0.0 } else { delay.trim_start().parse().ok()? };
                if seconds.is_nan() || seconds < 0.0 {
                    return None;
                }
                has_delay = true;
                request.delay =
                    (seconds > 0.0).then(|| Duration::from_secs_f64(seconds.min(DELAY_SECONDS_MAX)));
            }
        }
    }
    Some(request)
}

/// Where the states are; made if it is missing, as clients would.
fn state_directory(settings: &Settings) -> Result<PathBuf, (ExitCode, String)> {
    let states = settings
        .state_directory()
        .ok_or((ExitCode::BadArguments, "neither DISTCC_DIR nor HOME is set".to_owned()))?;
    if settings.directory_is_ours {
        let _ = fs::create_dir(states.parent().expect("BUG: a directory in a directory"));
    }
    match fs::create_dir(&states) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err((ExitCode::IoError, format!("mkdir {}: {error}", states.display())))
        }
        _ => Ok(states),
    }
}

fn view(settings: &Settings, states: PathBuf, delay: Duration) -> watch::Options {
    watch::Options {
        states,
        hosts: session::read_hosts(settings),
        backoff: settings.lock_directory().map(|lock| Backoff::new(&lock, settings.backoff_period)),
        record: settings.trace.clone(),
        delay,
        is_coloured: settings.terminal_colours && !settings.no_colour,
    }
}

/// Prints the lines once, or again and again.
fn print_lines(states: &Path, delay: Option<Duration>) -> io::Result<()> {
    loop {
        let mut out = io::stdout().lock();
        out.write_all(&text::lines(&states::read_all(states)?))?;
        out.flush()?;
        drop(out);
        match delay {
            Some(delay) => thread::sleep(delay),
            None => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_a_delay_and_whether_to_watch() {
        let request = |watch, seconds: Option<f64>| {
            Some(Request { watch, delay: seconds.map(Duration::from_secs_f64) })
        };
        for (words, want) in [
            ("", request(false, None)),
            ("2", request(false, Some(2.0))),
            ("0.5", request(false, Some(0.5))),
            ("0", request(false, None)),
            ("1e400", request(false, Some(DELAY_SECONDS_MAX))),
            ("-w", request(true, None)),
            ("--watch 3", request(true, Some(3.0))),
            ("3 -w", request(true, Some(3.0))),
            ("1 2", None),
            ("x", None),
            ("0x", None),
            ("-1", None),
            ("nan", None),
            ("--help", None),
        ] {
            let words: Vec<OsString> = words.split_whitespace().map(OsString::from).collect();
            assert_eq!(parse(&words), want, "{words:?}");
        }
        assert_eq!(parse(&["".into()]), request(false, None));
    }
}
