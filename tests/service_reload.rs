//! What a server reads again on SIGHUP: who may connect (`--allow-file`) and which compilers may run. What is wrong then
//! leaves everything as it was; what is wrong at the start keeps the server from starting.

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use raw::{Daemon, Place, ask_from, is_root, job, request};

/// Puts a file in place of the one there, as editors and package managers do.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(&new, path).unwrap();
}

fn file_with(place: &Place, text: &str) -> (PathBuf, String) {
    let path = place.path("clients.allow");
    replace(&path, text);
    let option = format!("--allow-file={}", path.display());
    (path, option)
}

/// Sends SIGHUP and waits until it is done with.
#[track_caller]
fn reload(daemon: &Daemon) {
    let words = "configuration read again";
    let before = daemon.lines_with(words).len();
    daemon.guard.signal("HUP");
    daemon.wait_for_lines(words, before + 1);
}

/// Which of four clients are served.
fn admitted(daemon: &Daemon) -> Vec<u8> {
    let is_admitted = |last: &u8| {
        let reply = ask_from(&format!("127.0.0.{last}"), daemon.address, 1);
        assert!(reply.status == 0 || reply.refusal() == Some(113), "{reply:?}");
        reply.status == 0
    };
    (2..=5).filter(is_admitted).collect()
}

#[test]
fn the_file_says_who_may_connect_and_says_so_anew_after_hup() {
    let place = Place::new();
    for options in [["--sandbox=off"].as_slice(), &[]] {
        let (path, option) = file_with(&place, "# the lab\n127.0.0.2 # one\n\n127.0.0.4/31\n");
        let builder = place.confined_daemon().args(options).args([option.as_str(), "--allow=192.0.2.1"]);
        let daemon = Daemon::start(builder);
        assert_eq!(admitted(&daemon), [2, 4, 5], "{options:?}");

        replace(&path, "127.0.0.3\n");
        assert_eq!(admitted(&daemon), [2, 4, 5], "nobody has said that it changed");
        reload(&daemon);
        assert_eq!(admitted(&daemon), [3], "{options:?}");

        for (text, line, cause) in [
            ("127.0.0.2\n127.0.0.0/99\n", 2, "127.0.0.0/99: want a prefix length"),
            ("no-such-host.invalid\n", 1, "no-such-host.invalid"),
            ("127.0.0.2 127.0.0.5\n", 1, "one address, network or name"),
        ] {
            replace(&path, text);
            reload(&daemon);
            let lines = daemon.lines_with(&format!("ERROR: {}:{line}: ", path.display()));
            assert!(
                lines.iter().any(|line| line.contains(cause) && line.contains("stays as it was")),
                "{lines:?}"
            );
            assert_eq!(admitted(&daemon), [3], "{text:?}");
        }
        fs::remove_file(&path).unwrap();
        reload(&daemon);
        daemon.wait_for_lines("No such file or directory (os error 2); the access list stays", 1);
        assert_eq!(admitted(&daemon), [3]);

        replace(&path, "");
        reload(&daemon);
        assert_eq!(admitted(&daemon), [0; 0], "an empty file allows nobody");
        drop(daemon);
    }
    place.sandbox.assert_clean();
}

#[test]
fn a_reload_disturbs_no_job_and_no_client_that_waits() {
    let place = Place::new();
    let (path, option) = file_with(&place, "127.0.0.1\n");
    let daemon = Daemon::start(place.daemon().args([option]));
    let mut early = daemon.connect();
    std::thread::scope(|scope| {
        let script =
            "echo here >$marks/here; while [ ! -e $marks/go ]; do sleep 0.02; done; printf done >$out";
        let client = scope.spawn(|| daemon.ask(&job(script)).unwrap());
        place.wait_for_mark("here");
        // Connected clients stay, whatever the file says now.
        use std::io::Write;
        early.write_all(b"DIST00000001").unwrap();
        support::wait_until("two clients", || daemon.lines_with("connection from").len() >= 2);
        replace(&path, "192.0.2.1\n");
        reload(&daemon);
        fs::write(place.mark("go"), "").unwrap();
        assert_eq!(client.join().unwrap().object, b"done");
        let request = request(1, &["cc", "-c", "a.c"], b"printf early >$out\n");
        early.write_all(&request[12..]).unwrap();
        assert_eq!(raw::read_reply(&mut early).unwrap().object, b"early");
    });
    assert_eq!(ask_from("127.0.0.1", daemon.address, 1).refusal(), Some(113));
    place.finish(daemon);
}

#[test]
fn a_file_that_is_wrong_at_the_start_keeps_the_server_from_starting() {
    let place = Place::new();
    let (path, option) = file_with(&place, "127.0.0.1\n\n10.0.0.0/33\n");
    let start = |option: &str| {
        let run =
            place.sandbox.applet("distccd").args(place.script_options()).env("PATH", place.search_path());
        let run = run.env("TMPDIR", place.sandbox.server_directory());
        run.args(["--daemon", "--no-detach", "--log-stderr", "--port=0", "--lifetime=5", option]).run()
    };
    let refused = |option: &str, words: &str| {
        let run = start(option);
        assert_eq!(run.code(), 101, "{run}");
        assert!(run.err().contains(words), "no {words:?} in {run}");
        assert!(!run.err().contains("no --allow option"), "{run}");
    };
    refused(&option, &format!("{}:3: 10.0.0.0/33: want a prefix length from 0 to 32", path.display()));
    refused("--allow-file=/no/such/file", "--allow-file /no/such/file: No such file or directory");
    refused("--allow-file=/etc", "--allow-file /etc: not a file");
    refused("--allow-file=", "--allow-file");
    if is_root() {
        fs::write(&path, "127.0.0.1\n").unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        refused(&option, "Permission denied (os error 13) (it is read by user distccd, who serves)");
    }
    place.sandbox.finish([]);
}

#[test]
fn an_empty_file_is_warned_of() {
    let place = Place::new();
    let (_, option) = file_with(&place, "# nobody yet\n");
    let daemon = Daemon::start(place.daemon().args([option]));
    daemon.wait_for_lines("Warning: --allow-file names nobody", 1);
    assert_eq!(admitted(&daemon), [0; 0]);
    place.finish(daemon);
}

#[test]
fn the_command_list_is_read_again_and_a_lost_one_is_remembered() {
    let place = Place::new();
    let list = place.path("commands");
    let cc = place.path("compilers/cc");
    replace(&list, "/usr/bin/false\n");
    let daemon = Daemon::start(place.daemon().env("DISTCC_CMDLIST", &list));
    let reply = daemon.ask(&job("printf x >$out")).unwrap();
    assert_eq!(reply.refusal(), Some(110), "{reply:?}");
    assert!(reply.stderr.contains("send distccd a SIGHUP"), "{reply:?}");

    replace(&list, &format!("{}\n", cc.display()));
    reload(&daemon);
    daemon.assert_serves();

    fs::remove_file(&list).unwrap();
    reload(&daemon);
    let lines = daemon.lines_with("compilers are judged as before");
    assert!(
        lines[0].contains(&format!("ERROR: DISTCC_CMDLIST {}: No such file", list.display())),
        "{lines:?}"
    );
    daemon.assert_serves();
    place.finish(daemon);
}
