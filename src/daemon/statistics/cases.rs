//! A server's numbers for the tests of what is made of them.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::daemon::patron::Origin;
use crate::daemon::refusal::Refusal;
use crate::daemon::statistics::ledger::{Ledger, Settings};
use crate::daemon::statistics::machine::{Conditions, Machine, Processes};
use crate::daemon::statistics::{Ending, Levels, Occurrence};
use crate::daemon::summary::Outcome;
use crate::exit_code::ExitCode;

/// The end of a job that took a compiler so many milliseconds, if it got so far.
pub fn ending(outcome: Outcome, compiling: u64) -> Ending {
    let has_run = matches!(outcome, Outcome::Compiled | Outcome::Failed | Outcome::TimedOut);
    Ending {
        origin: Origin::of([192, 0, 2, 1].into()),
        outcome,
        refusal: None,
        compiler: "gcc".into(),
        source: "hello.c".into(),
        time: Duration::from_millis(compiling + 5),
        compiling: has_run.then(|| Duration::from_millis(compiling)),
        received: 1000,
        sent: 200,
    }
}

/// A server that has seen a little of everything, a minute after its start.
pub fn ledger() -> (Ledger, Instant) {
    let began = Instant::now();
    let mut ledger = Ledger::new(Settings { jobs: 4, queue: 1024 }, began);
    ledger.note(began, Occurrence::Levels(Levels { running: 2, waiting: 1, clients: 3 }));
    for outcome in Outcome::ALL {
        ledger.note(began + Duration::from_secs(2), Occurrence::Connected);
        ledger.note(began + Duration::from_secs(3), Occurrence::Ended(Box::new(ending(outcome, 120))));
    }
    let refusal = Refusal::new(ExitCode::CompilerMissing, "no <compiler> \"x\\y\" here");
    let refused = Ending { refusal: Some(refusal), ..ending(Outcome::Other, 0) };
    ledger.note(began + Duration::from_secs(4), Occurrence::Ended(Box::new(refused)));
    let now = began + Duration::from_secs(60);
    ledger.pass(now);
    (ledger, now)
}

/// A machine whose conditions are known.
pub fn machine() -> Machine {
    let mut machine = Machine::new(Path::new("/tmp"));
    machine.conditions = Conditions {
        name: "farm-7".into(),
        loads: [0.5, 1.25, 2.0],
        running: Some(3),
        sectors_per_second: Some(12),
        temporary_free_bytes: Some(5 << 30),
        memory_available_bytes: Some(6 << 30),
    };
    machine.processes = Processes { blocked: 1, largest_kib: 4096, largest_name: "cc1plus".into() };
    machine
}
