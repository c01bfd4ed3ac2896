//! The build's command: started with our standard streams, and signalled as if it had been started without us.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use crate::exit_code::WaitStatus;
use crate::pump::voice::Voice;
use crate::sys::child::{self, Child, Command, Environment, Group};
use crate::sys::net::{self, Ready};
use crate::sys::signal::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SignalFile};

/// Exit status of a command that is not there, as shells have it.
const NOT_FOUND: i32 = 127;
/// Exit status of one that cannot be executed.
const NOT_EXECUTABLE: i32 = 126;
/// ENOEXEC: the kernel knows no way to execute the file.
const NO_FORMAT: i32 = 8;
/// What runs a script that does not name its interpreter, as execvp(3) has it.
const SHELL: &str = "/bin/sh";

/// The signals that end a build, held back from us until we know what they mean for it.
#[derive(Debug)]
pub struct Signals(SignalFile);

impl Signals {
    /// From now on none of these signals ends this process. Call it before anything that must be undone.
    pub fn hold() -> io::Result<Signals> {
        SignalFile::open(&[SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD]).map(Signals)
    }

    /// A signal that came when there was no command yet to have it.
    pub fn came_early(&mut self) -> Option<i32> {
        std::iter::from_fn(|| self.0.read()).find(|signal| *signal != SIGCHLD)
    }
}

/// Runs the command and waits for its end; the exit status as a shell would give it. `search_path` is also where it is
/// looked for.
pub fn run(
    words: &[OsString],
    environment: &Environment,
    search_path: &OsString,
    signals: &mut Signals,
    voice: &Voice,
) -> i32 {
    let name = words[0].display();
    let started = match child::candidates(&words[0], search_path).next() {
        Some(program) => start(program, words, environment),
        None if words[0].as_encoded_bytes().contains(&b'/') => {
            Err(io::Error::from(missing_or_forbidden(words)))
        }
        None => Err(io::ErrorKind::NotFound.into()),
    };
    let ended = started.and_then(|child| wait(&child, signals));
    match ended {
        Ok(status) => status.shell_code(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            voice.error(format_args!("{name}: not found"));
            NOT_FOUND
        }
        Err(error) => {
            voice.error(format_args!("{name}: {error}"));
            NOT_EXECUTABLE
        }
    }
}

/// Why a path cannot be executed.
fn missing_or_forbidden(words: &[OsString]) -> io::ErrorKind {
    if PathBuf::from(&words[0]).exists() { io::ErrorKind::PermissionDenied } else { io::ErrorKind::NotFound }
}

fn start(program: PathBuf, words: &[OsString], environment: &Environment) -> io::Result<Child> {
    let spawn = |program: &PathBuf, argv: &[OsString]| {
        Command {
            program,
            argv,
            environment,
            directory: None,
            stdio: [None; 3],
            group: Group::Shared,
            walls: None,
        }
        .spawn()
    };
    match spawn(&program, words) {
        Err(error) if error.raw_os_error() == Some(NO_FORMAT) => {
            let mut argv = vec![SHELL.into(), program.into_os_string()];
            argv.extend_from_slice(&words[1..]);
            spawn(&PathBuf::from(SHELL), &argv)
        }
        result => result,
    }
}

/// Waits for the command's end. A terminal's signals reach it without us, since it is in our process group; those that
/// somebody sent to us alone are handed on.
fn wait(child: &Child, signals: &mut Signals) -> io::Result<WaitStatus> {
    loop {
        while let Some(received) = signals.0.receive() {
            if received.number != SIGCHLD && !received.from_kernel {
                child.pass_on(received.number);
            }
        }
        // Whoever became pump may have left it children, so the one that has ended need not be ours.
        while let Some((pid, status)) = child::reap() {
            if pid == child.pid() {
                return Ok(status);
            }
        }
        net::poll(&[(signals.0.file().as_fd(), Ready::Readable)], None)?;
    }
}
