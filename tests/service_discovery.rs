//! A server on a machine where nobody has said which compilers may run: it finds them, and runs nothing else.

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use raw::{Daemon, Place, request, wait_for_end};
use support::faults::with_mounts;
use support::{Outcome, is_root, send_signal};

/// A real compiler; the name leads to no wrapper.
const GCC: &str = "/usr/bin/x86_64-linux-gnu-gcc-12";
const SOURCE: &[u8] = b"int f(void) { return 42; }\n";

/// What a daemon is started through to see none of the masquerade directories that this machine has. `None` if that
/// takes root.
fn hiding(place: &Place) -> Option<Vec<String>> {
    fs::remove_dir_all(place.path("lib/distcc")).unwrap();
    if !["/usr/lib/distcc", "/usr/local/lib/distcc"].iter().any(|directory| Path::new(directory).exists()) {
        return Some(vec!["/usr/bin/env".into()]);
    }
    if !is_root() {
        eprintln!("skipped: only root can hide this machine's masquerade directory");
        return None;
    }
    let scratch = place.path("scratch");
    fs::create_dir(&scratch).unwrap();
    let setup = "mount -t tmpfs none \"$1\"
        for parent in /usr/lib /usr/local/lib; do
            upper=$1$parent/upper work=$1$parent/work
            mkdir -p \"$upper\" \"$work\"
            mount -t overlay -o \"lowerdir=$parent,upperdir=$upper,workdir=$work\" none $parent
            rm -rf $parent/distcc
        done";
    Some(with_mounts(setup, &[scratch.to_str().unwrap()]))
}

/// The refusal of a compiler, or "" if it compiles.
fn verdict(daemon: &Daemon, name: &str) -> String {
    let reply = daemon.ask(&request(1, &[name, "-c", "a.c", "-o", "a.o"], SOURCE)).unwrap();
    match reply.refusal() {
        Some(code) => {
            assert_eq!(code, 110, "{reply:?}");
            reply.stderr
        }
        None => {
            assert!(reply.status == 0 && reply.object.starts_with(b"\x7fELF"), "{reply:?}");
            String::new()
        }
    }
}

#[track_caller]
fn assert_runs(daemon: &Daemon, name: &str) {
    assert_eq!(verdict(daemon, name), "", "{name}");
}

#[track_caller]
fn assert_refused(daemon: &Daemon, name: &str, words: &str) {
    let verdict = verdict(daemon, name);
    assert!(verdict.contains(words), "{name}: no {words:?} in {verdict:?}");
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn compilers_of_the_system_run_under_the_names_clients_send() {
    let place = Place::new();
    let Some(wrapper) = hiding(&place) else { return };
    let daemon = Daemon::start(place.sandbox.daemon().through(&wrapper));
    let lines = daemon.lines_with("may run: ");
    let names: Vec<&str> =
        lines[0].split("may run: ").nth(1).unwrap().split(" (").next().unwrap().split(' ').collect();
    for name in ["cc", "gcc", "g++", "gcc-12", "x86_64-linux-gnu-gcc", "x86_64-linux-gnu-gcc-12", "clang"] {
        assert!(names.contains(&name), "{name} in {lines:?}");
        assert_runs(&daemon, name);
        assert_runs(&daemon, &format!("/usr/bin/{name}"));
    }
    assert!(
        lines[0].contains("update-distcc-symlinks makes") && lines[0].contains("DISTCC_CMDLIST"),
        "{lines:?}"
    );
    for name in ["sh", "gcc-ar", "clang-cpp-14", "as", "odd-gcc", "..", "nvcc", "x86_64-linux-gnu-ld"] {
        assert!(!names.contains(&name), "{name} in {lines:?}");
        assert_refused(&daemon, name, "is no compiler that this server knows; to allow it");
    }
    assert_refused(&daemon, "/opt/x/gcc", "only names and paths below /usr/bin");
    assert_refused(&daemon, "gcc-99", "gcc-99 is not on this server; install it");
    assert_refused(&daemon, "../../tmp-gcc", "only names and paths below /usr/bin");

    // And of a real client, which completes the name.
    place.sandbox.write("a.c", SOURCE);
    let run = place.sandbox.distcc(["gcc", "-c", "a.c"]).hosts(&daemon.guard.host());
    run.env("DISTCC_FALLBACK", "0").run().assert_quiet_success();
    assert_eq!(place.sandbox.debian_distcc(["gcc", "-c", "a.c"]).hosts(&daemon.guard.host()).run().code(), 0);
    place.finish(daemon);
}

#[test]
fn a_compiler_that_is_installed_later_runs_and_one_that_is_removed_does_not() {
    let place = Place::new();
    let Some(wrapper) = hiding(&place) else { return };
    let own = place.path("toolchain/bin");
    fs::create_dir_all(&own).unwrap();
    // The compiler's own search path is the same one, as in 3.4.
    symlink("/usr/bin/as", own.join("as")).unwrap();
    symlink(GCC, own.join("gcc")).unwrap();
    let daemon = Daemon::start(place.sandbox.daemon().env("DISTCCD_PATH", &own).through(&wrapper));
    let lines = daemon.lines_with("may run: ");
    assert!(lines[0].contains("toolchain/bin may run: gcc ("), "nothing of other directories: {lines:?}");
    assert_runs(&daemon, "gcc");
    assert_refused(&daemon, "gcc-12", "gcc-12 is not on this server");

    symlink(GCC, own.join("gcc-12")).unwrap();
    assert_runs(&daemon, "gcc-12");
    symlink(GCC, own.join("arm-none-eabi-gcc")).unwrap();
    assert_refused(&daemon, "arm-none-eabi-gcc", "is no compiler that this server knows");
    fs::create_dir_all(place.path("toolchain/lib/gcc/arm-none-eabi")).unwrap();
    assert_runs(&daemon, "arm-none-eabi-gcc");
    fs::remove_file(own.join("gcc")).unwrap();
    assert_refused(&daemon, "gcc", "gcc is not on this server");
    place.finish(daemon);
}

#[test]
fn what_is_no_compiler_or_could_be_changed_by_anybody_does_not_run() {
    let place = Place::new();
    let Some(wrapper) = hiding(&place) else { return };
    let (open, closed) = (place.path("open"), place.path("closed"));
    for directory in [&open, &closed] {
        fs::create_dir(directory).unwrap();
    }
    symlink(GCC, open.join("gcc")).unwrap();
    mode(&open, 0o777);
    symlink("/usr/bin/ccache", closed.join("cc")).unwrap();
    fs::copy(GCC, closed.join("gcc-12")).unwrap();
    mode(&closed.join("gcc-12"), 0o777);
    fs::write(closed.join("g++"), "#!/bin/sh\n").unwrap();
    mode(&closed.join("g++"), 0o755);
    symlink(place.path("bin/distcc"), closed.join("c++")).unwrap();
    symlink("/usr/bin/clang-14", closed.join("clang")).unwrap();
    mode(&closed, 0o755);
    let search_path = format!("{}:{}", open.display(), closed.display());
    let daemon = Daemon::start(place.sandbox.daemon().env("DISTCCD_PATH", &search_path).through(&wrapper));
    let lines = daemon.lines_with("may run: ");
    assert!(lines[0].contains(" may run: clang ("), "{lines:?}");
    for (name, why) in [
        ("gcc", "open/gcc, which everybody may change, or its directory"),
        ("gcc-12", "closed/gcc-12, which everybody may change"),
        ("cc", "closed/cc, which is ccache and no compiler"),
        ("g++", "closed/g++ is a script; to allow it: distccd --allow-script="),
        ("c++", "c++ is not on this server"),
    ] {
        assert_refused(&daemon, name, why);
    }
    assert_runs(&daemon, "clang");
    place.finish(daemon);
}

#[test]
fn a_masquerade_directory_decides_alone_once_it_is_there() {
    let place = Place::new();
    let Some(wrapper) = hiding(&place) else { return };
    let daemon = Daemon::start(place.sandbox.daemon().through(&wrapper));
    assert_runs(&daemon, "gcc");
    let reload = || {
        let before = daemon.lines_with("configuration read again").len();
        daemon.guard.signal("HUP");
        daemon.wait_for_lines("configuration read again", before + 1);
    };
    let directory = place.path("lib/distcc");
    fs::create_dir_all(&directory).unwrap();
    assert_runs(&daemon, "gcc");
    reload();
    assert_refused(&daemon, "gcc", "is not whitelisted on this server");
    let warning = format!("Warning: {} is empty: no compiler may run", directory.display());
    daemon.wait_for_lines(&warning, 1);

    symlink("../../bin/distcc", directory.join("gcc-12")).unwrap();
    assert_runs(&daemon, "gcc-12");
    assert_refused(&daemon, "gcc", "is not whitelisted on this server");
    fs::remove_dir_all(&directory).unwrap();
    reload();
    assert_runs(&daemon, "gcc");
    assert_eq!(daemon.lines_with(" may run: ").len(), 2, "said at the start and when it changed");
    place.finish(daemon);
}

#[test]
fn without_any_compiler_nothing_starts() {
    let place = Place::new();
    let Some(wrapper) = hiding(&place) else { return };
    let empty = place.path("empty");
    fs::create_dir(&empty).unwrap();
    let start = |search_path: &Path| -> Outcome {
        let run =
            place.sandbox.command(place.path("bin/distccd")).args(["--daemon", "--no-detach", "--port=0"]);
        let run =
            run.args(["--log-stderr", "--lifetime=5", "--allow=127.0.0.1"]).env("DISTCCD_PATH", search_path);
        run.env("TMPDIR", place.sandbox.server_directory()).through(&wrapper).run()
    };
    symlink("/usr/bin/ccache", empty.join("gcc")).unwrap();
    let run = start(&empty);
    assert_eq!(run.code(), 110, "{run}");
    for words in
        ["CRITICAL! no masquerade directory (", "lib/distcc", "DISTCCD_PATH", "update-distcc-symlinks"]
    {
        assert!(run.err().contains(words), "no {words:?} in {run}");
    }
    place.sandbox.finish([]);
}

#[test]
fn the_list_is_in_the_log_of_a_daemon_that_detaches() {
    let place = Place::new();
    let Some(wrapper) = hiding(&place) else { return };
    let (pid_file, log) = (place.path("marks/pid"), place.path("marks/log"));
    let run = place.sandbox.command(place.path("bin/distccd"));
    let run = run.args(["--daemon", "--port=0", "--listen=127.0.0.1", "--allow=127.0.0.1", "--pid-file"]);
    let run = run.args([&pid_file]).args(["--log-file"]).args([&log]);
    let run = run.env("TMPDIR", place.sandbox.server_directory()).through(&wrapper).run();
    assert!(run.status.success(), "{run}");
    let read = || fs::read_to_string(&log).unwrap_or_default();
    support::wait_until("the daemon", || read().contains("listening on "));
    assert!(read().contains("may run: ") && read().contains(" gcc "), "{}", read());
    let pid: u32 = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    send_signal("TERM", i64::from(pid));
    wait_for_end(pid);
    place.sandbox.finish([]);
}
