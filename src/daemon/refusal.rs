//! A refusal: what the server says when it will not do a job, to the client on the wire and in its own log.
//!
//! Owns the pairing of a code with a text that names the object and the remedy. Who sends it is not its business.

use std::fmt;
use std::io;

use crate::exit_code::ExitCode;
use crate::protocol::peer_text::one_line;

/// Why a job is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The class of the reason; its number is the exit code in the reply's STAT.
    pub code: ExitCode,
    /// What is refused, why, and what to type.
    pub reason: String,
}

impl Refusal {
    /// Pairs a class with a text, which may quote the client: it is made one line.
    pub fn new(code: ExitCode, reason: impl AsRef<str>) -> Refusal {
        Refusal { code, reason: one_line(reason.as_ref()) }
    }

    /// What becomes of a job when a temporary file could not be read or written (`what`): a full disk is the end of
    /// one job, not of the server.
    pub fn temporary_file(what: &str, error: &io::Error) -> Refusal {
        let text = format!("{what} a temporary file on the server: {error} (see TMPDIR and its disk)");
        Refusal::new(ExitCode::IoError, text)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}
