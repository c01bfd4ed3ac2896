//! The include server of a build: its private directory, its start, its end and what it has to say then.
//!
//! Knows its options and its files, and not what it does for clients.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{self, Path, PathBuf};
use std::time::Duration;

use crate::pump::settings::{Settings, TEMPORARY_DEFAULT};
use crate::pump::shell_words;
use crate::pump::voice::Voice;
use crate::sys::child::{Command, Environment, Group, Signal};
use crate::sys::foreign_process::ForeignProcess;
use crate::sys::process::{self, FileIdentity};
use crate::sys::temp;

/// What it is called, by us and in lists of processes.
const NAME: &str = "include_server";
/// What its directories are called, before a random part.
const DIRECTORY_PREFIX: &str = "distcc-pump.";
/// The longest path of a directory, in bytes: with `/socket.direct` behind it, it must fit a socket's address.
const DIRECTORY_BYTES_MAX: usize = 107 - "/socket.direct".len();
/// How many random names are tried for it.
const NAME_ATTEMPTS_MAX: u32 = 100;
/// When a server that `pump --startup` left behind gives up waiting for requests, in seconds: a working day, so that
/// forgotten ones do not gather, and a long link does not lose its server.
const IDLE_SECONDS: &str = "28800";
/// How long a server may take to end when told to, before it is killed.
const END_TIME_MAX: Duration = Duration::from_secs(10);

/// What ends an include server if nobody tells it to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// The end of this process, whatever its cause.
    OfThisProcess,
    /// A day without requests.
    UntilIdle,
}

/// An include server that is ready for requests.
#[derive(Debug)]
pub struct IncludeServer {
    /// Its process; none if its number makes no sense.
    pub pid: Option<i32>,
    /// Its private directory.
    pub directory: PathBuf,
    /// A pipe it waits at for our end.
    _alive: Option<io::PipeWriter>,
}

impl IncludeServer {
    /// Starts a server, and returns when it takes requests. What prevents that is said in detail.
    pub fn start(lifetime: Lifetime, settings: &Settings, voice: &Voice) -> Option<IncludeServer> {
        let words = match shell_words::split(&settings.server_arguments) {
            Ok(words) => words,
            Err(error) => {
                voice.error(format_args!("INCLUDE_SERVER_ARGS: {error}"));
                return None;
            }
        };
        let directory = match make_directory(&settings.temporary) {
            Ok(directory) => directory,
            Err(error) => {
                let parent = settings.temporary.display();
                voice.error(format_args!("make a directory in {parent}: {error}"));
                return None;
            }
        };
        let mut server = IncludeServer { pid: None, directory, _alive: None };
        let run = server.run(lifetime, words);
        server.pid = fs::read(server.directory.join("pid")).ok().and_then(|text| number(&text));
        let socket = server.socket();
        match run {
            Ok(()) if server.pid.is_some() && socket.exists() => return Some(server),
            Ok(()) => voice.warning(format_args!("Expected a socket at '{}'", socket.display())),
            Err(error) => voice.error(format_args!("start {NAME}: {error}")),
        }
        voice.warning(format_args!("Could not start distcc-pump include server"));
        // All of it to standard error: nothing but variables belongs into an answer for `eval`.
        server.end();
        for name in ["stdout", "stderr"] {
            server.show(name, &mut io::stderr());
        }
        server.remove_directory(voice);
        None
    }

    /// The server that an earlier `pump --startup` has started, if the environment names one.
    pub fn from_environment(settings: &Settings) -> Option<IncludeServer> {
        let pid = number(settings.server_pid.as_ref()?.as_bytes());
        let directory = settings.server_directory.clone()?;
        Some(IncludeServer { pid, directory, _alive: None })
    }

    /// Where it takes requests.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    /// Its first process ends when the server, its child, takes requests or cannot be one.
    fn run(&mut self, lifetime: Lifetime, words: Vec<OsString>) -> io::Result<()> {
        // Until the server has been started; it alone inherits this end.
        let end_of_build: io::PipeReader;
        let option = match lifetime {
            Lifetime::OfThisProcess => {
                let (read, write) = io::pipe()?;
                process::let_inherit(read.as_fd())?;
                (end_of_build, self._alive) = (read, Some(write));
                ["--exit-on-eof".to_owned(), end_of_build.as_raw_fd().to_string()]
            }
            Lifetime::UntilIdle => ["--idle-timeout".to_owned(), IDLE_SECONDS.to_owned()],
        };
        let null = File::open("/dev/null")?;
        let (stdout, stderr) =
            (File::create(self.directory.join("stdout"))?, File::create(self.directory.join("stderr"))?);
        let mut argv: Vec<OsString> = vec![NAME.into(), "--port".into(), self.socket().into()];
        argv.extend(["--pid_file".into(), self.directory.join("pid").into(), "-d1".into()]);
        argv.extend(option.map(OsString::from));
        argv.extend(words);
        let child = Command {
            program: &own_program()?,
            argv: &argv,
            environment: &Environment::inherited(),
            directory: None,
            stdio: [Some(null.as_fd()), Some(stdout.as_fd()), Some(stderr.as_fd())],
            group: Group::Shared,
            walls: None,
        }
        .spawn()?;
        // How it ended says nothing that the socket and the process number do not say.
        child.wait().map(drop)
    }

    /// Ends the server, says what there is to say of the build, and removes the server's directory.
    pub fn shut_down(self, discrepancies_max: u64, voice: &Voice) {
        let counter = fs::metadata(self.directory.join("discrepancy_counter"));
        let count = counter.map_or(0, |file| file.len());
        if count > 0 {
            voice.warning(format_args!(
                "Warning: {count} pump-mode compilation(s) failed on server, but succeeded locally."
            ));
            if count >= discrepancies_max {
                voice.warning(format_args!("Distcc-pump was demoted to plain mode."));
            }
            voice.advice(format_args!(
                "See the Distcc Discrepancy Symptoms section in the include_server(1) man page."
            ));
        }
        if self.process().is_some() {
            voice.progress(format_args!("Shutting down distcc-pump include server"));
            self.end();
        } else if self.directory.is_dir() {
            voice.warning(format_args!(
                "Warning: the include server had ended before the build; what came later was preprocessed here."
            ));
        }
        self.show("stdout", &mut io::stdout());
        self.show("stderr", &mut io::stderr());
        self.remove_directory(voice);
    }

    fn end(&self) {
        let Some(process) = self.process() else { return };
        process.signal(Signal::Terminate);
        if !process.wait(END_TIME_MAX) {
            process.signal(Signal::Kill);
            process.wait(END_TIME_MAX);
        }
    }

    /// The server's process, if it lives. The number may be old and another's: only a process whose command names the
    /// socket is the server.
    fn process(&self) -> Option<ForeignProcess> {
        let process = ForeignProcess::open(self.pid?)?;
        let command = fs::read(format!("/proc/{}/cmdline", self.pid?)).unwrap_or_default();
        let socket = self.socket();
        let names_socket = command
            .windows(socket.as_os_str().len().max(1))
            .any(|part| part == socket.as_os_str().as_bytes());
        names_socket.then_some(process)
    }

    /// Shows what the server wrote to one of its standard streams.
    fn show(&self, name: &str, to: &mut dyn io::Write) {
        if let Ok(mut file) = File::open(self.directory.join(name)) {
            let _ = io::copy(&mut file, to);
        }
    }

    /// Only ever a directory that looks like one of ours: the environment may name any.
    fn remove_directory(&self, voice: &Voice) {
        let name = self.directory.file_name().unwrap_or_default();
        let Ok(metadata) = fs::symlink_metadata(&self.directory) else { return };
        if !name.as_bytes().starts_with(DIRECTORY_PREFIX.as_bytes())
            || !metadata.is_dir()
            || metadata.mode() & 0o077 != 0
        {
            voice.error(format_args!("keep {}: not a directory of pump's", self.directory.display()));
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            voice.error(format_args!("remove {}: {error}", self.directory.display()));
        }
    }
}

/// Makes the server's directory, in `/tmp` where `parent` is too long for the address of a socket.
fn make_directory(parent: &Path) -> io::Result<PathBuf> {
    let parent = path::absolute(parent)?;
    for _ in 0..NAME_ATTEMPTS_MAX {
        let name = format!("{DIRECTORY_PREFIX}{}", temp::random_name());
        let mut path = parent.join(&name);
        if path.as_os_str().len() > DIRECTORY_BYTES_MAX {
            path = Path::new(TEMPORARY_DEFAULT).join(&name);
        }
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => return result.map(|()| path),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// This very program: the options are those that it understands. By the server's name if that is a link to it, for
/// those who look at lists of processes.
fn own_program() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let named = program.with_file_name(NAME);
    let own = FileIdentity::of_own_executable();
    Ok(if own.is_some() && FileIdentity::of(&named) == own { named } else { program })
}

/// A process number as a file or a variable holds it.
fn number(text: &[u8]) -> Option<i32> {
    str::from_utf8(text.trim_ascii()).ok()?.parse().ok().filter(|number| *number > 0)
}
