//! The page of one job on the server: one client's states, from the first byte to the summary line.
//!
//! ```text
//! Receiving -> (Staging) -> Waiting -> Launching -> Compiling -> (Staging) -> Replying -> closed
//!      \____________ a refusal _________________________________________________/    \-> Draining -> closed
//! ```
//!
//! Where clients must say who they are (`--auth`), Authenticating comes first.
//!
//! Never touches a socket: the server feeds it events and does what it asks for. See "The daemon's loop" in
//! docs/design-notes.md.

mod authenticating;

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use crate::daemon::allowance::Share;
use crate::daemon::authentication::{Authentication, Handshake};
use crate::daemon::deadline::{Phase, Transfer};
use crate::daemon::excess::Excess;
use crate::daemon::exchange::{ConnectionLimits, Context, Event, Next};
use crate::daemon::job::{Job, Remains, RunningJob};
use crate::daemon::patron::{Origin, Patron};
use crate::daemon::receiving::{Receiving, Rejection, Request};
use crate::daemon::refusal::Refusal;
use crate::daemon::reply::{Reply, Sent};
use crate::daemon::staging::{Staged, Work};
use crate::daemon::statistics::Ending;
use crate::daemon::summary::{Outcome, Summary};
use crate::daemon::vigil::{Overrun, Vigil};
use crate::exit_code::{ExitCode, WaitStatus};
use crate::protocol::handshake::NOTICE;
use crate::protocol::{ProtocolError, Version};
use crate::{log_debug, log_info, log_warning};

/// How much of what a refused client still sends is read, in bytes.
const DRAIN_BYTES_MAX: u64 = 64 << 20;

/// One client.
#[derive(Debug)]
pub struct Connection {
    peer: String,
    patron: Patron,
    version: Version,
    state: State,
    began: Instant,
    /// The transfer under way.
    transfer: Transfer,
    received: u64,
    sent: u64,
    memory: Share,
    remains: Option<Remains>,
    summary: Summary,
}

#[derive(Debug)]
enum State {
    /// The client says who it is.
    Authenticating(Box<Handshake>),
    /// `compares` while the headers that the job needs are being looked at.
    Receiving {
        receiving: Box<Receiving>,
        compares: bool,
    },
    /// Everything is there, but whether the headers are the client's.
    Comparing(Job),
    Staging,
    Waiting(Job),
    Launching {
        cut_short: Option<Cut>,
        excess: Excess,
    },
    Compiling {
        running: Box<RunningJob>,
        vigil: Vigil,
        cut_short: Option<Cut>,
        excess: Excess,
    },
    Replying {
        reply: Reply,
        then_drain: bool,
    },
    Draining {
        bytes: u64,
    },
    Closed,
}

/// Why a compiler was ended before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Cut {
    Disconnected,
    Overrun(Overrun),
}

impl Connection {
    /// A connection that was just made. `denied` answers whatever it asks; else it must authenticate, if that is asked for.
    pub fn new(
        peer: String,
        origin: Origin,
        denied: Option<Refusal>,
        authentication: Option<&Arc<Authentication>>,
        limits: &ConnectionLimits,
        now: Instant,
    ) -> Connection {
        let patron = Patron::new(origin);
        let (phase, state) = match (denied, authentication) {
            (None, Some(authentication)) => {
                let handshake = Box::new(Handshake::new(Arc::clone(authentication)));
                (Phase::Handshake, State::Authenticating(handshake))
            }
            (denied, _) => {
                let phase = if denied.is_some() { Phase::Unwanted } else { Phase::Head };
                let receiving = Box::new(Receiving::new(patron.clone(), denied));
                (phase, State::Receiving { receiving, compares: false })
            }
        };
        Connection {
            peer,
            version: Version::PLAIN,
            state,
            began: now,
            transfer: Transfer::begin(phase, limits.silence, now),
            received: 0,
            sent: 0,
            memory: Share::of(&patron),
            patron,
            remains: None,
            summary: Summary::default(),
        }
    }

    /// Where the client is.
    pub fn origin(&self) -> Origin {
        self.patron.origin
    }

    /// Handles one event and says what is to be done.
    pub fn on_event(&mut self, event: Event<'_>, context: &mut Context<'_>) -> Next {
        match (std::mem::replace(&mut self.state, State::Closed), event) {
            (State::Authenticating(handshake), event) => self.authenticate(handshake, event, context),
            (State::Receiving { receiving, compares }, Event::Bytes(bytes)) => {
                self.receive(receiving, compares, bytes, context)
            }
            (State::Receiving { receiving, .. }, Event::HungUp) => self.lost_while_receiving(&receiving),
            // Nobody is there to be answered in a language we know.
            (State::Receiving { receiving, .. }, Event::TimeOut)
                if receiving.is_denied() || receiving.at_start() =>
            {
                self.lost_while_receiving(&receiving)
            }
            (State::Receiving { receiving, .. }, Event::TimeOut) => {
                let text = self.transfer.overrun(receiving.expecting(), context.now);
                self.refuse_and_drain(Refusal::new(ExitCode::Timeout, text), context)
            }
            (State::Receiving { receiving, .. }, Event::Staged(Staged::Compared(answer))) => match answer {
                Ok(()) => {
                    self.state = State::Receiving { receiving, compares: false };
                    Next::Wait
                }
                // At once: the client need not send the rest.
                Err(refusal) => self.refuse_and_drain(refusal, context),
            },
            (State::Comparing(job), Event::Staged(Staged::Compared(answer))) => {
                self.ready(answer.map(|()| job), context)
            }
            (State::Staging, Event::Staged(Staged::Unpacked(job))) => self.ready(job, context),
            (State::Staging, Event::Staged(Staged::Packed(reply))) => self.packed(reply, context),
            (State::Waiting(job), Event::Slot) => {
                self.state = State::Launching { cut_short: None, excess: Excess::default() };
                Next::Stage(Work::Launch(job))
            }
            (State::Waiting(_), Event::NoSlot(refusal)) => self.refuse(refusal, false, context),
            (State::Waiting(_), Event::TimeOut) => {
                let text = self.transfer.overrun("a compile slot", context.now);
                self.refuse(Refusal::new(ExitCode::Busy, text), false, context)
            }
            (State::Launching { cut_short, excess }, Event::Staged(Staged::Launched(result))) => {
                self.launched(*result, cut_short, excess, context)
            }
            (State::Launching { cut_short: None, mut excess }, event @ (Event::HungUp | Event::Bytes(_))) => {
                let has_left = excess.is_the_end(&event);
                let cut_short = has_left.then_some(Cut::Disconnected);
                if has_left {
                    // It is on a thread: it comes to an end soon, and its compiler as soon as that is known.
                    self.patron.leave();
                }
                self.state = State::Launching { cut_short, excess };
                Next::Wait
            }
            (State::Compiling { running, cut_short, .. }, Event::Exited(status)) => {
                self.exited(*running, status, cut_short, context.now)
            }
            (State::Compiling { running, vigil, cut_short: None, excess }, event) => {
                self.interrupted(running, vigil, excess, event, context)
            }
            (State::Draining { bytes }, Event::Bytes(more)) => {
                let bytes = bytes + more.len() as u64;
                self.state = State::Draining { bytes };
                if bytes > DRAIN_BYTES_MAX { self.close() } else { Next::Wait }
            }
            (State::Replying { .. }, Event::HungUp | Event::TimeOut) => {
                log_info!("{} went away before its reply was sent", self.peer);
                self.gone()
            }
            (State::Staging | State::Comparing(_) | State::Waiting(_), Event::HungUp) => {
                log_info!("{} went away before its job was started", self.peer);
                self.gone()
            }
            (State::Draining { .. }, Event::HungUp | Event::TimeOut) => self.close(),
            // Bytes nobody asked for while the job is under way; the end of a compiler that was cut short.
            (state, _) => {
                self.state = state;
                Next::Wait
            }
        }
    }

    /// Takes in what the client has sent of its request.
    fn receive(
        &mut self,
        mut receiving: Box<Receiving>,
        mut compares: bool,
        bytes: &[u8],
        context: &mut Context<'_>,
    ) -> Next {
        self.received += bytes.len() as u64;
        self.transfer.progress(bytes.len() as u64, context.now);
        let taken = receiving.take(bytes, &mut self.memory, context.workshop);
        self.version = receiving.version();
        if let Some(command) = receiving.command() {
            self.summary.note_command(command);
            if self.transfer.phase() == Phase::Head {
                self.transfer = Transfer::begin(Phase::Pause, context.limits.silence, context.now);
            }
        }
        let question = receiving.take_question();
        let mut next = Next::Wait;
        if let Some(question) = question.filter(|_| taken.is_ok()) {
            match context.workshop.system_headers.recall(&question, context.now) {
                Some(Ok(())) => {}
                Some(Err(refusal)) => return self.refuse_and_drain(refusal, context),
                None => {
                    compares = true;
                    next = Next::Stage(Work::Compare(question));
                }
            }
        }
        match taken {
            Ok(None) => {
                self.state = State::Receiving { receiving, compares };
                next
            }
            Ok(Some(request)) => self.received(request, compares.then_some(next), context),
            Err(Rejection::Refused(refusal)) => self.refuse_and_drain(refusal, context),
            Err(Rejection::Malformed(error)) => self.malformed(&receiving, &error, context),
        }
    }

    /// The request is complete. `compares` is what to do while its headers are still being compared.
    fn received(&mut self, request: Request, compares: Option<Next>, context: &mut Context<'_>) -> Next {
        let elapsed = context.now.duration_since(self.began).as_secs_f64();
        let rate = self.received as f64 / 1024.0 / elapsed.max(1e-6);
        log_info!("{} bytes received in {elapsed:.6}s, rate {rate:.0}kB/s", self.received);
        self.summary.note_command(request.command());
        match (request, compares) {
            (Request::Plain(source), _) => {
                if self.version.compresses() && source.bytes > 0 {
                    self.state = State::Staging;
                    Next::Stage(Work::Unpack(source))
                } else {
                    self.ready(Ok(Job::Plain(source.job)), context)
                }
            }
            (Request::Pump(job), None) => self.ready(Ok(Job::Pump(job)), context),
            (Request::Pump(job), Some(next)) => {
                self.state = State::Comparing(Job::Pump(job));
                next
            }
        }
    }

    /// The job has all it needs, and waits for its turn.
    fn ready(&mut self, job: Result<Job, Refusal>, context: &mut Context<'_>) -> Next {
        match job {
            Ok(job) => {
                self.state = State::Waiting(job);
                self.transfer = Transfer::begin(Phase::Turn, context.limits.silence, context.now);
                Next::Queue
            }
            Err(refusal) => self.refuse(refusal, false, context),
        }
    }

    /// The compiler was started, or could not be.
    fn launched(
        &mut self,
        result: Result<RunningJob, Refusal>,
        cut_short: Option<Cut>,
        excess: Excess,
        context: &mut Context<'_>,
    ) -> Next {
        match (result, cut_short) {
            (Ok(running), cut_short) => {
                if cut_short.is_some() {
                    log_info!("{} went away; its compiler is ended", self.peer);
                    running.kill();
                }
                let pid = running.pid();
                self.summary.started = Some(context.now);
                let (running, vigil) = (Box::new(running), Vigil::begin(context.limits, context.now));
                self.state = State::Compiling { running, vigil, cut_short, excess };
                Next::Running(pid)
            }
            (Err(refusal), None) => self.refuse(refusal, false, context),
            (Err(_), Some(_)) => self.gone(),
        }
    }

    /// Something else than its end happened while the compiler runs.
    fn interrupted(
        &mut self,
        running: Box<RunningJob>,
        mut vigil: Vigil,
        mut excess: Excess,
        event: Event<'_>,
        context: &Context<'_>,
    ) -> Next {
        if let Event::Bytes(bytes) = &event {
            log_debug!("{} sent {} bytes after its request", self.peer, bytes.len());
        }
        let cut_short = match event {
            event if excess.is_the_end(&event) => Some(Cut::Disconnected),
            Event::TimeOut => vigil.look(&running, context.limits, context.now).map(Cut::Overrun),
            _ => None,
        };
        match &cut_short {
            Some(Cut::Disconnected) => log_info!("{} went away; its compiler is ended", self.peer),
            Some(Cut::Overrun(overrun)) => log_warning!("{}: {}", self.peer, overrun.reason),
            None => {}
        }
        if cut_short.is_some() {
            running.kill();
        }
        self.state = State::Compiling { running, vigil, cut_short, excess };
        Next::Wait
    }

    /// The compiler ended.
    fn exited(
        &mut self,
        mut running: RunningJob,
        status: WaitStatus,
        cut_short: Option<Cut>,
        now: Instant,
    ) -> Next {
        self.summary.note_end(status, now);
        if let Some(Cut::Overrun(overrun)) = &cut_short {
            let _ = running.add_diagnostic(&format!("distccd: {}\n", overrun.reason));
        }
        let (output, remains) = running.collect();
        self.remains = Some(remains);
        let status = match &cut_short {
            Some(Cut::Disconnected) => return self.gone(),
            Some(Cut::Overrun(overrun)) => WaitStatus::exited(overrun.code as u8),
            None => status,
        };
        let result = match cut_short {
            Some(Cut::Overrun(overrun)) if overrun.code == ExitCode::Timeout => Outcome::TimedOut,
            Some(_) => Outcome::Other,
            None if status.success() => Outcome::Compiled,
            None => Outcome::Failed,
        };
        self.summarise(result, 0);
        self.state = State::Staging;
        Next::Stage(Work::Pack { version: self.version, status, output })
    }

    /// The reply is made.
    fn packed(&mut self, reply: io::Result<Reply>, context: &mut Context<'_>) -> Next {
        let reply = reply.and_then(|reply| {
            match self.memory.grow_to(reply.memory(), &context.workshop.pools.memory) {
                Ok(()) => Ok(reply),
                Err(shortage) => Err(io::Error::new(io::ErrorKind::OutOfMemory, shortage.to_string())),
            }
        });
        match reply {
            Ok(reply) => {
                self.transfer = Transfer::begin(Phase::Reply, context.limits.silence, context.now);
                self.state = State::Replying { reply, then_drain: false };
                Next::Send
            }
            Err(error) => {
                let code = match error.kind() {
                    // This job's own fault, so that its client does not blame the server.
                    io::ErrorKind::FileTooLarge | io::ErrorKind::OutOfMemory => ExitCode::OutOfMemory,
                    _ => ExitCode::IoError,
                };
                let text = format!("cannot read the compiler's output on the server: {error}");
                self.refuse(Refusal::new(code, text), false, context)
            }
        }
    }

    /// Sends what the socket takes.
    pub fn send(&mut self, to: BorrowedFd<'_>, limits: &ConnectionLimits, now: Instant) -> Next {
        if matches!(self.state, State::Authenticating(_))
            && let State::Authenticating(handshake) = std::mem::replace(&mut self.state, State::Closed)
        {
            return self.send_handshake(handshake, to, limits, now);
        }
        let State::Replying { reply, then_drain } = &mut self.state else { return Next::Wait };
        let before = reply.sent();
        let result = reply.send(to);
        let moved = reply.sent() - before;
        self.sent += moved;
        match result {
            Ok(Sent::Blocked) => {
                self.transfer.progress(moved, now);
                Next::Wait
            }
            Ok(Sent::Everything) if *then_drain => {
                self.state = State::Draining { bytes: 0 };
                self.transfer = Transfer::begin(Phase::Refusal, limits.silence, now);
                Next::Wait
            }
            Ok(Sent::Everything) => self.close(),
            Err(error) => {
                log_info!("send the reply to {}: {error}", self.peer);
                self.gone()
            }
        }
    }

    /// Answers with a reason instead of a compile, while the client may still be sending.
    fn refuse_and_drain(&mut self, refusal: Refusal, context: &mut Context<'_>) -> Next {
        self.refuse(refusal, true, context)
    }

    fn refuse(&mut self, refusal: Refusal, then_drain: bool, context: &mut Context<'_>) -> Next {
        log_warning!("refused {}: {refusal}", self.peer);
        if self.summary.outcome.is_none() {
            self.summarise(Outcome::of_refusal(refusal.code), refusal.code.number());
            self.summary.refusal = Some(refusal.clone());
        }
        let reply = Reply::refusal(self.version, &refusal, context.compressor);
        self.state = State::Replying { reply, then_drain };
        self.transfer = Transfer::begin(Phase::Refusal, context.limits.silence, context.now);
        Next::Send
    }

    /// The client's bytes are no request. Before the version is known there is no language to answer in.
    fn malformed(&mut self, receiving: &Receiving, error: &ProtocolError, context: &mut Context<'_>) -> Next {
        if receiving.at_start() {
            let hint = match error {
                ProtocolError::UnexpectedToken { found, .. } if found.first() == Some(&NOTICE) => {
                    " (it wants to authenticate, and this server has no --auth)"
                }
                _ => "",
            };
            log_warning!("{} does not speak distcc's protocol: {error}{hint}", self.peer);
            self.summarise(Outcome::BadRequest, error.exit_code().number());
            self.summary.refusal = Some(Refusal::new(error.exit_code(), error.to_string()));
            return self.close();
        }
        self.refuse_and_drain(Refusal::new(error.exit_code(), format!("bad request: {error}")), context)
    }

    fn lost_while_receiving(&mut self, receiving: &Receiving) -> Next {
        let nothing_came = self.received == 0;
        let what = receiving.expecting();
        log_info!("the connection to {} ended before {what} was received", self.peer);
        let code = if nothing_came { ExitCode::Truncated } else { ExitCode::IoError };
        self.summarise(if nothing_came { Outcome::Other } else { Outcome::Disconnected }, code.number());
        self.close()
    }

    /// The client left before it had its reply.
    fn gone(&mut self) -> Next {
        self.summarise(Outcome::Disconnected, ExitCode::IoError.number());
        self.close()
    }

    fn close(&mut self) -> Next {
        self.state = State::Closed;
        Next::Close
    }

    fn summarise(&mut self, outcome: Outcome, code: i32) {
        self.summary.outcome = Some(outcome);
        self.summary.code = code;
    }

    /// When this connection must be looked at even if nothing happens; never, while a thread has its job.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Authenticating(_)
            | State::Receiving { .. }
            | State::Waiting(_)
            | State::Replying { .. }
            | State::Draining { .. } => Some(self.transfer.deadline()),
            State::Compiling { cut_short: None, vigil, .. } => Some(vigil.look_at()),
            _ => None,
        }
    }

    /// Whether no compiler was started for it yet, so that its client can go elsewhere if this server stops.
    pub fn is_unstarted(&self) -> bool {
        !matches!(self.state, State::Launching { .. } | State::Compiling { .. } | State::Replying { .. })
            && self.summary.status.is_none()
    }

    /// Ends the compiler, if one runs; its end is reported as any other.
    pub fn kill_compiler(&mut self) {
        match &mut self.state {
            State::Compiling { running, cut_short, .. } => {
                running.kill();
                cut_short.get_or_insert(Cut::Disconnected);
            }
            State::Launching { cut_short, .. } => {
                self.patron.leave();
                *cut_short = Some(Cut::Disconnected);
            }
            _ => {}
        }
    }

    /// What a finished compile left behind, to be buried.
    pub fn take_remains(&mut self) -> Option<Remains> {
        self.remains.take()
    }

    /// What statistics are told of it at its end; nothing, if nothing became of it.
    pub fn ending(&self, now: Instant) -> Option<Ending> {
        self.summary.ending(self.patron.origin, [self.received, self.sent], now.duration_since(self.began))
    }

    /// Writes the line that statistics scripts read.
    pub fn log_summary(&self, now: Instant) {
        self.summary.log(&self.peer, now.duration_since(self.began));
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.patron.leave();
    }
}
