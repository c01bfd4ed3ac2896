//! `distcc --explain`: where a command would go and why, in words. Takes the same decisions as [`crate::client::job`],
//! from the same functions, and does nothing about them: no connection, no slot, no preprocessor, no compiler.
//!
//! What only a server or a busy moment can decide is said as such: whether it lets us in, which slot is free.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::client::commands::RemoteCommands;
use crate::client::compiler::{Invocation, command_text};
use crate::client::file_set::Category;
use crate::client::job;
use crate::client::pump::{self, Candidate};
use crate::client::session::{self, Session};
use crate::client::settings::Settings;
use crate::compiler_args::{self, Compile, TextForm, Verdict};
use crate::exit_code::ExitCode;
use crate::hosts::list::HostList;
use crate::hosts::spec::{Host, Transport};
use crate::sys::gssapi;
use crate::sys::temp;

/// The exit status for a command that would run on this machine.
const STATUS_HERE: i32 = 1;
/// How many files of a pump job are named; the rest is counted.
const NAMED_FILES_MAX: usize = 8;

/// What a pump job's files are: as an include server would list them, or why it could not.
pub type Listing = Result<Vec<(Category, PathBuf)>, String>;

/// How to find them where no include server is named: the compile and where it runs.
pub type Lister<'a> = &'a mut dyn FnMut(&Compile, &Candidate) -> Listing;

/// An explanation, and the exit status that sums it up.
#[derive(Debug)]
pub struct Explanation {
    /// Lines: a word, a colon, and what there is to say.
    pub text: String,
    /// 0 if the command would be sent to a server, 1 if it would run here, else the status with which distcc would
    /// end without running it.
    pub status: i32,
}

/// Explains what would become of a command.
pub fn explain(mut invocation: Invocation, settings: &Settings, list: Lister<'_>) -> Explanation {
    let mut page = Page::default();
    let typed = invocation.argv.clone();
    match invocation.check_recursion() {
        Err(code) => return page.fails(code, "distcc has called itself (_DISTCC_SAFEGUARD is set)"),
        Ok(true) => return page.here("an outer distcc has decided already (_DISTCC_SAFEGUARD is set)"),
        Ok(false) => {}
    }
    invocation.argv = compiler_args::expand(&invocation.argv, &mut |file| fs::read(Path::new(file)).ok());
    if settings.rewrite_names {
        invocation.complete_name();
    }
    let verdict = match job::scan(&mut invocation, settings) {
        Ok(verdict) => verdict,
        Err(error) => return page.fails(ExitCode::BadArguments, &error.to_string()),
    };
    page.line("command", &command_text(&invocation.argv));
    if invocation.argv != typed {
        page.more(&format!("for: {}", command_text(&typed)));
    }
    let name = &invocation.argv[0];
    match invocation.find(name) {
        Some(file) => page.line("compiler", &format!("{} on this machine", file.display())),
        None => page.line("compiler", &format!("{} is not on PATH", name.display())),
    }
    let session = Session::of_onlooker(invocation, settings);
    match verdict {
        Verdict::Local(reason) | Verdict::Preprocess(reason) => {
            page.here_if_found(&session, &reason.to_string())
        }
        Verdict::Distribute(compile) => distributable(page, &session, &compile, list),
    }
}

/// A compilation: as [`job`] goes about it.
fn distributable(mut page: Page, session: &Session<'_>, compile: &Compile, list: Lister<'_>) -> Explanation {
    let settings = session.settings;
    if let Some(name) = settings.hidden_options {
        let why = format!("{name} changes what compilers of this machine do");
        return page.here_if_found(session, &why);
    }
    let (commands, asks_compiler) = match RemoteCommands::as_far_as_known(session, compile) {
        Ok(known) => known,
        Err(reason) => return page.here_if_found(session, &reason),
    };
    if asks_compiler {
        let word = compile.native_options()[0].display().to_string();
        page.line(
            "before",
            &format!("the compiler is asked once what {word} means; its answer is sent instead"),
        );
    }
    let list_of_hosts = match hosts(&mut page, session) {
        Ok(list) => list,
        Err((code, cause)) => return page.not_distributed(session, code, &cause),
    };
    let backoff = session.backoff().expect("BUG: checked by hosts");
    let now = SystemTime::now();
    for (index, host) in list_of_hosts.hosts.iter().enumerate() {
        let note = match () {
            () if host.down => "; never used, it has ,down".into(),
            () if backoff.is_backed_off(host, now) => {
                format!("; left alone, it failed less than {} s ago", settings.backoff_period.as_secs())
            }
            () if cannot_authenticate(host) => {
                "; passed over: it has ,auth, and this build no GSS-API".into()
            }
            () => String::new(),
        };
        let what = host_text(host);
        page.more(&format!("{}. {}: {} slots, {what}{note}", index + 1, host.word, host.slots));
    }
    let usable = list_of_hosts.usable(&backoff, now);
    let Some(host) = usable.iter().find(|host| !cannot_authenticate(host)) else {
        let code = if usable.is_empty() { ExitCode::NoHosts } else { ExitCode::GssapiFailed };
        return page.not_distributed(session, code, job::NO_HOST_LEFT);
    };
    if host.transport == Transport::Local {
        page.line("otherwise", "the next host, while all slots of this one are taken");
        return page.here_if_found(session, "localhost comes first in the host list");
    }
    sent(page, session, (compile, &commands), host, &usable, list)
}

/// What a host is sent, and what is done with it.
fn sent(
    mut page: Page,
    session: &Session<'_>,
    (compile, commands): (&Compile, &RemoteCommands),
    host: &Host,
    usable: &[&Host],
    list: Lister<'_>,
) -> Explanation {
    match unpreprocessed(session, (compile, commands), host, list) {
        Ok((candidate, files)) => {
            page.line("mode", "pump: the server preprocesses");
            page.files(&candidate, &files);
            page.checked(&candidate.command.argv, host);
            page.more("that its system headers are the same as here, where it is a server of this kind");
            if let Some(dependencies) = compile.dependency_output(None) {
                page.line(
                    "comes back",
                    &format!("the dependency file {}", Path::new(&dependencies.path).display()),
                );
            }
            page.otherwise(session, usable, host);
            page.sent_to(host, "in pump mode")
        }
        Err(obstacle) => {
            page.line("mode", &format!("plain: {obstacle}"));
            if !compile.is_preprocessed() && session.invocation.find(compile.compiler()).is_none() {
                let cause = format!("{}: {} is not on PATH", host.word, compile.compiler().display());
                return page.not_distributed(session, ExitCode::CompilerMissing, &cause);
            }
            if let Err(error) = fs::File::open(compile.source()) {
                let cause = format!("{}: {error}", compile.source().display());
                return match compile.is_preprocessed() {
                    true => {
                        let cause = format!("{}: preprocess: {cause}", host.word);
                        page.not_distributed(session, ExitCode::IoError, &cause)
                    }
                    // What it says is the result.
                    false => page.here(&format!("the preprocessor ends it: {cause}")),
                };
            }
            page.text((compile, commands), host);
            page.otherwise(session, usable, host);
            page.sent_to(host, "in plain mode")
        }
    }
}

/// What a server that preprocesses would be sent; or why the job is preprocessed here.
fn unpreprocessed(
    session: &Session<'_>,
    (compile, commands): (&Compile, &RemoteCommands),
    host: &Host,
    list: Lister<'_>,
) -> Result<(Candidate, Vec<(Category, PathBuf)>), String> {
    if !host.pump {
        return Err("the host has no ,cpp".into());
    }
    if pump::had_other_headers(session.settings, host) {
        return Err("the host had other system headers a short time ago".into());
    }
    let candidate = pump::consider(session, compile, commands).map_err(|obstacle| obstacle.to_string())?;
    if candidate.would_start_include_server() {
        let files = list(compile, &candidate).map_err(|why| pump::Obstacle::CannotTell(why).to_string())?;
        return Ok((candidate, files));
    }
    let files = candidate.files(session.settings).map_err(|obstacle| obstacle.to_string())?;
    let entries = files.entries().into_iter();
    let entries = entries.map(|(category, name)| (category, OsStr::from_bytes(name).into())).collect();
    Ok((candidate, entries))
}

/// The host list and what must be there beside it; an error is what a job would fail with.
fn hosts(page: &mut Page, session: &Session<'_>) -> Result<HostList, (ExitCode, String)> {
    let list = session.hosts.clone().map_err(|cause| (ExitCode::NoHosts, cause))?;
    let source = session::host_source(session.settings).map_or_else(|_| String::new(), |source| source.name);
    let order = if list.randomize { "in an order that each job shuffles" } else { "best first" };
    page.line("hosts", &format!("from {source}, {order}; the first with a free slot is taken"));
    let missing = || (ExitCode::NoHosts, "there is no lock directory (see DISTCC_DIR)".to_string());
    let directory = session.settings.lock_directory().ok_or_else(missing)?;
    if !can_be_had(&directory, session.settings) {
        let cause = format!("no files can be made in {} (see DISTCC_DIR)", directory.display());
        return Err(if directory.exists() { (ExitCode::NoHosts, cause) } else { missing() });
    }
    let temporary = &session.settings.temporary;
    if !temp::is_usable_directory(temporary) {
        return Err((ExitCode::IoError, format!("TMPDIR {} cannot be written", temporary.display())));
    }
    Ok(list)
}

/// Whether the lock directory is there, or would be made by the job.
fn can_be_had(directory: &Path, settings: &Settings) -> bool {
    let parent = directory.parent().expect("BUG: a directory in a directory");
    let may_make_parent = settings.directory_is_ours && !parent.exists();
    match () {
        () if directory.exists() => temp::is_usable_directory(directory),
        () if may_make_parent => parent.parent().is_some_and(temp::is_usable_directory),
        () => temp::is_usable_directory(parent),
    }
}

/// Whether the host wants to know us, and this build cannot tell it.
fn cannot_authenticate(host: &Host) -> bool {
    host.authenticate.is_some() && !gssapi::IS_BUILT_IN
}

fn host_text(host: &Host) -> &'static str {
    match (&host.transport, host.compress, host.pump) {
        (Transport::Local, ..) => "this machine",
        (_, true, true) => "pump mode if the job allows it",
        (_, true, false) => "plain mode, compressed",
        (_, false, _) => "plain mode, not compressed",
    }
}

/// The explanation as far as it has been written.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, label: &str, text: &str) {
        let _ = writeln!(self.text, "{:<11} {text}", format!("{label}:"));
    }

    /// One more line of the same.
    fn more(&mut self, text: &str) {
        let _ = writeln!(self.text, "{:<11} {text}", "");
    }

    fn files(&mut self, candidate: &Candidate, entries: &[(Category, PathBuf)]) {
        let of = |category| entries.iter().filter(move |entry| entry.0 == category);
        let count = of(Category::File).count();
        let bytes: u64 =
            of(Category::File).filter_map(|entry| Some(fs::metadata(&entry.1).ok()?.len())).sum();
        self.line("sent", &command_text(&candidate.command.argv));
        self.more(&format!("as in {}", candidate.here.written().display()));
        self.more(&format!(
            "with files: {count}, of {bytes} bytes before they are compressed; links: {}; directories: {}",
            of(Category::Symlink).count(),
            of(Category::Directory).count()
        ));
        for (_, path) in of(Category::File).take(NAMED_FILES_MAX) {
            self.more(&format!("  {}", path.display()));
        }
        if count > NAMED_FILES_MAX {
            self.more(&format!("  and {} more (distcc --scan-includes names them)", count - NAMED_FILES_MAX));
        }
        self.more("and what a server must know to be true to this machine: the environment of compilers, the times of files, and");
        self.more("which system headers there are here");
    }

    fn text(&mut self, (compile, commands): (&Compile, &RemoteCommands), host: &Host) {
        let form = commands.best_form();
        let compressed = if host.compress { ", compressed" } else { "" };
        if compile.is_preprocessed() {
            let bytes = fs::metadata(compile.source()).map_or(0, |file| file.len());
            self.line("here", "nothing: the source is preprocessed already");
            self.line("sent", &command_text(commands.with_text(form)));
            self.more(&format!("with {}, of {bytes} bytes{compressed}", compile.source().display()));
        } else {
            self.line("here", &command_text(&compile.preprocess_command(form)));
            if let Some(dependencies) = compile.dependency_output(None) {
                self.more(&format!("which also writes {}", Path::new(&dependencies.path).display()));
            }
            self.line("sent", &command_text(commands.with_text(form)));
            let kind = match form {
                TextForm::Expanded => "the preprocessed text",
                TextForm::Gathered => "the text of the source and all it includes, with its macros",
            };
            self.more(&format!("with {kind}{compressed}; only the preprocessor can tell how long it is"));
        }
        self.checked(commands.with_text(form), host);
    }

    fn checked(&mut self, argv: &[OsString], host: &Host) {
        let options = match compiler_args::check(argv) {
            Ok(_) => "its options: servers accept them".to_string(),
            Err(refusal) => format!("its options: servers refuse {refusal}"),
        };
        self.line("checked", &options);
        self.more("by the server: that this machine may use it (--allow)");
        if host.authenticate.is_some() {
            self.more(
                "by the server: that you may use it (--auth), and by us that it is who it should be (,auth)",
            );
        }
        self.more(&format!(
            "by the server: that it has a compiler {} and offers it",
            Path::new(&argv[0]).display()
        ));
    }

    /// What becomes of the job where this host does not do it.
    fn otherwise(&mut self, session: &Session<'_>, usable: &[&Host], chosen: &Host) {
        let others = usable.iter().filter(|host| host.word != chosen.word).count();
        let next = if others > 0 { "the next host; in the end " } else { "" };
        let last =
            if session.settings.fallback { "it is compiled here" } else { "it fails (DISTCC_FALLBACK=0)" };
        self.line("otherwise", &format!("{next}{last}"));
    }

    fn sent_to(self, host: &Host, how: &str) -> Explanation {
        self.verdict(0, &format!("sent to {}, {how}", host.word))
    }

    fn here(self, why: &str) -> Explanation {
        self.verdict(STATUS_HERE, &format!("runs here: {why}"))
    }

    /// It runs here, if its compiler is.
    fn here_if_found(self, session: &Session<'_>, why: &str) -> Explanation {
        let name = &session.invocation.argv[0];
        match session.invocation.find(name) {
            Some(_) => self.here(why),
            None => {
                let missing = format!("{} is not on PATH", name.display());
                // The reason may be that very thing.
                let cause = match why.contains(&missing) {
                    true => why.to_owned(),
                    false => format!("{missing}, where it would run because: {why}"),
                };
                self.fails(ExitCode::CompilerMissing, &cause)
            }
        }
    }

    fn not_distributed(self, session: &Session<'_>, code: ExitCode, cause: &str) -> Explanation {
        if !session.settings.fallback {
            return self.fails(code, &format!("{cause}, and fallbacks are disabled (DISTCC_FALLBACK=0)"));
        }
        self.here_if_found(session, cause)
    }

    fn fails(self, code: ExitCode, cause: &str) -> Explanation {
        self.verdict(code.number(), &format!("fails with exit status {}: {cause}", code.number()))
    }

    fn verdict(self, status: i32, verdict: &str) -> Explanation {
        Explanation { text: format!("{:<11} {verdict}\n{}", "verdict:", self.text), status }
    }
}
