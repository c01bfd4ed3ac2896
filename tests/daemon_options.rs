//! `distccd`'s options and environment: each has its effect, and mistakes are told by name with the exit code that
//! start scripts know.

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::Instant;

use raw::{Daemon, Place, SOON, ask, is_alive, job, request, wait_for_end};
use support::{Outcome, Run, free_port, send_signal, wait_until};

/// Our daemon with a place's environment and just these options.
fn distccd(place: &Place, options: &[&str]) -> Run {
    place
        .sandbox
        .applet("distccd")
        .args(place.script_options())
        .args(options)
        .env("PATH", place.search_path())
        .env("TMPDIR", place.sandbox.server_directory())
}

#[track_caller]
fn refused(run: &Outcome, code: i32, words: &[&str]) {
    assert_eq!(run.code(), code, "{run}");
    for word in words {
        assert!(run.err().contains(word), "no {word:?} in {run}");
    }
    assert!(run.out().is_empty(), "{run}");
}

#[test]
fn mistakes_are_named_and_are_bad_arguments() {
    let place = Place::new();
    for (options, words) in [
        (["--bogus"].as_slice(), ["--bogus"].as_slice()),
        (&["--bogus=7"], &["--bogus"]),
        (&["-Z"], &["-Z"]),
        (&["--port"], &["port"]),
        (&["--port", "x"], &["port", "x"]),
        (&["--port=70000"], &["port", "70000"]),
        (&["-p", "-1"], &["-p", "-1"]),
        (&["--jobs", "0"], &["--jobs", "0"]),
        (&["--jobs=many"], &["jobs", "many"]),
        (&["-j-3"], &["--jobs -3"]),
        (&["--nice", "high"], &["nice", "high"]),
        (&["--oom-score-adj", "x"], &["oom-score-adj", "x"]),
        (&["--job-lifetime=soon"], &["job-lifetime", "soon"]),
        (&["--lifetime="], &["lifetime"]),
        (&["--allow"], &["allow"]),
        (&["--allow", "10.0.0.0/33"], &["--allow", "10.0.0.0/33"]),
        (&["--allow=::1/129"], &["--allow", "::1/129"]),
        (&["--allow", "no-such-host.invalid"], &["--allow", "no-such-host.invalid"]),
        (&["-a", ""], &["--allow"]),
        (&["--listen", "no-such-host.invalid"], &["--listen", "no-such-host.invalid"]),
        (&["--auth"], &["--auth"]),
        (&["--blacklist", "x"], &["--blacklist"]),
        (&["--whitelist=x"], &["--whitelist"]),
        (&["--show-principal"], &["--show-principal"]),
        (&["--no-detach=yes"], &["no-detach"]),
        (&["--sandbox=perhaps"], &["--sandbox", "perhaps"]),
        (&["--enable-tcp-insecure", "--sandbox=off"], &["--enable-tcp-insecure", "--allow=ADDR"]),
    ] {
        let run = distccd(&place, &["--no-detach", "--daemon", "--log-stderr"]).args(options).run();
        refused(&run, 101, words);
        assert!(run.err().lines().all(|line| line.starts_with("distccd[")), "{run}");
    }
    for (name, value) in
        [("DISTCC_IO_TIMEOUT", "0"), ("DISTCC_IO_TIMEOUT", "soon"), ("DISTCC_CMDLIST_NUMWORDS", "-1")]
    {
        let run = distccd(&place, &["--no-detach", "--daemon"]).env(name, value).run();
        refused(&run, 101, &[name, value]);
    }
    place.sandbox.finish([]);
}

#[test]
fn questions_are_answered_on_standard_output() {
    let place = Place::new();
    for (option, words) in [
        ("--help", ["--allow", "--jobs", "--port", "--log-file", "--enable-tcp-insecure"].as_slice()),
        ("--version", &["distccd ", "protocols 1, 2 and 3", "GNU General Public License"]),
    ] {
        let run = distccd(&place, &[option]).run();
        assert!(run.status.success() && run.err().is_empty(), "{run}");
        assert!(words.iter().all(|word| run.out().contains(word)), "{run}");
        assert!(run.out().lines().all(|line| line.chars().count() <= 80), "{run}");
        assert!(run.out().lines().count() <= 60, "more than a screen: {run}");
    }
    assert!(distccd(&place, &["--version"]).run().out().starts_with("distccd "));
}

#[test]
fn every_option_is_taken_in_every_form() {
    let place = Place::new();
    let log = place.path("marks/log");
    let (log, pid) = (log.to_str().unwrap(), place.path("marks/pid"));
    let pid = pid.to_str().unwrap();
    let own = if support::is_root() { "nobody" } else { "whoever" };
    for options in [
        vec!["--allow=127.0.0.1", "--allow=::1/128", "--jobs=3", "--nice=1", "--user", own, "--verbose"],
        vec!["-a", "127.0.0.0/8", "-j", "3", "-N", "1", "-P", pid, "--log-level=debug"],
        vec!["-a127.0.0.1", "-j3", "-N1", "--allow-private", "--job-lifetime=100", "--lifetime=100"],
        vec!["--job-lifetime", "-5", "--job-lifetime=0", "--lifetime", "0", "--oom-score-adj=100"],
        vec![
            "--no-fork",
            "--no-fifo",
            "--job-lifetime=9223372036854775807",
            "--sysroot=/usr",
            "--stats",
            "--stats-port=0",
            "--zeroconf",
        ],
        vec!["--make-me-a-botnet", "--enable-tcp-insecure", "stray", "words"],
        vec!["--log-level", "nonsense", "--log-file", log],
    ] {
        let daemon = Daemon::start(place.daemon().args(&options));
        daemon.assert_serves();
        drop(daemon);
    }
    place.sandbox.assert_clean();
}

#[test]
fn a_port_in_use_is_told_also_when_detaching() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for options in [["--daemon", "--no-detach"].as_slice(), &["--daemon"], &["--wizard"]] {
        let run =
            distccd(&place, options).args(["--listen", "127.0.0.1", "--port", &port, "--log-stderr"]).run();
        refused(&run, 102, &["bind", &port]);
    }
    // Without --listen, too: one of the two families is enough to fail.
    let run = distccd(&place, &["--daemon", "--port", &port, "--log-stderr"]).run();
    refused(&run, 102, &["bind", &port]);
    place.sandbox.finish([]);
}

#[test]
fn without_a_masquerade_directory_and_without_compilers_nothing_starts() {
    let place = Place::new();
    fs::remove_dir_all(place.path("lib/distcc")).unwrap();
    // A machine with Debian's distcc has a directory of its own, so /usr is hidden; our binary needs nothing there.
    let hidden = "mount -t tmpfs none /usr/local && mount -t tmpfs none /usr/lib && exec \"$@\"";
    let namespace = if support::is_root() {
        ["--mount"].as_slice()
    } else {
        &["--mount", "--map-current-user", "--keep-caps"]
    };
    for options in [["--daemon", "--no-detach"].as_slice(), &["--daemon"], &["--inetd"]] {
        let run = place.sandbox.command("/usr/bin/unshare").args(namespace);
        let run = run.args(["/bin/sh", "-c", hidden, "sh"]).args([place.path("bin/distccd")]).args(options);
        let run = run.args(["--port", "0", "--log-stderr"]).env("DISTCCD_PATH", place.path("work")).run();
        refused(&run, 110, &["CRITICAL", "lib/distcc", "update-distcc-symlinks", "ln -s"]);
    }
    let daemon = place.start(&["--enable-tcp-insecure"]);
    daemon.assert_serves();
    place.finish(daemon);
}

/// The open files of a process that are standard streams.
fn standard_streams(pid: u32) -> Vec<String> {
    let target = |fd: u32| fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap().display().to_string();
    (0..3).map(target).collect()
}

#[test]
fn detaching_leaves_a_daemon_and_a_pid_file_behind() {
    let place = Place::new();
    let (pid_file, port) = (place.path("marks/distccd.pid"), free_port());
    let run = distccd(&place, &["--daemon", "--listen", "127.0.0.1", "--allow", "127.0.0.1"])
        .args(["--port", &port.to_string(), "--log-file"])
        .args([place.path("marks/log"), "--pid-file".into(), pid_file.clone()])
        .run();
    assert!(run.status.success(), "{run}");
    // Port and file are there when the command is done.
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    let text = fs::read_to_string(&pid_file).unwrap();
    let pid: u32 = text.strip_suffix('\n').unwrap().parse().unwrap();
    assert_eq!(ask(address, &job("printf x >$out")).unwrap().object, b"x");
    assert_eq!(standard_streams(pid), ["/dev/null", "/dev/null", "/dev/null"]);
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    assert_eq!((fields[3], fields[4]), (text.trim(), "0"), "a session of its own, without a terminal");
    send_signal("TERM", i64::from(pid));
    wait_for_end(pid);
    assert!(!pid_file.exists());
    place.sandbox.finish([]);
}

#[test]
fn a_pid_file_that_cannot_be_written_keeps_the_daemon_from_starting() {
    let place = Place::new();
    let port = free_port().to_string();
    for detach in [["--daemon"].as_slice(), &["--daemon", "--no-detach"]] {
        let run = distccd(&place, detach)
            .args(["--listen", "127.0.0.1", "--port", &port, "--log-stderr"])
            .args(["--pid-file", "/no-such-directory/pid"])
            .run();
        refused(&run, 107, &["pid file /no-such-directory/pid"]);
    }
    assert!(TcpStream::connect(format!("127.0.0.1:{port}")).is_err(), "a daemon runs nevertheless");
    place.sandbox.finish([]);
}

#[test]
fn lifetime_counts_after_detaching_too() {
    let place = Place::new();
    let (pid_file, port) = (place.path("marks/pid"), free_port());
    let run =
        distccd(&place, &["--daemon", "--listen", "127.0.0.1", "--lifetime", "1", "--allow", "127.0.0.1"])
            .args(["--port", &port.to_string(), "--log-file"])
            .args([place.path("marks/log"), "--pid-file".into(), pid_file.clone()])
            .run();
    assert!(run.status.success(), "{run}");
    let pid: u32 = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    assert!(is_alive(pid));
    wait_for_end(pid);
    assert!(!pid_file.exists(), "the pid file is left");
    place.sandbox.finish([]);
}

#[test]
fn staying_in_the_foreground_writes_and_removes_a_pid_file() {
    let place = Place::new();
    let pid_file = place.path("marks/distccd.pid");
    let daemon = place.start(&["--pid-file", pid_file.to_str().unwrap()]);
    daemon.assert_serves();
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), format!("{}\n", daemon.pid()));
    let group = place.sandbox.processes().into_iter().find(|(pid, _)| *pid == daemon.pid()).unwrap().1;
    assert_eq!(group, daemon.pid(), "the daemon leads no group");
    place.finish(daemon);
    assert!(!pid_file.exists());
}

#[test]
fn the_wizard_stays_and_tells_everything() {
    let place = Place::new();
    let port = free_port();
    let running =
        distccd(&place, &["--wizard", "--listen", "127.0.0.1", "--port", &port.to_string()]).start();
    let address = ([127, 0, 0, 1], port).into();
    wait_until("the daemon", || TcpStream::connect(address).is_ok());
    assert_eq!(ask(address, &job("printf x >$out")).unwrap().object, b"x");
    running.signal("TERM");
    let outcome = running.finish();
    assert_eq!(outcome.signal(), Some(15), "{outcome}");
    for words in ["listening on 127.0.0.1", "connection from 127.0.0.1", "COMPILE_OK"] {
        assert!(outcome.err().contains(words), "no {words:?} in {outcome}");
    }
    place.sandbox.finish([]);
}

#[test]
fn both_address_families_are_served_by_default() {
    let place = Place::new();
    let options = ["--daemon", "--no-detach", "--log-stderr", "--log-level=info"];
    // A port that is free of IPv4 may have just been taken of IPv6, by a test beside this one.
    let (port, running) = loop {
        let port = free_port();
        let mut running = distccd(&place, &options).args(["--port", &port.to_string()]).start();
        wait_until("the daemon, or its end", || {
            !running.is_running() || TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        if running.is_running() {
            break (port, running);
        }
    };
    for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        let address: SocketAddr = address.parse().unwrap();
        assert_eq!(ask(address, &job("printf x >$out")).unwrap().object, b"x", "{address}");
    }
    running.signal("TERM");
    let log = running.finish().err();
    // As 3.4 shows them: no brackets, and IPv4 as IPv4.
    assert!(log.contains("connection from 127.0.0.1:") && log.contains("connection from ::1:"), "{log}");
    assert!(log.contains("client: ::1:") && !log.contains("::ffff:"), "{log}");
    place.sandbox.finish([]);
}

#[test]
fn compilers_run_nicely_and_not_as_root() {
    let place = Place::new();
    let own_nice: i32 = fs::read_to_string("/proc/self/stat")
        .unwrap()
        .rsplit(") ")
        .next()
        .unwrap()
        .split(' ')
        .nth(16)
        .unwrap()
        .parse()
        .unwrap();
    for (options, nice) in [(["--nice=7"].as_slice(), 7), (&[], 5), (&["-N", "0"], 0)] {
        let daemon = place.start(options);
        let reply = daemon
            .ask(&job(
                "nice; id -u; id -G; cut -d: -f2 /proc/self/status | grep . >/dev/null; pwd; ulimit -c",
            ))
            .unwrap();
        let said = raw::text(&reply.stdout);
        let mut lines = said.lines();
        assert_eq!(lines.next().unwrap().parse::<i32>().unwrap(), (own_nice + nice).min(19), "{options:?}");
        let uid: u32 = lines.next().unwrap().parse().unwrap();
        let groups: Vec<u32> = lines.next().unwrap().split(' ').map(|word| word.parse().unwrap()).collect();
        assert!(uid != 0 && !groups.contains(&0), "{said}");
        let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
        if support::is_root() {
            assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        }
        drop(daemon);
    }
    place.sandbox.finish([]);
}

#[test]
fn root_becomes_the_user_that_is_named() {
    if !support::is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    let place = Place::new();
    for (user, uid) in [("daemon", "1"), ("nobody", "65534"), ("no-such-user", "65534")] {
        let daemon = place.start(&["--user", user]);
        let reply = daemon.ask(&job("id -u")).unwrap();
        assert_eq!(raw::text(&reply.stdout).trim(), uid, "--user {user}");
        if user == "no-such-user" {
            daemon.wait_for_lines("--user no-such-user: no such user", 1);
        }
    }
    // An unknown user's files cannot be read by those who could not become him.
    place.sandbox.assert_clean();
}

#[test]
fn a_log_file_belongs_to_the_user_the_daemon_becomes() {
    let place = Place::new();
    let directory = place.path("logs");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, PermissionsExt::from_mode(0o777)).unwrap();
    let log = directory.join("log");
    let port = free_port();
    let running = distccd(&place, &["--daemon", "--no-detach", "--listen=127.0.0.1", "--allow=127.0.0.1"])
        .args([format!("--port={port}"), format!("--log-file={}", log.display())])
        .start();
    let address = ([127, 0, 0, 1], port).into();
    wait_until("the daemon", || TcpStream::connect(address).is_ok());
    assert_eq!(ask(address, &job("printf x >$out")).unwrap().object, b"x");
    running.signal("TERM");
    assert_eq!(running.finish().signal(), Some(15));
    let text = fs::read_to_string(&log).unwrap();
    // The default level: the summary is a notice, a connection only information.
    assert!(text.contains("COMPILE_OK") && !text.contains("connection from"), "{text}");
    assert_ne!(fs::metadata(&log).unwrap().uid(), 0);
    place.sandbox.finish([]);
}

#[test]
fn log_levels_choose_what_is_said() {
    let place = Place::new();
    for (level, has_info, has_notice, has_warning) in [
        ("debug", true, true, true),
        ("info", true, true, true),
        ("notice", false, true, true),
        ("warning", false, false, true),
        ("error", false, false, false),
        ("crit", false, false, false),
    ] {
        let port = free_port();
        let running = distccd(&place, &["--daemon", "--no-detach", "--listen=127.0.0.1", "--log-stderr"])
            .args([format!("--port={port}"), "--log-level".into(), level.into(), "--allow-private".into()])
            .start();
        let address = ([127, 0, 0, 1], port).into();
        wait_until("the daemon", || TcpStream::connect(address).is_ok());
        assert_eq!(ask(address, &request(1, &["evil", "-c", "a.c"], b"")).unwrap().refusal(), Some(110));
        running.signal("TERM");
        let log = running.finish().err();
        assert_eq!(log.contains("connection from"), has_info, "{level}: {log}");
        assert_eq!(log.contains("(dcc_job_summary)"), has_notice, "{level}: {log}");
        assert_eq!(log.contains("Warning: refused"), has_warning, "{level}: {log}");
    }
    place.sandbox.finish([]);
}

#[test]
fn compilers_are_searched_where_the_environment_says() {
    let place = Place::new();
    place.sandbox.script("elsewhere/cc", "echo elsewhere\n");
    let which = |daemon: &Daemon, name: &str| {
        let reply = daemon.ask(&request(1, &[name, "-c", "a.c"], b"echo compilers")).unwrap();
        (reply.status, if reply.status == 0 { raw::text(&reply.stdout) } else { reply.stderr })
    };
    let daemon = place.start(&[]);
    assert_eq!(which(&daemon, "cc"), (0, "compilers\n".into()));
    drop(daemon);
    let elsewhere = format!("/nonexistent:{}:/usr/bin:/bin", place.path("elsewhere").display());
    let daemon = Daemon::start(place.daemon().env("DISTCCD_PATH", &elsewhere));
    assert_eq!(which(&daemon, "cc"), (0, "elsewhere\n".into()));
    drop(daemon);
    // Listed, but not there.
    place.sandbox.allow_compiler("ghost-cc");
    let daemon = Daemon::start(place.daemon().env("DISTCCD_PATH", &elsewhere));
    let (status, text) = which(&daemon, "ghost-cc");
    assert_eq!(status, 110 << 8);
    assert!(text.contains("ghost-cc is not on this server") && text.contains("DISTCCD_PATH"), "{text}");
    place.finish(daemon);
}

#[test]
fn a_masquerade_link_on_the_path_is_not_run_as_a_compiler() {
    let place = Place::new();
    let links = place.path("links");
    fs::create_dir(&links).unwrap();
    symlink("../bin/distcc", links.join("cc")).unwrap();
    let path = format!("{}:{}", links.display(), place.search_path());
    let daemon = Daemon::start(place.daemon().env("DISTCCD_PATH", path));
    daemon.assert_serves();
    place.finish(daemon);
}

#[test]
fn only_listed_names_run_unless_told_otherwise() {
    let place = Place::new();
    for name in ["listed-cc", "unlisted-cc"] {
        place.sandbox.script(format!("compilers/{name}"), "echo it ran\n");
    }
    place.sandbox.allow_compiler("listed-cc");
    let absolute = place.path("compilers/unlisted-cc").display().to_string();
    let cases = |daemon: &Daemon, expected: [bool; 4]| {
        let names = ["listed-cc", "/usr/bin/listed-cc", "unlisted-cc", &absolute];
        for (name, expected) in names.into_iter().zip(expected) {
            let reply = daemon.ask(&request(1, &[name, "-c", "a.c"], b"")).unwrap();
            let ran = reply.status == 0 && reply.stdout == b"it ran\n";
            assert_eq!(ran, expected, "{name}: {reply:?}");
            assert!(ran || reply.refusal() == Some(110) && reply.stderr.contains(name), "{name}: {reply:?}");
        }
    };
    let daemon = place.start(&[]);
    cases(&daemon, [true, true, false, false]);
    drop(daemon);
    for option in ["--enable-tcp-insecure", "--make-me-a-botnet"] {
        let daemon = place.start(&[option]);
        cases(&daemon, [true, true, true, true]);
        // Even so, options that run other programs are refused.
        let argv = ["unlisted-cc", "-c", "a.c", "-fplugin=x.so"];
        assert!(daemon.ask(&request(1, &argv, b"")).unwrap().refusal().is_some());
        drop(daemon);
    }
    place.sandbox.assert_clean();
}

#[test]
fn a_command_list_replaces_the_masquerade_directory() {
    let place = Place::new();
    let one = place.sandbox.script("toolchains/one/cc", "echo one\n");
    let two = place.sandbox.script("toolchains/two/cc", "echo two\n");
    let list = place.path("commands");
    let start = |words: &str| {
        Daemon::start(place.daemon().env("DISTCC_CMDLIST", &list).env("DISTCC_CMDLIST_NUMWORDS", words))
    };
    let answer = |daemon: &Daemon, name: &str| {
        let reply = daemon.ask(&request(1, &[name, "-c", "a.c"], b"")).unwrap();
        if reply.status == 0 { raw::text(&reply.stdout) } else { reply.stderr }
    };

    fs::write(&list, format!("{}\n", one.display())).unwrap();
    let daemon = start("1");
    assert_eq!(answer(&daemon, "cc"), "one\n");
    assert_eq!(answer(&daemon, "/anywhere/on/the/client/cc"), "one\n");
    let refusal = answer(&daemon, "listed-cc");
    assert!(refusal.contains("command list") && refusal.contains(list.to_str().unwrap()), "{refusal}");
    drop(daemon);

    fs::write(&list, format!("{}\n\n{}\n", one.display(), two.display())).unwrap();
    let daemon = start("2");
    assert_eq!(answer(&daemon, "/opt/two/cc"), "two\n");
    assert_eq!(answer(&daemon, "one/cc"), "one\n");
    assert!(answer(&daemon, "cc").contains("command list"));
    drop(daemon);

    // A list that cannot be read allows nothing; 3.4 allowed everything.
    fs::remove_file(&list).unwrap();
    let daemon = start("1");
    daemon.wait_for_lines("DISTCC_CMDLIST", 1);
    let reply = daemon.ask(&request(1, &["cc", "-c", "a.c"], b"")).unwrap();
    assert_eq!(reply.refusal(), Some(110), "{reply:?}");
    assert!(reply.stderr.contains(list.to_str().unwrap()), "the refusal names no file: {}", reply.stderr);
    place.finish(daemon);
}

#[test]
fn compilers_see_the_daemons_environment_and_a_private_directory() {
    let place = Place::new();
    let daemon = Daemon::start(place.daemon().env("SOURCE_DATE_EPOCH", "12345"));
    let script = "echo $SOURCE_DATE_EPOCH $_DISTCC_SAFEGUARD; pwd; echo $TMPDIR; ls -A | wc -l; \
                  stat -c %a .; readlink /proc/self/fd/0; echo $argv";
    let reply = daemon.ask(&job(script)).unwrap();
    let said = raw::text(&reply.stdout);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "12345 1");
    assert!(lines[1].starts_with(&format!("{}/distccd_", daemon.guard.temporary().display())), "{said}");
    assert_eq!(lines[2], lines[1], "the compiler's temporary files would stay behind");
    assert_eq!(lines[3], "1", "the directory holds more than the source");
    assert_eq!((lines[4], lines[5]), ("700", "/dev/null"));
    assert!(lines[6].ends_with(".i") || lines[6].contains(".i "), "{said}");
    assert!(!lines[6].contains("hello"), "the client's names reached the compiler: {said}");
    // Nothing of one job is there for the next, and inherited descriptors are the compiler's three.
    let reply = daemon.ask(&job("echo leak >leak; ls -l /proc/self/fd")).unwrap();
    let open = raw::text(&reply.stdout).lines().filter(|line| line.contains(" -> ")).count();
    // The fourth is the directory that is listed.
    assert_eq!(open, 4, "{reply:?}");
    place.finish(daemon);
}

#[test]
fn descriptors_that_happen_to_be_open_are_not_kept() {
    let place = Place::new();
    let port = free_port();
    let running = place
        .sandbox
        .command("/bin/sh")
        .args(["-c", "exec 7</etc/passwd 8</etc/group; exec \"$@\"", "sh"])
        .args([place.path("bin/distccd")])
        .args(["--wizard", "--listen", "127.0.0.1", "--port", &port.to_string()])
        .start();
    wait_until("the daemon", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let open: Vec<String> = fs::read_dir(format!("/proc/{}/fd", running.id()))
        .unwrap()
        .map(|entry| fs::read_link(entry.unwrap().path()).unwrap_or_default().display().to_string())
        .collect();
    assert!(!open.iter().any(|path| path == "/etc/passwd" || path == "/etc/group"), "{open:?}");
    running.signal("TERM");
    running.finish();
    place.sandbox.finish([]);
}

#[test]
fn starting_takes_no_time() {
    let place = Place::new();
    let began = Instant::now();
    let daemon = place.start(&[]);
    daemon.assert_serves();
    place.finish(daemon);
    assert!(began.elapsed() < SOON * 2);
}
