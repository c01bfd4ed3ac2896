//! One client's question and its answer, in either language (docs/protocol.md, 14). Owns what all sessions share; knows
//! neither how connections come in nor how long the server lives.

use std::collections::HashMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::analyst::{Analyst, Job, Shared, os_string};
use super::compose::Composed;
use super::pool::Pool;
use crate::compiler_args;
use crate::protocol::error::ProtocolError;
use crate::protocol::include_query::{self, OldQuestion, Question};
use crate::sys::process::FileIdentity;
use crate::sys::{child, net};
use crate::{log_info, log_warning};

/// Silence of a client in the middle of its question, or while it does not take its answer, after which it is given up.
const SILENCE_MAX: Duration = Duration::from_secs(4);
/// How long a question may take to come in: one that comes byte by byte keeps a thread busy.
const QUESTION_TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes read at a time: a usual question, of two to four thousand, in one go.
const READ_BYTES: usize = 16 << 10;
/// Least number of analysts, however few processors there are: one slow file system must not stop the others.
const ANALYSTS_MIN: usize = 2;

/// How long a compiler that was found on the search path is believed to be there: a build asks for it hundreds of times a
/// second, and each search looks into every directory for links to distcc.
const COMPILER_BELIEVED_FOR: Duration = Duration::from_secs(1);
/// Names of compilers that are remembered; a build has a handful.
const COMPILERS_MAX: usize = 64;

/// What a socket's clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    /// Our own clients'.
    Direct,
    /// That of clients of distcc 3.4.
    Old,
}

/// Answers questions.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) shared: Arc<Shared>,
    analysts: Pool<Analyst>,
    search_path: OsString,
    /// Where compilers were found by name, and when.
    compilers: Mutex<HashMap<OsString, (Instant, Found)>>,
}

/// A compiler's file, and the search path for its own children.
type Found = (PathBuf, OsString);

impl Service {
    /// A service with at most so many questions analysed at the same time.
    pub(super) fn new(shared: Arc<Shared>, processors: usize, search_path: OsString) -> Service {
        let analysts = Pool::new(processors.max(ANALYSTS_MIN));
        Service { shared, analysts, search_path, compilers: Mutex::default() }
    }

    /// Reads a client's question and answers it. An error is the connection's.
    pub(super) fn serve(&self, stream: &mut UnixStream, language: Language) -> io::Result<()> {
        net::set_silence_limit(stream.as_fd(), SILENCE_MAX)?;
        match language {
            Language::Direct => self.serve_direct(stream),
            Language::Old => self.serve_old(stream),
        }
    }

    fn serve_direct(&self, stream: &mut UnixStream) -> io::Result<()> {
        let answer = match receive(stream, Question::decode)? {
            Received::Nothing => return Ok(()),
            Received::Question(question) => self.guarded(&question.argv, || {
                let job = Job::of_question(&question)?;
                self.with_analyst(|analyst| analyst.answer(&job))
            }),
            Received::Nonsense(error) => Err(error.to_string()),
        };
        match answer {
            Ok(composed) => send_composed(stream, &composed),
            Err(reason) => {
                log_info!("no answer: {reason}");
                let mut refusal = Vec::new();
                include_query::encode_refusal(&reason, &mut refusal);
                stream.write_all(&refusal)
            }
        }
    }

    fn serve_old(&self, stream: &mut UnixStream) -> io::Result<()> {
        let answer = match receive(stream, OldQuestion::decode)? {
            Received::Nothing => return Ok(()),
            Received::Question(question) => self.guarded(&question.argv, || {
                let job = self.old_job(&question)?;
                self.with_analyst(|analyst| analyst.old_answer(&job))
            }),
            Received::Nonsense(error) => Err(error.to_string()),
        };
        let answer = answer.unwrap_or_else(|reason| {
            // Such a client is not told why.
            log_warning!("no answer, so it will be preprocessed: {reason}");
            let mut none = Vec::new();
            include_query::encode_old_answer(&[b""; 0], &mut none);
            none
        });
        stream.write_all(&answer)
    }

    /// A client of 3.4 names its compiler only; which file that is depends on our own search path.
    fn old_job(&self, question: &OldQuestion) -> Result<Job, String> {
        let directory = PathBuf::from(os_string(&question.directory));
        let argv: Vec<OsString> = question.argv.iter().map(|word| os_string(word)).collect();
        let argv = compiler_args::expand(&argv, &mut |file| fs::read(directory.join(Path::new(file))).ok());
        let (compiler, search_path) = match argv[0].as_bytes().contains(&b'/') {
            true => (directory.join(&argv[0]), self.search_path.clone()),
            false => {
                self.compiler(&argv[0]).ok_or_else(|| format!("no compiler {} on PATH", argv[0].display()))?
            }
        };
        Job::of_command(&argv, compiler, directory, search_path)
    }

    /// The compiler of a name without a slash.
    fn compiler(&self, name: &OsStr) -> Option<Found> {
        let known = || self.compilers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((when, found)) = known().get(name)
            && when.elapsed() < COMPILER_BELIEVED_FOR
        {
            return Some(found.clone());
        }
        // Nobody waits for this: a directory of the path may be on a slow file system.
        let found = find_compiler(name, &self.search_path)?;
        let mut compilers = known();
        if compilers.len() >= COMPILERS_MAX {
            compilers.clear();
        }
        compilers.insert(name.to_owned(), (Instant::now(), found.clone()));
        Some(found)
    }

    fn with_analyst<T>(&self, work: impl FnOnce(&mut Analyst) -> Result<T, String>) -> Result<T, String> {
        let mut analyst = self
            .analysts
            .lend(|| Analyst::new(Arc::clone(&self.shared)))
            .ok_or("the include server is busy with questions that take too long")?;
        work(&mut analyst)
    }

    /// Turns a bug that one command shows into the refusal of that command. The analyst at work is given up.
    fn guarded<T>(&self, argv: &[Vec<u8>], work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
        panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
            let command = argv.join(&b' ');
            let text = format!("internal error at the command: {}", String::from_utf8_lossy(&command));
            self.shared.report(&text);
            Err("the include server has an internal error, see its messages".into())
        })
    }
}

/// What a client has sent.
enum Received<T> {
    Question(T),
    /// It closed the connection without a word.
    Nothing,
    Nonsense(ProtocolError),
}

fn receive<T>(
    stream: &UnixStream,
    decode: impl Fn(&[u8]) -> Result<Option<T>, ProtocolError>,
) -> io::Result<Received<T>> {
    let deadline = Instant::now() + QUESTION_TIME_MAX;
    let mut input = Vec::new();
    loop {
        let before = input.len();
        input.resize(before + READ_BYTES, 0);
        let count = net::read(stream.as_fd(), &mut input[before..])?;
        input.truncate(before + count);
        match decode(&input) {
            Ok(Some(question)) => return Ok(Received::Question(question)),
            Err(error) => return Ok(Received::Nonsense(error)),
            Ok(None) if count == 0 && input.is_empty() => return Ok(Received::Nothing),
            Ok(None) if count == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(None) if Instant::now() >= deadline => return Err(io::ErrorKind::TimedOut.into()),
            Ok(None) => {}
        }
    }
}

fn send_composed(stream: &mut UnixStream, composed: &Composed) -> io::Result<()> {
    let sent = net::send_with_descriptor(stream.as_fd(), &composed.bytes, composed.arena.reader())?;
    stream.write_all(&composed.bytes[sent..])
}

/// The compiler's file, and the search path without the directories where its name is a link to a distcc, ours or 3.4's:
/// masquerade directories. A driver that found such a link under its own name would look for its parts beside it.
fn find_compiler(name: &OsStr, search_path: &OsStr) -> Option<Found> {
    let own = FileIdentity::of_own_executable();
    let is_distcc = |path: PathBuf| {
        let Ok(real) = fs::canonicalize(&path) else { return false };
        let is_named = real.file_name().is_some_and(|name| name.as_bytes().starts_with(b"distcc"));
        is_named || own.is_some() && FileIdentity::of(&path) == own
    };
    let places = env::split_paths(search_path).filter(|place| !is_distcc(place.join(name)));
    let search_path = env::join_paths(places).ok()?;
    let compiler = child::candidates(name, &search_path).next()?;
    Some((compiler, search_path))
}

#[cfg(test)]
mod tests {
    use super::super::config::Aids;
    use super::super::mirror::Mirror;
    use super::super::statistics::Statistics;
    use super::super::store::Store;
    use super::*;

    fn service() -> Service {
        let aids = Aids {
            force_directories: true,
            observed: None,
            statistics: false,
            write_closure: false,
            verify: false,
        };
        let shared = Shared {
            aids,
            store: Store::new().unwrap(),
            mirror: Mutex::new(Mirror::new("/nonexistent".into())),
            statistics: Mutex::new(Statistics::default()),
            mailer: None,
        };
        Service::new(Arc::new(shared), 1, "/usr/bin:/bin".into())
    }

    #[test]
    fn a_bug_costs_one_answer() {
        let service = service();
        for _ in 0..5 {
            let outcome: Result<(), String> =
                service.guarded(&[b"gcc".to_vec()], || service.with_analyst(|_| panic!("a bug, for a test")));
            assert!(outcome.unwrap_err().contains("internal error"));
        }
        assert_eq!(service.with_analyst(|_| Ok(7)), Ok(7));
    }

    #[test]
    fn a_question_that_comes_in_pieces_is_whole_at_the_end() {
        let (mut client, server) = net::pair().unwrap();
        let mut question = Vec::new();
        OldQuestion::encode(b"/p", &["gcc", "-c", "a.c"], &mut question);
        let writer = std::thread::spawn(move || {
            for byte in question {
                client.write_all(&[byte]).unwrap();
            }
        });
        let Ok(Received::Question(question)) = receive(&server, OldQuestion::decode) else {
            panic!("no question")
        };
        assert_eq!((question.directory.as_slice(), question.argv.len()), (b"/p".as_slice(), 3));
        writer.join().unwrap();
        assert!(matches!(receive(&server, OldQuestion::decode), Ok(Received::Nothing)));
    }
}
