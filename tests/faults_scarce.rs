//! Memory and descriptors that run out, in the daemon, the client and the compiler: who has too little says so, and a job
//! ends with the right object.

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::io::Write;
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use raw::{Place, bomb, job, request};
use support::faults::{BUILD_TIME_MAX, descriptors_of, with_limit, zombies_of};
use support::{Sandbox, wait_until};

/// Descriptors of a daemon that has few: its own, and those of a handful of clients.
const FEW_DESCRIPTORS: &str = "-n 40";
/// Clients that come at once.
const CLIENTS: usize = 100;

#[test]
fn a_daemon_with_forty_descriptors_serves_a_hundred_clients() {
    let place = Place::new();
    let daemon = place.daemon().jobs(2).through(&with_limit(FEW_DESCRIPTORS));
    let daemon = raw::Daemon::start(daemon);
    daemon.assert_serves();
    wait_until("descriptors of a daemon at rest", || zombies_of(daemon.pid()) == 0);
    let at_rest = descriptors_of(daemon.pid());
    let address = daemon.address;
    let (begin, mut served) = (Instant::now(), 0);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| thread::spawn(move || raw::ask(address, &job(&format!("printf {number} >$out")))))
        .collect();
    for (number, client) in clients.into_iter().enumerate() {
        // Who is one too many, or whose object cannot be opened, is told so or not heard at all, and compiles elsewhere.
        let Ok(reply) = client.join().unwrap() else { continue };
        if reply.refusal().is_some() {
            continue;
        }
        served += 1;
        assert_eq!((reply.status, reply.object), (0, number.to_string().into_bytes()), "{}", reply.stderr);
    }
    assert!(served >= 1, "nobody was served");
    assert!(begin.elapsed() < BUILD_TIME_MAX, "{:?}", begin.elapsed());
    // Those that never say a word have descriptors, too.
    let silent: Vec<_> = (0..3).map(|_| daemon.connect()).collect();
    drop(silent);
    daemon.assert_serves();
    // A client that leaves makes room at once.
    let silent: Vec<_> = (0..CLIENTS).map(|_| daemon.connect()).collect();
    drop(silent);
    daemon.assert_unharmed();
    wait_until("descriptors as before", || descriptors_of(daemon.pid()) <= at_rest);
    place.finish(daemon);
}

#[test]
fn a_client_with_few_descriptors() {
    let sandbox = Sandbox::new();
    let sample = sandbox.sample("a.c", "#include <stddef.h>\nsize_t a;\n");
    let daemon = sandbox.daemon().start();
    for number in 4..=12 {
        for host in [daemon.host(), daemon.host_lzo()] {
            let run = sandbox.job(&sample, "a.o", &host).through(&with_limit(&format!("-n {number}"))).run();
            // With the fewest not even the compiler opens its source; it has the last word then.
            if number >= 8 || run.code() == 0 {
                sandbox.assert_made(&run, &sample, "a.o");
            } else {
                assert!(run.err().contains("oo many open files"), "{number} descriptors: {run}");
                assert!(!sandbox.work("a.o").exists(), "{number} descriptors: {run}");
            }
        }
    }
    // With ten all is as ever.
    let job = sandbox.job(&sample, "a.o", &daemon.host()).env("DISTCC_FALLBACK", "0");
    let run = job.through(&with_limit("-n 10")).run();
    sandbox.assert_made(&run, &sample, "a.o");
    assert_eq!(run.err(), "");
    sandbox.finish([daemon]);
}

/// What one job needs too much of is that job's trouble.
#[test]
fn a_daemon_with_little_memory() {
    let place = Place::new();
    // Kilobytes: enough for the daemon and its threads.
    let daemon = raw::Daemon::start(place.daemon().through(&with_limit("-v 120000")));
    daemon.assert_serves();
    for _ in 0..3 {
        // 200 MB of source in less than one.
        let argv = ["cc", "-c", "hello.c", "-o", "hello.o"];
        let mut head = raw::request_head(2, &argv);
        head.extend(raw::body("DOTI", &bomb(800_000)));
        let reply = daemon.ask(&head).unwrap();
        // It is unpacked in pieces; what cannot hold it is the compiler.
        assert!(reply.status != 0 && reply.object.is_empty(), "{reply:?}");
        // An object, and a message, of more than there is.
        for script in ["truncate -s 300M $out", "head -c 60000000 /dev/zero >&2; truncate -s 80M $out"] {
            let request = request(2, &argv, format!("{script}\n").as_bytes());
            let reply = daemon.ask(&request).unwrap();
            assert!(reply.refusal().is_some(), "{}", reply.status);
        }
        daemon.assert_unharmed();
    }
    place.finish(daemon);
}

/// A server that answers every request in these bytes.
fn server(reply: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let reply = reply.clone();
            thread::spawn(move || {
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                let _ = stream.write_all(&reply);
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            });
        }
    });
    host
}

fn reply(version: u32, stderr: &[u8], object: &[u8]) -> Vec<u8> {
    let head = format!("DONE{version:08x}STAT00000000");
    [head.as_bytes(), &raw::body("SERR", stderr), b"SOUT00000000", &raw::body("DOTO", object)].concat()
}

#[test]
fn a_client_with_little_memory() {
    let sandbox = Sandbox::new();
    // So that the limit is the client's alone.
    sandbox.fake_client_compiler("ulimit -S -v unlimited; exec gcc \"$@\"\n");
    let sample = sandbox.sample("a.c", "int a;\n");
    let servers = [
        ("messages", server(reply(2, &bomb(230_000), b""))),
        ("plain messages", server(reply(1, &vec![b'x'; 60 << 20], b"ELF!"))),
    ];
    // In kilobytes.
    let limit = with_limit("-S -v 50000");
    for (what, host) in &servers {
        let host = if *what == "plain messages" { host.clone() } else { format!("{host},lzo") };
        let run = sandbox.fakecc("-c a.c -o a.o").hosts(&host).through(&limit).run();
        assert!(run.err().contains("memory") || run.err().contains("limit"), "{what}: {run}");
        sandbox.assert_made(&run, &sample, "a.o");
    }
    // A source of more than there is.
    let daemon = sandbox.daemon_with_compiler("exec gcc \"$@\"\n").start();
    sandbox.write("large.i", [b"int a;\n".as_slice(), &vec![b'\n'; 80 << 20]].concat());
    for host in [daemon.host(), daemon.host_lzo()] {
        let run = sandbox.fakecc("-c large.i -o large.o").hosts(&host).through(&limit).run();
        assert_eq!(run.code(), 0, "{run}");
        assert!(sandbox.read("large.o").starts_with(b"\x7fELF"));
    }
    sandbox.finish([daemon]);
}

#[test]
fn a_compiler_that_runs_out_of_memory() {
    let sandbox = Sandbox::new();
    let sample = sandbox.sample("a.c", "int a;\n");
    sandbox.honest_client_compiler();
    for body in ["ulimit -v 40000; exec gcc \"$@\"\n", "kill -9 $$\n", "kill -ABRT $$\n", "kill -SEGV $$\n"] {
        let daemon = sandbox.daemon_with_compiler(body).start();
        let run = sandbox.fakecc("-c a.c -o a.o").hosts(&daemon.host()).run();
        sandbox.assert_made(&run, &sample, "a.o");
        let mut daemon = daemon;
        daemon.stop();
    }
    sandbox.assert_clean();
}

/// Threads, too, are something to run out of: without them the daemon does everything itself.
#[test]
fn a_daemon_without_threads() {
    let sandbox = Sandbox::new();
    let sample = sandbox.sample("a.c", "int a;\n");
    let daemon = sandbox.daemon();
    let inject = support::faults::with_injection("clone3", "error=EAGAIN");
    let daemon = daemon.through(&inject).start();
    let host = format!("{},lzo,cpp", daemon.host());
    let pump = support::Pump::start(&sandbox, &host);
    let job = sandbox.job(&sample, "a.o", &host).env("DISTCC_FALLBACK", "0");
    sandbox.assert_made(&pump.around(job).run(), &sample, "a.o");
    let large = sandbox.write("large.i", [b"int a;\n".as_slice(), &vec![b'\n'; 8 << 20]].concat());
    let run =
        sandbox.distcc(["gcc", "-c", "large.i"]).hosts(&daemon.host_lzo()).env("DISTCC_FALLBACK", "0").run();
    assert_eq!(run.code(), 0, "{large:?}: {run}");
    pump.stop(&sandbox);
    daemon.wait_for_jobs(2);
    assert!(daemon.log().contains("start a thread"), "{}", daemon.log());
    sandbox.finish([daemon]);
}
