//! A hostile server, and another user of the client's machine: whatever they say or put in its way, a client writes
//! nothing but its object and dependency file, at their own places, and ends in time with the right object.

#[path = "support/pump.rs"]
mod pump;
#[path = "support/raw.rs"]
mod raw;
mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use distcc::protocol::lzo;
use pump::{FakeIncludeServer, FakeServer, Language, Says, reply};
use raw::{body, bomb};
use support::{Run, Sandbox, tree_of, wait_until};

/// A user who is neither root nor an honest one.
const STRANGER: u32 = 65_534;
/// An honest user, for tests that root runs.
const USER: u32 = 64_321;
/// Longer than any job here may take, whatever a server or a user does.
const IN_TIME: Duration = Duration::from_secs(10);

fn with_source() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("a.c", "#include \"b.h\"\nint a(void) { return B; }\n");
    sandbox.write("b.h", "#define B 1\n");
    sandbox
}

/// `distcc gcc WORDS`, called as another user, who may write to the sandbox.
fn as_user(sandbox: &Sandbox, user: u32, words: &[&str]) -> Run {
    for directory in ["distcc/lock", "distcc/state"] {
        // Those of root, if it has been here.
        let _ = fs::remove_dir_all(sandbox.path(directory));
    }
    for directory in ["work", "tmp", "home", "distcc"] {
        fs::set_permissions(sandbox.path(directory), PermissionsExt::from_mode(0o777)).unwrap();
    }
    let ids = [format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".into()];
    sandbox.command("setpriv").args(ids).args([sandbox.path("bin/distcc")]).args(["gcc"]).args(words)
}

/// A process of another user; ended with its guard.
struct Foreign(Child);

impl Foreign {
    fn start(user: u32, program: &Path, words: &[&str]) -> Foreign {
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".into()]);
        command.arg(program).args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Foreign(command.spawn().unwrap())
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn skipped_without_root() -> bool {
    if !support::is_root() {
        eprintln!("not tested: only root can be another user");
    }
    !support::is_root()
}

/// Answers of versions 2 and 3 with these bodies, as they are.
fn answer(version: u32, status: u32, bodies: [&[u8]; 4]) -> Vec<u8> {
    let mut out = format!("DONE{version:08x}STAT{status:08x}").into_bytes();
    let count = if version == 3 && status == 0 { 4 } else { 3 };
    for (token, bytes) in ["SERR", "SOUT", "DOTO", "DOTD"].into_iter().zip(bodies).take(count) {
        out.extend(body(token, bytes));
    }
    out
}

/// 3.4: a malicious server can send huge SERR and DOTO. In 1.5 GB of address space each is an error or a result, and
/// nothing but the outputs is written.
#[test]
fn no_answer_makes_a_client_write_elsewhere_or_take_all_memory() {
    let sandbox = with_source();
    let include_server = FakeIncludeServer::start(&sandbox, Language::Direct, Says::AllFiles);
    sandbox.command("gcc").args(["-c", "a.c", "-o", "local.o"]).run().assert_quiet_success();
    let local = sandbox.read("local.o");
    let before = tree_of(&sandbox.path("home"));
    let stored = |bytes: &[u8]| lzo::store(bytes);
    let object = stored(b"object");
    let (big, endless) = (lzo::Compressor::new().compress(&vec![b'x'; 4 << 20]), bomb(4 << 20));
    let huge = bomb(12 << 20);
    let names = stored(b"../../../home/stolen: /etc/passwd \\\n $(touch home/stolen) `touch x`\n");
    let controls = stored(b"\x1b]0;title\x07\x1b[2J\0\0%s%n%s%n../../home/stolen\n");
    let nothing: &[u8] = b"";
    let mut cases: Vec<(&str, Vec<u8>, bool)> = Vec::new();
    for version in [2, 3] {
        let mut case =
            |what, status, bodies, counts| cases.push((what, answer(version, status, bodies), counts));
        case("an object that is none", 0, [nothing, nothing, &object, nothing], true);
        case("messages with controls", 0, [&controls, &controls, &object, nothing], true);
        case("dependencies with names", 0, [nothing, nothing, &object, &names], true);
        case("4 MiB of messages", 0, [&big, &big, &object, nothing], true);
        case("a bomb of messages", 0, [&endless, nothing, &object, nothing], false);
        case("a bomb of output", 0, [nothing, &endless, &object, nothing], false);
        case("a bomb of an object", 0, [nothing, nothing, &huge, nothing], false);
        case("no LZO", 0, [nothing, nothing, b"\x12abc", nothing], false);
        case("a match before the first byte", 0, [nothing, nothing, b"\x40\xff\xff\x11\0\0", nothing], false);
        case("a signal of none", 0x7f, [nothing, nothing, nothing, nothing], false);
        case("a strange status", 0xffff_ff00, [nothing, nothing, nothing, nothing], false);
        for (token, at) in [("SERR", 24), ("SOUT", 36), ("DOTO", 48)] {
            for length in ["7fffffff", "80000000", "ffffffff", "03ffffff"] {
                let whole = answer(version, 0, [nothing, nothing, nothing, nothing]);
                let cut = [&whole[..at], token.as_bytes(), length.as_bytes(), b"short"].concat();
                cases.push(("a length without bytes", cut, false));
            }
        }
    }
    for (what, bytes, counts) in cases {
        let version = bytes[11] - b'0';
        let sent = bytes.clone();
        let server = FakeServer::start(move |_| sent.clone());
        let host = if version == 3 { server.host() } else { server.host().replace(",cpp", "") };
        let script = "ulimit -v 1500000; exec \"$0\" gcc -MMD -c a.c -o a.o";
        let run = sandbox.command("/bin/sh").args(["-c", script]).args([sandbox.path("bin/distcc")]);
        let run = run
            .hosts(&host)
            .env("INCLUDE_SERVER_PORT", &include_server.socket)
            .env("DISTCC_IO_TIMEOUT", "3")
            .env("DISTCC_MAX_DISCREPANCY", "1000")
            .env("DISTCC_BACKOFF_PERIOD", "0");
        let began = Instant::now();
        let run = run.run();
        let what = format!("{what}, version {version}, {}", bytes[24..bytes.len().min(70)].escape_ascii());
        assert_eq!(run.code(), 0, "{what}: {}", run.err().chars().take(2000).collect::<String>());
        assert!(began.elapsed() < IN_TIME, "{what}: {:?}", began.elapsed());
        let found = sandbox.read("a.o");
        assert!(found == if counts { b"object".as_slice() } else { &local }, "{what}");
        let names = sandbox.tree().names();
        assert_eq!(names, ["a.c", "a.d", "a.o", "b.h", "local.o"], "{what}");
        assert_eq!(before.difference(&tree_of(&sandbox.path("home"))), "", "{what}");
        for output in ["a.o", "a.d"] {
            fs::remove_file(sandbox.work(output)).unwrap();
        }
    }
    sandbox.finish([]);
}

/// The object's place is a link, a pipe, a directory or a device; the server is hostile or says that all is well.
#[test]
fn what_lies_at_the_outputs_place_is_treated_as_a_compiler_treats_it() {
    let sandbox = with_source();
    let victim = sandbox.path("victim");
    fs::write(&victim, "precious").unwrap();
    for bytes in [reply(2, 0, "", "object", None), b"DONE00000002STAT00000000SERRffffffff".to_vec()] {
        let server = FakeServer::start(move |_| bytes.clone());
        let host = server.host().replace(",cpp", "");
        let compile = || {
            let run = sandbox.distcc(["gcc", "-c", "a.c", "-o", "a.o"]).hosts(&host);
            run.env("DISTCC_BACKOFF_PERIOD", "0").env("DISTCC_IO_TIMEOUT", "2").within(IN_TIME)
        };
        for target in [victim.as_path(), Path::new("/dev/null")] {
            let _ = fs::remove_file(sandbox.work("a.o"));
            symlink(target, sandbox.work("a.o")).unwrap();
            let null = target == Path::new("/dev/null");
            assert_eq!(compile().run().code(), 0, "{}", target.display());
            assert_eq!(fs::read(&victim).unwrap(), b"precious", "{}", target.display());
            let kind = fs::symlink_metadata(sandbox.work("a.o")).unwrap();
            // A link to a device is written through, as by the compiler.
            assert_eq!(kind.is_symlink(), null, "{}", target.display());
        }
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        fs::remove_file(sandbox.work("a.o")).unwrap();
        fs::create_dir(sandbox.work("a.o")).unwrap();
        assert_ne!(compile().run().code(), 0);
        fs::remove_dir(sandbox.work("a.o")).unwrap();
        assert_eq!(sandbox.tree().names(), ["a.c", "b.h"]);
    }
    sandbox.finish([]);
}

/// What another user can put where clients of several users share a DISTCC_DIR.
#[test]
fn what_lies_in_a_shared_directory_is_not_followed_nor_waited_for() {
    let sandbox = with_source();
    let victim = sandbox.path("victim");
    fs::write(&victim, "precious").unwrap();
    let daemon = sandbox.daemon().start();
    let lock = sandbox.path("distcc/lock");
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let hosts = format!("{dead}/1 {}/1", daemon.host());
    let build = || sandbox.distcc(["gcc", "-c", "a.c"]).hosts(&hosts).within(IN_TIME).run();
    // What an honest job uses there.
    assert_eq!(build().code(), 0);
    let names = sandbox.lock_files("");
    assert!(names.iter().any(|name| name.starts_with("backoff_")), "{names:?}");
    assert!(names.iter().any(|name| name.starts_with("cpu_")), "{names:?}");
    type Put<'a> = &'a dyn Fn(&Path);
    let kinds: [(&str, Put<'_>); 5] = [
        ("a link to a file", &|path| symlink(&victim, path).unwrap()),
        ("a link to nothing", &|path| symlink(sandbox.path("made"), path).unwrap()),
        ("a second name", &|path| fs::hard_link(&victim, path).unwrap()),
        ("a directory", &|path| fs::create_dir(path).unwrap()),
        ("a pipe", &|path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success())),
    ];
    for (what, put) in kinds {
        for name in &names {
            fs::remove_dir_all(&lock).unwrap();
            fs::create_dir(&lock).unwrap();
            put(&lock.join(name));
            if name.starts_with("backoff_") && what != "a directory" && what != "a pipe" {
                // Or it would count as a failure that has just been.
                let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
                if let Ok(file) = fs::File::options().write(true).open(&victim) {
                    file.set_modified(hour_ago).unwrap();
                }
            }
            let run = build();
            assert_eq!(run.code(), 0, "{what} at {name}: {run}");
            assert_eq!(fs::read(&victim).unwrap(), b"precious", "{what} at {name}: {run}");
            assert!(!sandbox.path("made").exists(), "{what} at {name}: {run}");
        }
    }
    // The state of the next process, whatever its number.
    let state = sandbox.path("distcc/state");
    let put = format!(
        "for name in binstate_$$ .binstate_$$; do ln -sf '{}' '{}'/$name; done; exec \"$0\" gcc -c a.c",
        victim.display(),
        state.display()
    );
    let run = sandbox.command("/bin/sh").args(["-c", &put]).args([sandbox.path("bin/distcc")]);
    run.hosts(&daemon.host()).run().assert_quiet_success();
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    sandbox.finish([daemon]);
}

/// Directories that cannot be read or written cost slots, states and hosts, not the result.
#[test]
fn closed_directories_cost_no_result() {
    if skipped_without_root() {
        return;
    }
    let sandbox = with_source();
    let daemon = sandbox.daemon().start();
    let run = || as_user(&sandbox, USER, &["-c", "a.c"]).hosts(&daemon.host()).within(IN_TIME).run();
    assert_eq!(run().code(), 0);
    for (directory, mode) in [
        ("distcc/lock", 0o000),
        ("distcc/lock", 0o555),
        ("distcc/state", 0o000),
        ("distcc", 0o000),
        ("distcc", 0o555),
    ] {
        let path = sandbox.path(directory);
        let close = |mode| fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        let _ = fs::remove_file(sandbox.work("a.o"));
        let ids = [format!("--reuid={USER}"), format!("--regid={USER}"), "--clear-groups".into()];
        close(mode);
        let run = sandbox.command("setpriv").args(ids).args([sandbox.path("bin/distcc")]);
        let run = run.args(["gcc", "-c", "a.c"]).hosts(&daemon.host()).within(IN_TIME).run();
        close(0o777);
        assert_eq!(run.code(), 0, "{directory} {mode:o}: {run}");
        assert!(sandbox.work("a.o").exists(), "{directory} {mode:o}: {run}");
    }
    sandbox.finish([daemon]);
}

/// A socket that answers in 3.4's language and is another user's: what it names would be read and sent with our rights.
#[test]
fn an_include_server_of_3_4_must_be_ones_own_or_roots_or_that_before_sudo() {
    if skipped_without_root() {
        return;
    }
    let sandbox = with_source();
    let server = FakeServer::start(|request| reply(request.version, 0, "", "object", Some("")));
    // Its old socket only; whose it is was settled when it began to listen.
    let directory = sandbox.path("stranger");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, PermissionsExt::from_mode(0o777)).unwrap();
    let script = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\ns.listen(9)\n\
                  import os\nos.chmod(sys.argv[1], 0o777)\nopen(sys.argv[1] + '.ready', 'w')\n\
                  while True:\n c, _ = s.accept()\n if c.recv(1): open(sys.argv[1] + '.asked', 'a').write('x')\n c.close()\n";
    let socket = directory.join("socket");
    let python = Path::new(&support::require("python3")).to_path_buf();
    let _stranger = Foreign::start(STRANGER, &python, &["-c", script, socket.to_str().unwrap()]);
    wait_until("the stranger's socket", || directory.join("socket.ready").exists());
    let asked = || fs::read(directory.join("socket.asked")).unwrap_or_default().len();
    let ask = |sudo_user: Option<u32>, user: u32| {
        let run = if user == 0 {
            sandbox.distcc(["gcc", "-c", "a.c"])
        } else {
            as_user(&sandbox, user, &["-c", "a.c"])
        };
        let run = run.hosts(&server.host()).env("INCLUDE_SERVER_PORT", &socket).env("DISTCC_VERBOSE", "1");
        let run = sudo_user.into_iter().fold(run, |run, user| run.env("SUDO_UID", user.to_string()));
        let before = asked();
        let run = run.within(IN_TIME).run();
        assert_eq!(run.code(), 0, "{run}");
        if asked() == before {
            assert!(run.err().contains("belongs to another user"), "{run}");
        }
        asked() > before
    };
    assert!(!ask(None, 0), "root asks a stranger's");
    assert!(!ask(Some(USER), 0), "root asks a stranger's");
    assert!(ask(Some(STRANGER), 0), "root asks that of the user before sudo");
    assert!(!ask(Some(STRANGER), USER), "who is not root was not made so by sudo");
    assert!(ask(None, STRANGER), "everybody asks one's own");
    drop(server);
}

/// Where paths must be short the background include server lies in `/tmp`, under a name that everybody can guess.
#[test]
fn a_directory_that_another_user_made_for_the_background_server_is_not_trusted() {
    if skipped_without_root() {
        return;
    }
    // A number of its own: the directory is outside of the sandbox.
    let user = 50_000 + std::process::id() % 10_000;
    let guessed = PathBuf::from(format!("/tmp/distcc-pump-{user}"));
    let sandbox = with_source();
    let daemon = sandbox.daemon().start();
    let _ = fs::remove_dir_all(&guessed);
    let traps: [(&str, &dyn Fn()); 3] = [
        ("a stranger's directory", &|| {
            fs::create_dir(&guessed).unwrap();
            fs::set_permissions(&guessed, PermissionsExt::from_mode(0o777)).unwrap();
            chown(&guessed, Some(STRANGER), Some(STRANGER)).unwrap();
        }),
        ("a link to a directory", &|| symlink(sandbox.path("trap"), &guessed).unwrap()),
        ("a stranger's sockets", &|| {
            fs::create_dir(&guessed).unwrap();
            for name in ["socket", "socket.direct"] {
                // Of root, who is a stranger to that user; it listens until this process ends.
                std::mem::forget(UnixListener::bind(guessed.join(name)).unwrap());
                fs::set_permissions(guessed.join(name), PermissionsExt::from_mode(0o777)).unwrap();
            }
            fs::set_permissions(&guessed, PermissionsExt::from_mode(0o777)).unwrap();
        }),
    ];
    fs::create_dir(sandbox.path("trap")).unwrap();
    fs::set_permissions(sandbox.path("trap"), PermissionsExt::from_mode(0o777)).unwrap();
    let deep = sandbox.path("distcc").join("d".repeat(120));
    fs::create_dir(&deep).unwrap();
    fs::set_permissions(&deep, PermissionsExt::from_mode(0o777)).unwrap();
    for (what, trap) in traps {
        trap();
        let run = as_user(&sandbox, user, &["-c", "a.c"]).env_remove("DISTCC_PUMP").env("DISTCC_DIR", &deep);
        let run = run.hosts(&format!("{},lzo,cpp", daemon.host())).within(IN_TIME).run();
        let left: Vec<String> = tree_of(&sandbox.path("trap")).names();
        let in_guessed = fs::metadata(&guessed).map(|metadata| metadata.uid());
        let started = guessed.join("pid").exists();
        let _ = fs::remove_file(&guessed).or_else(|_| fs::remove_dir_all(&guessed));
        assert_eq!(run.code(), 0, "{what}: {run}");
        let reasons = ["not a directory that only you can write", "belongs to another user"];
        assert!(reasons.iter().any(|reason| run.err().contains(reason)), "{what}: {run}");
        assert!(left.is_empty() && !started, "{what}: {left:?} {in_guessed:?}");
    }
    sandbox.finish([daemon]);
}
