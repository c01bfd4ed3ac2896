//! One host of a survey from its addresses to a verdict: connect to all of them, talk to the first that answers. Knows
//! neither names nor the other hosts.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::probe::test_job::{Fault, Judge};
use crate::protocol::Version;
use crate::sys::net;

/// One read of a reply, in bytes. An object of the test job fits into it.
const READ_BYTES: usize = 16 << 10;

/// What a host is asked.
#[derive(Clone, Debug)]
pub struct Trial {
    /// How long it may take to accept a connection.
    pub connect: Duration,
    /// The test job, if there is one: its protocol version, its bytes, and how long the whole of it may take.
    pub job: Option<TestJob>,
}

/// The test job of a trial.
#[derive(Clone, Debug)]
pub struct TestJob {
    /// The protocol version it is written in.
    pub version: Version,
    /// What is sent.
    pub request: Vec<u8>,
    /// How long sending, compiling and the reply may take together.
    pub time: Duration,
}

/// Why a host is down.
#[derive(Debug)]
pub enum Down {
    /// No address accepted a connection; the last of their reasons.
    Connect(SocketAddr, io::Error),
    /// No address answered in time.
    ConnectTime(Duration),
    /// The connection broke.
    Broken(io::Error),
    /// The reply was not that of a server that would do a job.
    Fault(Fault),
    /// The reply was not complete in time, or the connection not closed after it.
    JobTime(Duration),
}

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Down::Connect(address, error) => write!(f, "connect to {address}: {error}"),
            Down::ConnectTime(limit) => {
                write!(f, "no address accepted a connection within {} ms", limit.as_millis())
            }
            Down::Broken(error) => write!(f, "the connection broke: {error}"),
            Down::Fault(fault) => write!(f, "{fault}"),
            Down::JobTime(limit) => write!(f, "did not finish the test job within {} ms", limit.as_millis()),
        }
    }
}

/// What is known of a host in the end.
#[derive(Debug)]
pub struct Verdict {
    /// The address that answered, or else the first.
    pub address: SocketAddr,
    /// Whether it would do a job.
    pub up: Result<(), Down>,
    /// From the attempt to connect to this verdict.
    pub latency: Duration,
}

#[derive(Debug)]
enum State {
    /// The sockets, each with its address; a place without a socket has failed.
    Connecting(Vec<(SocketAddr, Option<TcpStream>)>),
    Testing {
        stream: TcpStream,
        address: SocketAddr,
        sent: usize,
        judge: Judge,
    },
}

/// A host that is being asked.
#[derive(Debug)]
pub struct Target {
    first: SocketAddr,
    began: Instant,
    deadline: Instant,
    state: State,
}

impl Target {
    /// Begins to connect to every address; the socket of address N is registered as token `tokens` + N. If all fail at
    /// once the host is judged.
    ///
    /// # Panics
    ///
    /// If there is no address.
    pub fn start(
        addresses: &[SocketAddr],
        tokens: usize,
        trial: &Trial,
        registry: &Registry,
        now: Instant,
    ) -> Result<Target, Verdict> {
        let mut error = None;
        let mut places = Vec::new();
        for (place, address) in addresses.iter().enumerate() {
            let started = net::begin_connecting(*address).and_then(|stream| {
                let interest = Interest::READABLE | Interest::WRITABLE;
                registry.register(&mut SourceFd(&stream.as_raw_fd()), Token(tokens + place), interest)?;
                Ok(stream)
            });
            places.push((*address, started.map_err(|cause| error = Some((*address, cause))).ok()));
        }
        let first = *addresses.first().expect("BUG: a host without an address");
        match error {
            Some((address, cause)) if places.iter().all(|(_, stream)| stream.is_none()) => {
                let up = Err(Down::Connect(address, cause));
                Err(Verdict { address: first, up, latency: Duration::ZERO })
            }
            _ => {
                let state = State::Connecting(places);
                Ok(Target { first, began: now, deadline: now + trial.connect, state })
            }
        }
    }

    /// When the host is down unless something has happened by then.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The deadline has passed.
    pub fn expire(&self, trial: &Trial, now: Instant) -> Verdict {
        let (address, why) = match &self.state {
            State::Connecting(_) => (self.first, Down::ConnectTime(trial.connect)),
            State::Testing { address, .. } => {
                let limit = trial.job.as_ref().map_or(Duration::ZERO, |job| job.time);
                (*address, Down::JobTime(limit))
            }
        };
        self.verdict(address, Err(why), now)
    }

    /// The socket of address `place` is ready for something.
    pub fn on_ready(&mut self, place: usize, trial: &Trial, now: Instant) -> Option<Verdict> {
        if let State::Connecting(places) = &mut self.state {
            let (address, socket) = places.get_mut(place)?;
            let address = *address;
            match is_connected(socket.as_ref()?) {
                Ok(false) => return None,
                Ok(true) => {
                    let stream = socket.take()?;
                    let Some(job) = &trial.job else { return Some(self.verdict(address, Ok(()), now)) };
                    self.deadline = now + job.time;
                    // The other sockets are closed with this.
                    self.state = State::Testing { stream, address, sent: 0, judge: Judge::new(job.version) };
                }
                Err(error) => {
                    *socket = None;
                    let over = places.iter().all(|(_, socket)| socket.is_none());
                    return over.then(|| self.verdict(self.first, Err(Down::Connect(address, error)), now));
                }
            }
        }
        let State::Testing { stream, address, sent, judge } = &mut self.state else { return None };
        let address = *address;
        let request = trial.job.as_ref().map_or(&[][..], |job| &job.request);
        let up = converse(stream, request, sent, judge)?;
        Some(self.verdict(address, up, now))
    }

    fn verdict(&self, address: SocketAddr, up: Result<(), Down>, now: Instant) -> Verdict {
        Verdict { address, up, latency: now.saturating_duration_since(self.began) }
    }
}

/// Whether a connection is made, not made yet, or failed.
fn is_connected(stream: &TcpStream) -> io::Result<bool> {
    match stream.take_error()? {
        // It was made and has ended already: what does not listen refuses instead.
        Some(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(true),
        Some(error) => return Err(error),
        None => {}
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

/// Sends and receives as far as the socket goes; whether the host is up, if that is known now. The reply's limits bound
/// what is read in a row.
fn converse(
    stream: &mut TcpStream,
    request: &[u8],
    sent: &mut usize,
    judge: &mut Judge,
) -> Option<Result<(), Down>> {
    while *sent < request.len() {
        match stream.write(&request[*sent..]) {
            Ok(count) => *sent += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            // It closes before it has everything: its reply, or the lack of one, says why.
            Err(_) => *sent = request.len(),
        }
    }
    let mut buffer = [0; READ_BYTES];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Some(judge.end().map_err(Down::Fault)),
            Ok(count) => {
                if let Err(fault) = judge.take(&buffer[..count]) {
                    return Some(Err(Down::Fault(fault)));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            // A server of 3.4 that refuses closes with our request unread, which resets the connection.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset && judge.is_at_start() => {
                return Some(Err(Down::Fault(Fault::NoAnswer)));
            }
            Err(error) => return Some(Err(Down::Broken(error))),
        }
    }
}
