//! What one job has at hand on this machine: settings, host list, slots, state file, and the way to run a command
//! here. Decides nothing about where a job goes.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::PathBuf;

use crate::client::compiler::Invocation;
use crate::client::local::{self, Diagnostics};
use crate::client::settings::Settings;
use crate::exit_code::ExitCode;
use crate::hosts::backoff::Backoff;
use crate::hosts::list::{self, HostList, HostSource, Wanted};
use crate::hosts::slots::{LocalSlot, Slots};
use crate::log_warning;
use crate::monitor::state_file::{Phase, StateFile};
use crate::sys::child::Environment;
use crate::sys::process;

/// Where the system's host list may be, as distributions and local installations have it.
const SYSTEM_HOST_FILES: [&str; 2] = ["/etc/distcc/hosts", "/usr/local/etc/distcc/hosts"];

/// What a command that runs here occupies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalWork {
    /// One of `--localslots`.
    Command,
    /// One of `--localslots_cpp`.
    Preprocessor,
}

/// A job's surroundings.
#[derive(Debug)]
pub struct Session<'a> {
    /// The environment's settings.
    pub settings: &'a Settings,
    /// The command, and where its compiler is.
    pub invocation: Invocation,
    /// The environment of compilers started here.
    pub environment: Environment,
    /// The host list, or what is wrong with it.
    pub hosts: Result<HostList, String>,
    /// The slots; none without a usable lock directory.
    pub slots: Option<Slots>,
    /// What monitors see.
    pub state: StateFile,
    lock_directory: Option<PathBuf>,
}

impl<'a> Session<'a> {
    /// Reads the host list and finds the lock directory.
    pub fn new(invocation: Invocation, settings: &'a Settings) -> Session<'a> {
        let lock_directory = settings.lock_directory();
        let slots = lock_directory.as_ref().and_then(|directory| {
            if settings.directory_is_ours {
                let _ = fs::create_dir(directory.parent().expect("BUG: a directory in a directory"));
            }
            Slots::open(directory, settings.pause).map_err(|error| log_warning!("{error}")).ok()
        });
        if lock_directory.is_none() {
            log_warning!("neither DISTCC_DIR nor HOME is set: no slots, no distribution");
        }
        Session {
            environment: invocation.environment(),
            invocation,
            hosts: read_hosts(settings),
            slots,
            state: StateFile::new(OsStr::new("")),
            settings,
            lock_directory,
        }
    }

    /// For a command that is looked at and not distributed: no directory is made, and there are no slots.
    pub fn of_onlooker(invocation: Invocation, settings: &'a Settings) -> Session<'a> {
        Session {
            environment: invocation.environment(),
            invocation,
            hosts: read_hosts(settings),
            slots: None,
            state: StateFile::new(OsStr::new("")),
            settings,
            lock_directory: settings.lock_directory(),
        }
    }

    /// Lets monitors see a job for this source from now on.
    pub fn announce(&mut self, source: &OsStr) {
        self.state = StateFile::new(source);
        if let Some(directory) = self.settings.state_directory() {
            self.state.open(&directory);
        }
    }

    /// The memory of hosts that failed.
    pub fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(self.lock_directory.as_ref()?, self.settings.backoff_period))
    }

    /// Warns once per build; see [`crate::client::notice`].
    pub fn warn_once(&self, text: &str) {
        crate::client::notice::warn_once(self.lock_directory.as_deref(), text);
    }

    /// Runs a command here, in a slot for it, and returns its status as a shell would.
    pub fn run_here(&mut self, argv: &[OsString], work: LocalWork, diagnostics: Diagnostics) -> i32 {
        self.run_and_hear(argv, work, diagnostics).0
    }

    /// The same; also returns what the command said and was shown, if it was captured.
    pub fn run_and_hear(
        &mut self,
        argv: &[OsString],
        work: LocalWork,
        diagnostics: Diagnostics,
    ) -> (i32, Vec<u8>) {
        let _slot = self.local_slot(work);
        let ended = local::run(argv, &self.invocation, &self.environment, diagnostics);
        ended.map_or_else(|code| (code.number(), Vec::new()), |ended| (ended.status.shell_code(), ended.said))
    }

    /// Runs a command here for which a slot is held already.
    pub fn run_unslotted(&self, argv: &[OsString], diagnostics: Diagnostics) -> i32 {
        local::run(argv, &self.invocation, &self.environment, diagnostics)
            .map_or_else(ExitCode::number, |ended| ended.status.shell_code())
    }

    /// A slot on this machine; none where slots cannot be had, because then the work is still to be done.
    pub fn local_slot(&mut self, work: LocalWork) -> Option<LocalSlot> {
        let list = self.hosts.as_ref().ok();
        let (limit, phase) = match work {
            LocalWork::Command => {
                (list.map_or(list::LOCAL_SLOTS_DEFAULT, |list| list.local_slots), Phase::Compile)
            }
            LocalWork::Preprocessor => {
                (list.map_or(list::LOCAL_CPP_SLOTS_DEFAULT, |list| list.local_cpp_slots), Phase::Preprocess)
            }
        };
        let state = &mut self.state;
        match self.slots.as_ref()?.take_local(limit, || state.set(Phase::Blocked, "localhost", 0)) {
            Ok(slot) => {
                state.set(phase, "localhost", slot.slot());
                Some(slot)
            }
            Err(error) => {
                log_warning!("{error}");
                None
            }
        }
    }
}

/// The host list that applies (manual, "Host Specifications"), shuffled if it asks for that.
pub fn read_hosts(settings: &Settings) -> Result<HostList, String> {
    let source = host_source(settings)?;
    let directory = settings.directory.as_deref();
    let mut find = |wanted: &Wanted| wanted.find(directory, &settings.search_path);
    let found = HostList::parse_and_find(&source.text, &source.name, &mut find);
    let mut list = found.map_err(|error| error.to_string())?;
    if list.randomize {
        list.shuffle(process::random_seed());
    }
    Ok(list)
}

/// The text of that list, and where it is from.
pub fn host_source(settings: &Settings) -> Result<HostSource, String> {
    let files = host_files(settings);
    let files: Vec<_> = files.iter().map(PathBuf::as_path).collect();
    list::find(settings.hosts.as_deref(), &files).map_err(|error| error.to_string())
}

/// The files that may hold the list, in the order in which they are looked for.
pub fn host_files(settings: &Settings) -> Vec<PathBuf> {
    let own = settings.directory.as_ref().map(|directory| directory.join("hosts"));
    own.into_iter().chain(SYSTEM_HOST_FILES.map(PathBuf::from)).collect()
}
