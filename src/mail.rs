//! Sending a message by the mailer of this machine. Knows how mailers are called; not what there is to say.

use std::ffi::{OsStr, OsString};
use std::io::{self, Seek, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::sys::child::{self, Command, Environment, Group, Signal};
use crate::sys::temp;

/// How long a mailer may take. Somebody waits for it.
const TIME_MAX: Duration = Duration::from_secs(10);
/// Where mailers are, beside PATH: users seldom have these directories on theirs.
const MORE_DIRECTORIES: &str = "/usr/sbin:/usr/lib:/sbin";

/// A message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Who gets it.
    pub to: &'a OsStr,
    /// What it is about.
    pub subject: &'a str,
    /// Its text.
    pub text: &'a [u8],
}

/// Hands a message to `sendmail`, or to `mail`, whichever is found first. An error says what went wrong; nothing is
/// tried again.
pub fn send(message: Message<'_>, search_path: &OsStr, environment: &Environment) -> io::Result<()> {
    let path = search_path_with_more(search_path);
    let find = |name: &str| child::candidates(OsStr::new(name), &path).next();
    let mut input = temp::anonymous("mail")?;
    // A recipient with a dash in front would be an option.
    let (program, argv): (_, Vec<OsString>) = if let Some(program) = find("sendmail") {
        input.write_all(b"To: ")?;
        input.write_all(message.to.as_encoded_bytes())?;
        input.write_all(format!("\nSubject: {}\n\n", message.subject).as_bytes())?;
        (program, vec!["sendmail".into(), "-i".into(), "--".into(), message.to.into()])
    } else if let Some(program) = find("mail") {
        (program, vec!["mail".into(), "-s".into(), message.subject.into(), "--".into(), message.to.into()])
    } else {
        return Err(io::Error::new(io::ErrorKind::NotFound, "neither sendmail nor mail is on PATH"));
    };
    input.write_all(message.text)?;
    input.rewind()?;
    let output = temp::anonymous("mailer")?;
    let child = Command {
        program: &program,
        argv: &argv,
        environment,
        directory: None,
        stdio: [Some(input.as_fd()), Some(output.as_fd()), Some(output.as_fd())],
        group: Group::Own,
        walls: None,
    }
    .spawn()?;
    match child.wait_until(Instant::now() + TIME_MAX)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(io::Error::other(format!("{}: {status}", program.display()))),
        None => {
            child.signal(Signal::Kill);
            let _ = child.wait();
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("{} takes too long", program.display())))
        }
    }
}

fn search_path_with_more(search_path: &OsStr) -> OsString {
    let mut path = search_path.to_owned();
    path.push(":");
    path.push(MORE_DIRECTORIES);
    path
}
