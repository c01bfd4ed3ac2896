//! The live view: looks at the shared directory now and then and keeps a picture of it on the terminal.
//!
//! Asks nobody: that a job has ended shows by its state file, which is closed and then gone; that a host failed by its
//! back-off file; what became of jobs by the record of the build, where one is kept.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::screen::Screen;
use super::state_file::{NAME_PREFIX, Phase};
use super::states;
use super::view::{self, Picture, Place, Tally};
use crate::hosts::backoff::Backoff;
use crate::hosts::list::HostList;
use crate::sys::net::{self, Ready};
use crate::sys::open;
use crate::sys::signal::{self, SignalFile};
use crate::sys::tty;
use crate::sys::watch::CloseWatch;
use crate::trace::reading;

/// Over what time jobs in a second are counted.
const RATE_TIME: Duration = Duration::from_secs(10);
/// The shortest pause between two pictures: with less, the view would be the busiest program of the machine.
const DELAY_MIN: Duration = Duration::from_millis(50);
/// What is read of a record at a time, in bytes; what comes faster is read with the next picture.
const RECORD_BYTES_MAX: u64 = 4 << 20;
/// How many closed files are remembered until they are gone.
const CLOSED_MAX: usize = 10_000;

/// What to look at, and how to show it.
#[derive(Debug)]
pub struct Options {
    /// The directory of state files.
    pub states: PathBuf,
    /// The hosts, or why there are none.
    pub hosts: Result<HostList, String>,
    /// The memory of hosts that failed.
    pub backoff: Option<Backoff>,
    /// The record of the build, if one is kept.
    pub record: Option<PathBuf>,
    /// The time from one picture to the next.
    pub delay: Duration,
    /// Whether phases are coloured.
    pub is_coloured: bool,
}

/// Shows the view until a signal ends the process, or the terminal is gone.
pub fn run(options: &Options) -> io::Result<()> {
    const ENDING: [i32; 4] = [signal::SIGINT, signal::SIGTERM, signal::SIGHUP, signal::SIGQUIT];
    let mut signals = SignalFile::open(&[&ENDING[..], &[signal::SIGTSTP, signal::SIGWINCH]].concat())?;
    let mut eye = Eye::open(options);
    let mut screen = Screen::enter()?;
    let mut look_again = Instant::now();
    let mut picture = Picture::default();
    loop {
        if Instant::now() >= look_again {
            picture = eye.look(options, Instant::now());
            look_again = Instant::now() + options.delay.max(DELAY_MIN);
        }
        screen.show(&view::draw(&picture, Screen::size(), options.is_coloured))?;
        net::poll(&[(signals.file().as_fd(), Ready::Readable)], Some(look_again))?;
        while let Some(signal) = signals.read() {
            if ENDING.contains(&signal) {
                screen.leave();
                signal::die_of(signal);
            } else if signal == signal::SIGTSTP {
                screen.leave();
                tty::stop_here();
                screen.again()?;
            }
        }
    }
}

/// What is remembered from one look to the next.
struct Eye {
    /// Since when each client is in its phase.
    phases: BTreeMap<u64, (Phase, Instant)>,
    /// Tells of state files that were closed; none where the kernel has no watch for us.
    watch: Option<CloseWatch>,
    /// State files that were closed, and were still there.
    closed: BTreeSet<OsString>,
    /// When how many jobs ended.
    lately: VecDeque<(Instant, u64)>,
    tally: Tally,
    record: Option<RecordTail>,
}

impl Eye {
    fn open(options: &Options) -> Eye {
        let record = options.record.as_deref().map(RecordTail::open);
        Eye {
            phases: BTreeMap::new(),
            watch: CloseWatch::new(&options.states).ok(),
            closed: BTreeSet::new(),
            lately: VecDeque::new(),
            tally: Tally { recorded: record.as_ref().map(|_| (0, 0)), ..Tally::default() },
            record,
        }
    }

    fn look(&mut self, options: &Options, now: Instant) -> Picture {
        let states = states::read_all(&options.states).unwrap_or_default();
        let mut phases = BTreeMap::new();
        let mut jobs = Vec::with_capacity(states.len());
        for state in states {
            let began = match self.phases.get(&state.process) {
                Some((phase, began)) if *phase == state.phase => *began,
                _ => now,
            };
            phases.insert(state.process, (state.phase, began));
            jobs.push((state, now - began));
        }
        self.phases = phases;
        let ended = self.count_ended(&options.states);
        self.tally.done += ended;
        self.lately.push_back((now, ended));
        while self.lately.front().is_some_and(|(when, _)| now - *when > RATE_TIME) {
            self.lately.pop_front();
        }
        let since = self.lately.front().map_or(now, |(when, _)| *when);
        // What ended before the first look of the window does not belong to its time.
        let counted: u64 = self.lately.iter().skip(1).map(|(_, count)| count).sum();
        self.tally.rate = counted as f64 / (now - since).as_secs_f64().max(1.0);
        if let (Some(record), Some((failed, fallbacks))) = (&mut self.record, &mut self.tally.recorded) {
            for job in record.read_on() {
                *failed += u64::from(job.status.is_some_and(|status| status != 0));
                *fallbacks += u64::from(job.fallback.is_some());
            }
        }
        let places = places(options, &jobs);
        Picture { places, jobs, tally: self.tally.clone(), complaint: options.hosts.as_ref().err().cloned() }
    }

    /// How many clients have closed their state files for good since the last time.
    fn count_ended(&mut self, directory: &Path) -> u64 {
        let Some(Ok(closed)) = self.watch.as_ref().map(CloseWatch::drain) else { return 0 };
        let is_state = |name: &OsString| name.as_encoded_bytes().starts_with(NAME_PREFIX.as_bytes());
        self.closed.extend(closed.names.into_iter().filter(is_state).take(CLOSED_MAX));
        let before = self.closed.len();
        // Clients of 3.4 close theirs after every change.
        self.closed.retain(|name| fs::symlink_metadata(directory.join(name)).is_ok());
        let ended = before - self.closed.len();
        if self.closed.len() > CLOSED_MAX {
            self.closed.clear();
        }
        ended as u64
    }
}

/// The hosts of the list, this machine, and all others that jobs name.
fn places(options: &Options, jobs: &[(states::State, Duration)]) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    let mut add = |name: &str, slots: u32, backed_off: Option<Duration>| {
        match places.iter_mut().find(|place| place.name == name) {
            Some(place) => {
                // Two daemons on one machine have one name.
                place.slots += slots;
                place.backed_off = place.backed_off.max(backed_off);
            }
            None => places.push(Place { name: name.into(), slots, backed_off }),
        }
    };
    for host in options.hosts.iter().flat_map(|list| &list.hosts) {
        let left = options.backoff.as_ref().and_then(|backoff| backoff.time_left(host, SystemTime::now()));
        add(host.name(), host.slots, left);
    }
    for (state, _) in jobs.iter().filter(|(state, _)| !state.host.is_empty()) {
        add(&String::from_utf8_lossy(&state.host), 0, None);
    }
    places
}

/// What is appended to a record while we look.
struct RecordTail {
    path: PathBuf,
    file: Option<File>,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
}

impl RecordTail {
    /// Begins at the end of what is there.
    fn open(path: &Path) -> RecordTail {
        let mut tail = RecordTail { path: path.to_owned(), file: None, partial: Vec::new() };
        tail.file = open::without_waiting(path).ok();
        if let Some(file) = &mut tail.file {
            let _ = file.seek(SeekFrom::End(0));
        }
        tail
    }

    fn read_on(&mut self) -> Vec<reading::Job> {
        if self.file.is_none() {
            self.file = open::without_waiting(&self.path).ok();
        }
        let Some(file) = &mut self.file else { return Vec::new() };
        if file.take(RECORD_BYTES_MAX).read_to_end(&mut self.partial).is_err() {
            self.file = None;
        }
        let Some(end) = self.partial.iter().rposition(|byte| *byte == b'\n') else {
            if self.partial.len() > reading::LINE_BYTES_MAX {
                self.partial.clear();
            }
            return Vec::new();
        };
        let rest = self.partial.split_off(end + 1);
        let whole = std::mem::replace(&mut self.partial, rest);
        whole.split(|byte| *byte == b'\n').filter_map(|line| reading::parse(line).ok()).collect()
    }
}
