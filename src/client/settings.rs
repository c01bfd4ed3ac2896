//! Everything the client reads from its environment, read once and passed down (manual, "Environment Variables").

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use crate::exit_code::ExitCode;
use crate::log_error;
use crate::protocol::surroundings::VARIABLES;

/// Default of DISTCC_BACKOFF_PERIOD, in seconds.
const BACKOFF_SECONDS_DEFAULT: i64 = 60;
/// Default of DISTCC_IO_TIMEOUT, in seconds.
const IO_SECONDS_DEFAULT: i64 = 300;
/// Default of DISTCC_CONNECT_TIMEOUT, in seconds.
const CONNECT_SECONDS_DEFAULT: i64 = 4;
/// Default of DISTCC_PAUSE_TIME_MSEC.
const PAUSE_MILLISECONDS_DEFAULT: i64 = 1000;
/// Default of DISTCC_MAX_DISCREPANCY.
const DISCREPANCIES_DEFAULT: i64 = 1;
/// Default of DISTCC_EMAILLOG_WHOM_TO_BLAME.
const MAIL_RECIPIENT_DEFAULT: &str = "distcc-pump-errors";
/// The longest time any of them can ask for, in seconds (about a year), so that adding it to a clock is safe.
const SECONDS_MAX: i64 = 366 * 24 * 3600;

/// Variables of gcc and clang that change what a command does, and that no server knows of.
const HIDDEN_OPTIONS: [&str; 4] =
    ["CCC_OVERRIDE_OPTIONS", "COMPILER_PATH", "GCC_COMPARE_DEBUG", "GCC_EXEC_PREFIX"];

/// The client's environment.
#[derive(Clone, Debug)]
pub struct Settings {
    /// DISTCC_HOSTS: the host list, even when empty.
    pub hosts: Option<String>,
    /// DISTCC_DIR, else `~/.distcc`; none without a home.
    pub directory: Option<PathBuf>,
    /// It is `~/.distcc`, which is made if missing; DISTCC_DIR is the user's to make.
    pub directory_is_ours: bool,
    /// DISTCC_FALLBACK: whether a job that cannot be distributed may run locally.
    pub fallback: bool,
    /// DISTCC_SKIP_LOCAL_RETRY: a remote compile error is final.
    pub skip_local_retry: bool,
    /// DISTCC_NO_REWRITE_CROSS unset: compiler names are completed.
    pub rewrite_names: bool,
    /// DISTCC_BACKOFF_PERIOD: how long a failing host is avoided; zero disables it.
    pub backoff_period: Duration,
    /// DISTCC_IO_TIMEOUT: the longest silence of a server.
    pub io_timeout: Duration,
    /// DISTCC_CONNECT_TIMEOUT: resolving and connecting, over all addresses of a host.
    pub connect_timeout: Duration,
    /// DISTCC_PAUSE_TIME_MSEC: how long to wait for a slot that nothing announces.
    pub pause: Duration,
    /// DISTCC_SAVE_TEMPS: keep what the preprocessor wrote.
    pub save_temps: bool,
    /// DISTCC_TCP_CORK: let the kernel fill its packets.
    pub cork: bool,
    /// DISTCC_SSH: the words of the connection command.
    pub ssh: Vec<OsString>,
    /// DISTCC_PRINCIPAL: the service that hosts with `,auth` must be.
    pub principal: Option<String>,
    /// TMPDIR, else `/tmp`.
    pub temporary: PathBuf,
    /// PATH as it was inherited.
    pub search_path: OsString,
    /// _DISTCC_SAFEGUARD: how many distccs this one was started through; none outside of any.
    pub safeguard: Option<u32>,
    /// INCLUDE_SERVER_PORT: the socket of the build's include server.
    pub include_server: Option<PathBuf>,
    /// SUDO_UID: who became root to run this, by number.
    pub sudo_user: Option<u32>,
    /// INCLUDE_SERVER_STUB: what an include server would answer, for tests.
    pub include_server_stub: Option<OsString>,
    /// DISTCC_TESTING_INCLUDE_SERVER: a job fails when its include server does.
    pub testing_include_server: bool,
    /// DISTCC_PUMP: whether an include server is started where none is named.
    pub pump: bool,
    /// DISTCC_MAX_DISCREPANCY: how many jobs may fail only on servers before pump mode is given up.
    pub discrepancies_max: u64,
    /// Who is told about such jobs: DISTCC_EMAILLOG_WHOM_TO_BLAME, with DISTCC_ENABLE_DISCREPANCY_EMAIL=1.
    pub discrepancy_mail: Option<OsString>,
    /// DISTCC_EXCLUDE_FRESH_FILES: a glob for files that change during a build and explain no discrepancy.
    pub changing_files: Option<OsString>,
    /// DEPENDENCIES_OUTPUT or SUNPRO_DEPENDENCIES: compilers append to a file of this machine.
    pub names_dependency_file: bool,
    /// The first variable that gives compilers options of its own, or other programs to run.
    pub hidden_options: Option<&'static str>,
    /// PWD, true or not.
    pub working_directory: Option<PathBuf>,
    /// COLUMNS: the width of the user's terminal, if it says so.
    pub columns: Option<u16>,
    /// XDG_RUNTIME_DIR.
    pub runtime_directory: Option<PathBuf>,
    /// TERM says that a terminal shows colours.
    pub terminal_colours: bool,
    /// NO_COLOR, which clang obeys.
    pub no_colour: bool,
    /// GCC_COLORS is set to nothing, which gcc obeys.
    pub no_gcc_colours: bool,
}

impl Settings {
    /// Reads the environment. A number that makes no sense is reported and ends with [`ExitCode::BadArguments`].
    pub fn from_environment() -> Result<Settings, ExitCode> {
        let pause = number("DISTCC_PAUSE_TIME_MSEC", PAUSE_MILLISECONDS_DEFAULT, 0)?;
        let home = non_empty("HOME").map(|home| PathBuf::from(home).join(".distcc"));
        Ok(Settings {
            hosts: env::var_os("DISTCC_HOSTS").map(|hosts| hosts.to_string_lossy().into_owned()),
            directory_is_ours: non_empty("DISTCC_DIR").is_none(),
            directory: non_empty("DISTCC_DIR").map(PathBuf::from).or(home),
            fallback: flag("DISTCC_FALLBACK", true),
            skip_local_retry: env::var_os("DISTCC_SKIP_LOCAL_RETRY").is_some(),
            rewrite_names: env::var_os("DISTCC_NO_REWRITE_CROSS").is_none(),
            backoff_period: seconds("DISTCC_BACKOFF_PERIOD", BACKOFF_SECONDS_DEFAULT, 0)?,
            io_timeout: seconds("DISTCC_IO_TIMEOUT", IO_SECONDS_DEFAULT, 1)?,
            connect_timeout: seconds("DISTCC_CONNECT_TIMEOUT", CONNECT_SECONDS_DEFAULT, 1)?,
            pause: Duration::from_millis(pause as u64),
            save_temps: flag("DISTCC_SAVE_TEMPS", false),
            cork: flag("DISTCC_TCP_CORK", true),
            ssh: words(&env::var_os("DISTCC_SSH").unwrap_or_else(|| "ssh".into())),
            principal: non_empty("DISTCC_PRINCIPAL").map(|name| name.to_string_lossy().into_owned()),
            temporary: non_empty("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from),
            search_path: env::var_os("PATH").unwrap_or_default(),
            safeguard: env::var("_DISTCC_SAFEGUARD").ok().map(|level| match level.trim().parse() {
                Ok(0) | Err(_) => 1,
                Ok(level) => level,
            }),
            include_server: non_empty("INCLUDE_SERVER_PORT").map(PathBuf::from),
            sudo_user: env::var("SUDO_UID").ok().and_then(|number| number.parse().ok()),
            include_server_stub: non_empty("INCLUDE_SERVER_STUB"),
            testing_include_server: non_empty("DISTCC_TESTING_INCLUDE_SERVER")
                .is_some_and(|value| value != "0"),
            pump: flag("DISTCC_PUMP", true),
            discrepancies_max: number("DISTCC_MAX_DISCREPANCY", DISCREPANCIES_DEFAULT, 1)? as u64,
            discrepancy_mail: flag("DISTCC_ENABLE_DISCREPANCY_EMAIL", false).then(|| {
                non_empty("DISTCC_EMAILLOG_WHOM_TO_BLAME").unwrap_or_else(|| MAIL_RECIPIENT_DEFAULT.into())
            }),
            changing_files: non_empty("DISTCC_EXCLUDE_FRESH_FILES"),
            names_dependency_file: env::var_os("DEPENDENCIES_OUTPUT").is_some()
                || env::var_os("SUNPRO_DEPENDENCIES").is_some(),
            hidden_options: HIDDEN_OPTIONS.into_iter().find(|name| env::var_os(name).is_some()),
            working_directory: non_empty("PWD").map(PathBuf::from),
            columns: env::var("COLUMNS")
                .ok()
                .and_then(|columns| columns.parse().ok())
                .filter(|width| *width > 0),
            runtime_directory: non_empty("XDG_RUNTIME_DIR").map(PathBuf::from),
            terminal_colours: env::var_os("TERM").is_some_and(|term| term != "dumb" && !term.is_empty()),
            no_colour: env::var_os("NO_COLOR").is_some(),
            no_gcc_colours: env::var_os("GCC_COLORS").is_some_and(|colours| colours.is_empty()),
        })
    }

    /// The directory of slot and back-off files.
    pub fn lock_directory(&self) -> Option<PathBuf> {
        self.directory.as_ref().map(|directory| directory.join("lock"))
    }

    /// The directory of state files.
    pub fn state_directory(&self) -> Option<PathBuf> {
        self.directory.as_ref().map(|directory| directory.join("state"))
    }
}

/// How the client logs: DISTCC_VERBOSE, DISTCC_LOG and UNCACHED_ERR_FD.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// DISTCC_VERBOSE=1.
    pub verbose: bool,
    /// DISTCC_LOG.
    pub file: Option<PathBuf>,
    /// UNCACHED_ERR_FD, where ccache wants what it must not cache.
    pub uncached_descriptor: Option<i32>,
}

impl LogSettings {
    /// Reads the environment; nothing in it can be wrong.
    pub fn from_environment() -> LogSettings {
        LogSettings {
            verbose: flag("DISTCC_VERBOSE", false),
            file: non_empty("DISTCC_LOG").map(PathBuf::from),
            uncached_descriptor: env::var("UNCACHED_ERR_FD")
                .ok()
                .and_then(|number| number.parse().ok())
                .filter(|number| *number > 0),
        }
    }
}

/// Variables of others, which the doctor looks at because they decide what becomes of distcc's work.
#[derive(Clone, Debug)]
pub struct Neighbours {
    /// CCACHE_PREFIX: what ccache puts before a compiler's command.
    pub ccache_prefix: Option<OsString>,
    /// CCACHE_DISABLE is set: ccache only passes commands on.
    pub ccache_is_off: bool,
}

impl Neighbours {
    /// Reads the environment.
    pub fn from_environment() -> Neighbours {
        Neighbours {
            ccache_prefix: non_empty("CCACHE_PREFIX"),
            ccache_is_off: env::var_os("CCACHE_DISABLE").is_some(),
        }
    }
}

/// The compiler's own variables that name include directories (gcc(1), ENVIRONMENT).
#[derive(Clone, Debug, Default)]
pub struct CompilerPaths {
    /// CPATH.
    pub all: Option<OsString>,
    /// C_INCLUDE_PATH.
    pub c: Option<OsString>,
    /// CPLUS_INCLUDE_PATH.
    pub cxx: Option<OsString>,
    /// OBJC_INCLUDE_PATH.
    pub objective_c: Option<OsString>,
    /// OBJCPLUS_INCLUDE_PATH.
    pub objective_cxx: Option<OsString>,
}

impl CompilerPaths {
    /// Reads the environment.
    pub fn from_environment() -> CompilerPaths {
        CompilerPaths {
            all: env::var_os("CPATH"),
            c: env::var_os("C_INCLUDE_PATH"),
            cxx: env::var_os("CPLUS_INCLUDE_PATH"),
            objective_c: env::var_os("OBJC_INCLUDE_PATH"),
            objective_cxx: env::var_os("OBJCPLUS_INCLUDE_PATH"),
        }
    }
}

/// The variables that travel with a job which a server preprocesses, as far as they are set.
pub fn travelling_variables() -> impl Iterator<Item = (&'static str, OsString)> {
    VARIABLES.iter().filter_map(|name| Some((*name, env::var_os(name)?)))
}

/// A variable that is true for exactly `1` and false for exactly `0`.
fn flag(name: &str, default: bool) -> bool {
    match env::var_os(name) {
        Some(value) if value == "1" => true,
        Some(value) if value == "0" => false,
        _ => default,
    }
}

fn non_empty(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

fn number(name: &str, default: i64, least: i64) -> Result<i64, ExitCode> {
    let Some(value) = non_empty(name) else { return Ok(default) };
    match value.to_str().and_then(|text| text.trim().parse::<i64>().ok()) {
        Some(number) if number >= least => Ok(number.min(SECONDS_MAX)),
        _ => {
            log_error!("{name}={}: want a whole number of at least {least}", value.to_string_lossy());
            Err(ExitCode::BadArguments)
        }
    }
}

fn seconds(name: &str, default: i64, least: i64) -> Result<Duration, ExitCode> {
    number(name, default, least).map(|seconds| Duration::from_secs(seconds as u64))
}

/// A command's words, split at blanks; there is no quoting, and no shell.
fn words(command: &OsStr) -> Vec<OsString> {
    command
        .as_bytes()
        .split(|byte| byte.is_ascii_whitespace())
        .filter(|word| !word.is_empty())
        .map(|word| OsString::from_vec(word.to_vec()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_commands_are_split_at_blanks() {
        assert_eq!(words(OsStr::new(" ssh  -o\tBatchMode=yes ")), ["ssh", "-o", "BatchMode=yes"]);
        assert!(words(OsStr::new("")).is_empty());
    }
}
