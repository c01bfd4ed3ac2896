//! What a server does for itself beside its jobs: it reads its configuration again when it is told to (SIGHUP), and gives
//! its service manager news.
//!
//! Knows what may change while the server runs: the log's file, who may connect, which compilers may run. The loop
//! knows when.

use std::sync::Arc;
use std::time::Instant;

use crate::daemon::access::Access;
use crate::daemon::allow_file::AllowFile;
use crate::daemon::config::Config;
use crate::daemon::job::Workshop;
use crate::daemon::manager::Manager;
use crate::daemon::{log_file, policy};
use crate::{log_error, log_notice};

/// What the server looks after.
#[derive(Debug)]
pub struct Upkeep {
    /// What it was started with.
    pub config: Config,
    /// Who may connect.
    pub access: Access,
    /// The file that says so, too.
    pub allow_file: Option<AllowFile>,
    /// Where the compilers are.
    pub workshop: Arc<Workshop>,
    /// Who wants to know.
    pub manager: Manager,
}

impl Upkeep {
    /// Says that clients are served.
    pub fn ready(&self) {
        self.manager.ready(&format!("Ready for {} jobs at once", self.config.jobs));
    }

    /// Reads everything again that can change. What is wrong stays as it was, and the log says why.
    pub fn reload(&mut self) {
        self.manager.reloading();
        log_file::reopen(&self.config);
        if let Some(file) = &self.allow_file {
            match file.again() {
                Ok(list) => self.access.replace(list),
                Err(problem) => log_error!("{problem}; the access list stays as it was"),
            }
        }
        policy::decide_again(&self.config, &self.workshop.compilers);
        log_notice!("configuration read again");
        self.ready();
    }

    /// Says that no more clients are served.
    pub fn stopping(&self, running: usize) {
        self.manager.stopping(&format!("Stopping; {running} jobs may finish"));
    }

    /// When [`Upkeep::on_clock`] is wanted next.
    pub fn deadline(&self) -> Option<Instant> {
        self.manager.deadline()
    }

    /// Does what is due. `running` jobs are at work.
    pub fn on_clock(&mut self, now: Instant, running: usize) {
        let jobs = self.config.jobs;
        self.manager.on_clock(now, || format!("{running} of {jobs} jobs at work"));
    }
}
