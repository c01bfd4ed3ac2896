//! The numbers of a server: everything that is counted, in one place. Knows what happened; neither who told it nor how it
//! is shown.
//!
//! Its memory is bounded whatever clients do: sums, three series of steps, some addresses, the last refusals.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use crate::daemon::patron::Origin;
use crate::daemon::statistics::clients::Clients;
use crate::daemon::statistics::reason::Reason;
use crate::daemon::statistics::steps::{Step, Steps};
use crate::daemon::statistics::{Ending, Levels, Occurrence};
use crate::daemon::summary::Outcome;

/// The steps that are remembered, and how many of each: a quarter of an hour in 3.4's steps, an hour, a day.
const SERIES: [(Duration, usize); 3] =
    [(Duration::from_secs(3), 300), (Duration::from_secs(10), 360), (Duration::from_secs(300), 288)];
/// The windows of 3.4's averages.
pub const WINDOWS: [Duration; 3] =
    [Duration::from_secs(60), Duration::from_secs(5 * 60), Duration::from_secs(15 * 60)];
/// Refusals whose words are kept.
const REFUSALS_KEPT: usize = 16;
/// Of the words of clients (names of compilers and sources) and of refusals, so many bytes are kept.
const TEXT_BYTES_MAX: usize = 256;

/// Upper bounds of the classes of compile times, in seconds; one more class has what is longer.
pub const TIME_BOUNDS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];

/// What the server was started as.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `--jobs`.
    pub jobs: usize,
    /// `--queue`.
    pub queue: usize,
}

/// The job that took longest, of those that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Longest {
    /// The source's name.
    pub source: String,
    /// The compiler's.
    pub compiler: String,
    /// From the first byte to the last.
    pub time: Duration,
}

/// A refusal, in words.
#[derive(Clone, Debug)]
pub struct Refused {
    /// When.
    pub at: Instant,
    /// Whom.
    pub client: String,
    /// Its class.
    pub reason: Reason,
    /// What the client was told.
    pub text: String,
}

/// Everything.
#[derive(Debug)]
pub struct Ledger {
    /// What the server was started as.
    pub settings: Settings,
    /// When it was started, by the clock on the wall.
    pub started: SystemTime,
    /// The same by the clock that only goes forward.
    pub began: Instant,
    /// Clients that have connected.
    pub connected: u64,
    /// Those of them that were dropped without a word.
    pub dropped: u64,
    /// How jobs ended, in the order of [`Outcome::ALL`].
    pub outcomes: [u64; Outcome::ALL.len()],
    /// Why jobs were refused, in the order of [`Reason::ALL`].
    pub refusals: [u64; Reason::ALL.len()],
    /// Bytes from clients whose jobs have ended.
    pub received: u64,
    /// Bytes to them.
    pub sent: u64,
    /// Time in compilers that have ended.
    pub compiling: Duration,
    /// How many of them took no longer than each of [`TIME_BOUNDS`] and longer than the one before, and the rest.
    pub times: [u64; TIME_BOUNDS.len() + 1],
    /// The job that took longest.
    pub longest: Option<Longest>,
    /// How much is going on.
    pub levels: Levels,
    /// The shares of the clients.
    pub clients: Clients,
    /// The last refusals, newest last.
    pub last_refusals: VecDeque<Refused>,
    series: Vec<Steps>,
    passed: Instant,
}

impl Ledger {
    /// Nothing has happened yet.
    pub fn new(settings: Settings, now: Instant) -> Ledger {
        Ledger {
            settings,
            started: SystemTime::now(),
            began: now,
            connected: 0,
            dropped: 0,
            outcomes: Default::default(),
            refusals: Default::default(),
            received: 0,
            sent: 0,
            compiling: Duration::ZERO,
            times: Default::default(),
            longest: None,
            levels: Levels::default(),
            clients: Clients::default(),
            last_refusals: VecDeque::with_capacity(REFUSALS_KEPT),
            series: SERIES.iter().map(|(length, most)| Steps::new(*length, *most, now)).collect(),
            passed: now,
        }
    }

    /// Takes in what happened.
    pub fn note(&mut self, at: Instant, occurrence: Occurrence) {
        self.pass(at);
        match occurrence {
            Occurrence::Connected => self.connected += 1,
            Occurrence::Dropped => {
                self.dropped += 1;
                self.refuse(Reason::Busy);
            }
            Occurrence::Levels(levels) => self.levels = levels,
            Occurrence::Ended(ending) => self.note_ending(&ending, at),
        }
    }

    /// Lets time pass.
    pub fn pass(&mut self, now: Instant) {
        if now <= self.passed {
            return;
        }
        for steps in &mut self.series {
            steps.pass(self.passed, now, self.levels);
        }
        self.passed = now;
    }

    fn note_ending(&mut self, ending: &Ending, at: Instant) {
        self.outcomes[ending.outcome as usize] += 1;
        self.received += ending.received;
        self.sent += ending.sent;
        self.clients.note(ending, at);
        self.each(|step| {
            step.received += ending.received;
            step.sent += ending.sent;
            step.compiled += u32::from(ending.outcome == Outcome::Compiled);
            step.failed += u32::from(ending.outcome == Outcome::Failed);
        });
        if let Some(time) = ending.compiling {
            self.note_compile(ending.origin, time);
        }
        if ending.outcome == Outcome::Compiled
            && self.longest.as_ref().is_none_or(|longest| longest.time < ending.time)
        {
            let (source, compiler) = (shortened(&ending.source), shortened(&ending.compiler));
            self.longest = Some(Longest { source, compiler, time: ending.time });
        }
        let Some(refusal) = &ending.refusal else { return };
        let reason = Reason::of(refusal);
        self.refuse(reason);
        if self.last_refusals.len() == REFUSALS_KEPT {
            self.last_refusals.pop_front();
        }
        let (client, text) = (ending.origin.to_string(), shortened(&refusal.reason));
        self.last_refusals.push_back(Refused { at, client, reason, text });
    }

    fn note_compile(&mut self, client: Origin, time: Duration) {
        self.compiling += time;
        let seconds = time.as_secs_f64();
        let class = TIME_BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(TIME_BOUNDS.len());
        self.times[class] += 1;
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.each(|step| step.note_compile(client, time));
    }

    fn refuse(&mut self, reason: Reason) {
        self.refusals[reason as usize] += 1;
        self.each(|step| step.refused[reason as usize] += 1);
    }

    fn each(&mut self, mut change: impl FnMut(&mut Step)) {
        self.series.iter_mut().for_each(|steps| change(steps.now()));
    }

    /// How many jobs ended in this way.
    pub fn ended(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    /// The steps that are remembered, finest first.
    pub fn series(&self) -> &[Steps] {
        &self.series
    }

    /// How many compilers ran at once on average, in each of [`WINDOWS`].
    pub fn running_averages(&self) -> [f64; 3] {
        WINDOWS.map(|window| {
            let time: u64 = self.series[0].last(window).map(|step| step.running_ms).sum();
            time as f64 / window.as_millis() as f64
        })
    }

    /// How many jobs were compiled, with success or without, in each of [`WINDOWS`].
    pub fn compiled(&self) -> [u64; 3] {
        WINDOWS.map(|window| {
            let count = |step: &Step| u64::from(step.compiled) + u64::from(step.failed);
            self.series[0].last(window).map(count).sum()
        })
    }
}

/// The beginning of a text, as much as is kept.
pub fn shortened(text: &str) -> String {
    let most = text.len().min(TEXT_BYTES_MAX);
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text[..end].to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::refusal::Refusal;
    use crate::daemon::statistics::cases::ending;
    use crate::exit_code::ExitCode;

    const SECOND: Duration = Duration::from_secs(1);

    fn ledger() -> (Ledger, Instant) {
        let began = Instant::now();
        (Ledger::new(Settings { jobs: 4, queue: 10 }, began), began)
    }

    fn ended(ending: Ending) -> Occurrence {
        Occurrence::Ended(Box::new(ending))
    }

    #[test]
    fn averages_are_of_the_last_minutes() {
        let (mut ledger, began) = ledger();
        ledger.note(began, Occurrence::Levels(Levels { running: 3, waiting: 0, clients: 3 }));
        ledger.note(began + 60 * SECOND, Occurrence::Levels(Levels::default()));
        let averages = |ledger: &Ledger| ledger.running_averages().map(|average| (average * 10.0).round());
        ledger.pass(began + 60 * SECOND);
        assert_eq!(averages(&ledger)[0], 29.0, "the step under way is one of the last minute's");
        ledger.pass(began + 120 * SECOND);
        assert_eq!(averages(&ledger), [0.0, 6.0, 2.0]);
        ledger.pass(began + 15 * 60 * SECOND + 60 * SECOND);
        assert_eq!(averages(&ledger), [0.0; 3]);
    }

    #[test]
    fn compiles_are_counted_for_as_long_as_they_are_in_the_window() {
        let (mut ledger, began) = ledger();
        for outcome in Outcome::ALL {
            ledger.note(began + SECOND, ended(ending(outcome, 100)));
        }
        assert_eq!(ledger.compiled(), [2, 2, 2]);
        assert_eq!(ledger.outcomes, [1; 7]);
        for (at, expected) in [(59, [2, 2, 2]), (61, [0, 2, 2]), (301, [0, 0, 2]), (901, [0, 0, 0])] {
            ledger.pass(began + at * SECOND);
            assert_eq!(ledger.compiled(), expected, "{at}");
        }
    }

    #[test]
    fn the_longest_job_is_one_that_succeeded() {
        let (mut ledger, began) = ledger();
        for (outcome, time) in [(Outcome::Compiled, 40), (Outcome::Failed, 60), (Outcome::Compiled, 30)] {
            ledger.note(began, ended(Ending { time: Duration::from_millis(time), ..ending(outcome, 1) }));
        }
        assert_eq!(ledger.longest.as_ref().unwrap().time, Duration::from_millis(40));
    }

    #[test]
    fn clients_words_and_refusals_are_kept_in_bounds() {
        let (mut ledger, began) = ledger();
        let long = "é".repeat(100_000);
        let refusal = Some(Refusal::new(ExitCode::CompilerMissing, &long));
        for _ in 0..1000 {
            let ending = Ending { source: long.clone(), ..ending(Outcome::Compiled, 5) };
            ledger.note(began, ended(Ending { refusal: refusal.clone(), ..ending }));
        }
        assert_eq!(ledger.last_refusals.len(), REFUSALS_KEPT);
        assert!(ledger.last_refusals.iter().all(|refused| refused.text.len() <= TEXT_BYTES_MAX));
        assert!(ledger.longest.unwrap().source.len() <= TEXT_BYTES_MAX);
        assert_eq!(ledger.refusals[Reason::Compiler as usize], 1000);
    }

    #[test]
    fn times_are_in_the_class_of_the_next_bound() {
        let (mut ledger, began) = ledger();
        for time in [0, 50, 51, 1000, 300_000, 300_001] {
            ledger.note(began, ended(ending(Outcome::Compiled, time)));
        }
        assert_eq!(ledger.times, [2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 1]);
    }

    #[test]
    fn who_is_dropped_was_refused() {
        let (mut ledger, began) = ledger();
        ledger.note(began, Occurrence::Connected);
        ledger.note(began, Occurrence::Dropped);
        assert_eq!((ledger.connected, ledger.dropped), (1, 1));
        assert_eq!(ledger.refusals[Reason::Busy as usize], 1);
    }
}
