//! How pump speaks: progress on standard output and warnings on standard error, both behind ten underscores, so that
//! they stand out in a build's output; errors behind its own name. Knows no message.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};

/// What pump's own lines begin with.
const MARK: &str = "__________";

/// Pump's voice. Nobody listening is no reason to fail.
#[derive(Clone, Debug)]
pub struct Voice {
    /// The name pump was called by, for errors.
    pub program: OsString,
    /// Whether progress is kept quiet.
    pub silent: bool,
}

impl Voice {
    /// What goes as it should.
    pub fn progress(&self, message: fmt::Arguments<'_>) {
        if !self.silent {
            let _ = writeln!(io::stdout(), "{MARK}{message}");
        }
    }

    /// What the user should know of.
    pub fn warning(&self, message: fmt::Arguments<'_>) {
        let _ = writeln!(io::stderr(), "{MARK}{message}");
    }

    /// A further line of a warning.
    pub fn advice(&self, message: fmt::Arguments<'_>) {
        let _ = writeln!(io::stderr(), "{message}");
    }

    /// What ends pump.
    pub fn error(&self, message: fmt::Arguments<'_>) {
        let _ = writeln!(io::stderr(), "{}: error: {message}", self.program.display());
    }
}
