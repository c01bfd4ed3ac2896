//! Mutual authentication (host option `,auth`, `distccd --auth`) with a real Kerberos realm: with ourselves and with
//! distcc 3.4, and everything that can go wrong before a job is sent.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use support::{Daemon, DaemonBuilder, Realm, Run, Sandbox, gssapi_binary, start_sshd, wait_until};

/// The largest token (docs/protocol.md), in bytes.
const TOKEN_BYTES_MAX: usize = 64 << 10;
/// How long a handshake takes that meets no trouble, with much patience.
const SOON: Duration = Duration::from_secs(5);

/// A sandbox with a realm, a server's keys and alice's ticket.
struct Place {
    sandbox: Sandbox,
    realm: Realm,
    keytab: PathBuf,
    alice: PathBuf,
}

impl Place {
    fn new() -> Place {
        let sandbox = Sandbox::of(gssapi_binary());
        let realm = Realm::new(&sandbox, "HOME.TEST");
        let keytab = realm.keytab(&sandbox, "server", &["distcc/localhost", "host/localhost"]);
        let alice = realm.ticket(&sandbox, "alice", "1h");
        sandbox.write("a.c", "int a(void) { return 7; }\n");
        let local = sandbox.command("/usr/bin/gcc").args(["-c", "a.c", "-o", "local.o"]).run();
        local.assert_quiet_success();
        Place { sandbox, realm, keytab, alice }
    }

    fn server(&self, builder: DaemonBuilder) -> DaemonBuilder {
        let builder = self
            .realm
            .variables()
            .into_iter()
            .fold(builder, |builder, (name, value)| builder.env(name, value));
        builder.args(["--auth"]).env("KRB5_KTNAME", &self.keytab).env("DISTCCD_PRINCIPAL", "distcc@localhost")
    }

    fn daemon(&self, options: &[&str]) -> Daemon {
        self.server(self.sandbox.daemon()).args(options).start()
    }

    fn client(&self, run: Run) -> Run {
        let run = self.realm.within(run).env("DISTCC_PRINCIPAL", "distcc").env("DISTCC_FALLBACK", "0");
        run.env("KRB5CCNAME", &self.alice)
    }

    fn ours(&self, host: &str) -> Run {
        let run = self.client(self.sandbox.distcc(["gcc", "-c", "a.c", "-o", "a.o"])).hosts(host);
        // Each failure is for itself. A client of 3.4 would try for ever.
        run.env("DISTCC_BACKOFF_PERIOD", "0")
    }

    fn theirs(&self, host: &str) -> Run {
        let _ = fs::remove_dir_all(self.sandbox.path("distcc/lock"));
        self.client(self.sandbox.debian_distcc(["gcc", "-c", "a.c", "-o", "a.o"])).hosts(host)
    }

    #[track_caller]
    fn assert_compiles(&self, run: Run) {
        let _ = fs::remove_file(self.sandbox.work("a.o"));
        run.run().assert_worked();
        assert!(self.sandbox.read("a.o") == self.sandbox.read("local.o"), "another object");
    }

    /// The code and the words of a client that compiles nothing.
    #[track_caller]
    fn refused(&self, run: Run) -> String {
        let _ = fs::remove_file(self.sandbox.work("a.o"));
        let run = run.run();
        assert!(!run.status.success() && !self.sandbox.work("a.o").exists(), "{run}");
        run.err()
    }

    /// Ends it all. What was accepted stays in the servers' directories, so that it is not accepted again.
    fn finish(mut self, daemons: impl IntoIterator<Item = Daemon>) {
        for mut daemon in daemons {
            daemon.stop();
            for entry in fs::read_dir(daemon.temporary()).unwrap().flatten() {
                if entry.file_name().to_string_lossy().ends_with(".rcache2") {
                    fs::remove_file(entry.path()).unwrap();
                }
            }
        }
        self.realm.stop();
        self.sandbox.finish([]);
    }
}

fn auth(daemon: &Daemon) -> String {
    format!("{},auth=localhost", daemon.host())
}

#[test]
fn jobs_are_compiled_for_those_who_say_who_they_are() {
    let place = Place::new();
    let (ours, theirs) = (place.daemon(&[]), place.server(place.sandbox.debian_daemon()).start());
    for options in ["", ",lzo"] {
        for host in
            [format!("{},auth=localhost{options}", ours.host()), format!("{}{options},auth", ours.host())]
        {
            place.assert_compiles(place.ours(&host));
        }
        place.assert_compiles(place.ours(&format!("{}{options}", auth(&theirs))));
        place.assert_compiles(place.theirs(&format!("{}{options}", auth(&ours))));
    }
    // In pump mode, too.
    let client = place.sandbox.path("bin/distcc").display().to_string();
    let pump = place.sandbox.applet("pump").args([&client, "gcc", "-c", "a.c", "-o", "a.o"]);
    place.assert_compiles(place.client(pump).hosts(&format!("{},lzo,cpp", auth(&ours))));
    // Without DISTCC_PRINCIPAL, a server is host/NAME.
    let hosts = place.server(place.sandbox.daemon()).env("DISTCCD_PRINCIPAL", "host/localhost").start();
    place.assert_compiles(place.ours(&auth(&hosts)).env_remove("DISTCC_PRINCIPAL"));
    ours.wait_for_jobs(7);
    let named = "gcc a.c principal:alice@HOME.TEST";
    assert_eq!(ours.log().matches(named).count(), 7, "{}", ours.log());
    place.finish([ours, theirs, hosts]);
}

#[test]
fn it_works_over_version_six_through_a_forwarded_port_and_over_ssh() {
    let place = Place::new();
    let six = place.server(place.sandbox.daemon()).listen("::1").start();
    place.assert_compiles(place.ours(&auth(&six)));
    let four = place.daemon(&[]);
    let forwarded = forward(four.port(), usize::MAX);
    place.assert_compiles(place.ours(&format!("127.0.0.1:{forwarded},auth=localhost")));

    let (server, _, ssh) = start_sshd(&place.sandbox);
    let log = place.sandbox.path("ssh.log");
    fs::write(&log, "").unwrap();
    fs::set_permissions(&log, fs::Permissions::from_mode(0o666)).unwrap();
    let mut settings = vec![
        ("PATH", "/usr/bin:/bin".to_string()),
        ("TMPDIR", place.sandbox.server_directory().display().to_string()),
        ("KRB5_KTNAME", place.keytab.display().to_string()),
        ("DISTCCD_PRINCIPAL", "distcc@localhost".to_string()),
    ];
    settings.extend(place.realm.variables().map(|(name, value)| (name, value.display().to_string())));
    let settings: String =
        settings.iter().map(|(name, value)| format!("export {name}='{value}'\n")).collect();
    let daemon = place.sandbox.path("bin/distccd");
    let script = place.sandbox.script(
        "bin/kerberized",
        &format!(
            "{settings}exec {} --log-level info --log-file {} \"$@\"\n",
            daemon.display(),
            log.display()
        ),
    );
    let host = format!("@localhost:{},auth=localhost", script.display());
    place.assert_compiles(place.ours(&host).env("DISTCC_SSH", &ssh));
    let read = || fs::read_to_string(&log).unwrap_or_default();
    wait_until("the job over ssh", || read().contains("principal:alice@HOME.TEST"));
    server.signal("TERM");
    server.finish();
    let cache = fs::read_dir(place.sandbox.path("server-2")).unwrap().flatten().next().unwrap();
    fs::remove_file(cache.path()).unwrap();
    place.finish([six, four]);
}

#[test]
fn lists_decide_who_may() {
    let place = Place::new();
    let list = |name: &str, text: &str| {
        let path = place.sandbox.path(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (alices, others) = (list("alices", "alice\n"), list("others", "bob\ncarol@HOME.TEST\n"));
    let mut daemons = Vec::new();
    for (option, file, is_admitted) in [
        ("--whitelist", &alices, true),
        ("--whitelist", &others, false),
        ("--blacklist", &alices, false),
        ("--blacklist", &others, true),
    ] {
        let daemon = place.daemon(&[option, file]);
        if is_admitted {
            place.assert_compiles(place.ours(&auth(&daemon)));
            place.assert_compiles(place.theirs(&auth(&daemon)));
        } else {
            let said = place.refused(place.ours(&auth(&daemon)));
            assert!(said.contains("it denies access: alice@HOME.TEST is"), "{said}");
            assert!(said.contains(file.as_str()), "{said}");
            place.refused(place.theirs(&auth(&daemon)));
            daemon.wait_for_log("is denied: alice@HOME.TEST is");
            daemon.wait_for_log("OTHER exit:0 sig:0 core:0 ret:113");
        }
        daemons.push(daemon);
    }
    // 3.4's server says no more than that it denies.
    let theirs = place.server(place.sandbox.debian_daemon()).args(["--blacklist", &alices]).start();
    let said = place.refused(place.ours(&auth(&theirs)));
    assert!(said.contains("it denies access to your principal"), "{said}");
    daemons.push(theirs);
    place.finish(daemons);
}

#[test]
fn who_cannot_say_who_they_are_is_told_why_and_sends_no_source() {
    let place = Place::new();
    let daemon = place.daemon(&[]);
    let host = auth(&daemon);
    // No ticket at all, and one whose time is over.
    let said = place.refused(place.ours(&host).env("KRB5CCNAME", "/nonexistent"));
    assert!(said.contains("No Kerberos credentials available"), "{said}");
    let expired = place.realm.ticket(&place.sandbox, "bob", "1s");
    std::thread::sleep(Duration::from_millis(2500));
    let said = place.refused(place.ours(&host).env("KRB5CCNAME", expired));
    assert!(said.contains("expired"), "{said}");
    // A service that nobody knows.
    let said = place.refused(place.ours(&host).env("DISTCC_PRINCIPAL", "nonesuch"));
    assert!(said.contains("nonesuch/localhost@HOME.TEST not found"), "{said}");
    // A service that is there, but is not this one: another server's name would lead there, too.
    let (other, _) = (place.realm.keytab(&place.sandbox, "other", &["distcc/other.test"]), ());
    drop(other);
    let host_elsewhere = format!("{},auth=other.test", daemon.host());
    let said = place.refused(place.ours(&host_elsewhere).env("DISTCC_PRINCIPAL", "distcc"));
    assert!(said.contains("denies access") || said.contains("not found"), "{said}");
    // Another realm, which has a server of the same name, with other keys.
    let mut realm = Realm::new(&place.sandbox, "AWAY.TEST");
    realm.keytab(&place.sandbox, "server", &["distcc/localhost"]);
    let stranger = realm.ticket(&place.sandbox, "alice", "1h");
    let said = place.refused(realm.within(place.ours(&host)).env("KRB5CCNAME", stranger));
    assert!(said.contains("it denies access: authenticate the client"), "{said}");
    realm.stop();
    assert_eq!(daemon.compilations(), 0, "{}", daemon.log());
    assert!(!daemon.log().contains("bytes received"), "{}", daemon.log());
    // With somewhere else to go, they go there.
    let plain = place.sandbox.daemon().start();
    let away = place.ours(&format!("{host} {}", plain.host())).env("KRB5CCNAME", "/nonexistent");
    place.assert_compiles(away);
    plain.wait_for_jobs(1);
    let local = place.ours(&host).env("KRB5CCNAME", "/nonexistent").env("DISTCC_FALLBACK", "1");
    place.assert_compiles(local);
    place.finish([daemon, plain]);
}

#[test]
fn a_client_and_a_server_of_two_minds_find_out() {
    let place = Place::new();
    let (wary, plain) = (place.daemon(&[]), place.sandbox.daemon().start());
    let said = place.refused(place.ours(&wary.host()));
    assert!(
        said.contains("this server wants to know who its clients are") && said.contains(",auth"),
        "{said}"
    );
    place.refused(place.theirs(&wary.host()));
    let said = place.refused(place.ours(&auth(&plain)));
    assert!(said.contains("does it run distccd with --auth"), "{said}");
    // 3.4's server waits for the rest of a request that never comes.
    let theirs = place.sandbox.debian_daemon().start();
    let said = place.refused(place.ours(&auth(&theirs)));
    assert!(said.contains("a distccd without --auth does that"), "{said}");
    place.finish([wary, plain, theirs]);
}

/// Passes one conversation after the other to a daemon, but so many bytes of its answers at most; then nothing more.
fn forward(daemon: u16, answers_max: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut server = TcpStream::connect(("127.0.0.1", daemon)).unwrap();
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut (&mut server).take(answers_max as u64), &mut client);
                if answers_max < usize::MAX {
                    // The client must give up by itself.
                    let _ = client.read_to_end(&mut Vec::new());
                }
                let _ = client.shutdown(Shutdown::Both);
            });
        }
    });
    port
}

#[test]
fn a_server_that_stalls_is_left_in_each_step() {
    let place = Place::new();
    let daemon = place.daemon(&[]);
    let (sandbox, place) = (&place.sandbox, &place);
    std::thread::scope(|scope| {
        // Nothing; the notice; half a token; a token, and no verdict.
        for (answers, said) in [
            (0, "it has not said whether it authenticates for 10 s"),
            (1, "it has not said a token for 10 s"),
            (40, "it has not said a whole token for 10 s"),
        ] {
            let host = format!("127.0.0.1:{},auth=localhost", forward(daemon.port(), answers));
            scope.spawn(move || {
                let began = Instant::now();
                let run =
                    place.client(sandbox.distcc(["gcc", "-c", "a.c", "-o", &format!("stalled{answers}.o")]));
                let run = run.hosts(&host).run();
                assert!(!run.status.success() && run.err().contains(said), "{run}");
                let took = began.elapsed();
                assert!(took > Duration::from_secs(9) && took < Duration::from_secs(15), "{took:?}");
            });
        }
    });
    // They are all strangers to each other: the daemon goes on.
    place.assert_compiles(place.ours(&auth(&daemon)));
    drop(daemon);
}

/// What the server answers to these bytes, until it closes, or has said why not, or for so long.
fn answer(daemon: &Daemon, pieces: &[&[u8]], patience: Duration) -> (Vec<u8>, bool) {
    let mut stream = TcpStream::connect(daemon.host()).unwrap();
    stream.set_read_timeout(Some(patience)).unwrap();
    for piece in pieces {
        if stream.write_all(piece).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (said, true),
            Ok(count) => {
                said.extend_from_slice(&buffer[..count]);
                if said.ends_with(b"\n") {
                    return (said, true);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return (said, true),
            Err(_) => return (said, false),
        }
    }
}

#[test]
fn what_is_no_handshake_ends_without_harm() {
    let place = Place::new();
    let daemon = place.daemon(&[]);
    let huge = [b"TLEN00010000".as_slice(), &vec![0x60; TOKEN_BYTES_MAX]].concat();
    for (pieces, verdict, logged) in [
        ([b"x".as_slice()].as_slice(), b"".as_slice(), "expected the beginning of a handshake but got"),
        (&[b"GET / HTTP/1.0\r\n\r\n"], b"", "expected the beginning of a handshake but got"),
        (&[b"*", b"DIST00000001"], b"*", "expected token TLEN but got"),
        (&[b"*", b"TLEN00000000"], b"*", "a token of the handshake is empty"),
        (&[b"*", b"TLEN00010001"], b"*", "65537 is beyond the limit of 65536"),
        (&[b"*", b"TLENffffffff"], b"*", "is beyond the limit of 65536"),
        (&[b"*", b"TLEN0000000x"], b"*", "bad number"),
        (&[b"*", b"TLEN00000005abcde"], b"*n", "is denied: authenticate the client"),
        (&[b"*", &huge], b"*n", "is denied: authenticate the client"),
        (&[b"*TLEN00000005abcde"], b"*n", "is denied: authenticate the client"),
        (&[b"*", b"TLEN00000005abcdeDIST00000001"], b"*", "bytes came before the handshake was over"),
    ] {
        let before = daemon.log().len();
        let (said, is_closed) = answer(&daemon, pieces, SOON);
        assert!(is_closed, "{pieces:?}");
        assert!(said.starts_with(verdict), "{:?} to {pieces:?}", String::from_utf8_lossy(&said));
        wait_until(logged, || daemon.log()[before..].contains(logged));
    }
    // Those who stop in each step hold nobody up.
    let stalled: Vec<TcpStream> =
        [b"".as_slice(), b"*", b"*TLEN", b"*TLEN00000100", b"*TLEN00000100\x60\x82"]
            .iter()
            .map(|bytes| {
                let mut stream = TcpStream::connect(daemon.host()).unwrap();
                stream.write_all(bytes).unwrap();
                stream
            })
            .collect();
    let began = Instant::now();
    place.assert_compiles(place.ours(&auth(&daemon)));
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    drop(stalled);
    wait_until("those who left", || daemon.log().matches("it left before").count() >= 4);
    place.finish([daemon]);
}

#[test]
fn what_was_said_once_is_not_believed_twice() {
    let place = Place::new();
    let daemon = place.daemon(&[]);
    // Between the two, somebody who writes down what the client says.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, target) = (listener.local_addr().unwrap().port(), daemon.host());
    let (recorded, recording) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut server = TcpStream::connect(target).unwrap();
        let (mut answers, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut answers, &mut back);
            let _ = back.shutdown(Shutdown::Write);
        });
        let mut said = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = client.read(&mut buffer) {
            said.extend_from_slice(&buffer[..count]);
            server.write_all(&buffer[..count]).unwrap();
        }
        let _ = recorded.send(said);
    });
    place.assert_compiles(place.ours(&format!("127.0.0.1:{port},auth=localhost")));
    let said = recording.recv_timeout(SOON).unwrap();
    assert!(said.starts_with(b"*TLEN"), "no handshake");
    let request = said.windows(4).position(|window| window == b"DIST").expect("a request");
    let (reply, is_closed) = answer(&daemon, &[&said[..1], &said[1..request]], SOON);
    assert!(is_closed && reply.starts_with(b"*n"), "{:?}", String::from_utf8_lossy(&reply));
    daemon.wait_for_log("Request is a replay");
    place.finish([daemon]);
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let place = Place::new();
    let list = place.sandbox.path("list").display().to_string();
    fs::write(&list, "alice\n").unwrap();
    let keytab = place.keytab.display().to_string();
    for (options, principal, keys, code, said) in [
        (["--auth"].as_slice(), "", keytab.as_str(), 119, "DISTCCD_PRINCIPAL is not set"),
        (&["--auth"], "distcc@localhost", "/nonexistent", 119, "the keys of distcc@localhost"),
        (&["--auth"], "nonesuch@localhost", &keytab, 119, "the keys of nonesuch@localhost"),
        (&["--auth", "--whitelist", "/nonexistent"], "distcc@localhost", &keytab, 119, "read /nonexistent"),
        (
            &["--auth", "--whitelist", &list, "--blacklist", &list],
            "distcc@localhost",
            &keytab,
            101,
            "one of them",
        ),
        (&["--whitelist", &list], "distcc@localhost", &keytab, 101, "needs --auth"),
    ] {
        let run =
            place.sandbox.applet("distccd").args(["--no-detach", "--daemon", "--port=0", "--log-stderr"]);
        let run = place
            .realm
            .within(run)
            .args(options)
            .env("DISTCCD_PRINCIPAL", principal)
            .env("KRB5_KTNAME", keys);
        let run = run.run();
        assert_eq!(run.code(), code, "{options:?}: {run}");
        assert!(run.err().contains(said), "{options:?}: {run}");
    }
    for (program, variable) in [("distcc", "DISTCC_PRINCIPAL"), ("distccd", "DISTCCD_PRINCIPAL")] {
        let ask = || place.sandbox.applet(program).args(["--show-principal"]);
        assert_eq!(ask().env(variable, "distcc").run().out(), "Principal is\t: distcc\n");
        assert_eq!(ask().run().out(), "Principal\t: Not Set.\n");
    }
    place.finish([]);
}

#[test]
fn a_build_without_gssapi_says_which_one_has_it() {
    let sandbox = Sandbox::new();
    sandbox.write("a.c", "int a;\n");
    let daemon = sandbox.daemon().start();
    let run = sandbox.distcc(["gcc", "-c", "a.c"]).hosts(&auth(&daemon)).env("DISTCC_FALLBACK", "0").run();
    assert_eq!(run.code(), 119, "{run}");
    let server = sandbox.applet("distccd").args(["--auth", "--no-detach", "--daemon", "--port=0"]).run();
    assert_eq!(server.code(), 101, "{server}");
    let client = sandbox.distcc(["--show-principal"]).run();
    assert_eq!(client.code(), 100, "{client}");
    for run in [run, server, client] {
        assert!(
            run.err().contains("this build has no GSS-API: install the package distcc-rs-gssapi"),
            "{run}"
        );
    }
    assert_eq!(daemon.compilations(), 0);
    sandbox.finish([daemon]);
}
