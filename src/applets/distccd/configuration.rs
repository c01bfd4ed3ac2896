//! From the options and the environment of `distccd` to a configuration.

use std::env;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::applets::distccd::options::{Options, bad_option};
use crate::applets::standard_input::Input;
use crate::daemon::access::AccessList;
use crate::daemon::config::{
    AuthenticationConfig, CONNECTIONS_EACH_DEFAULT, Config, Environment, JOB_LIFETIME_DEFAULT, LogTarget,
    ManagerSettings, Mode, NICE_DEFAULT, QUEUE_DEFAULT, STATISTICS_PORT_DEFAULT, SandboxMode,
};
use crate::daemon::principals::ListKind;
use crate::daemon::run;
use crate::exit_code::ExitCode;
use crate::log::Level;
use crate::protocol::PORT_DEFAULT;
use crate::sys::gssapi::{self, Name};
use crate::sys::{process, process_tree, resolve};
use crate::{log_error, log_warning};

/// How long the name given to `--listen` may take to resolve.
const RESOLVE_TIME_MAX: Duration = Duration::from_secs(10);
/// Jobs beyond the number of processors, so that one compiles while another is transferred.
const EXTRA_JOBS: usize = 2;
/// Most compilers at once; no machine profits from more.
const JOBS_MAX: usize = 10_000;
/// Default of DISTCC_IO_TIMEOUT, in seconds.
const IO_SECONDS_DEFAULT: u64 = 300;
/// Least default of `--job-memory`, in bytes: what a large C++ source takes.
const JOB_MEMORY_MIN: u64 = 1 << 30;
/// Most descriptors that a service manager may pass: systemd's own limit for one service is higher, its use is not.
const PASSED_MAX: usize = 256;
/// Default of `--job-cpu`, in seconds: sources that take a compiler minutes are rare, an hour is a loop.
const JOB_SECONDS_DEFAULT: u64 = 3600;

/// What the options ask for.
pub(super) fn configure(mut options: Options, input: Input) -> Result<Config, ExitCode> {
    if !options.stats && !options.stats_port.is_empty() {
        log_warning!("--stats-port: without --stats there are no statistics");
    }
    let inetd = options.inetd || (!options.daemon && !options.wizard && input != Input::Other);
    if inetd && options.zeroconf {
        log_warning!("--zeroconf: what inetd starts is not announced; run the server by itself for that");
    }
    let log_level = log_level(&options);
    let sandbox = sandbox_mode(&options)?;
    let exposed = absolute_paths("--expose", &options.expose, "want a directory")?;
    let scripts = absolute_paths("--allow-script", &options.allow_script, "want a file")?;
    let any_compiler = options.enable_tcp_insecure || options.make_me_a_botnet;
    let is_reached_by_network = !inetd || input == Input::Network;
    let has_unknown_clients = is_reached_by_network
        && options.allow.is_empty()
        && !options.allow_private
        && options.allow_file.is_empty();
    let serves_anybody_anything = any_compiler && has_unknown_clients;
    if serves_anybody_anything && sandbox == SandboxMode::Off {
        return Err(run::refuse_anything_for_anybody("--sandbox=off"));
    }
    let jobs = match options.jobs.last().copied() {
        None => process::processors_online() + EXTRA_JOBS,
        Some(jobs) if jobs >= 1 => usize::try_from(jobs).unwrap_or(usize::MAX).min(JOBS_MAX),
        Some(jobs) => return Err(bad_option("--jobs", jobs, "want at least 1")),
    };
    let allow_file = absolute_paths("--allow-file", &options.allow_file, "want a file")?.pop();
    Ok(Config {
        mode: mode(&options, inetd)?,
        access: access_list(&options, inetd)?,
        allow_file,
        authentication: authentication(&options)?,
        statistics_port: options
            .stats
            .then(|| options.stats_port.last().copied().unwrap_or(STATISTICS_PORT_DEFAULT)),
        jobs,
        job_lifetime: match options.job_lifetime.pop() {
            None => Some(JOB_LIFETIME_DEFAULT),
            // What is not positive is no limit, as in 3.4.
            Some(seconds) => u64::try_from(seconds).ok().filter(|s| *s > 0).map(Duration::from_secs),
        },
        connections: at_least_one("--connections", options.connections.pop())?,
        connections_each: at_least_one("--connections-per-client", options.connections_per_client.pop())?
            .unwrap_or(CONNECTIONS_EACH_DEFAULT),
        queue: options.queue.pop().unwrap_or(QUEUE_DEFAULT),
        buffer_bytes: options.buffers.pop().map(bytes_of),
        tree_bytes: options.trees.pop().map(bytes_of),
        spool_bytes: options.spool.pop().map(bytes_of),
        job_memory: options.job_memory.pop().map_or_else(
            || Some((process_tree::memory_of_machine() / 2).max(JOB_MEMORY_MIN)),
            |mebibytes| (mebibytes > 0).then(|| bytes_of(mebibytes)),
        ),
        job_processor_seconds: Some(options.job_cpu.pop().unwrap_or(JOB_SECONDS_DEFAULT)).filter(|s| *s > 0),
        lifetime: options.lifetime.pop().filter(|seconds| *seconds > 0),
        nice: options.nice.pop().unwrap_or(NICE_DEFAULT),
        oom_score_adjustment: options.oom_score_adj.pop(),
        zeroconf: options.zeroconf && !inetd,
        pid_file: options.pid_file.pop().map(|path| std::path::absolute(&path).unwrap_or(path)),
        user: options.user.pop(),
        any_compiler,
        serves_anybody_anything,
        scripts,
        sandbox,
        exposed,
        log: match (options.log_stderr || options.wizard, options.log_file.pop()) {
            (true, _) => LogTarget::Stderr,
            (false, Some(path)) => LogTarget::File(std::path::absolute(&path).unwrap_or(path)),
            (false, None) => LogTarget::Syslog,
        },
        log_level,
        environment: environment()?,
    })
}

fn bytes_of(mebibytes: u64) -> u64 {
    mebibytes.saturating_mul(1 << 20)
}

fn at_least_one(option: &str, value: Option<usize>) -> Result<Option<usize>, ExitCode> {
    match value {
        Some(0) => Err(bad_option(option, 0, "want at least 1")),
        value => Ok(value),
    }
}

fn log_level(options: &Options) -> Level {
    if options.verbose || options.wizard {
        return Level::Debug;
    }
    let Some(name) = options.log_level.last() else { return Level::Notice };
    Level::from_name(name).unwrap_or_else(|| {
        log_warning!("--log-level {name}: no such level; logging at notice");
        Level::Notice
    })
}

fn sandbox_mode(options: &Options) -> Result<SandboxMode, ExitCode> {
    let Some(name) = options.sandbox.last() else { return Ok(SandboxMode::default()) };
    SandboxMode::from_name(name).ok_or_else(|| bad_option("--sandbox", name, "want require, auto or off"))
}

/// The paths given to an option, without regard to where the daemon is going to be.
fn absolute_paths(option: &str, paths: &[PathBuf], want: &str) -> Result<Vec<PathBuf>, ExitCode> {
    let absolute = |path: &PathBuf| match path.as_os_str().is_empty() {
        true => Err(bad_option(option, path.display(), want)),
        false => Ok(std::path::absolute(path).unwrap_or_else(|_| path.clone())),
    };
    paths.iter().map(absolute).collect()
}

fn mode(options: &Options, inetd: bool) -> Result<Mode, ExitCode> {
    if inetd {
        return Ok(Mode::Inetd);
    }
    let port = options.port.last().copied().unwrap_or(PORT_DEFAULT);
    let addresses = match options.listen.last() {
        None => Vec::new(),
        Some(name) => match resolve::addresses(name, port, Instant::now() + RESOLVE_TIME_MAX) {
            Ok(mut addresses) => {
                // With a port of the kernel's choosing, two sockets would have two.
                if port == 0 {
                    addresses.truncate(1);
                }
                addresses.dedup();
                addresses
            }
            Err(error) => return Err(bad_option("--listen", name, error)),
        },
    };
    Ok(Mode::Standalone { addresses, port, detach: !(options.no_detach || options.wizard) })
}

fn access_list(options: &Options, inetd: bool) -> Result<AccessList, ExitCode> {
    let mut access = AccessList::default();
    for rule in &options.allow {
        access.allow(rule).map_err(|error| {
            log_error!("{error}");
            ExitCode::BadArguments
        })?;
    }
    if options.allow_private {
        access.allow_private();
    }
    // An --allow-file says who may, even if that is nobody.
    if !access.is_empty() || !options.allow_file.is_empty() {
        return Ok(access);
    }
    if inetd {
        access = AccessList::of_everybody();
    } else {
        log_warning!(
            "no --allow option: clients in loopback and private networks may connect (--allow-private)"
        );
        access.allow_private();
    }
    Ok(access)
}

/// How clients must say who they are.
fn authentication(options: &Options) -> Result<Option<AuthenticationConfig>, ExitCode> {
    let list = match (options.whitelist.last(), options.blacklist.last()) {
        (Some(_), Some(file)) => {
            return Err(bad_option(
                "--blacklist",
                file.display(),
                "--whitelist is given, too; one of them decides",
            ));
        }
        (Some(file), None) => Some((ListKind::White, "--whitelist", file)),
        (None, Some(file)) => Some((ListKind::Black, "--blacklist", file)),
        (None, None) => None,
    };
    if !options.auth {
        return match list {
            Some((_, option, file)) => Err(bad_option(option, file.display(), "it needs --auth")),
            None => Ok(None),
        };
    }
    if !gssapi::IS_BUILT_IN {
        log_error!("--auth: {}", gssapi::ABSENT);
        return Err(ExitCode::BadArguments);
    }
    let Some(principal) = principal() else {
        log_error!(
            "--auth: DISTCCD_PRINCIPAL is not set; it names the key of this server, such as distcc@HOST"
        );
        return Err(ExitCode::GssapiFailed);
    };
    let list = list.map(|(kind, _, file)| (kind, std::path::absolute(file).unwrap_or_else(|_| file.clone())));
    Ok(Some(AuthenticationConfig { principal: Name::of_principal(&principal), list }))
}

/// The server's principal.
pub(super) fn principal() -> Option<String> {
    env::var("DISTCCD_PRINCIPAL").ok().filter(|principal| !principal.is_empty())
}

/// The daemon's environment, read once.
fn environment() -> Result<Environment, ExitCode> {
    let path = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let number = |name: &'static str, default: u64| match env::var(name) {
        Err(_) => Ok(default),
        Ok(value) => match value.trim().parse::<u64>() {
            Ok(number) if (1..=u64::from(u32::MAX)).contains(&number) => Ok(number),
            _ => Err(bad_option(name, value, "want a whole number of at least 1")),
        },
    };
    Ok(Environment {
        temporary: path("TMPDIR").unwrap_or_else(|| "/tmp".into()).into(),
        search_path: path("DISTCCD_PATH")
            .or_else(|| path("PATH"))
            .unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into()),
        search_path_is_chosen: path("DISTCCD_PATH").is_some(),
        command_list: path("DISTCC_CMDLIST").map(PathBuf::from),
        command_list_words: number("DISTCC_CMDLIST_NUMWORDS", 1)? as usize,
        save_temps: env::var_os("DISTCC_SAVE_TEMPS").is_some_and(|value| value == "1"),
        namespaces: env::var_os("DISTCCD_NAMESPACES").is_none_or(|value| value != "0"),
        defer_accept: env::var_os("DISTCC_TCP_DEFER_ACCEPT").is_none_or(|value| value != "0"),
        io_timeout: Duration::from_secs(number("DISTCC_IO_TIMEOUT", IO_SECONDS_DEFAULT)?),
        manager: manager_settings(),
    })
}

/// What the service manager wants to hear. What is malformed is as if it was not there: the variables may be somebody
/// else's.
fn manager_settings() -> ManagerSettings {
    let watchdog = || {
        let microseconds = env::var("WATCHDOG_USEC").ok()?.parse::<u64>().ok().filter(|time| *time > 0)?;
        is_ours("WATCHDOG_PID", true).then(|| Duration::from_micros(microseconds))
    };
    let socket = env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty());
    ManagerSettings { watchdog: watchdog(), socket }
}

/// How many descriptors the service manager has passed, and their names.
pub(super) fn passed_descriptors() -> (usize, Vec<String>) {
    let count = env::var("LISTEN_FDS").ok().and_then(|count| count.parse().ok()).unwrap_or(0);
    if !is_ours("LISTEN_PID", false) {
        return (0, Vec::new());
    }
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    (PASSED_MAX.min(count), names.split(':').map(str::to_owned).collect())
}

/// Whether a variable names this process; `without` if there is no such variable.
fn is_ours(variable: &str, without: bool) -> bool {
    env::var(variable).map_or(without, |process| process.parse() == Ok(std::process::id()))
}
