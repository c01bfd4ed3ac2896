//! What only the compiler knows: its own include directories and its predefined macros. Asked once for each compiler,
//! language and set of options that matter, and again when the compiler has changed.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::CannotAnalyse;
use super::directives::Directives;
use super::search_path::Directory;
use super::tree::Signature;
use crate::compiler_args::Language;
use crate::sys::child::{Command, Environment, Group, Signal};
use crate::sys::net::{self, Ready};
use crate::sys::temp;

/// How long a compiler may take to answer. It takes some milliseconds, a hundred on a busy machine.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a compiler that gave no answer is not asked again: each time costs the time above.
const FAILURE_KEPT: Duration = Duration::from_secs(60);
/// The most text a compiler may write about itself, in bytes: gcc's macros take 15 kB.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// A compiler's answer.
#[derive(Debug)]
pub(super) struct SystemView {
    /// The directories that exist, in search order.
    pub(super) directories: Vec<Directory>,
    /// The directories that would be searched if they existed.
    pub(super) absent: Vec<Vec<u8>>,
    /// The predefined macros.
    pub(super) macros: Directives,
}

/// What a compiler is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    /// The compiler's file.
    pub(super) compiler: PathBuf,
    /// The name it is called by, which decides what a driver is.
    pub(super) name: OsString,
    pub(super) options: Vec<OsString>,
    pub(super) language: Language,
    pub(super) directory: PathBuf,
}

/// The answers so far.
#[derive(Debug)]
pub(super) struct SystemViews {
    /// How long a compiler may take.
    patience: Duration,
    known: HashMap<Question, (Signature, Arc<SystemView>)>,
    failed: HashMap<Question, (Signature, Instant, CannotAnalyse)>,
}

impl Default for SystemViews {
    fn default() -> SystemViews {
        SystemViews { patience: ANSWER_TIME_MAX, known: HashMap::new(), failed: HashMap::new() }
    }
}

impl SystemViews {
    /// The answer, asked anew if the compiler is another file than before.
    pub(super) fn get(
        &mut self,
        question: &Question,
        search_path: &OsStr,
    ) -> Result<Arc<SystemView>, CannotAnalyse> {
        let metadata =
            fs::metadata(&question.compiler).map_err(|error| fault(question, &error.to_string()))?;
        let signature = Signature::of(&metadata);
        if let Some((known, view)) = self.known.get(question)
            && *known == signature
        {
            return Ok(Arc::clone(view));
        }
        if let Some((known, when, why)) = self.failed.get(question)
            && *known == signature
            && when.elapsed() < FAILURE_KEPT
        {
            return Err(why.clone());
        }
        self.failed.retain(|_, (_, when, _)| when.elapsed() < FAILURE_KEPT);
        let view = ask(question, search_path, self.patience).inspect_err(|why| {
            self.failed.insert(question.clone(), (signature, Instant::now(), why.clone()));
        })?;
        let view = Arc::new(view);
        self.known.insert(question.clone(), (signature, Arc::clone(&view)));
        Ok(view)
    }

    /// Forgets an answer that the file system contradicts.
    pub(super) fn forget(&mut self, question: &Question) {
        self.known.remove(question);
    }
}

fn fault(question: &Question, cause: &str) -> CannotAnalyse {
    CannotAnalyse::new(format!("ask {} for its include directories: {cause}", question.compiler.display()))
}

fn language_name(language: Language) -> &'static str {
    match language {
        Language::C => "c",
        Language::Cxx => "c++",
        Language::ObjectiveC => "objective-c",
        Language::ObjectiveCxx => "objective-c++",
    }
}

fn ask(question: &Question, search_path: &OsStr, patience: Duration) -> Result<SystemView, CannotAnalyse> {
    let failed = |error: std::io::Error| fault(question, &error.to_string());
    let mut argv = vec![question.name.clone()];
    argv.extend_from_slice(&question.options);
    argv.extend(["-x", language_name(question.language), "-v", "-E", "-dM", "/dev/null"].map(OsString::from));
    // Nothing else of the environment: its search directories are read from the query, and languages change the text.
    let mut environment = Environment::default();
    environment.set("PATH", search_path);
    environment.set("LC_ALL", OsStr::new("C"));
    // Compilers that read a file leave standard input alone, until it ends with them.
    let (alive, input) = net::pair().map_err(failed)?;
    let mut output = temp::anonymous("macros").map_err(failed)?;
    let mut messages = temp::anonymous("directories").map_err(failed)?;
    let child = Command {
        program: &question.compiler,
        argv: &argv,
        environment: &environment,
        directory: Some(&question.directory),
        stdio: [Some(input.as_fd()), Some(output.as_fd()), Some(messages.as_fd())],
        group: Group::Own,
        walls: None,
    }
    .spawn()
    .map_err(|error| match question.directory.is_dir() {
        true => failed(error),
        false => CannotAnalyse::new(format!("no working directory {}", question.directory.display())),
    })?;
    drop(input);
    let deadline = Instant::now() + patience;
    let ended = net::poll(&[(alive.as_fd(), Ready::Readable)], Some(deadline));
    let too_late = ended.is_ok_and(|ready| ready.is_empty());
    if too_late {
        child.signal(Signal::Kill);
    }
    let status = child.wait().map_err(failed)?;
    if too_late {
        return Err(fault(question, &format!("no answer in {} s", patience.as_secs())));
    }
    if !status.success() {
        return Err(fault(question, "it fails"));
    }
    let (directories, absent) = parse(&temp::read_back(&mut messages, ANSWER_BYTES_MAX).map_err(failed)?)
        .ok_or_else(|| fault(question, "its answer is not understood"))?;
    let macros = Directives::of(&temp::read_back(&mut output, ANSWER_BYTES_MAX).map_err(failed)?);
    Ok(SystemView { directories, absent, macros })
}

/// The directories in what `-v` prints, and those it says do not exist.
fn parse(messages: &[u8]) -> Option<(Vec<Directory>, Vec<Vec<u8>>)> {
    let lines = || messages.split(|byte| *byte == b'\n');
    let position_of = |heading: &[u8]| lines().position(|line| line == heading);
    // A clang that has none (-nostdinc) leaves their heading out, and the list ends below the one before.
    let begin = position_of(b"#include <...> search starts here:")
        .or_else(|| position_of(b"#include \"...\" search starts here:"))?;
    let listed = lines().skip(begin + 1);
    let mut directories = Vec::new();
    let mut ended = false;
    for line in listed {
        if line.starts_with(b"End of search list") {
            ended = true;
            break;
        }
        let line = line.strip_prefix(b" ").unwrap_or(line);
        let (path, framework) = match line.strip_suffix(b" (framework directory)") {
            Some(path) => (path, true),
            None => (line, false),
        };
        directories.push(Directory { path: path.to_vec(), framework });
    }
    let absent = lines()
        .filter_map(|line| line.strip_prefix(b"ignoring nonexistent directory \"")?.strip_suffix(b"\""))
        .map(<[u8]>::to_vec)
        .collect();
    ended.then_some((directories, absent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::temp::TempDir;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    #[test]
    fn the_list_is_read_as_compilers_print_it() {
        let text = b"junk\nignoring nonexistent directory \"/none\"\n#include \"...\" search starts here:\n\
            #include <...> search starts here:\n /usr/lib/gcc/x 12/include\n /F (framework directory)\n \
            /usr/include\nEnd of search list.\njunk\n";
        let (directories, absent) = parse(text).unwrap();
        let paths: Vec<&[u8]> = directories.iter().map(|directory| directory.path.as_slice()).collect();
        assert_eq!(paths, [&b"/usr/lib/gcc/x 12/include"[..], b"/F", b"/usr/include"]);
        assert!(directories[1].framework);
        assert_eq!(absent, [b"/none"]);
        let none = b"ignoring nonexistent directory \"inc\"\n#include \"...\" search starts here:\nEnd of search list.\n";
        assert_eq!(parse(none), Some((Vec::new(), vec![b"inc".to_vec()])));
        assert_eq!(parse(b"#include <...> search starts here:\n /usr\n"), None);
        assert_eq!(parse(b"cc: error\n"), None);
    }

    #[test]
    fn a_real_compiler_answers() {
        let Some(gcc) = ["/usr/bin/gcc", "/usr/bin/cc"].iter().find(|path| Path::new(path).exists()) else {
            return;
        };
        let question = |options: &[&str], language| Question {
            compiler: gcc.into(),
            name: "gcc".into(),
            options: options.iter().map(OsString::from).collect(),
            language,
            directory: "/".into(),
        };
        let mut views = SystemViews::default();
        let path = OsStr::new("/usr/bin:/bin");
        let c = views.get(&question(&[], Language::C), path).unwrap();
        assert!(c.directories.iter().any(|directory| directory.path == b"/usr/include"));
        assert_eq!(c.macros.definitions_of(b"__STDC__").count(), 1);
        let none = views.get(&question(&["-nostdinc"], Language::C), path).unwrap();
        assert!(none.directories.is_empty());
        assert!(views.get(&question(&["--no-such-option"], Language::C), path).is_err());
    }

    #[test]
    fn a_compiler_that_hangs_is_ended_and_not_asked_again_soon() {
        let directory = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let compiler = directory.path().join("cc");
        fs::write(&compiler, "#!/bin/sh\nsleep 60 & sleep 60\n").unwrap();
        fs::set_permissions(&compiler, fs::Permissions::from_mode(0o755)).unwrap();
        let question = Question {
            compiler,
            name: "cc".into(),
            options: Vec::new(),
            language: Language::C,
            directory: "/".into(),
        };
        let mut views = SystemViews { patience: Duration::from_secs(1), ..SystemViews::default() };
        let started = Instant::now();
        for _ in 0..20 {
            let why = views.get(&question, OsStr::new("/usr/bin:/bin")).unwrap_err().to_string();
            assert!(why.ends_with("no answer in 1 s"), "{why}");
        }
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}
