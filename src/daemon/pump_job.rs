//! A compile of the client's own files: where they are unpacked, what the compiler is told, what it leaves.
//!
//! ```text
//! files as they came -> a chamber where the client's paths are true -> object, dependencies
//!                   \-> or, where there are no namespaces, a private directory ([`crate::daemon::unpacked`])
//! ```
//!
//! Knows files and compilers; nothing of the socket, the protocol's bytes or the other jobs.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::compiler_args;
use crate::daemon::allowance::Share;
use crate::daemon::file_set::{Buffers, FileSet, Links, UNPACKED_BYTES_MAX};
use crate::daemon::job::{AcceptedCommand, Obstacle, Place, RunningJob, Streams, Workshop};
use crate::daemon::patron::Patron;
use crate::daemon::refusal::Refusal;
use crate::daemon::reply::Output;
use crate::daemon::sandbox::TEMPORARY;
use crate::daemon::surroundings::{self, Variables};
use crate::daemon::system_headers::Question;
use crate::daemon::unpacked;
use crate::exit_code::ExitCode;
use crate::protocol::surroundings::{FileTime, Files};
use crate::sys::child::{Child, Command, Environment, Group};
use crate::sys::exposure::Exposure;
use crate::sys::job_root::JobRoot;
use crate::sys::open;
use crate::sys::temp::TempDir;

/// Memory that a variable takes beside its value, in bytes: its place in a list, and what the allocator adds.
const VARIABLE_BYTES: usize = 56;
/// Where confined compilers leave dependencies that nobody named.
const UNNAMED_DEPENDENCIES: &str = "/tmp/distccd.d";

/// A job with its files, still packed.
#[derive(Debug)]
pub struct PumpJob {
    pub(super) command: AcceptedCommand,
    /// The client's working directory, absolute.
    pub(super) directory: PathBuf,
    pub(super) files: FileSet,
    /// None from clients of 3.4, as are the variables.
    pub(super) times: Option<Vec<FileTime>>,
    pub(super) variables: Option<Variables>,
}

impl PumpJob {
    /// A job that has no files yet, in the directory the client names.
    pub fn new(command: AcceptedCommand, directory: Vec<u8>, patron: &Patron) -> Result<PumpJob, Refusal> {
        let directory = PathBuf::from(OsStr::from_bytes(&directory));
        let why = match directory.components().any(|part| part == Component::ParentDir) {
            _ if !directory.is_absolute() => "is not absolute",
            true => "holds `..`",
            false => "",
        };
        if !why.is_empty() {
            let text = format!("bad request: the working directory {} {why}", directory.display());
            return Err(Refusal::new(ExitCode::ProtocolError, text));
        }
        let files = FileSet::new(patron.clone());
        Ok(PumpJob { command, directory, files, times: None, variables: None })
    }

    /// The judged command.
    pub fn command(&self) -> &AcceptedCommand {
        &self.command
    }

    /// Takes what the client says of its files and headers; what has to be compared before the job may start.
    pub fn take_surroundings(&mut self, files: Files) -> Option<Question> {
        let Files { times, directories, headers } = files;
        self.times = Some(times);
        let program = self.command.program.path.clone();
        let patron = self.files.patron().clone();
        (!headers.is_empty()).then_some(Question { program, directories, headers, patron })
    }

    /// Memory that what the client said of its files and variables takes, in bytes.
    pub fn surroundings_memory(&self) -> u64 {
        let times = self.times.as_ref().map_or(0, |times| times.capacity() * size_of::<FileTime>());
        let variables = self.variables.iter().flatten().map(|(_, value)| value.capacity() + VARIABLE_BYTES);
        (times + variables.sum::<usize>()) as u64
    }

    /// Unpacks the files and starts the compiler.
    pub fn launch(self, workshop: &Workshop, buffers: &mut Buffers) -> Result<RunningJob, Refusal> {
        if workshop.sandbox.has_chambers() {
            match self.launch_confined(workshop, buffers) {
                Ok(started) => return Ok(self.running(started)),
                Err(obstacle) => obstacle.overcome(&self.command)?,
            }
        }
        let started = unpacked::launch(&self, workshop, buffers)?;
        Ok(self.running(started))
    }

    fn running(self, (child, streams, harvest): (Child, Streams, Harvest)) -> RunningJob {
        RunningJob::new(self.command, child, streams, Place::Tree(Box::new(harvest)))
    }

    /// The compiler runs with the client's words, in the client's directory, on the client's paths.
    fn launch_confined(
        &self,
        workshop: &Workshop,
        buffers: &mut Buffers,
    ) -> Result<(Child, Streams, Harvest), Obstacle> {
        let program = &self.command.program.path;
        let exposure = workshop.exposures.of(program);
        let chamber = workshop.sandbox.open_chamber(&exposure, UNPACKED_BYTES_MAX, self.files.inodes())?;
        let (argv, outputs) = self.words_and_outputs();
        let share =
            self.fill(chamber.root(), Some((&outputs, &exposure)), Links::AsSent, workshop, buffers)?;
        let streams = Streams::inside(chamber.root())?;
        let environment = surroundings::environment(
            self.base_environment(workshop),
            self.variables.as_ref(),
            self.directory.as_os_str(),
            OsStr::new(TEMPORARY),
        );
        let command = Command {
            program,
            argv: &argv,
            environment: &environment,
            directory: Some(&self.directory),
            stdio: streams.descriptors(),
            group: Group::Own,
            walls: Some(workshop.sandbox.confined()),
        };
        let (child, root) = chamber
            .run(&command)
            .map_err(|failure| Obstacle::of_program(failure, &exposure, &self.command))?;
        Ok((
            child,
            streams,
            Harvest { root, outputs, unpacked: None, files: self.files.inodes(), _share: share },
        ))
    }

    /// The words to run, and where the results will be, in the client's own paths.
    fn words_and_outputs(&self) -> (Vec<OsString>, Outputs) {
        let compile = &self.command.compile;
        let mut argv = compile.argv().to_vec();
        let mut dependencies = compiler_args::dependency_file(&argv, compile.source());
        if compiler_args::implies_dependencies(&argv) {
            argv.extend(["-MMD", "-MF", UNNAMED_DEPENDENCIES].map(OsString::from));
            dependencies = Some(UNNAMED_DEPENDENCIES.into());
        }
        let at_client = |name: &OsStr| self.directory.join(name);
        let outputs = Outputs {
            object: at_client(&compile.output_or_default()),
            dependencies: dependencies.as_deref().map(at_client),
        };
        (argv, outputs)
    }

    /// What the compiler gets of the daemon's environment.
    pub(super) fn base_environment<'a>(&self, workshop: &'a Workshop) -> &'a Environment {
        match self.variables {
            Some(_) => &workshop.environments.bare,
            None => &workshop.environments.with_language,
        }
    }

    /// Unpacks the files, and makes what the compiler will look for: its directory, and those of outputs inside. What
    /// it returns stands for the memory this takes.
    pub(super) fn fill(
        &self,
        root: &JobRoot,
        outputs: Option<(&Outputs, &Exposure)>,
        links: Links,
        workshop: &Workshop,
        buffers: &mut Buffers,
    ) -> Result<Share, Refusal> {
        let mut share = Share::of(self.files.patron());
        let mut unpacker = root.unpacker();
        let times = self.times.as_deref().unwrap_or_default();
        self.files.unpack(times, links, &mut unpacker, buffers, &mut share, &workshop.pools.trees)?;
        let directory = self.directory.as_os_str().as_bytes();
        unpacker.create_directory(directory).map_err(|error| {
            let text = format!("make the working directory {}: {error}", self.directory.display());
            Refusal::new(ExitCode::ProtocolError, text)
        })?;
        let Some((outputs, exposure)) = outputs else { return Ok(share) };
        for output in outputs.paths() {
            // If there can be none, the compiler will say so in its own words.
            let parent = output.parent().unwrap_or(Path::new("/"));
            let _ = unpacker.create_directory(parent.as_os_str().as_bytes());
            // This machine may show a file there that is another user's and cannot be written to. Of others the job
            // does not learn whether they exist.
            if exposure.covers(parent) && fs::symlink_metadata(output).is_ok() {
                let _ = unpacker.create_file(output.as_os_str().as_bytes(), b"", None);
            }
        }
        Ok(share)
    }
}

/// Where a compiler leaves its results: paths in the tree.
#[derive(Debug)]
pub(super) struct Outputs {
    pub(super) object: PathBuf,
    pub(super) dependencies: Option<PathBuf>,
}

impl Outputs {
    fn paths(&self) -> impl Iterator<Item = &Path> {
        [Some(&self.object), self.dependencies.as_ref()].into_iter().flatten().map(PathBuf::as_path)
    }
}

/// A tree with a compiler at work in it, and what is to be taken from it in the end.
#[derive(Debug)]
pub struct Harvest {
    pub(super) root: JobRoot,
    pub(super) outputs: Outputs,
    /// The directory that the tree is below, unless it is a chamber's.
    pub(super) unpacked: Option<TempDir>,
    /// How many files, links and directories it was made of.
    pub(super) files: u64,
    pub(super) _share: Share,
}

impl Harvest {
    /// Opens what the ended compiler left.
    pub fn collect(&self, stdout: File, stderr: File) -> Output {
        // What is no regular file is no result.
        let open = |path: &Path| open::unless_short(self.root.open_result(path.as_os_str().as_bytes()));
        Output {
            object: open(&self.outputs.object),
            dependencies: self.outputs.dependencies.as_deref().map_or(Ok(None), open),
            unpacked: self.unpacked.as_ref().map(unpacked::root_of),
            stdout,
            stderr,
        }
    }
}
