//! A survey of many hosts at once: names are resolved, each host is tried when its addresses are known, and each verdict
//! is reported as it falls. The event loop; what a host is asked is [`crate::probe::target`]'s.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};

use crate::probe::names::{Course, Names, Reach};
use crate::probe::resolvers::{Answer, Resolvers};
use crate::probe::target::{Target, Trial, Verdict};
use crate::protocol::peer_text::one_line;
use crate::sys::{process, resolve};
use crate::{log_debug, log_info};

/// The resolvers' token; those of sockets follow.
const ANSWERS: Token = Token(0);
const SOCKET_FIRST: usize = 1;
/// Events taken from the kernel at once.
const EVENTS_AT_ONCE: usize = 256;
/// How often a name is asked for that nobody answers about, as in 3.4.
const QUESTIONS_MAX: u32 = 5;
/// What stands for no limit: longer than any name service takes.
const TIME_MAX: Duration = Duration::from_secs(24 * 3600);
/// Descriptors for what is neither a host's nor a resolver's.
const DESCRIPTORS_RESERVED: usize = 32;

/// What to look for, and for how long.
#[derive(Debug)]
pub struct Plan {
    /// The names.
    pub names: Names,
    /// How far a series of names is followed.
    pub reach: Reach,
    /// The port of each.
    pub port: u16,
    /// What hosts are asked; nothing if a name that resolves is enough.
    pub trial: Option<Trial>,
    /// The time for everything, if it is limited.
    pub time: Option<Duration>,
    /// How long a question after a name waits for its answer before it is asked again.
    pub ask_again: Duration,
    /// How many leading bits of its addresses a host has in common with the first one; at another the survey stops.
    pub common_bits: u32,
}

/// One host's result.
#[derive(Debug)]
pub struct Finding<'a> {
    /// Its name as it was asked for.
    pub name: &'a str,
    /// What is known of it.
    pub verdict: Verdict,
}

/// What came of a survey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How many names had addresses.
    pub resolved: usize,
    /// Whether the time was over before the work.
    pub expired: bool,
}

/// Carries out a survey. `report` is told each verdict when it falls, and may end it.
pub fn run(plan: Plan, report: &mut dyn FnMut(Finding<'_>) -> ControlFlow<()>) -> io::Result<Summary> {
    Survey::new(plan)?.run(report)
}

/// What is known of a name so far.
#[derive(Debug)]
enum State {
    /// Its addresses are asked for: how often, and when the next time is due.
    Asked { times: u32, again: Option<Instant> },
    /// It waits until sockets are free.
    Waiting(Vec<SocketAddr>),
    /// It is tried, with so many sockets.
    Tried(Target, usize),
    /// There is nothing more to know.
    Done,
}

#[derive(Debug)]
struct Host {
    name: String,
    state: State,
}

impl Host {
    /// Its name, fit for a log: it may come from a variable that somebody else has set.
    fn shown(&self) -> String {
        one_line(&self.name)
    }
}

struct Survey {
    plan: Plan,
    course: Course,
    hosts: Vec<Host>,
    /// The hosts with something to wait for.
    active: BTreeSet<usize>,
    poll: Poll,
    resolvers: Resolvers,
    end: Option<Instant>,
    /// Hosts whose state is `Waiting`, first come first served.
    waiting: VecDeque<usize>,
    sockets: usize,
    sockets_max: usize,
    /// Answers that came before that of a name further up the list, where their order matters.
    early: BTreeMap<usize, io::Result<Vec<SocketAddr>>>,
    next_in_order: usize,
    /// The addresses of the first host, where others are compared with it.
    example: Vec<IpAddr>,
    /// Verdicts that are to be reported.
    verdicts: Vec<(usize, Verdict)>,
    resolved: usize,
}

impl Survey {
    fn new(mut plan: Plan) -> io::Result<Survey> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), ANSWERS)?);
        let now = Instant::now();
        let end = plan.time.map(|time| now + time);
        // A resolver has up to two descriptors, a host one for each address.
        let descriptors = process::raise_descriptor_limit();
        let sockets_max = (descriptors / 2).saturating_sub(DESCRIPTORS_RESERVED).max(resolve::ADDRESSES_MAX);
        let resolvers =
            Resolvers::new(plan.port, end.unwrap_or(now + TIME_MAX), waker, (descriptors / 4).max(1));
        let names = std::mem::replace(&mut plan.names, Names::List(Vec::new()));
        Ok(Survey {
            course: Course::new(names, plan.reach),
            plan,
            hosts: Vec::new(),
            active: BTreeSet::new(),
            poll,
            resolvers,
            end,
            waiting: VecDeque::new(),
            sockets: 0,
            sockets_max,
            early: BTreeMap::new(),
            next_in_order: 0,
            example: Vec::new(),
            verdicts: Vec::new(),
            resolved: 0,
        })
    }

    fn run(mut self, report: &mut dyn FnMut(Finding<'_>) -> ControlFlow<()>) -> io::Result<Summary> {
        let mut events = Events::with_capacity(EVENTS_AT_ONCE);
        let summary = |survey: &Survey, expired| Summary { resolved: survey.resolved, expired };
        loop {
            let mut now = Instant::now();
            self.ask(now);
            self.begin(now);
            for (number, verdict) in std::mem::take(&mut self.verdicts) {
                let host = &self.hosts[number];
                match &verdict.up {
                    Ok(()) => log_info!("{}: up at {}", host.shown(), verdict.address),
                    Err(why) => log_info!("{}: down: {why}", host.shown()),
                }
                if report(Finding { name: &host.name, verdict }).is_break() {
                    return Ok(summary(&self, false));
                }
            }
            if self.course.is_settled() && self.active.is_empty() {
                return Ok(summary(&self, false));
            }
            let wake = self.next_deadline();
            match self.poll.poll(&mut events, wake.map(|wake| wake.saturating_duration_since(now))) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            now = Instant::now();
            for event in &events {
                match event.token() {
                    ANSWERS => self.take_answers(now),
                    Token(token) => self.on_ready(token - SOCKET_FIRST, now),
                }
            }
            self.expire(now);
            if self.end.is_some_and(|end| end <= now) {
                self.tell_what_is_open();
                return Ok(summary(&self, true));
            }
        }
    }

    fn tell_what_is_open(&self) {
        log_info!("the time is over (option -t)");
        for host in self.active.iter().map(|number| &self.hosts[*number]) {
            match host.state {
                State::Asked { .. } => log_info!("{}: name services have not answered", host.shown()),
                _ => log_info!("{}: has not answered yet", host.shown()),
            }
        }
    }

    /// Asks about the names that are due.
    fn ask(&mut self, now: Instant) {
        while let Some((number, name)) = self.course.advance() {
            log_debug!("{}: looking it up", one_line(&name));
            assert_eq!(number, self.hosts.len(), "BUG: a name out of order");
            let again = Some(now + self.plan.ask_again);
            self.hosts.push(Host { name: name.clone(), state: State::Asked { times: 1, again } });
            self.active.insert(number);
            match resolve::in_numbers(unbracketed(&name), self.plan.port) {
                Some(address) => self.on_answer(Answer { number, addresses: Ok(vec![address]) }, now),
                None => self.resolvers.ask(number, unbracketed(&name)),
            }
        }
    }

    fn take_answers(&mut self, now: Instant) {
        for answer in self.resolvers.answers() {
            // Of several questions after a name the first answer counts.
            if matches!(self.hosts[answer.number].state, State::Asked { .. }) {
                self.on_answer(answer, now);
            }
        }
    }

    /// Takes a name's addresses, in the order of names if it matters which host is the first.
    fn on_answer(&mut self, answer: Answer, now: Instant) {
        self.hosts[answer.number].state = State::Done;
        self.active.remove(&answer.number);
        if self.plan.common_bits == 0 {
            self.settle(answer.number, answer.addresses, now);
            return;
        }
        self.early.insert(answer.number, answer.addresses);
        while let Some(addresses) = self.early.remove(&self.next_in_order) {
            self.next_in_order += 1;
            self.settle(self.next_in_order - 1, addresses, now);
        }
    }

    fn settle(&mut self, number: usize, addresses: io::Result<Vec<SocketAddr>>, now: Instant) {
        let host = &mut self.hosts[number];
        let mut addresses = match addresses {
            Ok(addresses) => addresses,
            Err(error) => {
                log_info!("{}: not found: {error}", host.shown());
                self.course.missing();
                return;
            }
        };
        if self.example.is_empty() {
            self.example = addresses.iter().map(SocketAddr::ip).collect();
        }
        let (example, bits) = (&self.example, self.plan.common_bits);
        addresses.retain(|address| example.iter().any(|other| have_in_common(address.ip(), *other, bits)));
        if addresses.is_empty() {
            log_info!("{}: not in the network of the first host (option -m); the search ends", host.shown());
            self.course.stop();
            self.early.clear();
            // Whoever is still asked for comes after this name.
            for (number, host) in self.hosts.iter_mut().enumerate() {
                if matches!(host.state, State::Asked { .. }) {
                    host.state = State::Done;
                    self.active.remove(&number);
                }
            }
            return;
        }
        self.course.found();
        self.resolved += 1;
        if self.plan.trial.is_some() {
            host.state = State::Waiting(addresses);
            self.active.insert(number);
            self.waiting.push_back(number);
            self.begin(now);
        } else {
            let verdict = Verdict { address: addresses[0], up: Ok(()), latency: Duration::ZERO };
            self.verdicts.push((number, verdict));
        }
    }

    /// Begins to try hosts, as far as there are sockets.
    fn begin(&mut self, now: Instant) {
        while let (Some(number), Some(trial)) = (self.waiting.front().copied(), &self.plan.trial) {
            let host = &mut self.hosts[number];
            let State::Waiting(addresses) = &host.state else { unreachable!("BUG: it waits for sockets") };
            let count = addresses.len();
            if self.sockets + count > self.sockets_max {
                return;
            }
            self.waiting.pop_front();
            log_debug!("{}: connecting to {addresses:?}", host.shown());
            let token = SOCKET_FIRST + number * resolve::ADDRESSES_MAX;
            match Target::start(addresses, token, trial, self.poll.registry(), now) {
                Ok(target) => {
                    self.sockets += count;
                    host.state = State::Tried(target, count);
                }
                Err(verdict) => self.conclude(number, verdict),
            }
        }
    }

    /// A socket is ready: its host's number, and its place among the host's.
    fn on_ready(&mut self, socket: usize, now: Instant) {
        let (number, place) = (socket / resolve::ADDRESSES_MAX, socket % resolve::ADDRESSES_MAX);
        let Some(trial) = &self.plan.trial else { return };
        // The last event of a socket may come after its host's verdict.
        if let State::Tried(target, _) = &mut self.hosts[number].state
            && let Some(verdict) = target.on_ready(place, trial, now)
        {
            self.conclude(number, verdict);
        }
    }

    fn conclude(&mut self, number: usize, verdict: Verdict) {
        let state = std::mem::replace(&mut self.hosts[number].state, State::Done);
        if let State::Tried(_, count) = state {
            self.sockets -= count;
        }
        self.active.remove(&number);
        self.verdicts.push((number, verdict));
    }

    /// When something is to be done though nothing happens.
    fn next_deadline(&self) -> Option<Instant> {
        let of_host = |number: &usize| match &self.hosts[*number].state {
            State::Asked { again, .. } => *again,
            State::Tried(target, _) => Some(target.deadline()),
            State::Waiting(_) | State::Done => None,
        };
        self.active.iter().filter_map(of_host).chain(self.end).chain(self.resolvers.next_deadline()).min()
    }

    fn expire(&mut self, now: Instant) {
        self.resolvers.go_on(now);
        let active: Vec<usize> = self.active.iter().copied().collect();
        for number in active {
            let host = &mut self.hosts[number];
            match (&mut host.state, &self.plan.trial) {
                (State::Asked { times, again }, _) if again.is_some_and(|again| again <= now) => {
                    *times += 1;
                    *again = (*times < QUESTIONS_MAX).then_some(now + self.plan.ask_again);
                    log_debug!("{}: looking it up again", host.shown());
                    self.resolvers.ask_again(number, unbracketed(&host.name));
                }
                (State::Tried(target, _), Some(trial)) if target.deadline() <= now => {
                    let verdict = target.expire(trial, now);
                    self.conclude(number, verdict);
                }
                _ => {}
            }
        }
    }
}

/// The address in a word like `[::1]`.
fn unbracketed(name: &str) -> &str {
    name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name)
}

/// Whether the leading bits of two addresses are the same. Those of different families have nothing in common.
fn have_in_common(one: IpAddr, other: IpAddr, bits: u32) -> bool {
    match (one, other) {
        _ if bits == 0 => true,
        (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros() >= bits,
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros() >= bits,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_begin_alike() {
        for (one, other, bits, expected) in [
            ("10.1.2.3", "192.168.1.1", 0, true),
            ("10.1.2.3", "10.1.200.3", 16, true),
            ("10.1.2.3", "10.1.200.3", 17, false),
            ("127.0.0.1", "127.0.0.1", 31, true),
            ("fd00::1", "fd00::2", 31, true),
            ("fd00::1", "fe80::1", 8, false),
            ("::ffff:10.1.2.3", "10.1.2.3", 1, false),
            ("::1", "10.0.0.1", 0, true),
        ] {
            let found = have_in_common(one.parse().unwrap(), other.parse().unwrap(), bits);
            assert_eq!(found, expected, "{one} {other} {bits}");
        }
    }
}
