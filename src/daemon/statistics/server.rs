//! The statistics' thread: it takes in what the loop tells, and answers visitors. Knows sockets and clocks; what is in an
//! answer is made elsewhere.
//!
//! Everything here has a bound: how many visitors there are, how long each stays, how much it may say. The other side
//! of the daemon has never to wait for it.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::daemon::access::Access;
use crate::daemon::patron::Origin;
use crate::daemon::statistics::http::{Question, Topic};
use crate::daemon::statistics::ledger::{Ledger, Settings};
use crate::daemon::statistics::machine::Machine;
use crate::daemon::statistics::visitor::{Next, Visitor};
use crate::daemon::statistics::{Ended, Inbox, Levels, Reporter, json, metrics, page, text};
use crate::sys::net;
use crate::{log_error, log_warning};

const NEWS: Token = Token(0);
const LISTENER_FIRST: usize = 1;
/// Room for listeners below the tokens of visitors.
const VISITOR_FIRST: usize = 1 << 10;
/// Events taken from the kernel at once.
const EVENTS_AT_ONCE: usize = 64;
/// Visitors at once; of these, with one address. Whoever is one too many is hung up on.
const VISITORS_MAX: usize = 32;
const VISITORS_EACH_MAX: usize = 8;
/// Visitors accepted before the others have their turn.
const ACCEPTED_IN_A_ROW_MAX: usize = 64;
/// How often what the loop has told is taken in and the machine is looked at when nobody asks.
const ROUND: Duration = Duration::from_secs(10);
/// How long accepting pauses when the machine is out of descriptors or memory, or many come at once.
const PAUSE: Duration = Duration::from_millis(100);
/// How long accepting pauses after an answer, in times of what that took: all answers together have a quarter of one
/// processor.
const PAUSE_PER_ANSWER: u32 = 3;

/// What the thread works with.
struct Server {
    poll: Poll,
    inbox: Inbox,
    access: Access,
    ledger: Ledger,
    machine: Machine,
    listeners: Vec<TcpListener>,
    visitors: HashMap<usize, Visitor>,
    next_visitor: usize,
    next_round: Instant,
    accept_again: Option<Instant>,
}

/// Starts the thread. Call it when the process is as restricted as it will be. `temporary` is TMPDIR.
pub fn start(
    listeners: Vec<TcpListener>,
    access: Access,
    settings: Settings,
    temporary: &Path,
) -> io::Result<Reporter> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), NEWS)?);
    for (index, listener) in listeners.iter().enumerate() {
        listener.set_nonblocking(true)?;
        let (fd, token) = (listener.as_raw_fd(), Token(LISTENER_FIRST + index));
        poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE)?;
    }
    let (sender, receiver) = mpsc::channel();
    let shared = Arc::default();
    let inbox = Inbox { receiver, shared: Arc::clone(&shared) };
    let now = Instant::now();
    let server = Server {
        poll,
        inbox,
        access,
        ledger: Ledger::new(settings, now),
        machine: Machine::new(temporary),
        listeners,
        visitors: HashMap::new(),
        next_visitor: VISITOR_FIRST,
        next_round: now,
        accept_again: None,
    };
    let thread = thread::Builder::new().name("statistics".into()).spawn(move || server.run())?;
    Ok(Reporter { sender: Some(sender), shared, waker, thread: Some(thread), levels: Levels::default() })
}

impl Server {
    fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_AT_ONCE);
        loop {
            let timeout = self.next_deadline().saturating_duration_since(Instant::now());
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    log_error!("statistics end: wait for events: {error}");
                    return;
                }
                _ => {}
            }
            let now = Instant::now();
            for event in &events {
                match event.token() {
                    NEWS => {}
                    Token(token) if token < VISITOR_FIRST => self.accept_from(token - LISTENER_FIRST, now),
                    Token(token) => self.go_on(token, now),
                }
            }
            self.on_clock(now);
            if self.take_in(now).is_err() {
                return;
            }
        }
    }

    fn next_deadline(&self) -> Instant {
        let visitors = self.visitors.values().map(Visitor::deadline);
        visitors.chain(self.accept_again).min().map_or(self.next_round, |next| next.min(self.next_round))
    }

    /// Takes in what was told. There may be more by then, which waits for the next time.
    fn take_in(&mut self, now: Instant) -> Result<(), Ended> {
        while let Some((at, occurrence)) = self.inbox.next()? {
            self.ledger.note(at, occurrence);
            if at > now {
                break;
            }
        }
        self.ledger.pass(now);
        Ok(())
    }

    fn on_clock(&mut self, now: Instant) {
        if self.next_round <= now {
            self.next_round = now + ROUND;
            self.machine.look(now);
        }
        if self.accept_again.is_some_and(|again| again <= now) {
            self.accept_again = None;
            (0..self.listeners.len()).for_each(|index| self.accept_from(index, now));
        }
        let overdue: Vec<usize> = self
            .visitors
            .iter()
            .filter(|(_, visitor)| visitor.deadline() <= now)
            .map(|(token, _)| *token)
            .collect();
        for token in overdue {
            let next = self.visitors.get(&token).map_or(Next::Wait, Visitor::on_deadline);
            self.follow(token, next, now);
        }
    }

    fn accept_from(&mut self, index: usize, now: Instant) {
        for _ in 0..ACCEPTED_IN_A_ROW_MAX {
            // Also after each answer: see there.
            if self.accept_again.is_some_and(|again| now < again) {
                return;
            }
            let Some(listener) = self.listeners.get(index) else { return };
            match listener.accept() {
                Ok((stream, address)) => self.receive(stream, address.ip().to_canonical(), now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if net::concerns_one_client(&error) => {}
                Err(error) => {
                    log_warning!("accept a visitor of the statistics: {error}; trying again shortly");
                    break;
                }
            }
        }
        self.accept_again = Some(now + PAUSE);
    }

    /// A visitor has come; it is hung up on if it may not, or if there are too many.
    fn receive(&mut self, stream: TcpStream, address: IpAddr, now: Instant) {
        if !self.access.permits(address) {
            log_error!("a visitor of the statistics, '{address}', is denied by access list");
            return;
        }
        let origin = Origin::of(address);
        let theirs = self.visitors.values().filter(|visitor| visitor.origin == origin).count();
        if self.visitors.len() >= VISITORS_MAX || theirs >= VISITORS_EACH_MAX {
            return;
        }
        let token = self.next_visitor;
        self.next_visitor += 1;
        let fd = stream.as_raw_fd();
        let interest = Interest::READABLE | Interest::WRITABLE;
        let watched = stream
            .set_nonblocking(true)
            .and_then(|()| self.poll.registry().register(&mut SourceFd(&fd), Token(token), interest));
        if let Err(error) = watched {
            log_warning!("watch a visitor of the statistics: {error}");
            return;
        }
        self.visitors.insert(token, Visitor::new(stream, origin, now));
        self.go_on(token, now);
    }

    fn go_on(&mut self, token: usize, now: Instant) {
        let Some(visitor) = self.visitors.get_mut(&token) else { return };
        let next = visitor.go_on(now);
        self.follow(token, next, now);
    }

    fn follow(&mut self, token: usize, mut next: Next, now: Instant) {
        if let Next::Answer(question) = next {
            let answer = self.answer(question, now);
            next = self.visitors.get_mut(&token).map_or(Next::Wait, |visitor| visitor.answer(answer, now));
        }
        if next == Next::Gone
            && let Some(visitor) = self.visitors.remove(&token)
        {
            let _ = self.poll.registry().deregister(&mut SourceFd(&visitor.stream().as_raw_fd()));
        }
    }

    /// Head and body of an answer. Others are accepted when it has become a small part of the thread's time: who asks
    /// without end is to have no processor that belongs to compilers.
    fn answer(&mut self, question: Question, now: Instant) -> Vec<u8> {
        let began = Instant::now();
        let answer = self.compose(question, now);
        let ended = Instant::now();
        let from = self.accept_again.map_or(ended, |again| again.max(ended));
        self.accept_again = Some(from + (ended - began) * PAUSE_PER_ANSWER);
        answer
    }

    fn compose(&mut self, question: Question, now: Instant) -> Vec<u8> {
        let _ = self.take_in(now);
        self.machine.look(now);
        if question.topic != Topic::Page {
            self.machine.look_at_processes(now);
        }
        let (ledger, machine, lost) = (&self.ledger, &self.machine, self.inbox.lost());
        let (mut head, body) = match question.topic {
            Topic::Text => (text::HEAD.to_string(), text::text(ledger, machine)),
            Topic::Metrics => {
                with_head(metrics::MEDIA_TYPE, "", metrics::metrics(ledger, machine, lost, now))
            }
            Topic::Json => with_head("application/json", "", json::json(ledger, machine, lost, now)),
            Topic::Page => {
                let (policy, page) = page::page();
                with_head("text/html; charset=utf-8", &policy, page)
            }
        };
        if !question.is_head {
            head.push_str(&body);
        }
        head.into_bytes()
    }
}

/// The head of an answer that scrapers of 3.4 do not ask for.
fn with_head(media_type: &str, more: &str, body: String) -> (String, String) {
    let length = body.len();
    let head = format!(
        "HTTP/1.0 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n{more}\r\n"
    );
    (head, body)
}
