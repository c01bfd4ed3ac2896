//! One visitor: reads its question, sends the answer, sees it off. Knows one socket and its clocks; nothing of numbers.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::daemon::patron::Origin;
use crate::daemon::statistics::http::{HEAD_BYTES_MAX, Question};

/// Whoever has not asked by then is answered nevertheless, as 3.4 answers a visitor who says nothing.
const ASKING_TIME_MAX: Duration = Duration::from_secs(1);
/// The longest an answer may take.
const ANSWERING_TIME_MAX: Duration = Duration::from_secs(10);
/// How long is waited for a visitor to close its side, so that it reads all of the answer.
const LEAVING_TIME_MAX: Duration = Duration::from_secs(2);
/// What it may send meanwhile, in bytes.
const LEAVING_BYTES_MAX: usize = 64 << 10;

/// A visitor.
#[derive(Debug)]
pub struct Visitor {
    /// Where it is.
    pub origin: Origin,
    stream: TcpStream,
    state: State,
    deadline: Instant,
}

#[derive(Debug)]
enum State {
    Asking(Vec<u8>),
    Answering { answer: Vec<u8>, sent: usize },
    Leaving { bytes: usize },
}

/// What is to be done for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing, until its socket or its clock has news.
    Wait,
    /// Give it an answer.
    Answer(Question),
    /// Forget it.
    Gone,
}

impl Visitor {
    /// One that has just come; its socket does not block.
    pub fn new(stream: TcpStream, origin: Origin, now: Instant) -> Visitor {
        let (state, deadline) = (State::Asking(Vec::new()), now + ASKING_TIME_MAX);
        Visitor { origin, stream, state, deadline }
    }

    /// Its socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// When it must be looked at.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Goes on as far as the socket lets it.
    pub fn go_on(&mut self, now: Instant) -> Next {
        match &mut self.state {
            State::Asking(bytes) => ask(&self.stream, bytes),
            State::Answering { answer, sent } => match send(&self.stream, answer, sent) {
                Ok(true) => {
                    // Closing a socket that has something unread would take the answer back.
                    if self.stream.shutdown(Shutdown::Write).is_err() {
                        return Next::Gone;
                    }
                    self.state = State::Leaving { bytes: 0 };
                    self.deadline = now + LEAVING_TIME_MAX;
                    self.go_on(now)
                }
                Ok(false) => Next::Wait,
                Err(_) => Next::Gone,
            },
            State::Leaving { bytes } => leave(&self.stream, bytes),
        }
    }

    /// Its time is over.
    pub fn on_deadline(&self) -> Next {
        match &self.state {
            State::Asking(bytes) => Next::Answer(Question::read(bytes, true).unwrap_or(Question::DEFAULT)),
            State::Answering { .. } | State::Leaving { .. } => Next::Gone,
        }
    }

    /// Begins to send an answer.
    pub fn answer(&mut self, answer: Vec<u8>, now: Instant) -> Next {
        self.state = State::Answering { answer, sent: 0 };
        self.deadline = now + ANSWERING_TIME_MAX;
        self.go_on(now)
    }
}

fn ask(mut stream: &TcpStream, bytes: &mut Vec<u8>) -> Next {
    let mut buffer = [0; HEAD_BYTES_MAX];
    loop {
        match stream.read(&mut buffer) {
            Ok(count) => {
                bytes.extend_from_slice(&buffer[..count]);
                if let Some(question) = Question::read(bytes, count == 0) {
                    return Next::Answer(question);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Next::Wait,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Next::Gone,
        }
    }
}

/// Whether everything is sent.
fn send(mut stream: &TcpStream, answer: &[u8], sent: &mut usize) -> io::Result<bool> {
    while *sent < answer.len() {
        match stream.write(&answer[*sent..]) {
            Ok(count) => *sent += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn leave(mut stream: &TcpStream, bytes: &mut usize) -> Next {
    let mut buffer = [0; 4096];
    while *bytes < LEAVING_BYTES_MAX {
        match stream.read(&mut buffer) {
            Ok(0) => return Next::Gone,
            Ok(count) => *bytes += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Next::Wait,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Next::Gone,
        }
    }
    Next::Gone
}
