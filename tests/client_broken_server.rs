//! Servers that break the protocol, lie, stall or leave: each job still ends with the right object, in
//! bounded time, and with nothing left behind.
//!
//! The servers are threads that speak raw bytes.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use support::Sandbox;

/// What such a server does with a connection.
type Behaviour = fn(TcpStream);

/// A server that behaves as told towards any number of clients. Its thread ends with the test program.
fn serve(behaviour: Behaviour) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            // A test that fails must not hang here.
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            thread::spawn(move || behaviour(stream));
        }
    });
    host
}

/// Reads a whole plain request: up to the end of DOTI's body.
fn read_request(stream: &mut TcpStream) {
    let mut header = [0; 12];
    loop {
        if stream.read_exact(&mut header).is_err() {
            return;
        }
        let number = u64::from_str_radix(std::str::from_utf8(&header[4..]).unwrap(), 16).unwrap();
        if matches!(&header[..4], b"ARGV" | b"DOTI") {
            let _ = std::io::copy(&mut Read::by_ref(stream).take(number), &mut std::io::sink());
        }
        if &header[..4] == b"DOTI" {
            return;
        }
    }
}

/// Answers a request with these bytes, and closes.
fn answer(mut stream: TcpStream, reply: &[u8]) {
    read_request(&mut stream);
    let _ = stream.write_all(reply);
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read(&mut [0]);
}

/// Waits until the client leaves.
fn stall(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 64]);
    while matches!(stream.read(&mut [0; 4096]), Ok(count) if count > 0) {}
}

/// A complete reply of version 1 whose object is 4 bytes.
const REPLY: &[u8] = b"DONE00000001STAT00000000SERR00000000SOUT00000000DOTO00000004ELF!";

/// What the server does, and whether its object counts in the end.
const SERVERS: &[(&str, Behaviour, bool)] = &[
    ("closes after accepting", |stream| drop(stream), false),
    ("resets while the request is sent", |mut stream| drop(stream.read(&mut [0; 8])), false),
    ("closes without an answer", |stream| answer(stream, b""), false),
    ("closes after 1 byte", |stream| answer(stream, &REPLY[..1]), false),
    ("closes after 11 bytes", |stream| answer(stream, &REPLY[..11]), false),
    ("closes after DONE", |stream| answer(stream, &REPLY[..12]), false),
    ("closes after STAT", |stream| answer(stream, &REPLY[..24]), false),
    ("closes within SOUT", |stream| answer(stream, &REPLY[..42]), false),
    ("closes before the object", |stream| answer(stream, &REPLY[..60]), false),
    ("closes within the object", |stream| answer(stream, &REPLY[..62]), false),
    ("sends garbage", |stream| answer(stream, &[0xa5; 4096]), false),
    ("speaks HTTP", |stream| answer(stream, b"HTTP/1.0 400 Bad Request\r\n\r\nno such thing here\n"), false),
    ("answers in another version", |stream| answer(stream, &[b"DONE00000002", &REPLY[12..]].concat()), false),
    ("sends no hexadecimal digits", |stream| answer(stream, b"DONE0000000x"), false),
    ("announces 4 GiB of messages", |stream| answer(stream, b"DONE00000001STAT00000000SERRffffffff"), false),
    (
        "announces 4 GiB of object",
        |stream| answer(stream, b"DONE00000001STAT00000000SERR00000000SOUT00000000DOTOffffffffshort"),
        false,
    ),
    ("swaps the tokens", |stream| answer(stream, b"DONE00000001STAT00000000SOUT00000000SERR00000000"), false),
    (
        "sends an object after a failure",
        |stream| answer(stream, b"DONE00000001STAT00000100SERR00000000SOUT00000000DOTO00000004ELF!"),
        false,
    ),
    ("never answers", |stream| stall(stream), false),
    (
        "falls silent within the object",
        |mut stream| {
            read_request(&mut stream);
            let _ = stream.write_all(&REPLY[..62]);
            stall(stream);
        },
        false,
    ),
    (
        "sends one byte at a time",
        |mut stream| {
            read_request(&mut stream);
            for byte in REPLY {
                // Slower than no server, but never silent as long as the client's patience.
                let _ = stream.write_all(&[*byte]);
                thread::sleep(Duration::from_millis(20));
            }
        },
        true,
    ),
    ("sends more than a reply", |stream| answer(stream, &[REPLY, b"and something more"].concat()), true),
    (
        "keeps the connection open after the reply",
        |mut stream| {
            read_request(&mut stream);
            let _ = stream.write_all(REPLY);
            stall(stream);
        },
        true,
    ),
];

/// The patience of the clients, in seconds.
const IO_TIMEOUT: &str = "1";

#[test]
fn broken_servers_cost_time_but_never_the_result() {
    let sandbox = Sandbox::new();
    sandbox.write("a.c", "int a(void) { return 1; }\n");
    assert_eq!(sandbox.command("gcc").args(["-c", "a.c", "-o", "local.o"]).run().code(), 0);
    let local = sandbox.read("local.o");
    for (what, behaviour, counts) in SERVERS {
        let host = serve(*behaviour);
        let began = Instant::now();
        sandbox.write("a.o", "an old object");
        let run = sandbox
            .distcc(["gcc", "-c", "a.c"])
            .hosts(&host)
            .env("DISTCC_IO_TIMEOUT", IO_TIMEOUT)
            .within(Duration::from_secs(10))
            .run();
        assert_eq!(run.code(), 0, "{what}: {run}");
        let expected: &[u8] = if *counts { b"ELF!" } else { &local };
        assert_eq!(sandbox.read("a.o"), expected, "{what}: {run}");
        assert!(began.elapsed() < Duration::from_secs(4), "{what}: {:?}", began.elapsed());
        if *counts {
            assert_eq!(run.err(), "", "{what}: {run}");
        } else {
            assert!(run.err().contains(&host), "{what}: {run}");
            assert!(run.err().lines().count() <= 3, "{what}: {run}");
        }
        assert_eq!(sandbox.tree().names(), ["a.c", "a.o", "local.o"], "{what}");
    }
    sandbox.finish([]);
}

/// Without a local compilation the user gets the class of the fault.
#[test]
fn broken_servers_have_exit_codes() {
    let sandbox = Sandbox::new();
    sandbox.write("a.c", "int a(void) { return 1; }\n");
    for (what, behaviour, codes) in [
        ("no answer", SERVERS[2].1, [107, 108].as_slice()),
        ("garbage", SERVERS[10].1, &[109]),
        ("another version", SERVERS[12].1, &[109]),
        ("cut short", SERVERS[9].1, &[107, 108]),
        ("silent", SERVERS[18].1, &[118]),
    ] {
        let host = serve(behaviour);
        let run = sandbox
            .distcc(["gcc", "-c", "a.c"])
            .hosts(&host)
            .env("DISTCC_IO_TIMEOUT", IO_TIMEOUT)
            .env("DISTCC_FALLBACK", "0")
            .run();
        assert!(codes.contains(&run.code()), "{what}: {run}");
        assert!(!sandbox.work("a.o").exists(), "{what}: {run}");
    }
    sandbox.finish([]);
}

#[test]
fn a_broken_compressed_reply_is_no_object() {
    let sandbox = Sandbox::new();
    sandbox.write("a.c", "int a(void) { return 1; }\n");
    let behaviours: [Behaviour; 4] = [
        |stream| {
            answer(stream, b"DONE00000002STAT00000000SERR00000000SOUT00000000DOTO00000004\xff\xff\xff\xff")
        },
        |stream| answer(stream, b"DONE00000002STAT00000000SERR00000003\x00\x00\x00SOUT00000000DOTO00000000"),
        // Messages of 85 MiB in a third of a MiB.
        |stream| {
            let bomb = [b"\x02AAAAA\x20".as_slice(), &[0; 350_000], b"\xb6\x10\x00\x11\x00\x00"].concat();
            let head = format!("DONE00000002STAT00000000SERR{:08x}", bomb.len());
            let tail = b"SOUT00000000DOTO00000005\x12a\x11\0\0";
            answer(stream, &[head.as_bytes(), &bomb, tail].concat())
        },
        // A stream that ends in the middle of a run.
        |stream| {
            answer(stream, b"DONE00000002STAT00000000SERR00000000SOUT00000000DOTO00000005\x12aa\x20\x00")
        },
    ];
    for behaviour in behaviours {
        let host = serve(behaviour);
        let run = sandbox.distcc(["gcc", "-c", "a.c"]).hosts(&format!("{host},lzo")).run();
        assert_eq!(run.code(), 0, "{run}");
        assert!(sandbox.read("a.o").starts_with(b"\x7fELF"), "{run}");
        assert!(run.stderr.len() < 1000, "{} bytes of messages", run.stderr.len());
        std::fs::remove_file(sandbox.work("a.o")).unwrap();
    }
    sandbox.finish([]);
}

/// A slow transfer that moves is not cut, however long it takes in all.
#[test]
fn patience_is_for_silence_and_not_for_the_whole() {
    let sandbox = Sandbox::new();
    sandbox.write("a.c", "int a(void) { return 1; }\n");
    let host = serve(|mut stream| {
        read_request(&mut stream);
        for part in REPLY.chunks(16) {
            let _ = stream.write_all(part);
            thread::sleep(Duration::from_millis(500));
        }
    });
    let run = sandbox.distcc(["gcc", "-c", "a.c"]).hosts(&host).env("DISTCC_IO_TIMEOUT", "1").run();
    run.assert_quiet_success();
    assert!(run.elapsed > Duration::from_millis(1500), "{:?}", run.elapsed);
    assert_eq!(sandbox.read("a.o"), b"ELF!");
    sandbox.finish([]);
}

/// An address that swallows connections; nothing listens there and nothing refuses.
#[test]
fn connecting_is_given_up_after_its_time() {
    let sandbox = Sandbox::new();
    sandbox.write("a.c", "int a(void) { return 1; }\n");
    // A listener whose queue is full does not answer.
    let listener = socket_with_full_queue();
    let host = listener.0.local_addr().unwrap().to_string();
    let run = sandbox.distcc(["gcc", "-c", "a.c"]).hosts(&host).env("DISTCC_CONNECT_TIMEOUT", "1").run();
    assert_eq!(run.code(), 0, "{run}");
    assert!(run.err().contains(&host), "{run}");
    assert!(run.elapsed >= Duration::from_millis(900), "{:?}: {run}", run.elapsed);
    assert!(run.elapsed < Duration::from_secs(3), "{:?}", run.elapsed);
    sandbox.finish([]);
}

/// A listener that accepts nothing, and connections that fill its queue.
fn socket_with_full_queue() -> (TcpListener, Vec<TcpStream>) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let listener: TcpListener = socket.into();
    let address = listener.local_addr().unwrap();
    let mut streams = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        streams.push(stream);
        assert!(streams.len() < 64, "the queue is never full");
    }
    (listener, streams)
}
