//! Running a command on this machine, within the slots for that.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use crate::client::compiler::{Invocation, command_text};
use crate::exit_code::{ExitCode, WaitStatus};
use crate::sys::child::{self, Command, Environment, Group};
use crate::sys::lock::WritersTurn;
use crate::sys::process;
use crate::sys::signal::{self, CleanupChild};
use crate::sys::temp;
use crate::{log_error, log_info};

/// Where the command's diagnostics go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Diagnostics {
    /// Straight to our standard error: the command may be talking to a person.
    AsTheyCome,
    /// To our standard error when it has ended, in one piece.
    InOnePiece,
}

/// How a command has ended.
#[derive(Debug)]
pub struct Ended {
    /// Its status.
    pub status: WaitStatus,
    /// What it said and was shown, as far as it was captured.
    pub said: Vec<u8>,
}

/// Runs a command and waits for it. The error is the exit code for a command that could not be started.
pub fn run(
    argv: &[OsString],
    invocation: &Invocation,
    environment: &Environment,
    diagnostics: Diagnostics,
) -> Result<Ended, ExitCode> {
    let program = invocation.find(&argv[0]).ok_or_else(|| {
        log_error!("execute {}: not found on PATH={}", argv[0].display(), invocation.search_path.display());
        ExitCode::CompilerMissing
    })?;
    log_info!("exec on localhost: {}", command_text(argv));
    let captured = match diagnostics {
        Diagnostics::AsTheyCome => None,
        // Without memory for it the text is still better late and mixed than lost.
        Diagnostics::InOnePiece => temp::anonymous("diagnostics").ok(),
    };
    let command = Command {
        program: &program,
        argv,
        environment,
        directory: None,
        stdio: [None, None, captured.as_ref().map(File::as_fd)],
        group: Group::Shared,
        walls: None,
    };
    let child = command.spawn().map_err(|error| {
        log_error!("execute {}: {error}", program.display());
        ExitCode::CompilerMissing
    })?;
    let cleanup = CleanupChild::new(child.pid());
    let status = child.wait().map_err(|error| {
        log_error!("wait for {}: {error}", program.display());
        ExitCode::IoError
    })?;
    drop(cleanup);
    let mut said = Vec::new();
    if let Some(mut captured) = captured {
        match temp::read_back(&mut captured, u64::MAX) {
            Ok(text) => said = text,
            Err(error) => log_error!("read the diagnostics of {}: {error}", program.display()),
        }
    }
    show(&said);
    if let Some(signal) = status.signal() {
        log_error!("{} died of signal {signal} ({})", argv[0].display(), signal::description(signal));
    }
    Ok(Ended { status, said })
}

/// Makes way for the command: this process becomes it. Returns only if that fails.
pub fn become_command(invocation: &Invocation) -> ExitCode {
    let argv = &invocation.argv;
    match invocation.find(&argv[0]) {
        Some(program) => {
            let error = child::replace_process(&program, argv, &invocation.environment());
            log_error!("execute {}: {error}", program.display());
        }
        None => log_error!("execute {}: not found on PATH", argv[0].display()),
    }
    ExitCode::CompilerMissing
}

/// Writes diagnostics to standard error in one piece, also where other jobs write at the same time: what does
/// not fit into a pipe at once would be mixed with theirs.
pub fn show(text: &[u8]) {
    if text.is_empty() {
        return;
    }
    // Mixed is better than lost, for the few files that cannot be locked.
    let _turn = process::duplicate_descriptor(2).and_then(WritersTurn::wait);
    // Nobody is left to be told if standard error is closed.
    let _ = io::stderr().write_all(text);
}
