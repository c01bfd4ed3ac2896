//! The page of one job on the client: what becomes of one command, from top to bottom.
//!
//! ```text
//! scan            distribute it, or run it here, and why
//! choose a host   take a slot on the best one that is free
//! prepare         ask which files it needs, or preprocess here, while the connection is made
//! converse        send the request, receive the reply
//! conclude        keep the result; or blame the host and try the next; or compile here without blame
//! ```

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use crate::client::authentication::authenticate;
use crate::client::commands::RemoteCommands;
use crate::client::compiler::{Invocation, command_text};
use crate::client::discrepancy;
use crate::client::job_log;
use crate::client::local::{self, Diagnostics};
use crate::client::outcome::{Fault, judge_reply};
use crate::client::pump::{Pump, Request};
use crate::client::remote::{self, Outputs, Reply, SendOptions};
use crate::client::session::{LocalWork, Session};
use crate::client::settings::Settings;
use crate::client::source::{Preprocessing, Source};
use crate::client::terminal;
use crate::client::transport::{Connection, Opening};
use crate::compiler_args::{self, Compile, TextForm, Verdict};
use crate::exit_code::ExitCode;
use crate::hosts::list::HostList;
use crate::hosts::spec::{Host, Transport};
use crate::monitor::state_file::Phase;
use crate::protocol::Version;
use crate::sys::{signal, temp};
use crate::{log_debug, log_error, log_info, log_warning};

/// After so many connection timeouts spent on hosts that failed, the job is compiled here: somebody waits for it.
const CONNECT_TIMEOUTS_MAX: u32 = 3;
/// How many hosts are tried while failures are not remembered (DISTCC_BACKOFF_PERIOD=0).
const ATTEMPTS_WITHOUT_BACKOFF_MAX: usize = 3;

/// Why no host compiles a job, when each one's reason has been said before.
pub(super) const NO_HOST_LEFT: &str = "every host is down, failed a short time ago, or cannot do this job";

/// A failure to distribute: the code to exit with if nothing may run here instead, and the cause.
type Failure = (ExitCode, String);

/// Runs one command, here or elsewhere, and returns the exit status for whoever called us.
pub fn run(mut invocation: Invocation, settings: &Settings) -> i32 {
    let began = Instant::now();
    signal::install_cleanup();
    invocation.argv = compiler_args::expand(&invocation.argv, &mut |file| fs::read(Path::new(file)).ok());
    if settings.rewrite_names {
        invocation.complete_name();
    }
    let verdict = match scan(&mut invocation, settings) {
        Ok(verdict) => verdict,
        Err(error) => {
            log_error!("{error}");
            return ExitCode::BadArguments.number();
        }
    };
    let mut session = Session::new(invocation, settings);
    let status = match verdict {
        Verdict::Distribute(compile) => distribute(&mut session, *compile),
        Verdict::Local(reason) => {
            log_info!("running locally: {reason}");
            let argv = session.invocation.argv.clone();
            session.run_here(&argv, LocalWork::Command, Diagnostics::AsTheyCome)
        }
        Verdict::Preprocess(reason) => {
            log_debug!("running locally: {reason}");
            let argv = session.invocation.argv.clone();
            session.run_here(&argv, LocalWork::Preprocessor, Diagnostics::AsTheyCome)
        }
    };
    job_log::usage(began, status);
    status
}

/// Decides about the command. Servers and captured compilers cannot see our terminal, so they are told about it.
pub(super) fn scan(
    invocation: &mut Invocation,
    settings: &Settings,
) -> Result<Verdict, compiler_args::ScanError> {
    let verdict = compiler_args::scan(&invocation.argv)?;
    invocation.argv = compiler_args::split_wp(&invocation.argv);
    let Verdict::Distribute(compile) = &verdict else { return Ok(verdict) };
    let options = terminal::options(compile, invocation.family(compile.compiler()), settings);
    if options.is_empty() {
        return Ok(verdict);
    }
    invocation.argv.extend(options);
    compiler_args::scan(&invocation.argv)
}

/// A compilation: on a host if one can be had, else here.
fn distribute(session: &mut Session<'_>, compile: Compile) -> i32 {
    session.announce(compile.source());
    log_info!("compile from {} to {}", compile.source().display(), compile.output().display());
    if let Some(name) = session.settings.hidden_options {
        log_info!("running locally: {name} changes what compilers of this machine do");
        return compile_here(session, &compile);
    }
    let commands = match RemoteCommands::for_compile(session, &compile) {
        Ok(commands) => commands,
        Err(reason) => {
            log_info!("running locally: {reason}");
            return compile_here(session, &compile);
        }
    };
    let result = hosts(session).and_then(|list| {
        let job = RemoteJob { compile: &compile, commands };
        try_hosts(session, &job, &list)
    });
    match result {
        Ok(status) => status,
        Err((code, cause)) => fall_back(session, &compile, code, &cause),
    }
}

/// What is the same for every host that is tried.
struct RemoteJob<'a> {
    compile: &'a Compile,
    commands: RemoteCommands,
}

/// What is sent to hosts, each made once and when the first host wants it.
#[derive(Default)]
struct Cargo {
    /// For servers that preprocess.
    pump: Pump,
    /// For all others.
    source: Option<Source>,
}

impl Cargo {
    /// How many bytes of it went into a conversation of this version.
    fn bytes(&self, version: Version) -> u64 {
        match version.preprocesses_remotely() {
            true => self.pump.bytes(),
            false => self.source.as_ref().map_or(0, Source::bytes),
        }
    }

    /// What was said while it was made, and not again by the server.
    fn spoken(&self, reply: &Reply) -> Vec<u8> {
        match &self.source {
            Some(source) if !reply.version.preprocesses_remotely() => source.unrepeated(&reply.stderr),
            _ => Vec::new(),
        }
    }
}

/// What must hold before a host is looked for: a list, slots, a place for temporary files.
fn hosts(session: &Session<'_>) -> Result<HostList, Failure> {
    let list = session.hosts.clone().map_err(|cause| (ExitCode::NoHosts, cause))?;
    if session.slots.is_none() {
        return Err((ExitCode::NoHosts, "there is no lock directory (see DISTCC_DIR)".into()));
    }
    let temporary = &session.settings.temporary;
    if !temp::is_usable_directory(temporary) {
        return Err((ExitCode::IoError, format!("TMPDIR {} cannot be written", temporary.display())));
    }
    Ok(list)
}

/// Tries one host after the other until one has compiled the source, or rejected it.
fn try_hosts(session: &mut Session<'_>, job: &RemoteJob<'_>, list: &HostList) -> Result<i32, Failure> {
    let mut cargo = Cargo::default();
    let backoff = session.backoff().expect("BUG: slots without a lock directory");
    let patience = session.settings.connect_timeout * CONNECT_TIMEOUTS_MAX;
    let mut failed: Vec<&Host> = Vec::new();
    let mut time_lost = Duration::ZERO;
    let mut last = ExitCode::NoHosts;
    loop {
        let mut usable = list.usable(&backoff, SystemTime::now());
        usable.retain(|host| !failed.contains(host));
        let too_many =
            session.settings.backoff_period.is_zero() && failed.len() >= ATTEMPTS_WITHOUT_BACKOFF_MAX;
        if usable.is_empty() || too_many || time_lost >= patience {
            return Err((last, NO_HOST_LEFT.into()));
        }
        let (slots, state) = (session.slots.as_ref().expect("BUG: checked by hosts"), &mut session.state);
        let lease = slots
            .lease_host(&usable, || state.set(Phase::Blocked, "", 0))
            .map_err(|error| (ExitCode::NoHosts, error.to_string()))?;
        let host = usable[lease.host_index()];
        if host.transport == Transport::Local {
            session.state.set(Phase::Compile, "localhost", lease.slot());
            let status = session.run_unslotted(&session.invocation.argv, Diagnostics::InOnePiece);
            job_log::end(job.compile, "localhost", status);
            return Ok(status);
        }
        let began = Instant::now();
        let result = attempt(session, job, (host, lease.slot()), &mut cargo);
        // The slot stands for a compiler over there; what follows happens here.
        drop(lease);
        match result {
            Ok(reply) => {
                job_log::reply(job.compile, host, cargo.bytes(reply.version), &reply, began);
                let _ = backoff.clear(host);
                let spoken = cargo.spoken(&reply);
                return conclude(session, job.compile, host, reply, &spoken);
            }
            Err(fault @ Fault::Source { .. }) if !fault.is_final() && session.settings.fallback => {
                log_info!("the preprocessor rejects {}; compiling it here", job.compile.source().display());
                return Ok(compile_here(session, job.compile));
            }
            Err(Fault::Source { status, diagnostics }) => {
                local::show(&diagnostics);
                return Ok(status.shell_code());
            }
            Err(Fault::IncludeServer(cause)) => {
                log_error!("{cause}");
                return Ok(ExitCode::DistccFailed.number());
            }
            Err(Fault::NeedsText(cause)) => unreachable!("BUG: attempt sends the text then: {cause}"),
            Err(Fault::Job(code, cause)) => return Err((code, format!("{}: {cause}", host.word))),
            Err(Fault::Unfit(code, cause)) => {
                session.warn_once(&format!("{}: {cause}", host.word));
                last = code;
                failed.push(host);
            }
            Err(Fault::Host(code, cause)) => {
                session.warn_once(&format!("{}: {cause}; leaving this host alone for a while", host.word));
                let _ = backoff.mark(host);
                last = code;
                time_lost += began.elapsed();
                failed.push(host);
            }
        }
    }
}

/// One host's try: with the files as they are if host and job allow that, else with preprocessed text.
fn attempt(
    session: &mut Session<'_>,
    job: &RemoteJob<'_>,
    (host, slot): (&Host, u32),
    cargo: &mut Cargo,
) -> Result<Reply, Fault> {
    if !cargo.pump.is_possible(session, host) {
        return attempt_text(session, job, (host, slot), &mut cargo.source, None);
    }
    session.state.set(Phase::Connect, host.name(), slot);
    let opening = Opening::start(host, session.settings, &session.environment);
    match cargo.pump.request(session, job.compile, &job.commands).map_err(Fault::IncludeServer)? {
        None => attempt_text(session, job, (host, slot), &mut cargo.source, Some(opening)),
        Some(request) => match attempt_files(session, job, (host, slot), request, opening) {
            Err(Fault::NeedsText(cause)) => {
                cargo.pump.note_refusal(session, host, &cause);
                attempt_text(session, job, (host, slot), &mut cargo.source, None)
            }
            result => result,
        },
    }
}

/// The try in pump mode: the server preprocesses.
fn attempt_files(
    session: &mut Session<'_>,
    job: &RemoteJob<'_>,
    (host, slot): (&Host, u32),
    request: &Request,
    opening: io::Result<Opening>,
) -> Result<Reply, Fault> {
    let connection = connect(session.settings, host, opening)?;
    log_info!("exec on {}: {}", host.word, command_text(&request.argv));
    session.state.set(Phase::Send, host.name(), slot);
    remote::send_files(&connection, request)?;
    let dependencies = job.compile.dependency_output(None);
    let outputs = Outputs {
        object: Path::new(job.compile.output()),
        dependencies: dependencies.as_ref().map(|wanted| Path::new(&wanted.path)),
    };
    let reply = receive(session, &connection, Version::PUMP, outputs, (host, slot))?;
    if reply.status.success() && outputs.dependencies.is_some() && reply.dependencies.is_none() {
        // The build tool would take the file of an earlier compilation for that of this one.
        return Err(Fault::NeedsText("it made no dependency file".into()));
    }
    Ok(reply)
}

/// The try in plain mode: preprocess (once per job) while the connection is made, unless one is being made already.
fn attempt_text(
    session: &mut Session<'_>,
    job: &RemoteJob<'_>,
    (host, slot): (&Host, u32),
    source: &mut Option<Source>,
    opening: Option<io::Result<Opening>>,
) -> Result<Reply, Fault> {
    let settings = session.settings;
    let preprocessing = match source {
        Some(_) => None,
        None if job.compile.is_preprocessed() => {
            *source = Some(Source::already_preprocessed(job.compile).map_err(Fault::cannot_preprocess)?);
            None
        }
        None => {
            let local_slot = session.local_slot(LocalWork::Preprocessor);
            Some((start_preprocessor(session, job.compile, job.commands.best_form())?, local_slot))
        }
    };
    session.state.set(Phase::Connect, host.name(), slot);
    let opening = opening.unwrap_or_else(|| Opening::start(host, settings, &session.environment));
    if let Some((preprocessing, local_slot)) = preprocessing {
        session.state.set(Phase::Preprocess, "localhost", local_slot.as_ref().map_or(0, |slot| slot.slot()));
        *source = Some(finish_preprocessor(session, job.compile, preprocessing)?);
    }
    let source = source.as_ref().expect("BUG: made above");
    let connection = connect(settings, host, opening)?;
    let version = if host.compress { Version::LZO } else { Version::PLAIN };
    let argv = job.commands.with_text(source.form());
    log_info!("exec on {}: {}", host.word, command_text(argv));
    session.state.set(Phase::Send, host.name(), slot);
    remote::send_plain(&connection, argv, source, SendOptions { version, cork: settings.cork })?;
    let outputs = Outputs { object: Path::new(job.compile.output()), dependencies: None };
    receive(session, &connection, version, outputs, (host, slot))
}

/// Waits for the connection, and for both ends to know each other where the host list asks for that.
fn connect(settings: &Settings, host: &Host, opening: io::Result<Opening>) -> Result<Connection, Fault> {
    let connection = opening.and_then(|opening| opening.finish(settings)).map_err(Fault::connect)?;
    authenticate(&connection, host, settings)?;
    Ok(connection)
}

fn receive(
    session: &mut Session<'_>,
    connection: &Connection,
    version: Version,
    outputs: Outputs<'_>,
    (host, slot): (&Host, u32),
) -> Result<Reply, Fault> {
    let state = &mut session.state;
    state.set(Phase::Compile, host.name(), slot);
    let reply = remote::receive(connection, version, outputs, || {
        state.set(Phase::Receive, host.name(), slot);
    })?;
    judge_reply(reply)
}

fn start_preprocessor(
    session: &Session<'_>,
    compile: &Compile,
    form: TextForm,
) -> Result<Preprocessing, Fault> {
    let program = session.invocation.find(compile.compiler()).ok_or_else(|| {
        Fault::Job(ExitCode::CompilerMissing, format!("{} is not on PATH", compile.compiler().display()))
    })?;
    let argv = compile.preprocess_command(form);
    log_debug!("exec on localhost: {}", command_text(&argv));
    Preprocessing::start(&argv, &program, (compile, form), session.settings, &session.environment)
        .map_err(Fault::cannot_preprocess)
}

/// The preprocessed source. A gathered text that would become something else elsewhere is made again, expanded.
fn finish_preprocessor(
    session: &Session<'_>,
    compile: &Compile,
    preprocessing: Preprocessing,
) -> Result<Source, Fault> {
    let source = preprocessing.finish()?;
    if source.is_faithful().map_err(Fault::cannot_preprocess)? {
        return Ok(source);
    }
    log_debug!("{} cannot be sent gathered", compile.source().display());
    Ok(start_preprocessor(session, compile, TextForm::Expanded)?.finish()?)
}

/// A server has compiled the source, or its compiler has failed. `spoken` is what the preprocessor said before.
fn conclude(
    session: &mut Session<'_>,
    compile: &Compile,
    host: &Host,
    reply: Reply,
    spoken: &[u8],
) -> Result<i32, Failure> {
    let preprocessed_there = reply.version.preprocesses_remotely();
    let misled = !preprocessed_there
        && compile.blames_preprocessing(session.invocation.family(compile.compiler()), &reply.stderr);
    if reply.status.success() {
        if misled {
            // Only a compiler that sees the source itself knows whether the message is true.
            log_info!(
                "{}: a message may be due to preprocessing; compiling here to see",
                compile.source().display()
            );
            return Ok(compile_here(session, compile));
        }
        return keep(reply, spoken)
            .map_err(|error| (ExitCode::IoError, format!("write {}: {error}", compile.output().display())));
    }
    let source = compile.source().display();
    let final_here = session.settings.skip_local_retry;
    if final_here || !session.settings.fallback {
        if !final_here {
            log_error!("compile {source} on {} failed, and fallbacks are disabled", host.word);
        }
        show_all(spoken, &reply);
        return Ok(reply.status.shell_code());
    }
    log_info!("remote compilation of '{source}' failed, retrying locally");
    let argv = session.invocation.argv.clone();
    let (here, said) = session.run_and_hear(&argv, LocalWork::Command, Diagnostics::InOnePiece);
    job_log::end(compile, "localhost", here);
    let remote_code = reply.status.shell_code();
    if let Some(signal) = reply.status.signal() {
        let what = signal::description(signal);
        log_warning!("the compiler of {source} on {} died of signal {signal} ({what})", host.word);
    } else if here != remote_code && !misled {
        log_warning!(
            "remote compilation of '{source}' on {} failed with code {remote_code}, retried locally and got a \
             different result: {here}",
            host.word
        );
        if preprocessed_there {
            // Preprocessing is the first suspect; the host is only if it fails in plain mode, too.
            let there = discrepancy::Verdict { place: &host.word, code: remote_code, said: &reply.stderr };
            let here = discrepancy::Verdict { place: "localhost", code: here, said: &said };
            discrepancy::note(session, compile, [there, here]);
        } else if let Some(backoff) = session.backoff() {
            let _ = backoff.mark(host);
        }
    }
    Ok(here)
}

/// The compilation, on this machine.
fn compile_here(session: &mut Session<'_>, compile: &Compile) -> i32 {
    let argv = session.invocation.argv.clone();
    let status = session.run_here(&argv, LocalWork::Command, Diagnostics::InOnePiece);
    job_log::end(compile, "localhost", status);
    status
}

/// The job cannot be distributed: it runs here, unless the user wants it to fail.
fn fall_back(session: &mut Session<'_>, compile: &Compile, code: ExitCode, cause: &str) -> i32 {
    if !session.settings.fallback {
        log_error!("failed to distribute {} and fallbacks are disabled: {cause}", compile.source().display());
        return code.number();
    }
    log_info!("failed to distribute {}, running locally instead: {cause}", compile.source().display());
    session.warn_once(&format!("failed to distribute, running locally instead: {cause}"));
    compile_here(session, compile)
}

/// Puts the results in their places, and then says what the compiler said. The object comes last: what is built from
/// an older one is built again.
fn keep(mut reply: Reply, spoken: &[u8]) -> io::Result<i32> {
    for output in [reply.dependencies.take(), reply.object.take()].into_iter().flatten() {
        output.commit()?;
    }
    show_all(spoken, &reply);
    Ok(0)
}

fn show_all(spoken: &[u8], reply: &Reply) {
    if !reply.stdout.is_empty() {
        // Nobody is left to be told if standard output is closed.
        let _ = io::stdout().write_all(&reply.stdout).and_then(|()| io::stdout().flush());
    }
    local::show(&[spoken, &reply.stderr].concat());
}
