//! The machine as `/proc` and `/sys` show it: loads, disks, memory, processes. Knows files; nothing of jobs.
//!
//! Looking at all processes takes some milliseconds, on a large machine more: that is done only when somebody asks, and
//! for a small part of the time.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::sys::process_tree::page_bytes;
use crate::sys::temp;

/// What was seen is good for so long.
const FRESH_FOR: Duration = Duration::from_secs(1);
/// Looking at processes takes at most this part of the thread's time.
const PART_OF_TIME: u32 = 20;

/// What is quickly seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conditions {
    /// The machine's name.
    pub name: String,
    /// The averages of the last 1, 5 and 15 minutes.
    pub loads: [f64; 3],
    /// Processes that run or want to.
    pub running: Option<u64>,
    /// Sectors of 512 bytes that the disks have read and written each second since the look before.
    pub sectors_per_second: Option<u64>,
    /// Room in TMPDIR.
    pub temporary_free_bytes: Option<u64>,
    /// Memory that programs can have.
    pub memory_available_bytes: Option<u64>,
}

/// What all processes tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processes {
    /// In uninterruptible sleep.
    pub blocked: u64,
    /// The largest resident memory of one, in KiB.
    pub largest_kib: u64,
    /// Its name.
    pub largest_name: String,
}

/// The machine, and when it was looked at.
#[derive(Debug)]
pub struct Machine {
    /// What was seen last.
    pub conditions: Conditions,
    /// What the processes told last.
    pub processes: Processes,
    temporary: PathBuf,
    looked: Option<Instant>,
    sectors: Option<(Instant, u64)>,
    /// When looking at processes began, and when it is time to do it again.
    processes_again: Option<Instant>,
}

impl Machine {
    /// Nothing has been seen yet. `temporary` is TMPDIR.
    pub fn new(temporary: &Path) -> Machine {
        Machine {
            conditions: Conditions::default(),
            processes: Processes::default(),
            temporary: temporary.to_path_buf(),
            looked: None,
            sectors: None,
            processes_again: None,
        }
    }

    /// Looks at what is quickly seen, unless it just has.
    pub fn look(&mut self, now: Instant) {
        if self.looked.is_some_and(|looked| now.saturating_duration_since(looked) < FRESH_FOR) {
            return;
        }
        self.looked = Some(now);
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let (loads, running) = read_load(&load).unwrap_or_default();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let sectors = sectors_of_disks().map(|sectors| (now, sectors));
        self.conditions = Conditions {
            name: fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_string(),
            loads,
            running,
            sectors_per_second: self.sectors.zip(sectors).and_then(|(before, after)| rate(before, after)),
            temporary_free_bytes: temp::free_bytes(&self.temporary).ok(),
            memory_available_bytes: read_available_memory(&memory),
        };
        self.sectors = sectors;
    }

    /// Looks at the processes, too, unless that was so recently that it would take too much of the time.
    pub fn look_at_processes(&mut self, now: Instant) {
        if self.processes_again.is_some_and(|again| now < again) {
            return;
        }
        let began = Instant::now();
        self.processes = processes();
        self.processes_again = Some(now + FRESH_FOR.max(began.elapsed() * PART_OF_TIME));
    }
}

/// The three averages, and how many processes run.
fn read_load(text: &str) -> Option<([f64; 3], Option<u64>)> {
    let mut words = text.split_ascii_whitespace();
    let mut load = || words.next()?.parse::<f64>().ok();
    let loads = [load()?, load()?, load()?];
    let running = words.next().and_then(|word| word.split('/').next()?.parse().ok());
    Some((loads, running))
}

fn read_available_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

fn rate(before: (Instant, u64), after: (Instant, u64)) -> Option<u64> {
    let time = after.0.checked_duration_since(before.0).filter(|time| !time.is_zero())?;
    // Less than before: a disk is gone.
    Some((after.1.checked_sub(before.1)? as f64 / time.as_secs_f64()) as u64)
}

/// What all disks together have read and written. A disk is what has a device behind it, whatever it is called: so
/// neither partitions nor what is made of disks (dm, md) or of memory (loop, zram) counts twice.
fn sectors_of_disks() -> Option<u64> {
    let devices = fs::read_dir("/sys/block").ok()?.flatten().map(|entry| entry.path());
    let counts: Vec<u64> = devices
        .filter(|path| path.join("device").exists())
        .filter_map(|path| read_sectors(&fs::read_to_string(path.join("stat")).ok()?))
        .collect();
    (!counts.is_empty()).then(|| counts.iter().sum())
}

/// Sectors read and written (the kernel's Documentation/block/stat.rst).
fn read_sectors(stat: &str) -> Option<u64> {
    let mut words = stat.split_ascii_whitespace();
    let read: u64 = words.nth(2)?.parse().ok()?;
    let written: u64 = words.nth(3)?.parse().ok()?;
    read.checked_add(written)
}

fn processes() -> Processes {
    let page_kib = page_bytes() / 1024;
    let mut found = Processes::default();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        if !name.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        // One that is gone by now.
        let Ok(stat) = fs::read(entry.path().join("stat")) else { continue };
        let Some((name, state, pages)) = read_process(&String::from_utf8_lossy(&stat)) else { continue };
        found.blocked += u64::from(state == 'D');
        let kib = pages.saturating_mul(page_kib);
        if kib > found.largest_kib {
            found.largest_kib = kib;
            found.largest_name = name;
        }
    }
    found
}

/// Name, state and resident pages (proc_pid_stat(5)). A name may hold anything, closing parentheses too.
fn read_process(stat: &str) -> Option<(String, char, u64)> {
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    let mut words = rest.split_ascii_whitespace();
    let state = words.next()?.chars().next()?;
    let pages = words.nth(20)?.parse().ok()?;
    Some((crate::protocol::peer_text::one_line(name), state, pages))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_seen() {
        let mut machine = Machine::new(Path::new("/tmp"));
        let now = Instant::now();
        machine.look(now);
        machine.look_at_processes(now);
        assert!(machine.conditions.temporary_free_bytes.is_some_and(|bytes| bytes > 0));
        assert!(machine.conditions.memory_available_bytes.is_some_and(|bytes| bytes > 1 << 20));
        assert!(machine.conditions.running.is_some_and(|count| count >= 1));
        assert!(machine.conditions.sectors_per_second.is_none(), "one look is no rate");
        assert!(machine.processes.largest_kib > 1000 && !machine.processes.largest_name.is_empty());
        let before = machine.conditions.clone();
        machine.look(now + FRESH_FOR / 2);
        assert_eq!(machine.conditions, before);
        let disks = sectors_of_disks().is_some();
        machine.look(now + 2 * FRESH_FOR);
        assert_eq!(machine.conditions.sectors_per_second.is_some(), disks);
    }

    #[test]
    fn files_of_proc_are_read() {
        assert_eq!(read_load("0.20 0.18 1.12 3/80 11206\n"), Some(([0.2, 0.18, 1.12], Some(3))));
        assert_eq!(read_load(""), None);
        assert_eq!(read_available_memory("MemTotal:  2 kB\nMemAvailable:   16 kB\n"), Some(16 * 1024));
        let disk = " 100 0 2000 10 50 0 300 20 0 30 30 0 0 0 0 0 0\n";
        assert_eq!(read_sectors(disk), Some(2300));
        let fields = "D 1 1 1 0 -1 0 0 0 0 0 1 2 0 0 20 0 1 0 99 1000000 321 0";
        let process = format!("77 (a) b(c) {fields}\n");
        assert_eq!(read_process(&process), Some(("a) b(c".into(), 'D', 321)));
        assert_eq!(read_process("77 (x) Z 1"), None);
    }

    #[test]
    fn a_disk_that_goes_is_no_rate() {
        let now = Instant::now();
        let later = now + Duration::from_secs(10);
        assert_eq!(rate((now, 100), (later, 300)), Some(20));
        assert_eq!(rate((now, 300), (later, 100)), None);
        assert_eq!(rate((now, 100), (now, 300)), None);
    }
}
