//! Asking an include server which files a job needs, in its direct language or in that of distcc 3.4. Knows sockets
//! and both languages; not where the include server is from, nor what becomes of a job without an answer.

use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::client::file_set::FileSet;
use crate::protocol::ProtocolError;
use crate::protocol::include_query::{self, Answer, OldQuestion, Question, direct_socket};
use crate::sys::{net, process};

/// How long a direct answer may take: even sources that include all of Boost take a tenth of it.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(20);
/// Room for an answer at first, in bytes; most need no more.
const ANSWER_BYTES: usize = 32 << 10;

/// Why there are no files to send.
#[derive(Debug)]
pub enum AskError {
    /// Nobody listens there: the path, and the cause.
    Absent(io::Error),
    /// The include server does not do its work: what is wrong.
    Broken(String),
    /// It answers that it cannot tell which files this job needs, and why.
    CannotTell(String),
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AskError::Absent(error) => write!(f, "no include server answers at {error}"),
            AskError::Broken(what) => write!(f, "the include server fails: {what}"),
            AskError::CannotTell(why) => {
                write!(f, "the include server cannot tell which files it needs: {why}")
            }
        }
    }
}

/// How long one may wait for an include server.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// To be let in.
    pub connect: Duration,
    /// For an answer in 3.4's language: that server serves one client after the other.
    pub answer: Duration,
}

/// Asks the include server whose socket is at `socket`, in the best language it knows. `sudo_user` is who became root
/// to run this, if so.
pub fn ask(
    socket: &Path,
    question: &Question,
    patience: Patience,
    sudo_user: Option<u32>,
) -> Result<FileSet, AskError> {
    match ask_directly(socket, question, patience) {
        Err(AskError::Absent(_)) => ask_in_old_language(socket, question, patience, sudo_user),
        result => result,
    }
}

/// Asks an include server of this kind.
pub fn ask_directly(socket: &Path, question: &Question, patience: Patience) -> Result<FileSet, AskError> {
    let limit = ANSWER_TIME_MAX.min(patience.answer);
    let stream = connect(&direct_socket(socket), patience.connect, limit)?;
    // What it answers is compiled. Its socket may lie in a directory that someone else was the first to make.
    if net::peer_user(stream.as_fd()).ok() != Some(process::user_id()) {
        return Err(of_another_user(socket));
    }
    let mut message = Vec::with_capacity(2048);
    question.encode(&mut message);
    write(&stream, &message)?;
    let mut store = None;
    let answer = read_answer(
        |buffer| {
            let (count, descriptor) = net::recv_with_descriptor(stream.as_fd(), buffer)?;
            store = store.take().or(descriptor);
            Ok(count)
        },
        Answer::decode,
        limit,
    )?;
    let answer = answer.map_err(AskError::CannotTell)?;
    FileSet::from_answer(answer, store).map_err(AskError::Broken)
}

/// Asks an include server of distcc 3.4.
fn ask_in_old_language(
    socket: &Path,
    question: &Question,
    patience: Patience,
    sudo_user: Option<u32>,
) -> Result<FileSet, AskError> {
    let stream = connect(socket, patience.connect, patience.answer)?;
    // It names files, which are read with our rights and sent.
    let owner = net::peer_user(stream.as_fd());
    if !owner.is_ok_and(|owner| is_trusted(owner, process::user_id(), sudo_user)) {
        return Err(of_another_user(socket));
    }
    let mut message = Vec::with_capacity(2048);
    OldQuestion::encode(&question.directory, &question.argv, &mut message);
    write(&stream, &message)?;
    let read = |buffer: &mut [u8]| net::read(stream.as_fd(), buffer);
    let paths = read_answer(read, include_query::decode_old_answer, patience.answer)?;
    if paths.is_empty() {
        return Err(AskError::CannotTell("it does not say why".into()));
    }
    FileSet::from_mirror(&paths).map_err(AskError::Broken)
}

/// Whether files that an include server of `owner` names may be read by `user`: its own does that, and root could
/// anyway. With `sudo -E make` root builds with the server of the user who became root.
fn is_trusted(owner: u32, user: u32, sudo_user: Option<u32>) -> bool {
    const ROOT: u32 = 0;
    owner == user || owner == ROOT || user == ROOT && sudo_user == Some(owner)
}

fn of_another_user(socket: &Path) -> AskError {
    AskError::Broken(format!("{} belongs to another user", socket.display()))
}

fn connect(path: &Path, limit: Duration, silence: Duration) -> Result<UnixStream, AskError> {
    net::connect_local(path, limit, silence).map_err(|error| match error.kind() {
        kind @ (io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            AskError::Absent(io::Error::new(kind, format!("{}: {error}", path.display())))
        }
        io::ErrorKind::WouldBlock => AskError::Broken(format!("{}: it lets nobody in", path.display())),
        _ => AskError::Broken(format!("connect to {}: {error}", path.display())),
    })
}

fn write(stream: &UnixStream, message: &[u8]) -> Result<(), AskError> {
    net::write_parts(stream.as_fd(), &mut [IoSlice::new(message)], |_| Ok(()))
        .map_err(|error| AskError::Broken(format!("ask it: {error}")))
}

/// Reads until `decode` finds an answer complete, or not before `limit` that there is too little of it.
fn read_answer<T>(
    mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    decode: impl Fn(&[u8]) -> Result<Option<T>, ProtocolError>,
    limit: Duration,
) -> Result<T, AskError> {
    let late = || AskError::Broken("it does not answer in time".into());
    let give_up = Instant::now() + limit;
    let mut buffer = vec![0; ANSWER_BYTES];
    let mut filled = 0;
    loop {
        if filled == buffer.len() {
            // The decoder has checked the length that is announced.
            buffer.resize(buffer.len() * 2, 0);
        }
        let count = match read(&mut buffer[filled..]) {
            Ok(0) => return Err(AskError::Broken("it hung up".into())),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(late());
            }
            Err(error) => return Err(AskError::Broken(format!("read its answer: {error}"))),
        };
        filled += count;
        match decode(&buffer[..filled]) {
            Ok(Some(answer)) => return Ok(answer),
            // However steadily its bytes trickle.
            Ok(None) if Instant::now() >= give_up => return Err(late()),
            Ok(None) => {}
            Err(error) => return Err(AskError::Broken(format!("its answer makes no sense: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ones_own_include_server_roots_and_that_before_sudo_are_trusted() {
        for (owner, user, sudo_user, expected) in [
            (1000, 1000, None, true),
            (0, 1000, None, true),
            (0, 0, None, true),
            (1001, 1000, None, false),
            (1001, 1000, Some(1001), false),
            (1000, 0, None, false),
            (1000, 0, Some(1000), true),
            (1001, 0, Some(1000), false),
        ] {
            assert_eq!(is_trusted(owner, user, sudo_user), expected, "{owner}'s, {user} after {sudo_user:?}");
        }
    }
}
