//! One compile on the server: its private directory, its command, its process's surroundings.
//!
//! Knows files and compilers; nothing of the socket, the protocol's bytes or the other jobs.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::compiler_args::{self, ServerCompile};
use crate::daemon::compilers::{Compilers, Program};
use crate::daemon::memory::Memory;
use crate::daemon::refusal::Refusal;
use crate::daemon::reply::Output;
use crate::exit_code::ExitCode;
use crate::protocol::peer_text::one_line;
use crate::sys::child::{Child, Command, Environment, Group, Signal};
use crate::sys::temp::{self, TempDir};

/// What every job on this server has in common.
#[derive(Debug)]
pub struct Workshop {
    /// Which compilers may run, and where they are.
    pub compilers: Compilers,
    /// Where private directories are made (TMPDIR).
    pub temporary: PathBuf,
    /// DISTCC_SAVE_TEMPS: leave them there.
    pub save_temps: bool,
    /// The environment of every compiler.
    pub environment: Environment,
    /// What clients may make the server hold.
    pub memory: Memory,
}

/// A command that was judged and found fit to run here.
#[derive(Debug)]
pub struct AcceptedCommand {
    program: Program,
    compile: ServerCompile,
}

impl AcceptedCommand {
    /// Judges a request's arguments: is it a compile this server can do, with a compiler it may run?
    pub fn judge(argv: Vec<Vec<u8>>, workshop: &Workshop) -> Result<AcceptedCommand, Refusal> {
        use std::os::unix::ffi::OsStringExt;
        let argv: Vec<OsString> = argv.into_iter().map(OsString::from_vec).collect();
        let compile =
            compiler_args::check(&argv).map_err(|refusal| Refusal::new(refusal.code, refusal.to_string()))?;
        let program = workshop.compilers.find(&argv[0])?;
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

/// A job with its private directory; both go when it is dropped.
#[derive(Debug)]
pub struct Job {
    command: AcceptedCommand,
    files: JobFiles,
}

/// The files of a job. The fields are dropped in order: the files' names go before the directory.
#[derive(Debug)]
struct JobFiles {
    source: OwnedPath,
    object: OwnedPath,
    directory: TempDir,
}

/// A file removed on drop, so that the directory is empty when its turn comes.
#[derive(Debug)]
struct OwnedPath {
    path: PathBuf,
    keep: bool,
}

impl Drop for OwnedPath {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Job {
    /// Makes the private directory and the source file that the request's body goes into.
    pub fn prepare(command: AcceptedCommand, workshop: &Workshop) -> io::Result<(Job, File)> {
        let keep = workshop.save_temps;
        let directory = TempDir::create(&workshop.temporary, "distccd", keep)?;
        let owned = |name: OsString| OwnedPath { path: directory.path().join(name), keep };
        let source = owned(format!("distccd{}", command.compile.preprocessed_suffix()).into());
        let object = owned("distccd.o".into());
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&source.path)?;
        Ok((Job { command, files: JobFiles { source, object, directory } }, file))
    }

    /// The judged command.
    pub fn command(&self) -> &AcceptedCommand {
        &self.command
    }

    /// Starts the compiler in a process group of its own, in the private directory.
    pub fn start(self, workshop: &Workshop) -> Result<RunningJob, Refusal> {
        let mut argv = self
            .command
            .compile
            .command(self.files.source.path.as_os_str(), self.files.object.path.as_os_str());
        if self.command.compile.records_directory() {
            // The directory's random name must not make two objects of the same source differ. 3.4 runs compilers in
            // TMPDIR itself, so that is what its clients' objects name.
            let mut option = OsString::from("-fdebug-prefix-map=");
            option.extend([
                self.files.directory.path().as_os_str(),
                "=".as_ref(),
                workshop.temporary.as_os_str(),
            ]);
            argv.push(option);
        }
        let (stdout, stderr) = (temp::anonymous("stdout"), temp::anonymous("stderr"));
        let (stdout, stderr) = match (stdout, stderr) {
            (Ok(stdout), Ok(stderr)) => (stdout, stderr),
            (Err(error), _) | (_, Err(error)) => {
                return Err(Refusal::new(ExitCode::OutOfMemory, format!("no room for diagnostics: {error}")));
            }
        };
        let null = File::open("/dev/null").map_err(|error| {
            Refusal::new(ExitCode::IoError, format!("open /dev/null on the server: {error}"))
        })?;
        let mut environment = workshop.environment.clone();
        // The compiler's own temporary files go with the job's directory.
        environment.set("TMPDIR", self.files.directory.path().as_os_str());
        let child = Command {
            program: &self.command.program.path,
            argv: &argv,
            environment: &environment,
            directory: Some(self.files.directory.path()),
            stdio: [Some(null.as_fd()), Some(stdout.as_fd()), Some(stderr.as_fd())],
            group: Group::Own,
        }
        .spawn()
        .map_err(|error| {
            Refusal::new(
                ExitCode::CompilerMissing,
                format!("execute {} on the server: {error}", self.command.program.path.display()),
            )
        })?;
        Ok(RunningJob { job: self, child, stdout, stderr })
    }
}

/// A job whose compiler runs.
///
/// Dropping it does not end the compiler: whoever holds it hands it to [`crate::daemon::workers::Workers::bury`],
/// which keeps the directory until the last process that may write to it is gone.
#[derive(Debug)]
pub struct RunningJob {
    job: Job,
    child: Child,
    stdout: File,
    stderr: File,
}

impl RunningJob {
    /// The compiler's process id, which is also its group's.
    pub fn pid(&self) -> i32 {
        self.child.pid()
    }

    /// The judged command.
    pub fn command(&self) -> &AcceptedCommand {
        self.job.command()
    }

    /// Ends the compiler and everything it started.
    pub fn kill(&self) {
        self.child.signal(Signal::Kill);
    }

    /// Adds a line of ours to the compiler's diagnostics.
    pub fn add_diagnostic(&mut self, text: &str) -> io::Result<()> {
        self.stderr.seek(SeekFrom::End(0))?;
        self.stderr.write_all(text.as_bytes())
    }

    /// Opens what the ended compiler left; the files' names may go after that. What remains is to be buried.
    pub fn collect(self) -> (Output, Remains) {
        // Opening anything else, such as a pipe, could wait for ever.
        let path = &self.job.files.object.path;
        let is_file = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
        let object = if is_file { File::open(path).ok() } else { None };
        let output = Output { object, stdout: self.stdout, stderr: self.stderr };
        (output, Remains { group: self.child.pid(), _job: self.job })
    }
}

/// A job that has ended, and the process group that may still have stragglers in its directory.
#[derive(Debug)]
pub struct Remains {
    /// The process group of its compiler.
    pub group: i32,
    _job: Job,
}
