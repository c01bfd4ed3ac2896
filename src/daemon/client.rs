//! One client as the loop sees it: the descriptors, and what the kernel is asked to report of them. Knows nothing of
//! what is said over them; that is the connection's business.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::daemon::connection::Connection;
use crate::daemon::crowd::Seat;
use crate::daemon::exchange::ConnectionLimits;
use crate::daemon::exchange::Next;
use crate::sys::net;

/// One client's descriptors, and its state.
pub struct Client {
    /// What is said.
    pub connection: Connection,
    /// Its place among the others.
    pub seat: Seat,
    reader: OwnedFd,
    /// The other end, where it is not the same socket (pipes).
    writer: Option<OwnedFd>,
    watch: Watch,
}

/// What the kernel is asked to report of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watch {
    /// Nothing yet: the first read often suffices.
    Nothing,
    /// Bytes that come.
    Input,
    /// Also room for bytes that are to go.
    InputAndOutput,
}

impl Client {
    /// A client that is not watched yet.
    pub fn new(connection: Connection, seat: Seat, reader: OwnedFd, writer: Option<OwnedFd>) -> Client {
        Client { connection, seat, reader, writer, watch: Watch::Nothing }
    }

    /// Widens what is watched. Most never need more than their input watched, and that only when the first read did
    /// not suffice; every interest that is not needed is a wake-up that is not needed.
    pub fn watch(&mut self, watch: Watch, registry: &Registry, token: Token) -> io::Result<()> {
        let before = self.watch;
        self.watch = watch.max(before);
        let (reader, both) = (self.reader.as_raw_fd(), Interest::READABLE | Interest::WRITABLE);
        match (&self.writer, before, self.watch) {
            (_, before, after) if before == after => Ok(()),
            (None, Watch::Nothing, Watch::InputAndOutput) => {
                registry.register(&mut SourceFd(&reader), token, both)
            }
            (None, _, Watch::InputAndOutput) => registry.reregister(&mut SourceFd(&reader), token, both),
            (writer, before, after) => {
                if before == Watch::Nothing {
                    registry.register(&mut SourceFd(&reader), token, Interest::READABLE)?;
                }
                match writer {
                    Some(writer) if after == Watch::InputAndOutput => {
                        registry.register(&mut SourceFd(&writer.as_raw_fd()), token, Interest::WRITABLE)
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// Reads what has come.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        net::read(self.reader.as_fd(), buffer)
    }

    /// Lets the connection send what the descriptor takes.
    pub fn send(&mut self, limits: &ConnectionLimits, now: Instant) -> Next {
        let output = self.writer.as_ref().unwrap_or(&self.reader).as_fd();
        self.connection.send(output, limits, now)
    }

    /// Closes the descriptors.
    pub fn leave(self, registry: &Registry) {
        if self.watch > Watch::Nothing {
            let fds = [Some(self.reader.as_raw_fd()), self.writer.as_ref().map(AsRawFd::as_raw_fd)];
            for fd in fds.into_iter().flatten() {
                let _ = registry.deregister(&mut SourceFd(&fd));
            }
        }
    }
}
