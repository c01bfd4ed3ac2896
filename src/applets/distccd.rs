//! `distccd`: the server's options.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use argh::FromArgs;

use crate::applets::standard_input::Input;
use crate::daemon::access::AccessList;
use crate::daemon::config::{
    CONNECTIONS_EACH_DEFAULT, Config, Environment, JOB_LIFETIME_DEFAULT, LogTarget, Mode, NICE_DEFAULT,
    PORT_DEFAULT, QUEUE_DEFAULT, SandboxMode,
};
use crate::daemon::run;
use crate::exit_code::ExitCode;
use crate::log::{self, Level, Sink};
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
/// Default of `--job-cpu`, in seconds: sources that take a compiler minutes are rare, an hour is a loop.
const JOB_SECONDS_DEFAULT: u64 = 3600;
/// Short options that take a value, which may be joined (`-j4`).
const SHORT_WITH_VALUE: &[u8] = b"ajNPp";

/// The distributed compiler's server.
//
// Of an option given twice the last value counts, as in 3.4: start scripts put the user's options behind their own.
#[derive(FromArgs, Debug)]
struct Options {
    /// who may connect: ADDR[/BITS] or a name; repeatable
    #[argh(option, short = 'a', arg_name = "addr")]
    allow: Vec<String>,
    /// loopback and private networks (the default)
    #[argh(switch)]
    allow_private: bool,
    /// compilers at once (default: processors + 2)
    #[argh(option, short = 'j', arg_name = "n")]
    jobs: Vec<i64>,
    /// listen for clients (the default)
    #[argh(switch)]
    daemon: bool,
    /// serve one client on standard input and output
    #[argh(switch)]
    inetd: bool,
    /// port (default: 3632; 0: a free one, see the log)
    #[argh(option, short = 'p', arg_name = "n")]
    port: Vec<u16>,
    /// address or name to listen on (default: all)
    #[argh(option, arg_name = "addr")]
    listen: Vec<String>,
    /// stay in the foreground
    #[argh(switch)]
    no_detach: bool,
    /// user to become if root (default: distcc, distccd)
    #[argh(option, arg_name = "name")]
    user: Vec<String>,
    /// lower the priority by so much (default: 5)
    #[argh(option, short = 'N', arg_name = "n")]
    nice: Vec<i32>,
    /// the server's and compilers' out-of-memory score
    #[argh(option, arg_name = "n")]
    oom_score_adj: Vec<i32>,
    /// end a compiler that runs longer (default: 7200)
    #[argh(option, arg_name = "secs")]
    job_lifetime: Vec<i64>,
    /// memory of one job (default: half of the machine's; 0: no limit)
    #[argh(option, arg_name = "mib")]
    job_memory: Vec<u64>,
    /// processor time of one job (default: 3600; 0: no limit)
    #[argh(option, arg_name = "secs")]
    job_cpu: Vec<u64>,
    /// clients connected at once (default: 4096)
    #[argh(option, arg_name = "n")]
    connections: Vec<usize>,
    /// those of one address (default: 512)
    #[argh(option, arg_name = "n")]
    connections_per_client: Vec<usize>,
    /// jobs that wait for a compiler's end (default: 1024)
    #[argh(option, arg_name = "n")]
    queue: Vec<usize>,
    /// disk for sources that wait (default: half, or 8192)
    #[argh(option, arg_name = "mib")]
    spool: Vec<u64>,
    /// end the server after so many seconds (for tests)
    #[argh(option, arg_name = "secs")]
    lifetime: Vec<u32>,
    /// write the process id to a file
    #[argh(option, short = 'P', arg_name = "file")]
    pid_file: Vec<PathBuf>,
    /// append the log to a file (default: syslog)
    #[argh(option, arg_name = "file")]
    log_file: Vec<PathBuf>,
    /// error, warning, notice (default), info or debug
    #[argh(option, arg_name = "level")]
    log_level: Vec<String>,
    /// log to standard error
    #[argh(switch)]
    log_stderr: bool,
    /// log everything
    #[argh(switch)]
    verbose: bool,
    /// in the foreground, everything on standard error
    #[argh(switch, short = 'W')]
    wizard: bool,
    /// run any program a client names
    #[argh(switch)]
    enable_tcp_insecure: bool,
    /// the old name of --enable-tcp-insecure
    #[argh(switch, hidden_help)]
    make_me_a_botnet: bool,
    /// a script that may run as a compiler; repeatable
    #[argh(option, arg_name = "file")]
    allow_script: Vec<PathBuf>,
    /// confine compilers: require, auto (default) or off
    #[argh(option, arg_name = "mode")]
    sandbox: Vec<String>,
    /// a directory compilers may read, too; repeatable
    #[argh(option, arg_name = "dir")]
    expose: Vec<PathBuf>,
    /// accepted, without effect
    #[argh(switch, hidden_help, long = "no-fifo")]
    _no_fifo: bool,
    /// accepted, without effect: there is one process anyway
    #[argh(switch, hidden_help, long = "no-fork")]
    _no_fork: bool,
    /// accepted, without effect: option -specs= is always refused
    #[argh(option, hidden_help, long = "sysroot")]
    _sysroot: Vec<PathBuf>,
    /// the statistics page, not built yet
    #[argh(switch, hidden_help)]
    stats: bool,
    /// its port
    #[argh(option, hidden_help)]
    stats_port: Vec<u16>,
    /// announcement by multicast DNS, not built yet
    #[argh(switch, hidden_help)]
    zeroconf: bool,
    /// mutual authentication, not in this build
    #[argh(switch, hidden_help)]
    auth: bool,
    /// its list of refused principals
    #[argh(option, hidden_help)]
    blacklist: Vec<PathBuf>,
    /// its list of admitted principals
    #[argh(option, hidden_help)]
    whitelist: Vec<PathBuf>,
    /// show the server's principal, not in this build
    #[argh(switch, hidden_help)]
    show_principal: bool,
    /// show the version
    #[argh(switch)]
    version: bool,
    /// words that are no options are ignored, as in 3.4
    #[argh(positional, hidden_help, arg_name = "ignored")]
    _ignored: Vec<String>,
}

/// Runs the daemon.
pub fn run(argv: &[OsString]) -> i32 {
    process::close_inherited_descriptors();
    let input = Input::of_standard_input();
    log::set("distccd", Level::Notice, if input == Input::Other { Sink::Stderr } else { Sink::Syslog });
    match start(argv, input) {
        Ok(None) => 0,
        Ok(Some(signal)) => {
            run::end_by(signal);
            128 + signal
        }
        Err(code) => code.number(),
    }
}

fn start(argv: &[OsString], input: Input) -> Result<Option<i32>, ExitCode> {
    let Some(options) = parse(argv)? else { return Ok(None) };
    run::run(configure(options, input)?)
}

/// Reads the options; `None` if a question was answered instead (`--help`, `--version`).
fn parse(argv: &[OsString]) -> Result<Option<Options>, ExitCode> {
    let mut words = Vec::new();
    for word in argv.iter().skip(1) {
        let Some(word) = word.to_str() else {
            log_error!("{}: not UTF-8", word.display());
            return Err(ExitCode::BadArguments);
        };
        separate_value(word, &mut words)?;
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match Options::from_args(&["distccd"], &words) {
        Ok(options) if options.version => {
            say!("{}", version());
            Ok(None)
        }
        Ok(options) => Ok(Some(options)),
        Err(early) if early.status.is_ok() => {
            // The generated first line lists every option once more.
            let options = early.output.split_once('\n').map_or("", |(_, rest)| rest);
            say!("Usage: distccd [OPTION...]          (more in man distccd)\n{}", options.trim_end());
            Ok(None)
        }
        Err(early) => {
            for line in early.output.lines().filter(|line| !line.trim().is_empty()) {
                log_error!("{line}");
            }
            log_error!("see distccd --help");
            Err(ExitCode::BadArguments)
        }
    }
}

/// Turns `--option=value` and `-j4` into two words, which is the form argh takes.
fn separate_value(word: &str, words: &mut Vec<String>) -> Result<(), ExitCode> {
    if let Some((option, value)) = word.split_once('=').filter(|_| word.starts_with("--")) {
        // What is complete by itself is a switch; its value would become a stray word and be ignored.
        if Options::from_args(&["distccd"], &[option]).is_ok() {
            return Err(bad_option(option, value, "this option takes no value"));
        }
        words.extend([option.to_string(), value.to_string()]);
        return Ok(());
    }
    let bytes = word.as_bytes();
    if bytes.len() > 2 && bytes[0] == b'-' && SHORT_WITH_VALUE.contains(&bytes[1]) && word.is_char_boundary(2)
    {
        let (option, value) = word.split_at(2);
        words.extend([option.to_string(), value.strip_prefix('=').unwrap_or(value).to_string()]);
        return Ok(());
    }
    words.push(word.to_string());
    Ok(())
}

fn version() -> String {
    format!(
        "distccd {} {}\n  (protocols 1, 2 and 3) (default port {PORT_DEFAULT})\n\
         Free software under the GNU General Public License, version 3 or later.",
        env!("CARGO_PKG_VERSION"),
        crate::client::TRIPLE
    )
}

fn configure(mut options: Options, input: Input) -> Result<Config, ExitCode> {
    for (given, option) in [
        (options.auth, "--auth"),
        (!options.blacklist.is_empty(), "--blacklist"),
        (!options.whitelist.is_empty(), "--whitelist"),
        (options.show_principal, "--show-principal"),
    ] {
        if given {
            log_error!("{option}: this build has no GSS-API; it is not built yet");
            return Err(ExitCode::BadArguments);
        }
    }
    for (given, option) in
        [(options.stats || !options.stats_port.is_empty(), "--stats"), (options.zeroconf, "--zeroconf")]
    {
        if given {
            log_warning!("{option}: not built yet, ignored");
        }
    }
    let inetd = options.inetd || (!options.daemon && !options.wizard && input != Input::Other);
    let log_level = log_level(&options);
    let sandbox = sandbox_mode(&options)?;
    let exposed = absolute_paths("--expose", &options.expose, "want a directory")?;
    let scripts = absolute_paths("--allow-script", &options.allow_script, "want a file")?;
    let any_compiler = options.enable_tcp_insecure || options.make_me_a_botnet;
    let is_reached_by_network = !inetd || input == Input::Network;
    let has_unknown_clients = is_reached_by_network && options.allow.is_empty() && !options.allow_private;
    let serves_anybody_anything = any_compiler && has_unknown_clients;
    if serves_anybody_anything && sandbox == SandboxMode::Off {
        return Err(run::refuse_anything_for_anybody("--sandbox=off"));
    }
    let jobs = match options.jobs.last().copied() {
        None => process::processors_online() + EXTRA_JOBS,
        Some(jobs) if jobs >= 1 => usize::try_from(jobs).unwrap_or(usize::MAX).min(JOBS_MAX),
        Some(jobs) => return Err(bad_option("--jobs", jobs, "want at least 1")),
    };
    Ok(Config {
        mode: mode(&options, inetd)?,
        access: access_list(&options, inetd)?,
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
        spool_bytes: options.spool.pop().map(|mebibytes| mebibytes.saturating_mul(1 << 20)),
        job_memory: options.job_memory.pop().map_or_else(
            || Some((process_tree::memory_of_machine() / 2).max(JOB_MEMORY_MIN)),
            |mib| (mib > 0).then(|| mib.saturating_mul(1 << 20)),
        ),
        job_processor_seconds: Some(options.job_cpu.pop().unwrap_or(JOB_SECONDS_DEFAULT)).filter(|s| *s > 0),
        lifetime: options.lifetime.pop().filter(|seconds| *seconds > 0),
        nice: options.nice.pop().unwrap_or(NICE_DEFAULT),
        oom_score_adjustment: options.oom_score_adj.pop(),
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

fn at_least_one(option: &str, value: Option<usize>) -> Result<Option<usize>, ExitCode> {
    match value {
        Some(0) => Err(bad_option(option, 0, "want at least 1")),
        value => Ok(value),
    }
}

fn bad_option(option: &str, value: impl std::fmt::Display, cause: impl std::fmt::Display) -> ExitCode {
    log_error!("{option} {value}: {cause}");
    ExitCode::BadArguments
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
    if access.is_empty() && !inetd {
        log_warning!(
            "no --allow option: clients in loopback and private networks may connect (--allow-private)"
        );
        access.allow_private();
    }
    Ok(access)
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
        command_list: path("DISTCC_CMDLIST").map(PathBuf::from),
        command_list_words: number("DISTCC_CMDLIST_NUMWORDS", 1)? as usize,
        save_temps: env::var_os("DISTCC_SAVE_TEMPS").is_some_and(|value| value == "1"),
        namespaces: env::var_os("DISTCCD_NAMESPACES").is_none_or(|value| value != "0"),
        defer_accept: env::var_os("DISTCC_TCP_DEFER_ACCEPT").is_none_or(|value| value != "0"),
        io_timeout: Duration::from_secs(number("DISTCC_IO_TIMEOUT", IO_SECONDS_DEFAULT)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> Result<Option<Options>, ExitCode> {
        let argv: Vec<OsString> = ["distccd"].iter().chain(words).map(OsString::from).collect();
        parse(&argv)
    }

    fn config(words: &[&str]) -> Result<Config, ExitCode> {
        configure(options(words)?.expect("an option that answers"), Input::Other)
    }

    #[test]
    fn values_are_joined_or_separate() {
        for words in [
            ["--jobs=7", "--port=99", "--allow=10.0.0.0/8", "--nice=3"].as_slice(),
            &["--jobs", "7", "--port", "99", "--allow", "10.0.0.0/8", "--nice", "3"],
            &["-j7", "-p99", "-a10.0.0.0/8", "-N3"],
            &["-j", "7", "-p", "99", "-a", "10.0.0.0/8", "-N", "3"],
            &["stray", "-j7", "words", "-p=99", "--allow=10.0.0.0/8", "--nice", "3"],
            &["-j1", "--nice=1", "--port=1", "-p99", "-a", "10.0.0.0/8", "--nice", "3", "--jobs=7"],
        ] {
            let config = config(words).unwrap();
            assert_eq!((config.jobs, config.nice), (7, 3), "{words:?}");
            assert!(config.access.permits("10.1.1.1".parse().unwrap()), "{words:?}");
            assert!(!config.access.permits("127.0.0.1".parse().unwrap()), "{words:?}");
            assert_eq!(
                config.mode,
                Mode::Standalone { addresses: vec![], port: 99, detach: true },
                "{words:?}"
            );
        }
    }

    #[test]
    fn mistakes_are_bad_arguments() {
        for words in [
            ["--bogus"].as_slice(),
            &["--port", "70000"],
            &["--port=x"],
            &["--jobs", "0"],
            &["--jobs=-3"],
            &["--jobs"],
            &["--allow", "10.0.0.0/99"],
            &["--listen", "no-such-host.invalid"],
            &["--auth"],
            &["--no-detach=yes"],
            &["--sandbox=perhaps"],
            &["--expose="],
            &["--allow-script="],
            &["--enable-tcp-insecure", "--sandbox=off"],
            &["--make-me-a-botnet", "--sandbox=off", "--listen=127.0.0.1"],
        ] {
            assert_eq!(config(words).unwrap_err(), ExitCode::BadArguments, "{words:?}");
        }
    }

    #[test]
    fn private_networks_are_the_default() {
        let config = config(&[]).unwrap();
        assert!(config.access.permits("192.168.1.1".parse().unwrap()));
        assert!(!config.access.permits("203.0.113.1".parse().unwrap()));
    }

    #[test]
    fn wizard_stays_and_talks() {
        let config = config(&["--wizard"]).unwrap();
        assert_eq!(config.log, LogTarget::Stderr);
        assert_eq!(config.log_level, Level::Debug);
        assert_eq!(config.mode, Mode::Standalone { addresses: vec![], port: 3632, detach: false });
    }

    #[test]
    fn the_sandbox_is_as_strong_as_it_can_be_unless_told_otherwise() {
        for (words, want) in [
            ([].as_slice(), SandboxMode::Auto),
            (&["--sandbox=auto"], SandboxMode::Auto),
            (&["--sandbox", "require"], SandboxMode::Require),
            (&["--sandbox=require", "--sandbox=off"], SandboxMode::Off),
        ] {
            assert_eq!(config(words).unwrap().sandbox, want, "{words:?}");
        }
        let exposed = config(&["--expose=/opt/sdk", "--expose", "/srv/gcc"]).unwrap().exposed;
        assert_eq!(exposed, [PathBuf::from("/opt/sdk"), PathBuf::from("/srv/gcc")]);
        let scripts = config(&["--allow-script=/usr/bin/zcc", "--allow-script", "/x/cc"]).unwrap().scripts;
        assert_eq!(scripts, [PathBuf::from("/usr/bin/zcc"), PathBuf::from("/x/cc")]);
    }

    #[test]
    fn any_compiler_goes_with_a_sandbox_or_known_clients() {
        for words in [
            ["--enable-tcp-insecure"].as_slice(),
            &["--enable-tcp-insecure", "--sandbox=require"],
            &["--enable-tcp-insecure", "--sandbox=off", "--allow=10.0.0.1"],
            &["--enable-tcp-insecure", "--sandbox=off", "--allow-private"],
            &["--inetd", "--enable-tcp-insecure", "--sandbox=off"],
            &["--sandbox=off"],
        ] {
            assert!(config(words).is_ok(), "{words:?}");
        }
        for (input, accepted) in [(Input::LocalSocket, true), (Input::Network, false)] {
            let options = options(&["--inetd", "--enable-tcp-insecure", "--sandbox=off"]).unwrap().unwrap();
            assert_eq!(configure(options, input).is_ok(), accepted, "{input:?}");
        }
    }

    #[test]
    fn inetd_is_for_everybody_unless_told_otherwise() {
        assert!(config(&["--inetd"]).unwrap().access.is_empty());
        assert!(!config(&["--inetd", "--allow", "10.0.0.1"]).unwrap().access.is_empty());
    }
}
