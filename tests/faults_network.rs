//! Hosts, wires and name servers that misbehave, on the client: a job costs the time that the manual names, ends with the
//! right object or a true error, and leaves nothing.
//!
//! Servers that break the protocol are in client_broken_server.rs; here they break the clock.

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use raw::{Place, job};
use support::faults::{
    BUILD_TIME_MAX, assert_speed, descendants, wait_for_all, with_mounts, with_mounts_and_network,
};
use support::{Run, Sandbox, send_signal, wait_until};

/// DISTCC_IO_TIMEOUT of these clients, in seconds.
const SILENCE: u64 = 1;
/// How long a transfer may take however slow it is: four times that, and a second a kilobyte.
const TRICKLE_TIME_MAX: Duration = Duration::from_secs(4 * SILENCE);
/// What a busy machine may add, and a local compile.
const SLACK: Duration = Duration::from_secs(15);

/// A server that does this with each connection.
fn serve(behaviour: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            let behaviour = behaviour.clone();
            thread::spawn(move || behaviour(stream));
        }
    });
    host
}

/// Reads a request as far as it has come after a moment.
fn read_what_comes(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    while stream.read(&mut [0; 65536]).is_ok_and(|count| count > 0) {}
}

/// Ends a connection with a reset.
fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

fn client(sandbox: &Sandbox, source: &str, host: &str) -> Run {
    client_for(sandbox, source, "a.o", host)
}

fn client_for(sandbox: &Sandbox, source: &str, object: &str, host: &str) -> Run {
    sandbox
        .distcc(["gcc", "-c", source, "-o", object])
        .hosts(host)
        .env("DISTCC_IO_TIMEOUT", SILENCE.to_string())
        .within(Duration::from_secs(30))
}

const HEAD: &[u8] = b"DONE00000001STAT00000000SERR00000000SOUT00000000DOTO00100000";

/// A server that answers so many bytes at once, and the rest one by one, each in time: never silent, and never done.
fn trickling(at_once: usize) -> String {
    serve(move |mut stream| {
        read_what_comes(&mut stream);
        let _ = stream.write_all(&HEAD[..at_once]);
        for byte in HEAD[at_once..].iter().chain([0; 1000].iter()) {
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(500));
        }
    })
}

#[test]
fn a_reply_that_trickles() {
    let sandbox = Sandbox::new();
    let sample = sandbox.sample("a.c", "int a;\n");
    let check = &|at_once: usize| {
        let host = trickling(at_once);
        let object = format!("{at_once}.o");
        let run = client_for(&sandbox, "a.c", &object, &host).run();
        sandbox.assert_made(&run, &sample, &object);
        assert!(run.err().contains("less than a kilobyte a second"), "{run}");
        assert!(run.elapsed >= TRICKLE_TIME_MAX, "{:?}", run.elapsed);
        assert!(run.elapsed < TRICKLE_TIME_MAX + SLACK, "{:?}", run.elapsed);
        let port = host.rsplit(':').next().unwrap();
        assert!(sandbox.backoffs().iter().any(|file| file.contains(port)), "the host is to blame: {run}");
    };
    thread::scope(|scope| {
        for at_once in [0, 12, 30, HEAD.len()] {
            scope.spawn(move || check(at_once));
        }
        let run = client(&sandbox, "a.c", &trickling(HEAD.len())).env("DISTCC_FALLBACK", "0").run();
        assert_eq!(run.code(), 118, "{run}");
    });
    sandbox.finish([]);
}

#[test]
fn a_request_that_is_read_a_byte_at_a_time_or_not_at_all() {
    let sandbox = Sandbox::new();
    sandbox.write("large.i", [b"int a;\n".as_slice(), &vec![b'\n'; 8 << 20]].concat());
    let check = &|number: usize, pause: Duration, suffix: &str, fallback: bool| {
        let host = serve(move |mut stream| {
            socket2::SockRef::from(&stream).set_recv_buffer_size(4096).unwrap();
            while stream.read(&mut [0]).is_ok_and(|count| count > 0) {
                thread::sleep(pause);
            }
        });
        let job = client_for(&sandbox, "large.i", &format!("{number}.o"), &(host + suffix));
        let run = job.env("DISTCC_FALLBACK", if fallback { "1" } else { "0" }).run();
        assert_eq!(run.code(), if fallback { 0 } else { 118 }, "{run}");
        // Compressed it is little: then it is the answer that does not come.
        assert!(run.err().contains("no byte") || run.err().contains("less than a kilobyte"), "{run}");
        assert!(run.elapsed < TRICKLE_TIME_MAX + SLACK, "{:?}", run.elapsed);
        assert_eq!(sandbox.work(format!("{number}.o")).exists(), fallback, "{run}");
    };
    thread::scope(|scope| {
        for (number, fallback) in [true, true, false, false].into_iter().enumerate() {
            let pause = Duration::from_millis(if number % 2 == 0 { 300 } else { 60_000 });
            scope.spawn(move || check(2 * number, pause, "", fallback));
            scope.spawn(move || check(2 * number + 1, pause, ",lzo", fallback));
        }
    });
    sandbox.finish([]);
}

/// Resets, in the middle of each part of either direction.
#[test]
fn connections_that_are_reset() {
    let sandbox = Sandbox::new();
    let sample = sandbox.sample("a.c", "int a;\n");
    let object = [HEAD, &[0; 3000]].concat();
    for count in [0, 1, 12, 40, HEAD.len(), HEAD.len() + 1000, HEAD.len() + 3000] {
        for reads in [0, 7, 30, usize::MAX] {
            let bytes = object[..count].to_vec();
            let host = serve(move |mut stream| {
                match reads {
                    usize::MAX => read_what_comes(&mut stream),
                    0 => {}
                    count => drop(stream.read_exact(&mut vec![0; count])),
                }
                let _ = stream.write_all(&bytes);
                reset(stream);
            });
            let run = client(&sandbox, "a.c", &host).run();
            sandbox.assert_made(&run, &sample, "a.o");
            assert!(run.err().contains(&host), "{count} bytes of reply, {reads} read: {run}");
            assert!(run.elapsed < SLACK, "{:?}", run.elapsed);
        }
    }
    sandbox.finish([]);
}

/// The kernel answers for a host that is late to accept, until its queue is full; then its first try is lost.
#[test]
fn a_host_that_accepts_late() {
    let place = Place::new();
    let sandbox = &place.sandbox;
    let sample = sandbox.sample("a.c", "int a;\n");
    let daemon = sandbox.daemon().start();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let listener: TcpListener = socket.into();
    let address = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        queue.push(stream);
    }
    let server: SocketAddr = daemon.host().parse().unwrap();
    let begin = Instant::now();
    let run = client(sandbox, "a.c", &address.to_string()).env("DISTCC_FALLBACK", "0").start();
    thread::sleep(Duration::from_millis(300));
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // Those that filled the queue say nothing.
            let Ok(server) = TcpStream::connect(server) else { return };
            let (mut up, mut down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || {
                let _ = std::io::copy(&mut up, &mut &server);
                let _ = server.shutdown(Shutdown::Write);
            });
            thread::spawn(move || {
                let _ = std::io::copy(&mut down, &mut &client);
                let _ = client.shutdown(Shutdown::Write);
            });
        }
    });
    drop(queue);
    let run = run.finish();
    sandbox.assert_made(&run, &sample, "a.o");
    assert!(begin.elapsed() < Duration::from_secs(4) + SLACK, "{:?}", begin.elapsed());
    drop(daemon);
}

/// Clients that send a byte now and then, or take one, are no load for the others.
#[test]
fn a_daemon_among_clients_that_trickle() {
    let place = Place::new();
    let daemon = place.start(&["--jobs", "2"]);
    let other = place.start(&["--jobs", "2"]);
    let time = |daemon: &raw::Daemon| {
        let begin = Instant::now();
        let reply = daemon.ask(&job("printf x >$out")).unwrap();
        assert_eq!((reply.status, reply.object.as_slice()), (0, b"x".as_slice()));
        begin.elapsed()
    };
    let request = job("head -c 20000000 /dev/zero >$out");
    let slow: Vec<_> = (0..60)
        .map(|number| {
            let mut stream = daemon.connect();
            // Half of them have sent all and read nothing of a large object, half are still sending.
            let all = number % 2 == 0;
            stream.write_all(if all { &request } else { &request[..20 + number] }).unwrap();
            stream
        })
        .collect();
    let end = Instant::now() + Duration::from_secs(2);
    let (mut among_them, mut elsewhere) = (Vec::new(), Vec::new());
    let mut turn = 0;
    while Instant::now() < end {
        for (number, mut stream) in slow.iter().enumerate() {
            let _ = match number % 2 {
                0 => stream.read(&mut [0]),
                _ if turn + 20 + number < request.len() => stream.write(&request[20 + number + turn..][..1]),
                _ => Ok(0),
            };
        }
        turn += 1;
        among_them.push(time(&daemon));
        elsewhere.push(time(&other));
    }
    assert_speed(&among_them, &elsewhere);
    drop(slow);
    wait_until("an empty TMPDIR", || fs::read_dir(daemon.guard.temporary()).unwrap().count() == 0);
    drop(other);
    place.finish(daemon);
}

/// What the client says when a name is not resolved, and that it is in time.
fn check_names(sandbox: &Sandbox, wrapper: &[String]) {
    let sample = sandbox.sample("a.c", "int a;\n");
    let job =
        || sandbox.job(&sample, "a.o", "build.example").env("DISTCC_CONNECT_TIMEOUT", "1").through(wrapper);
    let run = job().run();
    assert!(run.err().contains("not resolved in time"), "{run}");
    assert!(
        run.elapsed >= Duration::from_secs(1) && run.elapsed < Duration::from_secs(1) + SLACK,
        "{:?}",
        run.elapsed
    );
    sandbox.assert_made(&run, &sample, "a.o");
    // Nobody goes on asking for a client that is gone, whatever it died of.
    // A terminal's signal is for the whole group.
    for signal in ["KILL", "TERM"] {
        let run = job().env("DISTCC_CONNECT_TIMEOUT", "60").env("DISTCC_BACKOFF_PERIOD", "0").start();
        let asks = |pid: &u32| {
            let of = |what| fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
            of("cmdline").starts_with(b"getent") || (of("comm") == b"distcc\n" && !of("cmdline").is_empty())
        };
        wait_until("the question", || descendants(run.id()).keys().any(asks));
        let mut asking = descendants(run.id());
        asking.retain(|pid, _| asks(pid));
        let began = Instant::now();
        match signal {
            "KILL" => run.signal(signal),
            _ => send_signal(signal, -i64::from(run.id())),
        }
        let outcome = run.finish();
        assert_eq!(outcome.signal(), Some(if signal == "KILL" { 9 } else { 15 }), "{outcome}");
        assert!(outcome.err_lines_with("terminated by signal") <= 1, "{outcome}");
        wait_for_all(&asking);
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        sandbox.forget_states();
    }
    sandbox.assert_clean_beside(&[]);
}

#[test]
fn a_name_server_that_never_answers() {
    let sandbox = Sandbox::new();
    support::require("python3");
    let silent =
        "import os, socket, time; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('127.0.0.1', 53))
client = os.getppid(); print(flush=True)
while os.getppid() == client: time.sleep(0.05)";
    let names = sandbox.path("nsswitch.conf");
    fs::write(&names, "hosts: files dns\n").unwrap();
    fs::write(sandbox.path("resolv.conf"), "nameserver 127.0.0.1\n").unwrap();
    let ready = sandbox.path("ready");
    let setup = "mount --bind \"$1\" /etc/nsswitch.conf; mount --bind \"$2\" /etc/resolv.conf; rm -f \"$4\"; mkfifo \"$4\"
        (exec env -i /usr/bin/python3 -c \"$3\" >\"$4\" 2>/dev/null) & read line <\"$4\"";
    let paths = [&names, &sandbox.path("resolv.conf"), &ready].map(|path| path.to_str().unwrap().to_string());
    let wrapper = with_mounts_and_network(setup, &[&paths[0], &paths[1], silent, &paths[2]]);
    check_names(&sandbox, &wrapper);
}

#[test]
fn a_name_service_that_never_answers() {
    let sandbox = Sandbox::new();
    let names = sandbox.path("nsswitch.conf");
    fs::write(&names, "hosts: files mdns4 dns\n").unwrap();
    let getent = sandbox.script("getent", "exec -a getent sleep 600\n");
    let getent_text = fs::read_to_string(&getent).unwrap().replace("#!/bin/sh", "#!/bin/bash");
    fs::write(&getent, getent_text).unwrap();
    let setup = "mount --bind \"$1\" /etc/nsswitch.conf; mount --bind \"$2\" /usr/bin/getent";
    let wrapper = with_mounts(setup, &[names.to_str().unwrap(), getent.to_str().unwrap()]);
    check_names(&sandbox, &wrapper);
}

/// Three connections that fail are all that a job waits for, however many such hosts there are.
#[test]
fn many_hosts_that_never_answer() {
    let sandbox = Sandbox::new();
    let sample = sandbox.sample("a.c", "int a;\n");
    let silent =
        serve(|mut stream| drop(stream.read(&mut [0; 1 << 16]).map(|_| thread::sleep(BUILD_TIME_MAX))));
    let port = silent.rsplit(':').next().unwrap().to_string();
    let hosts: Vec<String> = (1..20).map(|number| format!("127.0.0.{number}:{port}")).collect();
    let hosts = format!("{silent} {}", hosts.join(" "));
    let run = client(&sandbox, "a.c", &hosts).env("DISTCC_CONNECT_TIMEOUT", "1").run();
    sandbox.assert_made(&run, &sample, "a.o");
    assert!(run.elapsed < Duration::from_secs(3 + SILENCE) + SLACK, "{:?}", run.elapsed);
    sandbox.finish([]);
}

/// An include server that lets clients in and says nothing, or nonsense, or a byte now and then: the job is preprocessed
/// here and goes to the same host.
#[test]
fn an_include_server_that_never_answers() {
    let sandbox = Sandbox::new();
    let sample = sandbox.sample("a.c", "#include <stddef.h>\nsize_t a;\n");
    let daemon = sandbox.daemon().start();
    let host = format!("{},lzo,cpp", daemon.host());
    type Behaviour = fn(UnixStream);
    let behaviours: [(&str, Behaviour); 4] = [
        ("silent", |mut stream| while stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {}),
        ("gone", drop),
        ("nonsense", |mut stream| drop(stream.write_all(&[0xa5; 64 << 10]))),
        ("trickling", |mut stream| {
            while stream.write_all(b"0").is_ok() {
                thread::sleep(Duration::from_millis(100));
            }
        }),
    ];
    for (number, (what, behaviour)) in behaviours.into_iter().enumerate() {
        let socket = sandbox.path(format!("includes-{number}"));
        for path in [socket.clone(), socket.with_extension("direct")] {
            let listener = UnixListener::bind(path).unwrap();
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    thread::spawn(move || behaviour(stream));
                }
            });
        }
        let job =
            client(&sandbox, "a.c", &host).env("INCLUDE_SERVER_PORT", &socket).env("DISTCC_FALLBACK", "0");
        let run = job.run();
        assert!(run.err().contains("the include server fails"), "{what}: {run}");
        sandbox.assert_made(&run, &sample, "a.o");
        assert!(run.elapsed < Duration::from_secs(SILENCE) + SLACK, "{what}: {:?}", run.elapsed);
        daemon.wait_for_jobs(number + 1);
    }
    sandbox.finish([daemon]);
}
