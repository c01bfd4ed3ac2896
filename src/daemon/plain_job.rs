//! A compile of preprocessed text: its private directory, its command, its process's surroundings.
//!
//! Knows files and compilers; nothing of the socket, the protocol's bytes or the other jobs.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use crate::daemon::allowance::{Pool, Share};
use crate::daemon::job::{AcceptedCommand, Place, RunningJob, Streams, Workshop, cannot_execute};
use crate::daemon::patron::Patron;
use crate::daemon::refusal::Refusal;
use crate::sys::child::{Command, Group};
use crate::sys::temp::TempDir;

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
    /// The object, if the compiler made a file.
    pub fn object(&self) -> Option<File> {
        // Opening anything else, such as a pipe, could wait for ever.
        let path = &self.object.path;
        let is_file = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
        if is_file { File::open(path).ok() } else { None }
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
        let directory = TempDir::create(&workshop.temporary, "distccd", keep)?;
        let owned = |name: OsString| OwnedPath { path: directory.path().join(name), keep };
        let source = owned(format!("distccd{}", command.compile.preprocessed_suffix()).into());
        let object = owned("distccd.o".into());
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

    /// Starts the compiler in a process group of its own, in the private directory.
    pub fn launch(self, workshop: &Workshop) -> Result<RunningJob, Refusal> {
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
        let streams = Streams::open()?;
        let mut environment = workshop.environment.clone();
        // The compiler's own temporary files go with the job's directory.
        environment.set("TMPDIR", self.files.directory.path().as_os_str());
        let child = Command {
            program: &self.command.program.path,
            argv: &argv,
            environment: &environment,
            directory: Some(self.files.directory.path()),
            stdio: [Some(streams.null.as_fd()), Some(streams.stdout.as_fd()), Some(streams.stderr.as_fd())],
            group: Group::Own,
        }
        .spawn()
        .map_err(|error| cannot_execute(&self.command, &error))?;
        Ok(RunningJob::new(self.command, child, streams, Place::Private(self.files)))
    }
}
