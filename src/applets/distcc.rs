//! `distcc`, and the compilers it stands in for: the three ways to call it (manual, "Installing distcc").

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::applets::basename;
use crate::client::commands::PumpCommand;
use crate::client::compiler::Invocation;
use crate::client::file_set::Category;
use crate::client::pump::{self, WorkingDirectory};
use crate::client::settings::{CompilerPaths, LogSettings, Settings};
use crate::client::{TRIPLE, job, local, session};
use crate::compiler_args::{self, Compile, Verdict};
use crate::exit_code::ExitCode;
use crate::include_scan::{IncludeVariables, Query, Scanner};
use crate::log::{self, Level, Sink};
use crate::sys::process;
use crate::{log_error, log_warning};

const HELP: &str = "\
Usage:
   distcc COMPILER [compile options] -o OBJECT -c SOURCE
   distcc [compile options] -o OBJECT -c SOURCE    (runs cc)
   COMPILER [...]                     (a link to distcc by that name)
   distcc --scan-includes COMPILER [compile options] -c SOURCE
   distcc --help | --version | --show-hosts | -j

   --show-hosts   the host list that would be used, one host a line
   -j             how many jobs those hosts take at once, for make -j
   --scan-includes  the files a pump-mode job for the command would send

Environment (see man distcc for the rest):
   DISTCC_HOSTS      the hosts; else ~/.distcc/hosts, /etc/distcc/hosts,
                     /usr/local/etc/distcc/hosts
   DISTCC_VERBOSE    1 explains what is done
   DISTCC_LOG        a file for messages, instead of standard error
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
    start_log();
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
        Ok(true) => local::become_command(&invocation).number(),
        Ok(false) => job::run(invocation, &settings),
    }
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
        Some("--scan-includes") => return Err(scan_includes(&argv[2..], settings)),
        Some(option @ "--show-principal") => {
            log_error!("{option}: not built yet in distcc {}", env!("CARGO_PKG_VERSION"));
            return Err(ExitCode::DistccFailed.number());
        }
        _ => {}
    }
    let mut command = argv[1..].to_vec();
    if compiler_args::is_implicit_compiler_call(first) {
        command.insert(0, "cc".into());
    }
    Ok(Invocation::explicit(command, settings))
}

fn version() -> String {
    format!(
        "distcc {} {TRIPLE}\n  (protocols 1, 2 and 3) (default port 3632)\n\
         Free software under the GNU General Public License, version 3 or later.",
        env!("CARGO_PKG_VERSION")
    )
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

/// Prints what a pump-mode job for the command would send, one entry a line (manual, "--scan-includes").
fn scan_includes(command: &[OsString], settings: &Settings) -> i32 {
    let failed = ExitCode::DistccFailed.number();
    let command = compiler_args::expand(command, &mut |file| fs::read(Path::new(file)).ok());
    let compile = match compiler_args::scan(&command) {
        Ok(Verdict::Distribute(compile)) => compile,
        Ok(Verdict::Local(reason) | Verdict::Preprocess(reason)) => {
            log_error!("--scan-includes: the command would run locally: {reason}");
            return failed;
        }
        Err(error) => {
            log_error!("--scan-includes: {error}");
            return failed;
        }
    };
    let compiler = Invocation::explicit(command.clone(), settings).find(compile.compiler());
    let (Some(compiler), Ok(here)) = (compiler, WorkingDirectory::find(settings)) else {
        log_error!("--scan-includes: no compiler {}, or no working directory", compile.compiler().display());
        return failed;
    };
    match list_files(&compile, &compiler, &here, settings) {
        Ok(entries) => print_entries(&entries),
        Err(reason) => {
            log_error!("--scan-includes: {reason}");
            1
        }
    }
}

/// The entries of a job: as the include server that the environment names lists them, or as we find them ourselves.
fn list_files(
    compile: &Compile,
    compiler: &Path,
    here: &WorkingDirectory,
    settings: &Settings,
) -> Result<Vec<(Category, Vec<u8>)>, String> {
    let argv = PumpCommand::for_compile(compile)?.argv;
    let question = pump::question(here, compiler, &settings.search_path, &argv);
    if let Some(listed) = pump::listed_files(settings, &question) {
        let files = listed.map_err(|error| error.to_string())?;
        return Ok(files.entries().into_iter().map(|(category, path)| (category, path.to_vec())).collect());
    }
    let CompilerPaths { all, c, cxx, objective_c, objective_cxx } = CompilerPaths::from_environment();
    let variables = IncludeVariables { all, c, cxx, objective_c, objective_cxx };
    let query = Query {
        compile,
        compiler,
        directory: here.written(),
        variables: &variables,
        search_path: &settings.search_path,
    };
    let closure = Scanner::new().scan(&query).map_err(|reason| reason.to_string())?;
    let files = closure.files.iter().map(|file| (Category::File, &file.real));
    let links = closure.links.iter().map(|link| (Category::Symlink, &link.path));
    let directories = closure.directories.iter().map(|path| (Category::Directory, path));
    let system = closure.system_directories.iter().map(|path| (Category::SystemDirectory, path));
    let all = files.chain(links).chain(directories).chain(system);
    Ok(all.map(|(category, path)| (category, path.as_os_str().as_bytes().to_vec())).collect())
}

fn print_entries(entries: &[(Category, Vec<u8>)]) -> i32 {
    let mut text = Vec::new();
    for (category, path) in entries {
        let word = match category {
            Category::File => "FILE",
            Category::Symlink => "SYMLINK",
            Category::Directory => "DIRECTORY",
            Category::SystemDirectory => "SYSTEMDIR",
        };
        text.extend_from_slice(format!("{word:<9} ").as_bytes());
        text.extend_from_slice(path);
        text.push(b'\n');
    }
    match io::stdout().write_all(&text) {
        Ok(()) => 0,
        Err(error) => {
            log_error!("write the list of files: {error}");
            ExitCode::IoError.number()
        }
    }
}

/// Warnings go to standard error, or everything from information up to DISTCC_LOG.
fn start_log() {
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
    log::set("distcc", if settings.verbose { Level::Debug } else { level }, sink);
    if let Some(problem) = problem {
        log_error!("{problem}");
    }
}
