//! Slots through the real client: no more jobs than slots, on a host or here, shared with clients of 3.4, and
//! no time lost between one job and the next.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use support::{Run, Sandbox, require};

/// How long a counted compiler takes.
const WORK_SECONDS: &str = "0.15";

/// A file in which compilers say that they start and end; any user may write to it.
fn ledger(sandbox: &Sandbox) -> PathBuf {
    let path = sandbox.path("ledger");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
    path
}

/// A compiler that keeps the ledger; `-E` is not counted.
fn counted(ledger: &std::path::Path) -> String {
    let file = ledger.display();
    format!(
        "case \" $* \" in *' -E '*) exec gcc \"$@\";; esac\n\
         echo + >> '{file}'\nsleep {WORK_SECONDS}\ngcc \"$@\"\nstatus=$?\necho - >> '{file}'\nexit $status\n"
    )
}

/// The most compilers that ran at a time, and how many ran in all.
fn most_at_once(ledger: &std::path::Path) -> (i32, usize) {
    let text = fs::read_to_string(ledger).unwrap();
    let (mut now, mut most) = (0, 0);
    for line in text.lines() {
        now += if line == "+" { 1 } else { -1 };
        most = most.max(now);
    }
    (most, text.lines().filter(|line| *line == "+").count())
}

fn run_all(jobs: Vec<Run>) {
    let running: Vec<_> = jobs.into_iter().map(Run::start).collect();
    for job in running {
        let outcome = job.finish();
        assert_eq!(outcome.code(), 0, "{outcome}");
    }
}

fn write_sources(sandbox: &Sandbox, count: usize) {
    for number in 0..count {
        sandbox.write(format!("f{number}.c"), format!("int f{number}(int x) {{ return x + {number}; }}\n"));
    }
}

#[test]
fn a_host_never_has_more_jobs_than_its_slots() {
    let sandbox = Sandbox::new();
    let ledger = ledger(&sandbox);
    write_sources(&sandbox, 8);
    sandbox.honest_client_compiler();
    let daemon = sandbox.daemon_with_compiler(&counted(&ledger)).jobs(8).start();
    let hosts = format!("{}/2", daemon.host());
    run_all((0..8).map(|n| sandbox.fakecc(&format!("-c f{n}.c")).hosts(&hosts)).collect());
    assert_eq!(most_at_once(&ledger), (2, 8));
    sandbox.finish([daemon]);
}

#[test]
fn slots_are_shared_with_clients_of_3_4() {
    let sandbox = Sandbox::new();
    let ledger = ledger(&sandbox);
    write_sources(&sandbox, 6);
    sandbox.honest_client_compiler();
    let daemon = sandbox.daemon_with_compiler(&counted(&ledger)).jobs(8).start();
    let hosts = format!("{}/2", daemon.host());
    let path = format!("{}:/usr/bin:/bin", sandbox.path("client-bin").display());
    let jobs = (0..6).map(|number| {
        let source = format!("f{number}.c");
        let words = ["fakecc", "-c", source.as_str()];
        let client = if number % 2 == 0 { sandbox.distcc(words) } else { sandbox.debian_distcc(words) };
        // What 3.4 sleeps between two looks.
        client.hosts(&hosts).env("PATH", &path).env("DISTCC_PAUSE_TIME_MSEC", "20")
    });
    run_all(jobs.collect());
    let (most, all) = most_at_once(&ledger);
    assert!(most <= 2 && all == 6, "{most} at once, {all} in all");
    sandbox.finish([daemon]);
}

/// Hosts and limits for work on this machine, a command, and how many of it may run at a time.
const LOCAL_LIMITS: &[(&str, &str, i32)] = &[
    ("localhost/1", "-c FILE", 1),
    ("localhost/2", "-c FILE", 2),
    ("localhost", "-c FILE", 2),
    ("--localslots=1 localhost/4", "-shared FILE", 1),
    ("--localslots=2 localhost/4", "-shared FILE", 2),
    ("--localslots=1 127.0.0.1:1", "-c -fstack-usage FILE", 1),
];

#[test]
fn work_on_this_machine_is_limited() {
    for (hosts, words, limit) in LOCAL_LIMITS {
        let sandbox = Sandbox::new();
        let ledger = ledger(&sandbox);
        write_sources(&sandbox, 5);
        sandbox.fake_client_compiler(&counted(&ledger));
        let jobs = (0..5).map(|number| {
            let words = words.replace("FILE", &format!("f{number}.c -o f{number}.out"));
            sandbox.fakecc(&words).hosts(hosts)
        });
        run_all(jobs.collect());
        assert_eq!(most_at_once(&ledger), (*limit, 5), "{hosts} {words}");
        sandbox.finish([]);
    }
}

#[test]
fn the_first_slots_of_all_hosts_come_before_any_second_slot() {
    let sandbox = Sandbox::new();
    let ledger = ledger(&sandbox);
    write_sources(&sandbox, 4);
    sandbox.honest_client_compiler();
    let first = sandbox.daemon_with_compiler(&counted(&ledger)).jobs(8).start();
    let second = sandbox.daemon_with_compiler(&counted(&ledger)).jobs(8).start();
    let hosts = format!("{}/4 {}/4", first.host(), second.host());
    run_all((0..4).map(|n| sandbox.fakecc(&format!("-c f{n}.c")).hosts(&hosts)).collect());
    first.wait_for_jobs(2);
    second.wait_for_jobs(2);
    sandbox.finish([first, second]);
}

/// 3.4 needs five seconds for this, because it sleeps a second whenever no slot is free.
#[test]
fn small_files_lose_no_time_between_jobs() {
    require("make");
    let sandbox = Sandbox::new();
    write_sources(&sandbox, 12);
    let objects: Vec<String> = (0..12).map(|number| format!("f{number}.o")).collect();
    sandbox.write(
        "Makefile",
        format!("all: {}\n%.o: %.c\n\t$(CC) -O2 -c $< -o $@\nclean:\n\trm -f *.o\n", objects.join(" ")),
    );
    let daemon = sandbox.daemon().jobs(2).start();
    let path = format!("{}:/usr/bin:/bin", sandbox.path("bin").display());
    let make = |words: &[&str]| {
        let run = sandbox.command("make").args(words).env("PATH", &path);
        let outcome = run.hosts(&format!("{}/2", daemon.host())).run();
        assert_eq!(outcome.code(), 0, "{outcome}");
        assert_eq!(outcome.err(), "", "{outcome}");
        outcome.elapsed
    };
    let local = make(&["-j2", "CC=gcc"]);
    make(&["clean"]);
    let distributed = make(&["-j12", "CC=distcc gcc"]);
    daemon.wait_for_jobs(12);
    // The exact figure is for the benchmarks; other tests run meanwhile, and this binary is not optimised.
    assert!(distributed < local * 3 + Duration::from_secs(1), "{distributed:?}, locally {local:?}");
    sandbox.finish([daemon]);
}

#[test]
fn a_killed_client_frees_its_slot_at_once() {
    let sandbox = Sandbox::new();
    write_sources(&sandbox, 1);
    sandbox.honest_client_compiler();
    let daemon = sandbox.daemon_with_compiler("sleep 300\n").start();
    let hosts = format!("{}/1", daemon.host());
    let holder = sandbox.fakecc("-c f0.c").hosts(&hosts).start();
    support::wait_until("the slot", || sandbox.processes().len() >= 3);
    let waiting =
        sandbox.distcc(["gcc", "-c", "f0.c"]).hosts(&hosts).env("DISTCC_PAUSE_TIME_MSEC", "60000").start();
    std::thread::sleep(Duration::from_millis(100));
    holder.signal("KILL");
    holder.finish();
    waiting.finish().assert_quiet_success();
    daemon.wait_for_jobs(1);
    fs::remove_dir_all(sandbox.path("distcc/state")).unwrap();
    sandbox.finish([daemon]);
}
