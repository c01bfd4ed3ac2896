//! The summary of a job in the log: one line of a form that people's scripts have read since 3.4.

use std::time::Duration;

use crate::daemon::job::AcceptedCommand;
use crate::exit_code::WaitStatus;
use crate::log::{self, Level};
use crate::log_info;

/// What the log will say of a job.
#[derive(Debug, Default)]
pub struct Summary {
    /// The word for how it ended; none while that is open.
    pub result: Option<&'static str>,
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

    /// Writes the line, unless there is nothing to say yet.
    pub fn log(&self, peer: &str, time: Duration) {
        let Some(result) = self.result else { return };
        if self.status.is_some() {
            log_info!("job complete");
        }
        let status = self.status.unwrap_or(WaitStatus(0));
        let what = match result {
            "COMPILE_OK" | "COMPILE_ERROR" => format!(" {} {}", self.compiler, self.source),
            _ => String::new(),
        };
        // Behind all that scripts know.
        let who = self.principal.as_ref().map(|who| format!(" principal:{who}")).unwrap_or_default();
        log::write(
            Level::Notice,
            Some("dcc_job_summary"),
            format_args!(
                "client: {peer} {result} exit:{} sig:{} core:{} ret:{} time:{}ms{what}{who}",
                status.code().unwrap_or(0),
                status.signal().unwrap_or(0),
                i32::from(status.dumped_core()),
                self.code,
                time.as_millis(),
            ),
        );
    }
}
