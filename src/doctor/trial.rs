//! One tiny job on one host: what came of it. Knows the client's way of speaking to hosts; judges nothing.

use std::fs::File;
use std::io::Read;
use std::time::SystemTime;

use super::specimen::{OBJECT_BYTES_MAX, Specimen};
use crate::client::authentication::authenticate;
use crate::client::outcome::{Fault, judge_reply};
use crate::client::pump::Request;
use crate::client::remote::{self, Outputs, SendOptions};
use crate::client::settings::Settings;
use crate::client::transport::Opening;
use crate::exit_code::ExitCode;
use crate::hosts::spec::Host;
use crate::protocol::Version;
use crate::protocol::peer_text::one_line;
use crate::sys::child::Environment;
use crate::sys::temp;

/// The longest message of a server that is repeated, in characters.
const MESSAGE_CHARACTERS_MAX: usize = 400;
/// The most that is read of what ssh says, in bytes.
const SSH_BYTES_MAX: u64 = 16 << 10;
/// The object's name while it has none: it is looked at and forgotten.
const OUTPUT: &str = "distcc_doctor.o";

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Load<'a> {
    /// Preprocessed text, in version 1 or 2.
    Text(&'a Specimen, Version),
    /// Files, in version 3.
    Files(&'a Request),
}

/// A compiler there has done its work, well or not.
#[derive(Debug)]
pub(super) struct Answer {
    /// What it made; none if it failed.
    pub(super) object: Option<Vec<u8>>,
    /// What it said, in one line that is fit for a terminal.
    pub(super) said: String,
    /// When the job began and ended.
    pub(super) time: (SystemTime, SystemTime),
}

/// What has become of a job.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The answer, or who is to blame that there is none.
    pub(super) result: Result<Answer, Fault>,
    /// The last that ssh had to say, where it said something.
    pub(super) ssh: Option<String>,
}

/// Where jobs run, and how.
#[derive(Debug)]
pub(super) struct Way<'a> {
    /// The host, as it is listed.
    pub(super) host: &'a Host,
    /// The same by the address that answered.
    pub(super) reached: &'a Host,
    /// The client's settings.
    pub(super) settings: &'a Settings,
    /// The environment of ssh.
    pub(super) environment: &'a Environment,
}

impl Way<'_> {
    /// Gives the host a job.
    pub(super) fn attempt(&self, load: Load<'_>) -> Outcome {
        let messages = temp::anonymous("ssh");
        let result = messages.as_ref().map_err(|error| here(&error.to_string()));
        let result = result.and_then(|messages| self.converse(load, messages));
        let ssh = messages.ok().and_then(|mut messages| temp::read_back(&mut messages, SSH_BYTES_MAX).ok());
        let ssh = ssh.and_then(|said| last_line(&String::from_utf8_lossy(&said)));
        Outcome { result, ssh }
    }

    fn converse(&self, load: Load<'_>, messages: &File) -> Result<Answer, Fault> {
        use std::os::fd::AsFd;
        let Way { host, reached, settings, environment } = self;
        let began = SystemTime::now();
        let opening = Opening::start_with(reached, settings, environment, Some(messages.as_fd()));
        let connection = opening.and_then(|opening| opening.finish(settings)).map_err(Fault::connect)?;
        authenticate(&connection, host, settings)?;
        let version = match load {
            Load::Text(specimen, version) => {
                let options = SendOptions { version, cork: settings.cork };
                remote::send_plain(&connection, &specimen.argv, &specimen.source, options)?;
                version
            }
            Load::Files(request) => {
                remote::send_files(&connection, request)?;
                Version::PUMP
            }
        };
        let object = settings.temporary.join(OUTPUT);
        let outputs = Outputs { object: &object, dependencies: None };
        let reply = remote::receive(&connection, version, outputs, || ())?;
        let mut reply = judge_reply(reply)?;
        let said = shortened(&one_line(&String::from_utf8_lossy(&reply.stderr).trim().replace('\n', "; ")));
        let object = match reply.object.take().filter(|_| reply.status.success()) {
            Some(mut file) => {
                let mut bytes = Vec::new();
                let read = temp::reopened_for_reading(file.file())
                    .and_then(|file| file.take(OBJECT_BYTES_MAX).read_to_end(&mut bytes));
                read.map_err(|error| here(&format!("read the object: {error}")))?;
                Some(bytes)
            }
            None => None,
        };
        Ok(Answer { object, said, time: (began, SystemTime::now()) })
    }
}

fn here(cause: &str) -> Fault {
    Fault::Job(ExitCode::IoError, cause.into())
}

/// What a peer said, as far as a person would read it.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(MESSAGE_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_string(),
    }
}

fn last_line(said: &str) -> Option<String> {
    let line = said.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    Some(shortened(&one_line(line)))
}
