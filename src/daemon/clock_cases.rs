//! Connections on a made-up clock: what slow clients may take. Knows no sockets but those replies are read from.

use std::io::Read;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::daemon::allowance::Pools;
use crate::daemon::compilers::{Compilers, Policy};
use crate::daemon::connection::Connection;
use crate::daemon::exchange::ConnectionLimits;
use crate::daemon::exchange::{Context, Event, Next};
use crate::daemon::exposures::Exposures;
use crate::daemon::job::{Environments, Workshop};
use crate::daemon::patron::Origin;
use crate::daemon::refusal::Refusal;
use crate::daemon::sandbox::{Allotment, Sandbox};
use crate::daemon::system_headers::SystemHeaders;
use crate::daemon::unpacked::KnownMaps;
use crate::exit_code::ExitCode;
use crate::protocol::lzo::Compressor;
use crate::sys::exposure::Exposure;
use crate::sys::net;

const LIMITS: ConnectionLimits =
    ConnectionLimits { silence: Duration::from_secs(300), job_lifetime: None, job_memory: None };

/// A client that never stops sending one byte of an argument, some time after the last one.
struct Trickle {
    connection: Connection,
    workshop: Workshop,
    compressor: Compressor,
    began: Instant,
    now: Instant,
}

impl Trickle {
    fn new(denied: Option<Refusal>) -> Trickle {
        let now = Instant::now();
        Trickle {
            connection: Connection::new("peer".into(), Origin::Only, denied, None, &LIMITS, now),
            workshop: Workshop {
                compilers: Compilers::new(Policy::Anything, "/bin".into()),
                temporary: std::env::temp_dir(),
                save_temps: false,
                environments: Environments::default(),
                pools: Pools::new(1 << 20, 1 << 20, 1 << 20),
                exposures: Exposures::new(Exposure::of_this_machine()),
                sandbox: Sandbox::off(Allotment::default()),
                system_headers: SystemHeaders::default(),
                path_maps: KnownMaps::default(),
            },
            compressor: Compressor::new(),
            began: now,
            now,
        }
    }

    fn on_event(&mut self, event: Event<'_>) -> Next {
        let (workshop, limits, compressor) = (&self.workshop, &LIMITS, &mut self.compressor);
        self.connection.on_event(event, &mut Context { workshop, limits, compressor, now: self.now })
    }

    /// Sends this on a new connection.
    fn begin(&mut self, bytes: &[u8]) -> Next {
        self.leave();
        self.on_event(Event::Bytes(bytes))
    }

    /// The connection so far; what follows is on a new one.
    fn leave(&mut self) -> Connection {
        std::mem::replace(
            &mut self.connection,
            Connection::new("peer".into(), Origin::Only, None, None, &LIMITS, self.now),
        )
    }

    /// Sends a piece of `head` at each interval, then single bytes, until the deadline is nearer than the next
    /// one; what follows the deadline, and how long it all took.
    fn run(&mut self, head: &[&[u8]], interval: Duration) -> (Next, Duration) {
        for piece in head.iter().copied().chain(std::iter::repeat(b"x".as_slice())) {
            let deadline = self.connection.deadline().expect("a receiving connection has a deadline");
            if self.now + interval > deadline {
                self.now = deadline;
                return (self.on_event(Event::TimeOut), deadline - self.began);
            }
            self.now += interval;
            assert!(matches!(self.on_event(Event::Bytes(piece)), Next::Wait));
            assert!(self.now < self.began + Duration::from_secs(100_000), "it would go on for ever");
        }
        unreachable!("the pieces have no end")
    }
}

#[test]
fn a_request_that_never_ends_is_cut_with_a_reason() {
    let mut client = Trickle::new(None);
    let head = [b"DIST00000001ARGC00000003".as_slice(), b"ARGV0001ffff"];
    let (next, took) = client.run(&head, Duration::from_secs(29));
    assert!(matches!(next, Next::Send), "{next:?}");
    assert_eq!(took, Duration::from_secs(60));
    let (one, mut other) = net::pair().unwrap();
    client.connection.send(one.as_fd(), &LIMITS, client.now);
    drop(one);
    let mut reply = String::new();
    other.read_to_string(&mut reply).unwrap();
    assert!(reply.contains("STAT00007600") && reply.contains("more than 60 s"), "{reply}");
}

#[test]
fn a_command_beyond_what_is_left_is_refused_before_it_comes() {
    let mut client = Trickle::new(None);
    // (beginning of a request, whether it is taken while another client holds most of the mebibyte there is)
    for (head, alone, beside) in [
        (b"DIST00000001ARGC00010000".as_slice(), false, false),
        (b"DIST00000001ARGC00002000", true, false),
        (b"DIST00000001ARGC00000400", true, true),
        (b"DIST00000001ARGC00000001ARGV0001ffff", true, false),
        (b"DIST00000001ARGC00000001ARGV00001000", true, true),
    ] {
        for (is_beside, expected) in [(false, alone), (true, beside)] {
            let hog = is_beside.then(|| {
                assert!(matches!(client.begin(b"DIST00000001ARGC00004c00"), Next::Wait));
                client.leave()
            });
            let next = client.begin(head);
            assert_eq!(matches!(next, Next::Wait), expected, "{}: {next:?}", head.escape_ascii());
            drop(client.leave());
            drop(hog);
        }
    }
}

#[test]
fn silence_is_cut_before() {
    let mut client = Trickle::new(None);
    let (next, took) = client.run(&[b"DIST00000001"], Duration::from_secs(301));
    // Nothing was said, so there is nothing to answer.
    assert!(matches!(next, Next::Close), "{next:?}");
    assert_eq!(took, Duration::from_secs(60));
    // A preprocessor may run between the arguments and the source, for as long as any silence may last.
    let head = b"DIST00000001ARGC00000003ARGV00000002ccARGV00000002-cARGV00000003a.c";
    let mut client = Trickle::new(None);
    assert!(matches!(client.on_event(Event::Bytes(head)), Next::Wait));
    assert_eq!(client.connection.deadline(), Some(client.now + LIMITS.silence));
}

#[test]
fn a_job_whose_turn_does_not_come_is_sent_elsewhere() {
    let mut client = Trickle::new(None);
    let request = b"DIST00000001ARGC00000003ARGV00000002ccARGV00000002-cARGV00000003a.cDOTI00000001;";
    let next = client.on_event(Event::Bytes(request));
    assert!(matches!(next, Next::Queue), "{next:?}");
    client.now = client.connection.deadline().expect("no job waits for ever");
    assert_eq!(client.now - client.began, Duration::from_secs(600));
    assert!(matches!(client.on_event(Event::TimeOut), Next::Send));
    let (one, mut other) = net::pair().unwrap();
    client.connection.send(one.as_fd(), &LIMITS, client.now);
    drop(one);
    let mut reply = String::new();
    other.read_to_string(&mut reply).unwrap();
    assert!(reply.contains("STAT00007200") && reply.contains("more than 600 s"), "{reply}");
    assert!(matches!(client.on_event(Event::Slot), Next::Wait), "a job that was refused is started");
}

#[test]
fn a_denied_client_cannot_stay_by_trickling() {
    let mut client = Trickle::new(Some(Refusal::new(ExitCode::AccessDenied, "no")));
    let head = [b"D".as_slice(), b"I", b"S", b"T"];
    let (next, took) = client.run(&head, Duration::from_millis(900));
    assert!(matches!(next, Next::Close), "{next:?}");
    assert_eq!(took, Duration::from_secs(2));
}
