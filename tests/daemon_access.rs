//! Who may use a daemon, and what those hear who may not.

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use raw::{Place, SOON, ask_from, closes, job, packet, read_reply, request_head};
use support::wait_until;

#[test]
fn rules_admit_by_network() {
    let place = Place::new();
    for (rules, from, expected) in [
        (["127.0.0.1"].as_slice(), "127.0.0.1", true),
        (&["127.0.0.1"], "127.0.0.2", false),
        (&["127.0.0.1/32"], "127.0.0.2", false),
        (&["127.0.0.0/30"], "127.0.0.3", true),
        (&["127.0.0.0/30"], "127.0.0.4", false),
        (&["127.1.2.3/16"], "127.1.200.200", true),
        (&["127.1.2.3/16"], "127.2.0.1", false),
        (&["192.0.2.1/0"], "127.0.0.1", true),
        (&["::ffff:127.0.0.1"], "127.0.0.1", true),
        (&["::/0"], "127.0.0.1", false),
        (&["192.0.2.7", "localhost"], "127.0.0.1", true),
        (&["192.0.2.7", "127.9.0.0/16"], "127.9.1.1", true),
    ] {
        let options: Vec<String> = rules.iter().map(|rule| format!("--allow={rule}")).collect();
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let daemon = place.start(&options);
        let reply = ask_from(from, daemon.address, 1);
        assert_eq!(reply.status, if expected { 0 } else { 113 << 8 }, "{from} by {rules:?}: {reply:?}");
    }
    for (options, from, expected) in [
        (["--allow-private"].as_slice(), "127.3.3.3", true),
        (&["--allow-private", "-a", "192.0.2.1"], "127.0.0.9", true),
    ] {
        let daemon = place.start(options);
        assert_eq!(ask_from(from, daemon.address, 1).status == 0, expected, "{from} by {options:?}");
    }
    place.sandbox.assert_clean();
}

#[test]
fn without_rules_private_networks_are_admitted_with_a_warning() {
    let place = Place::new();
    let port = support::free_port();
    let running = place
        .sandbox
        .applet("distccd")
        .args(place.script_options())
        .args(["--daemon", "--no-detach", "--log-stderr", "--listen", "127.0.0.1"])
        .args(["--port", &port.to_string()])
        .env("PATH", place.search_path())
        .env("TMPDIR", place.sandbox.server_directory())
        .start();
    let address = ([127, 0, 0, 1], port).into();
    wait_until("the daemon", || TcpStream::connect(address).is_ok());
    assert_eq!(ask_from("127.5.5.5", address, 1).status, 0);
    running.signal("TERM");
    let log = running.finish().err();
    assert!(log.contains("Warning: no --allow option") && log.contains("--allow-private"), "{log}");
    place.sandbox.finish([]);
}

#[test]
fn a_denied_client_is_told_the_remedy_in_its_own_version() {
    let place = Place::new();
    let daemon = place.start(&["--allow", "192.0.2.1"]);
    for version in [1, 2] {
        let began = Instant::now();
        let reply = ask_from("127.0.0.1", daemon.address, version);
        assert_eq!((reply.version as usize, reply.status), (version, 0x7100));
        assert!(reply.stderr.starts_with("distccd: "), "{reply:?}");
        assert!(reply.stderr.contains("start distccd with --allow 127.0.0.1"), "{reply:?}");
        assert!(reply.stdout.is_empty() && reply.object.is_empty());
        assert!(began.elapsed() < SOON);
    }
    let lines = daemon.wait_for_lines("denied by access list", 2);
    assert!(
        lines[0].contains("ERROR: connection from client '127.0.0.1' denied by access list"),
        "{lines:?}"
    );
    place.finish(daemon);
}

#[test]
fn a_denied_client_gets_no_further_than_its_first_packet() {
    let place = Place::new();
    let daemon =
        raw::Daemon::start(place.daemon().args(["--allow", "192.0.2.1"]).env("DISTCC_TCP_DEFER_ACCEPT", "0"));
    // It hears of it before it has sent its source.
    let mut early = daemon.connect();
    early.write_all(&packet("DIST", 1, b"")).unwrap();
    assert_eq!(read_reply(&mut early).unwrap().refusal(), Some(113));
    let mut bad = daemon.connect();
    bad.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    assert!(closes(&mut bad));
    // Silence is not waited for as long as with others.
    let began = Instant::now();
    let mut silent = daemon.connect();
    assert!(raw::read_reply(&mut silent).is_ok_and(|reply| reply.refusal().is_some()) || closes(&mut silent));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    // A large source behind the refusal does not lose the client its answer.
    let mut large = daemon.connect();
    large.write_all(&request_head(1, &["cc", "-c", "a.c"])).unwrap();
    large.write_all(&packet("DOTI", 8 << 20, &vec![b' '; 8 << 20])).unwrap();
    assert_eq!(read_reply(&mut large).unwrap().refusal(), Some(113));
    drop((early, bad, silent, large));
    place.finish(daemon);
}

#[test]
fn a_refusal_leaves_real_clients_with_a_result_and_a_reason() {
    let place = Place::new();
    let daemon = place.start(&["--allow", "192.0.2.1"]);
    place.sandbox.write("a.c", "int a(void) { return 7; }\n");
    let host = daemon.guard.host();

    let run = place.sandbox.distcc(["gcc", "-c", "a.c", "-o", "ours.o"]).hosts(&host).run();
    assert!(run.status.success(), "{run}");
    assert_eq!(run.err_lines_with("start distccd with --allow 127.0.0.1"), 1, "{run}");

    let run = place.sandbox.debian_distcc(["gcc", "-c", "a.c", "-o", "theirs.o"]).hosts(&host);
    // A directory of its own, where it does not find that this host is left alone for a while.
    let run = run.env("DISTCC_DIR", place.path("marks")).run();
    assert!(run.status.success(), "{run}");
    assert_eq!(place.sandbox.read("ours.o"), place.sandbox.read("theirs.o"));
    daemon.wait_for_lines("denied by access list", 2);
    place.finish(daemon);
}

#[test]
fn a_refused_compiler_leaves_real_clients_with_a_result_and_a_reason() {
    let place = Place::new();
    for name in ["gcc", "x86_64-linux-gnu-gcc"] {
        std::fs::remove_file(place.path("lib/distcc").join(name)).unwrap();
    }
    if std::path::Path::new("/usr/lib/distcc/gcc").exists() {
        // This machine's own directory would admit gcc; a name it has never heard of is refused as well.
        std::os::unix::fs::symlink("/usr/bin/gcc", place.path("compilers/strange-gcc")).unwrap();
    }
    let daemon = place.start(&[]);
    place.sandbox.write("a.c", "int a(void) { return 7; }\n");
    std::os::unix::fs::symlink("/usr/bin/gcc", place.path("bin/strange-gcc")).unwrap();
    let path = format!("{}:/usr/bin:/bin", place.path("bin").display());
    let ours = ["strange-gcc", "-c", "a.c", "-o", "ours.o"];
    let run = place.sandbox.distcc(ours).env("PATH", &path).hosts(&daemon.guard.host()).run();
    assert!(run.status.success(), "{run}");
    assert_eq!(run.err_lines_with("ln -s $(command -v distcc)"), 1, "{run}");
    assert!(run.err().contains("strange-gcc"), "{run}");
    let theirs = ["strange-gcc", "-c", "a.c", "-o", "theirs.o"];
    let run = place.sandbox.debian_distcc(theirs).env("PATH", &path).env("DISTCC_DIR", place.path("marks"));
    let run = run.hosts(&daemon.guard.host()).run();
    assert!(run.status.success(), "{run}");
    assert_eq!(place.sandbox.read("ours.o"), place.sandbox.read("theirs.o"));
    // The server has a reason in its log, too, and goes on.
    daemon.wait_for_lines("Warning: refused 127.0.0.1", 2);
    assert_eq!(daemon.ask(&job("printf x >$out")).unwrap().object, b"x");
    place.finish(daemon);
}
