//! Messages about what distcc does (manual, "DISTCC_LOG"; behaviour of 3.4: one line per message, one write per
//! line). Owns the level filter and the sink; does not know who reads it.
//!
//! The sink is process-wide on purpose: it is chosen once at start, and threading it through every function
//! would put it into each signature without ever having a second value.

use std::ffi::CString;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::sync::Mutex;

use crate::sys;

/// The longest line written, in bytes; what is longer is cut (3.4 uses the same bound).
const LINE_BYTES_MAX: usize = 4090;

/// How much a message matters: syslog's levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// The system is unusable.
    Emergency = 0,
    /// Action must be taken at once.
    Alert = 1,
    /// A critical condition.
    Critical = 2,
    /// An error.
    Error = 3,
    /// A warning.
    Warning = 4,
    /// Normal but significant.
    Notice = 5,
    /// Informational.
    Info = 6,
    /// For debugging.
    Debug = 7,
}

impl Level {
    /// Reads a level's name as `distccd --log-level` takes it: syslog's names, and the other spellings 3.4 knows.
    pub fn from_name(name: &str) -> Option<Level> {
        Some(match name {
            "emerg" | "emergency" => Level::Emergency,
            "alert" => Level::Alert,
            "crit" | "critical" => Level::Critical,
            "err" | "error" => Level::Error,
            "warn" | "warning" | "warnings" => Level::Warning,
            "note" | "notice" => Level::Notice,
            "info" => Level::Info,
            "debug" => Level::Debug,
            _ => return None,
        })
    }

    fn prefix(self) -> &'static str {
        match self {
            Level::Emergency => "EMERGENCY! ",
            Level::Alert => "ALERT! ",
            Level::Critical => "CRITICAL! ",
            Level::Error => "ERROR: ",
            Level::Warning => "Warning: ",
            Level::Notice | Level::Info | Level::Debug => "",
        }
    }
}

/// Where messages go.
#[derive(Debug)]
pub enum Sink {
    /// Standard error; also before a program has chosen.
    Stderr,
    /// Appended to an open file or descriptor.
    File(File),
    /// The system's log daemon.
    Syslog,
}

struct Logger {
    program: &'static str,
    level: Level,
    sink: Sink,
}

static LOGGER: Mutex<Logger> =
    Mutex::new(Logger { program: "distcc", level: Level::Warning, sink: Sink::Stderr });

/// Chooses program name, level and sink; messages from then on follow it.
pub fn set(program: &'static str, level: Level, sink: Sink) {
    if matches!(sink, Sink::Syslog) {
        sys::syslog::open(program);
    }
    let mut logger = lock();
    *logger = Logger { program, level, sink };
}

/// Replaces the sink only (after a log file was rotated).
pub fn set_sink(sink: Sink) {
    lock().sink = sink;
}

/// Whether a message of this level would be written: lets a caller skip making an expensive one.
pub fn enabled(level: Level) -> bool {
    level <= lock().level
}

fn lock() -> std::sync::MutexGuard<'static, Logger> {
    LOGGER.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Writes one message; `function` is the parenthesised origin that 3.4's log readers match on.
pub fn write(level: Level, function: Option<&str>, message: fmt::Arguments<'_>) {
    let mut logger = lock();
    if level > logger.level {
        return;
    }
    let origin = function.map(|name| format!("({name}) ")).unwrap_or_default();
    let text = format!("{origin}{}{message}", level.prefix());
    if let Sink::Syslog = logger.sink {
        let text: Vec<u8> = text.bytes().filter(|byte| *byte != 0).collect();
        sys::syslog::write(level as i32, &CString::new(text).unwrap_or_default());
        return;
    }
    let mut line = format!("{}[{}] {text}", logger.program, std::process::id()).into_bytes();
    line.truncate(LINE_BYTES_MAX);
    line.push(b'\n');
    // A log that cannot be written must not fail the job it speaks of.
    let _ = match &mut logger.sink {
        Sink::File(file) => file.write_all(&line),
        Sink::Stderr | Sink::Syslog => std::io::stderr().write_all(&line),
    };
}

/// Logs an error.
#[macro_export]
macro_rules! log_error {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Error, None, format_args!($($arg)*)) };
}

/// Logs a warning.
#[macro_export]
macro_rules! log_warning {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Warning, None, format_args!($($arg)*)) };
}

/// Logs a notice.
#[macro_export]
macro_rules! log_notice {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Notice, None, format_args!($($arg)*)) };
}

/// Logs what is good to know.
#[macro_export]
macro_rules! log_info {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Info, None, format_args!($($arg)*)) };
}

/// Logs what is only good for debugging.
#[macro_export]
macro_rules! log_debug {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Debug, None, format_args!($($arg)*)) };
}
