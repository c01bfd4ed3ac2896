//! Two thousand connections at once, from many addresses, most of them idle or hostile: honest clients beside them get
//! their jobs done, and a daemon that was crowded holds what it held before. How fast is for benches/compare (`crowd`)
//! to say; the bound here only tells a crowd that costs something from one that stops everything.

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use raw::{Daemon, Place, ask, bomb, job, packet, request, request_head};
use support::wait_until;

/// Connections of the crowd.
const CROWD: usize = 2000;
/// Addresses they come from, as many from each.
const ADDRESSES: usize = 200;
/// Clients that want something compiled.
const HONEST: usize = 3;
/// Phases without the crowd, and as many with it, in turn.
const PHASES: usize = 3;
/// How long a phase is measured.
const PHASE: Duration = Duration::from_millis(500);
/// How much longer a job may take in the crowd. Measured: 1.0 to 1.2 on a quiet machine.
const SLOWER_MAX: f64 = 5.0;
/// Visits a second by clients that get an answer, or are cut off, at once.
const VISITS_PER_SECOND: u32 = 20;
/// More memory of its own than before, in kB, that the daemon may keep for what comes next.
const KEPT_KILOBYTES_MAX: u64 = 16 << 10;
/// The first descriptor that is none of a job's.
const HIGH_DESCRIPTOR: u32 = 1 << 10;
const ARGV: [&str; 5] = ["cc", "-c", "hello.c", "-o", "hello.o"];

/// What a connection of the crowd does after it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Manner {
    Silent,
    StopsInHead,
    StopsInSource,
    StopsInPackedSource,
    /// Sends a byte a second.
    Trickles,
    /// Asks for something large and takes nothing of it.
    NeverReads,
}

/// Of so many connections in a row, these are not silent.
const MANNERS: [Manner; 20] = {
    use Manner::*;
    [
        NeverReads,
        StopsInHead,
        StopsInHead,
        StopsInHead,
        StopsInSource,
        StopsInSource,
        StopsInPackedSource,
        StopsInPackedSource,
        Trickles,
        Trickles,
        Trickles,
        Trickles,
        Silent,
        Silent,
        Silent,
        Silent,
        Silent,
        Silent,
        Silent,
        Silent,
    ]
};

fn connect_from(number: usize, server: SocketAddr) -> std::io::Result<TcpStream> {
    let [low, high] = [2 + (number % ADDRESSES) as u8, (number % 7) as u8];
    let from = SocketAddr::from((Ipv4Addr::new(127, 0, high, low), 0));
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    // Or the kernel would take a large reply for a client that reads nothing.
    socket.set_recv_buffer_size(4096)?;
    socket.bind(&from.into())?;
    socket.connect(&server.into())?;
    let stream: TcpStream = socket.into();
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn join(number: usize, server: SocketAddr) -> (Manner, TcpStream) {
    let manner = MANNERS[number % MANNERS.len()];
    let mut stream = connect_from(number, server).unwrap();
    let begun =
        |version: usize| [request_head(version, &ARGV), packet("DOTI", 1 << 20, &[b'x'; 64 << 10])].concat();
    let first = match manner {
        Manner::Silent | Manner::Trickles => Vec::new(),
        Manner::StopsInHead => request_head(1, &ARGV)[..20 + number % 30].to_vec(),
        Manner::StopsInSource => begun(1),
        Manner::StopsInPackedSource => begun(2),
        Manner::NeverReads => job("head -c 3000000 /dev/zero >$out"),
    };
    stream.write_all(&first).unwrap();
    stream.set_nonblocking(true).unwrap();
    (manner, stream)
}

/// The crowd, while it is there.
struct Crowd {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<(Manner, TcpStream)>>>,
}

impl Crowd {
    /// Comes, and stays until dropped.
    fn gather(server: SocketAddr) -> Crowd {
        let members: Vec<_> = (0..CROWD).map(|number| join(number, server)).collect();
        // What is measured is a crowd that stands there, not the jobs it came with.
        let waits = |(manner, stream): &(Manner, TcpStream)| {
            *manner == Manner::NeverReads && stream.peek(&mut [0]).is_err()
        };
        wait_until("the replies that nobody reads", || !members.iter().any(waits));
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            stir(&members, server, &over);
            members
        });
        Crowd { is_over, thread: Some(thread) }
    }

    /// The connections, still open.
    fn stop(mut self) -> Vec<(Manner, TcpStream)> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

/// Trickles, and visits with garbage and with bombs.
fn stir(members: &[(Manner, TcpStream)], server: SocketAddr, is_over: &AtomicBool) {
    let head = request_head(1, &ARGV);
    // Cut short, so that it is unpacked and nothing compiled.
    let mut broken_bomb = bomb(40 << 10);
    broken_bomb.truncate(broken_bomb.len() - 3);
    let bombs = [request_head(2, &ARGV), packet("DOTI", broken_bomb.len(), &broken_bomb)].concat();
    let mut visitors = Vec::new();
    for visit in 0.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        if visit % VISITS_PER_SECOND == 0 {
            let second = (visit / VISITS_PER_SECOND) as usize;
            let trickling = members.iter().filter(|(manner, _)| *manner == Manner::Trickles);
            // The daemon may have had enough of one.
            trickling.for_each(|(_, stream)| drop({ stream }.write(&head[second % head.len()..][..1])));
        }
        if let Ok(mut stream) = connect_from(visit as usize, server) {
            let _ = stream.write_all(if visit % 2 == 0 { &[0xff; 10_000] } else { &bombs });
            visitors.push(stream);
        }
        if visitors.len() > VISITS_PER_SECOND as usize {
            visitors.remove(0);
        }
        std::thread::sleep(Duration::from_secs(1) / VISITS_PER_SECOND);
    }
}

/// What honest clients ask for.
struct Job {
    compiler: &'static str,
    request: Vec<u8>,
    /// How the object begins.
    object: &'static [u8],
}

impl Job {
    /// Jobs a second that honest clients get done, each of which must be right.
    fn throughput(&self, server: SocketAddr) -> f64 {
        let (began, done) = (Instant::now(), Mutex::new(0));
        std::thread::scope(|scope| {
            for _ in 0..HONEST {
                scope.spawn(|| {
                    while began.elapsed() < PHASE {
                        let reply = ask(server, &self.request)
                            .unwrap_or_else(|error| panic!("an honest job: {error}"));
                        let is_right = reply.status == 0 && reply.object.starts_with(self.object);
                        assert!(is_right, "an honest job: {}", reply.stderr);
                        *done.lock().unwrap() += 1;
                    }
                });
            }
        });
        f64::from(done.into_inner().unwrap()) / began.elapsed().as_secs_f64()
    }
}

/// What the daemon holds: memory of its own in kB, and descriptors.
fn held(daemon: &Daemon) -> (u64, usize) {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    let descriptors = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
    (line.trim().trim_end_matches(" kB").parse().unwrap(), descriptors)
}

/// Sockets of the daemon among the descriptors that are copied for each compiler.
fn low_sockets(daemon: &Daemon) -> usize {
    let directory = format!("/proc/{}/fd", daemon.pid());
    let is_socket = |number: &u32| {
        fs::read_link(format!("{directory}/{number}"))
            .is_ok_and(|what| what.to_string_lossy().starts_with("socket:"))
    };
    (0..HIGH_DESCRIPTOR).filter(is_socket).count()
}

/// Whether the other side still has this connection.
fn is_open(stream: &TcpStream) -> bool {
    match { stream }.read(&mut [0]) {
        Ok(count) => count > 0,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

#[test]
fn honest_clients_are_served_in_a_crowd() {
    distcc::sys::process::raise_descriptor_limit();
    let place = Place::new();
    let options = ["--allow", "127.0.0.0/8", "--log-level", "notice"];
    let builder = place.daemon().args(options).jobs(4).env("DISTCC_TCP_DEFER_ACCEPT", "0");
    let daemon = Daemon::start(builder);
    let text = b"int f(int a) { return a + 1; }\n";
    let real = request(1, &["gcc", "-c", "a.c", "-o", "a.o"], text);
    let jobs = [
        Job { compiler: "a script", request: job("printf honest >$out"), object: b"honest" },
        Job { compiler: "gcc", request: real, object: b"\x7fELF" },
    ];
    // The first ones make it ready for more.
    for job in &jobs {
        job.throughput(daemon.address);
    }
    let before = held(&daemon);
    let mut ratios = [Vec::new(), Vec::new()];
    for _ in 0..PHASES {
        let alone = jobs.each_ref().map(|job| job.throughput(daemon.address));
        let crowd = Crowd::gather(daemon.address);
        wait_until("a daemon with a crowd", || held(&daemon).1 > CROWD);
        // Those that listen, and whose client has only just come.
        assert!(low_sockets(&daemon) < 10, "{} sockets are copied for each compiler", low_sockets(&daemon));
        let crowded = jobs.each_ref().map(|job| job.throughput(daemon.address));
        let members = crowd.stop();
        let open = members.iter().filter(|(_, stream)| is_open(stream)).count();
        assert!(open > CROWD * 9 / 10, "only {open} of {CROWD} connections lasted: that is no crowd");
        drop(members);
        wait_until("the crowd's descriptors closed", || held(&daemon).1 <= before.1);
        (0..jobs.len()).for_each(|index| ratios[index].push(alone[index] / crowded[index]));
    }
    for (Job { compiler, .. }, mut ratios) in jobs.iter().zip(ratios) {
        ratios.sort_by(f64::total_cmp);
        eprintln!("jobs with {compiler}: {:.2} times as long in a crowd of {CROWD}", ratios[PHASES / 2]);
        assert!(ratios[PHASES / 2] < SLOWER_MAX, "jobs with {compiler} take {ratios:.2?} times as long");
    }
    let after = held(&daemon);
    assert!(after.0 < before.0 + KEPT_KILOBYTES_MAX, "{before:?} kB and descriptors before, {after:?} after");
    daemon.assert_unharmed();
    place.finish(daemon);
}
