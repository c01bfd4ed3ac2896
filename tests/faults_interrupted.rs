//! Interruptions, and reads and writes that do less than they were asked for: nothing is lost, nothing comes twice, and
//! no job goes elsewhere for it.

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::time::{Duration, Instant};

use support::faults::{Sample, Trickle, with_injection};
use support::{Pump, Run, Running, Sandbox, send_signal, wait_until};

/// A source that takes more than one read, write and packet.
fn sample(sandbox: &Sandbox) -> Sample {
    let table: String = (0..20_000).map(|number| format!("{number},")).collect();
    sandbox.sample("a.c", &format!("#include <stdio.h>\nint table[] = {{{table}}};\n"))
}

/// Sends signals to a process as fast as a shell can, with a millisecond between two, until it is told to stop.
fn storm(sandbox: &Sandbox, process: u32, signals: &str) -> Running {
    let script = "while kill -s 0 $0 2>/dev/null; do for signal; do kill -s $signal $0 2>/dev/null; done; sleep 0.001; done";
    let words = signals.split(' ');
    sandbox.command("/bin/sh").args(["-c", script]).args([process.to_string()]).args(words).start()
}

/// A job that must be done on the host, in plain mode.
fn remote(sandbox: &Sandbox, sample: &Sample, host: &str) -> Run {
    sandbox.job(sample, "a.o", host).env("DISTCC_FALLBACK", "0")
}

/// A process that is stopped and goes on is interrupted wherever it waits with a time limit, without any handler.
#[test]
fn a_client_that_is_stopped_and_goes_on_a_thousand_times() {
    let sandbox = Sandbox::new();
    let sample = sample(&sandbox);
    let daemon = sandbox.daemon_with_compiler("sleep 0.3; exec gcc \"$@\"\n").start();
    sandbox.honest_client_compiler();
    let slow = Trickle { bytes_max: 4096, buffers: 4096 }.before(daemon.host().parse().unwrap());
    for (host, signals) in [
        (slow.to_string(), "STOP CONT"),
        (format!("{slow},lzo"), "STOP CONT"),
        (daemon.host(), "WINCH CHLD URG CONT"),
    ] {
        let job = sandbox.fakecc("-c a.c -o a.o").hosts(&host).env("DISTCC_FALLBACK", "0").start();
        let storm = storm(&sandbox, job.id(), signals);
        let run = job.finish();
        drop(storm);
        sandbox.assert_made(&run, &sample, "a.o");
        assert_eq!(run.err(), "", "{run}");
    }
    daemon.wait_for_jobs(3);
    sandbox.finish([daemon]);
}

#[test]
fn a_daemon_that_is_stopped_and_goes_on_a_thousand_times() {
    let sandbox = Sandbox::new();
    let sample = sample(&sandbox);
    let daemon = sandbox.daemon().start();
    // HUP opens the log again, CHLD claims that a compiler has ended.
    let storms =
        ["STOP CONT", "CHLD HUP", "WINCH URG CHLD"].map(|signals| storm(&sandbox, daemon.id(), signals));
    let hosts = [daemon.host(), daemon.host_lzo()];
    for number in 0..8 {
        let run = remote(&sandbox, &sample, &hosts[number % 2]).run();
        sandbox.assert_made(&run, &sample, "a.o");
    }
    drop(storms);
    // The last signal of the storm may have been the one that stops.
    daemon.signal("CONT");
    daemon.wait_for_jobs(8);
    sandbox.finish([daemon]);
}

/// System calls that a signal can interrupt; not fcntl, which may be only for locks, and not close, which closes all the
/// same, as the injected error does not.
const INTERRUPTIBLE: &[&str] = &[
    "read",
    "write",
    "sendto",
    "sendmsg",
    "sendfile",
    "recvmsg",
    "poll",
    "wait4",
    "waitid",
    "openat",
    "flock",
    "pwrite64",
    "pread64",
    "ftruncate",
    "accept4",
    "epoll_wait",
];

#[test]
fn each_call_of_a_client_interrupted_every_other_time() {
    let sandbox = Sandbox::new();
    let sample = sample(&sandbox);
    let daemon = sandbox.daemon().start();
    let mut jobs = 0;
    for call in INTERRUPTIBLE {
        for host in [daemon.host(), daemon.host_lzo()] {
            let interrupted = with_injection(call, "error=EINTR:when=1+2");
            let run = remote(&sandbox, &sample, &host).through(&interrupted).run();
            assert_eq!((run.code(), run.err()), (0, String::new()), "{call}: {run}");
            sandbox.assert_made(&run, &sample, "a.o");
            jobs += 1;
        }
    }
    daemon.wait_for_jobs(jobs);
    sandbox.finish([daemon]);
}

#[test]
fn each_call_of_a_pump_client_interrupted_every_other_time() {
    let sandbox = Sandbox::new();
    let sample = sample(&sandbox);
    let daemon = sandbox.daemon().start();
    let host = format!("{},lzo,cpp", daemon.host());
    let pump = Pump::start(&sandbox, &host);
    let tap = support::Tap::before(daemon.port());
    for call in INTERRUPTIBLE {
        let interrupted = with_injection(call, "error=EINTR:when=1+2");
        let job = pump.around(remote(&sandbox, &sample, &tap.pump_host())).through(&interrupted);
        let run = job.run();
        sandbox.assert_made(&run, &sample, "a.o");
        assert_eq!(tap.take_versions(), [3], "{call}: {run}");
    }
    pump.stop(&sandbox);
    sandbox.finish([daemon]);
}

#[test]
fn each_call_of_a_daemon_interrupted_every_other_time() {
    let sandbox = Sandbox::new();
    let sample = sample(&sandbox);
    for call in INTERRUPTIBLE {
        let interrupted = with_injection(call, "error=EINTR:when=20+2");
        let mut daemon = sandbox.daemon().through(&interrupted).start();
        for host in [daemon.host(), daemon.host_lzo()] {
            let run = remote(&sandbox, &sample, &host).env("DISTCC_IO_TIMEOUT", "10").run();
            assert_eq!(run.code(), 0, "{call}: {run}{}", daemon.log());
            sandbox.assert_made(&run, &sample, "a.o");
        }
        daemon.wait_for_jobs(2);
        daemon.stop();
        assert_eq!(daemon.ended_by(), Some(15), "{call}: {}", daemon.log());
    }
    sandbox.assert_clean();
}

#[test]
fn each_call_of_an_include_server_interrupted_every_other_time() {
    use support::include_server::IncludeServer;
    let sandbox = Sandbox::new();
    sandbox.write("m.c", "#include \"a.h\"\n");
    sandbox.write("a.h", "#include <stddef.h>\n");
    let directory = std::fs::canonicalize(sandbox.work("")).unwrap();
    let argv = ["gcc", "-c", "m.c"];
    for call in INTERRUPTIBLE {
        let command =
            IncludeServer::command(&sandbox, &[]).through(&with_injection(call, "error=EINTR:when=20+2"));
        let server = IncludeServer::of(&sandbox, command);
        for _ in 0..3 {
            let files = server.ask(&directory, &argv).unwrap();
            assert!(files.iter().any(|(name, _)| name.ends_with("/a.h")), "{call}");
            assert!(!server.ask_as_3_4(&directory, &argv).is_empty(), "{call}");
        }
        server.stop();
    }
    sandbox.assert_clean();
}

/// A few bytes at a time, in both directions, through the smallest buffers that the kernel gives.
#[test]
fn a_wire_on_which_bytes_trickle() {
    let sandbox = Sandbox::new();
    let sample = sandbox.sample("a.c", "#include <stddef.h>\nsize_t a;\n");
    let daemon = sandbox.daemon().start();
    let wire = Trickle { bytes_max: 7, buffers: 1 }.before(daemon.host().parse().unwrap());
    for host in [wire.to_string(), format!("{wire},lzo")] {
        let run = remote(&sandbox, &sample, &host).run();
        sandbox.assert_made(&run, &sample, "a.o");
        assert_eq!(run.err(), "");
    }
    let pump_host = format!("{wire},lzo,cpp");
    let pump = Pump::start(&sandbox, &pump_host);
    let run = pump.around(remote(&sandbox, &sample, &pump_host)).run();
    sandbox.assert_made(&run, &sample, "a.o");
    assert_eq!(run.err(), "");
    pump.stop(&sandbox);
    daemon.wait_for_jobs(3);
    sandbox.finish([daemon]);
}

/// Large bodies through small buffers: most writes take a part.
#[test]
fn large_bodies_through_small_buffers() {
    let place = raw::Place::new();
    let daemon = place.start(&[]);
    let wire = Trickle { bytes_max: 64 << 10, buffers: 32 << 10 }.before(daemon.address);
    let begin = Instant::now();
    let source = format!("head -c 3000000 /dev/zero >$out; exit\n{}", "#".repeat(2 << 20));
    for version in [1, 2] {
        let request = raw::request(version, &["cc", "-c", "hello.c", "-o", "hello.o"], source.as_bytes());
        let reply = raw::ask(wire, &request).unwrap();
        assert_eq!((reply.status, reply.object.len()), (0, 3_000_000), "{}", reply.stderr);
    }
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    daemon.assert_unharmed();
    place.finish(daemon);
}

/// Ctrl-Z while a place is waited for, and `fg`: the job goes on where it was.
#[test]
fn a_client_that_is_stopped_while_it_waits_for_a_place() {
    let sandbox = Sandbox::new();
    let sample = sample(&sandbox);
    let daemon = sandbox.daemon_with_compiler("sleep 0.5; exec gcc \"$@\"\n").start();
    sandbox.honest_client_compiler();
    let host = format!("{}/1", daemon.host());
    let job = |object: &str| {
        let words = format!("-c a.c -o {object}");
        sandbox.fakecc(&words).hosts(&host).env("DISTCC_FALLBACK", "0").start()
    };
    let clients = [(job("0.o"), "0.o"), (job("1.o"), "1.o"), (job("2.o"), "2.o")];
    wait_until("a job on the server", || sandbox.client_calls().iter().any(|call| call.contains("-E")));
    let storms = [&clients[1].0, &clients[2].0].map(|client| storm(&sandbox, client.id(), "STOP CONT"));
    for (client, object) in clients {
        let id = client.id();
        let run = client.finish();
        assert!(run.code() == 0, "{id}: {run}");
        sandbox.assert_made(&run, &sample, object);
    }
    drop(storms);
    send_signal("CONT", i64::from(daemon.id()));
    daemon.wait_for_jobs(3);
    sandbox.finish([daemon]);
}
