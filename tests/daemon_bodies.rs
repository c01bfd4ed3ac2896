//! Large objects and diagnostics, slow readers, and what exactly travels back.

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use raw::{Daemon, Place, Reply, job, read_reply, request};

/// Makes an object of 5 000 000 bytes and 3 000 000 bytes of diagnostics, of lines that do not repeat at once.
const BIG: &str = "seq 1000000000 1000500000 | head -c 5000000 >$out; \
                   seq 2000000000 2000300000 | head -c 3000000 >&2; printf out";

fn lines(from: u64, bytes: usize) -> Vec<u8> {
    let mut text = Vec::new();
    let mut number = from;
    while text.len() < bytes {
        text.extend(format!("{number}\n").into_bytes());
        number += 1;
    }
    text.truncate(bytes);
    text
}

#[track_caller]
fn assert_big(reply: &Reply) {
    assert_eq!((reply.status, reply.stdout.as_slice()), (0, b"out".as_slice()));
    assert!(reply.object == lines(1_000_000_000, 5_000_000), "the object is another one");
    assert!(reply.stderr.as_bytes() == lines(2_000_000_000, 3_000_000), "the diagnostics are others");
}

#[test]
fn big_outputs_arrive_whole_in_both_versions() {
    let place = Place::new();
    let daemon = place.start(&[]);
    for version in [1, 2] {
        let reply = daemon.ask(&request(version, &["cc", "-c", "a.c"], BIG.as_bytes())).unwrap();
        assert_eq!(reply.version as usize, version);
        assert_big(&reply);
    }
    // The server closes after its answer.
    let mut stream = daemon.connect();
    stream.write_all(&job("printf x >$out")).unwrap();
    read_reply(&mut stream).unwrap();
    assert!(raw::closes(&mut stream));
    place.finish(daemon);
}

#[test]
fn big_sources_arrive_whole_in_both_versions() {
    let place = Place::new();
    let daemon = place.start(&[]);
    let mut source = b"cp $src $out; exit 0\n".to_vec();
    source.extend(lines(3_000_000_000, 9_000_000));
    for version in [1, 2] {
        let reply = daemon.ask(&request(version, &["cc", "-c", "a.c"], &source)).unwrap();
        assert_eq!(reply.status, 0);
        assert!(reply.object == source, "version {version}: the source is another one");
    }
    place.finish(daemon);
}

#[test]
fn an_answer_has_exactly_what_the_compiler_left() {
    let place = Place::new();
    let daemon = place.start(&[]);
    for (script, status, stdout, stderr, object) in [
        ("printf x >$out", 0, "", "", "x"),
        ("printf o; printf e >&2; printf x >$out", 0, "o", "e", "x"),
        (":", 0, "", "", ""),
        ("printf x >$out; printf e >&2; exit 1", 1 << 8, "", "e", ""),
        ("printf x >$out; exit 255", 255 << 8, "", "", ""),
        ("printf x >$out; kill -KILL $$", 9, "", "", ""),
        ("printf '\\0\\377' >$out; printf 'a\\0b'", 0, "a\0b", "", "\0\u{fffd}"),
    ] {
        for version in [1, 2] {
            let reply = daemon.ask(&request(version, &["cc", "-c", "a.c"], script.as_bytes())).unwrap();
            assert_eq!(reply.status & !0x80, status, "{script}: {reply:?}");
            let texts = [raw::text(&reply.stdout), reply.stderr.clone(), raw::text(&reply.object)];
            assert_eq!(texts, [stdout, stderr, object], "{script}");
        }
    }
    place.finish(daemon);
}

/// Reads a whole answer, a piece at a time.
struct Slow {
    stream: TcpStream,
    piece: usize,
    pause: Duration,
    rest: usize,
}

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.rest == 0 {
            thread::sleep(self.pause);
            self.rest = self.piece;
        }
        let length = buffer.len().min(self.rest);
        let count = self.stream.read(&mut buffer[..length])?;
        self.rest -= count;
        Ok(count)
    }
}

#[test]
fn a_slow_reader_gets_everything_and_delays_nobody() {
    let place = Place::new();
    let daemon = Daemon::start(place.daemon().jobs(1).env("DISTCC_IO_TIMEOUT", "1"));
    let mut stream = daemon.connect();
    // Little room in the kernel, so that the daemon has to wait for the reader.
    socket2::SockRef::from(&stream).set_recv_buffer_size(64 << 10).unwrap();
    stream.write_all(&job(&format!("{BIG}; echo >$marks/made"))).unwrap();
    place.wait_for_mark("made");
    let began = Instant::now();
    let reader = thread::spawn(move || {
        let mut slow = Slow { stream, piece: 300_000, pause: Duration::from_millis(70), rest: 0 };
        read_reply(&mut slow).unwrap()
    });
    for _ in 0..5 {
        daemon.assert_serves();
    }
    assert_big(&reader.join().unwrap());
    assert!(began.elapsed() > Duration::from_millis(1500), "the test did not outlast the limit");
    place.finish(daemon);
}

#[test]
fn a_reader_that_stops_is_given_up_after_the_limit() {
    let place = Place::new();
    let daemon = Daemon::start(place.daemon().env("DISTCC_IO_TIMEOUT", "1"));
    let mut stream = daemon.connect();
    stream.write_all(&job("head -c 50000000 /dev/zero >$out")).unwrap();
    let began = Instant::now();
    let summary = daemon.summary(0);
    assert!(summary.contains("CLI_DISCONN"), "{summary}");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    daemon.assert_unharmed();
    drop(stream);
    place.finish(daemon);
}

#[test]
fn real_clients_bring_big_objects_home() {
    let place = Place::new();
    let daemon = place.start(&[]);
    place.sandbox.write("big.c", "char big[5000000] = {1};\n#warning mind the size\n");
    let local = place.sandbox.command("/usr/bin/gcc").args(["-c", "big.c", "-o", "local.o"]).run();
    let local_object = place.sandbox.read("local.o");
    assert!(local_object.len() > 5_000_000);
    for host in [daemon.guard.host(), daemon.guard.host_lzo()] {
        for (number, run) in [
            place.sandbox.distcc(["gcc", "-c", "big.c", "-o", "big.o"]),
            place.sandbox.debian_distcc(["gcc", "-c", "big.c", "-o", "big.o"]),
        ]
        .into_iter()
        .enumerate()
        {
            let run = run.hosts(&host).env("DISTCC_FALLBACK", "0").run();
            assert!(run.status.success(), "{number} {host}: {run}");
            assert_eq!(run.err_lines_with("mind the size"), local.err_lines_with("mind the size"), "{run}");
            assert!(place.sandbox.read("big.o") == local_object, "{number} {host}: another object");
        }
    }
    daemon.guard.wait_for_jobs(4);
    place.finish(daemon);
}
