//! What a program of this machine answers to a question, in one word.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::sys::child::{Command, Environment, Group, Signal, candidates};
use crate::sys::temp;

/// Longest answer that is read, in bytes; its first word is far shorter.
const ANSWER_BYTES_MAX: u64 = 4096;

/// The first word that `program`, looked for on `search_path`, prints when it is asked `question`; empty if it prints
/// none. It has `time` for that.
pub fn first_word(
    program: &str,
    question: &str,
    search_path: &OsStr,
    environment: &Environment,
    time: Duration,
) -> io::Result<String> {
    let found = candidates(program.as_ref(), search_path).next();
    let found = found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let mut output = temp::anonymous("answer")?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let child = Command {
        program: &found,
        argv: &[program.into(), question.into()],
        environment,
        directory: None,
        stdio: [Some(null.as_fd()), Some(output.as_fd()), Some(null.as_fd())],
        group: Group::Own,
        walls: None,
    }
    .spawn()?;
    match child.wait_until(Instant::now() + time)? {
        None => {
            child.signal(Signal::Kill);
            let _ = child.wait();
            return Err(io::ErrorKind::TimedOut.into());
        }
        Some(status) if !status.success() => return Err(io::Error::other(status.to_string())),
        Some(_) => {}
    }
    let answer = temp::read_back(&mut output, ANSWER_BYTES_MAX)?;
    Ok(String::from_utf8_lossy(&answer).split_whitespace().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_asked_for_a_word_within_a_time() {
        let ask = |program: &str, question: &str, time: u64| {
            let path = OsStr::new("/usr/bin:/bin");
            first_word(program, question, path, &Environment::inherited(), Duration::from_millis(time))
        };
        assert_eq!(ask("echo", " one two", 20_000).unwrap(), "one");
        assert_eq!(ask("sleep", "60", 50).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(ask("false", "", 20_000).is_err());
        assert_eq!(ask("no-such-program", "", 20_000).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
