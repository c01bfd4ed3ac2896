//! `distcc`, and the compilers it stands in for: the three ways to call it (manual, "Installing distcc").

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;

use crate::applets::{basename, principal_text, report};
use crate::client::compiler::Invocation;
use crate::client::settings::{LogSettings, Settings};
use crate::client::{TRIPLE, job, local, session};
use crate::compiler_args;
use crate::exit_code::ExitCode;
use crate::log::{self, Level, Sink};
use crate::sys::{gssapi, process};
use crate::trace::recorder::Recorder;
use crate::{log_error, log_warning};

mod doctor;
mod files;

const HELP: &str = "\
Usage:
   distcc COMPILER [compile options] -o OBJECT -c SOURCE
   distcc [compile options] -o OBJECT -c SOURCE    (runs cc)
   COMPILER [...]                     (a link to distcc by that name)
   distcc --explain COMPILER [compile options] -c SOURCE
   distcc --doctor [--json] [HOST...]
   distcc --scan-includes COMPILER [compile options] -c SOURCE
   distcc --report FILE [--chrome OUT]
   distcc --help | --version | --show-hosts | -j

   --show-principal  the service that hosts with ,auth must be
   --show-hosts   the host list that would be used, one host a line
   -j             how many jobs those hosts take at once, for make -j
   --explain      where the command would run and why; runs nothing
   --doctor       whether the hosts and this machine can do their work, and
                  what mends it if not; --json for programs
   --scan-includes  the files a pump-mode job for the command would send
   --report       where the time went in a build recorded by DISTCC_TRACE;
                  --chrome OUT: a trace for chrome://tracing or Perfetto

Environment (see man distcc for the rest):
   DISTCC_HOSTS      the hosts; else ~/.distcc/hosts, /etc/distcc/hosts,
                     /usr/local/etc/distcc/hosts
   DISTCC_VERBOSE    1 explains what is done
   DISTCC_LOG        a file for messages, instead of standard error
   DISTCC_TRACE      a file that gets a line for each job; see --report
   DISTCC_FALLBACK   0 fails instead of compiling here
   DISTCC_PUMP       0 starts no include server; ,cpp hosts then need pump
   DISTCC_SSH        the command for ssh hosts

Host list: words separated by blanks, best first:
   localhost[/N]                  compile here, N at once
   HOST[:PORT][/N][,lzo[,cpp]]    a distccd (port 3632); ,cpp: it preprocesses
   [USER]@HOST[/N][:COMMAND]      through ssh
   +zeroconf                      servers that announce themselves (mDNS)
   _distcc._tcp.DOMAIN[/N][,lzo]  the hosts DNS has for this service (SRV)
   --randomize  --localslots=N  --localslots_cpp=N

Masquerade: make links to distcc called gcc, cc, g++, c++, clang in a
directory, and put that directory early on PATH.";

/// Runs the client.
pub fn run(argv: &[OsString]) -> i32 {
    start_log("distcc");
    let settings = match Settings::from_environment() {
        Ok(settings) => settings,
        Err(code) => return code.number(),
    };
    let name = basename(&argv[0]);
    let invocation = if name.to_string_lossy().contains("distcc") {
        match explicit(argv, &settings) {
            Ok(invocation) => invocation,
            Err(status) => return status,
        }
    } else {
        Invocation::masqueraded(argv.to_vec(), &settings)
    };
    match invocation.check_recursion() {
        Err(code) => code.number(),
        Ok(true) => {
            record_nested(&invocation, &settings);
            local::become_command(&invocation).number()
        }
        Ok(false) => job::run(invocation, &settings),
    }
}

/// The line of a command for which we only make way. The record must not cost the command anything.
fn record_nested(invocation: &Invocation, settings: &Settings) {
    let mut record = Recorder::new(settings.trace.as_deref());
    record.compiler(&invocation.argv[0]);
    record.verdict("local", Some(&"another distcc started it, and has decided already"));
    let _ = record.write(None);
}

/// A command after our own name; the error is the exit status of a question that was answered instead.
fn explicit(argv: &[OsString], settings: &Settings) -> Result<Invocation, i32> {
    let program = argv[0].display();
    let Some(first) = argv.get(1) else {
        eprintln!("{program}: missing option/operand\nTry `{program} --help' for more information.");
        return Err(ExitCode::BadArguments.number());
    };
    match first.to_str() {
        Some("--help") => {
            say!("{}\n\n{HELP}", version());
            return Err(0);
        }
        Some("--version") => {
            say!("{}", version());
            return Err(0);
        }
        Some("--show-hosts") => return Err(show_hosts(settings)),
        Some("-j") => return Err(show_slots(settings)),
        Some("--report") => return Err(report::run(&argv[2..])),
        Some("--scan-includes") => return Err(files::scan_includes(&argv[2..], settings)),
        Some("--doctor") => return Err(doctor::run(&argv[2..], settings)),
        Some("--explain") => {
            return Err(files::explain(Invocation::explicit(compiler_first(&argv[2..]), settings), settings));
        }
        Some("--show-principal") => return Err(show_principal(settings)),
        _ => {}
    }
    Ok(Invocation::explicit(compiler_first(&argv[1..]), settings))
}

/// A command with the compiler that is meant if none is named.
fn compiler_first(words: &[OsString]) -> Vec<OsString> {
    let implicit = words.first().is_some_and(|first| compiler_args::is_implicit_compiler_call(first));
    implicit.then(|| "cc".into()).into_iter().chain(words.iter().cloned()).collect()
}

fn version() -> String {
    format!(
        "distcc {} {TRIPLE}\n  (protocols 1, 2 and 3) (default port 3632)\n\
         Free software under the GNU General Public License, version 3 or later.",
        env!("CARGO_PKG_VERSION")
    )
}

fn show_principal(settings: &Settings) -> i32 {
    if !gssapi::IS_BUILT_IN {
        log_error!("--show-principal: {}", gssapi::ABSENT);
        return ExitCode::DistccFailed.number();
    }
    say!("{}", principal_text(settings.principal.as_deref()));
    0
}

/// The words of the host list. The status is 0 in any case: scripts of 3.4's time rely on it.
fn show_hosts(settings: &Settings) -> i32 {
    match session::read_hosts(settings) {
        Ok(list) => list.hosts.iter().for_each(|host| say!("{}", host.word)),
        Err(error) => log_warning!("{error}"),
    }
    0
}

fn show_slots(settings: &Settings) -> i32 {
    match session::read_hosts(settings) {
        Ok(list) => say!("{}", list.total_slots()),
        Err(error) => log_warning!("{error}"),
    }
    0
}

/// Warnings go to standard error, or everything from information up to DISTCC_LOG.
pub(super) fn start_log(program: &'static str) {
    let settings = LogSettings::from_environment();
    let mut problem = None;
    let (level, sink) = match (&settings.file, settings.uncached_descriptor) {
        (Some(path), _) => match OpenOptions::new().append(true).create(true).mode(0o664).open(path) {
            Ok(file) => (Level::Info, Sink::File(file)),
            Err(error) => {
                problem = Some(format!("open log file {}: {error}", path.display()));
                (Level::Warning, Sink::Stderr)
            }
        },
        (None, Some(number)) => match process::duplicate_descriptor(number) {
            Ok(descriptor) => (Level::Warning, Sink::File(File::from(descriptor))),
            Err(_) => (Level::Warning, Sink::Stderr),
        },
        (None, None) => (Level::Warning, Sink::Stderr),
    };
    log::set(program, if settings.verbose { Level::Debug } else { level }, sink);
    if let Some(problem) = problem {
        log_error!("{problem}");
    }
}
