//! Messages to whoever looks after the include server (option `--email`), through the machine's own mail program. A mailer
//! that fails is no trouble of a build's.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use super::config::MailConfig;
use crate::log_warning;
use crate::sys::child::{self, Command, Environment, Group};
use crate::sys::temp;

/// The subject, as 3.4 has it: people filter by it.
const SUBJECT: &str = "distcc-pump include server email";
/// Where mail programs are beside PATH: the directories of administrators.
const MORE_DIRECTORIES: &str = ":/usr/sbin:/usr/lib:/sbin";

/// A mailer that stops after a number of messages.
#[derive(Debug)]
pub(super) struct Mailer {
    config: MailConfig,
    search_path: OsString,
    sent: AtomicU32,
}

impl Mailer {
    pub(super) fn new(config: MailConfig, search_path: &OsStr) -> Mailer {
        let mut search_path = search_path.to_owned();
        search_path.push(MORE_DIRECTORIES);
        Mailer { config, search_path, sent: AtomicU32::new(0) }
    }

    /// Sends a text, unless there were too many, without waiting for the mailer.
    pub(super) fn send(&self, text: &str) {
        if self.sent.fetch_add(1, Ordering::Relaxed) >= self.config.most {
            return;
        }
        if let Err(error) = self.start(text) {
            log_warning!("mail to {}: {error}", self.config.to.display());
        }
    }

    fn start(&self, text: &str) -> io::Result<()> {
        let (program, argv, message) = self.command(text)?;
        let mut input = temp::anonymous("mail")?;
        input.write_all(&message)?;
        input.rewind()?;
        let environment = Environment::inherited();
        // The mailer is started and waited for by one thread: it ends with the thread that started it.
        thread::Builder::new().spawn(move || {
            let null = File::options().write(true).open("/dev/null");
            let started = null.and_then(|null| {
                let stdio = [Some(input.as_fd()), Some(null.as_fd()), Some(null.as_fd())];
                let directory = None;
                let command = Command {
                    program: &program,
                    argv: &argv,
                    environment: &environment,
                    directory,
                    stdio,
                    group: Group::Own,
                };
                command.spawn()?.wait()
            });
            match started {
                Ok(status) if status.success() => {}
                Ok(status) => log_warning!("{}: {status}", program.display()),
                Err(error) => log_warning!("{}: {error}", program.display()),
            }
        })?;
        Ok(())
    }

    fn command(&self, text: &str) -> io::Result<(PathBuf, Vec<OsString>, Vec<u8>)> {
        let find = |name: &str| child::candidates(OsStr::new(name), &self.search_path).next();
        if let Some(program) = find("sendmail") {
            let mut message = b"To: ".to_vec();
            message.extend_from_slice(self.config.to.as_bytes());
            message.extend_from_slice(format!("\nSubject: {SUBJECT}\n\n{text}\n").as_bytes());
            return Ok((program, ["sendmail", "-oi", "-t"].map(OsString::from).to_vec(), message));
        }
        let program = find("mail")
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no sendmail or mail on PATH"))?;
        let argv = vec!["mail".into(), "-s".into(), SUBJECT.into(), "--".into(), self.config.to.clone()];
        Ok((program, argv, format!("{text}\n").into_bytes()))
    }
}
