//! What clients must not do, done to a real daemon with raw bytes: it survives, answers with a reason where the
//! protocol has room for one, serves the next honest job at once, and leaves nothing in TMPDIR.

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use raw::{
    Daemon, Place, SOON, body, bomb, closes, job, packet, read_reply, request, request_head, wait_for_end,
};
use support::{PATIENCE, tree_of, wait_until};

const HELLO: [&str; 5] = ["cc", "-c", "hello.c", "-o", "hello.o"];

#[test]
fn what_is_no_request_is_dropped() {
    let place = Place::new();
    let daemon = place.start(&[]);
    for garbage in [
        b"GET / HTTP/1.1\r\nHost: build\r\n\r\n".to_vec(),
        b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"dist00000001".to_vec(),
        b"ARGC00000001".to_vec(),
        b"DIST0000000g".to_vec(),
        b"DIST0x000001".to_vec(),
        b"DIST-0000001".to_vec(),
        b"DISTDISTDIST".to_vec(),
        packet("DIST", 4, b""),
        packet("DIST", 0xffff_ffff, b""),
        vec![0; 100_000],
        vec![0xff; 100_000],
    ] {
        let mut stream = daemon.connect();
        // The daemon may close before it has taken everything.
        let _ = stream.write_all(&garbage);
        assert!(closes(&mut stream), "{} is answered", garbage[..12].escape_ascii());
    }
    daemon.wait_for_lines("REJ_BAD_REQ", 13);
    daemon.assert_unharmed();
    place.finish(daemon);
}

#[test]
fn broken_requests_are_answered_with_a_reason() {
    let place = Place::new();
    let daemon = place.start(&[]);
    let head = |rest: &[u8]| [packet("DIST", 1, b"").as_slice(), rest].concat();
    let after_argv = |rest: &[u8]| [request_head(1, &HELLO).as_slice(), rest].concat();
    let cases: Vec<(&str, Vec<u8>, u32, &str)> = vec![
        ("no ARGC", head(b"ARGV00000001x"), 109, "expected token ARGC"),
        ("bad hex", head(b"ARGC0000000x"), 109, "bad number after token ARGC"),
        ("no words", head(b"ARGC00000000"), 109, "request without arguments"),
        ("2^32-1 words", head(b"ARGCffffffff"), 105, "limit"),
        ("a word of 4 GiB", head(b"ARGC00000001ARGVffffffff"), 105, "limit"),
        ("a NUL", head(b"ARGC00000001ARGV00000003c\0c"), 109, "NUL"),
        ("no DOTI", after_argv(b"FILE00000001x"), 109, "expected token DOTI"),
        ("bad DOTI length", after_argv(b"DOTI        "), 109, "bad number after token DOTI"),
        ("a source of 4 GiB", after_argv(b"DOTIffffffff"), 105, "limit"),
    ];
    for (what, bytes, code, words) in cases {
        let reply = daemon.ask(&bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((reply.version, reply.status), (1, code << 8), "{what}: {reply:?}");
        assert!(reply.stderr.starts_with("distccd: ") && reply.stderr.contains(words), "{what}: {reply:?}");
        assert!(reply.stdout.is_empty() && reply.object.is_empty(), "{what}");
    }
    daemon.assert_unharmed();
    place.finish(daemon);
}

#[test]
fn names_cannot_forge_lines_of_the_log() {
    let place = Place::new();
    let daemon = place.start(&[]);
    let forged = "x\ndistccd[1] (dcc_job_summary) forged\x1b[2J";
    let source = format!("{forged}.c");
    let reply = daemon.ask(&request(1, &["cc", "-c", &source, "-o", "a.o"], b"printf x >$out\n")).unwrap();
    assert_eq!(reply.object, b"x");
    for argv in [[forged, "-c", "a.c"], ["cc", "-c", &format!("{forged}.s")]] {
        let reply = daemon.ask(&request(1, &argv, b"")).unwrap();
        assert_eq!(reply.stderr.lines().count(), 1, "{reply:?}");
        assert!(!reply.stderr.contains('\x1b'), "{reply:?}");
    }
    let lines = daemon.wait_for_lines("(dcc_job_summary) client", 3);
    assert!(lines[0].contains(" cc x\\ndistccd[1]"), "{}", lines[0]);
    let log = daemon.guard.log();
    assert!(!log.contains('\x1b') && !log.contains("\ndistccd[1]"), "{log}");
    place.finish(daemon);
}

#[test]
fn old_readers_leniency_is_kept() {
    let place = Place::new();
    let daemon = place.start(&[]);
    let request = String::from_utf8(job("printf '\\125' >$out")).unwrap();
    for (from, to) in
        [("DIST00000001", "DIST       1"), ("DOTI00000014", "DOTI      14"), ("ARGV00000002", "ARGV 0000002")]
    {
        assert!(request.contains(from), "{request}");
        let reply = daemon.ask(request.replace(from, to).as_bytes()).unwrap();
        assert_eq!((reply.version, reply.status, reply.object.as_slice()), (1, 0, b"U".as_slice()), "{to}");
    }
    // Upper case needs a length with a letter in it.
    let source = b"printf x >$out       \n     ";
    assert_eq!(source.len(), 0x1b);
    let reply = daemon.ask(&[request_head(1, &HELLO), packet("DOTI", 0x1b, source)].concat()).unwrap();
    let upper = daemon.ask(&[&request_head(1, &HELLO), b"DOTI0000001B".as_slice(), source].concat()).unwrap();
    assert_eq!(reply, upper);
    assert_eq!(upper.object, b"x");
    // Version 0 is version 1, and is answered as it asked.
    let zero = request.replace("DIST00000001", "DIST00000000");
    let reply = daemon.ask(zero.as_bytes()).unwrap();
    assert_eq!((reply.version, reply.status, reply.object.as_slice()), (0, 0, b"U".as_slice()));
    place.finish(daemon);
}

#[test]
fn commands_that_must_not_run_are_refused_with_a_reason() {
    let place = Place::new();
    let daemon = place.start(&[]);
    let ran = format!("echo ran >{}", place.mark("ran").display());
    for (argv, words) in [
        (["cc", "-c", "a.c", "-MT"].as_slice(), "-MT"),
        (&["cc", "-c", "a.c", "-o"], "-o"),
        (&["cc", "-c", "a.c", "-MF"], "-MF"),
        (&["-c", "-c", "a.c"], "-c"),
        (&["--help"], "--help"),
        (&["cc", "-c", "a.c", "-fplugin=./evil.so"], "-fplugin=./evil.so"),
        (&["cc", "-c", "a.c", "-specs=evil.specs"], "-specs=evil.specs"),
        (&["cc", "-c", "a.c", "--specs=evil.specs"], "--specs=evil.specs"),
        (&["cc", "-c", "a.c", "-specs", "evil.specs"], "-specs"),
        (&["cc", "-c", "a.c", "-wrapper", "sh,-c,evil"], "-wrapper"),
        (&["cc", "-c", "a.c", "@/etc/passwd"], "@/etc/passwd"),
        (&["cc", "-c", "a.c", "-B/tmp/evil"], "-B"),
        (&["cc", "-c", "a.c", "-Xclang", "-load", "-Xclang", "evil.so"], "-Xclang"),
        (&["cc", "-c", "a.c", "b.c"], "b.c"),
        (&["cc", "a.c", "-o", "a"], "-c"),
        (&["cc", "-E", "a.c"], "-E"),
        (&["cc", "-c", "-o", "a.o"], "source"),
        (&["cc", "-c", "a.s"], "a.s"),
        (&["/opt/evil/cc", "-c", "a.c"], "/opt/evil/cc"),
        (&["../cc", "-c", "a.c"], "../cc"),
        (&["/bin/../compilers/cc", "-c", "a.c"], "compilers/cc"),
        (&["sh", "-c", "a.c"], "ln -s"),
        (&["", "-c", "a.c"], ""),
    ] {
        let reply = daemon.ask(&request(1, argv, ran.as_bytes())).unwrap_or_else(|e| panic!("{argv:?}: {e}"));
        assert!(reply.refusal().is_some(), "{argv:?}: {reply:?}");
        assert!(reply.stderr.contains(words), "{argv:?}: {}", reply.stderr);
        assert!(reply.object.is_empty());
    }
    assert!(!place.mark("ran").exists());
    daemon.assert_unharmed();
    place.finish(daemon);
}

#[test]
fn compressed_rubbish_is_refused_without_eating_memory() {
    let place = Place::new();
    let daemon = place.start(&[]);
    let compressed = |stream: &[u8]| [request_head(2, &HELLO), body("DOTI", stream)].concat();
    let mut cut = distcc::protocol::lzo::Compressor::new().compress(&b"int x;\n".repeat(100));
    cut.truncate(cut.len() - 4);
    for (what, stream, code) in [
        ("no LZO", b"this is plainly not compressed data".to_vec(), 107),
        ("cut short", cut, 107),
        ("a match before the first byte", b"\x40\xff\xff\x11\0\0".to_vec(), 107),
        ("only zeros", vec![0; 1000], 107),
        ("a bomb of 1.2 GiB", bomb(5 << 20), 105),
    ] {
        let began = Instant::now();
        let reply = daemon.ask(&compressed(&stream)).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((reply.version, reply.refusal()), (2, Some(code)), "{what}: {reply:?}");
        assert!(reply.stderr.contains("source"), "{what}: {reply:?}");
        assert!(began.elapsed() < PATIENCE / 2, "{what} took {:?}", began.elapsed());
    }
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 200 << 10, "the daemon used {peak} kB");
    daemon.assert_unharmed();
    place.finish(daemon);
}

#[test]
fn unfinished_compressed_sources_take_no_memory() {
    let place = Place::new();
    let daemon = place.start(&[]);
    let before = daemon.own_memory();
    let bytes = [request_head(2, &HELLO), packet("DOTI", 1 << 30, &[0; 4 << 20])].concat();
    let clients: Vec<_> = (0..12)
        .map(|_| {
            let mut stream = daemon.connect();
            stream.write_all(&bytes).unwrap();
            stream
        })
        .collect();
    let on_disk = || tree_of(daemon.guard.temporary()).0.values().map(Vec::len).sum::<usize>();
    wait_until("all that was sent on disk", || on_disk() == clients.len() * (4 << 20));
    daemon.assert_serves();
    let after = daemon.own_memory();
    assert!(after < before + (8 << 10), "{before} kB before, {after} kB after");
    drop(clients);
    daemon.assert_unharmed();
    place.finish(daemon);
}

#[test]
fn a_request_that_ends_early_is_forgotten() {
    let place = Place::new();
    let daemon = place.start(&[]);
    let whole = request(1, &HELLO, b"printf x >$out; exit 0 # and some more text behind it\n");
    // Every stage: within a header, between packets, within a word, within the source.
    for (index, cut) in
        [0, 3, 11, 12, 20, 24, 36, 37, 80, 100, whole.len() - 30, whole.len() - 1].iter().enumerate()
    {
        let mut stream = daemon.connect();
        stream.write_all(&whole[..*cut]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert!(closes(&mut stream), "cut at {cut}: answered");
        let summary = daemon.summary(index);
        let expected = if *cut == 0 { "OTHER" } else { "CLI_DISCONN" };
        assert!(summary.contains(expected), "cut at {cut}: {summary}");
    }
    daemon.assert_unharmed();
    place.finish(daemon);
}

#[test]
fn bytes_after_the_request_are_ignored() {
    let place = Place::new();
    let daemon = place.start(&[]);
    let extra = [job("printf x >$out"), b"and now for something completely different".to_vec()].concat();
    let reply = daemon.ask(&extra).unwrap();
    assert_eq!((reply.status, reply.object.as_slice()), (0, b"x".as_slice()));

    let mut stream = daemon.connect();
    stream
        .write_all(&job(
            "echo >$marks/started; while ! [ -e $marks/go ]; do sleep 0.01; done; printf y >$out",
        ))
        .unwrap();
    place.wait_for_mark("started");
    stream.write_all(b"still there?").unwrap();
    fs::write(place.mark("go"), "").unwrap();
    let reply = read_reply(&mut stream).unwrap();
    assert_eq!((reply.status, reply.object.as_slice()), (0, b"y".as_slice()));
    place.finish(daemon);
}

#[test]
fn a_flood_after_the_request_ends_the_job() {
    let place = Place::new();
    let daemon = place.start(&[]);
    let mut stream = daemon.connect();
    stream.write_all(&job("echo $$ >$marks/pid; sleep 60")).unwrap();
    let compiler = place.wait_for_pid("pid");
    let _ = stream.write_all(&vec![b'x'; 1 << 20]);
    wait_for_end(compiler);
    assert!(daemon.summary(0).contains("CLI_DISCONN"));
    daemon.assert_unharmed();
    place.finish(daemon);
}

#[test]
fn half_closing_ends_the_job_as_in_3_4() {
    let place = Place::new();
    let daemon = place.start(&[]);
    let mut stream = daemon.connect();
    stream.write_all(&job("echo $$ >$marks/pid; sleep 60")).unwrap();
    let compiler = place.wait_for_pid("pid");
    stream.shutdown(Shutdown::Write).unwrap();
    let began = Instant::now();
    stream.read_to_end(&mut Vec::new()).unwrap();
    assert!(began.elapsed() < SOON);
    wait_for_end(compiler);
    assert!(daemon.summary(0).contains("CLI_DISCONN"));
    daemon.assert_unharmed();
    place.finish(daemon);
}

#[test]
fn a_request_may_come_one_byte_at_a_time() {
    let place = Place::new();
    let daemon = place.start(&[]);
    for version in [1, 2] {
        let mut stream = daemon.connect();
        for byte in request(version, &HELLO, b"printf slow >$out\n") {
            stream.write_all(&[byte]).unwrap();
        }
        let reply = read_reply(&mut stream).unwrap();
        assert_eq!((reply.status, reply.object.as_slice()), (0, b"slow".as_slice()));
    }
    place.finish(daemon);
}

#[test]
fn silence_is_cut_and_slowness_is_not() {
    let place = Place::new();
    let daemon =
        Daemon::start(place.daemon().env("DISTCC_IO_TIMEOUT", "1").env("DISTCC_TCP_DEFER_ACCEPT", "0"));
    let mut silent = daemon.connect();
    silent.write_all(&request_head(1, &HELLO)).unwrap();
    let began = Instant::now();
    let bytes = job("printf x >$out");
    let mut slow = daemon.connect();
    for part in bytes.chunks(bytes.len() / 6) {
        std::thread::sleep(Duration::from_millis(300));
        slow.write_all(part).unwrap();
    }
    let reply = read_reply(&mut slow).unwrap();
    assert_eq!(reply.object, b"x");
    assert!(began.elapsed() > Duration::from_millis(1500), "the test did not outlast the limit");
    let reply = read_reply(&mut silent).unwrap();
    assert_eq!(reply.refusal(), Some(118), "{reply:?}");
    drop(silent);
    daemon.assert_unharmed();
    place.finish(daemon);
}

#[test]
fn two_hundred_idle_clients_delay_nobody() {
    let place = Place::new();
    let daemon = Daemon::start(place.daemon().jobs(2).env("DISTCC_TCP_DEFER_ACCEPT", "0"));
    // The best of many: whatever else this machine does makes single jobs slower, and a crowd would make all of them.
    let best = || {
        let once = || {
            let began = Instant::now();
            daemon.assert_serves();
            began.elapsed()
        };
        (0..40).map(|_| once()).min().unwrap()
    };
    let alone = best();
    let head = request_head(1, &HELLO);
    // Nothing said, half a header, half a request: in equal parts.
    let idle: Vec<_> = (0..200)
        .map(|number| {
            let mut stream = daemon.connect();
            stream.write_all([b"".as_slice(), b"DIST0000", &head][number % 3]).unwrap();
            stream
        })
        .collect();
    daemon.wait_for_lines("connection from", 200);
    let crowded = best();
    drop(idle);
    daemon.assert_unharmed();
    // A daemon that has worked a while waits longer for a processor that others want, crowd or no crowd.
    let alone = alone.max(best());
    assert!(crowded < alone * 2 + Duration::from_millis(5), "{alone:?} alone, {crowded:?} in a crowd");
    place.finish(daemon);
}

/// Cuts a connection so that the other side gets a reset, not an end of file.
fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

#[test]
fn a_client_may_vanish_in_any_state() {
    let place = Place::new();
    let daemon = Daemon::start(place.daemon().jobs(1).env("DISTCC_TCP_DEFER_ACCEPT", "0"));
    let send = |bytes: &[u8]| {
        let mut stream = daemon.connect();
        stream.write_all(bytes).unwrap();
        stream
    };
    let incompressible: Vec<u8> =
        (0..6u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();

    let silent = send(b"");
    let receiving_words = send(&request_head(1, &HELLO)[..60]);
    let receiving_source =
        send(&[request_head(2, &HELLO), packet("DOTI", 9 << 20, &incompressible)].concat());
    let draining =
        send(&[request_head(1, &["sh", "-c", "a.c"]), packet("DOTI", 9 << 20, &[0; 99_999])].concat());
    let compiling = send(&job("echo $$ >$marks/pid; sleep 60"));
    let compiler = place.wait_for_pid("pid");
    let waiting = send(&job("echo >$marks/must-not-run"));
    let staging = send(&request(2, &HELLO, &incompressible));
    daemon.wait_for_lines("connection from", 7);
    daemon.wait_for_lines("compile from", 4);
    [silent, receiving_words, receiving_source, draining, waiting, staging].into_iter().for_each(reset);
    daemon.wait_for_lines("(dcc_job_summary)", 6);
    reset(compiling);
    wait_for_end(compiler);
    daemon.assert_unharmed();

    let replying = send(&job("head -c 30000000 /dev/zero >$out; echo >$marks/made"));
    place.wait_for_mark("made");
    daemon.wait_for_lines("completed ok", 2);
    reset(replying);
    daemon.wait_for_lines("(dcc_job_summary)", 9);
    assert!(daemon.summary(8).contains("CLI_DISCONN"), "{}", daemon.summary(8));
    daemon.assert_unharmed();
    assert!(!place.mark("must-not-run").exists());
    place.finish(daemon);
}

#[test]
fn what_is_no_object_file_is_no_object() {
    let place = Place::new();
    let daemon = place.start(&[]);
    for script in ["mkfifo $out", "ln -s /dev/zero $out", "mkdir $out"] {
        let reply = daemon.ask(&job(script)).unwrap();
        assert_eq!((reply.status, reply.object.as_slice()), (0, b"".as_slice()), "{script}");
    }
    // No file of a compiler becomes larger than an object may be.
    let reply = daemon.ask(&job("truncate -s 1T $out")).unwrap();
    assert!(reply.status != 0 && reply.object.is_empty(), "{reply:?}");
    assert!(reply.stderr.contains("File size limit exceeded"), "{reply:?}");
    daemon.assert_unharmed();
    place.finish(daemon);
}

/// A stream that unpacks to 255 MiB keeps a staging thread busy for a while.
#[test]
fn stopping_leaves_nothing_of_what_is_being_unpacked() {
    let place = Place::new();
    let daemon = place.start(&[]);
    let bytes = [request_head(2, &HELLO), body("DOTI", &bomb(1 << 20))].concat();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = daemon.connect();
            stream.write_all(&bytes).unwrap();
            stream
        })
        .collect();
    daemon.wait_for_lines("bytes received in", 4);
    place.finish(daemon);
    drop(clients);
}
