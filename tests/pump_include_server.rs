//! The include server as its clients see it: answers in both languages, files that change, and clients that misbehave.
//! Its life as a process is in `pump_include_server_life.rs`.

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use support::include_server::{Entry, IncludeServer, converse, let_the_clock_tick, question, unpacked};
use support::{DEBIAN_DISTCC, Sandbox, require};

/// "At once", on a busy machine.
const SOON: Duration = Duration::from_millis(1500);

/// A small program: a header beside the source, one through a link, one found through an absolute directory.
fn tree(sandbox: &Sandbox) -> PathBuf {
    sandbox.write("p/m.c", "#include \"a.h\"\n#include <deep.h>\n#include <stdio.h>\nint m = A;\n");
    sandbox.write("p/a.h", "#include \"link.h\"\n#include \"empty.h\"\n#define A B\n");
    sandbox.write("p/real.h", "#define B 7\n");
    sandbox.write("p/empty.h", "");
    sandbox.write("inc/deep.h", "#include \"sub/../deeper.h\"\n");
    sandbox.write("inc/deeper.h", "static const char *name = __FILE__;\n");
    sandbox.write("inc/sub/unused.h", "");
    symlink("real.h", sandbox.work("p/link.h")).unwrap();
    fs::canonicalize(sandbox.work("p")).unwrap()
}

fn command(directory: &Path) -> [String; 6] {
    let include = format!("-I{}", directory.parent().unwrap().join("inc").display());
    ["gcc", &include, "-c", "m.c", "-o", "m.o"].map(str::to_owned)
}

fn words(command: &[String]) -> Vec<&str> {
    command.iter().map(String::as_str).collect()
}

#[test]
fn a_direct_answer_is_ready_to_be_sent() {
    let sandbox = Sandbox::new();
    let directory = tree(&sandbox);
    let server = IncludeServer::start(&sandbox, &[]);
    let entries = server.ask(&directory, &words(&command(&directory))).unwrap();
    let work = directory.parent().unwrap().display().to_string();
    let mut names: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[0], "/.distcc/files");
    let kind = |(name, entry): &(String, Entry)| match entry {
        Entry::File(_) if name.ends_with("/forcing_technique_271828") => 3,
        Entry::File(_) => 0,
        Entry::Link(target) if target.starts_with("../../") => 1,
        Entry::Link(_) => 2,
    };
    assert!(entries.is_sorted_by_key(kind), "{names:?}");
    let find = |name: &str| {
        let found = entries.iter().find(|entry| entry.0 == format!("{work}/{name}"));
        found.unwrap_or_else(|| panic!("no {name} in {names:?}")).1.clone()
    };
    for name in ["p/m.c", "p/a.h", "p/real.h", "p/empty.h", "inc/deep.h", "inc/deeper.h"] {
        assert_eq!(find(name), Entry::File(sandbox.read(name)), "{name}");
    }
    assert_eq!(find("p/link.h"), Entry::Link("real.h".into()));
    for directory in ["p", "inc", "inc/sub"] {
        assert_eq!(find(&format!("{directory}/forcing_technique_271828")), Entry::File(Vec::new()));
    }
    let system = &entries.iter().find(|(name, _)| name == "/usr/include").expect("a system directory").1;
    assert_eq!(*system, Entry::Link(format!("{}usr/include", "../".repeat(22))));
    assert!(!names.iter().any(|name| name.ends_with("stdio.h")), "the server has the system's headers");
    let Entry::File(surroundings) = &entries[0].1 else { panic!("{:?}", entries[0]) };
    let surroundings = String::from_utf8_lossy(surroundings);
    let records = |kind: char| surroundings.split('\0').filter(|record| record.starts_with(kind)).count();
    assert_eq!(records('T'), entries.iter().filter(|entry| kind(entry) == 0).count() - 1);
    assert!(surroundings.contains("\0D/usr/include\0"), "{surroundings}");
    assert!(surroundings.split('\0').any(|record| record.starts_with('H') && record.ends_with("stdio.h")));
    names.sort_unstable();
    assert!(names.is_sorted_by(|one, next| one < next), "a name twice");
    server.stop();
    sandbox.assert_clean();
}

#[test]
fn a_client_of_3_4_finds_files_on_disk() {
    let sandbox = Sandbox::new();
    let directory = tree(&sandbox);
    let server = IncludeServer::start(&sandbox, &[]);
    let paths = server.ask_as_3_4(&directory, &words(&command(&directory)));
    let work = directory.parent().unwrap();
    let name = |path: &PathBuf| -> PathBuf {
        let name: PathBuf = path.components().skip(4).collect();
        Path::new("/").join(name)
    };
    let find = |wanted: &str| {
        let wanted = work.join(wanted);
        let found = paths.iter().find(|path| name(path) == wanted);
        found.unwrap_or_else(|| panic!("no {} in {paths:#?}", wanted.display()))
    };
    let content = |wanted: &str| String::from_utf8(unpacked(&fs::read(find(wanted)).unwrap())).unwrap();
    assert_eq!(content("p/m.c.lzo"), String::from_utf8(sandbox.read("p/m.c")).unwrap());
    assert_eq!(content("p/empty.h.lzo"), "");
    // What the compiler finds through an absolute directory it must also name so.
    let deep = format!("#line 1 \"{0}/inc/deep.h\"\n#include \"sub/../deeper.h\"\n", work.display());
    assert_eq!(content("inc/deep.h.lzo.abs"), deep);
    assert_eq!(fs::read_link(find("p/link.h")).unwrap(), Path::new("real.h"));
    assert!(fs::symlink_metadata(find("inc/sub/forcing_technique_271828")).unwrap().is_file());
    let system = paths.iter().find(|path| name(path) == Path::new("/usr/include")).unwrap();
    let target = format!("{}usr/include", "../".repeat(22));
    assert_eq!(fs::read_link(system).unwrap(), Path::new(&target));
    assert_eq!(paths, server.ask_as_3_4(&directory, &words(&command(&directory))), "each is written once");
    server.stop();
    sandbox.assert_clean();
}

/// The client of 3.4, our include server, and the server of 3.4: where a header's own name is part of the object.
#[test]
fn a_build_with_distcc_3_4_goes_through() {
    require("distcc");
    let sandbox = Sandbox::new();
    let directory = tree(&sandbox);
    let daemon = sandbox.debian_daemon().start();
    let server = IncludeServer::start(&sandbox, &[]);
    let words = command(&directory);
    let compile = |program: &str, words: &[String]| {
        sandbox
            .command(program)
            .args(words)
            .cwd(&directory)
            .hosts(&format!("{},cpp,lzo", daemon.host()))
            .env("INCLUDE_SERVER_PORT", &server.socket)
            .env("DISTCC_FALLBACK", "0")
            .env("DISTCC_VERBOSE", "1")
            .run()
    };
    let run = compile(DEBIAN_DISTCC, &words);
    assert_eq!(run.code(), 0, "{run}");
    assert!(!run.err().contains("preprocessing locally"), "{run}");
    daemon.wait_for_jobs(1);
    let remote = sandbox.read("p/m.o");
    let local = compile("/usr/bin/gcc", &words[1..]);
    assert_eq!(local.code(), 0, "{local}");
    let names_header = |object: &[u8]| {
        let name = format!("{}/inc/deeper.h", directory.parent().unwrap().display());
        let name = name.replace("deeper.h", "sub/../deeper.h");
        object.windows(name.len()).any(|part| part == name.as_bytes())
    };
    assert!(names_header(&sandbox.read("p/m.o")), "the test looks for the wrong name");
    assert!(names_header(&remote), "a header found through an absolute directory is called as here");
    server.stop();
    sandbox.finish([daemon]);
}

#[test]
fn every_answer_is_true_for_its_moment() {
    let sandbox = Sandbox::new();
    let directory = tree(&sandbox);
    let server = IncludeServer::start(&sandbox, &[]);
    let argv = ["gcc", "-Inew", "-I../inc", "-c", "m.c"];
    let content = |name: &str| {
        let files = server.files(&directory, &argv);
        let wanted = fs::canonicalize(directory.join(name)).unwrap().display().to_string();
        files.into_iter().find(|file| file.0 == wanted).map(|file| file.1)
    };
    let before = server.ask_as_3_4(&directory, &argv);
    assert_eq!(content("real.h").unwrap(), "#define B 7\n");
    // At once, so that only the clock's tick is between the two states of the file.
    for text in ["#define B 8\n", "#define B 9\n", "#define B 10\n"] {
        sandbox.write("p/real.h", text);
        assert_eq!(content("real.h").unwrap(), text);
    }
    sandbox.write("p/new/deep.h", "/* earlier in the path */\n");
    assert!(content("new/deep.h").is_some());
    assert!(content("../inc/deep.h").is_none());
    fs::remove_file(sandbox.work("p/empty.h")).unwrap();
    symlink("real.h", sandbox.work("p/empty.h")).unwrap();
    let entries = server.ask(&directory, &argv).unwrap();
    let replaced = directory.join("empty.h").display().to_string();
    assert!(entries.contains(&(replaced, Entry::Link("real.h".into()))), "{entries:?}");
    // What a client of 3.4 was told of stays as it was for as long as it may be reading.
    let old = before.iter().find(|path| path.ends_with("real.h.lzo")).unwrap();
    let after = server.ask_as_3_4(&directory, &argv);
    let new = after.iter().find(|path| path.ends_with("real.h.lzo")).unwrap();
    assert_eq!(unpacked(&fs::read(old).unwrap()), b"#define B 7\n");
    assert_eq!(unpacked(&fs::read(new).unwrap()), b"#define B 10\n");
    server.stop();
    sandbox.assert_clean();
}

#[test]
fn a_directory_that_is_gone_costs_one_refusal() {
    let sandbox = Sandbox::new();
    let directory = tree(&sandbox);
    let server = IncludeServer::start(&sandbox, &[]);
    let gone = sandbox.work("gone");
    for _ in 0..2 {
        assert!(server.ask(&gone, &["gcc", "-c", "m.c"]).is_err());
        assert!(server.ask_as_3_4(&gone, &["gcc", "-c", "m.c"]).is_empty());
    }
    assert!(!server.ask_as_3_4(&directory, &["gcc", "-c", "m.c", "-I../inc"]).is_empty());
    fs::rename(&directory, sandbox.work("moved")).unwrap();
    assert!(server.ask(&directory, &["gcc", "-c", "m.c", "-I../inc"]).is_err());
    assert!(server.ask(&sandbox.work("moved"), &["gcc", "-c", "m.c", "-I../inc"]).is_ok());
    server.stop();
    sandbox.assert_clean();
}

#[test]
fn refusals_say_why() {
    let sandbox = Sandbox::new();
    let directory = tree(&sandbox);
    let server = IncludeServer::start(&sandbox, &[]);
    for (argv, why) in [
        (["gcc", "-c", "none.c"].as_slice(), "none.c"),
        (&["gcc", "-c", "m.i"], "preprocessed"),
        (&["gcc", "-E", "m.c"], "locally"),
        (&["gcc", "-I-", "-c", "m.c"], "-I-"),
        (&["/none/gcc", "-c", "m.c"], "/none/gcc"),
    ] {
        let reason = server.ask(&directory, argv).unwrap_err();
        assert!(reason.contains(why), "{argv:?}: {reason}");
        assert!(server.ask_as_3_4(&directory, argv).is_empty(), "{argv:?}");
    }
    server.stop();
    sandbox.assert_clean();
}

#[test]
fn clients_that_misbehave_hurt_nobody_else() {
    let sandbox = Sandbox::new();
    let directory = tree(&sandbox);
    let server = IncludeServer::start(&sandbox, &[]);
    let good = question(&directory, &["gcc", "-c", "m.c"]);
    let nonsense: [&[u8]; 5] =
        [b"GET / HTTP/1.0\r\n\r\n", b"QUES00000002Ax", b"QUESffffffff", b"CDIR00001000", b"QUES00000000"];
    for bytes in nonsense {
        assert!(converse(&server.direct(), bytes).unwrap().starts_with(b"WHYN"), "{}", bytes.escape_ascii());
        assert_eq!(converse(&server.socket, bytes).unwrap(), b"ARGC00000000", "{}", bytes.escape_ascii());
    }
    // Some stay in the middle of a question, some go there, some do not take their answer.
    let mut stuck = Vec::new();
    for end in [0, 1, 12, good.len() - 1] {
        for _ in 0..20 {
            let mut stream = UnixStream::connect(server.direct()).unwrap();
            stream.write_all(&good[..end]).unwrap();
            stuck.push(stream);
        }
        UnixStream::connect(server.direct()).unwrap().write_all(&good[..end]).unwrap();
    }
    for _ in 0..20 {
        UnixStream::connect(server.direct()).unwrap().write_all(&good).unwrap();
    }
    let begin = Instant::now();
    assert!(server.ask(&directory, &["gcc", "-c", "m.c"]).is_ok());
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    drop(stuck);
    server.stop();
    sandbox.assert_clean();
}

/// A client of 3.4 sends the words of its command; their meaning is found here.
#[test]
fn commands_of_3_4_are_completed() {
    let sandbox = Sandbox::new();
    let directory = tree(&sandbox);
    sandbox.write("p/words", "-I../inc");
    let masquerade = sandbox.path("masquerade");
    // A link to the other distcc.
    let theirs = sandbox.path("theirs");
    fs::create_dir(&theirs).unwrap();
    symlink(require("distcc"), theirs.join("gcc")).unwrap();
    let path = format!("{}:{}:/usr/bin:/bin", masquerade.display(), theirs.display());
    let server = IncludeServer::of(&sandbox, IncludeServer::command(&sandbox, &[]).env("PATH", path));
    symlink("/usr/bin/gcc", directory.join("mygcc")).unwrap();
    for argv in [["gcc", "@words", "-c", "m.c"], ["./mygcc", "-I../inc", "-c", "m.c"]] {
        let paths = server.ask_as_3_4(&directory, &argv);
        assert!(paths.iter().any(|path| path.ends_with("inc/deep.h.lzo")), "{argv:?}: {paths:?}");
    }
    server.stop();
    sandbox.assert_clean();
}

#[test]
fn many_ask_at_once_and_all_are_told_the_same() {
    let sandbox = Sandbox::new();
    let directory = tree(&sandbox);
    let server = IncludeServer::start(&sandbox, &[]);
    let argv = ["gcc", "-I../inc", "-c", "m.c"];
    let (direct, old) = std::thread::scope(|scope| {
        let ask = || (0..20).map(|_| server.ask(&directory, &argv).unwrap()).collect::<Vec<_>>();
        let ask_old = || (0..20).map(|_| server.ask_as_3_4(&directory, &argv)).collect::<Vec<_>>();
        let direct: Vec<_> = (0..6).map(|_| scope.spawn(ask)).collect();
        let old: Vec<_> = (0..6).map(|_| scope.spawn(ask_old)).collect();
        let direct: Vec<_> = direct.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        (direct, old.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>())
    });
    assert!(direct.iter().all(|entries| *entries == direct[0]));
    assert!(old.iter().all(|paths| *paths == old[0] && !paths.is_empty()));
    server.stop();
    sandbox.assert_clean();
}

#[test]
fn a_compiler_that_hangs_does_not_stop_the_others() {
    let sandbox = Sandbox::new();
    let directory = tree(&sandbox);
    let server = IncludeServer::start(&sandbox, &[]);
    assert!(server.ask(&directory, &["gcc", "-c", "m.c"]).is_ok());
    let slow = sandbox.script("compilers/gcc", "sleep 2\nexec /usr/bin/gcc \"$@\"\n");
    let slow = slow.to_str().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let begin = Instant::now();
            assert!(server.ask(&directory, &[slow, "-c", "m.c"]).is_ok());
            begin.elapsed()
        });
        let begin = Instant::now();
        let mut answered = 0;
        while begin.elapsed() < Duration::from_millis(1000) {
            let asked = Instant::now();
            assert!(server.ask(&directory, &["gcc", "-c", "m.c"]).is_ok());
            assert!(asked.elapsed() < SOON);
            answered += 1;
        }
        assert!(answered > 5, "only {answered} answers in a second");
        assert!(waiting.join().unwrap() >= Duration::from_secs(2));
    });
    server.stop();
    sandbox.assert_clean();
}

#[test]
fn without_room_for_its_files_a_client_of_3_4_preprocesses() {
    let sandbox = Sandbox::new();
    let directory = tree(&sandbox);
    let server = IncludeServer::start(&sandbox, &[]);
    fs::remove_dir(&server.mirror).unwrap();
    File::create(&server.mirror).unwrap();
    assert!(server.ask_as_3_4(&directory, &["gcc", "-c", "m.c"]).is_empty());
    assert!(server.ask(&directory, &["gcc", "-c", "m.c"]).is_ok());
    fs::remove_file(&server.mirror).unwrap();
    fs::create_dir(&server.mirror).unwrap();
    assert!(!server.ask_as_3_4(&directory, &["gcc", "-c", "m.c"]).is_empty());
    let run = server.stop();
    assert!(run.err().contains("files for clients of 3.4"), "{run}");
    sandbox.assert_clean();
}

#[test]
fn files_that_somebody_removed_are_written_again() {
    let sandbox = Sandbox::new();
    let directory = tree(&sandbox);
    let server = IncludeServer::start(&sandbox, &[]);
    let ask = || server.ask_as_3_4(&directory, &["gcc", "-c", "m.c"]);
    assert!(!ask().is_empty());
    for entry in fs::read_dir(&server.mirror).unwrap() {
        fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
    let paths = ask();
    assert!(!paths.is_empty() && paths.iter().all(|path| fs::symlink_metadata(path).is_ok()), "{paths:?}");
    server.stop();
    sandbox.assert_clean();
}

/// A path that was a directory becomes a link out of the mirror, and a directory again: nothing may be written behind
/// the link.
#[test]
fn the_mirror_is_not_left_through_a_link() {
    let sandbox = Sandbox::new();
    let server = IncludeServer::start(&sandbox, &[]);
    let directory = fs::canonicalize(sandbox.work("")).unwrap();
    sandbox.write("m.c", "#include \"d/h.h\"\n");
    sandbox.write("target/h.h", "/* 1 */\n");
    symlink(directory.join("target"), directory.join("d")).unwrap();
    let argv = ["gcc", "-c", "m.c"];
    let first = server.ask_as_3_4(&directory, &argv);
    assert!(first.iter().any(|path| path.ends_with("d")), "{first:?}");
    fs::remove_file(directory.join("d")).unwrap();
    let_the_clock_tick();
    sandbox.write("d/h.h", "/* 2 */\n");
    let second = server.ask_as_3_4(&directory, &argv);
    let header = second.iter().find(|path| path.ends_with("d/h.h.lzo")).unwrap();
    assert_eq!(unpacked(&fs::read(header).unwrap()), b"/* 2 */\n");
    assert!(fs::canonicalize(header).unwrap().starts_with(fs::canonicalize(&server.mirror).unwrap()));
    assert_eq!(fs::read_dir(directory.join("target")).unwrap().count(), 1);
    server.stop();
    sandbox.assert_clean();
}

/// A client may ask it, or look itself: `--scan-includes` says the same.
#[test]
fn what_would_be_sent_is_listed_alike_with_and_without_it() {
    let sandbox = Sandbox::new();
    let directory = tree(&sandbox);
    let command = command(&directory);
    let ask = || sandbox.distcc(std::iter::once("--scan-includes").chain(words(&command))).cwd(&directory);
    let server = IncludeServer::start(&sandbox, &[]);
    let [alone, asked] = [ask(), ask().env("INCLUDE_SERVER_PORT", &server.socket)].map(|run| {
        let outcome = run.run();
        let text = outcome.out();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    });
    let categories = ["FILE ", "SYMLINK ", "DIRECTORY ", "SYSTEMDIR "];
    for category in categories {
        assert!(asked.iter().any(|line| line.starts_with(category)), "{category}: {asked:?}");
    }
    // Of nested system directories only the outermost travels.
    let without_system = |lines: &[String]| -> Vec<String> {
        lines.iter().filter(|line| !line.starts_with("SYSTEMDIR")).cloned().collect()
    };
    assert_eq!(without_system(&asked), without_system(&alone));
    server.stop();
    sandbox.assert_clean();
}
