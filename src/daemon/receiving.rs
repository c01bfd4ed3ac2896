//! A request on its way in: bytes become a judged command with its source or its files. Knows the order in which the
//! protocol sends them; neither clocks nor what becomes of the job.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;

use crate::daemon::allowance::Share;
use crate::daemon::file_set::is_about_the_job;
use crate::daemon::job::{AcceptedCommand, Workshop};
use crate::daemon::patron::Patron;
use crate::daemon::plain_job::PlainJob;
use crate::daemon::pump_job::PumpJob;
use crate::daemon::refusal::Refusal;
use crate::daemon::system_headers::Question;
use crate::exit_code::ExitCode;
use crate::log_info;
use crate::protocol::limits::RequestLimits;
use crate::protocol::packet::HEADER_BYTES;
use crate::protocol::request::{BodyKind, RequestDecoder, RequestEvent};
use crate::protocol::surroundings::{
    COMMAND_NAME, ENVIRONMENT_NAME, FILES_NAME, Files, decode_command, decode_environment,
};
use crate::protocol::{ProtocolError, Version, lzo};

/// What the entries about a job may be, in bytes, as they travel and after unpacking: the times of as many files as
/// there may be, and thousands of headers.
const SURROUNDINGS_BYTES_MAX: u32 = 4 << 20;

/// A request as far as it has come.
#[derive(Debug)]
pub struct Receiving {
    decoder: RequestDecoder,
    /// A packet header of which only the beginning has come.
    partial_header: Vec<u8>,
    patron: Patron,
    /// What the client is told whatever it asks.
    denied: Option<Refusal>,
    version: Version,
    directory: Option<Vec<u8>>,
    command: Option<AcceptedCommand>,
    content: Content,
    question: Option<Question>,
    /// Whether the command has come a second time, as the user gave it.
    has_own_command: bool,
}

/// What follows the command.
#[derive(Debug)]
enum Content {
    Nothing,
    /// One source on its way to the job's directory.
    Source(Source),
    /// Files on their way to memory.
    Files {
        job: Box<PumpJob>,
        surroundings: Option<Surroundings>,
    },
}

/// A preprocessed source that has its file.
#[derive(Debug)]
pub struct Source {
    /// Its job.
    pub job: Box<PlainJob>,
    /// The file, in which it is as it travels.
    pub file: File,
    /// Its length there, in bytes.
    pub bytes: u32,
    /// Whose it is.
    pub patron: Patron,
}

/// An entry about the job, on its way.
#[derive(Debug)]
struct Surroundings {
    name: Vec<u8>,
    content: Vec<u8>,
}

/// A complete request.
#[derive(Debug)]
pub enum Request {
    /// Of versions 1 and 2.
    Plain(Source),
    /// Of version 3.
    Pump(Box<PumpJob>),
}

impl Request {
    /// The judged command.
    pub fn command(&self) -> &AcceptedCommand {
        match self {
            Request::Plain(source) => source.job.command(),
            Request::Pump(job) => job.command(),
        }
    }
}

/// Why a request is not received to its end.
#[derive(Debug)]
pub enum Rejection {
    /// It is none.
    Malformed(ProtocolError),
    /// It will not be done.
    Refused(Refusal),
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Rejection {
        Rejection::Refused(refusal)
    }
}

impl Receiving {
    /// Nothing has come from this client. `denied` answers whatever is asked.
    pub fn new(patron: Patron, denied: Option<Refusal>) -> Receiving {
        Receiving {
            decoder: RequestDecoder::new(RequestLimits::default()),
            partial_header: Vec::new(),
            patron,
            denied,
            version: Version::PLAIN,
            directory: None,
            command: None,
            content: Content::Nothing,
            question: None,
            has_own_command: false,
        }
    }

    /// Whether this client is refused for its address.
    pub fn is_denied(&self) -> bool {
        self.denied.is_some()
    }

    /// Whether there is no language yet in which to answer.
    pub fn at_start(&self) -> bool {
        self.decoder.at_start()
    }

    /// What the next byte belongs to, for "message ended while reading ...".
    pub fn expecting(&self) -> &'static str {
        self.decoder.expecting()
    }

    /// The version of the request, as far as it is known.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The command, from the moment it is judged until the request is complete.
    pub fn command(&self) -> Option<&AcceptedCommand> {
        match &self.content {
            Content::Nothing => self.command.as_ref(),
            Content::Source(source) => Some(source.job.command()),
            Content::Files { job, .. } => Some(job.command()),
        }
    }

    /// What is to be compared before the job may start; asked once, as soon as it is known.
    pub fn take_question(&mut self) -> Option<Question> {
        self.question.take()
    }

    /// Takes in what has come. `Some` when the request is complete; `memory` is what it may hold.
    pub fn take(
        &mut self,
        bytes: &[u8],
        memory: &mut Share,
        workshop: &Workshop,
    ) -> Result<Option<Request>, Rejection> {
        let joined;
        let mut input = bytes;
        if !self.partial_header.is_empty() {
            joined = [std::mem::take(&mut self.partial_header).as_slice(), bytes].concat();
            input = &joined;
        }
        let mut is_complete = false;
        while !is_complete {
            let (used, event) = self.decoder.next(input).map_err(Rejection::Malformed)?;
            input = &input[used..];
            match event {
                Some(RequestEvent::End) => is_complete = true,
                Some(event) => self.on_event(event, workshop)?,
                None if used == 0 => break,
                None => {}
            }
        }
        let held = self.decoder.arguments_memory() + self.surroundings_memory();
        memory.grow_to(held, &workshop.pools.memory).map_err(Refusal::from)?;
        if is_complete {
            return Ok(Some(self.complete()));
        }
        assert!(input.len() < HEADER_BYTES, "BUG: the decoder left {} bytes unread", input.len());
        self.partial_header = input.to_vec();
        Ok(None)
    }

    fn on_event(&mut self, event: RequestEvent<'_>, workshop: &Workshop) -> Result<(), Rejection> {
        match event {
            RequestEvent::Version(version) => {
                self.version = version;
                if let Some(denied) = self.denied.take() {
                    return Err(denied.into());
                }
            }
            RequestEvent::Directory(directory) => self.directory = Some(directory),
            RequestEvent::Arguments(argv) => {
                let command = AcceptedCommand::judge(argv, workshop)?;
                let [source, object] = command.base_names();
                log_info!("compile from {source} to {object}");
                self.command = Some(command);
            }
            RequestEvent::FileCount(_) => {
                let command = self.command.take().expect("BUG: files before the arguments");
                let directory = self.directory.take().expect("BUG: files before the directory");
                let job = Box::new(PumpJob::new(command, directory, &self.patron)?);
                self.content = Content::Files { job, surroundings: None };
            }
            RequestEvent::Link { name, target } => {
                if !is_about_the_job(&name) {
                    self.pump_job().files.add_link(&name, &target, &workshop.pools)?;
                }
            }
            RequestEvent::BodyStart { kind: BodyKind::Source, bytes } => {
                let command = self.command.take().expect("BUG: a body before the arguments");
                let (job, file) = PlainJob::prepare(command, workshop, &self.patron)
                    .map_err(|error| Refusal::temporary_file("make", &error))?;
                let patron = self.patron.clone();
                self.content = Content::Source(Source { job: Box::new(job), file, bytes, patron });
            }
            RequestEvent::BodyStart { kind: BodyKind::File { name }, bytes } => {
                self.begin_file(name, bytes, workshop)?;
            }
            RequestEvent::BodyPart(part) => match &mut self.content {
                // Compressed or not: memory for what thousands of clients send at once there is none.
                Content::Source(source) => {
                    source.job.spool(part.len() as u64, &workshop.pools.spool)?;
                    let written = source.file.write_all(part);
                    written.map_err(|error| Refusal::temporary_file("write", &error))?;
                }
                Content::Files { surroundings: Some(entry), .. } => entry.content.extend_from_slice(part),
                Content::Files { job, surroundings: None } => {
                    job.files.append(part, &workshop.temporary, &workshop.pools)?;
                }
                Content::Nothing => unreachable!("BUG: a part before its body"),
            },
            RequestEvent::BodyEnd => {
                if let Content::Files { job, surroundings } = &mut self.content
                    && let Some(entry) = surroundings.take()
                {
                    let question = understand(&entry, job, workshop)?;
                    self.question = question.or(self.question.take());
                }
            }
            RequestEvent::End => unreachable!("BUG: the caller completes the request"),
        }
        Ok(())
    }

    fn begin_file(&mut self, name: Vec<u8>, bytes: u32, workshop: &Workshop) -> Result<(), Refusal> {
        if !is_about_the_job(&name) {
            return self.pump_job().files.begin_file(&name, bytes, &workshop.pools);
        }
        if bytes > SURROUNDINGS_BYTES_MAX {
            let text = format!(
                "bad request: {bytes} bytes of {} are beyond the limit of {SURROUNDINGS_BYTES_MAX}",
                String::from_utf8_lossy(&name)
            );
            return Err(Refusal::new(ExitCode::OutOfMemory, text));
        }
        let Content::Files { surroundings, job } = &mut self.content else {
            unreachable!("BUG: a file before the number of files")
        };
        let is_again = match name.as_slice() {
            ENVIRONMENT_NAME => job.variables.is_some(),
            FILES_NAME => job.times.is_some(),
            COMMAND_NAME => std::mem::replace(&mut self.has_own_command, true),
            _ => false,
        };
        if is_again {
            let text = format!("bad request: {} comes twice", String::from_utf8_lossy(&name));
            return Err(Refusal::new(ExitCode::ProtocolError, text));
        }
        *surroundings = Some(Surroundings { name, content: Vec::new() });
        Ok(())
    }

    fn pump_job(&mut self) -> &mut PumpJob {
        match &mut self.content {
            Content::Files { job, .. } => job,
            Content::Nothing | Content::Source(_) => unreachable!("BUG: a file before the number of files"),
        }
    }

    fn surroundings_memory(&self) -> u64 {
        let Content::Files { job, surroundings } = &self.content else { return 0 };
        let packed = surroundings.as_ref().map_or(0, |entry| entry.content.capacity() as u64);
        packed + job.surroundings_memory() + self.question.as_ref().map_or(0, Question::memory)
    }

    fn complete(&mut self) -> Request {
        match std::mem::replace(&mut self.content, Content::Nothing) {
            Content::Source(source) => Request::Plain(source),
            Content::Files { job, .. } => Request::Pump(job),
            Content::Nothing => unreachable!("BUG: a request without a body"),
        }
    }
}

/// Takes in what an entry says about the job; what it makes necessary to compare.
fn understand(
    entry: &Surroundings,
    job: &mut PumpJob,
    workshop: &Workshop,
) -> Result<Option<Question>, Refusal> {
    if ![ENVIRONMENT_NAME, COMMAND_NAME, FILES_NAME].contains(&entry.name.as_slice()) {
        // What a later client says beyond that does not matter to this server.
        return Ok(None);
    }
    let name = String::from_utf8_lossy(&entry.name);
    let bad = |error: ProtocolError| Refusal::new(error.exit_code(), format!("bad request: {name}: {error}"));
    let content = match entry.content.as_slice() {
        [] => Vec::new(),
        packed => {
            lzo::decompress(packed, SURROUNDINGS_BYTES_MAX as usize).map_err(|error| bad(error.into()))?
        }
    };
    match entry.name.as_slice() {
        ENVIRONMENT_NAME => {
            let variables = decode_environment(&content).map_err(bad)?;
            let owned = |(name, value): (&'static str, &[u8])| (name, OsString::from_vec(value.to_vec()));
            job.variables = Some(variables.into_iter().map(owned).collect());
            Ok(None)
        }
        COMMAND_NAME => {
            job.command = AcceptedCommand::judge(decode_command(&content).map_err(bad)?, workshop)?;
            Ok(None)
        }
        FILES_NAME => Ok(job.take_surroundings(Files::decode(&content).map_err(bad)?)),
        _ => unreachable!("BUG: an entry is known and not understood"),
    }
}
