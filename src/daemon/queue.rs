//! The jobs that wait for a slot, and whose turn it is. Knows numbers of jobs and where they come from; neither what they
//! are nor how they are started.
//!
//! The turn is that of the address with the fewest jobs in slots; among equals, of the one whose last turn is longest
//! ago; among those who had none, of the job that waits longest. So a client with one job waits for one slot to become
//! free, however many jobs another has in the queue.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::daemon::patron::Origin;
use crate::daemon::refusal::Refusal;
use crate::daemon::workers::ConnectionId;
use crate::exit_code::ExitCode;

/// The part of the queue that one address may have: one half.
const PARTS: usize = 2;

/// The queue, and who has a slot.
#[derive(Debug)]
pub struct Queue {
    most: usize,
    lines: HashMap<Origin, Line>,
    /// The lines with jobs that wait, by whose turn it is.
    turns: BTreeSet<Turn>,
    /// Where each waiting job is.
    places: HashMap<ConnectionId, (Origin, u64)>,
    /// Who has a slot.
    holders: HashMap<ConnectionId, Origin>,
    arrivals: u64,
    starts: u64,
}

/// The jobs of one address.
#[derive(Debug, Default)]
struct Line {
    in_slots: usize,
    last_turn: u64,
    waiting: BTreeMap<u64, ConnectionId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    in_slots: usize,
    last_turn: u64,
    first: u64,
    origin: Origin,
}

impl Line {
    fn turn(&self, origin: Origin) -> Option<Turn> {
        let (first, _) = self.waiting.first_key_value()?;
        Some(Turn { in_slots: self.in_slots, last_turn: self.last_turn, first: *first, origin })
    }
}

impl Queue {
    /// Nobody waits yet; `most` may (`--queue`).
    pub fn new(most: usize) -> Queue {
        Queue {
            most,
            lines: HashMap::new(),
            turns: BTreeSet::new(),
            places: HashMap::new(),
            holders: HashMap::new(),
            arrivals: 0,
            starts: 0,
        }
    }

    /// A job joins; a reason if it may not. Where `is_free`, a slot waits for it, and not it for a slot.
    pub fn join(&mut self, id: ConnectionId, origin: Origin, is_free: bool) -> Result<(), Refusal> {
        let theirs = self.lines.get(&origin).map_or(0, |line| line.waiting.len());
        // The only client of a server has it for itself.
        let part = if origin == Origin::Only { self.most } else { self.most.div_ceil(PARTS) };
        let reason = if is_free {
            None
        } else if self.places.len() >= self.most {
            Some(format!("{} jobs wait for this server, and no more may (distccd --queue)", self.most))
        } else if theirs >= part {
            Some(format!(
                "{part} jobs from your address wait for this server, half of all that may (distccd --queue)"
            ))
        } else {
            None
        };
        if let Some(reason) = reason {
            return Err(Refusal::new(ExitCode::Busy, reason));
        }
        let number = self.arrivals;
        self.arrivals += 1;
        self.places.insert(id, (origin, number));
        self.change(origin, |line| _ = line.waiting.insert(number, id));
        Ok(())
    }

    /// The next job to have a slot.
    pub fn start_next(&mut self) -> Option<ConnectionId> {
        let Turn { first, origin, .. } = *self.turns.first()?;
        self.starts += 1;
        let start = self.starts;
        let mut id = None;
        self.change(origin, |line| {
            id = line.waiting.remove(&first);
            line.in_slots += 1;
            line.last_turn = start;
        });
        let id = id.expect("BUG: a turn of no job");
        self.places.remove(&id);
        self.holders.insert(id, origin);
        Some(id)
    }

    /// A job leaves: it waits no more, or gives its slot back.
    pub fn leave(&mut self, id: ConnectionId) {
        if let Some((origin, number)) = self.places.remove(&id) {
            self.change(origin, |line| _ = line.waiting.remove(&number));
        }
        if let Some(origin) = self.holders.remove(&id) {
            self.change(origin, |line| line.in_slots -= 1);
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Changes a line, and with it its turn.
    fn change(&mut self, origin: Origin, change: impl FnOnce(&mut Line)) {
        let line = self.lines.entry(origin).or_default();
        if let Some(turn) = line.turn(origin) {
            self.turns.remove(&turn);
        }
        change(line);
        if let Some(turn) = line.turn(origin) {
            self.turns.insert(turn);
        } else if line.in_slots == 0 {
            self.lines.remove(&origin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(client: u64) -> Origin {
        Origin::V6Net(client)
    }

    /// A queue with jobs, each a hundred times its client and a number.
    fn queue(most: usize, jobs: &[u64]) -> Queue {
        let mut queue = Queue::new(most);
        for id in jobs {
            queue.join(*id, origin(id / 100), false).unwrap();
        }
        queue
    }

    /// The order in which jobs start, with so many slots, of which the one longest in use becomes free each time.
    fn order(queue: &mut Queue, slots: usize) -> Vec<u64> {
        let mut order: Vec<u64> = Vec::new();
        loop {
            if order.len() >= slots {
                queue.leave(order[order.len() - slots]);
            }
            match queue.start_next() {
                Some(id) => order.push(id),
                None => break,
            }
        }
        order.iter().for_each(|id| queue.leave(*id));
        assert!(
            queue.is_empty() && queue.lines.is_empty() && queue.turns.is_empty() && queue.holders.is_empty()
        );
        order
    }

    #[test]
    fn clients_with_few_jobs_do_not_wait_for_those_with_many() {
        for (slots, jobs, expected) in [
            (1, vec![100, 101, 102], vec![100, 101, 102]),
            (1, vec![100, 101, 102, 103, 200], vec![100, 200, 101, 102, 103]),
            (1, vec![100, 101, 200, 201, 102], vec![100, 200, 101, 201, 102]),
            (2, vec![100, 101, 102, 103, 200, 201], vec![100, 200, 101, 201, 102, 103]),
            (2, vec![100, 101, 102, 103, 200, 300], vec![100, 200, 300, 101, 102, 103]),
            (3, vec![100, 101, 102, 103, 104, 200], vec![100, 200, 101, 102, 103, 104]),
        ] {
            assert_eq!(order(&mut queue(100, &jobs), slots), expected, "{slots} {jobs:?}");
        }
    }

    #[test]
    fn who_comes_late_is_next_when_others_hold_all_slots() {
        let mut queue = queue(300, &(100..300).filter(|id| id / 100 == 1).collect::<Vec<_>>());
        let running: Vec<_> = (0..4).map(|_| queue.start_next().unwrap()).collect();
        queue.join(900, origin(9), false).unwrap();
        queue.leave(running[0]);
        assert_eq!(queue.start_next(), Some(900));
        // It has one slot, the other three: its next one comes before theirs.
        queue.join(901, origin(9), false).unwrap();
        queue.leave(running[1]);
        assert_eq!(queue.start_next(), Some(901));
        queue.leave(running[2]);
        assert_eq!(queue.start_next(), Some(104));
    }

    #[test]
    fn nobody_has_more_than_half_of_the_places() {
        let mut queue = queue(4, &[100, 101]);
        let refusal = queue.join(102, origin(1), false).unwrap_err();
        assert!(
            refusal.reason.contains("2 jobs from your address") && refusal.reason.contains("--queue"),
            "{refusal}"
        );
        queue.join(102, origin(1), true).unwrap();
        queue.leave(102);
        queue.join(200, origin(2), false).unwrap();
        queue.join(300, origin(3), false).unwrap();
        let refusal = queue.join(400, origin(4), false).unwrap_err();
        assert!(refusal.code == ExitCode::Busy && refusal.reason.contains("4 jobs wait"), "{refusal}");
        queue.leave(200);
        queue.join(400, origin(4), false).unwrap();
        let mut none = Queue::new(0);
        assert!(none.join(1, origin(1), false).is_err() && none.join(1, origin(1), true).is_ok());
        let mut only = Queue::new(2);
        assert!((0..2).all(|id| only.join(id, Origin::Only, false).is_ok()));
    }
}
