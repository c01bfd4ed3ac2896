//! What happened in each of the last steps of time: a fixed number of them, each a few sums. Knows clocks; nothing of
//! who asks.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::daemon::patron::Origin;
use crate::daemon::statistics::Levels;
use crate::daemon::statistics::reason::Reason;

/// Clients that are told apart in one step: three series of steps have them in less than a mebibyte.
const CLIENTS_MAX: usize = 16;

/// The sums of one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// Compilers that ran, times how long, in milliseconds.
    pub running_ms: u64,
    /// The most that ran at once.
    pub running_max: usize,
    /// Jobs that waited, times how long, in milliseconds.
    pub waiting_ms: u64,
    /// The most that waited at once.
    pub waiting_max: usize,
    /// Compilers that ended with success.
    pub compiled: u32,
    /// Compilers that ended without.
    pub failed: u32,
    /// Refusals, by class.
    pub refused: [u32; Reason::ALL.len()],
    /// Time in compilers that ended, in milliseconds.
    pub compiling_ms: u64,
    /// The longest of them.
    pub compiling_max_ms: u64,
    /// The same time by client, as far as there is room.
    pub by_client: Vec<(Origin, u64)>,
    /// Bytes from clients whose jobs ended.
    pub received: u64,
    /// Bytes to them.
    pub sent: u64,
}

impl Step {
    /// A compiler has ended that ran so long for this client.
    pub fn note_compile(&mut self, client: Origin, time_ms: u64) {
        self.compiling_ms += time_ms;
        self.compiling_max_ms = self.compiling_max_ms.max(time_ms);
        match self.by_client.iter().position(|(known, _)| *known == client) {
            Some(index) => self.by_client[index].1 += time_ms,
            None if self.by_client.len() < CLIENTS_MAX => self.by_client.push((client, time_ms)),
            None => {}
        }
    }

    /// The compilers' time for one client.
    pub fn compiling_for(&self, client: Origin) -> u64 {
        self.by_client.iter().find(|(known, _)| *known == client).map_or(0, |(_, time)| *time)
    }
}

/// The last steps, of which the newest is not over yet.
#[derive(Debug)]
pub struct Steps {
    length: Duration,
    most: usize,
    /// Oldest first.
    steps: VecDeque<Step>,
    /// When the newest began.
    began: Instant,
}

impl Steps {
    /// Begins now; remembers so many steps of this length.
    pub fn new(length: Duration, most: usize, now: Instant) -> Steps {
        Steps { length, most, steps: VecDeque::from([Step::default()]), began: now }
    }

    /// How long a step is.
    pub fn length(&self) -> Duration {
        self.length
    }

    /// Lets time pass from `since` to `now`, during which so much was going on.
    pub fn pass(&mut self, mut since: Instant, now: Instant, levels: Levels) {
        // Of a long silence only as much is remembered as there is room for.
        let room = self.length * u32::try_from(self.most + 1).unwrap_or(u32::MAX);
        if now.duration_since(self.began) > room * 2 {
            let skipped = now.duration_since(self.began).as_millis() / self.length.as_millis();
            let skipped = u32::try_from(skipped).unwrap_or(u32::MAX).saturating_sub(self.most as u32);
            self.began += self.length * skipped;
            self.steps.clear();
            self.steps.push_back(Step::default());
            since = since.max(self.began);
        }
        loop {
            let end = self.began + self.length;
            let until = now.min(end);
            let time = u64::try_from(until.saturating_duration_since(since).as_millis()).unwrap_or(u64::MAX);
            let step = self.now();
            step.running_ms += levels.running as u64 * time;
            step.waiting_ms += levels.waiting as u64 * time;
            step.running_max = step.running_max.max(levels.running);
            step.waiting_max = step.waiting_max.max(levels.waiting);
            if now < end {
                return;
            }
            since = since.max(end);
            self.began = end;
            self.steps.push_back(Step::default());
            while self.steps.len() > self.most + 1 {
                self.steps.pop_front();
            }
        }
    }

    /// The step that is under way.
    pub fn now(&mut self) -> &mut Step {
        self.steps.back_mut().expect("BUG: there is always a step")
    }

    /// The steps that are over, oldest first.
    pub fn over(&self) -> impl DoubleEndedIterator<Item = &Step> + Clone {
        self.steps.range(..self.steps.len() - 1)
    }

    /// How long ago the newest of them ended.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }

    /// The last steps that make up a time, the one under way included.
    pub fn last(&self, time: Duration) -> impl Iterator<Item = &Step> {
        let count = (time.as_millis() / self.length.as_millis()) as usize;
        self.steps.iter().rev().take(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn levels(running: usize, waiting: usize) -> Levels {
        Levels { running, waiting, clients: 0 }
    }

    #[test]
    fn time_goes_to_the_steps_it_passes_in() {
        let began = Instant::now();
        let mut steps = Steps::new(3 * SECOND, 4, began);
        steps.pass(began, began + SECOND, levels(2, 1));
        steps.pass(began + SECOND, began + 7 * SECOND, levels(5, 0));
        let found: Vec<_> = steps.over().map(|step| (step.running_ms, step.waiting_ms)).collect();
        assert_eq!(found, [(12_000, 1000), (15_000, 0)]);
        assert_eq!(steps.now().running_ms, 5000);
        assert_eq!(steps.over().map(|step| step.waiting_max).collect::<Vec<_>>(), [1, 0]);
        assert_eq!(steps.age(began + 8 * SECOND), 2 * SECOND);
        assert_eq!(steps.last(6 * SECOND).map(|step| step.running_ms).sum::<u64>(), 20_000);
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        for silence in [20, 24, 25, 1000, 1_000_000] {
            let began = Instant::now();
            let mut steps = Steps::new(3 * SECOND, 4, began);
            steps.now().compiled = 7;
            let now = began + silence * SECOND;
            steps.pass(began, now, levels(1, 0));
            assert_eq!(steps.over().count(), 4, "{silence}");
            assert!(steps.over().all(|step| step.running_ms == 3000 && step.compiled == 0), "{silence}");
            assert_eq!(steps.age(now), SECOND * (silence % 3), "{silence}");
        }
    }

    #[test]
    fn a_step_tells_some_clients_apart() {
        let mut step = Step::default();
        let client = |number: u32| Origin::V4(number.into());
        for number in 0..40 {
            step.note_compile(client(number), 10);
        }
        step.note_compile(client(3), 5);
        assert_eq!((step.compiling_ms, step.compiling_max_ms), (405, 10));
        assert_eq!(step.by_client.len(), CLIENTS_MAX);
        assert_eq!([3, 4, 39].map(|number| step.compiling_for(client(number))), [15, 10, 0]);
    }

    #[test]
    fn a_moment_at_the_border_belongs_to_the_next_step() {
        let began = Instant::now();
        let mut steps = Steps::new(SECOND, 10, began);
        steps.pass(began, began + SECOND, levels(1, 0));
        steps.now().compiled += 1;
        steps.pass(began + SECOND, began + 2 * SECOND, levels(0, 0));
        assert_eq!(steps.over().map(|step| step.compiled).collect::<Vec<_>>(), [0, 1]);
    }
}
