//! A server under a service manager: what it says on the manager's socket, and when; sockets that others have opened.
//! The manager is a socket of the test, or systemd's own tool.

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as LocalAddress, UnixDatagram};
use std::time::{Duration, Instant};

use raw::{Daemon, Place, ask, connect, job, read_reply, request, text, wait_for_end};
use support::{PATIENCE, Run, free_port, send_signal, wait_until};

const ACTIVATE: &str = "/usr/bin/systemd-socket-activate";

/// The manager's end.
struct Manager {
    socket: UnixDatagram,
    /// NOTIFY_SOCKET.
    address: String,
}

impl Manager {
    fn at_path(place: &Place) -> Manager {
        let path = place.path("notify");
        let _ = fs::remove_file(&path);
        Manager::new(UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap().to_owned())
    }

    /// In no directory, but in this network namespace, which the server leaves.
    fn without_path() -> Manager {
        let name = format!("distcc-e2e-{}", std::process::id());
        let address = LocalAddress::from_abstract_name(&name).unwrap();
        Manager::new(UnixDatagram::bind_addr(&address).unwrap(), format!("@{name}"))
    }

    fn new(socket: UnixDatagram, address: String) -> Manager {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Manager { socket, address }
    }

    #[track_caller]
    fn hear(&self) -> String {
        let mut buffer = [0; 512];
        let count = self.socket.recv(&mut buffer).expect("the manager heard nothing");
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    }

    /// What comes within a time.
    fn hear_for(&self, time: Duration) -> Vec<String> {
        let until = Instant::now() + time;
        let mut heard = Vec::new();
        let mut buffer = [0; 512];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
                return heard;
            }
            self.socket.set_read_timeout(Some(left)).unwrap();
            if let Ok(count) = self.socket.recv(&mut buffer) {
                heard.push(String::from_utf8(buffer[..count].to_vec()).unwrap());
            }
        }
    }
}

#[test]
fn readiness_reloading_and_the_end_are_told() {
    let place = Place::new();
    for (has_path, options) in [(true, ["--sandbox=off"].as_slice()), (true, &[]), (false, &[])] {
        let manager = if has_path { Manager::at_path(&place) } else { Manager::without_path() };
        let builder = place.confined_daemon().args(options).env("NOTIFY_SOCKET", &manager.address);
        let mut daemon = Daemon::start(builder.jobs(3));
        assert_eq!(manager.hear(), "READY=1\nSTATUS=Ready for 3 jobs at once");
        let reply = daemon.ask(&job("printf x >$out")).unwrap();
        assert_eq!(reply.object, b"x", "{reply:?}");

        daemon.guard.signal("HUP");
        let reloading = manager.hear();
        let time =
            reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap_or_else(|| panic!("{reloading}"));
        let uptime = fs::read_to_string("/proc/uptime").unwrap();
        let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        let seconds = time.parse::<f64>().unwrap() / 1e6;
        assert!(seconds <= uptime + 1.0 && seconds > uptime - 20.0, "{time} at {uptime}");
        assert_eq!(manager.hear(), "READY=1\nSTATUS=Ready for 3 jobs at once");

        daemon.guard.stop();
        assert_eq!(manager.hear(), "STOPPING=1\nSTATUS=Stopping; 0 jobs may finish");
    }
    place.sandbox.finish([]);
}

#[test]
fn a_loop_that_is_stuck_gives_no_sign_of_life() {
    let place = Place::new();
    let manager = Manager::at_path(&place);
    let interval = Duration::from_millis(200);
    let builder = place.daemon().env("NOTIFY_SOCKET", &manager.address).env("WATCHDOG_USEC", "400000");
    let daemon = Daemon::start(builder);
    let signs = |time| {
        let heard = manager.hear_for(time);
        heard.into_iter().filter(|message| message.starts_with("WATCHDOG=1\n")).collect::<Vec<_>>()
    };
    let idle = signs(interval * 10);
    assert!((5..=11).contains(&idle.len()), "{idle:?}");
    assert!(idle.iter().all(|message| message.contains("STATUS=0 of ")), "{idle:?}");

    let busy = std::thread::scope(|scope| {
        let client = scope.spawn(|| daemon.ask(&job("sleep 1; printf x >$out")).unwrap());
        let busy = signs(interval * 4);
        assert_eq!(client.join().unwrap().object, b"x");
        busy
    });
    assert!(busy.iter().any(|message| message.contains("STATUS=1 of ")), "{busy:?}");

    daemon.guard.signal("STOP");
    signs(interval);
    assert_eq!(signs(interval * 4), [""; 0], "signs of life of a process that is stopped");
    daemon.guard.signal("CONT");
    assert!(!signs(interval * 4).is_empty());
    place.finish(daemon);
}

#[test]
fn a_watchdog_for_another_process_is_not_served() {
    let place = Place::new();
    let manager = Manager::at_path(&place);
    let builder = place.daemon().env("NOTIFY_SOCKET", &manager.address);
    let daemon = Daemon::start(builder.env("WATCHDOG_USEC", "20000").env("WATCHDOG_PID", "1"));
    assert!(manager.hear().starts_with("READY=1\n"));
    assert_eq!(manager.hear_for(Duration::from_millis(300)), [""; 0]);
    place.finish(daemon);
}

#[test]
fn compilers_hear_nothing_of_the_manager() {
    let place = Place::new();
    let manager = Manager::at_path(&place);
    let builder = place.daemon().args(["--enable-tcp-insecure"]).env("HARMLESS", "1");
    let builder = builder.env("NOTIFY_SOCKET", &manager.address).env("WATCHDOG_USEC", "60000000");
    let builder = builder.env("LISTEN_FDS", "1").env("LISTEN_PID", "1").env("LISTEN_FDNAMES", "x");
    let daemon = Daemon::start(builder);
    for request in [
        job("env >$out"),
        raw::PumpRequest::new("/d", &["cc", "-c", "./a.i", "-o", "a.o"])
            .file("/d/a.i", "env >$out\n")
            .bytes(),
    ] {
        let reply = daemon.ask(&request).unwrap();
        let seen = text(&reply.object);
        assert!(seen.contains("HARMLESS=1"), "{reply:?}");
        for name in ["NOTIFY_", "WATCHDOG_", "LISTEN_"] {
            assert!(!seen.contains(name), "{seen}");
        }
    }
    place.finish(daemon);
}

#[test]
fn a_daemon_that_detaches_is_introduced_before_it_speaks() {
    let place = Place::new();
    let manager = Manager::at_path(&place);
    let (pid_file, port) = (place.path("marks/pid"), free_port());
    let run = place
        .sandbox
        .applet("distccd")
        .args(place.script_options())
        .args(["--daemon", "--listen=127.0.0.1", "--allow=127.0.0.1", "--port", &port.to_string()])
        .args(["--log-file".into(), place.path("marks/log"), "--pid-file".into(), pid_file.clone()])
        .env("TMPDIR", place.sandbox.server_directory())
        .env("PATH", place.search_path())
        .env("NOTIFY_SOCKET", &manager.address)
        .run();
    assert!(run.status.success(), "{run}");
    let pid: u32 = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    assert_eq!(manager.hear(), format!("MAINPID={pid}"));
    assert!(manager.hear().starts_with("READY=1\n"));
    send_signal("TERM", i64::from(pid));
    assert!(manager.hear().starts_with("STOPPING=1\n"));
    wait_for_end(pid);
    place.sandbox.finish([]);
}

#[test]
fn a_manager_that_is_not_there_is_warned_of_and_done_without() {
    let place = Place::new();
    for socket in ["/no/such/socket", "relative", "vsock:2:99"] {
        let daemon = Daemon::start(place.daemon().env("NOTIFY_SOCKET", socket).env("WATCHDOG_USEC", "1"));
        daemon.wait_for_lines(&format!("Warning: NOTIFY_SOCKET {socket}: "), 1);
        daemon.assert_serves();
    }
    place.sandbox.assert_clean();
}

/// A daemon behind systemd's tool, which has opened sockets for it.
fn activated(place: &Place, tool: &[&str], options: &[&str]) -> Run {
    assert!(fs::exists(ACTIVATE).unwrap(), "{ACTIVATE} is missing (package systemd)");
    let temporary = place.sandbox.server_directory();
    place
        .sandbox
        .command(ACTIVATE)
        .args(tool)
        .args([
            format!("--setenv=TMPDIR={}", temporary.display()),
            format!("--setenv=PATH={}", place.search_path()),
        ])
        .args([place.path("bin/distccd")])
        .args(place.script_options())
        .args(["--log-stderr", "--allow", "127.0.0.1"])
        .args(options)
}

#[test]
fn passed_sockets_take_the_place_of_the_port() {
    let place = Place::new();
    let (jobs, more, statistics, unused) = (free_port(), free_port(), free_port(), free_port().to_string());
    let listen = |port: u16| format!("--listen=127.0.0.1:{port}");
    let tool = [listen(jobs), listen(statistics), listen(more)];
    let mut tool: Vec<&str> = tool.iter().map(String::as_str).collect();
    tool.push("--fdname=distccd.socket:stats:other");
    let running = activated(&place, &tool, &["--daemon", "--no-detach", "--port", &unused]).start();
    let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    wait_until("the socket", || TcpStream::connect(address(jobs)).is_ok());
    for port in [jobs, more] {
        assert_eq!(ask(address(port), &job("printf x >$out")).unwrap().object, b"x", "{port}");
    }
    assert!(TcpStream::connect(format!("127.0.0.1:{unused}")).is_err(), "--port is served, too");
    // Statistics are there without --stats, and jobs are not.
    let mut visitor = connect(address(statistics));
    visitor.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut page = String::new();
    visitor.read_to_string(&mut page).unwrap();
    assert!(page.contains("dcc_compile_ok"), "{page}");
    let mut client = connect(address(statistics));
    let _ = client.write_all(&job("printf x >$out"));
    let mut said = Vec::new();
    let _ = client.take(4).read_to_end(&mut said);
    assert_ne!(said, b"DONE");
    running.signal("TERM");
    let outcome = running.finish();
    assert_eq!(outcome.signal(), Some(15), "{outcome}");
    assert_eq!(outcome.err_lines_with("listening on 127.0.0.1:"), 2, "{outcome}");
    place.sandbox.finish([]);
}

#[test]
fn a_passed_connection_is_served_like_an_inetds() {
    let place = Place::new();
    for inetd in [false, true] {
        let port = free_port();
        let listen = format!("--listen=127.0.0.1:{port}");
        let mut tool = vec![listen.as_str(), "--accept"];
        if inetd {
            tool.push("--inetd");
        }
        let running = activated(&place, &tool, &[]).start();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        wait_until("the socket", || TcpStream::connect(address).is_ok());
        for _ in 0..2 {
            let mut stream = connect(address);
            stream.write_all(&request(1, &["cc", "-c", "a.c"], b"printf x >$out\n")).unwrap();
            assert_eq!(read_reply(&mut stream).unwrap().object, b"x");
        }
        running.signal("TERM");
        running.finish();
    }
    place.sandbox.finish([]);
}

#[test]
fn what_is_passed_and_of_no_use_keeps_the_server_from_starting() {
    let place = Place::new();
    // The shell makes the number known that it is about to give to the daemon.
    for (open, code, words) in [
        ("", 102, "socket 1 (\"\") of the service manager: not open"),
        ("3</dev/null", 102, "socket 1 (\"\") of the service manager: not a TCP socket"),
    ] {
        let script = format!("LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\" {open}");
        let run = place.sandbox.command("/bin/sh").args(["-c", &script]);
        let run = run.args([place.path("bin/distccd")]).args(["--daemon", "--no-detach", "--log-stderr"]);
        let outcome = run.args(["--port=0", "--lifetime=5"]).run();
        assert_eq!(outcome.code(), code, "{outcome}");
        assert!(outcome.err().contains(words), "{outcome}");
    }
    let port = free_port();
    let listen = format!("--listen=127.0.0.1:{port}");
    for (tool, options, words) in [
        (vec![listen.as_str()], ["--inetd"], "--inetd: the service manager has passed listening sockets"),
        (
            vec![listen.as_str(), "--accept"],
            ["--daemon"],
            "--daemon: the service manager has passed a connection",
        ),
    ] {
        let running = activated(&place, &tool, &options).start();
        wait_until("the socket", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        std::thread::sleep(Duration::from_millis(300));
        running.signal("TERM");
        let outcome = running.finish();
        assert!(outcome.err().contains(words), "{outcome}");
    }
    place.sandbox.finish([]);
}

#[test]
fn descriptors_for_another_process_are_not_ours() {
    let place = Place::new();
    let builder = place.daemon().env("LISTEN_PID", "1").env("LISTEN_FDS", "5");
    let daemon = Daemon::start(builder);
    daemon.assert_serves();
    place.finish(daemon);
}
