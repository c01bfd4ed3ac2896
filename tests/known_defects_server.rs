//! Defects of other implementations on the server's side, each tried on this one: what distcc-ng has recorded of distcc
//! 3.4, two CVEs, and what was observed of 3.4. Where it is quick and safe, 3.4 is shown to have the defect, so that a
//! test is known to have teeth.
//!
//! Tried under other names already:
//!
//! | defect | test |
//! |---|---|
//! | distcc-ng 093, 100: names and directories that climb out, in general | `pump_daemon::hostile_requests_are_refused_or_fail_and_reach_nothing`, `pump_abuse::no_working_directory_leads_out_of_the_files` |
//! | 3.4: a command list that cannot be read allows everything | `daemon_options::a_command_list_replaces_the_masquerade_directory` |
//! | 3.4: options that load code or name files to write | `daemon_abuse::commands_that_must_not_run_are_refused_with_a_reason`, `pump_abuse::no_option_runs_a_program_or_writes_where_the_client_says` |
//! | 3.4: LZO bombs | `daemon_abuse::compressed_rubbish_is_refused_without_eating_memory` |
//! | 3.4: idle connections block every worker | `daemon_abuse::two_hundred_idle_clients_delay_nobody` |
//! | 3.4: a word that begins with `-` as compiler, no words at all, `-MT` or `-o` at the end | `daemon_abuse::commands_that_must_not_run_are_refused_with_a_reason`, `daemon_abuse::broken_requests_are_answered_with_a_reason` |
//!
//! To be tried when it is built:
//!
//! | defect | of |
//! |---|---|
//! | distcc-ng 004: a null pointer in the statistics of a daemon that has compiled nothing yet | statistics page |
//! | 3.4: the statistics name the file that took longest to whoever asks | statistics page |

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use distcc::daemon::access::AccessList;
use raw::{
    Daemon, Place, PumpRequest, SOON, body, connect, job, packet, read_reply, request, request_head, text,
};
use support::{Sandbox, Tree, free_port, tree_of, wait_until};

/// With and without namespaces.
const WAYS: [&str; 2] = ["1", "0"];

/// The request of Metasploit's `distcc_exec`: what looks like a compilation to a server that looks for `-c`.
fn exploit_of_metasploit(shell: &str, command: &str) -> Vec<u8> {
    let argv = [shell, "-c", command, "#", "-c", "main.c", "-o", "main.o"];
    let mut bytes = format!("DIST00000001ARGC{:08x}", argv.len()).into_bytes();
    argv.iter().for_each(|word| bytes.extend(format!("ARGV{:08x}{word}", word.len()).bytes()));
    bytes.extend(b"DOTI0000000AqXk3P9vTzB\n");
    bytes
}

/// The request of nmap's `distcc-cve2004-2687`.
fn exploit_of_nmap(command: &str) -> Vec<u8> {
    let command = format!("sh -c '({command})'");
    format!(
        "DIST00000001ARGC00000008ARGV00000002shARGV00000002-cARGV{:08x}{command}ARGV00000001#ARGV00000002-c\
         ARGV00000006main.cARGV00000002-oARGV00000006main.oDOTI00000001A\n",
        command.len()
    )
    .into_bytes()
}

/// Sends bytes; whatever is said to them.
fn converse(daemon: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(daemon).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    text(&answer)
}

/// CVE-2004-2687.
#[test]
fn the_exploits_of_cve_2004_2687_run_nothing() {
    let place = Place::new();
    let mark = place.mark("ran");
    let command = format!("/usr/bin/touch {}", mark.display());
    let exploits = [
        ("Metasploit", exploit_of_metasploit("sh", &command)),
        ("a path", exploit_of_metasploit("/bin/sh", &command)),
        ("a path that climbs", exploit_of_metasploit("/usr/bin/../bin/sh", &command)),
        ("a compiler that is allowed", exploit_of_metasploit("gcc", &command)),
        ("a command as compiler", exploit_of_metasploit(&format!("gcc;{command};"), "x")),
        ("nmap", exploit_of_nmap(&command)),
    ];
    // It must be told of nothing but the address: these are the defaults.
    let daemon = place.start(&[]);
    for (what, exploit) in &exploits {
        let reply = daemon.ask(exploit).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(!mark.exists(), "{what}: {reply:?}");
        // nmap takes a server for vulnerable whose answer has what the command says.
        assert!(reply.status != 0 && reply.stdout.is_empty(), "{what}: {reply:?}");
        assert_eq!(reply.refusal().is_none(), *what == "a compiler that is allowed", "{what}: {reply:?}");
    }
    daemon.assert_unharmed();
    place.finish(daemon);
    // 3.4 as it was before its list of compilers.
    let sandbox = Sandbox::new();
    let daemon = sandbox.debian_daemon().args(["--enable-tcp-insecure"]).start();
    let mark = sandbox.server_directory().join("ran");
    converse(&daemon.host(), &exploit_of_metasploit("sh", &format!("/usr/bin/touch {}", mark.display())));
    assert!(mark.exists(), "the exploit has no teeth");
}

/// CVE-2004-0601: on machines of 64 bits, masks let everybody in.
#[test]
fn masks_have_exactly_their_bits() {
    let permits = |rule: &str, client: IpAddr| {
        let mut list = AccessList::default();
        list.allow(rule).unwrap_or_else(|error| panic!("{error}"));
        list.permits(client)
    };
    let network = u32::from(Ipv4Addr::new(10, 170, 85, 195));
    for bits in 0..=32 {
        let rule = format!("{}/{bits}", Ipv4Addr::from(network));
        for bit in 0..32 {
            let client = Ipv4Addr::from(network ^ (1 << (31 - bit)));
            assert_eq!(permits(&rule, client.into()), bit >= bits, "{client} by {rule}");
            // The same client on a socket for both families.
            assert_eq!(permits(&rule, client.to_ipv6_mapped().into()), bit >= bits, "{client} by {rule}");
        }
        assert!(!permits(&rule, Ipv6Addr::LOCALHOST.into()), "{rule}");
    }
    let network = u128::from("2001:db8:55aa:aa55:1234:5678:9abc:def0".parse::<Ipv6Addr>().unwrap());
    for bits in 0..=128 {
        let rule = format!("{}/{bits}", Ipv6Addr::from(network));
        for bit in 0..128 {
            let client = Ipv6Addr::from(network ^ (1 << (127 - bit)));
            assert_eq!(permits(&rule, client.into()), bit >= bits, "{client} by {rule}");
        }
        assert!(!permits(&rule, Ipv4Addr::LOCALHOST.into()), "{rule}");
    }
    // No mask at all is no rule: the daemon does not start. 2^32 + 8 is 8 for who counts in 32 bits.
    let sandbox = Sandbox::new();
    for mask in ["33", "-1", "", " 8", "8x", "0x8", "255.0.0.0", "4294967304", "18446744073709551624"] {
        let run = sandbox.applet("distccd").args(["--no-detach", "--daemon", "--port", "0", "--log-stderr"]);
        let run = run.args([format!("--allow=127.0.0.0/{mask}")]).within(Duration::from_secs(5)).run();
        assert_ne!(run.code(), 0, "{mask}: {run}");
        assert!(run.err().contains("prefix length"), "{mask}: {run}");
    }
    sandbox.finish([]);
}

/// What a client must not change: a directory of files that anybody may write to.
struct Outside<'a> {
    place: &'a Place,
    before: Tree,
}

impl Outside<'_> {
    fn new(place: &Place) -> Outside<'_> {
        let directory = place.path("marks");
        fs::write(directory.join("kept"), "precious").unwrap();
        fs::set_permissions(directory.join("kept"), PermissionsExt::from_mode(0o666)).unwrap();
        Outside { place, before: tree_of(&directory) }
    }

    /// What has changed, one line a file.
    fn changes(&self) -> String {
        self.before.difference(&tree_of(&self.place.path("marks")))
    }
}

/// Requests that try to write or delete elsewhere, at `outside`.
fn escapes(outside: &Path) -> Vec<(&'static str, PumpRequest)> {
    let there = outside.to_str().unwrap();
    let kept = format!("{there}/kept");
    let climbing = format!("{}{there}", "/..".repeat(40));
    let relative = climbing.strip_prefix('/').unwrap();
    let argv = ["gcc", "-MD", "-c", "a.c", "-o", "a.o"];
    let honest = || PumpRequest::new("/home/x", &argv).file("/home/x/a.c", "int a;\n");
    let evil = "evil";
    vec![
        ("a name (093)", honest().file(&format!("{climbing}/new"), evil)),
        ("a name below the root (093)", honest().file(&format!("/home/x{climbing}/new"), evil)),
        ("the name of a link", honest().link(&format!("{climbing}/new"), "/etc/passwd")),
        (
            "the directory (100)",
            PumpRequest::new(&climbing, &["gcc", "-c", "/home/x/a.c", "-o", "new"])
                .file("/home/x/a.c", "int a;\n"),
        ),
        ("a file below a link (292)", honest().link("/home/x/l", there).file("/home/x/l/kept", evil)),
        ("below a relative link (292)", honest().link("/home/x/l", relative).file("/home/x/l/kept", evil)),
        (
            "below a chain of links (292)",
            honest().link("/home/x/l", "m").link("/home/x/m", there).file("/home/x/l/kept", evil),
        ),
        ("through a link (292)", honest().link("/home/x/l", &kept).file("/home/x/l", evil)),
        (
            "a link that was another (292)",
            honest()
                .file("/home/x/d/f", "")
                .link("/home/x/l", "d")
                .file("/home/x/l/kept", "")
                .link("/home/x/l", there)
                .file("/home/x/l/kept", evil),
        ),
        (
            "a directory that becomes a link (292)",
            honest().file("/home/x/d/kept", "").link("/home/x/d", there).file("/home/x/d/kept", evil),
        ),
        (
            "a file that becomes a link (292)",
            honest().file("/home/x/f", "").link("/home/x/f", &kept).file("/home/x/f", evil),
        ),
        ("a link below a link", honest().link("/home/x/l", there).link("/home/x/l/new", "/etc/passwd")),
        ("the object is a link", honest().link("/home/x/a.o", &kept)),
        ("the dependency file is a link", honest().link("/home/x/a.d", &kept)),
        ("the source is a link", honest().link("/home/x/a.c", &kept)),
        ("the directory is a link", {
            let argv = ["gcc", "-MD", "-c", "/home/x/a.c", "-o", "new"];
            PumpRequest::new("/home/x/l", &argv).link("/home/x/l", there).file("/home/x/a.c", "int a;\n")
        }),
    ]
}

/// distcc-ng 093, 100 and 292 (CWE-59); 3.4 also deletes what it has written so.
#[test]
fn no_name_directory_or_link_leads_out_of_a_job() {
    let place = Place::new();
    let outside = Outside::new(&place);
    for namespaces in WAYS {
        let daemon = Daemon::start(place.daemon().env("DISTCCD_NAMESPACES", namespaces));
        for (what, asked) in escapes(&place.path("marks")) {
            let reply = daemon.ask(&asked.bytes());
            assert_eq!(outside.changes(), "", "{what}, namespaces {namespaces}: {reply:?}");
        }
        daemon.assert_unharmed();
    }
    let daemon = place.sandbox.debian_daemon().start();
    let escaped = escapes(&place.path("marks")).into_iter().any(|(what, asked)| {
        // For 3.4 it is a place in its own directory that it can write to.
        converse(&daemon.host(), &asked.bytes());
        !outside.changes().is_empty() && what.contains("292")
    });
    assert!(escaped, "distcc 3.4 withstands all of them: the requests have no teeth");
}

/// distcc-ng 292, as a race: the link is there long before the file comes; and other jobs have the same names.
#[test]
fn a_link_first_and_a_file_through_it_later_stay_in_the_job() {
    let place = Place::new();
    let outside = Outside::new(&place);
    for namespaces in WAYS {
        let daemon = Daemon::start(place.daemon().jobs(4).env("DISTCCD_NAMESPACES", namespaces));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for (_, asked) in escapes(&place.path("marks")) {
                        let bytes = asked.bytes();
                        let last = bytes.windows(4).rposition(|part| part == b"NAME").unwrap();
                        let mut stream = daemon.connect();
                        stream.write_all(&bytes[..last]).unwrap();
                        thread::sleep(Duration::from_millis(20));
                        // Refused by then, perhaps.
                        let _ = stream.write_all(&bytes[last..]);
                        let _ = read_reply(&mut stream);
                    }
                });
            }
        });
        assert_eq!(outside.changes(), "", "namespaces {namespaces}");
        daemon.assert_unharmed();
    }
}

/// 3.4: in a plain job `-MD -MF` names any file of the server's.
#[test]
fn a_plain_job_leaves_no_dependency_file_where_the_client_says() {
    let place = Place::new();
    let outside = Outside::new(&place);
    let daemon = place.start(&[]);
    let kept = place.mark("kept").display().to_string();
    for option in [format!("-MF{kept}"), format!("-Wp,-MD,{kept}"), format!("-MF={kept}")] {
        for words in [vec!["-MD", &option], vec!["-MMD", &option], vec!["-M", &option], vec![&option]] {
            let argv = [&["gcc"], words.as_slice(), &["-c", "a.c", "-o", "a.o"]].concat();
            let reply = daemon.ask(&request(1, &argv, b"int a;\n"));
            assert_eq!(outside.changes(), "", "{argv:?}: {reply:?}");
        }
    }
    let reply = daemon.ask(&request(1, &["gcc", "-MD", "-MF", &kept, "-c", "a.c", "-o", "a.o"], b"int a;\n"));
    assert_eq!(outside.changes(), "", "{reply:?}");
    place.finish(daemon);
}

/// distcc-ng 224; 3.4 allocates whatever ARGC, ARGV and the others announce.
#[test]
fn what_is_announced_and_does_not_come_takes_no_memory() {
    let place = Place::new();
    let daemon = Daemon::start(place.daemon().env("DISTCC_TCP_DEFER_ACCEPT", "0"));
    let v3 = PumpRequest::new("/home/x", &["gcc", "-c", "a.c"]).bytes();
    let v3 = &v3[..v3.len() - 12];
    let name = [v3, &packet("NFIL", 0xffff, b""), &body("NAME", b"/a")].concat();
    let with = |head: &[u8], token: &str, number: usize| [head, &packet(token, number, b"")].concat();
    let dist = packet("DIST", 1, b"");
    // (what, bytes, whether it is within a limit, so that the daemon waits for it)
    let announced = [
        ("words", with(&dist, "ARGC", 0xffff), true),
        ("too many words", with(&dist, "ARGC", 0x7fff_ffff), false),
        ("a word", with(&with(&dist, "ARGC", 0xffff), "ARGV", 0x1_ffff), true),
        ("a word too long", with(&with(&dist, "ARGC", 1), "ARGV", 0x7fff_ffff), false),
        ("a directory", with(&packet("DIST", 3, b""), "CDIR", 4095), true),
        ("a directory too long", with(&packet("DIST", 3, b""), "CDIR", 0x7fff_ffff), false),
        ("files", with(v3, "NFIL", 0xffff), true),
        ("too many files", with(v3, "NFIL", 0x7fff_ffff), false),
        ("a name", with(&with(v3, "NFIL", 1), "NAME", 4095), true),
        ("a name too long", with(&with(v3, "NFIL", 1), "NAME", 0x7fff_ffff), false),
        ("a link", with(&name, "LINK", 4095), true),
        ("a link too long", with(&name, "LINK", 0x7fff_ffff), false),
        ("a file", with(&name, "FILE", 1 << 29), true),
        ("a file too long", with(&name, "FILE", 0x7fff_ffff), false),
        ("a source", with(&request_head(2, &["gcc", "-c", "a.c"]), "DOTI", 1 << 29), true),
        ("a source too long", with(&request_head(2, &["gcc", "-c", "a.c"]), "DOTI", 0xffff_ffff), false),
    ];
    let before = daemon.own_memory();
    let mut waiting = Vec::new();
    for (what, bytes, waits) in &announced {
        for _ in 0..16 {
            let mut stream = daemon.connect();
            stream.write_all(bytes).unwrap();
            if *waits {
                waiting.push(stream);
            } else {
                let reply = read_reply(&mut stream).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(reply.refusal(), Some(105), "{what}: {reply:?}");
            }
        }
    }
    daemon.assert_serves();
    let after = daemon.own_memory();
    assert!(after < before + (16 << 10), "{before} kB before, {after} kB with {}", waiting.len());
    drop(waiting);
    daemon.assert_unharmed();
    place.finish(daemon);
}

/// distcc-ng 226: each `-specs` took a piece of the stack.
#[test]
fn very_many_specs_are_refused_like_one() {
    let place = Place::new();
    let daemon = place.start(&[]);
    for count in [1, 1000, 60_000] {
        for form in ["-specs=/x", "--specs=/x", "-fplugin=x"] {
            let mut argv = vec!["gcc"];
            argv.extend(std::iter::repeat_n(form, count));
            argv.extend(["-c", "a.c", "-o", "a.o"]);
            let plain = request(1, &argv, b"int a;\n");
            let pump = PumpRequest::new("/home/x", &argv).file("/home/x/a.c", "int a;\n").bytes();
            for bytes in [plain, pump] {
                let began = Instant::now();
                let reply = daemon.ask(&bytes).unwrap();
                assert!(reply.refusal().is_some(), "{count} of {form}: {reply:?}");
                assert!(reply.stderr.contains(form), "{count} of {form}: {}", reply.stderr);
                assert!(reply.stderr.len() < 1000, "{count} of {form}: {}", reply.stderr);
                assert!(began.elapsed() < 2 * SOON, "{count} of {form}: {:?}", began.elapsed());
            }
        }
    }
    daemon.assert_unharmed();
    place.finish(daemon);
}

/// distcc-ng 256: one byte too many for a dependency file whose length was a round number.
#[test]
fn dependency_files_of_every_length_arrive_whole() {
    let place = Place::new();
    let root = place.path("work");
    let source = root.join("a.c").display().to_string();
    for namespaces in WAYS {
        let daemon = Daemon::start(place.daemon().env("DISTCCD_NAMESPACES", namespaces));
        for bytes in [1 << 8, 1 << 10, 1 << 12, 1 << 13, 1 << 16] {
            for length in [bytes - 1, bytes, bytes + 1] {
                fs::write(root.join("a.c"), "int a;\n").unwrap();
                let compile = |target: &str| {
                    let argv = ["-MD", "-MT", target, "-c", &source, "-o", "a.o"];
                    place.sandbox.command("gcc").args(argv).run().assert_quiet_success();
                    text(&place.sandbox.read("a.d"))
                };
                let rest = compile(&"t".repeat(200)).len() - 200;
                let target = "t".repeat(length - rest);
                let local = compile(&target);
                assert_eq!(local.len(), length);
                let argv = ["gcc", "-MD", "-MT", &target, "-c", &source, "-o", "a.o"];
                let asked = PumpRequest::new(root.to_str().unwrap(), &argv).file(&source, "int a;\n");
                let reply = daemon.ask(&asked.bytes()).unwrap();
                assert_eq!(reply.status, 0, "{}", reply.stderr);
                assert!(text(&reply.dependencies) == local, "{length} bytes, namespaces {namespaces}");
            }
        }
        daemon.assert_unharmed();
    }
}

/// distcc-ng 287: `execvp` of the last part of a path that does not exist.
#[test]
fn a_path_to_nothing_runs_no_other_compiler_of_that_name() {
    let place = Place::new();
    let ran = format!("echo ran >{}", place.mark("ran").display());
    let listed = place.path("toolchain/cc");
    fs::write(place.path("commands"), format!("{}\n", listed.display())).unwrap();
    for (what, daemon) in [
        ("by name", place.start(&[])),
        ("by a list", Daemon::start(place.daemon().env("DISTCC_CMDLIST", place.path("commands")))),
    ] {
        for name in ["/opt/none/cc", "/usr/bin/../none/cc", "none/cc", "./cc", listed.to_str().unwrap()] {
            let reply = daemon.ask(&request(1, &[name, "-c", "a.c"], ran.as_bytes())).unwrap();
            assert_eq!(reply.refusal(), Some(110), "{what}, {name}: {reply:?}");
            assert!(!place.mark("ran").exists(), "{what}, {name}");
        }
        drop(daemon);
    }
}

/// distcc-ng 013: what a name of the masquerade directory leads to was not looked at.
#[test]
fn the_masquerade_directory_may_hold_anything() {
    let place = Place::new();
    let directory = place.path("lib/distcc");
    fs::write(directory.join("file-cc"), "").unwrap();
    fs::create_dir(directory.join("directory-cc")).unwrap();
    symlink("nowhere", directory.join("dangling-cc")).unwrap();
    symlink("loop-cc", directory.join("loop-cc")).unwrap();
    symlink("a/".repeat(2047), directory.join("long-cc")).unwrap();
    assert!(place.sandbox.command("mkfifo").args([directory.join("fifo-cc")]).run().status.success());
    let daemon = place.start(&[]);
    for name in
        ["file-cc", "directory-cc", "dangling-cc", "loop-cc", "long-cc", "fifo-cc", ".", "..", "none-cc"]
    {
        let began = Instant::now();
        let reply = daemon.ask(&request(1, &[name, "-c", "a.c"], b"int a;\n")).unwrap();
        assert_eq!(reply.refusal(), Some(110), "{name}: {reply:?}");
        assert!(began.elapsed() < SOON, "{name}: {:?}", began.elapsed());
    }
    daemon.assert_unharmed();
    place.finish(daemon);
}

/// distcc-ng 157: world-writable files, under the umask that some init programs start a daemon with.
#[test]
fn no_file_of_a_daemon_can_be_written_by_others() {
    let place = Place::new();
    let port = free_port().to_string();
    let server = place.sandbox.server_directory();
    let files = place.sandbox.server_directory();
    let (log, pid_file) = (files.join("log"), files.join("pid"));
    let daemon = place.sandbox.command("/bin/sh").env("PATH", place.search_path()).env("TMPDIR", &server);
    let script = "umask 0; exec \"$@\"";
    let daemon = daemon
        .args(["-c", script, "sh"])
        .args([place.path("bin/distccd")])
        .args(place.script_options())
        .args(["--no-detach", "--daemon", "--allow", "127.0.0.1", "--listen", "127.0.0.1", "--port", &port])
        .args(["--log-level", "debug", "--log-file"])
        .args([&log])
        .args(["--pid-file"])
        .args([&pid_file])
        .start();
    let address = format!("127.0.0.1:{port}").parse().unwrap();
    wait_until("the daemon", || TcpStream::connect(address).is_ok());
    let mut stream = connect(address);
    stream
        .write_all(&job(
            "stat -c '%a %n' . \"$src\" *; : >$out; while ! [ -e $marks/go ]; do sleep 0.01; done",
        ))
        .unwrap();
    wait_until("the job", || tree_of(&server).0.len() > 1);
    let mut seen = Vec::new();
    let mut directories = vec![server.clone(), files.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap().flatten() {
            let metadata = entry.metadata().unwrap();
            seen.push((entry.path(), metadata.permissions().mode() & 0o777));
            if metadata.is_dir() {
                directories.push(entry.path());
            }
        }
    }
    fs::write(place.mark("go"), "").unwrap();
    let reply = read_reply(&mut stream).unwrap();
    assert!(seen.iter().any(|(path, _)| *path == log) && seen.iter().any(|(path, _)| *path == pid_file));
    for (path, mode) in &seen {
        assert_eq!(mode & 0o022, 0, "{} has mode {mode:o}: {seen:?}", path.display());
    }
    let modes = text(&reply.stdout);
    assert!(modes.starts_with("700 .\n") && modes.contains("600 "), "{modes}");
    daemon.signal("TERM");
    daemon.finish();
    let _ = fs::remove_file(log);
    place.sandbox.finish([]);
}

/// distcc-ng 012, and 3.4's names of process number and time: forty jobs at once, each in a place nobody can guess.
#[test]
fn forty_jobs_at_once_have_directories_that_nobody_can_guess() {
    let place = Place::new();
    let daemon = Daemon::start(place.daemon().jobs(40));
    let mut names: Vec<u32> = thread::scope(|scope| {
        let jobs: Vec<_> = (0..40)
            .map(|_| {
                scope.spawn(|| {
                    let reply = daemon.ask(&job("pwd; stat -c %a .; sleep 0.2; : >$out")).unwrap();
                    assert_eq!(reply.status, 0, "{reply:?}");
                    let said = text(&reply.stdout);
                    let (path, mode) = said.trim().split_once('\n').unwrap();
                    assert_eq!(mode, "700");
                    u32::from_str_radix(path.rsplit('_').next().unwrap(), 16).unwrap()
                })
            })
            .collect();
        jobs.into_iter().map(|job| job.join().unwrap()).collect()
    });
    names.sort_unstable();
    // Names that follow from time, process number and a step on collision lie close together.
    let near = names.windows(2).filter(|pair| pair[1] - pair[0] <= 7777).count();
    assert!(near <= 2, "{near} of {names:x?}");
    daemon.assert_unharmed();
    place.finish(daemon);
}
