//! distcc's own exit codes (manual, "Exit Codes"), and how a wait status becomes one.
//!
//! Owns the numbers; everything else names a variant.

use std::fmt;

/// A reason for distcc itself to fail, with the number scripts know it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExitCode {
    /// 100: general failure, or (in a server's log) a command that cannot be distributed.
    DistccFailed = 100,
    /// 101: bad arguments.
    BadArguments = 101,
    /// 102: the listening socket could not be bound.
    BindFailed = 102,
    /// 103: no connection to the server.
    ConnectFailed = 103,
    /// 104: the compiler crashed.
    CompilerCrashed = 104,
    /// 105: out of memory, or beyond a limit.
    OutOfMemory = 105,
    /// 106: a host specification is malformed.
    BadHostSpec = 106,
    /// 107: input or output failed.
    IoError = 107,
    /// 108: the peer's message ended early.
    Truncated = 108,
    /// 109: the peer broke the protocol.
    ProtocolError = 109,
    /// 110: the compiler is missing on the machine that was to run it.
    CompilerMissing = 110,
    /// 111: distcc called itself.
    Recursion = 111,
    /// 112: privileges could not be dropped.
    SetuidFailed = 112,
    /// 113: the server's access list refuses this client.
    AccessDenied = 113,
    /// 114: in use by another process.
    Busy = 114,
    /// 115: no such file.
    NoSuchFile = 115,
    /// 116: no host is usable and fallbacks are disabled.
    NoHosts = 116,
    /// 117: gone.
    Gone = 117,
    /// 118: a time limit passed.
    Timeout = 118,
    /// 119: GSS-API failure.
    GssapiFailed = 119,
    /// 120: a call for preprocessing, which is done locally.
    PreprocessLocally = 120,
}

impl ExitCode {
    /// Every code, in numeric order.
    pub const ALL: [ExitCode; 21] = {
        use ExitCode::*;
        [
            DistccFailed,
            BadArguments,
            BindFailed,
            ConnectFailed,
            CompilerCrashed,
            OutOfMemory,
            BadHostSpec,
            IoError,
            Truncated,
            ProtocolError,
            CompilerMissing,
            Recursion,
            SetuidFailed,
            AccessDenied,
            Busy,
            NoSuchFile,
            NoHosts,
            Gone,
            Timeout,
            GssapiFailed,
            PreprocessLocally,
        ]
    };

    /// The number given to the operating system.
    pub fn number(self) -> i32 {
        self as i32
    }

    /// The code with this number, if it is one of distcc's.
    pub fn from_number(number: i32) -> Option<ExitCode> {
        ExitCode::ALL.into_iter().find(|code| code.number() == number)
    }
}

impl fmt::Display for ExitCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ExitCode::DistccFailed => "distcc failed",
            ExitCode::BadArguments => "bad arguments",
            ExitCode::BindFailed => "bind failed",
            ExitCode::ConnectFailed => "connect failed",
            ExitCode::CompilerCrashed => "compiler crashed",
            ExitCode::OutOfMemory => "out of memory",
            ExitCode::BadHostSpec => "bad host specification",
            ExitCode::IoError => "input or output error",
            ExitCode::Truncated => "truncated message",
            ExitCode::ProtocolError => "protocol error",
            ExitCode::CompilerMissing => "compiler missing",
            ExitCode::Recursion => "recursive call",
            ExitCode::SetuidFailed => "could not drop privileges",
            ExitCode::AccessDenied => "access denied",
            ExitCode::Busy => "busy",
            ExitCode::NoSuchFile => "no such file",
            ExitCode::NoHosts => "no usable host",
            ExitCode::Gone => "gone",
            ExitCode::Timeout => "timed out",
            ExitCode::GssapiFailed => "GSS-API failure",
            ExitCode::PreprocessLocally => "preprocessing is done locally",
        })
    }
}

/// A raw Unix wait status, as `STAT` carries it (exit code in the high byte, signal in the low one).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitStatus(pub u32);

impl WaitStatus {
    /// The status of a process that ended by itself with `code`.
    pub fn exited(code: u8) -> WaitStatus {
        WaitStatus(u32::from(code) << 8)
    }

    /// The exit code, unless a signal ended the process.
    pub fn code(self) -> Option<u8> {
        (self.0 & 0x7f == 0).then_some((self.0 >> 8) as u8)
    }

    /// The signal that ended the process, if one did.
    pub fn signal(self) -> Option<u8> {
        (self.0 & 0x7f != 0).then_some((self.0 & 0x7f) as u8)
    }

    /// Whether the process dumped core.
    pub fn dumped_core(self) -> bool {
        self.signal().is_some() && self.0 & 0x80 != 0
    }

    /// Whether the process ended with code 0.
    pub fn success(self) -> bool {
        self.0 & 0xffff == 0
    }

    /// What a shell would report: the exit code, or 128 plus the signal.
    pub fn shell_code(self) -> i32 {
        match (self.code(), self.signal()) {
            (Some(code), _) => i32::from(code),
            (None, Some(signal)) => 128 + i32::from(signal),
            (None, None) => unreachable!("a wait status is an exit or a signal"),
        }
    }
}

impl fmt::Display for WaitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code(), self.signal()) {
            (Some(code), _) => write!(f, "exit code {code}"),
            (None, Some(signal)) => write!(f, "signal {signal}"),
            (None, None) => unreachable!("a wait status is an exit or a signal"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_consecutive_and_invertible() {
        for (offset, code) in ExitCode::ALL.into_iter().enumerate() {
            assert_eq!(code.number(), 100 + offset as i32);
            assert_eq!(ExitCode::from_number(code.number()), Some(code));
        }
        assert_eq!(ExitCode::from_number(99), None);
        assert_eq!(ExitCode::from_number(121), None);
    }

    #[test]
    fn wait_status_speaks_like_a_shell() {
        assert_eq!(WaitStatus::exited(3).shell_code(), 3);
        assert_eq!(WaitStatus(0x8b).shell_code(), 128 + 11);
        assert!(WaitStatus(0x8b).dumped_core());
        assert!(WaitStatus(0).success());
        assert!(!WaitStatus(0x6b00).success());
    }
}
