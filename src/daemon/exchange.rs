//! What the server tells a connection, and what a connection asks of the server.

use std::time::{Duration, Instant};

use crate::daemon::job::Workshop;
use crate::daemon::refusal::Refusal;
use crate::daemon::staging::{Staged, Work};
use crate::exit_code::WaitStatus;
use crate::protocol::lzo::Compressor;

/// The limits a connection is held to.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// DISTCC_IO_TIMEOUT: the longest silence while receiving or sending.
    pub silence: Duration,
    /// `--job-lifetime`: the longest a compiler may run.
    pub job_lifetime: Option<Duration>,
    /// The memory that the processes of a job may have together, in bytes.
    pub job_memory: Option<u64>,
}

/// What happened to a connection.
#[derive(Debug)]
pub enum Event<'a> {
    /// Bytes came from the client.
    Bytes(&'a [u8]),
    /// The client closed its side, or the connection broke.
    HungUp,
    /// Work that was handed to the staging threads is done.
    Staged(Staged),
    /// A compile slot is free for this job.
    Slot,
    /// Too many jobs wait for one.
    NoSlot(Refusal),
    /// The compiler ended.
    Exited(WaitStatus),
    /// The deadline passed.
    TimeOut,
}

/// What the server is to do for a connection.
#[derive(Debug)]
pub enum Next {
    /// Nothing until the next event.
    Wait,
    /// Do this piece of work, here or on a staging thread, and report it.
    Stage(Work),
    /// Report a free compile slot.
    Queue,
    /// A compiler was started; report its end.
    Running(i32),
    /// Call [`Connection::send`](crate::daemon::connection::Connection::send) now, and whenever the socket takes more.
    Send,
    /// Close; the connection is finished.
    Close,
}

/// What a connection may use while it handles an event.
#[derive(Debug)]
pub struct Context<'a> {
    /// What all jobs share.
    pub workshop: &'a Workshop,
    /// The limits of this server.
    pub limits: &'a ConnectionLimits,
    /// Memory for compressing small bodies in place.
    pub compressor: &'a mut Compressor,
    /// Now.
    pub now: Instant,
}
