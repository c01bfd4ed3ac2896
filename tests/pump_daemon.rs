//! Pump jobs on our daemon, asked for in raw bytes and by Debian's client: the results are those of a local compile,
//! and no request reaches beyond its job.

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use distcc::checksum::crc32;
use distcc::protocol::surroundings::{
    ENVIRONMENT_NAME, FILES_NAME, FileTime, Files, HEADERS_DIFFER, SystemHeader, encode_variable, fingerprint,
};
use raw::{Daemon, Place, PumpRequest, Reply, bomb, packet, read_reply, text};
use support::{require, tree_of, wait_until};

/// With and without namespaces.
const WAYS: [&str; 2] = ["1", "0"];

const SOURCE: &str = "#include <assert.h>\n#include \"sub/../h.h\"\n#include \"dir/linked.h\"\n\
    int f(int x) { int unused; assert(x > LIMIT); return LINKED + MACRO; }\nconst char *name = __FILE__;\n";

fn start(place: &Place, namespaces: &str) -> Daemon {
    Daemon::start(place.confined_daemon().env("DISTCCD_NAMESPACES", namespaces))
}

/// A small project: its files, links and forced directories.
fn project(root: &Path) -> Vec<(PathBuf, &'static str)> {
    let at = |name: &str| root.join(name);
    vec![(at("p/a.c"), SOURCE), (at("p/h.h"), "#define LIMIT 3\n"), (at("q/linked.h"), "#define LINKED 4\n")]
}

fn request(root: &Path, argv: &[&str]) -> PumpRequest {
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let mut request = PumpRequest::new(&text(&root.join("p")), argv);
    for (path, content) in project(root) {
        request = request.file(&text(&path), content);
    }
    request
        .link("/usr/include", "../../../../../../../../../../../../../../../../../../../../../../usr/include")
        .link(&text(&root.join("p/dir")), &text(&root.join("q")))
        .file(&text(&root.join("p/sub/forcing_technique_271828")), "")
}

/// Makes the project on this machine.
fn unpack(root: &Path) {
    for (path, content) in project(root) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    fs::create_dir_all(root.join("p/sub")).unwrap();
    symlink(root.join("q"), root.join("p/dir")).unwrap();
}

/// What a compiler makes of a command in the project: status, messages, object, dependencies.
fn local(root: &Path, argv: &[&str], object: &str, dependencies: &str) -> (i32, String, Vec<u8>, Vec<u8>) {
    let directory = root.join("p");
    let mut command = Command::new(argv[0]);
    command
        .args(&argv[1..])
        .current_dir(&directory)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LC_ALL", "C");
    command.env("PWD", &directory);
    let output = command.output().unwrap();
    let read = |name: &str| fs::read(directory.join(name)).unwrap_or_default();
    let results = (read(object), read(dependencies));
    (output.status.code().unwrap(), text(&output.stderr), results.0, results.1)
}

#[test]
fn results_are_those_of_a_local_compile() {
    let place = Place::new();
    let root = place.path("tree");
    unpack(&root);
    let source = root.join("p/a.c").to_str().unwrap().to_owned();
    for namespaces in WAYS {
        let daemon = start(&place, namespaces);
        for (compiler, options, dependencies) in [
            ("gcc", "-g -O2 -Wall", ""),
            ("gcc", "-g3 -MD", "a.d"),
            ("gcc", "-gdwarf-4 -MMD -MF x/y.d -MP", "x/y.d"),
            ("gcc", "-g -gz -MD -MT target", "a.d"),
            ("gcc", "-S -g -MD", "a.d"),
            ("gcc", "-O2 -flto -g -frandom-seed=1", ""),
            ("clang", "-g -O2 -Wall -MD", "a.d"),
            ("clang", "-g -gz -S", ""),
        ] {
            if namespaces == "0" && options.contains("-flto") {
                continue;
            }
            for file in ["a.c", &source] {
                require(compiler);
                let output = if options.contains("-S") { "a.s" } else { "a.o" };
                let words = format!("{compiler} {options} -DMACRO=1 -c {file} -o {output}");
                let argv: Vec<&str> = words.split(' ').collect();
                fs::create_dir_all(root.join("p/x")).unwrap();
                let (status, messages, object, rule) = local(&root, &argv, output, dependencies);
                for made in [output, dependencies] {
                    let _ = fs::remove_file(root.join("p").join(made));
                }
                let reply = daemon.ask(&request(&root, &argv).bytes()).unwrap();
                let what = format!("{words}, namespaces {namespaces}");
                assert_eq!((reply.status >> 8, status), (0, 0), "{what}: {} {messages}", reply.stderr);
                assert_eq!(reply.stderr, messages, "{what}");
                assert_eq!(text(&reply.dependencies), text(&rule), "{what}");
                // What no map reaches is patched: as many slashes as there were letters.
                let patched = namespaces == "0" && options.contains("-gdwarf-4");
                assert!(patched || reply.object == object, "{what}: the object differs");
                assert!(!text(&reply.object).contains("distccd_"), "{what}");
            }
        }
        place_is_clean(&daemon);
        daemon.assert_unharmed();
        drop(daemon);
    }
}

fn place_is_clean(daemon: &Daemon) {
    wait_until("an empty TMPDIR", || tree_of(daemon.guard.temporary()).0.is_empty());
}

#[test]
fn the_clients_directory_need_not_exist_here() {
    let place = Place::new();
    let root = Path::new("/home/nobody-here");
    for namespaces in WAYS {
        let daemon = start(&place, namespaces);
        for directory in ["/home/nobody-here/p", "/usr/src/nobody-here/p", "/opt/nobody-here"] {
            let file = format!("{directory}/a.c");
            let asked = PumpRequest::new(directory, &["gcc", "-g", "-c", "a.c", "-o", "out/a.o"])
                .file(&file, "#include <stdio.h>\nint a;\n");
            let reply = daemon.ask(&asked.bytes()).unwrap();
            assert_eq!(reply.status, 0, "{directory}: {}", reply.stderr);
            let object = text(&reply.object);
            assert!(object.contains(directory) && !object.contains("distccd"), "{directory}");
        }
        let reply = daemon.ask(&request(root, &["gcc", "-c", "none.c", "-o", "a.o"]).bytes()).unwrap();
        assert!(reply.status != 0 && reply.stderr.contains("none.c"), "{}", reply.stderr);
        assert!(!reply.stderr.contains("distccd_"), "{}", reply.stderr);
        place_is_clean(&daemon);
        place.finish_one(daemon);
    }
    assert!(!Path::new("/usr/src/nobody-here").exists() && !Path::new("/opt/nobody-here").exists());
}

impl Place {
    /// Ends one of several daemons, whose jobs were all confined if any can be here.
    fn finish_one(&self, mut daemon: Daemon) {
        let log = daemon.guard.log();
        if let Some(why) = log.lines().find(|line| line.contains("confine a program")) {
            eprintln!("this machine does not confine compilers, which is not tested: {why}");
        }
        assert!(!log.contains("is compiled unconfined"), "{log}");
        daemon.guard.stop();
        assert_eq!(daemon.guard.ended_by(), Some(15), "{}", daemon.guard.log());
    }
}

fn object_of(reply: &Reply) -> String {
    assert_eq!(reply.status, 0, "{}", reply.stderr);
    text(&reply.object)
}

#[test]
fn what_lies_here_at_an_outputs_place_is_not_in_the_way() {
    let place = Place::new();
    // A compiler outside of /usr, which writes over what is there, and reads a file of its own.
    place
        .sandbox
        .script("tools/bin/over-cc", "for last; do :; done\ncat ${0%/*}/../own >$last && : >$last.d\n");
    fs::write(place.path("tools/own"), "own").unwrap();
    place.sandbox.allow_compiler("over-cc");
    for namespaces in WAYS {
        let search = format!("{}:/usr/bin:/bin", place.path("tools/bin").display());
        let daemon =
            Daemon::start(place.confined_daemon().env("PATH", search).env("DISTCCD_NAMESPACES", namespaces));
        let directory = place.path("tools/work");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("a.o"), "another user's").unwrap();
        let directory = directory.to_str().unwrap();
        let asked = PumpRequest::new(directory, &["over-cc", "-c", "a.c", "-o", "a.o"]);
        let reply = daemon.ask(&asked.file(&format!("{directory}/a.c"), "").bytes()).unwrap();
        assert_eq!(object_of(&reply), "own");
        assert_eq!(fs::read_to_string(format!("{directory}/a.o")).unwrap(), "another user's");
        place.finish_one(daemon);
    }
}

#[test]
fn times_and_variables_travel() {
    let place = Place::new();
    // A compiler that says what it was given.
    let script = "for last; do :; done\nenv | sort >$last\nls -a / >>$last 2>/dev/null || :\n";
    place.sandbox.script("compilers/env-cc", script);
    place.sandbox.allow_compiler("env-cc");
    for namespaces in WAYS {
        let daemon = Daemon::start(
            place
                .confined_daemon()
                .env("DISTCCD_NAMESPACES", namespaces)
                .env("CPATH", "/nonexistent")
                .env("LANG", "xx"),
        );
        let source = "const char s[] = __TIMESTAMP__ \" | \" __DATE__;\n";
        let mut times = Vec::new();
        let files =
            Files { times: vec![FileTime { seconds: 1_000_000_000, nanoseconds: 5 }], ..Files::default() };
        files.encode(&mut times);
        let mut variables = Vec::new();
        for (name, value) in [("SOURCE_DATE_EPOCH", "0"), ("TZ", "UTC"), ("PATH", "/evil"), ("LC_ALL", "C")] {
            encode_variable(name, value.as_bytes(), &mut variables);
        }
        let asked = PumpRequest::new("/home/x", &["gcc", "-c", "a.c", "-o", "a.o"])
            .file(ENVIRONMENT_NAME_TEXT, &variables)
            .file(FILES_NAME_TEXT, &times)
            .file("/.distcc/from-the-future", "?")
            .link("/.distcc/link", "/etc")
            .file("/home/x/a.c", source);
        let object = object_of(&daemon.ask(&asked.bytes()).unwrap());
        assert!(object.contains("Sun Sep  9 01:46:40 2001 | Jan  1 1970"), "{namespaces}: {object}");
        // A compiler that says what it was given.
        let argv = ["env-cc", "-c", "a.c", "-o", "a.o"];
        let asked = PumpRequest::new("/home/x", &argv)
            .file(ENVIRONMENT_NAME_TEXT, &variables)
            .file("/home/x/a.c", "");
        let object = object_of(&daemon.ask(&asked.bytes()).unwrap());
        for (line, expected) in [
            ("SOURCE_DATE_EPOCH=0\n", true),
            ("TZ=UTC\n", true),
            ("LC_ALL=C\n", true),
            ("PATH=/evil\n", false),
            ("CPATH", false),
            ("LANG=", false),
            (".distcc\n", false),
        ] {
            assert_eq!(object.contains(line), expected, "{line}: {object}");
        }
        // A client of 3.4 leaves the daemon's language in place.
        let object = object_of(
            &daemon.ask(&PumpRequest::new("/home/x", &argv).file("/home/x/a.c", "").bytes()).unwrap(),
        );
        assert!(object.contains("LANG=xx\n") && !object.contains("CPATH"), "{object}");
        place.finish_one(daemon);
    }
}

/// The names as text.
const ENVIRONMENT_NAME_TEXT: &str = match std::str::from_utf8(ENVIRONMENT_NAME) {
    Ok(name) => name,
    Err(_) => panic!(),
};
const FILES_NAME_TEXT: &str = match std::str::from_utf8(FILES_NAME) {
    Ok(name) => name,
    Err(_) => panic!(),
};

fn with_headers(header: &str, sums: [Option<u32>; 2], directories: [&str; 2]) -> PumpRequest {
    let mut content = Vec::new();
    let header = SystemHeader { name: header.into(), fingerprint: fingerprint(sums) };
    let directories = directories.map(|directory| directory.as_bytes().to_vec()).to_vec();
    Files { times: Vec::new(), directories, headers: vec![header] }.encode(&mut content);
    PumpRequest::new("/home/x", &["gcc", "-c", "a.c", "-o", "a.o"]).file(FILES_NAME_TEXT, &content)
}

#[test]
fn other_system_headers_are_refused_at_once() {
    let place = Place::new();
    let daemon = place.start(&[]);
    let stdio = Some(crc32(&fs::read("/usr/include/stdio.h").unwrap()));
    let passwd = Some(crc32(&fs::read("/etc/passwd").unwrap()));
    for (header, sums, directories, expected) in [
        ("stdio.h", [stdio, None], ["/usr/include", "/usr/include/none"], true),
        ("stdio.h", [None, stdio], ["/usr/include", "/usr/include/none"], false),
        ("stdio.h", [Some(1), None], ["/usr/include", "/usr/include/none"], false),
        ("none.h", [None, None], ["/usr/include", "/usr/include/none"], true),
        // Nothing is told of files that a compiler does not see here.
        ("passwd", [passwd, None], ["/etc", "/usr/include"], false),
        ("../../etc/passwd", [passwd, None], ["/usr/include", "/usr/include/none"], false),
        ("../../etc/passwd", [None, None], ["/usr/include", "/usr/include/none"], true),
        ("self/environ", [None, None], ["/proc", "/dev"], true),
    ] {
        // The second time it is remembered.
        for _ in 0..2 {
            let mut stream = daemon.connect();
            let asked = with_headers(header, sums, directories).file("/home/x/a.c", "int a;").bytes();
            let refused_early = !expected;
            // A client that waits in the middle of its last file.
            let sent = if refused_early { asked.len() - 1 } else { asked.len() };
            stream.write_all(&asked[..sent]).unwrap();
            let reply = read_reply(&mut stream).unwrap();
            let what = format!("{header} {directories:?}: {}", reply.stderr);
            assert_eq!(reply.status, if expected { 0 } else { 100 << 8 }, "{what}");
            assert_eq!(reply.stderr.contains(&format!("{HEADERS_DIFFER}{header}")), !expected, "{what}");
        }
    }
    daemon.assert_unharmed();
    place.finish(daemon);
}

#[test]
fn hostile_requests_are_refused_or_fail_and_reach_nothing() {
    let place = Place::new();
    let outside = place.path("marks/outside");
    let out = outside.to_str().unwrap();
    for namespaces in WAYS {
        let daemon = start(&place, namespaces);
        let argv = ["gcc", "-c", "a.c", "-o", "a.o"];
        let plain = || PumpRequest::new("/home/x", &argv).file("/home/x/a.c", "int a;");
        let climbing = "../".repeat(30);
        let mut many = PumpRequest::new("/home/x", &argv);
        for number in 0..3000 {
            many = many.file(&format!("/home/x/{number}/{number}.h"), "");
        }
        // (what, request, refusal's code or none if a compiler says it, part of the message)
        let refused: Vec<(&str, PumpRequest, Option<u32>, &str)> = vec![
            ("climbing name", plain().file(&format!("/{climbing}{out}"), "x"), Some(109), "holds `..`"),
            ("relative name", plain().file("x/y", "x"), Some(109), "is not absolute"),
            ("relative directory", PumpRequest::new("x", &argv), Some(109), "is not absolute"),
            ("no directory", PumpRequest::new("", &argv), Some(109), "is not absolute"),
            ("a file as a directory", plain().file("/home/x/a.c/b", "x"), Some(109), "unpack"),
            ("link loop", plain().link("/l", "/m").link("/m", "/l").file("/l/x", "x"), Some(109), "unpack"),
            ("bad LZO", plain().packed("/home/x/b", b"\x12abc"), Some(107), "LZO"),
            ("a bomb", plain().packed("/home/x/b", &bomb(3 << 20)), Some(105), "more than"),
            ("bad surroundings", plain().packed(FILES_NAME_TEXT, b"\x12abc"), Some(107), "LZO"),
            ("bad record", plain().file(FILES_NAME_TEXT, "Tx\0"), Some(109), "/.distcc/files"),
            (
                "surroundings twice",
                plain().file(FILES_NAME_TEXT, "").file(FILES_NAME_TEXT, ""),
                Some(109),
                "comes twice",
            ),
            ("a bomb of records", plain().packed(FILES_NAME_TEXT, &bomb(1 << 20)), Some(105), "more than"),
            ("no source", PumpRequest::new("/home/x", &argv), None, "a.c"),
            (
                "a directory as source",
                PumpRequest::new("/home/x", &argv).file("/home/x/a.c/b", ""),
                None,
                "a.c",
            ),
            (
                "a source that leads out",
                PumpRequest::new("/home/x", &argv).link("/home/x/a.c", "../../../etc/shadow"),
                None,
                "a.c",
            ),
        ];
        for (what, asked, code, part) in refused {
            let what = format!("{what}, namespaces {namespaces}");
            let reply = daemon.ask(&asked.bytes()).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(reply.stderr.contains(part), "{what}: {}", reply.stderr);
            assert_eq!(reply.refusal(), code, "{what}: {}", reply.stderr);
            assert!(reply.status != 0 && reply.object.is_empty(), "{what}");
        }
        let accepted: Vec<(&str, PumpRequest)> = vec![
            ("the same name twice", plain().file("/home/x/a.c", "int b;")),
            ("a file that is the object", plain().file("/home/x/a.o", "old")),
            ("a link that leads out", plain().link("/l", &format!("{climbing}{out}"))),
            ("a name through a link", plain().link("/l", "/m/n").file("/m/n/x", "x").file("/l/y", "y")),
            ("3000 directories", many.file("/home/x/a.c", "int a;")),
        ];
        for (what, asked) in accepted {
            let reply = daemon.ask(&asked.bytes()).unwrap_or_else(|error| panic!("{what}: {error}"));
            let what = format!("{what}, namespaces {namespaces}");
            assert_eq!(reply.status, 0, "{what}: {}", reply.stderr);
            assert!(reply.object.starts_with(b"\x7fELF"), "{what}");
        }
        daemon.ask(&plain().link("/home/x/a.o", out).bytes()).unwrap();
        assert!(!outside.exists(), "a client wrote outside of its job");
        for head in [packet("NFIL", 1 << 17, b""), packet("NFIL", 0xffff_ffff, b"")] {
            let whole = PumpRequest::new("/home/x", &argv).bytes();
            let reply = daemon.ask(&[&whole[..whole.len() - 12], &head].concat()).unwrap();
            assert_eq!(reply.refusal(), Some(105), "{}", reply.stderr);
        }
        daemon.assert_unharmed();
        place.finish_one(daemon);
    }
}

/// The processes whose command has this word.
fn processes_with(word: &str) -> usize {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let commands = pids.map(|pid| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default());
    commands.filter(|command| text(command).split('\0').any(|part| part == word)).count()
}

#[test]
fn compilers_end_with_their_clients_and_their_daemon() {
    let place = Place::new();
    place.sandbox.script("compilers/slow-cc", "case $* in *-dM*) exit ;; esac; sleep 1000 & sleep 1000\n");
    place.sandbox.allow_compiler("slow-cc");
    for (index, namespaces) in WAYS.into_iter().enumerate() {
        let daemon = Daemon::start(
            place.confined_daemon().args(["--job-lifetime", "1"]).env("DISTCCD_NAMESPACES", namespaces),
        );
        let word = format!("-DSLOW{}{index}", std::process::id());
        let asked = PumpRequest::new("/home/x", &["slow-cc", &word, "-c", "a.c", "-o", "a.o"])
            .file("/home/x/a.c", "");
        let mut stream = daemon.connect();
        stream.write_all(&asked.bytes()).unwrap();
        wait_until("the compiler", || processes_with(&word) == 1);
        drop(stream);
        wait_until("the compiler's end", || processes_with(&word) == 0);
        place_is_clean(&daemon);
        // Clients that leave at any moment of their job's start.
        for pause in 0..40 {
            let mut stream = daemon.connect();
            stream.write_all(&asked.bytes()).unwrap();
            std::thread::sleep(Duration::from_micros(pause * 150));
        }
        wait_until("the compilers' end", || processes_with(&word) == 0);
        place_is_clean(&daemon);
        daemon.wait_for_lines("CLI_DISCONN", 41);
        let reply = daemon.ask(&asked.bytes()).unwrap();
        assert_eq!(reply.refusal(), Some(118), "{}", reply.stderr);
        let mut stream = daemon.connect();
        stream.write_all(&asked.bytes()).unwrap();
        wait_until("the compiler", || processes_with(&word) == 1);
        support::send_signal("TERM", daemon.pid().into());
        place.finish_one(daemon);
        wait_until("the compiler's end", || processes_with(&word) == 0);
    }
}

#[test]
fn jobs_start_beside_each_other_and_memory_returns() {
    let place = Place::new();
    let daemon = place.start(&["--jobs", "4"]);
    let body = "int a;\n".repeat(100_000);
    let asked = PumpRequest::new("/home/x", &["gcc", "-fsyntax-only", "-c", "a.c", "-o", "a.o"]);
    let asked = asked.file("/home/x/a.c", "int a;").file("/home/x/big.h", body).bytes();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let reply = daemon.ask(&asked).unwrap();
                    assert_eq!(reply.status, 0, "{}", reply.stderr);
                }
            });
        }
    });
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    daemon.assert_unharmed();
    place.finish(daemon);
}

#[test]
fn a_client_of_3_4_is_served() {
    require("distcc");
    let place = Place::new();
    for namespaces in WAYS {
        let daemon = start(&place, namespaces);
        let mirror = place.path("mirror");
        let work = place.sandbox.work("");
        let work = fs::canonicalize(work).unwrap();
        place.sandbox.write("a.c", "#include \"a.h\"\n#include <stdio.h>\nint a = A;\n");
        place.sandbox.write("a.h", "#define A 42\n");
        let mut list = String::new();
        for name in ["a.c", "a.h"] {
            // As 3.4's include server keeps files: below a root of three components.
            let stored = PathBuf::from(format!("/dev/shm/distcc-{}", std::process::id()))
                .join(work.strip_prefix("/").unwrap());
            fs::create_dir_all(&stored).unwrap();
            let content = distcc::protocol::lzo::Compressor::new().compress(&place.sandbox.read(name));
            let path = stored.join(format!("{name}.lzo"));
            fs::write(&path, content).unwrap();
            list.push_str(&format!("{} ", path.display()));
        }
        let hosts = format!("{},lzo,cpp", daemon.guard.host());
        for (options, variable) in [
            (&["-MD"][..], ""),
            (&["-MMD", "-MF", "x.d"], ""),
            (&["-Wp,-MD,x.d"], ""),
            (&[], ""),
            (&[], "x.d a.o"),
        ] {
            let mut words = vec!["gcc", "-g", "-c", "a.c", "-o", "a.o"];
            words.extend(options);
            let with_variable = |run: support::Run| match variable {
                "" => run,
                value => run.env("DEPENDENCIES_OUTPUT", value),
            };
            let expected = with_variable(place.sandbox.command("gcc").args(&words[1..])).run();
            assert_eq!(expected.code(), 0, "{expected}");
            let results = ["a.o", "a.d", "x.d"];
            let read = || results.map(|name| fs::read(place.sandbox.work(name)).ok());
            let wanted = read();
            results.iter().for_each(|name| drop(fs::remove_file(place.sandbox.work(name))));
            let run = with_variable(place.sandbox.debian_distcc(words))
                .hosts(&hosts)
                .env("INCLUDE_SERVER_STUB", &list)
                .env("INCLUDE_SERVER_PORT", mirror.join("socket"))
                .env("DISTCC_FALLBACK", "0")
                .run();
            assert_eq!(run.code(), 0, "{run} {}", daemon.guard.log());
            let (wanted, got) = (
                wanted.map(|file| file.map(|file| text(&file))),
                read().map(|file| file.map(|file| text(&file))),
            );
            assert_eq!(got[1..], wanted[1..], "{options:?} {variable}");
            assert!(got[0] == wanted[0], "{options:?}, namespaces {namespaces}: the object differs");
            results.iter().for_each(|name| drop(fs::remove_file(place.sandbox.work(name))));
        }
        daemon.guard.wait_for_jobs(5);
        place.finish_one(daemon);
        fs::remove_dir_all(format!("/dev/shm/distcc-{}", std::process::id())).unwrap();
    }
}
