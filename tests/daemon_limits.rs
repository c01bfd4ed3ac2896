//! What one client may take of a server, and what others have meanwhile: connections, places in the queue, slots, disk,
//! what compilers use. Every limit is answered with a reason that names it.

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use raw::{
    Daemon, Place, PumpRequest, Reply, SOON, body, closes, job, packet, read_reply, request, request_head,
};
use support::{Sandbox, wait_until};

const HELLO: [&str; 5] = ["cc", "-c", "hello.c", "-o", "hello.o"];
/// The number with which a server sends clients elsewhere.
const BUSY: u32 = 114;
/// The one with which it says that a job is too much for it.
const OUT_OF_MEMORY: u32 = 105;

/// A connection from an address of our choice: all of 127.0.0.0/8 is ours.
fn connect_from(from: u8, to: SocketAddr) -> TcpStream {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, from], 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn start(place: &Place, options: &[&str]) -> Daemon {
    // Clients that say nothing are to be seen at once.
    let daemon = place.daemon().env("DISTCC_TCP_DEFER_ACCEPT", "0");
    Daemon::start(daemon.args(["--allow", "127.0.0.0/8"]).args(options))
}

fn ask_from(from: u8, daemon: &Daemon, request: &[u8]) -> Reply {
    let mut stream = connect_from(from, daemon.address);
    // It may be answered before it has come.
    let _ = stream.write_all(request);
    read_reply(&mut stream).unwrap_or_else(|error| panic!("{error}: {}", daemon.guard.log()))
}

#[track_caller]
fn assert_told(reply: &Reply, words: &[&str]) {
    assert_eq!(reply.refusal(), Some(BUSY), "{reply:?}");
    for word in words {
        assert!(reply.stderr.contains(word), "{word}: {reply:?}");
    }
}

#[track_caller]
fn assert_served(from: u8, daemon: &Daemon) {
    let began = Instant::now();
    let reply = ask_from(from, daemon, &job("printf x >$out"));
    assert_eq!((reply.status, reply.object.as_slice()), (0, b"x".as_slice()), "{reply:?}");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[test]
fn an_address_with_too_many_connections_is_told_so_and_others_are_served() {
    let place = Place::new();
    let daemon = start(&place, &["--connections-per-client=2"]);
    let mut idle: Vec<TcpStream> = (0..2).map(|_| connect_from(2, daemon.address)).collect();
    daemon.wait_for_lines("connection from 127.0.0.2", 2);
    for version in [1, 2] {
        let reply = ask_from(2, &daemon, &request(version, &HELLO, b"printf x >$out\n"));
        assert_eq!(reply.version as usize, version);
        assert_told(&reply, &["your address has 2 connections", "--connections-per-client"]);
    }
    // One that says nothing has no language to be told in, and is not waited for.
    let began = Instant::now();
    assert!(closes(&mut connect_from(2, daemon.address)));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_served(3, &daemon);
    idle.pop();
    wait_until("a place", || ask_from(2, &daemon, &job("printf x >$out")).status == 0);
    assert!(daemon.lines_with("REJ_OVERLOAD").len() >= 2, "{}", daemon.guard.log());
    drop(idle);
    place.finish(daemon);
}

#[test]
fn a_full_server_tells_some_and_drops_the_rest() {
    let place = Place::new();
    let daemon = start(&place, &["--connections=3"]);
    let idle: Vec<TcpStream> = (2..5).map(|from| connect_from(from, daemon.address)).collect();
    daemon.wait_for_lines("connection from 127.0.0.4", 1);
    assert_told(&ask_from(5, &daemon, &job("")), &["serves 3 clients already", "--connections"]);
    // As many as are told at once say nothing; the next is closed at once.
    let standing: Vec<TcpStream> = (0..64).map(|_| connect_from(6, daemon.address)).collect();
    let began = Instant::now();
    assert!(closes(&mut connect_from(6, daemon.address)));
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    daemon.wait_for_lines("is dropped", 1);
    drop((standing, idle));
    wait_until("a place", || {
        let mut stream = connect_from(7, daemon.address);
        let _ = stream.write_all(&job("printf x >$out"));
        read_reply(&mut stream).is_ok_and(|reply| reply.status == 0)
    });
    place.finish(daemon);
}

/// A job that waits until the test says so, and leaves its mark in the file `order`.
fn patient(place: &Place, name: &str) -> Vec<u8> {
    let (go, order) = (place.mark("go"), place.mark("order"));
    let (go, order) = (go.display(), order.display());
    job(&format!("echo {name} >>{order}; while [ ! -e {go} ]; do sleep 0.01; done; printf {name} >$out"))
}

fn send_from(from: u8, daemon: &Daemon, request: &[u8]) -> TcpStream {
    let mut stream = connect_from(from, daemon.address);
    stream.write_all(request).unwrap();
    stream
}

#[test]
fn the_queue_is_bounded_and_half_of_it_is_for_others() {
    let place = Place::new();
    let daemon = start(&place, &["--jobs=1", "--queue=2"]);
    let mut streams = vec![send_from(2, &daemon, &patient(&place, "a"))];
    place.wait_for_mark("order");
    let mut wait = |from: u8, name: &str| {
        streams.push(send_from(from, &daemon, &patient(&place, name)));
        daemon.wait_for_lines("bytes received in", streams.len());
    };
    wait(2, "b");
    let reply = ask_from(2, &daemon, &job("")).stderr;
    assert!(reply.contains("1 jobs from your address wait") && reply.contains("--queue"), "{reply}");
    streams.push(send_from(3, &daemon, &patient(&place, "c")));
    daemon.wait_for_lines("bytes received in", 4);
    assert_told(&ask_from(4, &daemon, &job("")), &["2 jobs wait for this server", "--queue"]);
    fs::write(place.mark("go"), "").unwrap();
    for stream in &mut streams {
        assert_eq!(read_reply(stream).unwrap().status, 0);
    }
    assert_served(4, &daemon);
    place.finish(daemon);
}

#[test]
fn a_client_with_one_job_does_not_wait_for_all_of_anothers() {
    let place = Place::new();
    let daemon = start(&place, &["--jobs=1"]);
    let mut streams = vec![send_from(2, &daemon, &patient(&place, "a0"))];
    place.wait_for_mark("order");
    for number in 1..20 {
        streams.push(send_from(2, &daemon, &patient(&place, &format!("a{number}"))));
    }
    daemon.wait_for_lines("bytes received in", 20);
    streams.push(send_from(3, &daemon, &patient(&place, "b")));
    daemon.wait_for_lines("bytes received in", 21);
    fs::write(place.mark("go"), "").unwrap();
    for stream in &mut streams {
        assert_eq!(read_reply(stream).unwrap().status, 0);
    }
    let order = fs::read_to_string(place.mark("order")).unwrap();
    let order: Vec<&str> = order.lines().collect();
    // What came first goes first, and the other client's only job is the next.
    assert_eq!(
        (order.len(), order[0], order[1], order[2], order[20]),
        (21, "a0", "b", "a1", "a19"),
        "{order:?}"
    );
    place.finish(daemon);
}

#[test]
fn unfinished_sources_are_counted_and_leave_room_for_others() {
    let place = Place::new();
    let daemon = start(&place, &["--spool=2"]);
    let unfinished = [request_head(1, &HELLO), packet("DOTI", 1 << 30, &vec![b'x'; 800 << 10])].concat();
    let first = send_from(2, &daemon, &unfinished);
    wait_until("the source", || place_bytes(daemon.guard.temporary()) >= 800 << 10);
    assert_told(&ask_from(2, &daemon, &unfinished), &["your address hold all they may, 1 MiB", "--spool"]);
    let reply = ask_from(5, &daemon, &[request_head(1, &HELLO), body("DOTI", &vec![b'x'; 2 << 20])].concat());
    assert!(reply.refusal() == Some(105) && reply.stderr.contains("at most 1 MiB"), "{reply:?}");
    // What a compressed one becomes counts, too.
    let reply = ask_from(5, &daemon, &request(2, &HELLO, &vec![b'\n'; 3 << 20]));
    assert!(reply.stderr.contains("--spool"), "{reply:?}");
    let other = send_from(3, &daemon, &unfinished);
    wait_until("the other source", || place_bytes(daemon.guard.temporary()) >= 1600 << 10);
    // Small ones are had in any case, and soon there is room again.
    assert_served(2, &daemon);
    assert_served(4, &daemon);
    drop((first, other));
    let source = [b"printf x >$out\n#".as_slice(), &vec![b'x'; 900 << 10], b"\n"].concat();
    wait_until("room", || ask_from(2, &daemon, &request(1, &HELLO, &source)).status == 0);
    place.finish(daemon);
}

fn place_bytes(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => place_bytes(&entry.path()),
            found => found.map_or(0, |found| found.len()),
        })
        .sum()
}

/// A small disk, gone when dropped.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(at: &'a Path) -> Option<SmallDisk<'a>> {
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m,mode=1777", "none"]).arg(at).status();
        mount.is_ok_and(|status| status.success()).then_some(SmallDisk(at))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn an_administrator_says_what_jobs_may_have_of_the_servers_memory() {
    let place = Place::new();
    let daemon = start(&place, &["--buffers=1", "--trees=1"]);
    let words: Vec<String> = (0..8).map(|number| format!("-DW{number}={}", "x".repeat(100_000))).collect();
    let argv: Vec<&str> = HELLO.into_iter().chain(words.iter().map(String::as_str)).collect();
    let large = PumpRequest::new("/p", &HELLO).file("/p/hello.c", "").file("/p/large.h", vec![b' '; 2 << 20]);
    for (request, words) in [
        (request(1, &argv, b"int x;"), "one job may take at most 512 KiB (distccd --buffers)"),
        (large.bytes(), "one job may take at most 512 KiB (distccd --trees)"),
    ] {
        let reply = ask_from(1, &daemon, &request);
        assert!(reply.refusal() == Some(OUT_OF_MEMORY) && reply.stderr.contains(words), "{words}: {reply:?}");
    }
    assert_served(1, &daemon);
    place.finish(daemon);
}

#[test]
fn a_full_disk_ends_a_job_and_not_the_server() {
    let place = Place::new();
    let daemon = start(&place, &["--spool=8192"]);
    let temporary = daemon.guard.temporary().to_owned();
    let disk = if support::is_root() { SmallDisk::mount(&temporary) } else { None };
    if disk.is_none() {
        eprintln!("not tried: nothing may be mounted here");
        return place.finish(daemon);
    }
    for version in [1, 2] {
        let reply = ask_from(2, &daemon, &request(version, &HELLO, &vec![b'\n'; 3 << 20]));
        assert_eq!(reply.refusal(), Some(107), "{reply:?}");
        assert!(reply.stderr.contains("No space left") && reply.stderr.contains("TMPDIR"), "{reply:?}");
        assert_served(2, &daemon);
    }
    drop(disk);
    daemon.assert_unharmed();
    place.finish(daemon);
}

#[test]
fn a_compiler_that_uses_too_much_is_ended_with_a_reason() {
    let place = Place::new();
    let daemon = start(&place, &[]);
    let (sleeps, pid) = (place.mark("sleeps"), place.mark("pid"));
    for (what, script, words) in [
        (
            "messages",
            "echo first >&2; head -c 80000000 /dev/zero | tr '\\0' x >&2; sleep 60".to_owned(),
            "wrote more than 64 MiB of messages",
        ),
        (
            "processes",
            format!(
                "for i in 1 2 3 4 5 6 7; do for j in 1 2 3 4 5 6 7 8 9 10; do sleep 60 & done; done; \
                     echo first >&2; echo $$ >{}; cp {1} {1}.copy 2>/dev/null; wait",
                pid.display(),
                sleeps.display()
            ),
            "started more than 64 processes",
        ),
    ] {
        let began = Instant::now();
        let reply = ask_from(2, &daemon, &job(&script));
        assert_eq!(reply.refusal(), Some(105), "{what}: {reply:?}");
        assert!(
            reply.stderr.starts_with("first\n"),
            "{what}: {}",
            &reply.stderr[..100.min(reply.stderr.len())]
        );
        let last = reply.stderr.lines().last().unwrap();
        assert!(last.contains("distccd: the compiler") && last.contains(words), "{what}: {last:.200}");
        assert!(began.elapsed() < Duration::from_secs(10), "{what}: {:?}", began.elapsed());
    }
    daemon.assert_unharmed();
    place.finish(daemon);
}

/// A job of the client's own files that takes many seconds to unpack: names that lead through long links.
fn heavy() -> Vec<u8> {
    let mut request = PumpRequest::new("/w", &["cc", "-c", "a.c"])
        .file("/w/a.c", "int a;\n")
        .file("/w/d/x.h", "int x;\n")
        .link("/w/l", &format!("{}.", "d/../".repeat(800)));
    for number in 0..5000 {
        request = request.packed(&format!("/w{}/{number}.h", "/l".repeat(29 + number % 2)), b"\x12a\x11\0\0");
    }
    request.bytes()
}

#[test]
fn a_launch_for_nobody_ends_at_once() {
    let request = heavy();
    for (namespaces, stops) in [("1", false), ("0", false), ("1", true), ("0", true)] {
        let place = Place::new();
        let daemon = place.daemon().jobs(1).env("DISTCCD_NAMESPACES", namespaces);
        let mut daemon = Daemon::start(daemon.env("DISTCC_TCP_DEFER_ACCEPT", "0"));
        let stream = send_from(1, &daemon, &request);
        daemon.wait_for_lines("bytes received in", 1);
        let began = Instant::now();
        if stops {
            daemon.guard.signal("TERM");
            daemon.wait_for_lines("told to stop", 1);
            daemon.guard.signal("TERM");
            daemon.guard.wait();
            assert!(began.elapsed() < 2 * SOON, "{namespaces}: {:?}", began.elapsed());
        } else {
            drop(stream);
            let reply = daemon.ask(&job("printf x >$out")).unwrap();
            assert_eq!(reply.object, b"x");
            assert!(began.elapsed() < 2 * SOON, "{namespaces}: {:?}", began.elapsed());
            assert_eq!(daemon.lines_with("CLI_DISCONN").len(), 1, "{}", daemon.guard.log());
            daemon.guard.stop();
        }
        // Neither files nor processes.
        place.sandbox.finish([]);
    }
}

#[test]
fn honest_clients_of_a_full_server_go_elsewhere() {
    let sandbox = Sandbox::new();
    sandbox.write("a.c", "int a(void) { return 1; }\n");
    let full = sandbox.daemon().args(["--connections-per-client=1"]).start();
    let other = sandbox.daemon().start();
    let _idle = TcpStream::connect(full.host()).unwrap();
    full.wait_for_log("connection from");
    let alone = full.host();
    let both = format!("{} {}", full.host(), other.host());
    for hosts in [&alone, &both] {
        for lzo in ["", ",lzo"] {
            let hosts = hosts.split(' ').map(|host| format!("{host}{lzo}")).collect::<Vec<_>>().join(" ");
            for run in [sandbox.distcc(["gcc", "-c", "a.c"]), sandbox.debian_distcc(["gcc", "-c", "a.c"])] {
                let _ = fs::remove_file(sandbox.work("a.o"));
                let run = run.hosts(&hosts).env("DISTCC_BACKOFF_PERIOD", "0").run();
                assert_eq!(run.code(), 0, "{hosts}: {run}");
                assert!(sandbox.work("a.o").exists(), "{hosts}: {run}");
            }
        }
    }
    // Ours goes to the next host, and says why.
    let run = sandbox.distcc(["gcc", "-c", "a.c"]).hosts(&both).env("DISTCC_BACKOFF_PERIOD", "0").run();
    assert!(run.err().contains("--connections-per-client"), "{run}");
    other.wait_for_jobs(other.jobs_done().max(1));
    assert_eq!(full.jobs_done(), 0);
    drop(_idle);
    sandbox.finish([full, other]);
}
