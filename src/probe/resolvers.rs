//! Many names resolved at once: a thread for each question, as far as that is cheap. Knows nothing of what the addresses
//! are for.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use mio::Waker;

use crate::sys::resolve;

/// Questions open at the same time where only a thread waits: a silent name server keeps each for ten seconds, and the
/// names that others answer for must not wait behind them.
const THREADS_MAX: usize = 512;
/// Questions asked before one of them is answered: several hundred at once fill the socket of a small name server, which
/// then loses some.
const BURST_MAX: usize = 64;
/// After so long without an answer the name server is slow rather than full, and more is asked.
const BURST_TIME: Duration = Duration::from_millis(50);
/// Questions open at the same time that have a process each.
const HELPERS_MAX: usize = 48;
/// Stack of a thread, in bytes: the library puts some answers of name servers there, of up to 64 KiB.
const STACK_BYTES: usize = 256 << 10;

/// What became of a question.
#[derive(Debug)]
pub struct Answer {
    /// The question's number.
    pub number: usize,
    /// The addresses.
    pub addresses: io::Result<Vec<SocketAddr>>,
}

#[derive(Debug)]
struct Question {
    number: usize,
    name: Arc<str>,
}

/// Questions of one price.
#[derive(Debug)]
struct Lane {
    waiting: VecDeque<Question>,
    open: usize,
    open_max: usize,
    /// Questions of the latest burst that have no answer yet, and when the last of them was asked.
    fresh: usize,
    asked: Instant,
}

impl Lane {
    fn new(open_max: usize) -> Lane {
        Lane { waiting: VecDeque::new(), open: 0, open_max, fresh: 0, asked: Instant::now() }
    }

    /// When a new burst may begin, if that is what questions wait for.
    fn next_burst(&self) -> Option<Instant> {
        let waits = !self.waiting.is_empty() && self.open < self.open_max && self.fresh >= BURST_MAX;
        waits.then_some(self.asked + BURST_TIME)
    }
}

/// Resolves names. Threads that still wait when this is dropped end with the process, and their helpers with them.
#[derive(Debug)]
pub struct Resolvers {
    port: u16,
    deadline: Instant,
    waker: Arc<Waker>,
    sender: Sender<(bool, Answer)>,
    receiver: Receiver<(bool, Answer)>,
    /// Questions for which a process is started, and others.
    helped: Lane,
    plain: Lane,
}

impl Resolvers {
    /// Resolvers that wake a loop with each answer, and ask nobody beyond the deadline. Not more than `open_max`
    /// questions of each price are open at a time.
    pub fn new(port: u16, deadline: Instant, waker: Arc<Waker>, open_max: usize) -> Resolvers {
        let (sender, receiver) = mpsc::channel();
        let (helped, plain) = (Lane::new(HELPERS_MAX.min(open_max)), Lane::new(THREADS_MAX.min(open_max)));
        Resolvers { port, deadline, waker, sender, receiver, helped, plain }
    }

    /// Asks for a name's addresses, now or when others have been answered.
    pub fn ask(&mut self, number: usize, name: &str) {
        let helped = resolve::needs_helper(name);
        self.lane(helped).waiting.push_back(Question { number, name: name.into() });
        self.start(helped);
    }

    /// Asks once more, beside the question that has no answer yet; only if that makes no other name wait.
    pub fn ask_again(&mut self, number: usize, name: &str) {
        let helped = resolve::needs_helper(name);
        let lane = self.lane(helped);
        if lane.waiting.is_empty() && lane.open < lane.open_max {
            self.ask(number, name);
        }
    }

    /// The answers that have come.
    pub fn answers(&mut self) -> Vec<Answer> {
        let mut answers = Vec::new();
        while let Ok((helped, answer)) = self.receiver.try_recv() {
            let lane = self.lane(helped);
            lane.open -= 1;
            lane.fresh = lane.fresh.saturating_sub(1);
            self.start(helped);
            answers.push(answer);
        }
        answers
    }

    /// When [`Resolvers::go_on`] is due though no answer has come.
    pub fn next_deadline(&self) -> Option<Instant> {
        [&self.helped, &self.plain].into_iter().filter_map(Lane::next_burst).min()
    }

    /// Asks more questions if that is due.
    pub fn go_on(&mut self, now: Instant) {
        for helped in [false, true] {
            let lane = self.lane(helped);
            if lane.next_burst().is_some_and(|due| due <= now) {
                lane.fresh = 0;
                self.start(helped);
            }
        }
    }

    fn lane(&mut self, helped: bool) -> &mut Lane {
        if helped { &mut self.helped } else { &mut self.plain }
    }

    fn start(&mut self, helped: bool) {
        while self.lane(helped).open < self.lane(helped).open_max && self.lane(helped).fresh < BURST_MAX {
            let Some(question) = self.lane(helped).waiting.pop_front() else { return };
            let (sender, waker) = (self.sender.clone(), Arc::clone(&self.waker));
            let (port, deadline, number, name) =
                (self.port, self.deadline, question.number, Arc::clone(&question.name));
            let started = thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
                let addresses = resolve::addresses_beside_threads(&name, port, deadline);
                // The receiver is gone when the survey is over.
                if sender.send((helped, Answer { number, addresses })).is_ok() {
                    let _ = waker.wake();
                }
            });
            let lane = self.lane(helped);
            match started {
                Ok(_) => {
                    lane.open += 1;
                    lane.fresh += 1;
                    lane.asked = Instant::now();
                }
                // As many threads as we may have.
                Err(_) if lane.open > 0 => {
                    lane.open_max = lane.open;
                    lane.waiting.push_front(question);
                }
                Err(error) => {
                    lane.open += 1;
                    let _ = self.sender.send((helped, Answer { number, addresses: Err(error) }));
                    let _ = self.waker.wake();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll, Token};
    use std::collections::BTreeMap;
    use std::time::Duration;

    #[test]
    fn every_question_is_answered_once_by_its_number() {
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let mut resolvers = Resolvers::new(7, Instant::now() + Duration::from_secs(20), waker, 300);
        let known = ["localhost", "127.0.0.9", "::1"];
        for number in 0..700 {
            resolvers.ask(number, known.get(number % 4).unwrap_or(&"--no such name"));
        }
        let (mut answers, mut events) = (BTreeMap::new(), Events::with_capacity(8));
        while answers.len() < 700 {
            poll.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
            assert!(!events.is_empty(), "{} answers", answers.len());
            resolvers.go_on(Instant::now());
            for answer in resolvers.answers() {
                assert!(answers.insert(answer.number, answer.addresses).is_none(), "answered twice");
            }
        }
        for (number, addresses) in answers {
            match number % 4 {
                3 => assert!(addresses.is_err(), "{addresses:?}"),
                1 => assert_eq!(addresses.unwrap(), ["127.0.0.9:7".parse().unwrap()]),
                _ => assert!(addresses.unwrap()[0].ip().is_loopback()),
            }
        }
        assert_eq!((resolvers.plain.open, resolvers.helped.open), (0, 0));
    }
}
