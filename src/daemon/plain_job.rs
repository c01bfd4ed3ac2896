//! A compile of preprocessed text: its source in a private directory, its command, its process's surroundings.
//!
//! Knows files and compilers; nothing of the socket, the protocol's bytes or the other jobs.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use crate::daemon::allowance::{Pool, Share};
use crate::daemon::job::{
    AcceptedCommand, DIRECTORY_PREFIX, Obstacle, Place, RunningJob, Streams, Workshop, cannot_execute,
};
use crate::daemon::patron::Patron;
use crate::daemon::refusal::Refusal;
use crate::daemon::sandbox::TEMPORARY;
use crate::exit_code::ExitCode;
use crate::sys::child::{Child, Command, Group};
use crate::sys::job_root::JobRoot;
use crate::sys::open;
use crate::sys::temp::TempDir;

/// The object's name, beside the source.
const OBJECT: &str = "distccd.o";

/// A job with its private directory; both go when it is dropped.
#[derive(Debug)]
pub struct PlainJob {
    command: AcceptedCommand,
    files: JobFiles,
}

/// The files of a job. The fields are dropped in order: the files' names go before the directory.
#[derive(Debug)]
pub struct JobFiles {
    source: OwnedPath,
    object: OwnedPath,
    directory: TempDir,
    /// What the source takes on disk, and how many bytes that is.
    spool: Share,
    spooled: u64,
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

impl JobFiles {
    /// Whether the source could be loaded as code, should an option make a compiler try.
    fn is_program(&self) -> bool {
        let mut magic = [0; 4];
        let read = File::open(&self.source.path).and_then(|mut file| file.read_exact(&mut magic));
        read.is_ok() && magic == *b"\x7fELF"
    }

    /// The object, if the compiler made a file. An error is the server's own trouble.
    pub fn object(&self) -> io::Result<Option<File>> {
        // Opening anything else, such as a pipe, could wait for ever.
        let path = &self.object.path;
        let is_file = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
        open::unless_short(if is_file { File::open(path).map(Some) } else { Ok(None) })
    }
}

/// A chamber in which a source is compiled.
#[derive(Debug)]
pub struct PlainChamber {
    root: JobRoot,
    /// The object's path there.
    object: PathBuf,
    /// What it shows, until the compiler has ended.
    _source: JobFiles,
}

impl PlainChamber {
    /// The object, if the compiler made a file. An error is the server's own trouble.
    pub fn object(&self) -> io::Result<Option<File>> {
        open::unless_short(self.root.open_result(self.object.as_os_str().as_bytes()))
    }
}

impl PlainJob {
    /// Makes the private directory and the source file that the request's body goes into.
    pub fn prepare(
        command: AcceptedCommand,
        workshop: &Workshop,
        patron: &Patron,
    ) -> io::Result<(PlainJob, File)> {
        let keep = workshop.save_temps;
        let directory = TempDir::create(&workshop.temporary, DIRECTORY_PREFIX, keep)?;
        let owned = |name: OsString| OwnedPath { path: directory.path().join(name), keep };
        let source = owned(format!("distccd{}", command.compile.preprocessed_suffix()).into());
        let object = owned(OBJECT.into());
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&source.path)?;
        let files = JobFiles { source, object, directory, spool: Share::of(patron), spooled: 0 };
        Ok((PlainJob { command, files }, file))
    }

    /// Counts bytes that the source takes more; call it before they are written.
    pub fn spool(&mut self, more: u64, pool: &Pool) -> Result<(), Refusal> {
        self.files.spooled += more;
        Ok(self.files.spool.grow_to(self.files.spooled, pool)?)
    }

    /// The judged command.
    pub fn command(&self) -> &AcceptedCommand {
        &self.command
    }

    /// Starts the compiler: in a chamber where there are any, else in the private directory.
    pub fn launch(self, workshop: &Workshop) -> Result<RunningJob, Refusal> {
        if self.files.is_program() {
            let text = "bad request: the source is a program or a library; no compiler is to load it";
            return Err(Refusal::new(ExitCode::ProtocolError, text));
        }
        if workshop.sandbox.has_chambers() {
            match self.launch_confined(workshop) {
                Ok((child, streams, root, object)) => {
                    let chamber = PlainChamber { root, object, _source: self.files };
                    let place = Place::Chamber(Box::new(chamber));
                    return Ok(RunningJob::new(self.command, child, streams, place));
                }
                Err(obstacle) => obstacle.overcome(&self.command)?,
            }
        }
        let (child, streams) = self.launch_outside(workshop)?;
        Ok(RunningJob::new(self.command, child, streams, Place::Private(self.files)))
    }

    /// The compiler sees its source, and leaves the object, in a directory called like ours for temporary files: that
    /// is where 3.4 runs compilers, and what objects with debug information name.
    fn launch_confined(&self, workshop: &Workshop) -> Result<(Child, Streams, JobRoot, PathBuf), Obstacle> {
        let program = &self.command.program.path;
        let exposure = workshop.exposures.of(program);
        let directory = &workshop.temporary;
        let mut chamber = workshop.sandbox.open_chamber(&exposure, 0, 0)?;
        let source = directory.join(self.files.source.path.file_name().unwrap_or_default());
        let object = directory.join(OBJECT);
        chamber.show(&self.files.source.path, &source).map_err(Obstacle::from)?;
        let streams = Streams::inside(chamber.root())?;
        let argv = self.command.compile.command(source.as_os_str(), object.as_os_str());
        let mut environment = workshop.environments.with_language.clone();
        environment.set("TMPDIR", OsStr::new(TEMPORARY));
        let command = Command {
            program,
            argv: &argv,
            environment: &environment,
            directory: Some(directory),
            stdio: streams.descriptors(),
            group: Group::Own,
            walls: Some(workshop.sandbox.confined()),
        };
        let (child, root) = chamber
            .run(&command)
            .map_err(|failure| Obstacle::of_program(failure, &exposure, &self.command))?;
        Ok((child, streams, root, object))
    }

    fn launch_outside(&self, workshop: &Workshop) -> Result<(Child, Streams), Refusal> {
        let directory = self.files.directory.path();
        let mut argv = self
            .command
            .compile
            .command(self.files.source.path.as_os_str(), self.files.object.path.as_os_str());
        if self.command.compile.records_directory() {
            // The directory's random name must not make two objects of the same source differ.
            let mut option = OsString::from("-fdebug-prefix-map=");
            option.extend([directory.as_os_str(), "=".as_ref(), workshop.temporary.as_os_str()]);
            argv.push(option);
        }
        let program = &self.command.program.path;
        let outside = workshop.sandbox.outside(&workshop.exposures.of(program), program, directory)?;
        let streams = Streams::open()?;
        let mut environment = workshop.environments.with_language.clone();
        // The compiler's own temporary files go with the job's directory.
        environment.set("TMPDIR", directory.as_os_str());
        let child = Command {
            program,
            argv: &argv,
            environment: &environment,
            directory: Some(directory),
            stdio: streams.descriptors(),
            group: Group::Own,
            walls: Some(outside.walls()),
        }
        .spawn()
        .map_err(|error| cannot_execute(&self.command, &error))?;
        Ok((child, streams))
    }
}
