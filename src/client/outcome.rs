//! Who is to blame when an attempt on a host does not end with a compiled source.
//!
//! The type of a fault is what the caller does next: try another host, compile here, or tell the user.

use std::io;

use crate::client::remote::{ConversationError, Reply};
use crate::client::source::SourceError;
use crate::exit_code::{ExitCode, WaitStatus};
use crate::protocol::peer_text::one_line;

/// How an attempt can fail.
#[derive(Debug)]
pub enum Fault {
    /// The host failed: it is left alone for a while, and another is tried.
    Host(ExitCode, String),
    /// The host cannot do this job and is not at fault: another is tried, and it keeps its place for other jobs.
    Unfit(ExitCode, String),
    /// The host cannot preprocess this job, and could compile it: it gets the preprocessed text.
    NeedsText(String),
    /// The job cannot be done anywhere else, and no host is at fault: it is compiled here.
    Job(ExitCode, String),
    /// The include server failed, and the job is there to find out (DISTCC_TESTING_INCLUDE_SERVER).
    IncludeServer(String),
    /// The preprocessor rejected the source; [`Fault::is_final`] says if what it said is the result.
    Source {
        /// How it ended.
        status: WaitStatus,
        /// What it said.
        diagnostics: Vec<u8>,
    },
}

impl Fault {
    /// The preprocessor could not be run, or the source not be read.
    pub fn cannot_preprocess(error: io::Error) -> Fault {
        Fault::Job(ExitCode::IoError, format!("preprocess: {error}"))
    }

    /// The host cannot be reached.
    pub fn connect(error: io::Error) -> Fault {
        Fault::Host(ExitCode::ConnectFailed, format!("connect: {error}"))
    }

    /// Who is at fault, in a word, and what failed.
    pub fn summary(&self) -> (&'static str, &str) {
        match self {
            Fault::Host(_, cause) => ("host", cause),
            Fault::Unfit(_, cause) => ("unfit", cause),
            Fault::NeedsText(cause) => ("unfit", cause),
            Fault::Job(_, cause) => ("job", cause),
            Fault::IncludeServer(cause) => ("include-server", cause),
            Fault::Source { .. } => ("source", "the preprocessor rejects the source"),
        }
    }

    /// Whether nothing more is to be learned from compiling the source here.
    ///
    /// A missing header ends a compilation where it ends preprocessing, with the same words. After an `#error` or
    /// a warning made an error, the compiler goes on and finds more. Compilers that speak another language than
    /// English are asked again.
    pub fn is_final(&self) -> bool {
        const FATAL: &[u8] = b"fatal error: ";
        match self {
            Fault::Source { status, diagnostics } => {
                status.signal().is_some() || diagnostics.windows(FATAL.len()).any(|part| part == FATAL)
            }
            _ => false,
        }
    }
}

impl From<SourceError> for Fault {
    fn from(error: SourceError) -> Fault {
        match error {
            SourceError::Rejected { status, diagnostics } => Fault::Source { status, diagnostics },
            SourceError::Failed(error) => Fault::cannot_preprocess(error),
        }
    }
}

impl From<ConversationError> for Fault {
    fn from(error: ConversationError) -> Fault {
        let text = error.to_string();
        match error {
            ConversationError::Send(_) | ConversationError::Receive(_) => {
                Fault::Host(ExitCode::IoError, text)
            }
            ConversationError::NoAnswer | ConversationError::Truncated(_) => {
                Fault::Host(ExitCode::Truncated, text)
            }
            ConversationError::Protocol(error) => Fault::Host(error.exit_code(), text),
            ConversationError::Silence | ConversationError::Unread | ConversationError::Trickle(_) => {
                Fault::Host(ExitCode::Timeout, text)
            }
            ConversationError::Here(_) => Fault::Job(ExitCode::IoError, text),
            ConversationError::TooLarge(_) => Fault::Job(ExitCode::IoError, text),
        }
    }
}

/// Tells a server's refusal from a compiler's verdict: compilers end with small numbers, distcc with its own.
pub fn judge_reply(reply: Reply) -> Result<Reply, Fault> {
    if !reply.status.success() && reply.status.shell_code() == 0 {
        // No process ends so; taken at its word it would be a success without an object.
        let text = format!("the compiler's status {:#x} is none", reply.status.0);
        return Err(Fault::Host(ExitCode::ProtocolError, text));
    }
    let Some(code) = reply.status.code().and_then(|code| ExitCode::from_number(code.into())) else {
        return Ok(reply);
    };
    let text = one_line(&String::from_utf8_lossy(&reply.stderr).trim().replace('\n', "; "));
    let text =
        if text.is_empty() { format!("refused the job: {code}") } else { format!("refused the job: {text}") };
    Err(match code {
        // Its other compilers are as good as before.
        ExitCode::CompilerMissing => Fault::Unfit(code, text),
        // It has more to do than it can; when this job is done elsewhere, it may have room for the next.
        ExitCode::Busy => Fault::Unfit(code, text),
        // It would refuse everything from us, or it is in trouble.
        ExitCode::AccessDenied
        | ExitCode::IoError
        | ExitCode::SetuidFailed
        | ExitCode::Gone
        | ExitCode::Recursion => Fault::Host(code, text),
        // It is something about this job, and perhaps about its being sent unpreprocessed.
        _ if reply.version.preprocesses_remotely() => Fault::NeedsText(text),
        _ => Fault::Job(code, text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Version;

    fn reply(status: WaitStatus, stderr: &str) -> Reply {
        Reply { status, stderr: stderr.into(), ..Reply::new(Version::LZO) }
    }

    #[test]
    fn compilers_verdicts_are_not_refusals() {
        for status in [
            WaitStatus(0),
            WaitStatus::exited(1),
            WaitStatus::exited(4),
            WaitStatus(9),
            WaitStatus::exited(99),
        ] {
            assert!(judge_reply(reply(status, "")).is_ok(), "{status}");
        }
    }

    #[test]
    fn only_fatal_errors_of_the_preprocessor_are_final() {
        let cases = [
            ("t.c:1:10: fatal error: x.h: No such file or directory\n", WaitStatus::exited(1), true),
            ("t.c:1:10: \u{1b}[01;31m\u{1b}[Kfatal error: \u{1b}[m\u{1b}[Kx.h", WaitStatus::exited(1), true),
            ("t.c:1:2: error: #error no\n", WaitStatus::exited(1), false),
            ("", WaitStatus::exited(1), false),
            ("", WaitStatus(2), true),
        ];
        for (said, status, want) in cases {
            let fault = Fault::Source { status, diagnostics: said.into() };
            assert_eq!(fault.is_final(), want, "{said}");
        }
    }

    #[test]
    fn a_status_that_is_neither_success_nor_failure_is_the_hosts_fault() {
        let fault = judge_reply(reply(WaitStatus(0x80), "")).unwrap_err();
        assert!(matches!(fault, Fault::Host(ExitCode::ProtocolError, _)), "{fault:?}");
    }

    #[test]
    fn a_refusal_cannot_write_to_the_terminal() {
        let said = "distccd: no\n\x1b[2J\x1b]0;owned\x07\rdone";
        let fault = judge_reply(reply(WaitStatus::exited(110), said)).unwrap_err();
        let Fault::Unfit(_, text) = fault else { panic!("{fault:?}") };
        assert_eq!(text, "refused the job: distccd: no; \\u{1b}[2J\\u{1b}]0;owned\\u{7}\\rdone");
    }

    #[test]
    fn what_a_host_cannot_preprocess_it_may_still_compile() {
        let refusal = |code| Reply { version: Version::PUMP, ..reply(WaitStatus::exited(code), "no") };
        assert!(matches!(judge_reply(refusal(100)), Err(Fault::NeedsText(_))));
        assert!(matches!(judge_reply(refusal(110)), Err(Fault::Unfit(..))));
        assert!(matches!(judge_reply(refusal(113)), Err(Fault::Host(..))));
    }

    #[test]
    fn refusals_blame_the_host_only_for_its_own_fault() {
        for (code, blame) in
            [(113, "host"), (110, "unfit"), (100, "job"), (101, "job"), (105, "job"), (118, "job")]
        {
            let fault = judge_reply(reply(WaitStatus::exited(code), "distccd: because\n")).unwrap_err();
            let (found, text) = match fault {
                Fault::Host(_, text) => ("host", text),
                Fault::Unfit(_, text) => ("unfit", text),
                Fault::Job(_, text) => ("job", text),
                other => panic!("{code}: {other:?}"),
            };
            assert_eq!(found, blame, "{code}");
            assert!(text.contains("because"), "{text}");
        }
    }
}
