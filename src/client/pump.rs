//! Whether a job goes to a server as it is, to be preprocessed there, and if not, why (manual, PUMP MODE). Owns the
//! decision and what is sent then; knows neither hosts' slots nor connections.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::client::background::Background;
use crate::client::commands::{PumpCommand, RemoteCommands};
use crate::client::discrepancy::Counter;
use crate::client::file_set::FileSet;
use crate::client::include_server::{self, AskError, Patience};
use crate::client::session::Session;
use crate::client::settings::{self, Settings};
use crate::client::stamp::Stamp;
use crate::compiler_args::Compile;
use crate::hosts::name_hash;
use crate::hosts::spec::Host;
use crate::log_info;
use crate::protocol::include_query::Question;
use crate::protocol::lzo;
use crate::protocol::surroundings;
use crate::sys::process::FileIdentity;

/// How long a host whose system headers are others gets preprocessed text.
const HEADERS_DIFFER_FOR: Duration = Duration::from_secs(300);

/// What a server that preprocesses is sent.
#[derive(Debug)]
pub struct Request {
    /// The working directory, without links.
    pub directory: PathBuf,
    /// The command.
    pub argv: Vec<OsString>,
    /// Entries of ours before the files: names and bodies.
    pub own: Vec<(&'static [u8], Vec<u8>)>,
    /// The files.
    pub files: FileSet,
}

/// Why a job is preprocessed here although the host could do that.
#[derive(Debug)]
pub enum Obstacle {
    /// The source is preprocessed already; there is nothing to send but its text.
    Preprocessed,
    /// gcc appends to the file that a variable names, and there is one such file, here.
    DependenciesVariable,
    /// Something about the command.
    Command(String),
    /// So many jobs of this build have failed there only that pump mode cannot be trusted with it.
    Demoted(u64),
    /// DISTCC_PUMP=0, and no include server is named.
    SwitchedOff,
    /// No include server can be asked.
    NoIncludeServer(String),
    /// The include server cannot analyse this job.
    CannotTell(String),
}

impl Obstacle {
    /// Whether the user should hear of it, once: it slows a whole build down, and can be mended.
    fn is_news(&self) -> bool {
        matches!(self, Obstacle::Preprocessed | Obstacle::Demoted(_) | Obstacle::NoIncludeServer(_))
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::Preprocessed => f.write_str(
                "pump mode (,cpp) is of no use for sources that are preprocessed already, such as those from ccache",
            ),
            Obstacle::DependenciesVariable => {
                f.write_str("preprocessing here: DEPENDENCIES_OUTPUT or SUNPRO_DEPENDENCIES names a file of this machine")
            }
            Obstacle::Command(why) => write!(f, "preprocessing here: {why}"),
            Obstacle::Demoted(count) => write!(
                f,
                "pump mode is given up: compilations that failed on a server but not here: {count} (see \
                 DISTCC_MAX_DISCREPANCY)"
            ),
            Obstacle::SwitchedOff => {
                f.write_str("preprocessing here: DISTCC_PUMP=0, and INCLUDE_SERVER_PORT names no include server")
            }
            Obstacle::NoIncludeServer(why) => {
                write!(f, "preprocessing here, although hosts have ,cpp: {why} (see INCLUDE_SERVER_PORT and DISTCC_PUMP in the manual)")
            }
            Obstacle::CannotTell(why) => {
                write!(f, "failed to get includes from include server, preprocessing locally: {why}")
            }
        }
    }
}

/// Where the include server of this job is.
#[derive(Debug)]
enum IncludeServer {
    /// Nowhere: these are the files (INCLUDE_SERVER_STUB).
    Stub(OsString),
    /// Started by `pump` for the build.
    OfBuild(PathBuf),
    /// The user's.
    InBackground(Background),
}

/// The decision about one job: made when the first host wants it, and the same for all.
#[derive(Debug, Default)]
pub struct Pump {
    decided: Option<Option<Request>>,
    /// Words of the hosts that refused this job unpreprocessed.
    refused_by: Vec<String>,
}

impl Pump {
    /// Whether this host may get the job unpreprocessed, as far as can be said before anyone is asked.
    pub fn is_possible(&self, session: &Session<'_>, host: &Host) -> bool {
        host.pump
            && !matches!(self.decided, Some(None))
            && !self.refused_by.contains(&host.word)
            && !had_other_headers(session.settings, host)
    }

    /// What to send; none if the job is to be preprocessed here, which is logged.
    ///
    /// An error is for tests, with DISTCC_TESTING_INCLUDE_SERVER: the include server's failure.
    pub fn request(
        &mut self,
        session: &Session<'_>,
        compile: &Compile,
        commands: &RemoteCommands,
    ) -> Result<Option<&Request>, String> {
        if self.decided.is_none() {
            let request = match prepare(session, compile, commands) {
                Ok(request) => Some(request),
                Err(obstacle @ (Obstacle::NoIncludeServer(_) | Obstacle::CannotTell(_)))
                    if session.settings.testing_include_server =>
                {
                    return Err(obstacle.to_string());
                }
                Err(obstacle) => {
                    if obstacle.is_news() {
                        session.warn_once(&obstacle.to_string());
                    } else {
                        log_info!("{obstacle}");
                    }
                    None
                }
            };
            self.decided = Some(request);
        }
        Ok(self.decided.as_ref().and_then(Option::as_ref))
    }

    /// How many bytes of files were sent.
    pub fn bytes(&self) -> u64 {
        self.decided.iter().flatten().map(|request| request.files.bytes()).sum()
    }

    /// A host wants this job preprocessed. If it is for its system headers, all jobs are for a while.
    pub fn note_refusal(&mut self, session: &Session<'_>, host: &Host, cause: &str) {
        if cause.contains(surroundings::HEADERS_DIFFER) {
            session.warn_once(&format!("{}: {cause}; preprocessing its jobs here for a while", host.word));
            headers_differ(session.settings, host).inspect(Stamp::set);
        } else {
            log_info!("{}: {cause}; preprocessing the job here", host.word);
        }
        self.refused_by.push(host.word.clone());
    }
}

/// The counter of jobs that only failed in pump mode; none if no include server is there to have one.
pub fn discrepancies(settings: &Settings) -> Option<Counter> {
    match include_server(settings)? {
        IncludeServer::Stub(_) => None,
        IncludeServer::OfBuild(socket) => Some(Counter::of_build(&socket)),
        IncludeServer::InBackground(background) => Some(Counter::of_background(&background.socket())),
    }
}

/// The files of a command as the named include server, or the stub, lists them; none if no such is named.
pub fn listed_files(settings: &Settings, question: &Question) -> Option<Result<FileSet, AskError>> {
    match include_server(settings)? {
        IncludeServer::InBackground(_) => None,
        server => Some(ask(settings, &server, question)),
    }
}

/// Whether the host had other system headers than we, a short time ago: it gets preprocessed text for a while.
pub fn had_other_headers(settings: &Settings, host: &Host) -> bool {
    headers_differ(settings, host).is_some_and(|stamp| stamp.is_fresh())
}

/// The mark of a host whose system headers are others than ours.
fn headers_differ(settings: &Settings, host: &Host) -> Option<Stamp> {
    let key = name_hash::of_parts([host.word.as_bytes()]);
    Some(Stamp::new(settings.lock_directory()?.join(format!("plain_{key:08x}")), HEADERS_DIFFER_FOR))
}

fn include_server(settings: &Settings) -> Option<IncludeServer> {
    if let Some(list) = &settings.include_server_stub {
        return Some(IncludeServer::Stub(list.clone()));
    }
    match &settings.include_server {
        Some(socket) => Some(IncludeServer::OfBuild(socket.clone())),
        None if settings.pump => Some(IncludeServer::InBackground(Background::of_user(settings))),
        None => None,
    }
}

/// A job that may go unpreprocessed, if only somebody knows which files it needs.
#[derive(Debug)]
pub struct Candidate {
    /// The command.
    pub command: PumpCommand,
    /// Where it runs.
    pub here: WorkingDirectory,
    /// The compiler's file.
    pub compiler: PathBuf,
    server: IncludeServer,
    question: Question,
}

impl Candidate {
    /// Whether the include server is the user's own, which the first job that needs it starts.
    pub fn would_start_include_server(&self) -> bool {
        matches!(self.server, IncludeServer::InBackground(_))
    }

    /// The files, as the include server lists them. It is started if it is the user's and does not run.
    pub fn files(&self, settings: &Settings) -> Result<FileSet, Obstacle> {
        Ok(ask(settings, &self.server, &self.question)?)
    }
}

impl From<AskError> for Obstacle {
    fn from(error: AskError) -> Obstacle {
        match error {
            AskError::CannotTell(why) => Obstacle::CannotTell(why),
            error => Obstacle::NoIncludeServer(error.to_string()),
        }
    }
}

/// Goes through all obstacles that can be found without asking anybody, those that cost nothing first.
pub fn consider(
    session: &Session<'_>,
    compile: &Compile,
    commands: &RemoteCommands,
) -> Result<Candidate, Obstacle> {
    let settings = session.settings;
    if compile.is_preprocessed() {
        return Err(Obstacle::Preprocessed);
    }
    if settings.names_dependency_file {
        return Err(Obstacle::DependenciesVariable);
    }
    let command = commands.unpreprocessed(compile).map_err(Obstacle::Command)?;
    let server = include_server(settings).ok_or(Obstacle::SwitchedOff)?;
    let discrepancies = discrepancies(settings).map_or(0, |counter| counter.count());
    if discrepancies >= settings.discrepancies_max {
        return Err(Obstacle::Demoted(discrepancies));
    }
    let here = WorkingDirectory::find(settings).map_err(|error| Obstacle::Command(error.to_string()))?;
    let compiler = session.invocation.find(compile.compiler());
    let compiler = compiler.ok_or_else(|| Obstacle::Command("the compiler is not on PATH".into()))?;
    let question = question(&here, &compiler, &session.invocation.search_path, &command.argv);
    Ok(Candidate { command, here, compiler, server, question })
}

/// What to send, or what stands in the way.
pub fn prepare(
    session: &Session<'_>,
    compile: &Compile,
    commands: &RemoteCommands,
) -> Result<Request, Obstacle> {
    let candidate = consider(session, compile, commands)?;
    let files = candidate.files(session.settings)?;
    let Candidate { command, here, .. } = candidate;
    Ok(Request { own: own_entries(&here, &command), directory: here.real, argv: command.argv, files })
}

/// The question for an include server about a command in which all include directories are named.
pub fn question(
    here: &WorkingDirectory,
    compiler: &Path,
    search_path: &OsStr,
    argv: &[OsString],
) -> Question {
    Question {
        directory: here.written().as_os_str().as_bytes().to_vec(),
        compiler: compiler.as_os_str().as_bytes().to_vec(),
        search_path: search_path.as_bytes().to_vec(),
        variables: Vec::new(),
        argv: argv.iter().map(|word| word.as_bytes().to_vec()).collect(),
    }
}

fn ask(settings: &Settings, server: &IncludeServer, question: &Question) -> Result<FileSet, AskError> {
    let patience = Patience { connect: settings.connect_timeout, answer: settings.io_timeout };
    match server {
        IncludeServer::Stub(list) => {
            let is_blank = |byte: &u8| byte.is_ascii_whitespace();
            let paths = list.as_bytes().split(is_blank).filter(|path| !path.is_empty());
            FileSet::from_mirror(&paths.map(<[u8]>::to_vec).collect::<Vec<_>>()).map_err(AskError::Broken)
        }
        IncludeServer::OfBuild(socket) => include_server::ask(socket, question, patience, settings.sudo_user),
        IncludeServer::InBackground(background) => {
            let socket = background.socket();
            match include_server::ask_directly(&socket, question, patience) {
                Err(AskError::Absent(_)) => {
                    background.start().map_err(|error| AskError::Broken(error.to_string()))?;
                    include_server::ask_directly(&socket, question, patience)
                }
                result => result,
            }
        }
    }
}

/// What a server of ours needs to know and version 3 has no place for.
fn own_entries(here: &WorkingDirectory, command: &PumpCommand) -> Vec<(&'static [u8], Vec<u8>)> {
    let mut content = Vec::new();
    for (name, value) in settings::travelling_variables() {
        // A compiler believes it only if it is true, and so does our server.
        if name != "PWD" {
            surroundings::encode_variable(name, value.as_bytes(), &mut content);
        }
    }
    if let Some(written) = &here.written {
        surroundings::encode_variable("PWD", written.as_os_str().as_bytes(), &mut content);
    }
    let mut entries = vec![(surroundings::ENVIRONMENT_NAME, lzo::store(&content))];
    if let Some(words) = &command.own_words {
        content.clear();
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        surroundings::encode_command(&words, &mut content);
        entries.push((surroundings::COMMAND_NAME, lzo::store(&content)));
    }
    entries
}

/// The directory a command runs in.
#[derive(Debug)]
pub struct WorkingDirectory {
    /// Without links.
    pub real: PathBuf,
    /// PWD, if it is true: what compilers call the directory.
    written: Option<PathBuf>,
}

impl WorkingDirectory {
    /// Finds it out.
    pub fn find(settings: &Settings) -> io::Result<WorkingDirectory> {
        let real = std::env::current_dir()?;
        let is_true = |path: &&PathBuf| {
            let here = || FileIdentity::of(Path::new("."));
            **path == real || path.is_absolute() && here().is_some() && FileIdentity::of(path) == here()
        };
        let written = settings.working_directory.as_ref().filter(is_true).cloned();
        Ok(WorkingDirectory { real, written })
    }

    /// As compilers print it.
    pub fn written(&self) -> &Path {
        self.written.as_ref().unwrap_or(&self.real)
    }
}
