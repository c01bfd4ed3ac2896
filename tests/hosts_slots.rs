//! Slots between real processes: who waits gets a slot at once and in turn, whoever dies or stops in the
//! meantime, and distcc 3.4 takes part.
//!
//! The clients are this test program, started again with a variable that tells `client` what to do.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant, SystemTime};

use distcc::hosts::slots::Slots;

/// Tells a client what to do: lock directory, limit, and milliseconds to hold the slot (or `stdin`: until it
/// ends).
const VARIABLE: &str = "HOSTS_SLOTS_CLIENT";
/// Long enough that a client which depends on looking again, and not on events, fails its test.
const PAUSE: Duration = Duration::from_secs(30);
/// How long to wait for what must happen.
const PATIENCE: Duration = Duration::from_secs(10);
/// What "at once" means for most of many events on a busy machine; on an idle one it is a tenth of a
/// millisecond.
const AT_ONCE: Duration = Duration::from_millis(50);
/// The same for a single event, which may have bad luck; still far below any pause.
const SOON: Duration = Duration::from_millis(500);

/// Not a test by itself: the other side of all tests here.
#[test]
fn client() {
    let Ok(order) = std::env::var(VARIABLE) else { return };
    let [directory, limit, pause, hold] = order.split('|').collect::<Vec<_>>().try_into().unwrap();
    let slots = Slots::open(Path::new(directory), Duration::from_millis(pause.parse().unwrap())).unwrap();
    let slot = slots.take_local(limit.parse().unwrap(), || report("waiting")).unwrap();
    report("taken");
    match hold.parse() {
        Ok(milliseconds) => std::thread::sleep(Duration::from_millis(milliseconds)),
        Err(_) => drop(std::io::stdin().read_to_end(&mut Vec::new()).unwrap()),
    }
    report("freed");
    drop(slot);
}

fn report(event: &str) {
    println!("\n@{event} {}", now().as_nanos());
}

/// A time that processes can compare.
fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap()
}

/// A client process; killed when dropped.
struct Client {
    child: Child,
    reports: mpsc::Receiver<String>,
}

impl Client {
    fn start(directory: &Path, limit: u32, hold: &str) -> Client {
        Client::with_pause(directory, limit, hold, PAUSE)
    }

    fn with_pause(directory: &Path, limit: u32, hold: &str, pause: Duration) -> Client {
        let order = format!("{}|{limit}|{}|{hold}", directory.display(), pause.as_millis());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "client", "--nocapture", "--test-threads=1"])
            .env(VARIABLE, order)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, reports) = mpsc::channel();
        std::thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .filter_map(|line| line.strip_prefix('@').map(str::to_owned))
                .try_for_each(|line| sender.send(line))
        });
        Client { child, reports }
    }

    /// Waits for the next report, which must be this one; when it was made.
    fn expect(&self, event: &str) -> Duration {
        let report = self.reports.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no report of {event}"));
        let (name, time) = report.split_once(' ').unwrap();
        assert_eq!(name, event);
        Duration::from_nanos(time.parse().unwrap())
    }

    fn expect_in_line(&self) {
        self.expect("waiting");
        self.wait_in_line();
    }

    /// Waits until the client is at the head of the line, or the kernel knows that it stands behind.
    fn wait_in_line(&self) {
        let (start, pid) = (Instant::now(), self.child.id().to_string());
        while !fs::read_to_string("/proc/locks").unwrap().split_whitespace().any(|word| word == pid) {
            assert!(start.elapsed() < PATIENCE, "not in line");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn assert_waits(&self) {
        assert_eq!(self.reports.recv_timeout(AT_ONCE * 2), Err(mpsc::RecvTimeoutError::Timeout));
    }

    /// Lets a client that holds until its input ends go on.
    fn release(&mut self) -> Duration {
        drop(self.child.stdin.take());
        self.expect("freed")
    }

    fn kill(&mut self) -> Duration {
        let time = now();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        time
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id();
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().unwrap();
        assert!(status.success());
    }

    /// Processor time used so far by all threads.
    fn processor_time(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let times = tasks.map(|task| {
            let text = fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
            text.split(' ').next().unwrap().parse::<u64>().unwrap()
        });
        Duration::from_nanos(times.sum())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Several clients, started one after the other, each when the one before is in line.
fn line(directory: &Path, count: usize, hold: &str) -> Vec<Client> {
    let start = |_| {
        let client = Client::start(directory, 1, hold);
        client.expect_in_line();
        client
    };
    (0..count).map(start).collect()
}

/// A lock directory. While it lives, no other test of this file runs: they measure time.
struct Scene {
    directory: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Scene {
    fn new(name: &str) -> Scene {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = std::env::temp_dir().join(format!("hosts_slots_{name}_{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        Scene { directory, _turn: turn }
    }

    fn slots(&self) -> Slots {
        Slots::open(&self.directory, PAUSE).unwrap()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn short_jobs_follow_each_other_without_a_pause() {
    let scene = Scene::new("short");
    let slots = scene.slots();
    let held = [slots.take_local(2, || ()).unwrap(), slots.take_local(2, || ()).unwrap()];
    let clients: Vec<_> = (0..12).map(|_| Client::start(&scene.directory, 2, "20")).collect();
    for client in &clients {
        client.expect("waiting");
    }
    let start = now();
    drop(held);
    let ends = clients.iter().map(|client| {
        client.expect("taken");
        client.expect("freed")
    });
    let time = ends.max().unwrap() - start;
    println!("12 jobs of 20 ms on 2 slots: {time:?}");
    assert!(time >= Duration::from_millis(12 * 20 / 2), "{time:?}: more than two at a time");
    assert!(time < Duration::from_millis(400), "{time:?}");
}

#[test]
fn a_freed_slot_goes_at_once_to_who_came_first() {
    let scene = Scene::new("turn");
    let held = scene.slots().take_local(1, || ()).unwrap();
    let clients = line(&scene.directory, 20, "2");
    let mut freed = now();
    drop(held);
    let mut latencies = Vec::new();
    for client in clients {
        let taken = client.expect("taken");
        latencies.push(taken.checked_sub(freed).expect("first come, first served"));
        freed = client.expect("freed");
    }
    latencies.sort();
    println!("handing over: median {:?}, worst {:?}", latencies[10], latencies[19]);
    assert!(latencies[10] < AT_ONCE, "{latencies:?}");
}

#[test]
fn who_is_killed_makes_room() {
    let scene = Scene::new("killed");
    let mut holder = Client::start(&scene.directory, 1, "stdin");
    holder.expect("taken");
    let mut clients = line(&scene.directory, 5, "stdin");
    // One in the middle of the line, and the head. Between the two, who stood behind the first has to be in
    // line again: the kernel wakes it to close up, and it could be the faster one if the head went at that
    // moment.
    clients.remove(3).kill();
    clients[3].wait_in_line();
    clients.remove(0).kill();
    for client in clients {
        let freed = holder.kill();
        let latency = client.expect("taken") - freed;
        assert!(latency < SOON, "{latency:?}");
        client.assert_waits();
        holder = client;
    }
    holder.release();
}

#[test]
fn a_stopped_head_does_not_hold_up_the_others() {
    let scene = Scene::new("stopped");
    let mut holder = Client::start(&scene.directory, 1, "stdin");
    holder.expect("taken");
    let look = Duration::from_millis(100);
    let mut head = Client::with_pause(&scene.directory, 1, "stdin", look);
    head.expect_in_line();
    // In line before the head stops.
    let mut early = Client::with_pause(&scene.directory, 1, "stdin", look);
    early.expect_in_line();
    head.signal("STOP");
    let latency = {
        std::thread::sleep(look * 2);
        let freed = holder.release();
        early.expect("taken") - freed
    };
    assert!(latency < SOON, "early: {latency:?}");
    // Comes to a head that is stopped already, with a pause that would be too long.
    let mut late = Client::start(&scene.directory, 1, "stdin");
    late.expect_in_line();
    let freed = early.release();
    let latency = late.expect("taken") - freed;
    assert!(latency < SOON, "late: {latency:?}");
    // The thread that `early` left in line does not keep the turnstile from the next one.
    head.signal("CONT");
    head.assert_waits();
    let freed = late.release();
    let latency = head.expect("taken") - freed;
    assert!(latency < SOON, "head: {latency:?}");
    head.release();
}

#[test]
fn who_passed_by_gives_the_turnstile_back_at_once() {
    let scene = Scene::new("passed");
    let mut holder = Client::start(&scene.directory, 2, "stdin");
    holder.expect("taken");
    let mut second = Client::start(&scene.directory, 2, "stdin");
    second.expect("taken");
    let look = Duration::from_millis(50);
    let mut head = Client::with_pause(&scene.directory, 2, "stdin", look);
    head.expect_in_line();
    let mut passing = Client::with_pause(&scene.directory, 2, "stdin", look);
    passing.expect_in_line();
    head.signal("STOP");
    std::thread::sleep(look * 3);
    holder.release();
    passing.expect("taken");
    // Its thread is still in line behind the head, and its turn comes while it works.
    head.signal("CONT");
    let freed = second.release();
    assert!(head.expect("taken") - freed < SOON);
    // Both slots are taken, the turnstile is free, and so the next one is a head itself.
    let mut next = Client::start(&scene.directory, 2, "stdin");
    next.expect_in_line();
    let freed = passing.release();
    assert!(next.expect("taken") - freed < SOON);
    next.release();
    head.release();
}

#[test]
fn waiting_costs_next_to_nothing() {
    let scene = Scene::new("cost");
    let held = scene.slots().take_local(1, || ()).unwrap();
    let pause = Duration::from_secs(1);
    let clients: Vec<_> = (0..200).map(|_| Client::with_pause(&scene.directory, 1, "0", pause)).collect();
    clients.iter().for_each(Client::expect_in_line);
    let total = || clients.iter().map(Client::processor_time).sum::<Duration>();
    let (start, before) = (Instant::now(), total());
    std::thread::sleep(Duration::from_secs(2));
    let share = (total() - before).as_secs_f64() / start.elapsed().as_secs_f64();
    println!("200 waiting clients: {:.2} % of one core", share * 100.0);
    assert!(share < 0.05, "{share}");
    let freed = now();
    drop(held);
    let last = clients.iter().map(|client| client.expect("taken")).max().unwrap();
    println!("200 empty jobs in a row on one slot: {:?}", last - freed);
}

/// A directory with a compiler that only writes down when it ran, and a job for distcc 3.4 to run with it.
fn distcc_3_4(scene: &Scene, compiler: &str) -> Option<Command> {
    let program = Path::new("/usr/bin/distcc");
    let version = Command::new(program).arg("--version").output().map(|output| output.stdout);
    if !version.is_ok_and(|text| text.starts_with(b"distcc 3.4 ")) {
        println!("skipped: {} is not distcc 3.4", program.display());
        return None;
    }
    let top = &scene.directory;
    fs::write(top.join("gcc"), format!("#!/bin/sh\n{compiler}\n")).unwrap();
    assert!(Command::new("chmod").arg("755").arg(top.join("gcc")).status().unwrap().success());
    fs::write(top.join("t.c"), "int x;\n").unwrap();
    // Bounded, so that a lock lost between the two programs fails the test and does not hang it.
    let mut command = Command::new("timeout");
    command
        .arg("20")
        .arg(program)
        .arg(top.join("gcc"))
        .args(["-c", "t.c", "-o", "t.o"])
        .current_dir(top)
        .env_clear();
    command.env("PATH", "/usr/bin:/bin").env("DISTCC_DIR", top).env("DISTCC_HOSTS", "localhost/1");
    command.env("DISTCC_PAUSE_TIME_MSEC", "50");
    Some(command)
}

#[test]
fn distcc_3_4_waits_for_our_slot() {
    let scene = Scene::new("theirs_waits");
    let Some(mut command) = distcc_3_4(&scene, "touch ran") else { return };
    let slots = Slots::open(&scene.directory.join("lock"), PAUSE).unwrap();
    let held = slots.take_local(1, || ()).unwrap();
    let mut theirs = command.spawn().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(!scene.directory.join("ran").exists());
    drop(held);
    assert!(theirs.wait().unwrap().success());
    assert!(scene.directory.join("ran").exists());
}

#[test]
fn we_wait_for_a_slot_of_distcc_3_4_and_notice_at_once_when_it_is_free() {
    let scene = Scene::new("ours_waits");
    let Some(mut command) = distcc_3_4(&scene, "touch ran; while test ! -e go; do sleep 0.01; done") else {
        return;
    };
    let mut theirs = command.spawn().unwrap();
    let start = Instant::now();
    while !scene.directory.join("ran").exists() {
        assert!(start.elapsed() < PATIENCE, "distcc 3.4 does not run its compiler");
        std::thread::sleep(Duration::from_millis(1));
    }
    let client = Client::start(&scene.directory.join("lock"), 1, "0");
    client.expect("waiting");
    client.assert_waits();
    fs::write(scene.directory.join("go"), "").unwrap();
    theirs.wait().unwrap();
    let ended = now();
    let latency = client.expect("taken").saturating_sub(ended);
    println!("after the end of distcc 3.4: {latency:?}");
    assert!(latency < SOON, "{latency:?}");
}

#[test]
fn host_slots_and_back_off_files_have_the_names_of_distcc_3_4() {
    for word in ["127.0.0.1:9/2,lzo", "[::1]:9", "nobody@sshhost/3:/x/y", "h.invalid:99999", "localhost:9"] {
        let scene = Scene::new("names");
        let Some(mut command) = distcc_3_4(&scene, "exit 0") else { return };
        command.env("DISTCC_HOSTS", word).env("DISTCC_SSH", "/bin/false").stderr(Stdio::null());
        command.status().unwrap();
        let host = distcc::hosts::spec::parse_word(word).unwrap();
        for file in [format!("cpu_{}_0", host.lock_name()), format!("backoff_{}_0", host.lock_name())] {
            assert!(scene.directory.join("lock").join(&file).exists(), "{word}: {file}");
        }
    }
}
