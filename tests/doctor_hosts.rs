//! `distcc --doctor` about hosts: each fault is staged with a real server, or with what is none, and must be named, with
//! what mends it; no host may keep the others waiting, and what it says must not reach the terminal as it is.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use support::faults::with_mounts;
use support::{Outcome, Run, Sandbox, free_port};

/// What a run with only dead hosts may take beside their time limits: four compilers compile a line here.
const SLACK: Duration = Duration::from_secs(8);

/// The findings about some hosts.
struct Findings {
    all: Value,
    outcome: Outcome,
}

impl Findings {
    #[track_caller]
    fn of(run: Run) -> Findings {
        let outcome = run.env("TERM", "xterm").run();
        let all =
            serde_json::from_slice(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome}"));
        Findings { all, outcome }
    }

    /// The checks of one host, or of this machine, with a topic: verdict, words and remedy.
    fn checks(&self, host: Option<&str>, topic: &str) -> Vec<(String, String, String)> {
        let checks = match host {
            None => &self.all["machine"],
            Some(word) => {
                let hosts = self.all["hosts"].as_array().unwrap();
                let host = hosts.iter().find(|host| host["host"] == word);
                &host.unwrap_or_else(|| panic!("no {word} in {}", self.outcome))["checks"]
            }
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let of_topic = checks.as_array().unwrap().iter().filter(|check| check["check"] == topic);
        of_topic
            .map(|check| (text(&check["verdict"]), text(&check["words"]), text(&check["remedy"])))
            .collect()
    }

    /// Fails unless one check of the topic has this verdict, and words and remedy hold these texts.
    #[track_caller]
    fn assert(&self, host: &str, topic: &str, (verdict, words, remedy): (&str, &str, &str)) {
        let checks = self.checks(Some(host), topic);
        let found = checks
            .iter()
            .any(|check| check.0 == verdict && check.1.contains(words) && check.2.contains(remedy));
        assert!(found, "{host} {topic}: no {verdict} {words:?} {remedy:?} in {checks:#?}\n{}", self.outcome);
    }
}

/// `distcc --doctor --json HOSTS`.
fn doctor(sandbox: &Sandbox, hosts: &[&str]) -> Run {
    sandbox.distcc(["--doctor", "--json"].iter().chain(hosts)).env("DISTCC_CONNECT_TIMEOUT", "2")
}

#[test]
fn sound_hosts_are_found_sound() {
    let sandbox = Sandbox::new();
    let daemons = [sandbox.daemon().start(), sandbox.debian_daemon().start()];
    let words: Vec<String> = daemons.iter().flat_map(|daemon| [daemon.host(), daemon.host_lzo()]).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let findings = Findings::of(doctor(&sandbox, &words));
    assert_eq!(findings.outcome.code(), 0, "{}", findings.outcome);
    assert_eq!((&findings.all["can_distribute"], findings.outcome.err().as_str()), (&Value::Bool(true), ""));
    for word in words {
        findings.assert(word, "protocol", ("good", "speaks versions 1, 2, 3", ""));
        findings.assert(word, "clock", ("good", "agrees", ""));
        for compiler in ["x86_64-linux-gnu-gcc", "x86_64-linux-gnu-g++", "clang", "clang++"] {
            findings.assert(
                word,
                "compiler",
                ("good", &format!("{compiler} makes the same object as here"), ""),
            );
        }
    }
    // For people, without colours for a pipe.
    let text = sandbox.distcc(["--doctor", &daemons[0].host()]).run();
    assert_eq!(text.code(), 0, "{text}");
    assert!(text.out().contains("Work can be distributed: to 1 of 1 hosts. Warnings: 0.\n"), "{text}");
    assert!(text.out().contains("  ok       protocol: speaks versions 1, 2, 3\n"), "{text}");
    assert!(!text.out().contains('\x1b'), "{text}");
    assert!(sandbox.backoffs().is_empty());
    sandbox.finish(daemons);
}

#[test]
fn pump_mode_is_tried_with_system_headers() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().start();
    let host = format!("{},cpp", daemon.host_lzo());
    let findings = Findings::of(doctor(&sandbox, &[&host]).env("DISTCC_PUMP", "1"));
    assert_eq!(findings.outcome.code(), 0, "{}", findings.outcome);
    assert_eq!(findings.checks(None, "include server")[0].0, "good", "{}", findings.outcome);
    assert_eq!(findings.checks(Some(&host), "headers").len(), 4, "{}", findings.outcome);
    findings.assert(&host, "headers", ("good", "pump mode with clang++ makes the same object", ""));
    sandbox.end_background_server();
    // Without an include server there is no pump mode, and work can be distributed all the same.
    let findings = Findings::of(doctor(&sandbox, &[&host]));
    assert_eq!(findings.outcome.code(), 0, "{}", findings.outcome);
    let check = &findings.checks(None, "include server")[0];
    assert!(check.0 == "warning" && check.2.contains("unset DISTCC_PUMP"), "{check:?}");
    // Other headers here than there.
    let header = sandbox.path("stdio.h");
    fs::write(&header, fs::read_to_string("/usr/include/stdio.h").unwrap() + "\nextern int more;\n").unwrap();
    let others = with_mounts("mount --bind \"$1\" /usr/include/stdio.h", &[header.to_str().unwrap()]);
    let run = doctor(&sandbox, &[&host]).env("DISTCC_PUMP", "1").env("DISTCC_DIR", sandbox.path("tmp-dir"));
    fs::create_dir(sandbox.path("tmp-dir")).unwrap();
    let findings = Findings::of(run.through(&others));
    assert_eq!(findings.outcome.code(), 0, "{}", findings.outcome);
    findings.assert(&host, "headers", ("warning", "stdio.h", "install the same versions"));
    sandbox.end_background_server();
    sandbox.finish([daemon]);
}

#[test]
fn refusals_are_repeated_with_what_mends_them() {
    let sandbox = Sandbox::new();
    let strangers = ["--allow", "10.9.9.9"];
    let ours = sandbox.daemon().args(strangers).start();
    let theirs = sandbox.debian_daemon().args(strangers).start();
    let findings = Findings::of(doctor(&sandbox, &[&ours.host(), &theirs.host()]));
    assert_eq!(findings.outcome.code(), 1, "{}", findings.outcome);
    findings.assert(&ours.host(), "access", ("bad", "refused the job", "--allow 127.0.0.1"));
    findings.assert(&theirs.host(), "protocol", ("bad", "hangs up without a word", "--allow 127.0.0.1"));
    sandbox.finish([ours, theirs]);
}

/// A directory of compilers for a server: names, and what is behind them.
fn compilers(sandbox: &Sandbox, name: &str, links: &[(&str, &str)]) -> String {
    let directory = sandbox.path(name);
    fs::create_dir(&directory).unwrap();
    for (name, target) in links {
        symlink(target, directory.join(name)).unwrap();
    }
    directory.display().to_string()
}

#[test]
fn compilers_are_compared_by_name_and_version() {
    let sandbox = Sandbox::new();
    let none = compilers(&sandbox, "none", &[]);
    let some = compilers(&sandbox, "some", &[("clang", "/usr/bin/clang")]);
    let other = compilers(&sandbox, "other", &[("x86_64-linux-gnu-gcc", "/usr/bin/clang")]);
    let start = |path: &str| sandbox.daemon().env("PATH", path).env("DISTCCD_PATH", path).start();
    let daemons = [start(&none), start(&some), start(&other)];
    let hosts = daemons.each_ref().map(|daemon| daemon.host());
    let findings = Findings::of(doctor(&sandbox, &hosts.each_ref().map(String::as_str)));
    let [none, some, other] = &hosts;
    findings.assert(
        none,
        "compiler",
        ("bad", "x86_64-linux-gnu-gcc: refused the job", "install the same compiler"),
    );
    findings.assert(some, "compiler", ("warning", "x86_64-linux-gnu-gcc: refused the job", "install"));
    findings.assert(some, "compiler", ("good", "clang makes the same object as here", ""));
    findings.assert(
        other,
        "compiler",
        ("bad", "x86_64-linux-gnu-gcc there is Debian clang version", "install"),
    );
    let able: Vec<bool> = (0..3).map(|index| findings.all["hosts"][index]["able"] == true).collect();
    assert_eq!((able, findings.outcome.code()), (vec![false, true, false], 0), "{}", findings.outcome);
    sandbox.finish(daemons);
}

#[test]
fn a_clock_that_is_wrong_is_seen() {
    let sandbox = Sandbox::new();
    let late = "SOURCE_DATE_EPOCH=$(($(date +%s) - 95)) exec gcc \"$@\"\n";
    sandbox.script("late/x86_64-linux-gnu-gcc", late);
    let path = format!("{}:/usr/bin:/bin", sandbox.path("late").display());
    let daemon = sandbox.daemon().args(["--sandbox=off"]).env("DISTCCD_PATH", path).start();
    let findings = Findings::of(doctor(&sandbox, &[&daemon.host()]));
    let clocks = findings.checks(Some(&daemon.host()), "clock");
    assert!(clocks[0].0 == "warning" && clocks[0].2.contains("timedatectl"), "{clocks:?}");
    let seconds: i64 = clocks[0].1.split(' ').nth(1).unwrap().parse().unwrap();
    assert!((93..=97).contains(&seconds) && clocks[0].1.contains("behind"), "{clocks:?}");
    sandbox.finish([daemon]);
}

/// Serves every connection with `behave`.
fn serve(behave: fn(TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || behave(stream));
        }
    });
    address
}

/// A refusal in version 1, with a text for the terminal.
fn refusing(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 4096]);
    let said = b"\x1b]0;owned\x07no\n\x9b2J";
    let reply = format!("DONE00000001STAT00007100SERR{:08x}", said.len());
    let _ = stream.write_all(&[reply.as_bytes(), said, b"SOUT00000000DOTO00000000"].concat());
}

#[test]
fn what_is_no_server_is_a_line_and_never_a_wait() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().start();
    let silent = serve(|mut stream| while stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {});
    let garbage = serve(|mut stream| drop(stream.write_all(&[0xa5; 4096])));
    let huge = serve(|mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"DONE00000001STAT00000000SERRffffffff");
    });
    let web = serve(|mut stream| drop(stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n")));
    let trickle = serve(|mut stream| {
        for byte in b"DONE00000001STAT00000000SERR00000000SOUT00000000DOTO00ffffff".iter().cycle() {
            if stream.write_all(&[*byte]).is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
    });
    let gone = serve(drop);
    let refusing = serve(refusing);
    let dead = format!("127.0.0.1:{}", free_port());
    let mut hosts =
        vec![silent.clone(), garbage.clone(), huge.clone(), web.clone(), trickle.clone(), gone.clone()];
    hosts.extend([
        refusing.clone(),
        dead.clone(),
        daemon.host(),
        "no-such-host.invalid".into(),
        "b/0".into(),
    ]);
    hosts.extend(["h:99999".into(), "localhost".into(), "h,down".into(), "h,auth".into()]);
    let words: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let findings = Findings::of(doctor(&sandbox, &words).env("DISTCC_IO_TIMEOUT", "1"));
    assert!(findings.outcome.elapsed < Duration::from_secs(8) + SLACK, "{:?}", findings.outcome.elapsed);
    assert_eq!(findings.outcome.code(), 0, "{}", findings.outcome);
    findings.assert(&silent, "protocol", ("bad", "it hangs, is full, or is no distccd", "log"));
    findings.assert(&garbage, "protocol", ("bad", "what answers there is no distccd", "port"));
    findings.assert(&web, "protocol", ("bad", "what answers there is no distccd", "port"));
    findings.assert(&huge, "protocol", ("bad", "beyond the limit", "log"));
    findings.assert(&trickle, "protocol", ("bad", "it hangs, is full, or is no distccd", "log"));
    findings.assert(&gone, "protocol", ("bad", "hangs up without a word", "--allow"));
    findings.assert(&refusing, "access", ("bad", "\\u{1b}]0;owned\\u{7}no", "--allow"));
    findings.assert(&dead, "port", ("bad", "nothing listens", "distccd --daemon --port "));
    findings.assert(&daemon.host(), "compiler", ("good", "same object", ""));
    findings.assert("no-such-host.invalid", "name", ("bad", "no-such-host.invalid: ", "getent"));
    findings.assert("b/0", "list", ("bad", "bad multiplier", "man distcc"));
    findings.assert("h:99999", "name", ("bad", "there is no port 99999", ""));
    findings.assert("localhost", "list", ("good", "compiled on this machine", ""));
    findings.assert("h,down", "list", ("warning", "never used", ",down"));
    findings.assert("h,auth", "list", ("bad", "this build has no GSS-API", ",auth"));
    assert!(!findings.outcome.stdout.contains(&0x1b), "{}", findings.outcome);
    assert!(sandbox.backoffs().is_empty());
    sandbox.finish([daemon]);
}

#[test]
fn a_host_that_failed_is_tried_and_stays_marked() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().start();
    fs::create_dir(sandbox.path("distcc/lock")).unwrap();
    let mark = sandbox.path("distcc/lock").join(daemon.backoff_file());
    fs::write(&mark, "x").unwrap();
    let findings = Findings::of(doctor(&sandbox, &[&daemon.host()]));
    findings.assert(
        &daemon.host(),
        "list",
        ("warning", "gets no jobs for up to 60 s", mark.to_str().unwrap()),
    );
    findings.assert(&daemon.host(), "protocol", ("good", "", ""));
    assert!(mark.exists());
    sandbox.finish([daemon]);
}

#[test]
fn hosts_that_swallow_everything_cost_one_time_limit_together() {
    let sandbox = Sandbox::new();
    // A socket whose queue is full answers to no further connection.
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    full.bind(&"0.0.0.0:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    full.listen(0).unwrap();
    let port = full.local_addr().unwrap().as_socket().unwrap().port();
    let _queued = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let hosts: Vec<String> = (0..120).map(|number| format!("127.0.1.{}:{port}", number + 1)).collect();
    let words: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let findings = Findings::of(doctor(&sandbox, &words));
    assert_eq!(findings.outcome.code(), 1, "{}", findings.outcome);
    let words = format!("no answer from port {port} within 2 s");
    findings.assert(&hosts[119], "port", ("bad", &words, "firewall"));
    let elapsed = findings.outcome.elapsed;
    assert!(elapsed >= Duration::from_secs(2) && elapsed < Duration::from_secs(2) + SLACK, "{elapsed:?}");
    sandbox.finish([]);
}

#[test]
fn names_that_are_never_found_cost_one_time_limit_together() {
    let sandbox = Sandbox::new();
    let names = sandbox.path("nsswitch.conf");
    fs::write(&names, "hosts: files mdns4 dns\n").unwrap();
    let getent = sandbox.path("getent");
    fs::write(&getent, "#!/bin/bash\nexec -a getent sleep 600\n").unwrap();
    fs::set_permissions(&getent, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let setup = "mount --bind \"$1\" /etc/nsswitch.conf; mount --bind \"$2\" /usr/bin/getent";
    let wrapper = with_mounts(setup, &[names.to_str().unwrap(), getent.to_str().unwrap()]);
    let hosts: Vec<String> = (0..40).map(|number| format!("host{number}")).collect();
    let words: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let findings = Findings::of(doctor(&sandbox, &words).through(&wrapper));
    findings.assert("host39", "name", ("bad", "not resolved in time", "getent ahosts host39"));
    let elapsed = findings.outcome.elapsed;
    assert!(elapsed >= Duration::from_secs(2) && elapsed < Duration::from_secs(2) + SLACK, "{elapsed:?}");
    sandbox.finish([]);
}

#[test]
fn ssh_hosts_are_tried_without_questions() {
    let sandbox = Sandbox::new();
    // What ssh does, but for the network: options, a host, a command. The daemon may be another user.
    let ssh = "export TMPDIR=DIRECTORY
while [ \"$1\" = -o ]; do echo \"$2\" >> \"${0%/*}/../ssh-options\"; shift 2; done
case $1 in closed) echo 'me@closed: Permission denied (publickey).' >&2; exit 255 ;; esac
shift; PATH=${0%/*}:$PATH exec \"$@\"\n";
    let ssh = ssh.replace("DIRECTORY", sandbox.server_directory().to_str().unwrap());
    let ssh = sandbox.script("bin/ssh", &ssh);
    let run = doctor(&sandbox, &["@open,lzo", "@closed", "@open:no-such-distccd"]).env("DISTCC_SSH", &ssh);
    let findings = Findings::of(run);
    assert_eq!(findings.outcome.code(), 0, "{}", findings.outcome);
    findings.assert("@open,lzo", "ssh", ("good", "logs in and compiles", ""));
    findings.assert("@open,lzo", "compiler", ("good", "x86_64-linux-gnu-gcc makes the same object", ""));
    findings.assert(
        "@closed",
        "ssh",
        ("bad", "Permission denied (publickey)", "ssh closed distccd --version"),
    );
    findings.assert("@open:no-such-distccd", "ssh", ("bad", "no-such-distccd", "ssh open"));
    let options = fs::read_to_string(sandbox.path("ssh-options")).unwrap();
    assert!(options.contains("BatchMode=yes\nConnectTimeout=2\n"), "{options}");
    sandbox.finish([]);
}

#[test]
fn words_that_are_no_hosts_are_an_error() {
    let sandbox = Sandbox::new();
    let outcome = sandbox.distcc(["--doctor", "--jsno"]).run();
    assert_eq!((outcome.code(), outcome.out().as_str()), (101, ""), "{outcome}");
    assert!(outcome.err().contains("--jsno: want --json"), "{outcome}");
    sandbox.finish([]);
}
