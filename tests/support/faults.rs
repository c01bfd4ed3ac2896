//! Means of breaking things: programs in narrow surroundings, moments chosen by dice, wires that trickle. Knows what can
//! go wrong; not what must happen then.
#![allow(dead_code, reason = "each test program uses a part of this")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::{Outcome, Run, Sandbox, is_root, require, wait_until};

/// The longest a build may take whatever breaks, where no test says otherwise: three connections that fail, one silent
/// host and a local compile, with the short times that tests set, on a busy machine.
pub const BUILD_TIME_MAX: Duration = Duration::from_secs(30);

/// Numbers that are the same in every run (xorshift64*).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }

    /// Waits for a random time of up to so many microseconds, short times as likely as each order of long ones.
    pub fn wait_up_to(&mut self, microseconds: u64) {
        let end = 1 + self.below(microseconds);
        thread::sleep(Duration::from_micros(self.below(end)));
    }
}

/// What a program is started through so that it has mounts of its own, which `setup` makes (a shell script, with
/// `arguments` from `$1`). Without root it is done in a user namespace, in which the program is again who it was.
pub fn with_mounts(setup: &str, arguments: &[&str]) -> Vec<String> {
    in_namespaces("-m", setup, arguments)
}

/// The same, and a network of its own, of which only the loopback is up.
pub fn with_mounts_and_network(setup: &str, arguments: &[&str]) -> Vec<String> {
    require("ip");
    in_namespaces("-mn", &format!("ip link set lo up\n{setup}"), arguments)
}

fn in_namespaces(kinds: &str, setup: &str, arguments: &[&str]) -> Vec<String> {
    require("unshare");
    let me = fs::metadata("/proc/self").unwrap();
    let (before, after) = if is_root() {
        (vec![], String::new())
    } else {
        (vec!["-Ur".to_string()], format!("unshare -U --map-user={} --map-group={} -- ", me.uid(), me.gid()))
    };
    let script =
        format!("set -e\nPATH=$PATH:/usr/sbin:/sbin\n{setup}\nshift {}\nexec {after}\"$@\"", arguments.len());
    let mut words = vec!["unshare".to_string()];
    words.extend(before);
    words.extend([kinds, "--", "/bin/sh", "-c", &script, "sh"].map(str::to_string));
    words.extend(arguments.iter().map(|word| word.to_string()));
    words
}

/// What a program is started through so that a directory is a small file system of its own.
pub fn with_small_disk(directory: &Path, options: &str) -> Vec<String> {
    with_mounts("mount -t tmpfs -o \"mode=1777,$2\" none \"$1\"", &[directory.to_str().unwrap(), options])
}

/// What a program is started through so that the shell's `ulimit` holds for it: `-n 40`.
pub fn with_limit(limit: &str) -> Vec<String> {
    ["/bin/sh", "-c", "ulimit $0; exec \"$@\"", limit].map(str::to_string).to_vec()
}

/// What a program is started through so that some of its system calls fail: strace's `inject`.
pub fn with_injection(call: &str, fault: &str) -> Vec<String> {
    // -D: the program stays the child of whoever started it.
    let inject = format!("inject={call}:{fault}");
    [
        require("strace").as_str(),
        "-D",
        "-qqq",
        "-o",
        "/dev/null",
        "-e",
        &format!("trace={call}"),
        "-e",
        &inject,
    ]
    .map(str::to_string)
    .to_vec()
}

/// A process and all below it, by their parents; with the times they were started, so that a number that is used
/// again is not taken for the same process.
pub fn descendants(process: u32) -> BTreeMap<u32, String> {
    let mut parents = BTreeMap::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Some((state, parent, started)) = stat_of(pid) else { continue };
        if state != "Z" {
            parents.insert(pid, (parent, started));
        }
    }
    let mut found = BTreeMap::new();
    let mut todo = vec![process];
    while let Some(next) = todo.pop() {
        for (pid, (parent, started)) in &parents {
            if *parent == next && found.insert(*pid, started.clone()).is_none() {
                todo.push(*pid);
            }
        }
    }
    found
}

/// State, parent and start of a process (proc_pid_stat(5)).
fn stat_of(pid: u32) -> Option<(String, u32, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    Some((fields[0].into(), fields[1].parse().ok()?, fields[19].into()))
}

/// Waits until none of these processes runs.
#[track_caller]
pub fn wait_for_all(processes: &BTreeMap<u32, String>) {
    wait_until(&format!("the end of {processes:?}"), || {
        processes.iter().all(|(pid, started)| {
            stat_of(*pid).is_none_or(|(state, _, since)| state == "Z" || since != *started)
        })
    });
}

/// Children of a process that have ended and were not waited for.
pub fn zombies_of(process: u32) -> usize {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(stat_of).filter(|(state, parent, _)| state == "Z" && *parent == process).count()
}

/// How many descriptors a process has open.
pub fn descriptors_of(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).map(Iterator::count).unwrap_or(0)
}

/// A source, and the object that our own gcc makes of it.
pub struct Sample {
    pub source: String,
    pub object: Vec<u8>,
}

impl Sandbox {
    /// Writes a source and compiles it here.
    #[track_caller]
    pub fn sample(&self, source: &str, text: &str) -> Sample {
        self.write(source, text);
        let run = self.command("gcc").args(["-c", source, "-o", "sample.o"]).run();
        assert_eq!(run.code(), 0, "{run}");
        let object = self.read("sample.o");
        fs::remove_file(self.work("sample.o")).unwrap();
        Sample { source: source.to_string(), object }
    }

    /// A job for that source, with an object of its own.
    pub fn job(&self, sample: &Sample, object: &str, hosts: &str) -> Run {
        self.distcc(["gcc", "-c", &sample.source, "-o", object]).hosts(hosts)
    }

    /// Fails unless the job made that object within the time that builds may take; removes it.
    #[track_caller]
    pub fn assert_made(&self, outcome: &Outcome, sample: &Sample, object: &str) {
        assert_eq!(outcome.code(), 0, "{outcome}");
        assert!(self.read(object) == sample.object, "{object} is another object: {outcome}");
        assert!(outcome.elapsed < BUILD_TIME_MAX, "{:?}: {outcome}", outcome.elapsed);
        fs::remove_file(self.work(object)).unwrap();
    }

    /// Does a job on a host, and nowhere else; how long it took.
    #[track_caller]
    pub fn time_of_job(&self, sample: &Sample, host: &str) -> Duration {
        let begin = Instant::now();
        let outcome = self.job(sample, "timed.o", host).env("DISTCC_FALLBACK", "0").run();
        let elapsed = begin.elapsed();
        self.assert_made(&outcome, sample, "timed.o");
        elapsed
    }

    /// Fails if jobs take longer on a host than on one that is new. Both are asked in turn, because the machine does
    /// other things, too.
    #[track_caller]
    pub fn assert_as_fast_as_new(&self, sample: &Sample, host: &str) {
        let mut new = self.daemon().start();
        let pairs =
            (0..8).map(|_| (self.time_of_job(sample, host), self.time_of_job(sample, &new.host_lzo())));
        let (ours, theirs): (Vec<_>, Vec<_>) = pairs.unzip();
        new.stop();
        assert_speed(&ours, &theirs);
    }

    /// Removes what clients that were killed outright cannot have removed: what monitors are shown.
    pub fn forget_states(&self) {
        let _ = fs::remove_dir_all(self.path("distcc/state"));
    }
}

/// Fails if the fastest of some jobs took much longer than the fastest of others.
#[track_caller]
pub fn assert_speed(times: &[Duration], reference: &[Duration]) {
    let (fastest, limit) = (times.iter().min().unwrap(), *reference.iter().min().unwrap() * 2);
    assert!(*fastest < limit + Duration::from_millis(100), "{times:?}, and elsewhere {reference:?}");
}

/// A wire on which bytes trickle: a listener in front of a daemon. Ends with the test's process.
pub struct Trickle {
    /// Bytes at a time, at most, in each direction.
    pub bytes_max: u64,
    /// The sockets' buffers, in bytes; the kernel has a minimum of its own.
    pub buffers: usize,
}

impl Trickle {
    /// Stands before an address; returns its own.
    pub fn before(self, daemon: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for (number, client) in listener.incoming().flatten().enumerate() {
                let Ok(server) = TcpStream::connect(daemon) else { continue };
                for stream in [&client, &server] {
                    stream.set_nodelay(true).unwrap();
                    let socket = socket2::SockRef::from(stream);
                    socket.set_send_buffer_size(self.buffers).unwrap();
                    socket.set_recv_buffer_size(self.buffers).unwrap();
                }
                let (up, down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                for (from, to, side) in [(up, server, 0), (down, client, 1)] {
                    let dice = Dice::new(2 * number as u64 + side);
                    let bytes_max = self.bytes_max;
                    thread::spawn(move || trickle(from, to, bytes_max, dice));
                }
            }
        });
        address
    }
}

fn trickle(mut from: TcpStream, mut to: TcpStream, bytes_max: u64, mut dice: Dice) {
    let mut buffer = vec![0; bytes_max as usize];
    loop {
        let count = 1 + dice.below(bytes_max) as usize;
        match from.read(&mut buffer[..count]) {
            Ok(0) | Err(_) => break,
            Ok(count) if to.write_all(&buffer[..count]).is_err() => break,
            Ok(_) => {}
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
