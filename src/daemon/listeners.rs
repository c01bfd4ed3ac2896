//! The listening sockets, and when accepting pauses. Knows nothing of who is accepted, or how many there may be.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::log_warning;
use crate::sys::{net, process};

/// Clients' sockets have numbers from here on, above the files of jobs: of a process's descriptors only those up to the
/// highest that a compiler needs are copied for it, and a crowd costs other clients' jobs nothing.
const CLIENT_DESCRIPTORS_FIRST: i32 = 1 << 10;
/// How long accepting pauses when the machine is out of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// The sockets. mio speaks only once of a readable one: whoever stops early must come back by itself.
#[derive(Debug, Default)]
pub struct Listeners {
    sockets: Vec<TcpListener>,
    is_held_back: bool,
    again_at: Option<Instant>,
}

impl Listeners {
    /// Adds a socket.
    pub fn add(&mut self, socket: TcpListener, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE)?;
        self.sockets.push(socket);
        Ok(())
    }

    /// Closes all sockets.
    pub fn close(&mut self, registry: &Registry) {
        for socket in self.sockets.drain(..) {
            let _ = registry.deregister(&mut SourceFd(&socket.as_raw_fd()));
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Whether there is none: this server serves one client only, or is stopping.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// The next client that waits at a socket, set not to block.
    pub fn accept(&mut self, index: usize) -> Option<(TcpStream, SocketAddr)> {
        while !self.is_held_back {
            match self.sockets.get(index)?.accept() {
                Ok((stream, address)) if stream.set_nonblocking(true).is_ok() => {
                    let stream = process::move_descriptor_up(stream.into(), CLIENT_DESCRIPTORS_FIRST);
                    return Some((stream.into(), address));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if net::concerns_one_client(&error) => {}
                Err(error) => {
                    log_warning!("accept: {error}; trying again shortly");
                    self.again_at = Some(Instant::now() + PAUSE);
                    self.is_held_back = true;
                }
            }
        }
        None
    }

    /// Accepts again.
    pub fn resume(&mut self) {
        self.is_held_back = false;
        self.again_at = None;
    }

    /// Asks to be resumed by then.
    pub fn resume_at(&mut self, time: Instant) {
        self.again_at.get_or_insert(time);
    }

    /// When to resume, if there is such a time.
    pub fn again_at(&self) -> Option<Instant> {
        self.again_at
    }
}
