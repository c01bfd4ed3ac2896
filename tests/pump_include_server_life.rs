//! The include server as a process: how it starts, what it holds, what ends it, what it leaves; and its options.

mod support;

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use support::include_server::{IncludeServer, direct};
use support::{Sandbox, send_signal, tree_of, wait_until};

fn is_alive(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

fn read_pid(path: &Path) -> u32 {
    fs::read_to_string(path).unwrap().trim_end_matches('\n').parse().unwrap()
}

fn source(sandbox: &Sandbox) -> PathBuf {
    sandbox.write("m.c", "#include \"a.h\"\n");
    sandbox.write("a.h", "#include <stddef.h>\n");
    fs::canonicalize(sandbox.work("")).unwrap()
}

#[test]
fn it_is_there_when_its_parent_returns_and_holds_nobodys_pipe() {
    let sandbox = Sandbox::new();
    let directory = source(&sandbox);
    let socket = sandbox.path("socket");
    let server = sandbox.path("bin/include_server");
    // The shell's standard output is also its descriptor 7. Whoever reads that waits until all have let it go.
    let script = "exec 7>&1; \"$0\" --port \"$1\" --pid_file=\"$2\" >/dev/null 2>&1; echo $?";
    let run =
        sandbox.command("/bin/sh").args(["-c", script]).args([&server, &socket, &sandbox.path("pid")]).run();
    assert_eq!(run.out(), "0\n", "{run}");
    let pid = read_pid(&sandbox.path("pid"));
    assert!(is_alive(pid));
    for path in [socket.clone(), direct(&socket)] {
        let metadata = fs::metadata(&path).unwrap();
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{}", path.display());
    }
    let held: Vec<PathBuf> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter(|path| path.to_string_lossy().starts_with("pipe:") || path.starts_with(&directory))
        .collect();
    assert!(held.is_empty(), "{held:?}");
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/"));
    send_signal("TERM", i64::from(pid));
    wait_until("its end", || !is_alive(pid));
    assert!(!socket.exists() && !direct(&socket).exists() && !sandbox.path("pid").exists());
    sandbox.assert_clean();
}

#[test]
fn signals_end_it_and_nothing_is_left() {
    for signal in ["TERM", "INT", "HUP"] {
        let sandbox = Sandbox::new();
        let directory = source(&sandbox);
        let pid_file = sandbox.path("pid");
        let mut server = IncludeServer::start(&sandbox, &["--pid_file", pid_file.to_str().unwrap(), "-t"]);
        assert_eq!(read_pid(&pid_file), server.running().id());
        let paths = server.ask_as_3_4(&directory, &["gcc", "-c", "m.c"]);
        assert!(paths.iter().all(|path| fs::symlink_metadata(path).is_ok()));
        server.running().signal(signal);
        let (socket, pid_file) = (server.socket.clone(), pid_file);
        let run = server.wait();
        assert!(run.err().contains("elapsed"), "{run}");
        assert!(!socket.exists() && !direct(&socket).exists() && !pid_file.exists());
        sandbox.assert_clean();
    }
}

#[test]
fn what_a_killed_server_left_is_removed_by_the_next() {
    let sandbox = Sandbox::new();
    let directory = source(&sandbox);
    let mut server = IncludeServer::start(&sandbox, &[]);
    server.ask_as_3_4(&directory, &["gcc", "-c", "m.c"]);
    let mirror = server.mirror.clone();
    let names =
        || fs::read_dir(&mirror).unwrap().flatten().map(|entry| entry.file_name()).collect::<Vec<_>>();
    let left = names();
    assert_eq!(left.len(), 1);
    server.running().signal("KILL");
    drop(server);
    fs::create_dir(mirror.join("tmpx.include_server-elsewhere")).unwrap();
    let server = IncludeServer::start(&sandbox, &[]);
    assert_eq!(names(), ["tmpx.include_server-elsewhere"], "the dead server's goes, others stay");
    fs::remove_dir(mirror.join("tmpx.include_server-elsewhere")).unwrap();
    assert!(!server.ask_as_3_4(&directory, &["gcc", "-c", "m.c"]).is_empty());
    server.stop();
    sandbox.assert_clean();
}

#[test]
fn a_socket_that_is_in_use_is_left_alone() {
    let sandbox = Sandbox::new();
    let directory = source(&sandbox);
    let server = IncludeServer::start(&sandbox, &[]);
    let second = IncludeServer::command(&sandbox, &[]).run();
    assert_eq!(second.code(), 1, "{second}");
    assert!(second.err().contains("another include server"), "{second}");
    let background = sandbox.applet("include_server").args(["--port"]).args([&server.socket]).run();
    assert_eq!(background.code(), 1, "{background}");
    assert!(server.ask(&directory, &["gcc", "-c", "m.c"]).is_ok());
    server.stop();
    // Nobody answers on this one.
    drop(UnixListener::bind(sandbox.path("pump/socket")).unwrap());
    let server = IncludeServer::start(&sandbox, &[]);
    assert!(server.ask(&directory, &["gcc", "-c", "m.c"]).is_ok());
    server.stop();
    sandbox.write("no-socket", "precious");
    let run = sandbox
        .applet("include_server")
        .args(["--foreground", "--port"])
        .args([sandbox.work("no-socket")])
        .run();
    assert_eq!(run.code(), 1, "{run}");
    assert_eq!(sandbox.read("no-socket"), b"precious");
    sandbox.assert_clean();
}

#[test]
fn it_ends_when_its_socket_is_no_longer_its_own() {
    let sandbox = Sandbox::new();
    let server = IncludeServer::start(&sandbox, &[]);
    fs::remove_file(&server.socket).unwrap();
    let other = UnixListener::bind(&server.socket).unwrap();
    let socket = server.socket.clone();
    server.wait();
    assert!(UnixStream::connect(&socket).is_ok(), "another's socket is not removed");
    drop(other);
    sandbox.assert_clean();
}

#[test]
fn it_ends_with_its_build() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("pump")).unwrap();
    // The build is this shell and what it starts: killed, it cannot say goodbye.
    let script = "mkfifo \"$1\"; \"$0\" --port \"$2\" --exit-on-eof 5 5<\"$1\" & exec 6>\"$1\"; echo up; exec sleep 100";
    let arguments = [sandbox.path("bin/include_server"), sandbox.path("fifo"), sandbox.path("pump/socket")];
    let build = sandbox.command("/bin/sh").args(["-c", script]).args(arguments).start();
    let socket = sandbox.path("pump/socket");
    wait_until("the include server", || UnixStream::connect(&socket).is_ok());
    build.signal("KILL");
    wait_until("its end", || !socket.exists());
    drop(build);
    sandbox.assert_clean();
}

#[test]
fn it_ends_when_nobody_asks() {
    let sandbox = Sandbox::new();
    let directory = source(&sandbox);
    let begin = Instant::now();
    let server = IncludeServer::start(&sandbox, &["--idle-timeout=1"]);
    while begin.elapsed() < Duration::from_millis(1500) {
        assert!(server.ask(&directory, &["gcc", "-c", "m.c"]).is_ok());
        std::thread::sleep(Duration::from_millis(200));
    }
    server.wait();
    assert!(begin.elapsed() >= Duration::from_millis(2300), "{:?}", begin.elapsed());
    sandbox.assert_clean();
}

#[test]
fn options_do_what_they_say() {
    let sandbox = Sandbox::new();
    let directory = source(&sandbox);
    let options = [
        "-swv",
        "-d2",
        "--path_observation_re=a\\.h$",
        "--stat_reset_triggers=x*",
        "--unsafe_absolute_includes",
        "-x",
    ];
    let server = IncludeServer::start(&sandbox, &options);
    let argv = ["gcc", "-MD", "-c", "m.c", "-o", "out/m.o"];
    fs::create_dir(directory.join("out")).unwrap();
    assert!(server.ask(&directory, &argv).is_ok());
    let header = directory.join("a.h").display().to_string();
    let expected = format!("{}\n{header}\n", directory.join("m.c").display());
    assert_eq!(String::from_utf8(sandbox.read("out/m.d_approx")).unwrap(), expected);
    let exact = String::from_utf8(sandbox.read("out/m.d_exact")).unwrap();
    assert!(exact.contains(&header) && exact.contains("stddef.h"), "{exact}");
    assert!(!directory.join("out/m.d").exists() && !directory.join("m.d").exists(), "the build's own file");
    // The preprocessor opens what no analysis can know of.
    let liar = sandbox.script("compilers/gcc", "case \" $* \" in *\" -dM \"*) exec /usr/bin/gcc \"$@\";; esac\nexec /usr/bin/gcc \"$@\" -include /etc/hostname\n");
    let reason = server.ask(&directory, &[liar.to_str().unwrap(), "-c", "m.c"]).unwrap_err();
    assert!(reason.contains("did not find") && reason.contains("/etc/hostname"), "{reason}");
    let run = server.stop();
    assert!(run.out().contains("TRANSLATION_UNIT: m.c\nTIME: last "), "{run}");
    assert_eq!(run.err_lines_with(&format!("{header} was found at {header}")), 2, "{run}");
    assert_eq!(run.err_lines_with("--stat_reset_triggers is not needed"), 1, "{run}");
    sandbox.assert_clean();
}

#[test]
fn trouble_is_mailed_and_not_for_ever() {
    let sandbox = Sandbox::new();
    let directory = source(&sandbox);
    let liar = sandbox.script(
        "compilers/gcc",
        "case \" $* \" in *\" -dM \"*) exec /usr/bin/gcc \"$@\";; esac\nexec /usr/bin/gcc \"$@\" -include /etc/hostname\n",
    );
    let mails = sandbox.path("mails");
    fs::create_dir(&mails).unwrap();
    let script = format!("{{ echo \"$@\"; cat; }} > {}/mail.$$\n", mails.display());
    sandbox.script("mailer/sendmail", &script);
    let path = format!("{}:/usr/bin:/bin", sandbox.path("mailer").display());
    let command = IncludeServer::command(&sandbox, &["--verify", "-e", "--email_bound=2"]);
    let command = command.env("PATH", path).env("DISTCC_EMAILLOG_WHOM_TO_BLAME", "me@here");
    let server = IncludeServer::of(&sandbox, command);
    for _ in 0..4 {
        assert!(server.ask(&directory, &[liar.to_str().unwrap(), "-c", "m.c"]).is_err());
    }
    let sent = || tree_of(&mails).0.into_values().collect::<Vec<_>>();
    wait_until("two mails", || sent().iter().filter(|mail| mail.ends_with(b"hostname\n")).count() == 2);
    let mail = String::from_utf8(sent()[0].clone()).unwrap();
    let head = "-i -- me@here\nTo: me@here\nSubject: distcc-pump include server email\n\n";
    assert!(mail.starts_with(head) && mail.contains("/etc/hostname"), "{mail}");
    server.stop();
    assert_eq!(sent().len(), 2);
    sandbox.assert_clean();
}

#[test]
fn directories_need_not_be_forced() {
    let sandbox = Sandbox::new();
    let directory = source(&sandbox);
    let server = IncludeServer::start(&sandbox, &["--no_force_dirs"]);
    let entries = server.ask(&directory, &["gcc", "-c", "m.c"]).unwrap();
    let paths = server.ask_as_3_4(&directory, &["gcc", "-c", "m.c"]);
    assert!(!entries.iter().any(|(name, _)| name.contains("forcing")), "{entries:?}");
    assert!(!paths.iter().any(|path| path.ends_with("forcing_technique_271828")), "{paths:?}");
    server.stop();
    sandbox.assert_clean();
}

#[test]
fn wrong_calls_are_told_on_standard_output() {
    let sandbox = Sandbox::new();
    for (options, message) in [
        ([].as_slice(), "--port is missing"),
        (&["--bogus"], "--bogus not recognized"),
        (&["--port=/none/socket", "--simple_algorithm"], "Not implemented"),
        (&["--port=/none/socket"], "/none/socket"),
        (&["--port=/none/socket", "--idle-timeout", "x"], "--idle-timeout x"),
        (&["--port=/none/socket", "--exit-on-eof=1"], "--exit-on-eof 1"),
    ] {
        let run = sandbox.applet("include_server").args(options).args(["--foreground"]).run();
        assert_eq!(run.code(), 1, "{run}");
        assert!((run.out() + &run.err()).contains(message), "{run}");
    }
    let run = sandbox.applet("include_server").args(["--port=/s"]).env("DISTCC_CLIENT_TMP", "/a/b/c").run();
    assert!(run.code() == 1 && run.err().contains("DISTCC_CLIENT_TMP"), "{run}");
    let help = sandbox.applet("include_server").args(["--help"]).run();
    assert!(help.code() == 0 && help.out().contains("Usage: include_server --port"), "{help}");
    sandbox.assert_clean();
}
