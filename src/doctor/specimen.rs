//! The tiny jobs that hosts are given: for each compiler of this machine a source, the command that servers get for it,
//! and the object that it becomes here.
//!
//! Made by the client's own parts, each once, before any host is looked at. Knows no host but by what it may be sent.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use super::check::Check;
use super::clock;
use super::object::{self, Facts};
use crate::client::commands::RemoteCommands;
use crate::client::compiler::Invocation;
use crate::client::file_set::FileSet;
use crate::client::pump::{self, Obstacle, Request};
use crate::client::session::Session;
use crate::client::settings::Settings;
use crate::client::source::{Preprocessing, Source, SourceError};
use crate::compiler_args::{self, Compile, Verdict};
use crate::hosts::spec::Host;
use crate::protocol::include_query::{Answer, Piece};
use crate::protocol::{lzo, request};
use crate::sys::child::{Command, Environment, Group, Signal};
use crate::sys::temp::{self, TempDir};

/// The compilers that are tried, as far as this machine has them, and the languages of their sources.
const COMPILERS: [(&str, &str); 4] = [("gcc", "c"), ("g++", "cc"), ("clang", "c"), ("clang++", "cc")];
/// What is tried where there is none of those.
const LAST_RESORT: (&str, &str) = ("cc", "c");
/// How long a compiler here may take for a source of one line.
const COMPILE_TIME_MAX: Duration = Duration::from_secs(20);
/// The most that is read of an object or of a compiler's messages, in bytes. The objects are smaller than 4 kB.
pub(super) const OBJECT_BYTES_MAX: u64 = 1 << 20;

/// A source without headers: the same text for every server.
const PLAIN_SOURCE: &str = "int distcc_doctor(int x) { return x + 1; }\n";
/// Sources whose objects change with the headers.
const C_SOURCE: &str = "#include <stdio.h>\n\
    const int distcc_doctor[] = { EOF, BUFSIZ, FILENAME_MAX\n\
    #ifdef __GLIBC_MINOR__\n, __GLIBC_MINOR__\n#endif\n};\n";
const CXX_SOURCE: &str = "#include <cstdio>\n#include <new>\n\
    extern const long distcc_doctor[] = { EOF, BUFSIZ\n\
    #ifdef __GLIBCXX__\n, __GLIBCXX__\n#endif\n};\n";

/// One compiler's jobs.
#[derive(Debug)]
pub(super) struct Specimen {
    /// The name that servers are asked for.
    pub(super) name: String,
    /// The command for preprocessed text.
    pub(super) argv: Vec<OsString>,
    /// The text.
    pub(super) source: Source,
    /// What it becomes here.
    pub(super) object: Vec<u8>,
    /// What that says; none if it is no object that is known.
    pub(super) facts: Option<Facts>,
    /// A job with system headers for a server that preprocesses, and what it becomes here.
    pub(super) pump: Option<(Request, Vec<u8>)>,
}

/// All jobs.
#[derive(Debug)]
pub(super) struct Specimens {
    /// The compilers', the most usual first.
    pub(super) compilers: Vec<Specimen>,
    /// A job without headers for a server that preprocesses: it tells the time there.
    pub(super) clock: Option<Request>,
    /// Of whatever is started here.
    pub(super) environment: Environment,
}

impl Specimens {
    /// Makes them, and says what is wrong with the compilers and the include server of this machine.
    pub(super) fn make(settings: &Settings, hosts: &[Host]) -> (Specimens, Vec<Check>) {
        let mut checks = Vec::new();
        let wants_pump = hosts.iter().any(|host| host.pump);
        let mut specimens =
            Specimens { compilers: Vec::new(), clock: None, environment: Environment::inherited() };
        // If there can be none, other checks say so.
        let Ok(directory) = TempDir::create(&settings.temporary, "distcc_doctor", false) else {
            return (specimens, checks);
        };
        let invocation = |name: &str| Invocation::explicit(vec![name.into()], settings);
        let is_here = |name: &str| invocation(name).find(OsStr::new(name)).is_some();
        let mut names: Vec<_> = COMPILERS.into_iter().filter(|(name, _)| is_here(name)).collect();
        if names.is_empty() {
            names.push(LAST_RESORT);
        }
        for (name, suffix) in names {
            match make(name, suffix, settings, directory.path(), wants_pump) {
                Ok((specimen, include_server)) => {
                    checks.push(Check::good("compiler", compiler_text(name, &specimen)));
                    if let Some(check) = include_server.filter(|_| specimens.compilers.is_empty()) {
                        checks.push(check);
                    }
                    specimens.compilers.push(specimen);
                }
                Err(why) => {
                    let check =
                        Check::warning("compiler", format!("{name} cannot compile a line here: {why}"));
                    checks.push(
                        check.mended_by(format!("echo 'int a;' | {name} -x c -c - -o /dev/null   # and see")),
                    );
                }
            }
        }
        match specimens.compilers.first() {
            Some(specimen) => specimens.clock = clock_job(&specimen.name).ok(),
            None => checks.push(
                Check::bad(
                    "compiler",
                    "this machine has no compiler that works, and nothing to preprocess with",
                )
                .mended_by("apt-get install gcc g++   # or your system's packages of them"),
            ),
        }
        (specimens, checks)
    }
}

fn compiler_text(name: &str, specimen: &Specimen) -> String {
    let asked =
        if specimen.name == name { String::new() } else { format!(", asked for as {}", specimen.name) };
    let is = specimen.facts.as_ref().map_or_else(|| "makes objects of an unknown kind".into(), Facts::text);
    format!("{name}{asked}: {is}")
}

/// One compiler's jobs, and what is to be said of the include server if one was asked.
fn make(
    name: &str,
    suffix: &str,
    settings: &Settings,
    directory: &Path,
    wants_pump: bool,
) -> Result<(Specimen, Option<Check>), String> {
    let plain = job(name, settings, directory, &format!("plain.{suffix}"), PLAIN_SOURCE)?;
    let sent = plain.compile.compiler().display().to_string();
    let form = plain.commands.best_form();
    let program = plain.session.invocation.find(plain.compile.compiler()).ok_or("it is not on PATH")?;
    let source = Preprocessing::start(
        &plain.compile.preprocess_command(form),
        &program,
        (&plain.compile, form),
        settings,
        &plain.session.environment,
    );
    let source = source.map_err(|error| error.to_string())?.finish().map_err(|error| match error {
        SourceError::Failed(error) => error.to_string(),
        SourceError::Rejected { status, .. } => format!("its preprocessor ends with {status}"),
    })?;
    let (mut pump, mut include_server) = (None, None);
    if wants_pump {
        let text = if suffix == "c" { C_SOURCE } else { CXX_SOURCE };
        let headers = job(name, settings, directory, &format!("headers.{suffix}"), text)?;
        match pump::prepare(&headers.session, &headers.compile, &headers.commands) {
            Ok(request) => {
                include_server =
                    Some(Check::good("include server", "lists the files of a job for pump mode"));
                pump = Some((request, headers.object));
            }
            Err(obstacle) => include_server = Some(obstacle_check(&obstacle)),
        }
    }
    let facts = object::facts(&plain.object);
    let argv = plain.commands.with_text(source.form()).to_vec();
    Ok((Specimen { name: sent, argv, source, facts, object: plain.object, pump }, include_server))
}

fn obstacle_check(obstacle: &Obstacle) -> Check {
    let check = Check::warning("include server", format!("pump mode (,cpp) is not used: {obstacle}"));
    match obstacle {
        Obstacle::SwitchedOff => check.mended_by("unset DISTCC_PUMP   # or run the build through pump"),
        Obstacle::NoIncludeServer(_) => {
            check.mended_by("unset INCLUDE_SERVER_PORT   # or run the build through pump: pump make -j20")
        }
        Obstacle::DependenciesVariable => check.mended_by("unset DEPENDENCIES_OUTPUT SUNPRO_DEPENDENCIES"),
        Obstacle::Demoted(_) => {
            check.mended_by("compare the hosts' headers and compilers with this machine's, then build again")
        }
        _ => check,
    }
}

/// A job of one file, compiled here.
struct Job<'a> {
    session: Session<'a>,
    compile: Compile,
    commands: RemoteCommands,
    object: Vec<u8>,
}

fn job<'a>(
    name: &str,
    settings: &'a Settings,
    directory: &Path,
    file: &str,
    text: &str,
) -> Result<Job<'a>, String> {
    let source = directory.join(file);
    fs::write(&source, text).map_err(|error| format!("write {}: {error}", source.display()))?;
    let output = source.with_extension("o");
    let argv = vec![name.into(), "-c".into(), source.into(), "-o".into(), output.clone().into()];
    let mut invocation = Invocation::explicit(argv, settings);
    if settings.rewrite_names {
        invocation.complete_name();
    }
    let compile = match compiler_args::scan(&invocation.argv) {
        Ok(Verdict::Distribute(compile)) => *compile,
        Ok(Verdict::Local(reason) | Verdict::Preprocess(reason)) => return Err(reason.to_string()),
        Err(error) => return Err(error.to_string()),
    };
    let session = Session::of_onlooker(invocation, settings);
    let commands = RemoteCommands::for_compile(&session, &compile)?;
    let program = session.invocation.find(compile.compiler()).ok_or("it is not on PATH")?;
    run(&program, compile.argv(), &session.environment).map_err(|error| error.to_string())?;
    let object = fs::read(&output).map_err(|error| format!("read its object: {error}"))?;
    Ok(Job { session, compile, commands, object })
}

/// Runs a compiler here. An error has its last words.
fn run(program: &Path, argv: &[OsString], environment: &Environment) -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let mut messages = temp::anonymous("messages")?;
    let child = Command {
        program,
        argv,
        environment,
        directory: None,
        stdio: [Some(null.as_fd()), Some(null.as_fd()), Some(messages.as_fd())],
        group: Group::Own,
        walls: None,
    }
    .spawn()?;
    let Some(status) = child.wait_until(Instant::now() + COMPILE_TIME_MAX)? else {
        child.signal(Signal::Kill);
        let _ = child.wait();
        let text = format!("it does not end within {} s", COMPILE_TIME_MAX.as_secs());
        return Err(io::Error::new(io::ErrorKind::TimedOut, text));
    };
    if status.success() {
        return Ok(());
    }
    let said = temp::read_back(&mut messages, OBJECT_BYTES_MAX)?;
    let said = String::from_utf8_lossy(&said);
    let last = said.lines().next_back().unwrap_or_default();
    Err(io::Error::other(format!("it ends with {status}: {last}")))
}

/// A job whose object tells when it was made.
fn clock_job(compiler: &str) -> Result<Request, String> {
    const DIRECTORY: &str = "/distcc-doctor";
    let text = format!("const char distcc_doctor[] = \"{}\" __DATE__ \" \" __TIME__;\n", clock::MARK);
    let body = lzo::store(text.as_bytes());
    let bytes = u32::try_from(body.len()).expect("BUG: a line of 4 GiB");
    let mut heads = Vec::new();
    request::encode_file_header(format!("{DIRECTORY}/clock.c").as_bytes(), bytes, &mut heads);
    heads.extend_from_slice(&body);
    let head_bytes = u32::try_from(heads.len()).expect("BUG: a line of 4 GiB");
    let piece = Piece { head_bytes, body_at: 0, body_bytes: 0 };
    let files = FileSet::from_answer(Answer { entries: 1, heads, pieces: vec![piece] }, None)?;
    let argv = [compiler, "-c", "clock.c", "-o", "clock.o"].map(OsString::from).into();
    Ok(Request { directory: DIRECTORY.into(), argv, own: Vec::new(), files })
}
