//! Everything pump reads from its environment, read once and passed down (manual, pump(1), "Environment").

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

/// Where temporary files go without TMPDIR.
pub const TEMPORARY_DEFAULT: &str = "/tmp";

/// Pump's environment.
#[derive(Clone, Debug)]
pub struct Settings {
    /// DISTCC_LOCATION: the directory of the programs.
    pub location: Option<PathBuf>,
    /// DISTCC_POTENTIAL_HOSTS: servers to look for, in blank-separated words.
    pub potential_hosts: Option<OsString>,
    /// LSDISTCC_ARGS: words for `lsdistcc`, which looks for them.
    pub lister_arguments: OsString,
    /// DISTCC_HOSTS, unless it is empty.
    pub hosts: Option<OsString>,
    /// DISTCC_HOSTS is set and empty.
    pub hosts_are_empty: bool,
    /// INCLUDE_SERVER_ARGS: words for the include server, quoted as for a shell.
    pub server_arguments: OsString,
    /// INCLUDE_SERVER_PID, from an earlier `pump --startup`.
    pub server_pid: Option<OsString>,
    /// INCLUDE_SERVER_DIR, from an earlier `pump --startup`.
    pub server_directory: Option<PathBuf>,
    /// DISTCC_MAX_DISCREPANCY, unread: what makes no sense is reported.
    pub discrepancies_max: Option<OsString>,
    /// DISTCC_TESTING_INCLUDE_SERVER: say nothing of what goes well.
    pub silent: bool,
    /// TMPDIR, else [`TEMPORARY_DEFAULT`].
    pub temporary: PathBuf,
    /// PATH.
    pub search_path: OsString,
}

impl Settings {
    /// Reads the environment; what can be wrong in it is judged where it is used.
    pub fn from_environment() -> Settings {
        Settings {
            location: non_empty("DISTCC_LOCATION").map(PathBuf::from),
            potential_hosts: non_empty("DISTCC_POTENTIAL_HOSTS"),
            lister_arguments: env::var_os("LSDISTCC_ARGS").unwrap_or_default(),
            hosts: non_empty("DISTCC_HOSTS"),
            hosts_are_empty: env::var_os("DISTCC_HOSTS").is_some_and(|hosts| hosts.is_empty()),
            server_arguments: env::var_os("INCLUDE_SERVER_ARGS").unwrap_or_default(),
            server_pid: non_empty("INCLUDE_SERVER_PID"),
            server_directory: non_empty("INCLUDE_SERVER_DIR").map(PathBuf::from),
            discrepancies_max: non_empty("DISTCC_MAX_DISCREPANCY"),
            silent: non_empty("DISTCC_TESTING_INCLUDE_SERVER").is_some_and(|value| value != "0"),
            temporary: non_empty("TMPDIR").map_or_else(|| PathBuf::from(TEMPORARY_DEFAULT), PathBuf::from),
            search_path: env::var_os("PATH").unwrap_or_default(),
        }
    }
}

fn non_empty(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}
