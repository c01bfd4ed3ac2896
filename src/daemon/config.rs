//! What the daemon was asked to be: its options and environment, judged.
//!
//! Knows nothing of how options are written; `applets::distccd` reads those.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::daemon::access::AccessList;
use crate::daemon::principals::ListKind;
use crate::log::Level;
use crate::sys::gssapi::Name;

/// Default of `--stats-port`.
pub const STATISTICS_PORT_DEFAULT: u16 = 3633;
/// Default of `--nice`.
pub const NICE_DEFAULT: i32 = 5;

/// Default of `--connections-per-client`: `make -j200` of two users behind one address.
pub const CONNECTIONS_EACH_DEFAULT: usize = 512;
/// Default of `--queue`: jobs of a second each that a server of 64 processors has done after a quarter of a minute. A
/// client that would wait longer is better off elsewhere.
pub const QUEUE_DEFAULT: usize = 1024;
/// Default of `--job-lifetime`: the longest compile there is, with time to spare. A compiler that sleeps has a slot for
/// ever.
pub const JOB_LIFETIME_DEFAULT: Duration = Duration::from_secs(2 * 3600);

/// Who talks to this daemon, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It listens.
    Standalone {
        /// Addresses of `--listen`; none for every address of the machine.
        addresses: Vec<SocketAddr>,
        /// The port; 0 lets the kernel choose.
        port: u16,
        /// Leave the terminal.
        detach: bool,
    },
    /// It serves one client on its standard input and output.
    Inetd,
}

/// Where the log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// `--log-file`.
    File(PathBuf),
    /// `--log-stderr`.
    Stderr,
    /// The default.
    Syslog,
}

/// What `--sandbox` asks for: how much must stand between a compiler and this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SandboxMode {
    /// No job is run without one.
    Require,
    /// The strongest there is.
    #[default]
    Auto,
    /// None.
    Off,
}

impl SandboxMode {
    /// The mode of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<SandboxMode> {
        match name {
            "require" => Some(SandboxMode::Require),
            "auto" => Some(SandboxMode::Auto),
            "off" => Some(SandboxMode::Off),
            _ => None,
        }
    }
}

/// How clients must say who they are (`--auth`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticationConfig {
    /// DISTCCD_PRINCIPAL: the server's own principal.
    pub principal: Name,
    /// `--whitelist` or `--blacklist`.
    pub list: Option<(ListKind, PathBuf)>,
}

/// The daemon's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// How clients reach it.
    pub mode: Mode,
    /// Who may, by the options.
    pub access: AccessList,
    /// `--allow-file`: who may, too; absolute.
    pub allow_file: Option<PathBuf>,
    /// `--auth`.
    pub authentication: Option<AuthenticationConfig>,
    /// `--stats`: the port for statistics; 0 lets the kernel choose.
    pub statistics_port: Option<u16>,
    /// Compilers at once.
    pub jobs: usize,
    /// `--job-lifetime`.
    pub job_lifetime: Option<Duration>,
    /// `--job-memory`, in bytes.
    pub job_memory: Option<u64>,
    /// `--job-cpu`, in seconds.
    pub job_processor_seconds: Option<u64>,
    /// `--connections`; if not given it depends on the descriptors.
    pub connections: Option<usize>,
    /// `--connections-per-client`.
    pub connections_each: usize,
    /// `--queue`.
    pub queue: usize,
    /// `--buffers`, in bytes; if not given it depends on the machine's memory.
    pub buffer_bytes: Option<u64>,
    /// `--trees`, in bytes; if not given it depends on the machine's memory, and on `jobs`.
    pub tree_bytes: Option<u64>,
    /// `--spool`, in bytes; if not given it depends on the disk.
    pub spool_bytes: Option<u64>,
    /// `--lifetime`, in seconds.
    pub lifetime: Option<u32>,
    /// `--nice`.
    pub nice: i32,
    /// `--oom-score-adj`.
    pub oom_score_adjustment: Option<i32>,
    /// `--zeroconf`: the server is announced in the local network.
    pub zeroconf: bool,
    /// `--pid-file`.
    pub pid_file: Option<PathBuf>,
    /// `--user`.
    pub user: Option<String>,
    /// `--enable-tcp-insecure`.
    pub any_compiler: bool,
    /// The same, and nobody has said who may connect by network: only in a sandbox.
    pub serves_anybody_anything: bool,
    /// `--allow-script`: compilers that may be scripts; absolute.
    pub scripts: Vec<PathBuf>,
    /// `--sandbox`.
    pub sandbox: SandboxMode,
    /// `--expose`: directories that compilers may read besides the system's; absolute.
    pub exposed: Vec<PathBuf>,
    /// Where the log goes.
    pub log: LogTarget,
    /// What it says.
    pub log_level: Level,
    /// What it reads from its environment.
    pub environment: Environment,
}

/// The daemon's environment variables (manual, ENVIRONMENT).
#[derive(Clone, Debug)]
pub struct Environment {
    /// TMPDIR, else `/tmp`.
    pub temporary: PathBuf,
    /// DISTCCD_PATH, else PATH.
    pub search_path: OsString,
    /// It is DISTCCD_PATH: somebody has chosen it for compilers.
    pub search_path_is_chosen: bool,
    /// DISTCC_CMDLIST.
    pub command_list: Option<PathBuf>,
    /// DISTCC_CMDLIST_NUMWORDS.
    pub command_list_words: usize,
    /// DISTCC_SAVE_TEMPS.
    pub save_temps: bool,
    /// DISTCCD_NAMESPACES: compilers of pump jobs have namespaces of their own, where the kernel allows it.
    pub namespaces: bool,
    /// DISTCC_TCP_DEFER_ACCEPT.
    pub defer_accept: bool,
    /// DISTCC_IO_TIMEOUT: the longest silence of a client.
    pub io_timeout: Duration,
    /// What the service manager wants to hear.
    pub manager: ManagerSettings,
}

/// How a service manager asks for news.
#[derive(Clone, Debug, Default)]
pub struct ManagerSettings {
    /// NOTIFY_SOCKET: where.
    pub socket: Option<OsString>,
    /// WATCHDOG_USEC: the longest time without a sign of life.
    pub watchdog: Option<Duration>,
}
