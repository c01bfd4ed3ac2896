//! One job on standard input and output: for ssh, for inetd and its like, over sockets and pipes; and without the
//! second that distcc 3.4 takes for each such job.

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use raw::{Place, SOON, closes, job, read_reply, request, wait_for_end};
use support::{free_port, is_root, require, start_sshd, tree_of, wait_until};

/// A daemon in inetd mode, and where its log goes.
struct Inetd<'a> {
    place: &'a Place,
    child: Child,
    log: PathBuf,
    temporary: PathBuf,
}

impl Inetd<'_> {
    fn start<'a>(place: &'a Place, options: &[&str], stdin: Stdio, stdout: Stdio) -> Inetd<'a> {
        let (log, temporary) = (place.path("marks/log"), place.sandbox.server_directory());
        let _ = fs::remove_file(&log);
        let child = Command::new(place.path("bin/distccd"))
            .env_clear()
            .env("PATH", place.search_path())
            .env("TMPDIR", &temporary)
            .args(["--log-level", "info", "--log-file"])
            .arg(&log)
            .args(place.script_options())
            .args(options)
            .stdin(stdin)
            .stdout(stdout)
            .spawn()
            .unwrap();
        Inetd { place, child, log, temporary }
    }

    /// It must end by itself, with success, and leave nothing but its log.
    #[track_caller]
    fn finish(mut self) -> String {
        let pid = self.child.id();
        wait_for_end(pid);
        let status = self.child.wait().unwrap();
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(tree_of(&self.temporary).0.is_empty());
        self.place.sandbox.assert_clean();
        log
    }
}

impl Drop for Inetd<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pair() -> (UnixStream, Stdio, Stdio) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (stdin, stdout): (OwnedFd, OwnedFd) = (theirs.try_clone().unwrap().into(), theirs.into());
    (ours, stdin.into(), stdout.into())
}

#[test]
fn a_job_is_done_over_a_pair_of_sockets_without_being_asked_for_inetd() {
    let place = Place::new();
    for options in [["--inetd"].as_slice(), &[], &["--jobs=2", "--enable-tcp-insecure"]] {
        let (mut stream, stdin, stdout) = pair();
        let began = Instant::now();
        let inetd = Inetd::start(&place, options, stdin, stdout);
        {
            let version = 2;
            stream
                .write_all(&request(version, &["cc", "-c", "a.c"], b"printf x >$out; printf e >&2"))
                .unwrap();
            let reply = read_reply(&mut stream).unwrap();
            assert_eq!(
                (reply.status, reply.object.as_slice(), reply.stderr.as_str()),
                (0, b"x".as_slice(), "e")
            );
        }
        let log = inetd.finish();
        assert!(began.elapsed() < SOON, "{options:?}: {:?}", began.elapsed());
        assert!(log.contains("COMPILE_OK"), "{log}");
    }
    drop(place);
}

#[test]
fn a_job_is_done_over_pipes() {
    let place = Place::new();
    let began = Instant::now();
    let mut inetd = Inetd::start(&place, &["--inetd"], Stdio::piped(), Stdio::piped());
    let (mut stdin, mut stdout) = (inetd.child.stdin.take().unwrap(), inetd.child.stdout.take().unwrap());
    stdin.write_all(&job("seq 1000000 | head -c 3000000 >$out")).unwrap();
    let reply = read_reply(&mut stdout).unwrap();
    assert_eq!((reply.status, reply.object.len()), (0, 3_000_000));
    assert_eq!(stdout.read(&mut [0]).unwrap(), 0);
    let log = inetd.finish();
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert!(log.contains("client: NOTSOCKET COMPILE_OK"), "{log}");
    drop(stdin);
}

#[test]
fn pipes_are_admitted_whatever_the_rules_are() {
    let place = Place::new();
    let mut inetd = Inetd::start(&place, &["--inetd", "--allow=192.0.2.1"], Stdio::piped(), Stdio::piped());
    let (mut stdin, mut stdout) = (inetd.child.stdin.take().unwrap(), inetd.child.stdout.take().unwrap());
    stdin.write_all(&job("printf x >$out")).unwrap();
    assert_eq!(read_reply(&mut stdout).unwrap().object, b"x");
    inetd.finish();
}

#[test]
fn inherited_connections_are_judged_by_their_address() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for (rule, status) in [("--allow=127.0.0.1", 0), ("--allow=192.0.2.1", 113 << 8)] {
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server: OwnedFd = listener.accept().unwrap().0.into();
        let (stdin, stdout) = (server.try_clone().unwrap(), server);
        let inetd = Inetd::start(&place, &["--inetd", rule], stdin.into(), stdout.into());
        client.write_all(&job("printf x >$out")).unwrap();
        assert_eq!(read_reply(&mut client).unwrap().status, status, "{rule}");
        drop(client);
        assert!(inetd.finish().contains("client: 127.0.0.1:"));
    }
}

#[test]
fn a_client_that_leaves_ends_the_compiler_and_the_daemon() {
    let place = Place::new();
    let script = "sleep 60 & echo $! >$marks/child; echo $$ >$marks/compiler; wait";
    let (mut stream, stdin, stdout) = pair();
    let inetd = Inetd::start(&place, &["--inetd"], stdin, stdout);
    stream.write_all(&job(script)).unwrap();
    let processes = [place.wait_for_pid("child"), place.wait_for_pid("compiler")];
    let began = Instant::now();
    drop(stream);
    processes.into_iter().for_each(wait_for_end);
    assert!(inetd.finish().contains("CLI_DISCONN"));
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());

    fs::remove_file(place.mark("child")).unwrap();
    fs::remove_file(place.mark("compiler")).unwrap();
    let mut inetd = Inetd::start(&place, &["--inetd"], Stdio::piped(), Stdio::piped());
    let mut stdin = inetd.child.stdin.take().unwrap();
    stdin.write_all(&job(script)).unwrap();
    let processes = [place.wait_for_pid("child"), place.wait_for_pid("compiler")];
    drop(stdin);
    processes.into_iter().for_each(wait_for_end);
    assert!(inetd.finish().contains("CLI_DISCONN"));
}

#[test]
fn rubbish_and_silence_end_it() {
    let place = Place::new();
    for bytes in [b"".as_slice(), b"GET / HTTP/1.0\r\n\r\n", b"DIST00000001ARGC"] {
        let (mut stream, stdin, stdout) = pair();
        let inetd = Inetd::start(&place, &["--inetd"], stdin, stdout);
        let _ = stream.write_all(bytes);
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0, "{}", bytes.escape_ascii());
        drop(stream);
        inetd.finish();
    }
}

/// A script that is `distccd` with this place's surroundings, for whoever clears the environment.
fn wrapped_daemon(place: &Place) -> PathBuf {
    let (log, temporary) = (place.path("marks/log"), place.sandbox.server_directory());
    let words = format!(
        "echo \"$@\" >>{}\nexport TMPDIR={} PATH={}\nexec {} --log-level info --log-file {} {} \"$@\"\n",
        place.mark("arguments").display(),
        temporary.display(),
        place.search_path(),
        place.path("bin/distccd").display(),
        log.display(),
        place.script_options().join(" "),
    );
    place.sandbox.script("bin/wrapped-distccd", &words)
}

/// Compiles through a host word with our client and that of 3.4, and says how long each took.
fn compile_through(place: &Place, host: &str, ssh: &str) -> [Duration; 2] {
    place.sandbox.write("a.c", "int a(void) { return 7; }\n");
    let local = place.sandbox.command("/usr/bin/gcc").args(["-c", "a.c", "-o", "local.o"]).run();
    local.assert_quiet_success();
    [
        place.sandbox.distcc(["gcc", "-c", "a.c", "-o", "a.o"]),
        place.sandbox.debian_distcc(["gcc", "-c", "a.c", "-o", "a.o"]),
    ]
    .map(|run| {
        let run = run.hosts(host).env("DISTCC_SSH", ssh).env("DISTCC_FALLBACK", "0").run();
        assert!(run.status.success(), "{run}");
        assert_eq!(place.sandbox.read("a.o"), place.sandbox.read("local.o"));
        fs::remove_file(place.sandbox.work("a.o")).unwrap();
        run.elapsed
    })
}

fn wait_for_summaries(place: &Place, count: usize) -> String {
    let read = || fs::read_to_string(place.path("marks/log")).unwrap_or_default();
    wait_until("the summaries", || read().matches(" COMPILE_OK ").count() == count);
    read()
}

#[test]
fn xinetd_serves_without_a_quantum() {
    let xinetd = require("xinetd");
    if !is_root() {
        eprintln!("skipped: only root can start xinetd");
        return;
    }
    let place = Place::new();
    let (port, daemon) = (free_port(), wrapped_daemon(&place));
    let configuration = place.path("xinetd.conf");
    fs::write(
        &configuration,
        format!(
            "service distcc\n{{\n type = UNLISTED\n port = {port}\n bind = 127.0.0.1\n socket_type = stream\n \
             protocol = tcp\n wait = no\n user = root\n instances = 20\n server = {}\n \
             server_args = --inetd --allow 127.0.0.1\n disable = no\n}}\n",
            daemon.display()
        ),
    )
    .unwrap();
    let server = place.sandbox.command(xinetd).args(["-dontfork", "-f"]).args([&configuration]);
    let mut server = server.args(["-pidfile"]).args([place.path("xinetd.pid")]).start();
    let address = ([127, 0, 0, 1], port).into();
    wait_until("xinetd", || TcpStream::connect(address).is_ok() || !server.is_running());

    let began = Instant::now();
    for number in 0..5 {
        let mut stream = raw::connect(address);
        stream.write_all(&job(&format!("printf {number} >$out"))).unwrap();
        assert_eq!(read_reply(&mut stream).unwrap().object, number.to_string().as_bytes());
        assert!(closes(&mut stream));
    }
    assert!(began.elapsed() < 5 * SOON / 2, "five jobs took {:?}", began.elapsed());
    let times = compile_through(&place, &format!("127.0.0.1:{port},lzo"), "");
    assert!(times.iter().all(|time| *time < Duration::from_secs(1)), "{times:?}");
    let log = wait_for_summaries(&place, 7);
    assert!(log.contains("client: 127.0.0.1:"), "{log}");
    server.signal("TERM");
    server.finish();
    place.sandbox.finish([]);
}

#[test]
fn ssh_carries_jobs_of_both_clients() {
    let place = Place::new();
    let (server, _, ssh) = start_sshd(&place.sandbox);
    let daemon = wrapped_daemon(&place).display().to_string();
    let user = place.sandbox.command("/usr/bin/id").args(["-un"]).run().out().trim().to_owned();
    let mut jobs = 0;
    for host in [format!("@127.0.0.1:{daemon}"), format!("{user}@127.0.0.1/2:{daemon},lzo")] {
        let times = compile_through(&place, &host, &ssh);
        jobs += 2;
        // A login is most of it; 3.4's daemon would add a second to each.
        assert!(times.iter().all(|time| *time < Duration::from_secs(2)), "{host}: {times:?}");
    }
    let log = wait_for_summaries(&place, jobs);
    assert_eq!(
        log.matches("client: NOTSOCKET COMPILE_OK").count() + log.matches("client: LOCALSOCKET").count(),
        jobs
    );
    let arguments = fs::read_to_string(place.mark("arguments")).unwrap();
    assert!(arguments.lines().all(|line| line == "--inetd --enable-tcp-insecure"), "{arguments}");
    server.signal("TERM");
    server.finish();
    place.sandbox.finish([]);
}

#[test]
fn an_ssh_that_fails_is_a_failed_host() {
    let place = Place::new();
    place.sandbox.write("a.c", "int a;\n");
    for ssh in ["/bin/false", "no-such-ssh --option"] {
        let run = place.sandbox.distcc(["gcc", "-c", "a.c"]).hosts("@127.0.0.1").env("DISTCC_SSH", ssh);
        let run = run.env("DISTCC_BACKOFF_PERIOD", "0").run();
        assert!(run.status.success(), "{run}");
        assert!(run.err().contains("@127.0.0.1"), "{run}");
        assert!(run.elapsed < Duration::from_secs(2), "{run}");
    }
    place.sandbox.finish([]);
}
