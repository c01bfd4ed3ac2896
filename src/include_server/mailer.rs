//! Messages to whoever looks after the include server (option `--email`). A mailer that fails is no trouble of a
//! build's.

use std::ffi::{OsStr, OsString};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use super::config::MailConfig;
use crate::log_warning;
use crate::mail::{self, Message};
use crate::sys::child::Environment;

/// The subject, as 3.4 has it: people filter by it.
const SUBJECT: &str = "distcc-pump include server email";

/// A mailer that stops after a number of messages.
#[derive(Debug)]
pub(super) struct Mailer {
    config: MailConfig,
    search_path: OsString,
    sent: AtomicU32,
}

impl Mailer {
    pub(super) fn new(config: MailConfig, search_path: &OsStr) -> Mailer {
        Mailer { config, search_path: search_path.to_owned(), sent: AtomicU32::new(0) }
    }

    /// Sends a text, unless there were too many, without waiting for the mailer.
    pub(super) fn send(&self, text: &str) {
        if self.sent.fetch_add(1, Ordering::Relaxed) >= self.config.most {
            return;
        }
        let (to, search_path, text) = (self.config.to.clone(), self.search_path.clone(), format!("{text}\n"));
        // The mailer is started and waited for by one thread: it ends with the thread that started it.
        let thread = thread::Builder::new().spawn(move || {
            let message = Message { to: &to, subject: SUBJECT, text: text.as_bytes() };
            if let Err(error) = mail::send(message, &search_path, &Environment::inherited()) {
                log_warning!("mail to {}: {error}", to.display());
            }
        });
        if let Err(error) = thread {
            log_warning!("mail to {}: {error}", self.config.to.display());
        }
    }
}
