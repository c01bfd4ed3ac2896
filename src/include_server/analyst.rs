//! One scanner with all that belongs to it: from a command to a composed answer, in either language. Used by one request
//! at a time; knows no sockets.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::aids;
use super::compose::{self, Composed, bytes_of};
use super::config::Aids;
use super::mailer::Mailer;
use super::mirror::{self, Mirror, Version};
use super::remembered::Remembered;
use super::statistics::Statistics;
use super::store::{Store, Stored};
use crate::compiler_args::{self, Compile, Verdict};
use crate::include_scan::{Closure, Counters, IncludeVariables, IncludedFile, Query, Scanner};
use crate::log_error;
use crate::protocol::include_query::{self, Question};
use crate::protocol::lzo::Compressor;

/// How often a command is analysed anew because a file has changed meanwhile.
const ATTEMPTS_MAX: u32 = 4;

/// What all analysts share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) aids: Aids,
    pub(super) store: Store,
    pub(super) mirror: Mutex<Mirror>,
    pub(super) statistics: Mutex<Statistics>,
    pub(super) mailer: Option<Mailer>,
}

impl Shared {
    /// Reports what should not have happened.
    pub(super) fn report(&self, trouble: &str) {
        log_error!("{trouble}");
        if let Some(mailer) = &self.mailer {
            mailer.send(trouble);
        }
    }
}

/// A command to analyse, and where it would run.
#[derive(Debug)]
pub(super) struct Job {
    compile: Box<Compile>,
    compiler: PathBuf,
    directory: PathBuf,
    variables: IncludeVariables,
    search_path: OsString,
}

impl Job {
    /// The job of a question in the direct language.
    pub(super) fn of_question(question: &Question) -> Result<Job, String> {
        let argv: Vec<OsString> = question.argv.iter().map(|word| os_string(word)).collect();
        Ok(Job {
            compile: compile(&argv)?,
            compiler: os_string(&question.compiler).into(),
            directory: os_string(&question.directory).into(),
            variables: variables(&question.variables),
            search_path: os_string(&question.search_path),
        })
    }

    /// The job of a command whose compiler is already found.
    pub(super) fn of_command(
        argv: &[OsString],
        compiler: PathBuf,
        directory: PathBuf,
        search_path: OsString,
    ) -> Result<Job, String> {
        let variables = IncludeVariables::default();
        Ok(Job { compile: compile(argv)?, compiler, directory, variables, search_path })
    }

    pub(super) fn compile(&self) -> &Compile {
        &self.compile
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn compiler(&self) -> &Path {
        &self.compiler
    }

    pub(super) fn search_path(&self) -> &OsStr {
        &self.search_path
    }

    /// Whether the compiler would write a header's path beginning with `/`. The closure has all paths absolute, so this
    /// is judged by the directories of the command: wrong only for a header that is reached both ways.
    fn writes_absolute(&self, path: &Path) -> bool {
        if !path.starts_with(&self.directory) {
            return true;
        }
        let parent = |file: &'_ OsStr| Path::new(file).parent().map(Path::to_owned);
        let mut absolute: Vec<PathBuf> = Vec::new();
        absolute.extend(parent(self.compile.source()).filter(|place| place.is_absolute()));
        for option in self.compile.options() {
            match option.name.as_bytes() {
                b"-I" | b"-iquote" | b"-isystem" | b"-idirafter" => absolute.push(option.value.into()),
                b"-include" | b"-imacros" => absolute.extend(parent(option.value)),
                _ => {}
            }
        }
        absolute.iter().any(|place| place.is_absolute() && path.starts_with(place))
    }
}

/// An answer in 3.4's language.
#[derive(Debug)]
struct OldReply {
    bytes: Vec<u8>,
    /// The mirror's count of removals when it was made.
    removals: u64,
}

/// A scanner and what it has made so far.
#[derive(Debug)]
pub(super) struct Analyst {
    shared: Arc<Shared>,
    scanner: Scanner,
    compressor: Compressor,
    composed: Remembered<Composed>,
    replies: Remembered<OldReply>,
}

impl Analyst {
    /// One that knows nothing yet.
    pub(super) fn new(shared: Arc<Shared>) -> Analyst {
        Analyst {
            shared,
            scanner: Scanner::new(),
            compressor: Compressor::new(),
            composed: Remembered::default(),
            replies: Remembered::default(),
        }
    }

    /// The answer in the direct language, or why there is none.
    pub(super) fn answer(&mut self, job: &Job) -> Result<Arc<Composed>, String> {
        self.attempt(job, |analyst, closure| {
            let arena = analyst.shared.store.arena();
            if let Some(known) =
                analyst.composed.get(closure).filter(|known| Arc::ptr_eq(&known.arena, &arena))
            {
                return Ok(Some(known));
            }
            let stored = analyst.shared.store.bodies(&closure.files, &mut analyst.compressor)?;
            let Stored::Bodies(arena, bodies) = stored else { return Ok(None) };
            let force = analyst.shared.aids.force_directories;
            let composed =
                Arc::new(compose::compose(closure, arena, &bodies, force, &mut analyst.compressor)?);
            analyst.composed.put(closure, Arc::clone(&composed), composed.bytes.len());
            Ok(Some(composed))
        })
    }

    /// The answer in 3.4's language, with all files in the mirror, or why there is none.
    pub(super) fn old_answer(&mut self, job: &Job) -> Result<Vec<u8>, String> {
        self.attempt(job, |analyst, closure| {
            let shared = Arc::clone(&analyst.shared);
            let mut mirror = lock(&shared.mirror);
            mirror.refresh();
            if let Some(known) =
                analyst.replies.get(closure).filter(|known| known.removals == mirror.removals)
            {
                return Ok(Some(known.bytes.clone()));
            }
            let Some(paths) = analyst.mirrored(&mut mirror, job, closure)? else { return Ok(None) };
            let mut bytes = Vec::new();
            include_query::encode_old_answer(&paths, &mut bytes);
            let reply = OldReply { bytes: bytes.clone(), removals: mirror.removals };
            analyst.replies.put(closure, Arc::new(reply), bytes.len());
            Ok(Some(bytes))
        })
    }

    /// Analyses a command and makes something of the closure, anew if a file has changed in between.
    fn attempt<T>(
        &mut self,
        job: &Job,
        mut make: impl FnMut(&mut Analyst, &Arc<Closure>) -> Result<Option<T>, String>,
    ) -> Result<T, String> {
        let begin = Instant::now();
        let before = self.scanner.counters();
        for _ in 0..ATTEMPTS_MAX {
            let closure = self.closure(job)?;
            if let Some(made) = make(self, &closure)? {
                self.look_after(job, &closure, begin, before)?;
                return Ok(made);
            }
        }
        Err(format!("{}: its files change all the time", job.compile.source().display()))
    }

    fn closure(&mut self, job: &Job) -> Result<Arc<Closure>, String> {
        let query = Query {
            compile: &job.compile,
            compiler: &job.compiler,
            directory: &job.directory,
            variables: &job.variables,
            search_path: &job.search_path,
        };
        self.scanner.scan(&query).map_err(|reason| reason.to_string())
    }

    /// Does what the options ask for with each answer.
    fn look_after(
        &self,
        job: &Job,
        closure: &Closure,
        begin: Instant,
        before: Counters,
    ) -> Result<(), String> {
        let aids = &self.shared.aids;
        if aids.statistics {
            let now = self.scanner.counters();
            lock(&self.shared.statistics).note(job.compile.source(), begin.elapsed(), before, now, closure);
        }
        if let Some(pattern) = &aids.observed {
            aids::observe(pattern, job, closure);
        }
        if aids.write_closure {
            aids::write_closure(job, closure)?;
        }
        if !aids.verify {
            return Ok(());
        }
        aids::verify(job, closure, aids.write_closure).inspect_err(|wrong| self.shared.report(wrong))
    }

    /// The paths of everything in the mirror; `None` if a file has changed.
    fn mirrored(
        &mut self,
        mirror: &mut Mirror,
        job: &Job,
        closure: &Closure,
    ) -> Result<Option<Vec<Vec<u8>>>, String> {
        let fault = |error: io::Error| format!("write files for clients of 3.4: {error}");
        let mut paths = Vec::with_capacity(closure.files.len() + closure.directories.len() + 8);
        for file in &closure.files {
            // What is only embedded is data: a line before it would become part of it.
            let line = (file.state.is_source() && job.writes_absolute(&file.path))
                .then(|| mirror::naming_line(&file.path));
            let suffix: &[u8] = if line.is_some() { b".lzo.abs" } else { b".lzo" };
            let name = [bytes_of(&file.real), suffix].concat();
            let version = Version::File(file.state, line);
            let compressor = &mut self.compressor;
            match mirror.entry(&name, &version, || content(file, &version, compressor)).map_err(fault)? {
                Some(path) => paths.push(path),
                None => return Ok(None),
            }
        }
        let mut small = |name: &[u8], version: Version| match mirror.entry(name, &version, || Ok(None)) {
            Ok(path) => {
                paths.extend(path);
                Ok(())
            }
            Err(error) => Err(fault(error)),
        };
        for (path, target) in compose::system_links(&closure.system_directories) {
            small(bytes_of(path), Version::Link(target))?;
        }
        for link in &closure.links {
            let path = bytes_of(&link.path);
            if path.ends_with(b".lzo") || path.ends_with(b".abs") {
                return Err(format!("the link {} looks like a file to clients of 3.4", link.path.display()));
            }
            small(path, Version::Link(bytes_of(&link.target).to_vec()))?;
        }
        if self.shared.aids.force_directories {
            for directory in &closure.directories {
                small(&compose::forcing_path(directory), Version::Forcing)?;
            }
        }
        Ok(Some(paths))
    }
}

/// A file's content as a client of 3.4 sends it; `None` if the file has changed.
fn content(
    file: &IncludedFile,
    version: &Version,
    compressor: &mut Compressor,
) -> io::Result<Option<Vec<u8>>> {
    let Some(text) = file.read()? else { return Ok(None) };
    let text = match version {
        Version::File(_, Some(line)) => [line.as_slice(), &text].concat(),
        _ => text,
    };
    Ok(Some(if text.is_empty() { text } else { compressor.compress(&text) }))
}

fn compile(argv: &[OsString]) -> Result<Box<Compile>, String> {
    match compiler_args::scan(argv) {
        Ok(Verdict::Distribute(compile)) => Ok(compile),
        Ok(Verdict::Local(reason) | Verdict::Preprocess(reason)) => {
            Err(format!("the command runs locally: {reason}"))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Of `NAME=value` words those that add include directories.
fn variables(words: &[Vec<u8>]) -> IncludeVariables {
    let mut variables = IncludeVariables::default();
    for word in words {
        let Some(at) = word.iter().position(|byte| *byte == b'=') else { continue };
        let place = match &word[..at] {
            b"CPATH" => &mut variables.all,
            b"C_INCLUDE_PATH" => &mut variables.c,
            b"CPLUS_INCLUDE_PATH" => &mut variables.cxx,
            b"OBJC_INCLUDE_PATH" => &mut variables.objective_c,
            b"OBJCPLUS_INCLUDE_PATH" => &mut variables.objective_cxx,
            _ => continue,
        };
        *place = Some(os_string(&word[at + 1..]));
    }
    variables
}

/// Bytes of a peer as a word of a command.
pub(super) fn os_string(bytes: &[u8]) -> OsString {
    OsStr::from_bytes(bytes).to_owned()
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
