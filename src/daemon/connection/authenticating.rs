//! The first state of a client of a server with `--auth`: it says who it is, and is believed or not, before it asks for
//! anything.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use super::{Connection, State};
use crate::daemon::authentication::{Handshake, Turn};
use crate::daemon::deadline::{Phase, Transfer};
use crate::daemon::exchange::ConnectionLimits;
use crate::daemon::exchange::{Context, Event, Next};
use crate::daemon::receiving::Receiving;
use crate::daemon::refusal::Refusal;
use crate::daemon::reply::Reply;
use crate::daemon::staging::{Staged, Work};
use crate::daemon::summary::Outcome;
use crate::exit_code::ExitCode;
use crate::sys::net;
use crate::{log_error, log_info};

/// What clients are told that ask for a compile as if this were any server.
const UNWILLING: &str = "this server wants to know who its clients are (distccd --auth); write ,auth behind it in the host \
                         list, which takes a distcc with GSS-API and a Kerberos ticket (kinit)";

impl Connection {
    /// Handles one event of the handshake.
    pub(super) fn authenticate(
        &mut self,
        mut handshake: Box<Handshake>,
        event: Event<'_>,
        context: &mut Context<'_>,
    ) -> Next {
        let turn = match event {
            Event::Bytes(bytes) => {
                self.transfer.progress(bytes.len() as u64, context.now);
                match handshake.take(bytes) {
                    Turn::Unwilling => {
                        let refusal = Refusal::new(ExitCode::AccessDenied, UNWILLING);
                        let receiving = Box::new(Receiving::new(self.patron.clone(), Some(refusal)));
                        return self.receive(receiving, false, bytes, context);
                    }
                    turn => turn,
                }
            }
            Event::Staged(Staged::Authenticated(answer)) => handshake.answered(*answer),
            Event::HungUp => Turn::Fail(format!("it left before {} came", handshake.expecting())),
            Event::TimeOut => Turn::Fail(self.transfer.overrun(handshake.expecting(), context.now)),
            _ => Turn::Wait,
        };
        let turn = match self.memory.grow_to(handshake.memory(), &context.workshop.pools.memory) {
            Ok(()) => turn,
            Err(shortage) => Turn::Fail(shortage.to_string()),
        };
        let next = match turn {
            Turn::Wait | Turn::Unwilling => Next::Wait,
            Turn::Send => Next::Send,
            Turn::Ask(question) => Next::Stage(Work::Authenticate(Box::new(question))),
            Turn::Deny(reason) => {
                log_error!("{} is denied: {reason}", self.peer);
                self.summarise(Outcome::Other, ExitCode::AccessDenied.number());
                let reply = Reply::denial(handshake.unsent(), &reason);
                self.state = State::Replying { reply, then_drain: true };
                self.transfer = Transfer::begin(Phase::Refusal, context.limits.silence, context.now);
                return Next::Send;
            }
            Turn::Fail(reason) => {
                log_error!("{} did not authenticate: {reason}", self.peer);
                self.summarise(Outcome::Other, ExitCode::GssapiFailed.number());
                return self.close();
            }
        };
        self.state = State::Authenticating(handshake);
        next
    }

    /// Sends what the socket takes of the handshake. When the client knows that it may go on, its request is awaited.
    pub(super) fn send_handshake(
        &mut self,
        mut handshake: Box<Handshake>,
        to: BorrowedFd<'_>,
        limits: &ConnectionLimits,
        now: Instant,
    ) -> Next {
        while !handshake.unsent().is_empty() {
            match net::write(to, handshake.unsent()) {
                Ok(count) => handshake.sent(count),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    log_info!("send a handshake to {}: {error}", self.peer);
                    self.summarise(Outcome::Disconnected, ExitCode::IoError.number());
                    return self.close();
                }
            }
        }
        self.state = match handshake.granted() {
            None => State::Authenticating(handshake),
            Some(principal) => {
                log_info!("{} is {principal}", self.peer);
                self.summary.principal = Some(principal);
                self.transfer = Transfer::begin(Phase::Head, limits.silence, now);
                let receiving = Box::new(Receiving::new(self.patron.clone(), None));
                State::Receiving { receiving, compares: false }
            }
        };
        Next::Wait
    }
}
