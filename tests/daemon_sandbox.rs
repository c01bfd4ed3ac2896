//! The walls around a compiler, tried from inside by one that is a shell script and runs its source: with namespaces, and
//! without. What options and sources can make real compilers do is in `daemon_arguments`.

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use raw::{Daemon, Place, Reply, job, request};
use support::{require, wait_until};

/// With namespaces, and without.
const WAYS: [&str; 2] = ["1", "0"];

fn start(place: &Place, namespaces: &str, options: &[&str]) -> Daemon {
    let builder =
        place.confined_daemon().env("DISTCCD_NAMESPACES", namespaces).env("SECRET", "of the daemon");
    Daemon::start(builder.args(options))
}

/// A directory that compilers do not see, open to everybody. Removed with its guard.
struct Elsewhere(PathBuf);

impl Elsewhere {
    fn new(name: &str) -> Elsewhere {
        let path = Path::new("/var/tmp").join(format!("distcc-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
        Elsewhere(path)
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a script wrote into its object.
#[track_caller]
fn object(reply: &Reply) -> String {
    assert_eq!(reply.status, 0, "{reply:?}");
    String::from_utf8_lossy(&reply.object).into_owned()
}

/// What a job tries and must not be able to do; and what shows, where there is no sandbox, that it was a wall that
/// kept it from it, and not a program that is missing or a mistake in the script.
struct Attempt {
    script: String,
    control: String,
}

/// What an ordinary user may do.
fn attempt(script: impl Into<String>) -> Attempt {
    let script = script.into();
    Attempt { control: script.clone(), script }
}

/// What nobody but root may, or nothing on this machine answers to: its nearest relative is possible.
fn attempt_like(control: &str, script: &str) -> Attempt {
    Attempt { script: script.into(), control: control.into() }
}

fn attempts(canary: &Path) -> Vec<Attempt> {
    let python = |text: &str| attempt(format!("python3 -c '{text}'"));
    let canary = canary.display();
    vec![
        attempt("cat /etc/passwd"),
        attempt("cat /proc/$PPID/environ | grep -q SECRET"),
        attempt_like("cat /proc/$PPID/environ | grep -q SECRET", "cat /proc/1/environ | grep -q SECRET"),
        attempt_like("env | grep PATH", "env | grep SECRET"),
        attempt(format!("cat {canary}")),
        attempt(format!("echo x > {canary}")),
        attempt(format!("rm {canary}")),
        attempt(format!("mv {canary} $out")),
        attempt("touch $marks/x"),
        attempt_like("touch $marks/x", "touch /usr/lib/x"),
        attempt_like("touch $marks/x", "touch /x"),
        attempt_like("ls /usr", "ls /root /home"),
        attempt("cp /bin/true $TMPDIR/t && $TMPDIR/t"),
        attempt("unshare -Ur true"),
        attempt_like("unshare -Urm mount -t tmpfs none /tmp", "mount -t tmpfs none /tmp"),
        attempt_like("unshare -Ur /usr/sbin/chroot / true", "/usr/sbin/chroot / true"),
        attempt_like("mknod $TMPDIR/null p", "mknod $TMPDIR/null c 1 3"),
        python("import socket; socket.socket()"),
        python("import socket; socket.socket(socket.AF_UNIX)"),
        python("import ctypes,os,sys; sys.exit(1 if ctypes.CDLL(None).ptrace(0, 0, 0, 0) < 0 else 0)"),
        python("import os; os.setpriority(os.PRIO_PROCESS, 0, 19)"),
        python("import os; os.sched_setaffinity(0, os.sched_getaffinity(0))"),
    ]
}

/// What came of a script. Its own end is not its compiler's.
fn outcome(daemon: &Daemon, script: &str) -> String {
    let asked = format!("if ({script}) >/dev/null 2>&1; then echo done >$out; else echo refused >$out; fi");
    object(&daemon.ask(&job(&asked)).unwrap())
}

/// A file that everybody may read, change and move, and nobody in a sandbox.
fn write_canary(canary: &Path) {
    fs::write(canary, "secret").unwrap();
    fs::set_permissions(canary, PermissionsExt::from_mode(0o666)).unwrap();
}

#[test]
fn a_compiler_reaches_nothing_but_its_job() {
    require("python3");
    let place = Place::new();
    let (closed, temporary) = (Elsewhere::new("canary"), Elsewhere::new("temporary"));
    let canary = closed.0.join("file");
    write_canary(&canary);
    // Not among what is shown of this test: what lies in TMPDIR could be executed.
    let builder = || place.confined_daemon().env("TMPDIR", &temporary.0).env("SECRET", "of the daemon");
    for namespaces in WAYS {
        let daemon = Daemon::start(builder().env("DISTCCD_NAMESPACES", namespaces));
        for Attempt { script, .. } in attempts(&canary) {
            assert_eq!(outcome(&daemon, &script), "refused\n", "namespaces {namespaces}: {script}");
        }
        let needed = "echo x >$TMPDIR/x && mkdir d && mv $TMPDIR/x d/ && cat d/x $src >/dev/null && gcc --version | \
                      head -1 >$out && : >/dev/null";
        assert!(object(&daemon.ask(&job(needed)).unwrap()).starts_with("gcc"), "namespaces {namespaces}");
        assert_eq!(fs::read(&canary).unwrap(), b"secret");
        daemon.assert_unharmed();
        drop(daemon);
    }
    let daemon = Daemon::start(builder().args(["--sandbox=off"]));
    for Attempt { control, .. } in attempts(&canary) {
        write_canary(&canary);
        assert_eq!(outcome(&daemon, &control), "done\n", "without a sandbox: {control}");
    }
}

#[test]
fn a_compiler_has_no_privileges_and_can_gain_none() {
    let place = Place::new();
    let daemon = start(&place, "1", &[]);
    let status = "while read -r line; do echo \"$line\"; done </proc/self/status >$out";
    let status = object(&daemon.ask(&job(status)).unwrap());
    for (name, expected) in [("CapEff", "0000000000000000"), ("NoNewPrivs", "1"), ("Seccomp", "2")] {
        let line = status.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap_or_default();
        assert_eq!(line.split_whitespace().nth(1), Some(expected), "{name}: {status}");
    }
    place.finish(daemon);
}

/// A source that a compiler could be made to load, by an option that nobody has thought of.
#[test]
fn a_source_is_no_library() {
    let place = Place::new();
    for namespaces in WAYS {
        let daemon = start(&place, namespaces, &[]);
        let library = fs::read("/bin/true").unwrap();
        let reply = daemon.ask(&request(1, &["cc", "-c", "a.c", "-o", "a.o"], &library)).unwrap();
        assert!(reply.refusal().is_some() && reply.stderr.contains("a program or a library"), "{reply:?}");
        // Nor is it executed where it lies.
        let script = "#!/bin/sh\nif $src 2>/dev/null; then echo done >$out; else echo refused >$out; fi\n";
        assert_eq!(object(&daemon.ask(&job(script)).unwrap()), "refused\n");
        daemon.assert_unharmed();
        drop(daemon);
    }
}

#[test]
fn nothing_of_a_job_survives_it() {
    let place = Place::new();
    for (seconds, namespaces) in [("77001", "1"), ("77002", "0")] {
        let daemon = start(&place, namespaces, &[]);
        let script = format!(
            "sleep {seconds} & (sleep {seconds} &) ; setsid sleep {seconds} & nohup sleep {seconds} >/dev/null 2>&1 & \
             sleep 0.1; echo x >$out"
        );
        object(&daemon.ask(&job(&script)).unwrap());
        wait_until("the end of what the job started", || running(&["sleep", seconds]) == 0);
        daemon.assert_unharmed();
        drop(daemon);
    }
}

/// Processes with these words.
fn running(words: &[&str]) -> usize {
    let wanted = words.iter().flat_map(|word| word.bytes().chain([0])).collect::<Vec<_>>();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter(|entry| fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == wanted)).count()
}

#[test]
fn what_a_compiler_uses_is_bounded() {
    let place = Place::new();
    for namespaces in WAYS {
        let daemon = start(&place, namespaces, &["--job-cpu=1", "--job-memory=256"]);
        let reply = daemon.ask(&job("while :; do :; done")).unwrap();
        assert!(reply.status != 0 && reply.object.is_empty(), "{reply:?}");
        let eat = "python3 -c 'x = bytearray(1 << 30)' 2>&1 | grep -q MemoryError && echo bounded >$out";
        assert_eq!(object(&daemon.ask(&job(eat)).unwrap()), "bounded\n");
        let file = "head -c 3000000000 /dev/zero >$out";
        let reply = daemon.ask(&job(file)).unwrap();
        assert!(reply.status != 0 && reply.object.is_empty(), "{reply:?}");
        let many = "i=0; while [ $i -lt 400 ]; do sleep 60 & i=$((i+1)); done; echo all >$out; wait";
        let reply = daemon.ask(&job(many)).unwrap();
        assert!(reply.status != 0, "{reply:?}");
        daemon.assert_unharmed();
        drop(daemon);
    }
}

#[test]
fn the_daemon_itself_is_confined_and_says_once_what_there_is() {
    let place = Place::new();
    let daemon = start(&place, "1", &[]);
    daemon.assert_serves();
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    for (name, expected) in [("CapEff", "0000000000000000"), ("NoNewPrivs", "1"), ("Seccomp", "2")] {
        let line = status.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap();
        assert_eq!(line.split_whitespace().nth(1), Some(expected), "{line}");
    }
    if support::is_root() {
        for namespace in ["net", "mnt", "user"] {
            let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/{namespace}")).unwrap();
            assert_ne!(of(&daemon.pid().to_string()), of("self"), "{namespace}");
        }
    }
    // When memory runs out compilers go first.
    let reply = daemon.ask(&job("sleep 0.1; read -r x </proc/self/oom_score_adj; echo $x >$out")).unwrap();
    let own = fs::read_to_string(format!("/proc/{}/oom_score_adj", daemon.pid())).unwrap();
    assert_eq!((object(&reply).trim(), own.trim()), ("500", "0"));
    let log = daemon.guard.log();
    assert_eq!(log.matches(" sandbox: ").count(), 1, "{log}");
    assert!(log.contains("namespaces of their own (Landlock"), "{log}");
    place.finish(daemon);
    let place = Place::new();
    let daemon = start(&place, "0", &["--sandbox=require"]);
    assert!(daemon.guard.log().contains("without namespaces (Landlock"), "{}", daemon.guard.log());
    daemon.assert_serves();
    place.finish(daemon);
}

#[test]
fn where_there_is_no_sandbox_require_fails_closed_and_auto_warns() {
    require("strace");
    let place = Place::new();
    let run = |mode: &str| {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=landlock_create_ruleset:error=ENOSYS"]);
        command.arg(place.path("bin/distccd")).args([
            "--no-detach",
            "--daemon",
            "--port",
            "0",
            "--log-stderr",
        ]);
        command.args(["--allow", "127.0.0.1", "--lifetime", "1", mode]);
        command.env("DISTCCD_NAMESPACES", "0").env("TMPDIR", place.path("tmp")).env("PATH", "/usr/bin:/bin");
        command.stdin(Stdio::null()).output().unwrap()
    };
    let required = run("--sandbox=require");
    let told = String::from_utf8_lossy(&required.stderr);
    assert_eq!(required.status.code(), Some(100), "{told}");
    assert!(told.contains("--sandbox=require: compilers cannot be confined here"), "{told}");
    let automatic = run("--sandbox=auto");
    let told = String::from_utf8_lossy(&automatic.stderr);
    assert!(told.contains("compilers are NOT confined") && told.contains("listening on"), "{told}");
}

#[test]
fn what_is_exposed_can_be_read_and_not_written() {
    let place = Place::new();
    let elsewhere = Elsewhere::new("toolchain");
    let toolchain = &elsewhere.0;
    fs::write(toolchain.join("part"), "part\n").unwrap();
    for namespaces in WAYS {
        let option = format!("--expose={}", toolchain.display());
        let daemon = start(&place, namespaces, &[&option]);
        let script =
            format!("cat {0}/part >$out; touch {0}/new 2>/dev/null || echo kept >>$out", toolchain.display());
        assert_eq!(object(&daemon.ask(&job(&script)).unwrap()), "part\nkept\n", "namespaces {namespaces}");
        daemon.assert_unharmed();
        drop(daemon);
    }
}

/// As each installation of a package does with /etc/ld.so.cache.
#[test]
fn a_file_that_is_replaced_is_read_as_it_is() {
    let place = Place::new();
    let elsewhere = Elsewhere::new("replaced");
    let file = elsewhere.0.join("cache");
    for namespaces in WAYS {
        fs::write(&file, "old").unwrap();
        let daemon = start(&place, namespaces, &[&format!("--expose={}", file.display())]);
        for content in ["old", "new"] {
            fs::write(elsewhere.0.join("next"), content).unwrap();
            fs::rename(elsewhere.0.join("next"), &file).unwrap();
            let reply = daemon.ask(&job(&format!("cat {} >$out", file.display()))).unwrap();
            assert_eq!(object(&reply), content, "namespaces {namespaces}");
        }
        daemon.assert_unharmed();
        drop(daemon);
    }
}

#[test]
fn with_the_daemon_killed_nothing_goes_on() {
    let place = Place::new();
    let mut daemon = start(&place, "1", &[]);
    let mut stream = daemon.connect();
    std::io::Write::write_all(&mut stream, &job("sleep 77003 & sleep 77003; echo x >$out")).unwrap();
    wait_until("the job", || running(&["sleep", "77003"]) == 2);
    daemon.guard.signal("KILL");
    daemon.guard.wait();
    wait_until("the end of its processes", || running(&["sleep", "77003"]) == 0);
}
