//! Interruption: a client that is told to end does so by the signal, at any point, and leaves nothing: no temporary
//! file, no state file, no half object, no compiler here or there.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use support::{PATIENCE, Run, Running, Sandbox, wait_until};

/// Signals, and their numbers.
const SIGNALS: &[(&str, i32)] = &[("TERM", 15), ("INT", 2), ("HUP", 1)];
/// Offset of the phase in a state file.
const PHASE_AT: usize = 284;
/// Phases as monitors know them.
const SEND: u8 = 4;
const COMPILE: u8 = 5;
const RECEIVE: u8 = 6;
/// How soon a server must have ended a compiler that nobody waits for.
const AT_ONCE: Duration = Duration::from_secs(2);

fn phase(sandbox: &Sandbox) -> Option<u8> {
    let entry = fs::read_dir(sandbox.path("distcc/state")).ok()?.flatten().next()?;
    fs::read(entry.path()).ok()?.get(PHASE_AT).copied()
}

fn wait_for_phase(sandbox: &Sandbox, wanted: u8) {
    wait_until(&format!("phase {wanted}"), || phase(sandbox) == Some(wanted));
}

/// Starts a job, waits until it is where the signal is to find it, and checks what the signal leaves.
fn interrupt(sandbox: &Sandbox, job: impl Fn() -> Run, mut is_there: impl FnMut(&Running)) {
    let sources = sandbox.tree();
    for (name, number) in SIGNALS {
        sandbox.write("a.o", "an old object");
        let client = job().start();
        is_there(&client);
        client.signal(name);
        let outcome = client.finish();
        assert_eq!(outcome.signal(), Some(*number), "{name}: {outcome}");
        assert!(
            outcome.err().contains(&format!("terminated by signal {number:02}"))
                || *number > 9
                || outcome.err().contains(&format!("terminated by signal {number}")),
            "{outcome}"
        );
        assert_eq!(sandbox.read("a.o"), b"an old object", "{name}");
        fs::remove_file(sandbox.work("a.o")).unwrap();
        assert_eq!(sandbox.tree().names(), sources.names(), "{name}");
        let states = fs::read_dir(sandbox.path("distcc/state")).map(Iterator::count).unwrap_or(0);
        assert_eq!(states, 0, "{name}: a state file is left");
    }
}

#[test]
fn while_preprocessing() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().start();
    sandbox.write("a.c", "int a;\n");
    sandbox.fake_client_compiler("exec sleep 300\n");
    let mut calls = 0;
    interrupt(
        &sandbox,
        || sandbox.fakecc("-c a.c").hosts(&daemon.host()),
        |_| {
            calls += 1;
            wait_until("the preprocessor", || sandbox.client_calls().len() == calls);
        },
    );
    assert!(sandbox.client_calls().iter().all(|call| call.contains("-E")));
    sandbox.finish([daemon]);
}

#[test]
fn while_compiling_here() {
    let sandbox = Sandbox::new();
    sandbox.write("a.c", "int a;\n");
    sandbox.fake_client_compiler("exec sleep 300\n");
    let mut calls = 0;
    interrupt(
        &sandbox,
        || sandbox.fakecc("-c a.c").hosts("localhost"),
        |_| {
            calls += 1;
            wait_until("the compiler", || sandbox.client_calls().len() == calls);
        },
    );
    sandbox.finish([]);
}

#[test]
fn while_sending() {
    let sandbox = Sandbox::new();
    // More than fits into the sockets' buffers.
    sandbox.write("a.i", vec![b'\n'; 40 << 20]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    interrupt(
        &sandbox,
        || sandbox.distcc(["gcc", "-c", "a.i", "-o", "a.o"]).hosts(&host),
        |_| wait_for_phase(&sandbox, SEND),
    );
    sandbox.finish([]);
}

#[test]
fn while_the_server_compiles() {
    let sandbox = Sandbox::new();
    sandbox.write("a.c", "int a;\n");
    sandbox.honest_client_compiler();
    // A driver with children, as gcc is.
    let daemon = sandbox.daemon_with_compiler("sleep 300 & sleep 300 & wait\n").start();
    let mut jobs = 0;
    interrupt(
        &sandbox,
        || {
            // What the last one left is gone at once, and with it the slot.
            let began = Instant::now();
            sandbox.assert_clean_beside(&[&daemon]);
            assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
            sandbox.fakecc("-c a.c").hosts(&format!("{}/1", daemon.host()))
        },
        |_| {
            jobs += 1;
            wait_for_phase(&sandbox, COMPILE);
            wait_until("the compiler and its children", || sandbox.processes().len() >= 5);
        },
    );
    let began = Instant::now();
    sandbox.assert_clean_beside(&[&daemon]);
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert_eq!((jobs, daemon.jobs_done()), (3, 0));
    sandbox.finish([daemon]);
}

/// A server that sends the beginning of an object and then nothing.
fn half_an_object() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            thread::spawn(move || {
                let _ = stream.read(&mut [0; 64]);
                let _ = stream.write_all(b"DONE00000001STAT00000000SERR00000000SOUT00000000DOTO00001000half");
                while matches!(stream.read(&mut [0; 4096]), Ok(count) if count > 0) {}
            });
        }
    });
    host
}

#[test]
fn while_receiving() {
    let sandbox = Sandbox::new();
    sandbox.write("a.c", "int a;\n");
    let host = half_an_object();
    interrupt(
        &sandbox,
        || sandbox.distcc(["gcc", "-c", "a.c"]).hosts(&host),
        |_| {
            wait_for_phase(&sandbox, RECEIVE);
            // Let the half object arrive.
            thread::sleep(Duration::from_millis(50));
        },
    );
    sandbox.finish([]);
}

/// Nothing can be cleaned up by a process that is killed outright; but no object is half, the slot is free, and the
/// server notices.
#[test]
fn killed_outright() {
    let sandbox = Sandbox::new();
    sandbox.write("a.c", "int a;\n");
    sandbox.write("a.o", "an old object");
    let client = sandbox.distcc(["gcc", "-c", "a.c"]).hosts(&half_an_object()).start();
    wait_for_phase(&sandbox, RECEIVE);
    thread::sleep(Duration::from_millis(50));
    client.signal("KILL");
    assert_eq!(client.finish().signal(), Some(9));
    assert_eq!(sandbox.read("a.o"), b"an old object");
    fs::remove_dir_all(sandbox.path("distcc/state")).unwrap();
    sandbox.honest_client_compiler();
    let daemon = sandbox.daemon_with_compiler("sleep 300 & wait\n").start();
    let client = sandbox.fakecc("-c a.c").hosts(&format!("{}/1", daemon.host())).start();
    wait_for_phase(&sandbox, COMPILE);
    wait_until("the compiler", || sandbox.processes().len() >= 4);
    client.signal("KILL");
    client.finish();
    sandbox.distcc(["gcc", "-c", "a.c"]).hosts(&format!("{}/1", daemon.host())).run().assert_quiet_success();
    fs::remove_dir_all(sandbox.path("distcc/state")).unwrap();
    sandbox.assert_clean_beside(&[&daemon]);
    sandbox.finish([daemon]);
}

/// Ctrl-C reaches the whole group: make, distcc, the compiler.
#[test]
fn an_interrupted_build_leaves_nothing() {
    let sandbox = Sandbox::new();
    support::require("make");
    let daemon = sandbox.daemon_with_compiler("sleep 300\n").start();
    sandbox.honest_client_compiler();
    sandbox.write("Makefile", "all: a.o b.o c.o\n%.o: %.c\n\tdistcc fakecc -c $< -o $@\n");
    for name in ["a.c", "b.c", "c.c"] {
        sandbox.write(name, "int x;\n");
    }
    let path =
        format!("{}:{}:/usr/bin:/bin", sandbox.path("bin").display(), sandbox.path("client-bin").display());
    let make = sandbox
        .command("make")
        .args(["-j3"])
        .env("PATH", path)
        .hosts(&format!("{}/3", daemon.host()))
        .start();
    wait_until("three jobs on the server", || {
        let states = fs::read_dir(sandbox.path("distcc/state")).map(Iterator::count).unwrap_or(0);
        states == 3 && sandbox.processes().len() >= 1 + 4 + 2 * 3
    });
    support::send_signal("INT", -i64::from(make.id()));
    let outcome = make.finish();
    assert_ne!(outcome.code(), 0, "{outcome}");
    sandbox.assert_clean_beside(&[&daemon]);
    assert_eq!(sandbox.tree().names(), ["Makefile", "a.c", "b.c", "c.c"]);
    sandbox.finish([daemon]);
}
