//! The classes of refusals that are counted. Knows exit codes; not the words a refusal is made of.

use crate::daemon::refusal::Refusal;
use crate::exit_code::ExitCode;

/// Why jobs are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The client is not in the access list, or has not proved who it is.
    Access,
    /// Too many clients, too many jobs.
    Busy,
    /// A compiler that this server has not, or may not run.
    Compiler,
    /// A command that is not for servers, or that cannot be confined.
    Command,
    /// Not the protocol.
    Protocol,
    /// Beyond a limit of memory or size.
    Limit,
    /// Too slow.
    Timeout,
    /// The server's own files and disk.
    Files,
}

impl Reason {
    /// Every class, in the order of its number.
    pub const ALL: [Reason; 8] = [
        Reason::Access,
        Reason::Busy,
        Reason::Compiler,
        Reason::Command,
        Reason::Protocol,
        Reason::Limit,
        Reason::Timeout,
        Reason::Files,
    ];

    /// The class of a refusal.
    pub fn of(refusal: &Refusal) -> Reason {
        match refusal.code {
            ExitCode::AccessDenied | ExitCode::GssapiFailed => Reason::Access,
            ExitCode::Busy => Reason::Busy,
            ExitCode::CompilerMissing => Reason::Compiler,
            ExitCode::ProtocolError | ExitCode::Truncated => Reason::Protocol,
            ExitCode::OutOfMemory => Reason::Limit,
            ExitCode::Timeout => Reason::Timeout,
            ExitCode::IoError => Reason::Files,
            _ => Reason::Command,
        }
    }

    /// Its name in what is shown.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Access => "access",
            Reason::Busy => "busy",
            Reason::Compiler => "compiler",
            Reason::Command => "command",
            Reason::Protocol => "protocol",
            Reason::Limit => "limit",
            Reason::Timeout => "timeout",
            Reason::Files => "files",
        }
    }
}
