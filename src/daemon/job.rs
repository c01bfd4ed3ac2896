//! One compile on the server, from the judged command to what the compiler left. Of preprocessed text it is a
//! [`PlainJob`], of the client's own files a [`PumpJob`]; whoever moves it along need not know which.
//!
//! Knows compilers; nothing of the socket, the protocol's bytes or the other jobs.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use crate::compiler_args::{self, ServerCompile};
use crate::daemon::allowance::Pools;
use crate::daemon::compilers::{Compilers, Program};
use crate::daemon::exposures::Exposures;
use crate::daemon::file_set::Buffers;
use crate::daemon::plain_job::{JobFiles, PlainChamber, PlainJob};
use crate::daemon::pump_job::{Harvest, PumpJob};
use crate::daemon::refusal::Refusal;
use crate::daemon::reply::Output;
use crate::daemon::sandbox::Sandbox;
use crate::daemon::system_headers::SystemHeaders;
use crate::daemon::unpacked::KnownMaps;
use crate::exit_code::ExitCode;
use crate::log_warning;
use crate::protocol::peer_text::one_line;
use crate::sys::child::{Child, Environment, Signal};
use crate::sys::confinement::Failure;
use crate::sys::exposure::Exposure;
use crate::sys::job_root::JobRoot;
use crate::sys::temp;

/// How the names of jobs' private directories in TMPDIR begin.
pub const DIRECTORY_PREFIX: &str = "distccd";
/// How much is kept of the messages of a compiler that was ended, in bytes: thousands of lines.
const MESSAGES_KEPT_BYTES: u64 = 1 << 20;

/// What every job on this server has in common.
#[derive(Debug)]
pub struct Workshop {
    /// Which compilers may run, and where they are.
    pub compilers: Compilers,
    /// Where private directories are made (TMPDIR).
    pub temporary: PathBuf,
    /// DISTCC_SAVE_TEMPS: leave them there.
    pub save_temps: bool,
    /// The environments of compilers.
    pub environments: Environments,
    /// What clients may make the server hold.
    pub pools: Pools,
    /// What of this machine confined compilers see.
    pub exposures: Exposures,
    /// The walls around compilers. Without chambers, clients' files are unpacked below a private directory.
    pub sandbox: Sandbox,
    /// What is known of this machine's system headers.
    pub system_headers: SystemHeaders,
    /// What compilers can do about names; asked without chambers.
    pub path_maps: KnownMaps,
}

/// The environments of compilers, but for what clients add; see [`crate::daemon::surroundings`].
#[derive(Debug, Default)]
pub struct Environments {
    /// For clients that send variables.
    pub bare: Environment,
    /// For preprocessed text, and for pump mode's clients of 3.4: with the daemon's own language.
    pub with_language: Environment,
}

/// A command that was judged and found fit to run here.
#[derive(Debug)]
pub struct AcceptedCommand {
    pub(super) program: Program,
    pub(super) compile: ServerCompile,
}

impl AcceptedCommand {
    /// Judges a request's arguments: is it a compile this server can do, with a compiler it may run?
    pub fn judge(argv: Vec<Vec<u8>>, workshop: &Workshop) -> Result<AcceptedCommand, Refusal> {
        use std::os::unix::ffi::OsStringExt;
        let argv: Vec<OsString> = argv.into_iter().map(OsString::from_vec).collect();
        let mut compile =
            compiler_args::check(&argv).map_err(|refusal| Refusal::new(refusal.code, refusal.to_string()))?;
        let program = workshop.compilers.find(&argv[0])?;
        compile.call(&program.name);
        Ok(AcceptedCommand { program, compile })
    }

    /// The compiler's name, as logs show it.
    pub fn compiler_name(&self) -> String {
        one_line(&self.program.name.to_string_lossy())
    }

    /// The source's name as the client gave it, as logs show it.
    pub fn source_name(&self) -> String {
        one_line(&self.compile.source().to_string_lossy())
    }

    /// Source and object without their directories, for the line that announces the job.
    pub fn base_names(&self) -> [String; 2] {
        [self.compile.source(), self.compile.output()]
            .map(|name| one_line(&Path::new(name).file_name().unwrap_or_default().to_string_lossy()))
    }
}

/// A job that can be started.
#[derive(Debug)]
pub enum Job {
    /// With a source in its private directory.
    Plain(Box<PlainJob>),
    /// With the client's files, still packed.
    Pump(Box<PumpJob>),
}

impl Job {
    /// Starts the compiler, in a process group of its own. The thread that does it must outlive the compiler.
    pub fn launch(self, workshop: &Workshop, buffers: &mut Buffers) -> Result<RunningJob, Refusal> {
        match self {
            Job::Plain(job) => job.launch(workshop),
            Job::Pump(job) => job.launch(workshop, buffers),
        }
    }
}

/// The standard streams of a compiler.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) null: File,
    pub(super) stdout: File,
    pub(super) stderr: File,
}

impl Streams {
    /// The same, with files that count as part of the job's tree.
    pub(super) fn inside(root: &JobRoot) -> Result<Streams, Refusal> {
        let file = || root.nameless_file().map_err(|error| no_room(&error));
        Ok(Streams { null: null()?, stdout: file()?, stderr: file()? })
    }

    /// Standard input, output and error of a command.
    pub(super) fn descriptors(&self) -> [Option<BorrowedFd<'_>>; 3] {
        [&self.null, &self.stdout, &self.stderr].map(|file| Some(file.as_fd()))
    }

    /// Nothing to read, and two files that live in memory to write to.
    pub(super) fn open() -> Result<Streams, Refusal> {
        let file = |name| temp::anonymous(name).map_err(|error| no_room(&error));
        Ok(Streams { null: null()?, stdout: file("stdout")?, stderr: file("stderr")? })
    }
}

fn null() -> Result<File, Refusal> {
    File::open("/dev/null")
        .map_err(|error| Refusal::new(ExitCode::IoError, format!("open /dev/null on the server: {error}")))
}

fn no_room(error: &io::Error) -> Refusal {
    Refusal::new(ExitCode::OutOfMemory, format!("no room for diagnostics: {error}"))
}

/// The refusal of a job whose compiler does not start.
pub(super) fn cannot_execute(command: &AcceptedCommand, error: &io::Error) -> Refusal {
    let text = format!("execute {} on the server: {error}", command.program.path.display());
    Refusal::new(ExitCode::CompilerMissing, text)
}

/// Why a job cannot be done in a chamber.
#[derive(Debug)]
pub(super) enum Obstacle {
    /// It cannot be done at all.
    Refused(Refusal),
    /// It can be done without one.
    Unconfinable(String),
}

impl From<Refusal> for Obstacle {
    fn from(refusal: Refusal) -> Obstacle {
        Obstacle::Refused(refusal)
    }
}

impl From<Failure> for Obstacle {
    fn from(failure: Failure) -> Obstacle {
        Obstacle::Unconfinable(failure.to_string())
    }
}

impl Obstacle {
    /// That a program could not be started in a chamber that was ready.
    pub(super) fn of_program(failure: Failure, exposure: &Exposure, command: &AcceptedCommand) -> Obstacle {
        let program = &command.program.path;
        match failure {
            Failure::Program(_) if !exposure.covers(program) => Obstacle::Unconfinable(format!(
                "{} cannot be shown without what is beside it",
                program.display()
            )),
            Failure::Program(error) => Obstacle::Refused(cannot_execute(command, &error)),
            // A job chooses where its files are. It is not let out for a choice that cannot be shown.
            Failure::Unavailable(why) => Obstacle::Refused(Refusal::new(ExitCode::DistccFailed, why)),
        }
    }

    /// Goes on without a chamber, if that is possible.
    pub(super) fn overcome(self, command: &AcceptedCommand) -> Result<(), Refusal> {
        match self {
            Obstacle::Refused(refusal) => Err(refusal),
            Obstacle::Unconfinable(why) => {
                log_warning!("{} is compiled without a chamber: {why}", command.source_name());
                Ok(())
            }
        }
    }
}

/// Where a compiler runs, and leaves its results.
#[derive(Debug)]
pub(super) enum Place {
    /// A private directory with one source.
    Private(JobFiles),
    /// A chamber that shows one source.
    Chamber(Box<PlainChamber>),
    /// A tree of the client's files.
    Tree(Box<Harvest>),
}

/// A job whose compiler runs.
///
/// Dropping it does not end the compiler: whoever holds it hands it to [`crate::daemon::workers::Workers::bury`],
/// which keeps the directory until the last process that may write to it is gone.
#[derive(Debug)]
pub struct RunningJob {
    command: AcceptedCommand,
    child: Child,
    stdout: File,
    stderr: File,
    place: Place,
}

impl RunningJob {
    pub(super) fn new(command: AcceptedCommand, child: Child, streams: Streams, place: Place) -> RunningJob {
        let Streams { null: _, stdout, stderr } = streams;
        RunningJob { command, child, stdout, stderr, place }
    }

    /// The compiler's process id, which is also its group's.
    pub fn pid(&self) -> i32 {
        self.child.pid()
    }

    /// The judged command.
    pub fn command(&self) -> &AcceptedCommand {
        &self.command
    }

    /// Ends the compiler and everything it started.
    pub fn kill(&self) {
        self.child.signal(Signal::Kill);
    }

    /// How long the longer of its two outputs is, in bytes.
    pub fn messages_bytes(&self) -> u64 {
        let lengths = [&self.stdout, &self.stderr].map(|file| file.metadata().map_or(0, |found| found.len()));
        lengths.into_iter().max().unwrap_or(0)
    }

    /// Adds a line of ours to the diagnostics of a compiler that was ended. Of what is too long for anybody to read,
    /// the beginning stays.
    pub fn add_diagnostic(&mut self, text: &str) -> io::Result<()> {
        for file in [&self.stdout, &self.stderr] {
            if file.metadata()?.len() > MESSAGES_KEPT_BYTES {
                file.set_len(MESSAGES_KEPT_BYTES)?;
            }
        }
        self.stderr.seek(SeekFrom::End(0))?;
        self.stderr.write_all(text.as_bytes())
    }

    /// Opens what the ended compiler left; the files' names may go after that. What remains is to be buried.
    pub fn collect(self) -> (Output, Remains) {
        let (stdout, stderr) = (self.stdout, self.stderr);
        let output = match &self.place {
            Place::Private(files) => {
                Output { object: files.object(), dependencies: Ok(None), unpacked: None, stdout, stderr }
            }
            Place::Chamber(chamber) => {
                Output { object: chamber.object(), dependencies: Ok(None), unpacked: None, stdout, stderr }
            }
            Place::Tree(harvest) => harvest.collect(stdout, stderr),
        };
        (output, Remains { group: self.child.pid(), place: self.place })
    }
}

/// A job that has ended, and the process group that may still have stragglers in its directory.
#[derive(Debug)]
pub struct Remains {
    /// The process group of its compiler.
    pub group: i32,
    place: Place,
}

impl Remains {
    /// Files, links and directories in it, as far as they came from a client.
    pub fn files(&self) -> u64 {
        match &self.place {
            Place::Private(_) | Place::Chamber(_) => 0,
            Place::Tree(harvest) => harvest.files,
        }
    }
}
