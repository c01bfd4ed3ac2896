//! Clients that mean harm and speak version 3: what they send does not leave its job, runs nothing but the compiler,
//! and keeps nobody else from working.

#[path = "support/pump.rs"]
mod pump;
#[path = "support/raw.rs"]
mod raw;
mod support;

use std::fs;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use distcc::protocol::lzo::Compressor;
use pump::{FakeIncludeServer, FakeServer, Language, Says, reply};
use raw::{Daemon, Place, PumpRequest, SOON, body, bomb, packet, request, text};
use support::{Sandbox, require, tree_of, wait_until};

/// With and without namespaces.
const WAYS: [&str; 2] = ["1", "0"];
const FILES: &str = "/.distcc/files";
const COMMAND: &str = "/.distcc/command";
const DIRECTORY: &str = "/home/x";

fn start(place: &Place, namespaces: &str) -> Daemon {
    Daemon::start(place.confined_daemon().env("DISTCCD_NAMESPACES", namespaces))
}

fn compile(options: &[&str]) -> PumpRequest {
    let argv = [&["gcc"], options, &["-c", "a.c", "-o", "a.o"]].concat();
    PumpRequest::new(DIRECTORY, &argv)
}

#[test]
fn no_option_runs_a_program_or_writes_where_the_client_says() {
    require("clang");
    let place = Place::new();
    let mark = place.mark("here");
    let here = mark.to_str().unwrap();
    for namespaces in WAYS {
        let daemon = start(&place, namespaces);
        for words in [
            format!("gcc -x c++ -std=c++20 -fmodules-ts -fmodule-mapper=|/usr/bin/touch\u{1}{here}"),
            format!("gcc -time={here}"),
            format!("gcc -Wa,-MD,{here}"),
            format!("gcc -Wa,--M,{here}"),
            format!("gcc -Xassembler --M={here}"),
            format!("clang -Xclang -dependency-dot -Xclang {here}"),
            format!("clang -fmodules -fmodules-cache-path={here}"),
            format!("clang -Xclang -fmodules-cache-path={here} -Xclang -fmodules"),
            format!("clang -fcrash-diagnostics-dir={here}"),
        ] {
            let words: Vec<String> = words.split(' ').map(|word| word.replace('\u{1}', " ")).collect();
            let words: Vec<&str> =
                words.iter().map(String::as_str).chain(["-c", "a.c", "-o", "a.o"]).collect();
            let source = if words.iter().any(|word| word.contains("crash")) {
                "#pragma clang __debug parser_crash\n"
            } else {
                "int a;\n"
            };
            let asked = PumpRequest::new(DIRECTORY, &words).file("/home/x/a.c", source);
            daemon.ask(&asked.bytes()).unwrap();
            // Past the judge of the first command.
            let second: String = words.iter().flat_map(|word| [*word, "\0"]).collect();
            let asked = compile(&[]).file(COMMAND, second).file("/home/x/a.c", source);
            daemon.ask(&asked.bytes()).unwrap();
            // The text as old clients send it.
            let _ = daemon.ask(&request(1, &words, source.as_bytes()));
            assert!(!mark.exists(), "{words:?}, namespaces {namespaces}");
        }
        daemon.assert_unharmed();
    }
}

#[test]
fn files_among_this_machines_give_no_orders() {
    let place = Place::new();
    let copies = "for last; do :; done\ncp /bin/true t && chmod 755 t\n./t && echo ran >$last || echo refused >$last\n";
    place.sandbox.script("compilers/copy-cc", copies);
    place.sandbox.allow_compiler("copy-cc");
    let directory = Command::new("gcc").arg("-print-libgcc-file-name").output().unwrap().stdout;
    let directory = text(&directory).trim().rsplit_once('/').unwrap().0.to_owned();
    // It makes the assembler's output be something else.
    let specs = "*invoke_as:\n%{!S:-o %|.s |\n sh /home/x/evil %{o*}}\n\n";
    let library = fs::read("/bin/true").unwrap();
    let daemon = start(&place, "1");
    let confined = !daemon.guard.log().contains("confine a program");
    // Nor is what a compiler makes run.
    for directory in [DIRECTORY, "/tmp"] {
        let asked =
            PumpRequest::new(directory, &["copy-cc", "-c", "a.c", "-o", "a.o"]).file("/home/x/a.c", "");
        let made = daemon.ask(&asked.bytes()).unwrap().object;
        assert!(!confined || made == b"refused\n", "in {directory}: {}", text(&made));
    }
    for (what, request) in [
        ("specs of gcc's", compile(&[]).file(&format!("{directory}/specs"), specs)),
        ("specs by -B", compile(&["-B/opt/evil/"]).file("/opt/evil/specs", specs)),
        ("specs by a link", compile(&["-B/opt/evil/"]).link("/opt/evil/specs", "/home/x/a.c")),
        (
            "specs in a link",
            compile(&["-B/opt/evil/"]).link("/opt/evil", DIRECTORY).file("/home/x/specs", specs),
        ),
        ("a tool by a link", compile(&[]).link(&format!("{directory}/as"), "/bin/sh")),
        ("a tool by -B", compile(&["-B/opt/evil/"]).link("/opt/evil/cc1", "/bin/sh")),
        (
            "a library",
            compile(&[]).file("/usr/lib/x86_64-linux-gnu/glibc-hwcaps/x86-64-v3/libz.so.1", &library),
        ),
        ("a library elsewhere", compile(&[]).link("/l", "/usr/lib").file("/l/libz.so.1", &library)),
    ] {
        let evil = "for last; do :; done; echo evil >$last";
        let asked = request.file("/home/x/evil", evil).file("/home/x/a.c", "int a;\n").bytes();
        let reply = daemon.ask(&asked).unwrap();
        assert!(!text(&reply.object).contains("evil"), "{what}");
        assert!(!confined || reply.refusal() == Some(100), "{what}: {}", reply.stderr);
        assert!(
            !confined || reply.stderr.contains("code of the client's choice"),
            "{what}: {}",
            reply.stderr
        );
    }
    daemon.assert_unharmed();
    place.finish(daemon);
}

#[test]
fn no_choice_of_names_gets_a_compiler_out_of_its_chamber() {
    let place = Place::new();
    fs::write(place.path("secret"), "the secret").unwrap();
    fs::set_permissions(place.path("secret"), PermissionsExt::from_mode(0o644)).unwrap();
    let secret = place.path("secret").to_str().unwrap().to_owned();
    let daemon = start(&place, "1");
    if daemon.guard.log().contains("confine a program") {
        return;
    }
    let source = format!(
        "__asm__(\".incbin \\\"{secret}\\\"\");\n#if __has_include(\"{secret}\")\n#error it exists\n#endif\n"
    );
    let mut entries = PumpRequest::new(DIRECTORY, &["gcc", "-c", "a.c", "-o", "a.o"]);
    for number in 0..400 {
        entries = entries.file(&format!("/usr/local/{number}/x"), "");
    }
    for (what, request) in [
        ("nothing", compile(&[])),
        ("files in /proc", compile(&[]).file("/proc/overlay/0/x", "").file("/usr/include/x/y.h", "")),
        ("files everywhere", entries.file("/proc/x", "")),
        ("a link for /usr", compile(&[]).link("/usr", "/home/x/usr")),
        ("a link for /dev", compile(&[]).link("/dev/null", &secret)),
        ("the secret as output", PumpRequest::new(DIRECTORY, &["gcc", "-c", "a.c", "-o", &secret])),
        ("the secret as dependencies", compile(&["-MD", "-MF", &secret])),
        ("a far directory", PumpRequest::new("/proc/1/root", &["gcc", "-c", "/home/x/a.c", "-o", "a.o"])),
        ("a link out", compile(&["-I/home/x/l"]).link("/home/x/l", "../../../../../../..")),
    ] {
        let reply = daemon.ask(&request.file("/home/x/a.c", &source).bytes()).unwrap();
        assert!(!text(&reply.object).contains("the secret"), "{what}");
        assert!(!reply.stderr.contains("it exists"), "{what}: {}", reply.stderr);
        // The compiler has made an empty one by the time the assembler looks for it.
        assert_eq!(reply.status == 0, what.starts_with("the secret as"), "{what}: {}", reply.stderr);
    }
    let log = daemon.guard.log();
    assert!(!log.contains("is compiled unconfined"), "{log}");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "the secret");
    daemon.assert_unharmed();
    place.finish(daemon);
}

#[test]
fn no_working_directory_leads_out_of_the_files() {
    let place = Place::new();
    let marks = place.path("marks");
    let climbing = format!("{}{}", "/..".repeat(40), marks.display());
    let relative = climbing.strip_prefix('/').unwrap();
    let argv = ["gcc", "-save-temps", "-fdump-tree-original=here", "-c", "/home/x/a.c", "-o", "a.o"];
    for namespaces in WAYS {
        let daemon = start(&place, namespaces);
        for (directory, link) in [
            (format!("/home/x{climbing}"), None),
            (climbing.clone(), None),
            ("/home/x/l".into(), Some(("/home/x/l", relative))),
            ("/home/x/l/m".into(), Some(("/home/x/l", &relative[..relative.rfind('/').unwrap()]))),
            ("/l".into(), Some(("/l", marks.to_str().unwrap()))),
        ] {
            let mut asked = PumpRequest::new(&directory, &argv).file("/home/x/a.c", "int a;\n");
            if let Some((name, target)) = link {
                asked = asked.link(name, target);
            }
            let reply = daemon.ask(&asked.bytes()).unwrap();
            let left = tree_of(&marks).0;
            assert!(left.is_empty(), "{directory}, namespaces {namespaces}: {left:?} {}", reply.stderr);
        }
        daemon.assert_unharmed();
    }
}

#[test]
fn entries_about_a_job_come_once_and_are_counted() {
    let place = Place::new();
    let daemon = place.start(&[]);
    for (what, asked, code, part) in [
        ("twice", compile(&[]).file(FILES, "D/\0").file(FILES, "D/\0"), 109, "comes twice"),
        (
            "commands twice",
            compile(&[]).file(COMMAND, "gcc\0-c\0a.c\0").file(COMMAND, ""),
            109,
            "comes twice",
        ),
        ("many headers", compile(&[]).file(FILES, "H00000000\0".repeat(70_000)), 105, "system headers"),
        ("many times", compile(&[]).file(FILES, "T0.0\0".repeat(70_000)), 105, "file times"),
        (
            "many variables",
            compile(&[]).file("/.distcc/environment", "TZ=\0".repeat(70_000)),
            105,
            "variables",
        ),
        ("many words", compile(&[]).file(COMMAND, "\0".repeat(70_000)), 105, "arguments"),
        ("a command that is none", compile(&[]).file(COMMAND, "sh\0-c\0x\0"), 101, ""),
        ("a program", compile(&[]).file(COMMAND, "sh\0-c\0x.c\0"), 110, "sh"),
    ] {
        let reply = daemon.ask(&asked.file("/home/x/a.c", "").bytes()).unwrap();
        assert_eq!(reply.refusal(), Some(code), "{what}: {}", reply.stderr);
        assert!(reply.stderr.contains(part), "{what}: {}", reply.stderr);
    }
    // As many as there may be of an entry that is not known: none is kept.
    let mut asked = compile(&[]);
    let packed = Compressor::new().compress(&vec![0; 4 << 20]);
    for number in 0..500 {
        asked = asked.packed(&format!("/.distcc/{number}"), &packed);
    }
    let began = Instant::now();
    assert_eq!(daemon.ask(&asked.file("/home/x/a.c", "").bytes()).unwrap().status, 0);
    assert!(began.elapsed() < 4 * SOON, "{:?}", began.elapsed());
    daemon.assert_unharmed();
    place.finish(daemon);
}

#[test]
fn an_include_server_that_is_no_good_does_not_hold_a_client_up() {
    let place = Place::new();
    let sandbox = &place.sandbox;
    sandbox.write("a.c", "int a;\n");
    let run = |socket: &Path| {
        let began = Instant::now();
        let outcome = sandbox
            .distcc(["gcc", "-c", "a.c", "-o", "a.o"])
            .hosts("127.0.0.1:9,lzo,cpp")
            .env("INCLUDE_SERVER_PORT", socket)
            .env("DISTCC_IO_TIMEOUT", "1")
            .env("DISTCC_BACKOFF_PERIOD", "0")
            .env("DISTCC_VERBOSE", "1")
            .run();
        assert_eq!(outcome.code(), 0, "{outcome}");
        assert!(began.elapsed() < Duration::from_secs(10), "{outcome}");
        outcome.err().to_owned()
    };
    // An answer that never ends, in either language; its bytes come one after the other.
    for (suffix, beginning) in [(".direct", "ANSW01000000"), ("", "ARGC00000fff")] {
        let socket = place.path(&format!("endless{suffix}"));
        let listener = UnixListener::bind(&socket).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.write_all(beginning.as_bytes());
                while stream.write_all(b"A").is_ok() {
                    thread::sleep(Duration::from_millis(100));
                }
            }
        });
        let said = run(&place.path("endless"));
        fs::remove_file(socket).unwrap();
        // In 3.4's language those bytes are no packet.
        assert!(said.contains("in time") || suffix.is_empty() && said.contains("makes no sense"), "{said}");
    }
    // Another user's, which answers nobody else itself; another's program might.
    if !support::is_root() {
        eprintln!("not tested: only root can be another user");
        return;
    }
    let socket = place.mark("socket");
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(place.path("bin/include_server"));
    let mut child = command.args(["--foreground", "--port"]).arg(&socket).spawn().unwrap();
    wait_until("the include server of another user", || socket.exists());
    let said = run(&socket);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(said.contains("belongs to another user"), "{said}");
}

#[test]
fn a_server_that_lies_about_dependencies_costs_a_client_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("a.c", "int a;\n");
    let include_server = FakeIncludeServer::start(&sandbox, Language::Direct, Says::AllFiles);
    let whole = reply(3, 0, "", "object", Some("a.o: a.c\n"));
    let at = whole.windows(4).position(|part| part == b"DOTD").unwrap();
    let with = |bytes: &[u8]| [&whole[..at], bytes].concat();
    let failed = reply(3, 1 << 8, "a.c:1:1: fatal error: no\n", "", None);
    for (what, answer, is_taken) in [
        ("what it should be", whole.clone(), true),
        ("more bytes than announced", [&whole[..], &b"DOTD".repeat(1000)].concat(), true),
        ("4 GiB announced", with(b"DOTDffffffff"), false),
        ("2 GiB announced", with(b"DOTD7fffffff"), false),
        ("16 MiB that never come", with(b"DOTD01000000"), false),
        ("a bomb", with(&body("DOTD", &bomb(1 << 20))), false),
        ("no LZO", with(&body("DOTD", b"\x12abc")), false),
        ("another token", with(&body("DOTX", b"")), false),
        ("dependencies of a failure", [&failed[..], &body("DOTD", b"\x12abc")].concat(), false),
        ("an object of a failure", [&failed[..failed.len() - 8], b"7fffffff"].concat(), false),
        ("another version", reply(2, 0, "", "object", Some("")), false),
    ] {
        let target = FakeServer::start(move |_| answer.clone());
        let began = Instant::now();
        let outcome = sandbox
            .distcc(["gcc", "-MMD", "-c", "a.c", "-o", "a.o"])
            .hosts(&target.host())
            .env("INCLUDE_SERVER_PORT", &include_server.socket)
            .env("DISTCC_IO_TIMEOUT", "2")
            .env("DISTCC_MAX_DISCREPANCY", "100")
            .env("DISTCC_BACKOFF_PERIOD", "0")
            .run();
        assert_eq!(outcome.code(), 0, "{what}: {outcome}");
        assert!(began.elapsed() < Duration::from_secs(8), "{what}");
        let object = sandbox.read("a.o");
        assert_eq!(object == b"object", is_taken, "{what}: {outcome}");
        assert_eq!(text(&sandbox.read("a.d")).trim(), "a.o: a.c", "{what}");
        fs::remove_file(sandbox.work("a.o")).unwrap();
        fs::remove_file(sandbox.work("a.d")).unwrap();
    }
    sandbox.finish([]);
}

/// A request whose headers take long to compare: each name is the same large file, written differently.
fn expensive() -> Vec<u8> {
    let mut content = b"D/usr/lib\0".repeat(60);
    let large = fs::read_dir("/usr/bin")
        .unwrap()
        .filter_map(|entry| Some((entry.ok()?.path(), 0)))
        .map(|(path, _)| (fs::metadata(&path).map_or(0, |file| file.len()), path))
        .filter(|(bytes, _)| *bytes < 16 << 20)
        .max()
        .unwrap()
        .1;
    for number in 0..8000 {
        let name = format!("{}../bin/{}", "./".repeat(number % 290), large.file_name().unwrap().display());
        content.extend(format!("H00000000{name}\0").bytes().take(600));
        content.extend(b"\0H00000000x\0");
    }
    content.truncate(3 << 20);
    content.extend(b"\0");
    compile(&[]).file(FILES, content).file("/home/x/a.c", "").bytes()
}

#[test]
fn headers_that_take_long_delay_others_little() {
    let place = Place::new();
    let daemon = place.start(&["--jobs", "4"]);
    let asked = expensive();
    // Clients that leave a comparison behind and go, by the hundred.
    for _ in 0..200 {
        let mut stream = daemon.connect();
        stream.write_all(&asked).unwrap();
        stream.shutdown(Shutdown::Both).unwrap();
    }
    let began = Instant::now();
    let reply = daemon.ask(&compile(&[]).file("/home/x/a.c", "int a;").bytes()).unwrap();
    assert_eq!(reply.status, 0, "{}", reply.stderr);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    daemon.assert_unharmed();
    place.finish(daemon);
}

#[test]
fn links_that_lead_far_take_no_more_than_their_time() {
    let place = Place::new();
    let daemon = place.start(&[]);
    let mut asked = compile(&[]).file("/d/x", "");
    // Forty links, each through a thousand names to the next: the most that a lookup may follow.
    for number in 0..39 {
        asked = asked.link(&format!("/l{number}"), &format!("{}l{}", "d/../".repeat(800), number + 1));
    }
    asked = asked.link("/l39", "d");
    let mut bytes = Vec::new();
    for number in 0..20_000 {
        bytes.extend(body("NAME", format!("/l{}/{number}", number % 2).as_bytes()));
        bytes.extend(body("FILE", b""));
    }
    let whole = asked.file("/home/x/a.c", "int a;").bytes();
    let at = whole.windows(4).position(|part| part == b"NFIL").unwrap();
    let request = [&whole[..at], &packet("NFIL", 20_042, b""), &whole[at + 12..], &bytes].concat();
    let began = Instant::now();
    let mut stream = daemon.connect();
    stream.write_all(&request).unwrap();
    let reply = raw::read_reply(&mut stream).unwrap();
    assert!(began.elapsed() < Duration::from_secs(40), "{:?} {}", began.elapsed(), reply.stderr);
    eprintln!("{:?} {}", began.elapsed(), reply.stderr);
    daemon.assert_unharmed();
    place.finish(daemon);
}

/// Whether there is a server that answers to the end.
fn is_answered(address: SocketAddr, request: &[u8]) -> bool {
    let answered = |mut stream: TcpStream| {
        stream.write_all(request)?;
        raw::read_reply(&mut stream).map(drop)
    };
    TcpStream::connect(address).and_then(answered).is_ok()
}

/// What the daemon has open, how many threads it has, and how many children.
fn holdings(pid: u32) -> (usize, usize, usize) {
    let count = |what: &str| fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count();
    let children = fs::read_dir(format!("/proc/{pid}/task")).unwrap().filter_map(Result::ok);
    let children = children.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
    (count("fd"), count("task"), children.map(|list| list.split_whitespace().count()).sum())
}

#[test]
fn clients_that_vanish_at_any_moment_leave_nothing() {
    let place = Place::new();
    place.sandbox.script("compilers/stub-cc", "exit 0\n");
    place.sandbox.allow_compiler("stub-cc");
    for namespaces in WAYS {
        let daemon = Daemon::start(
            place.confined_daemon().args(["--jobs", "3"]).env("DISTCCD_NAMESPACES", namespaces),
        );
        let asked = PumpRequest::new(DIRECTORY, &["stub-cc", "-c", "a.c", "-o", "a.o"])
            .file(FILES, "D/usr/include\0Hffffffff../none.h\0".replace("ffffffff", "d202ef8d"))
            .file("/home/x/a.c", "int a;\n".repeat(2000))
            .file("/usr/include/of-the-client/a.h", "")
            .bytes();
        assert_eq!(daemon.ask(&asked).unwrap().status, 0);
        let before = holdings(daemon.pid());
        thread::scope(|scope| {
            for client in 0..6_u64 {
                let (asked, address) = (&asked, daemon.address);
                scope.spawn(move || {
                    let mut random = client * 7919 + 1;
                    for _ in 0..120 {
                        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        let mut stream = TcpStream::connect(address).unwrap();
                        let sent = if random >> 63 == 0 {
                            asked.len()
                        } else {
                            (random >> 33) as usize % asked.len()
                        };
                        let _ = stream.write_all(&asked[..sent]);
                        thread::sleep(Duration::from_micros((random >> 40) % 9000));
                    }
                });
            }
        });
        wait_until("nothing left", || holdings(daemon.pid()) <= before && holdings(daemon.pid()).2 == 0);
        // All slots are free: as many jobs as there are slots, and more, are done.
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(daemon.ask(&asked).unwrap().status, 0));
            }
        });
        daemon.assert_unharmed();
    }
}

#[test]
fn a_request_of_very_many_files_stalls_nobody() {
    let place = Place::new();
    for namespaces in WAYS {
        let daemon = start(&place, namespaces);
        let whole = compile(&[]).file("/home/x/a.c", "int a;").bytes();
        let at = whole.windows(4).position(|part| part == b"NFIL").unwrap();
        let mut request = [&whole[..at], &packet("NFIL", 20_000, b""), &whole[at + 12..]].concat();
        let content = Compressor::new().compress(b"x");
        for number in 1..20_000 {
            request.extend(body("NAME", format!("/d{}/e/{number}", number / 16).as_bytes()));
            request.extend(body("FILE", &content));
        }
        thread::scope(|scope| {
            let client = scope.spawn(|| daemon.ask(&request).unwrap());
            while !client.is_finished() {
                daemon.assert_serves();
            }
            let reply = client.join().unwrap();
            assert_eq!(reply.status, 0, "{}", reply.stderr);
        });
        daemon.assert_unharmed();
    }
}

#[test]
fn a_daemon_that_ends_amid_starts_leaves_nothing() {
    for round in 0..4_u64 {
        let place = Place::new();
        place.sandbox.script("compilers/stub-cc", "exit 0\n");
        place.sandbox.allow_compiler("stub-cc");
        let way = WAYS[round as usize % 2];
        let daemon =
            Daemon::start(place.confined_daemon().args(["--jobs", "4"]).env("DISTCCD_NAMESPACES", way));
        let asked = PumpRequest::new(DIRECTORY, &["stub-cc", "-c", "a.c", "-o", "a.o"])
            .file("/home/x/a.c", "int a;\n".repeat(20_000))
            .file("/usr/include/of-the-client/a.h", "")
            .bytes();
        let address = daemon.address;
        thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    // Until nobody answers.
                    while is_answered(address, &asked) {}
                });
            }
            thread::sleep(Duration::from_millis(150 + 37 * round));
            let began = Instant::now();
            place.finish(daemon);
            assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
        });
    }
}
