//! The walls around compilers on this machine: what the administrator asked for, what the kernel gives, and what each
//! program is held to.
//!
//! Knows nothing of jobs and requests. See "The sandbox" in docs/design-notes.md for why each wall is there, and
//! docs/security.md for what each kernel gives.

use std::io;
use std::path::Path;

use crate::daemon::config::SandboxMode;
use crate::daemon::refusal::Refusal;
use crate::exit_code::ExitCode;
use crate::protocol::limits::OBJECT_BYTES_MAX;
use crate::sys::child::Walls;
use crate::sys::confinement::{Chamber, ChamberLimits, Failure};
use crate::sys::exposure::Exposure;
use crate::sys::landlock::{self, Place, Ruleset};
use crate::sys::process;
use crate::sys::restraint::{Restraint, Usage, counts_processes_by_namespace};
use crate::sys::seccomp::{Audience, Filter};
use crate::{log_notice, log_warning};

/// Processes and threads of one job: a driver, a compiler, an assembler and a script around them are four. In a chamber
/// the kernel refuses more; the watch over running jobs says so before.
pub(super) const TASKS_MAX: u64 = 128;
/// Descriptors that a compiler may have open: what programs are used to.
const DESCRIPTORS_MAX: u64 = 1024;
/// How much sooner than the daemon its compilers are ended when memory runs out: a job can be done again.
const EXPENDABILITY: u16 = 500;
/// What a compiler may write into its chamber, in bytes: an object, and its assembler text, which is as large.
const RESULTS_BYTES_MAX: u64 = 2 * (OBJECT_BYTES_MAX as u64 + 1);
/// Files it may make there, and directories for its outputs.
const NEW_FILES_MAX: u64 = 4096;
/// Where compilers in chambers have their temporary files.
pub(super) const TEMPORARY: &str = "/tmp";
/// Devices that programs expect, and may write to.
const DEVICES: [&str; 5] = ["/dev/full", "/dev/null", "/dev/random", "/dev/urandom", "/dev/zero"];

/// What the processes of a job may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allotment {
    /// `--job-memory`, in bytes.
    pub memory: Option<u64>,
    /// `--job-cpu`, in seconds.
    pub processor_seconds: Option<u64>,
    /// What `--oom-score-adj` has made of the daemon: compilers come before it.
    pub daemons_expendability: u16,
}

/// The walls there are.
#[derive(Debug)]
pub struct Sandbox {
    mode: SandboxMode,
    /// Whether programs have namespaces of their own.
    has_chambers: bool,
    /// Whether programs without them are held back by Landlock and seccomp.
    has_walls: bool,
    confined: Restraint,
    outside: Restraint,
    devices: Vec<Place>,
}

impl Sandbox {
    /// Limits of use alone.
    pub fn off(allotment: Allotment) -> Sandbox {
        let usage = usage(allotment);
        let restraint = || Restraint { usage, filter: None };
        Sandbox {
            mode: SandboxMode::Off,
            has_chambers: false,
            has_walls: false,
            confined: restraint(),
            outside: restraint(),
            devices: Vec::new(),
        }
    }

    /// The strongest walls this machine gives. `chambers` says why there can be no namespaces, or that there can;
    /// the error is for an administrator who requires walls where there are none.
    pub fn find(
        mode: SandboxMode,
        chambers: Result<(), String>,
        allotment: Allotment,
    ) -> Result<Sandbox, String> {
        let mut sandbox = Sandbox::off(allotment);
        if mode == SandboxMode::Off {
            log_notice!("--sandbox=off: compilers may do what this user may");
            return Ok(sandbox);
        }
        sandbox.mode = mode;
        let version = landlock::version();
        let filters = Filter::is_available();
        if filters {
            sandbox.confined.filter = Some(Filter::new(Audience::Confined));
            sandbox.outside.filter = Some(Filter::new(Audience::Unconfined));
        }
        if counts_processes_by_namespace() {
            sandbox.confined.usage.processes = Some(TASKS_MAX);
        }
        sandbox.has_walls = version > 0 && filters;
        if version > 0 {
            sandbox.devices =
                DEVICES.iter().filter_map(|device| Place::open(Path::new(device)).ok()).collect();
        }
        let named = match (version, filters) {
            (0, false) => "neither Landlock nor seccomp".to_string(),
            (0, true) => "seccomp, no Landlock".to_string(),
            (version, false) => format!("Landlock {version}, no seccomp"),
            (version, true) => format!("Landlock {version}, seccomp"),
        };
        match chambers {
            Ok(()) => {
                sandbox.has_chambers = true;
                log_notice!("sandbox: compilers run in namespaces of their own ({named})");
                Ok(sandbox)
            }
            Err(why) if sandbox.has_walls => {
                log_notice!("sandbox: compilers run without namespaces ({named}): {why}");
                Ok(sandbox)
            }
            Err(why) if mode == SandboxMode::Require => {
                Err(format!("--sandbox=require: compilers cannot be confined here ({named}): {why}"))
            }
            Err(why) => {
                log_warning!(
                    "sandbox: compilers are NOT confined ({named}): {why}; clients can make them read and write \
                     what this user may"
                );
                Ok(sandbox)
            }
        }
    }

    /// Holds the daemon itself, and all it starts, to what servers do: no connections to anywhere, and no system calls
    /// that are an administrator's. The process must have one thread.
    pub fn restrain_daemon(&mut self) -> io::Result<()> {
        process::gain_no_privileges()?;
        if let Some(ruleset) = Ruleset::for_daemon()? {
            ruleset.apply()?;
        }
        if Filter::is_available() {
            Filter::new(Audience::Daemon).apply()?;
            self.confined.filter = Some(Filter::behind(Audience::Daemon, Audience::Confined));
            self.outside.filter = Some(Filter::behind(Audience::Daemon, Audience::Unconfined));
        }
        Ok(())
    }

    /// Whether anything keeps a compiler from what it has no business with.
    pub fn confines(&self) -> bool {
        self.has_chambers || self.has_walls
    }

    /// Whether programs have namespaces of their own.
    pub fn has_chambers(&self) -> bool {
        self.has_chambers
    }

    /// An empty chamber, for a job whose own files are so many bytes in so many files, directories and links.
    pub(super) fn open_chamber(
        &self,
        exposure: &Exposure,
        bytes: u64,
        files: u64,
    ) -> Result<Chamber, Failure> {
        let made = RESULTS_BYTES_MAX.min(self.job_memory().unwrap_or(u64::MAX));
        let limits = ChamberLimits { bytes: bytes + made, files: files + NEW_FILES_MAX };
        Chamber::open(exposure, limits)
    }

    /// What a program in a chamber is held to.
    pub fn confined(&self) -> Walls<'_> {
        Walls { restraint: &self.confined, ruleset: None }
    }

    /// What a program outside a chamber is held to: it may read what `exposure` shows, and write below `directory`.
    pub fn outside(
        &self,
        exposure: &Exposure,
        program: &Path,
        directory: &Path,
    ) -> Result<Outside<'_>, Refusal> {
        let ruleset = match () {
            () if !self.has_walls && self.mode == SandboxMode::Require => {
                let text =
                    "this job cannot be confined on this server, which was started with --sandbox=require";
                return Err(Refusal::new(ExitCode::DistccFailed, text));
            }
            // A client may have brought about what keeps it from having one.
            () if !self.has_walls && self.has_chambers => {
                let text = "no namespaces can be made for this job on the server at this moment";
                return Err(Refusal::new(ExitCode::Busy, text));
            }
            () if !self.has_walls => None,
            () => {
                let ruleset = exposure.ruleset(program, directory, &self.devices).map_err(|error| {
                    Refusal::new(ExitCode::DistccFailed, format!("confine a compiler on the server: {error}"))
                })?;
                Some(ruleset)
            }
        };
        Ok(Outside { restraint: &self.outside, ruleset })
    }

    /// What the watch over running jobs holds the sum of their processes to, in bytes.
    pub fn job_memory(&self) -> Option<u64> {
        self.outside.usage.memory
    }
}

/// The walls of one program outside a chamber.
#[derive(Debug)]
pub struct Outside<'a> {
    restraint: &'a Restraint,
    ruleset: Option<Ruleset>,
}

impl Outside<'_> {
    /// The walls, for its command.
    pub fn walls(&self) -> Walls<'_> {
        Walls { restraint: self.restraint, ruleset: self.ruleset.as_ref() }
    }
}

fn usage(allotment: Allotment) -> Usage {
    Usage {
        processor_seconds: allotment.processor_seconds,
        memory: allotment.memory,
        file_bytes: Some(u64::from(OBJECT_BYTES_MAX)),
        processes: None,
        descriptors: Some(DESCRIPTORS_MAX),
        expendability: Some((allotment.daemons_expendability + EXPENDABILITY).min(1000)),
    }
}
