//! Jobs of a build that failed on a server and did not fail here: how many there were, and when it is enough for pump
//! mode to be given up (manual, DISTCC_MAX_DISCREPANCY). One byte per job in a file beside the include server's socket,
//! which `pump` reads, also that of distcc 3.4.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::client::compiler::command_text;
use crate::client::fresh_files;
use crate::client::pump;
use crate::client::session::Session;
use crate::client::settings::Settings;
use crate::client::stamp;
use crate::compiler_args::Compile;
use crate::mail::{self, Message};
use crate::{log_info, log_warning};

/// For how long a discrepancy counts where no build's end empties the file.
const COUNTS_FOR: Duration = Duration::from_secs(600);

/// The file's name.
const NAME: &str = "discrepancy_counter";

/// Most of what each compiler said that is mailed, in bytes.
const MAILED_BYTES_MAX: usize = 64 << 10;

/// What one compiler made of a job.
#[derive(Clone, Copy, Debug)]
pub struct Verdict<'a> {
    /// Where it ran.
    pub place: &'a str,
    /// Its exit code.
    pub code: i32,
    /// What it wrote to standard error.
    pub said: &'a [u8],
}

/// Counts a job on which a server's compiler and ours differ, and tells whom the user wants to be told.
pub fn note(session: &Session<'_>, compile: &Compile, verdicts: [Verdict<'_>; 2]) {
    let settings = session.settings;
    if let Some(Err(error)) = pump::discrepancies(settings).map(|counter| counter.add()) {
        log_warning!("count a discrepancy: {error}");
    }
    let Some(to) = &settings.discrepancy_mail else { return };
    if let Some(file) = changed_file(settings, compile) {
        log_info!("nobody is told of the discrepancy: {} changed during the build", file.display());
        return;
    }
    let text = message(&session.invocation.argv, verdicts);
    let message = Message { to, subject: "distcc-pump email", text: &text };
    match mail::send(message, &settings.search_path, &session.environment) {
        Ok(()) => log_info!("a message about the discrepancy was sent to {}", to.display()),
        Err(error) => log_warning!("mail a discrepancy to {}: {error}", to.display()),
    }
}

/// A file of the job that changed since the build's include server was started.
fn changed_file(settings: &Settings, compile: &Compile) -> Option<PathBuf> {
    let dependencies = compile.dependency_output(None)?;
    let socket = settings.include_server.as_ref()?;
    fresh_files::first(Path::new(&dependencies.path), socket, settings.changing_files.as_deref())
}

fn message(argv: &[OsString], verdicts: [Verdict<'_>; 2]) -> Vec<u8> {
    let mut text = b"In pump mode, a compilation on a server had another result than here.\n\n".to_vec();
    text.extend(format!("command: {}\n", command_text(argv)).into_bytes());
    if let Ok(directory) = std::env::current_dir() {
        text.extend(format!("directory: {}\n", directory.display()).into_bytes());
    }
    for Verdict { place, code, said } in verdicts {
        text.extend(format!("\nexit code on {place}: {code}\nstandard error on {place}:\n").into_bytes());
        text.extend_from_slice(&said[..said.len().min(MAILED_BYTES_MAX)]);
    }
    text
}

/// The counter of one include server.
#[derive(Clone, Debug)]
pub struct Counter {
    path: PathBuf,
    /// It belongs to no single build, so that what it counts is forgotten.
    forgets: bool,
}

impl Counter {
    /// The counter beside an include server's socket that `pump` has started for one build.
    pub fn of_build(socket: &Path) -> Counter {
        Counter { path: socket.with_file_name(NAME), forgets: false }
    }

    /// The counter of a background include server, which builds come to and go from.
    pub fn of_background(socket: &Path) -> Counter {
        Counter { forgets: true, ..Counter::of_build(socket) }
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        // One look for most jobs: there is no such file.
        let bytes = fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        if bytes > 0 && self.is_forgotten() { 0 } else { bytes }
    }

    /// Counts one more.
    pub fn add(&self) -> io::Result<()> {
        if self.is_forgotten() {
            let _ = fs::remove_file(&self.path);
        }
        File::options().append(true).create(true).open(&self.path)?.write_all(b"@")
    }

    fn is_forgotten(&self) -> bool {
        self.forgets && !stamp::is_younger(&self.path, COUNTS_FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::temp::TempDir;
    use std::time::SystemTime;

    #[test]
    fn only_the_background_server_s_counter_forgets() {
        for (make, later) in [(Counter::of_build as fn(&Path) -> Counter, 3), (Counter::of_background, 1)] {
            let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
            let counter = make(&dir.path().join("socket"));
            assert_eq!(counter.count(), 0);
            counter.add().unwrap();
            counter.add().unwrap();
            assert_eq!(counter.count(), 2);
            let file = File::options().write(true).open(dir.path().join("discrepancy_counter")).unwrap();
            file.set_modified(SystemTime::now() - COUNTS_FOR * 2).unwrap();
            assert_eq!(counter.count(), later - 1);
            counter.add().unwrap();
            assert_eq!(counter.count(), later);
        }
    }
}
