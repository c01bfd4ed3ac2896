//! The options of `distccd`, and how they may be written.

use std::path::PathBuf;

use argh::FromArgs;

use crate::exit_code::ExitCode;
use crate::log_error;

/// Short options that take a value, which may be joined (`-j4`).
const SHORT_WITH_VALUE: &[u8] = b"ajNPp";

/// The distributed compiler's server.
//
// Of an option given twice the last value counts, as in 3.4: start scripts put the user's options behind their own.
#[derive(FromArgs, Debug)]
pub(super) struct Options {
    /// who may connect: ADDR[/BITS] or a name; repeatable
    #[argh(option, short = 'a', arg_name = "addr")]
    pub(super) allow: Vec<String>,
    /// the same, one to a line; read again on SIGHUP
    #[argh(option, arg_name = "file")]
    pub(super) allow_file: Vec<PathBuf>,
    /// loopback and private networks (the default)
    #[argh(switch)]
    pub(super) allow_private: bool,
    /// compilers at once (default: processors + 2)
    #[argh(option, short = 'j', arg_name = "n")]
    pub(super) jobs: Vec<i64>,
    /// listen for clients (the default)
    #[argh(switch)]
    pub(super) daemon: bool,
    /// serve one client on standard input and output
    #[argh(switch)]
    pub(super) inetd: bool,
    /// port (default: 3632; 0: a free one, see the log)
    #[argh(option, short = 'p', arg_name = "n")]
    pub(super) port: Vec<u16>,
    /// address or name to listen on (default: all)
    #[argh(option, arg_name = "addr")]
    pub(super) listen: Vec<String>,
    /// announce the server in the local network
    #[argh(switch)]
    pub(super) zeroconf: bool,
    /// stay in the foreground
    #[argh(switch)]
    pub(super) no_detach: bool,
    /// user to become if root (default: distcc, distccd)
    #[argh(option, arg_name = "name")]
    pub(super) user: Vec<String>,
    /// lower the priority by so much (default: 5)
    #[argh(option, short = 'N', arg_name = "n")]
    pub(super) nice: Vec<i32>,
    /// the server's and compilers' out-of-memory score
    #[argh(option, arg_name = "n")]
    pub(super) oom_score_adj: Vec<i32>,
    /// end a compiler that runs longer (default: 7200)
    #[argh(option, arg_name = "secs")]
    pub(super) job_lifetime: Vec<i64>,
    /// memory of one job (default: half of the machine's; 0: no limit)
    #[argh(option, arg_name = "mib")]
    pub(super) job_memory: Vec<u64>,
    /// processor time of one job (default: 3600; 0: no limit)
    #[argh(option, arg_name = "secs")]
    pub(super) job_cpu: Vec<u64>,
    /// clients connected at once (default: 4096)
    #[argh(option, arg_name = "n")]
    pub(super) connections: Vec<usize>,
    /// those of one address (default: 512)
    #[argh(option, arg_name = "n")]
    pub(super) connections_per_client: Vec<usize>,
    /// jobs that wait for a compiler's end (default: 1024)
    #[argh(option, arg_name = "n")]
    pub(super) queue: Vec<usize>,
    /// memory for commands, small files and replies (default: 1024)
    #[argh(option, arg_name = "mib")]
    pub(super) buffers: Vec<u64>,
    /// memory for unpacked files (default: at least 1024)
    #[argh(option, arg_name = "mib")]
    pub(super) trees: Vec<u64>,
    /// disk for sources that wait (default: half, or 8192)
    #[argh(option, arg_name = "mib")]
    pub(super) spool: Vec<u64>,
    /// end the server after so many seconds (for tests)
    #[argh(option, arg_name = "secs")]
    pub(super) lifetime: Vec<u32>,
    /// write the process id to a file
    #[argh(option, short = 'P', arg_name = "file")]
    pub(super) pid_file: Vec<PathBuf>,
    /// append the log to a file (default: syslog)
    #[argh(option, arg_name = "file")]
    pub(super) log_file: Vec<PathBuf>,
    /// error, warning, notice (default), info or debug
    #[argh(option, arg_name = "level")]
    pub(super) log_level: Vec<String>,
    /// log to standard error
    #[argh(switch)]
    pub(super) log_stderr: bool,
    /// log everything
    #[argh(switch)]
    pub(super) verbose: bool,
    /// in the foreground, everything on standard error
    #[argh(switch, short = 'W')]
    pub(super) wizard: bool,
    /// run any program a client names
    #[argh(switch)]
    pub(super) enable_tcp_insecure: bool,
    /// the old name of --enable-tcp-insecure
    #[argh(switch, hidden_help)]
    pub(super) make_me_a_botnet: bool,
    /// a script that may run as a compiler; repeatable
    #[argh(option, arg_name = "file")]
    pub(super) allow_script: Vec<PathBuf>,
    /// confine compilers: require, auto (default) or off
    #[argh(option, arg_name = "mode")]
    pub(super) sandbox: Vec<String>,
    /// a directory compilers may read, too; repeatable
    #[argh(option, arg_name = "dir")]
    pub(super) expose: Vec<PathBuf>,
    /// accepted, without effect
    #[argh(switch, hidden_help, long = "no-fifo")]
    pub(super) _no_fifo: bool,
    /// accepted, without effect: there is one process anyway
    #[argh(switch, hidden_help, long = "no-fork")]
    pub(super) _no_fork: bool,
    /// accepted, without effect: option -specs= is always refused
    #[argh(option, hidden_help, long = "sysroot")]
    pub(super) _sysroot: Vec<PathBuf>,
    /// statistics by HTTP: text, /metrics, /json, a page
    #[argh(switch)]
    pub(super) stats: bool,
    /// their port (default: 3633; 0: a free one)
    #[argh(option, arg_name = "n")]
    pub(super) stats_port: Vec<u16>,
    /// admit only clients that authenticate (GSS-API)
    #[argh(switch)]
    pub(super) auth: bool,
    /// principals that may not compile, one a line
    #[argh(option, arg_name = "file")]
    pub(super) blacklist: Vec<PathBuf>,
    /// the only principals that may
    #[argh(option, arg_name = "file")]
    pub(super) whitelist: Vec<PathBuf>,
    /// show the server's principal (DISTCCD_PRINCIPAL)
    #[argh(switch)]
    pub(super) show_principal: bool,
    /// show the version
    #[argh(switch)]
    pub(super) version: bool,
    /// words that are no options are ignored, as in 3.4
    #[argh(positional, hidden_help, arg_name = "ignored")]
    pub(super) _ignored: Vec<String>,
}

/// Turns `--option=value` and `-j4` into two words, which is the form argh takes.
pub(super) fn separate_value(word: &str, words: &mut Vec<String>) -> Result<(), ExitCode> {
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

/// Says what is wrong with the value of an option.
pub(super) fn bad_option(
    option: &str,
    value: impl std::fmt::Display,
    cause: impl std::fmt::Display,
) -> ExitCode {
    log_error!("{option} {value}: {cause}");
    ExitCode::BadArguments
}
