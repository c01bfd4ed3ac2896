//! The summary of a job in the log: one line of a form that people's scripts have read since 3.4.

use std::time::{Duration, Instant};

use crate::daemon::job::AcceptedCommand;
use crate::daemon::patron::Origin;
use crate::daemon::refusal::Refusal;
use crate::daemon::statistics::Ending;
use crate::daemon::statistics::ledger::shortened;
use crate::exit_code::{ExitCode, WaitStatus};
use crate::log::{self, Level};
use crate::log_info;

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The compiler succeeded.
    Compiled,
    /// It did not.
    Failed,
    /// It ran too long.
    TimedOut,
    /// The client went away.
    Disconnected,
    /// What the client asked for is not for servers.
    BadRequest,
    /// There was no room for it.
    Overload,
    /// Anything else.
    Other,
}

impl Outcome {
    /// Every outcome, in the order in which they are shown.
    pub const ALL: [Outcome; 7] = [
        Outcome::Compiled,
        Outcome::Failed,
        Outcome::TimedOut,
        Outcome::Disconnected,
        Outcome::BadRequest,
        Outcome::Overload,
        Outcome::Other,
    ];

    /// What a job has come to that is refused with this code.
    pub fn of_refusal(code: ExitCode) -> Outcome {
        match code {
            ExitCode::DistccFailed | ExitCode::ProtocolError | ExitCode::BadArguments => Outcome::BadRequest,
            ExitCode::Busy => Outcome::Overload,
            _ => Outcome::Other,
        }
    }

    /// The word for it in the log, which is 3.4's.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Compiled => "COMPILE_OK",
            Outcome::Failed => "COMPILE_ERROR",
            Outcome::TimedOut => "COMPILE_TIMEOUT",
            Outcome::Disconnected => "CLI_DISCONN",
            Outcome::BadRequest => "REJ_BAD_REQ",
            Outcome::Overload => "REJ_OVERLOAD",
            Outcome::Other => "OTHER",
        }
    }
}

/// What the log will say of a job.
#[derive(Debug, Default)]
pub struct Summary {
    /// How it ended; none while that is open.
    pub outcome: Option<Outcome>,
    /// Why it was refused, if it was.
    pub refusal: Option<Refusal>,
    /// When its compiler was started.
    pub started: Option<Instant>,
    /// When its compiler ended.
    pub ended: Option<Instant>,
    /// How the compiler ended, if one ran.
    pub status: Option<WaitStatus>,
    /// The number of our own reason, 0 if the compiler had the last word.
    pub code: i32,
    /// Who the client is, where it had to say.
    pub principal: Option<String>,
    /// The compiler's name.
    pub compiler: String,
    /// The source's name as the client gave it.
    pub source: String,
}

impl Summary {
    /// Notes what is compiled, once it is known.
    pub fn note_command(&mut self, command: &AcceptedCommand) {
        if self.compiler.is_empty() {
            self.compiler = command.compiler_name();
            self.source = command.source_name();
        }
    }

    /// Notes how the compiler ended, and says so.
    pub fn note_end(&mut self, status: WaitStatus, now: Instant) {
        (self.status, self.ended) = (Some(status), Some(now));
        let Summary { compiler, source, .. } = self;
        match status.code() {
            Some(0) => log_info!("{compiler} {source} on localhost completed ok"),
            Some(1) => log_info!("{compiler} {source} on localhost failed"),
            _ => log_info!("{compiler} {source} on localhost failed with {status}"),
        }
    }

    /// The same for the statistics. `bytes` were received and sent, `time` is the whole job's.
    pub fn ending(&self, origin: Origin, bytes: [u64; 2], time: Duration) -> Option<Ending> {
        let compiling = self.started.zip(self.ended).map(|(started, ended)| ended.duration_since(started));
        Some(Ending {
            origin,
            outcome: self.outcome?,
            // Many may wait for the statistics' thread, and each could be a megabyte of a client's words.
            refusal: self
                .refusal
                .as_ref()
                .map(|refusal| Refusal { code: refusal.code, reason: shortened(&refusal.reason) }),
            compiler: shortened(&self.compiler),
            source: shortened(&self.source),
            time,
            compiling,
            received: bytes[0],
            sent: bytes[1],
        })
    }

    /// Writes the line, unless there is nothing to say yet.
    pub fn log(&self, peer: &str, time: Duration) {
        let Some(outcome) = self.outcome else { return };
        if self.status.is_some() {
            log_info!("job complete");
        }
        let status = self.status.unwrap_or(WaitStatus(0));
        let what = match outcome {
            Outcome::Compiled | Outcome::Failed => format!(" {} {}", self.compiler, self.source),
            _ => String::new(),
        };
        // Behind all that scripts know.
        let who = self.principal.as_ref().map(|who| format!(" principal:{who}")).unwrap_or_default();
        log::write(
            Level::Notice,
            Some("dcc_job_summary"),
            format_args!(
                "client: {peer} {} exit:{} sig:{} core:{} ret:{} time:{}ms{what}{who}",
                outcome.word(),
                status.code().unwrap_or(0),
                status.signal().unwrap_or(0),
                i32::from(status.dumped_core()),
                self.code,
                time.as_millis(),
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit_code::ExitCode;

    #[test]
    fn what_waits_for_the_statistics_is_short_whatever_clients_say() {
        let long = "\u{1}".repeat(100_000);
        let refusal = Some(Refusal::new(ExitCode::CompilerMissing, &long));
        let (compiler, source) = (long.clone(), long);
        let summary =
            Summary { outcome: Some(Outcome::Other), refusal, compiler, source, ..Summary::default() };
        let ending = summary.ending(Origin::Only, [0, 0], Duration::ZERO).unwrap();
        let texts = [ending.compiler, ending.source, ending.refusal.unwrap().reason];
        assert!(texts.iter().all(|text| text.capacity() <= 256), "{:?}", texts.map(|text| text.capacity()));
    }
}
