//! lsdistcc: what it prints of servers of both makers, of servers that are none, and of hosts that are not there; beside
//! lsdistcc 3.4. Networks of many hosts are in probe_network.rs.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use support::faults::with_limit;
use support::{Daemon, Outcome, Run, Sandbox, free_port, require, wait_until};

/// Address space that suffices however much a server sends, in kilobytes: threads take some before they use it.
const MEMORY_MAX: u32 = 400_000;

/// Our lsdistcc, looking at one port.
fn ours(sandbox: &Sandbox, port: u16, words: &str) -> Run {
    sandbox.applet("lsdistcc").args([format!("-r{port}")]).args(words.split_whitespace())
}

/// That of 3.4.
fn theirs(sandbox: &Sandbox, port: u16, words: &str) -> Run {
    let words = [format!("-r{port}")].into_iter().chain(words.split_whitespace().map(str::to_owned));
    sandbox.command(require("lsdistcc")).args(words)
}

/// Exit status and lines in an order of their own: those of several hosts come as they come.
fn told(run: &Outcome) -> (i32, Vec<String>) {
    let mut lines: Vec<String> = run.out().lines().map(str::to_owned).collect();
    lines.sort();
    (run.code(), lines)
}

fn daemons(sandbox: &Sandbox) -> [Daemon; 2] {
    // The first test job of a compiler that is not in memory yet may be slow on a busy machine.
    let daemons = [sandbox.daemon().start(), sandbox.debian_daemon().start()];
    for daemon in &daemons {
        let run = ours(sandbox, daemon.port(), "-pgcc -k20000 -t30 127.0.0.1").run();
        assert_eq!(run.out(), format!("127.0.0.1:{}\n", daemon.port()), "{run}");
    }
    daemons
}

#[test]
fn both_say_the_same_of_servers_of_both_makers() {
    let sandbox = Sandbox::new();
    let daemons = daemons(&sandbox);
    for daemon in &daemons {
        for words in [
            "localhost",
            "127.0.0.1 localhost 127.0.0.1",
            "-n localhost",
            "-P2 localhost",
            "-P3 -n localhost",
            "-k9000 -pgcc localhost",
            "-k9000 -pgcc -P2 localhost",
            "-k9000 -pgcc -P3 localhost",
            "-k9000 -px86_64-linux-gnu-gcc -P3 -n localhost 127.0.0.1",
            "-k9000 -pno-such-compiler localhost",
            "-k9000 -pno-such-compiler -x -P3 localhost",
            "-k9000 -p/bin/sh -x localhost",
            "-k0 -pno-such-compiler localhost",
            "-c0 -pno-such-compiler localhost",
            "-c localhost",
            "-x 127.0.0.1 127.0.0.77",
            "-m8 127.0.0.1 127.0.0.1",
            "localhost -x",
            "no-such-host.invalid",
            "-x no-such-host.invalid localhost",
            "-x localhost%s",
            "-g2 no-such-host-%d.invalid",
        ] {
            let (ours, theirs) =
                (ours(&sandbox, daemon.port(), words).run(), theirs(&sandbox, daemon.port(), words).run());
            assert_eq!(told(&ours), told(&theirs), "{words}\n{ours}\n{theirs}");
            assert_eq!(ours.err(), "", "{ours}");
        }
    }
    sandbox.finish(daemons);
}

#[test]
fn wrong_calls_are_those_of_3_4() {
    let sandbox = Sandbox::new();
    let port = free_port();
    for words in [
        "-t", "-tx", "-t-1", "-h-1", "-c-1", "-k-1", "-m31", "-m32", "-m-1", "-o0", "-o-1", "-g-1",
        "-g500000", "-r0", "-rx", "-P", "-P0", "-P3", "-P4", "-p", "-lx", "-v5", "-", "--", "-z", "--help",
    ] {
        let line = format!("{words} 127.0.0.1");
        let (ours, theirs) = (ours(&sandbox, port, &line).run(), theirs(&sandbox, port, &line).run());
        assert_eq!(ours.code(), theirs.code(), "{ours}\n{theirs}");
        assert_eq!(ours.out().starts_with("Usage: lsdistcc"), theirs.out().starts_with("Usage"), "{ours}");
    }
    let run = ours(&sandbox, port, "-P9 h").run();
    assert!(run.err().contains("-P9: not a value this option takes"), "{run}");
    assert!(ours(&sandbox, port, "-z").run().err().contains("-z: no such option"));
    assert_eq!(ours(&sandbox, port, "--help").run().err(), "");
    let many = "127.0.0.1 ".repeat(600);
    assert_eq!(ours(&sandbox, port, &format!("-x {many}")).run().out().lines().count(), 600);
    let too_many = "h ".repeat(5000);
    let run = ours(&sandbox, port, &too_many).run();
    assert!(run.code() == 1 && run.err().contains("5000 hosts are more than 4096"), "{}", run.err());
}

#[test]
fn the_reason_is_told_where_asked_for() {
    let sandbox = Sandbox::new();
    let [our_daemon, their_daemon] = daemons(&sandbox);
    let closed = free_port();
    for (port, words, reason) in [
        (our_daemon.port(), "-pno-such-cc", "down: refused the test job (compiler missing): "),
        (their_daemon.port(), "-pno-such-cc", "down: closed the connection without an answer: "),
        (closed, "", "down: connect to 127.0.0.1:"),
        (closed, "", ": Connection refused"),
        (our_daemon.port(), "-v -k9000 -pgcc -P3", "up at 127.0.0.1:"),
        (our_daemon.port(), "-v", "localhost: connecting to "),
        (closed, "no-such-host.invalid", "no-such-host.invalid: not found: "),
    ] {
        let run = ours(&sandbox, port, &format!("-v -k9000 {words} localhost")).run();
        assert!(run.err().contains(reason), "no {reason:?} in {run}");
    }
    // Who may not connect at all hears it from ours.
    let other = sandbox.daemon().args(["--allow", "192.0.2.1"]).start();
    let run = ours(&sandbox, other.port(), "-v -k9000 -pgcc 127.0.0.1").run();
    assert!(run.out().is_empty() && run.err().contains("refused the test job (access denied)"), "{run}");
    sandbox.finish([our_daemon, their_daemon, other]);
}

/// distcc-ng's findings 145 and 226 are a name that overflows a buffer and one that is a format.
#[test]
fn names_are_names() {
    let sandbox = Sandbox::new();
    let port = free_port();
    let long = "x".repeat(100_000);
    for name in
        [&long, "%s%n%s%n", "%n%d%s%s%s", "%x", "\u{1b}]0;x\u{7}", "a\nb", "", "-x", "h ost", "..", "[", "]["]
    {
        let run = ours(&sandbox, port, "-v -v -x 127.0.0.1").args([name]).run();
        assert_eq!((run.code(), run.out()), (0, format!("127.0.0.1:{port},down\n")), "{}", run.err());
        assert!(run.err().lines().all(|line| line.starts_with("lsdistcc[")), "{run}");
        assert!(!run.err().contains('\u{1b}'), "{run}");
        let run = ours(&sandbox, port, "-x -t5").args([name]).run();
        assert!(run.out().is_empty() || run.out().starts_with("Usage"), "{}", run.err());
        assert_eq!(run.code(), 1, "{}", run.err());
    }
    let run = ours(&sandbox, port, "-c0 -l localhost").run();
    assert_eq!((run.code(), run.out()), (0, format!("localhost:{port} 0\n")), "{run}");
    sandbox.finish([]);
}

#[test]
fn ipv6_works_like_ipv4() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().listen("::1").start();
    let port = daemon.port();
    for (words, expected) in [
        ("::1", format!("[::1]:{port}\n")),
        ("[::1]", format!("[::1]:{port}\n")),
        ("-n -k9000 -pgcc -P3 ::1", format!("[::1]:{port},lzo,cpp\n")),
        ("-x 127.0.0.1", format!("127.0.0.1:{port},down\n")),
    ] {
        let run = ours(&sandbox, port, words).run();
        assert_eq!((run.code(), run.out()), (0, expected), "{run}");
    }
    // What is printed is a host list, whatever the address.
    let run = sandbox.distcc(["--show-hosts"]).hosts(&ours(&sandbox, port, "-n ::1").run().out()).run();
    assert_eq!(run.out(), format!("[::1]:{port}\n"), "{run}");
    sandbox.finish([daemon]);
}

/// Servers that do something with each connection: the address of each, and a port that is the same for all.
fn serve(behaviours: &[Behaviour]) -> (u16, Vec<String>) {
    'port: loop {
        let port = free_port();
        let mut listeners = Vec::new();
        for number in 0..behaviours.len() {
            let Ok(listener) = TcpListener::bind(SocketAddr::from(([127, 0, 3, number as u8 + 1], port)))
            else {
                continue 'port;
            };
            listeners.push(listener);
        }
        let addresses = listeners.iter().map(|listener| listener.local_addr().unwrap().ip().to_string());
        let addresses = addresses.collect();
        for (listener, behaviour) in listeners.into_iter().zip(behaviours) {
            let behaviour = *behaviour;
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    thread::spawn(move || behaviour(stream));
                }
            });
        }
        return (port, addresses);
    }
}

/// Sends this as often as it is taken.
fn flood(mut stream: TcpStream, head: &[u8]) {
    let _ = stream.write_all(head);
    while stream.write_all(&[b'x'; 65536]).is_ok() {}
}

fn read_request(stream: &mut TcpStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"foo(){return 0;}") {
        let mut piece = [0; 512];
        match stream.read(&mut piece) {
            Ok(count @ 1..) => request.extend_from_slice(&piece[..count]),
            _ => return,
        }
    }
}

/// What a server does with a connection.
type Behaviour = fn(TcpStream);

const DONE: &[u8] = b"DONE00000001STAT00000000SERR00000000SOUT00000000DOTO00000003obj";

#[test]
fn servers_that_are_none() {
    let sandbox = Sandbox::new();
    let cases: [(Behaviour, &str); 15] = [
        (
            |mut stream| {
                read_request(&mut stream);
                let _ = stream.write_all(DONE);
            },
            "up at ",
        ),
        (
            |mut stream| {
                read_request(&mut stream);
                for byte in DONE {
                    thread::sleep(Duration::from_millis(5));
                    let _ = stream.write_all(&[*byte]);
                }
            },
            "up at ",
        ),
        (|stream| flood(stream, b""), "is no compile server of this protocol: expected token DONE"),
        (|stream| flood(stream, b"DONE00000001STAT00000000SERRffffffff"), "beyond the limit"),
        (|stream| flood(stream, b"DONE00000001STAT00000000SERR00040000"), "expected token SOUT"),
        (|stream| flood(stream, DONE), "sent more than an answer"),
        (
            |stream| flood(stream, b"DONE00000001STAT00000000SERR00000000SOUT00000000DOTO7fffffff"),
            "the object",
        ),
        (
            |stream| drop((stream, thread::sleep(Duration::from_secs(4)))),
            "did not finish the test job within 1500 ms",
        ),
        (
            |mut stream| {
                let _ = stream.write_all(&DONE[..20]);
                thread::sleep(Duration::from_secs(4));
            },
            "did not finish the test job within 1500 ms",
        ),
        (
            // Answers, and leaves the connection open.
            |mut stream| {
                read_request(&mut stream);
                let _ = stream.write_all(DONE);
                thread::sleep(Duration::from_secs(4));
            },
            "did not finish the test job within 1500 ms",
        ),
        (
            |mut stream| {
                for byte in DONE {
                    let _ = stream.write_all(&[*byte]);
                    thread::sleep(Duration::from_millis(100));
                }
            },
            "did not finish the test job within 1500 ms",
        ),
        (|stream| drop(stream), "closed the connection without an answer"),
        (
            |stream| {
                socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            },
            "closed the connection without an answer",
        ),
        (
            |mut stream| {
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\x1b]0;x\x07\r\n\r\n");
            },
            "expected token DONE but got \"HTTP/1.1 400 Bad Request\\x1b]0;x\\x07",
        ),
        (
            |mut stream| {
                read_request(&mut stream);
                let _ = stream
                    .write_all(b"DONE00000001STAT00000b00SERR00000009\x1b[2Jevil\nSOUT00000000DOTO00000000");
            },
            "the compiler there failed with status 11: \\u{1b}[2Jevil",
        ),
    ];
    let behaviours: Vec<_> = cases.iter().map(|case| case.0).collect();
    let (port, addresses) = serve(&behaviours);
    let run = ours(&sandbox, port, "-v -x -pgcc -k1500 -t20")
        .args(&addresses)
        .through(&with_limit(&format!("-v {MEMORY_MAX}")))
        .run();
    assert_eq!(run.code(), 0, "{run}");
    for ((_, reason), address) in cases.iter().zip(&addresses) {
        let line = run.err().lines().find(|line| line.contains(&format!("{address}: "))).map(str::to_owned);
        assert!(line.is_some_and(|line| line.contains(reason)), "{address}, no {reason:?} in {run}");
        let down = if reason.starts_with("up") { "" } else { ",down" };
        assert!(run.out().contains(&format!("{address}:{port}{down}\n")), "{address}: {run}");
    }
    // Slow and silent ones do not add up.
    assert!(run.elapsed < Duration::from_secs(1500 / 1000 + 5), "{:?}", run.elapsed);
    sandbox.finish([]);
}

#[test]
fn the_time_for_everything_ends_it_silently_with_success() {
    let sandbox = Sandbox::new();
    let silent: Behaviour = |stream| drop((stream, thread::sleep(Duration::from_secs(8))));
    let prompt: Behaviour = |mut stream| {
        read_request(&mut stream);
        let _ = stream.write_all(DONE);
    };
    let (port, addresses) = serve(&[prompt, silent]);
    for lister in [ours, theirs] {
        let run = lister(&sandbox, port, "-t1 -x -k60000 -pgcc").args(&addresses).run();
        assert_eq!((run.code(), run.out()), (0, format!("127.0.3.1:{port}\n")), "{run}");
        assert_eq!(run.err(), "");
        assert!(run.elapsed >= Duration::from_millis(900) && run.elapsed < Duration::from_secs(5), "{run}");
    }
    let run = ours(&sandbox, port, "-v -t1 -k60000 -pgcc").args(&addresses).run();
    assert!(run.err().contains("127.0.3.2: has not answered yet"), "{run}");
    sandbox.finish([]);
}

/// Each line is there as soon as its host is known, and a reader who has seen enough ends it.
#[test]
fn lines_come_when_they_are_known() {
    let sandbox = Sandbox::new();
    let silent: Behaviour = |stream| drop((stream, thread::sleep(Duration::from_secs(60))));
    let (port, addresses) = serve(&[|stream| drop(stream), silent, silent]);
    let script = "\"$0\" \"$@\" | { read -r first; echo \"$first\"; }";
    let lister = sandbox.path("bin/lsdistcc");
    let words = [script, lister.to_str().unwrap(), &format!("-r{port}"), "-x", "-t0", "-k3000", "-pgcc"];
    let run = sandbox.command("/bin/sh").arg_list("-c", &words).args(&addresses).run();
    assert_eq!(run.out(), format!("127.0.3.1:{port},down\n"), "{run}");
    let full = format!("\"$0\" -r{port} -x 127.0.3.1 >/dev/full");
    let run = sandbox.command("/bin/sh").arg_list("-c", &[&full, words[1]]).run();
    assert!(run.code() == 1 && run.err().contains("write standard output: No space left"), "{run}");
    let started = sandbox.command("/bin/sh").arg_list("-c", &["exec \"$0\" \"$@\" > out", words[1]]);
    let mut running = started.args(&words[2..5]).args(["-k60000", "-pgcc"]).args(&addresses).start();
    wait_until("the first line", || {
        std::fs::read(sandbox.work("out")).is_ok_and(|text| text.ends_with(b"\n"))
    });
    assert!(running.is_running());
    running.signal("TERM");
    assert_eq!(running.finish().signal(), Some(15));
    sandbox.finish([]);
}

/// The words of a shell call.
trait ArgList {
    fn arg_list(self, first: &str, words: &[&str]) -> Run;
}

impl ArgList for Run {
    fn arg_list(self, first: &str, words: &[&str]) -> Run {
        self.args([first]).args(words)
    }
}

#[test]
fn pump_uses_the_servers_that_are_found() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().start();
    sandbox.write("a.h", "int a;\n");
    sandbox.write("a.c", "#include \"a.h\"\n");
    let run = sandbox
        .applet("pump")
        .args(["sh", "-c", "echo \"$DISTCC_HOSTS\"; distcc gcc -c a.c -o a.o"])
        .env("DISTCC_POTENTIAL_HOSTS", "127.0.0.1 127.0.0.9 no-such-host.invalid")
        // pump's own 150 ms to connect come first, and the last one counts.
        .env("LSDISTCC_ARGS", format!("-r{} -c2000 -k9000 -pgcc -P1", daemon.port()))
        .env("DISTCC_FALLBACK", "0")
        .within(Duration::from_secs(40))
        .run();
    assert_eq!(run.code(), 0, "{run}");
    assert!(run.out().contains("__________Found 1 available distcc servers\n"), "{run}");
    assert!(run.out().contains(&format!("--randomize 127.0.0.1:{},cpp,lzo\n", daemon.port())), "{run}");
    // The test job and the build's.
    daemon.wait_for_jobs(2);
    // Whatever else is printed of a server, the list names it.
    let run = sandbox
        .applet("pump")
        .args(["sh", "-c", "distcc --show-hosts; distcc gcc -c a.c -o b.o"])
        .env("DISTCC_POTENTIAL_HOSTS", "127.0.0.1 127.0.0.9")
        .env("LSDISTCC_ARGS", format!("-r{} -c2000 -P3 -l -x", daemon.port()))
        .env("DISTCC_FALLBACK", "0")
        .within(Duration::from_secs(40))
        .run();
    assert_eq!(run.code(), 0, "{run}");
    assert!(run.out().contains(&format!("\n127.0.0.1:{},lzo,cpp,cpp,lzo\n", daemon.port())), "{run}");
    daemon.wait_for_jobs(3);
    sandbox.finish([daemon]);
}
