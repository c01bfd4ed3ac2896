//! kill -9, at any moment: of the daemon, a compiler, the client, the include server. The build ends with the right
//! object, in time, and nothing is left.
//!
//! The moments are the same in every run; what happens at them is not.

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::fs;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use raw::{Place, is_alive, job};
use support::faults::{BUILD_TIME_MAX, Dice, Sample, descendants, wait_for_all, zombies_of};
use support::{Outcome, Pump, Running, Sandbox, send_signal, tree_of, wait_until};

/// How long a job takes, about, in microseconds: the moments lie within it.
const JOB_MICROSECONDS: u64 = 60_000;
/// A header, so that there is something to preprocess.
const TEXT: &str = "#include <stdlib.h>\nint a(int n) { return n ? abs(n) + a(n - 1) : EXIT_FAILURE; }\n";

/// A source that no compiler is done with soon: optimising a loop nest of two thousand functions.
fn long_source() -> String {
    let body =
        "for (int i = 0; i < n; i++) for (int j = 0; j < i; j++) a[i * j % 7] += a[j] * i ^ n / (j + 1);\n";
    let functions =
        (0..2000).map(|number| format!("void f{number}(int *a, int n) {{ {} }}\n", body.repeat(8)));
    functions.collect()
}

fn finish(clients: Vec<(Running, String)>) -> Vec<(Outcome, String)> {
    clients.into_iter().map(|(client, object)| (client.finish_within(BUILD_TIME_MAX), object)).collect()
}

#[test]
fn the_daemon_at_any_moment() {
    let sandbox = Sandbox::new();
    let sample = sandbox.sample("a.c", TEXT);
    let mut temporary = None;
    for seed in 0..16 {
        let mut dice = Dice::new(seed);
        let mut builder = sandbox.daemon().jobs(2);
        if let Some(place) = &temporary {
            builder = builder.env("TMPDIR", place);
        }
        let mut daemon = builder.start();
        let place = temporary.get_or_insert_with(|| daemon.temporary().to_owned());
        // What the one before left is gone before this one takes jobs.
        assert_eq!(tree_of(place).names(), [""; 0], "{seed}");
        assert_eq!(fs::read_dir(&*place).unwrap().count(), 0, "{seed}");
        let start = |number: u32| {
            let host = if number.is_multiple_of(2) { daemon.host() } else { daemon.host_lzo() };
            let object = format!("{number}.o");
            (sandbox.job(&sample, &object, &host).start(), object)
        };
        let clients: Vec<_> = (0..3).map(start).collect();
        dice.wait_up_to(JOB_MICROSECONDS);
        daemon.signal("KILL");
        daemon.wait();
        for (outcome, object) in finish(clients) {
            sandbox.assert_made(&outcome, &sample, &object);
        }
        assert_eq!(sandbox.tree().names(), ["a.c"], "{seed}");
        assert!(tree_of(&sandbox.path("distcc/state")).0.is_empty(), "{seed}");
        let _ = fs::remove_dir_all(sandbox.path("distcc/lock"));
    }
    let place = temporary.unwrap();
    let last = sandbox.daemon().env("TMPDIR", &place).start();
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
    sandbox.time_of_job(&sample, &last.host());
    sandbox.finish([last]);
}

/// In each phase of a job by itself: what its client is told, and what the next daemon finds.
#[test]
fn the_daemon_in_each_phase() {
    let place = Place::new();
    let gated = "echo $$ >$marks/compiler; printf half >$out; until [ -e $marks/go ]; do sleep 0.01; done";
    let large = "echo $$ >$marks/compiler; head -c 30000000 /dev/zero >$out";
    let mut temporary = None;
    // How much of the request is sent, what the compiler does, and what says that the phase is reached.
    for (phase, script, sent, sign) in [
        ("accepted", gated, 0, "connection from"),
        ("receiving the command", gated, 30, "connection from"),
        ("receiving the source", gated, usize::MAX - 1, "connection from"),
        ("waiting for its turn", gated, usize::MAX, "bytes received"),
        ("compiling", gated, usize::MAX, "bytes received"),
        ("sending", large, usize::MAX, "completed ok"),
    ] {
        let builder = place.daemon().args(["--jobs", "1"]);
        let builder = match &temporary {
            Some(place) => builder.env("TMPDIR", place),
            None => builder,
        };
        let mut daemon = raw::Daemon::start(builder);
        let directory: &mut std::path::PathBuf =
            temporary.get_or_insert_with(|| daemon.guard.temporary().to_owned());
        assert_eq!(fs::read_dir(directory).unwrap().count(), 0, "before {phase}");
        let mut before = None;
        if phase == "waiting for its turn" {
            let stream = before.insert(daemon.connect());
            stream.write_all(&job(gated)).unwrap();
            place.wait_for_mark("compiler");
        }
        let request = job(script);
        let mut stream = daemon.connect();
        let count = if sent == usize::MAX - 1 { request.len() - 1 } else { sent.min(request.len()) };
        stream.write_all(&request[..count]).unwrap();
        daemon.wait_for_lines(sign, 1 + usize::from(before.is_some()));
        let compiler = (phase == "compiling").then(|| place.wait_for_pid("compiler"));
        daemon.guard.signal("KILL");
        daemon.guard.wait();
        // Whatever comes, it is no whole reply, and it ends.
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply);
        assert!(reply.len() < 30_000_000, "{phase}");
        wait_until("the compiler's end", || compiler.is_none_or(|pid| !is_alive(pid)));
        drop(before);
        for mark in ["compiler", "go"] {
            let _ = fs::remove_file(place.mark(mark));
        }
    }
    let last = raw::Daemon::start(place.daemon().env("TMPDIR", temporary.unwrap()));
    last.assert_unharmed();
    place.finish(last);
}

/// A compiler of a pump job is in a chamber: the kernel ends it, and all it started, with the daemon.
#[test]
fn the_daemon_while_compilers_run_in_chambers() {
    let sandbox = Sandbox::new();
    sandbox.write("long.c", long_source());
    let mut daemon = sandbox.daemon().start();
    let host = format!("{},lzo,cpp", daemon.host());
    let pump = Pump::start(&sandbox, &host);
    let job = sandbox.distcc(["gcc", "-O3", "-c", "long.c"]).hosts(&host).env("DISTCC_FALLBACK", "0");
    let client = pump.around(job).start();
    // gcc in its namespace, and the compiler proper.
    wait_until("the compiler", || {
        let processes = descendants(daemon.id());
        processes.len() >= 2 && processes.keys().any(|pid| is_compiler_proper(*pid))
    });
    let processes = descendants(daemon.id());
    daemon.signal("KILL");
    let began = Instant::now();
    daemon.wait();
    wait_for_all(&processes);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let outcome = client.finish_within(BUILD_TIME_MAX);
    assert!([107, 108].contains(&outcome.code()), "{outcome}");
    assert!(!sandbox.work("long.o").exists());
    pump.stop(&sandbox);
    sandbox.assert_clean();
}

fn is_compiler_proper(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "cc1\n")
}

#[test]
fn a_compiler_at_any_moment() {
    let sandbox = Sandbox::new();
    let sample = sandbox.sample("a.c", TEXT);
    let daemon = sandbox.daemon().jobs(2).start();
    let host = daemon.host_lzo();
    let mut killed = 0;
    for seed in 0..24 {
        let mut dice = Dice::new(100 + seed);
        let client = sandbox.job(&sample, "a.o", &host).env("DISTCC_BACKOFF_PERIOD", "0").start();
        let other = sandbox.job(&sample, "b.o", &host).env("DISTCC_BACKOFF_PERIOD", "0").start();
        if seed % 2 == 0 {
            dice.wait_up_to(JOB_MICROSECONDS);
        } else {
            // Of the moments those at which there is something to kill.
            let end = Instant::now() + Duration::from_millis(200);
            while descendants(daemon.id()).is_empty() && Instant::now() < end {}
        }
        let compilers: Vec<u32> = descendants(daemon.id()).into_keys().collect();
        if !compilers.is_empty() {
            let victim = compilers[dice.below(compilers.len() as u64) as usize];
            send_signal("KILL", i64::from(victim));
            killed += 1;
        }
        sandbox.assert_made(&client.finish_within(BUILD_TIME_MAX), &sample, "a.o");
        sandbox.assert_made(&other.finish_within(BUILD_TIME_MAX), &sample, "b.o");
        wait_until("no zombie", || zombies_of(daemon.id()) == 0);
    }
    assert!(killed >= 6, "only {killed} compilers were killed");
    sandbox.assert_clean_beside(&[&daemon]);
    sandbox.assert_as_fast_as_new(&sample, &host);
    sandbox.finish([daemon]);
}

/// The object of a client that was killed is the old one, or none, or the new one: never a part.
#[test]
fn the_client_at_any_moment() {
    let sandbox = Sandbox::new();
    let sample = sandbox.sample("a.c", TEXT);
    let daemon = sandbox.daemon().jobs(1).start();
    let one_place = format!("{}/1,lzo", daemon.host());
    for seed in 0..32 {
        let mut dice = Dice::new(200 + seed);
        sandbox.write("a.o", "an old object");
        let client = sandbox.job(&sample, "a.o", &one_place).start();
        dice.wait_up_to(JOB_MICROSECONDS);
        client.signal("KILL");
        client.finish();
        let object = fs::read(sandbox.work("a.o")).unwrap_or_default();
        assert!(
            object.is_empty() || object == b"an old object" || object == sample.object,
            "{seed}: {} bytes",
            object.len()
        );
        let _ = fs::remove_file(sandbox.work("a.o"));
        // The only place on the host is free again, and no file but the object has come.
        if seed % 4 == 3 {
            let next = sandbox.job(&sample, "next.o", &one_place).env("DISTCC_FALLBACK", "0").run();
            sandbox.assert_made(&next, &sample, "next.o");
        }
        assert_eq!(sandbox.tree().names(), ["a.c"], "{seed}");
    }
    sandbox.forget_states();
    sandbox.assert_clean_beside(&[&daemon]);
    wait_until("no zombie", || zombies_of(daemon.id()) == 0);
    sandbox.assert_as_fast_as_new(&sample, &one_place);
    sandbox.finish([daemon]);
}

fn include_servers(sandbox: &Sandbox) -> Vec<u32> {
    let is_one = |pid: &u32| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words.starts_with(b"include_server"))
    };
    sandbox.processes().into_iter().map(|(process, _)| process).filter(is_one).collect()
}

#[test]
fn the_include_server_at_any_moment() {
    let sandbox = Sandbox::new();
    let sample: Sample = sandbox.sample("a.c", TEXT);
    let daemon = sandbox.daemon().jobs(2).start();
    let host = format!("{},lzo,cpp", daemon.host());
    let job = |object| sandbox.job(&sample, object, &host).env("DISTCC_PUMP", "1");
    for seed in 0..20 {
        let mut dice = Dice::new(300 + seed);
        let clients = [(job("a.o").start(), "a.o"), (job("b.o").start(), "b.o")];
        dice.wait_up_to(JOB_MICROSECONDS);
        for process in include_servers(&sandbox) {
            send_signal("KILL", i64::from(process));
        }
        for (client, object) in clients {
            sandbox.assert_made(&client.finish_within(BUILD_TIME_MAX), &sample, object);
        }
        // As after a build: or those that failed to start would be left alone for a minute, and nobody killed.
        let _ = fs::remove_file(sandbox.path("distcc/pump/failed"));
    }
    let run = job("a.o").env("DISTCC_VERBOSE", "1").run();
    assert!(!run.err().contains("preprocessing here"), "a new one serves: {run}");
    sandbox.end_background_server();
    let left = tree_of(&sandbox.path("distcc/pump")).names();
    assert!(!left.iter().any(|name| name.contains("socket")), "{left:?}");
    sandbox.finish([daemon]);
}
