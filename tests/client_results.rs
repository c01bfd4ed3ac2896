//! The same result: whatever a command produces through any pair of client and server, it produces locally, too.
//!
//! One table of commands; each is run locally first and then through distcc, in a directory of the same name, and
//! everything is compared: exit status, output, and every file.

mod support;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use support::{Daemon, Outcome, Run, Sandbox, Tree, require, wait_until};

/// Where a command is expected to be compiled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// On the server; our client and that of 3.4 agree.
    Server,
    /// On the server by our client; 3.4 compiles it here, or gets it wrong.
    ServerForOurs,
    /// On the server by our client and our server; 3.4's server cannot take it.
    ServerOfOurs,
    /// On the server, where it fails, and then here.
    ServerAndHere,
    /// Here.
    Here,
}

use Place::{Here, Server, ServerAndHere, ServerForOurs, ServerOfOurs};

/// What is run, and where.
const COMMANDS: &[(&str, Place)] = &[
    // Languages, compilers, -c and -S.
    ("gcc -O2 -c a.c -o a.o", Server),
    ("gcc -c a.c", Server),
    ("gcc -O1 -S a.c", Server),
    ("gcc -S a.c -o other.s", Server),
    ("gcc -c -std=c99 -DVALUE=7 -UOTHER -Iinclude a.c", Server),
    ("g++ -O2 -c b.cc", Server),
    ("g++ -std=c++17 -S b.cc -o b.s", Server),
    ("gcc -c c.m -o c.o", Server),
    ("clang -O2 -c a.c", Server),
    ("clang -S a.c", Server),
    ("clang++ -O1 -c b.cc -o b.o", Server),
    ("clang -S -O2 -x objective-c -c a.c", Server),
    ("cc -c a.c", Server),
    ("gcc -x c -c a.c", Server),
    ("gcc -c a.c -oa.out.o", Server),
    ("gcc -include a.h -c empty.c", Server),
    // Output elsewhere, sources elsewhere, no output name.
    ("gcc -c sub/deep.c -o out/deep.o", Server),
    ("gcc -c sub/deep.c", Server),
    ("gcc -c empty.c", Server),
    ("gcc -c big.c", Server),
    // Preprocessed already.
    ("gcc -c ready.i", Server),
    ("g++ -c ready.ii -o ready.o", Server),
    // Warnings, errors.
    ("gcc -Wall -c warn.c", Server),
    ("clang -Wall -c warn.c", Server),
    ("gcc -w -c warn.c", Server),
    ("gcc -Wall -Werror -c warn.c", ServerAndHere),
    ("gcc -c bad.c", ServerAndHere),
    ("g++ -c bad.cc", ServerAndHere),
    ("clang -c bad.c", ServerAndHere),
    // What is preprocessed here fails here.
    ("gcc -c missing.c", Here),
    ("gcc -c error.c", Here),
    ("gcc -c no-such-file.c", Here),
    // Dependencies.
    ("gcc -MD -MF a.dep -c a.c", Server),
    ("gcc -MMD -MF out/a.dep -c a.c -o out/a.o", ServerForOurs),
    ("gcc -MD -c a.c", Server),
    ("gcc -MMD -c a.c -o out/other.o", ServerForOurs),
    ("gcc -MD -MT target -c a.c -o other.o", ServerForOurs),
    ("gcc -MD -MP -MQ $(target) -MF d -c a.c", Server),
    ("gcc -Wp,-MD,out/wp.d -c a.c", ServerForOurs),
    ("gcc -MMD -S a.c -o out/a.s", ServerForOurs),
    ("clang -MD -c a.c -o out/other.o", ServerForOurs),
    ("clang -MMD -MF dep -MT x -c a.c", Server),
    ("gcc -MM a.c", Here),
    ("gcc -M -MF m.d a.c", Here),
    // Response files, this machine's processor.
    ("gcc @words -c a.c", Server),
    ("gcc @nested -o out/a.o", Server),
    ("gcc -march=native -O2 -c a.c", ServerForOurs),
    ("gcc -mtune=native -O2 -c a.c", ServerForOurs),
    ("clang -march=native -O2 -c a.c", ServerForOurs),
    // Comments that silence a warning.
    ("gcc -Wextra -Werror -c fall.c", ServerOfOurs),
    ("gcc -Wextra -c fall.c", ServerOfOurs),
    ("gcc -Wextra -Wimplicit-fallthrough=5 -c fall.c", ServerOfOurs),
    // Not compilations.
    ("gcc -E a.c", Here),
    ("gcc -E a.c -o a.i", Here),
    ("gcc -c a.c sub/deep.c", Here),
    ("gcc -print-prog-name=as", Here),
    ("x86_64-linux-gnu-gcc --version", Here),
    ("gcc -c conftest.c", Here),
    ("gcc -S -o - a.c", Here),
    ("gcc -c a.s", Here),
    ("gcc -O2", Here),
];

/// Options with side outputs that no server can send back: names of files, for every compiler.
const SIDE_OUTPUTS: &[&str] = &[
    "gcc -save-temps -c a.c",
    "gcc -save-temps=obj -c a.c -o out/a.o",
    "gcc -fstack-usage -c a.c -o out/a.o",
    "gcc -g -gsplit-dwarf -c a.c -o out/a.o",
    "gcc --coverage -c a.c -o out/a.o",
    "gcc -ftest-coverage -fprofile-arcs -c a.c",
    "gcc -fdump-tree-optimized -O1 -c a.c",
    "gcc -fcallgraph-info -c a.c",
    "gcc -fopt-info-all=opt.txt -O2 -c a.c",
    "gcc -Wa,-adhln=list.txt -c a.c",
    "gcc -fsyntax-only -c a.c",
    "gcc -aux-info protos -c a.c",
    "clang -g -gsplit-dwarf -c a.c",
    "clang -save-temps -c a.c",
    "clang -MJ commands.json -c a.c",
    "clang --coverage -c a.c -o out/a.o",
    "clang -ftime-trace -c a.c -o out/a.o",
    "clang -fsave-optimization-record -O2 -c a.c",
    "clang -serialize-diagnostics d.dia -c a.c",
];

fn populate(sandbox: &Sandbox) {
    sandbox.clear_work();
    let big: String = (0..40_000).map(|number| format!("{},\n", number * 7)).collect();
    for (name, content) in [
        ("a.h", "#ifndef VALUE\n#define VALUE 3\n#endif\nint external(int);\n"),
        (
            "a.c",
            "#include \"a.h\"\n#include <stddef.h>\nstatic const char *name = __FILE__;\n\
             int a(int x) { int s = 0; for (int i = 0; i < x; i++) s += external(i) * VALUE; return s; }\n\
             const char *where(void) { return name; }\n",
        ),
        (
            "b.cc",
            "#include <vector>\n#include <string>\nstd::vector<std::string> v() { return {\"a\", __FILE__}; }\n",
        ),
        (
            "c.m",
            "@interface Thing { int x; } - (int)x; @end\n@implementation Thing - (int)x { return x; } @end\n",
        ),
        ("sub/deep.c", "#include \"../a.h\"\nint deep(void) { return VALUE; }\n"),
        ("out/.keep", ""),
        ("include/.keep", ""),
        ("empty.c", ""),
        ("big.c", &format!("int big[] = {{ {big} }};\n")),
        ("ready.i", "# 1 \"x.c\"\nint ready = 1;\n"),
        (
            "ready.ii",
            "# 1 \"x.cc\"\ntemplate <class T> T twice(T t) { return t + t; }\nint two = twice(1);\n",
        ),
        ("warn.c", "int warn(int x) { int unused; if (x = 2) return 1; return 0; }\n"),
        ("bad.c", "int bad(void) { return nowhere; }\n"),
        ("bad.cc", "class A { int a }; int b(A x) { return x.y; }\n"),
        ("missing.c", "#include \"no-such-header.h\"\nint m;\n"),
        ("error.c", "#error this is meant to fail\nint e;\n"),
        (
            "fall.c",
            "int fall(int x) {\n  switch (x) {\n  case 1:\n    x += 2;\n    /* fallthrough */\n  case 2:\n    \
             x += 3;\n    break;\n  }\n  return x;\n}\n",
        ),
        ("words", "-O2 \"-DVALUE=11\" '-DTEXT=\"two words\"'\n-I include"),
        ("nested", "@words -c a.c"),
        ("conftest.c", "int c;\n"),
        ("a.s", ".globl s\ns:\n"),
    ] {
        sandbox.write(name, content);
    }
}

fn words(command: &str) -> Vec<OsString> {
    command.split(' ').map(OsString::from).collect()
}

/// The lines of standard error that do not depend on whether the compiler can see the source: carets cannot be drawn
/// by a server, and 3.4 talks of itself.
fn essence(outcome: &Outcome) -> String {
    let own = |line: &&str| line.contains("warning:") || line.contains("error:");
    let text: Vec<String> = outcome
        .err()
        .lines()
        .filter(own)
        .filter(|line| !line.starts_with("distcc["))
        // Drivers name themselves, and clients complete names.
        .map(|line| line.replace("x86_64-linux-gnu-", ""))
        .collect();
    text.join("\n")
}

struct Done {
    outcome: Outcome,
    tree: Tree,
}

fn locally(sandbox: &Sandbox, words: &[OsString]) -> Done {
    populate(sandbox);
    let outcome = sandbox.command(&words[0]).args(&words[1..]).run();
    Done { outcome, tree: sandbox.tree() }
}

fn through(sandbox: &Sandbox, client: Run) -> Done {
    populate(sandbox);
    let outcome = client.run();
    Done { outcome, tree: sandbox.tree() }
}

/// One pair of programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pair {
    OursOurs,
    OursDebian,
    DebianOurs,
}

impl Pair {
    fn client(self, sandbox: &Sandbox, words: &[OsString]) -> Run {
        match self {
            Pair::DebianOurs => sandbox.debian_distcc(words),
            _ => sandbox.distcc(words),
        }
    }

    fn daemon(self, sandbox: &Sandbox) -> Daemon {
        match self {
            Pair::OursDebian => sandbox.debian_daemon().start(),
            _ => sandbox.daemon().start(),
        }
    }

    /// How many compilations a server sees, where that is certain.
    fn compilations(self, place: Place) -> Option<usize> {
        match (place, self) {
            (Server | ServerAndHere, _) => Some(1),
            (ServerForOurs, Pair::DebianOurs) => None,
            (ServerForOurs, _) => Some(1),
            (ServerOfOurs, Pair::OursOurs) => Some(1),
            (ServerOfOurs, _) => None,
            (Here, Pair::DebianOurs) => None,
            (Here, _) => Some(0),
        }
    }
}

/// Everything in [`COMMANDS`] through one pair.
fn all_commands(pair: Pair, lzo: bool) {
    for tool in ["gcc", "g++", "clang", "clang++"] {
        require(tool);
    }
    let sandbox = Sandbox::new();
    let daemon = pair.daemon(&sandbox);
    let host = if lzo { daemon.host_lzo() } else { daemon.host() };
    let mut faults = Vec::new();
    for (command, place) in COMMANDS {
        // Its client names the dependency file after the source, and compiles for this machine here.
        if pair == Pair::DebianOurs && !matches!(place, Server | ServerAndHere) {
            continue;
        }
        let words = words(command);
        let before = daemon.compilations();
        let local = locally(&sandbox, &words);
        let remote = through(&sandbox, pair.client(&sandbox, &words).hosts(&host));
        let mut fault = |text: String| faults.push(format!("{command}: {text}"));
        if remote.outcome.code() != local.outcome.code() {
            fault(format!("exit {} instead of {}", remote.outcome.code(), local.outcome.code()));
        }
        if remote.outcome.stdout != local.outcome.stdout {
            fault(format!("stdout: {}\nlocally: {}", remote.outcome, local.outcome));
        }
        if essence(&remote.outcome) != essence(&local.outcome) {
            fault(format!("stderr: {}\nlocally: {}", remote.outcome, local.outcome));
        }
        // What ran here in the end looks exactly as it does without us.
        let ran_here = matches!(place, Here | ServerAndHere);
        if pair != Pair::DebianOurs
            && ran_here
            && remote.outcome.err().replace("x86_64-linux-gnu-", "") != local.outcome.err()
        {
            fault(format!("stderr is not the same: {}\nlocally: {}", remote.outcome, local.outcome));
        }
        let difference = local.tree.difference(&remote.tree);
        if !difference.is_empty() {
            fault(format!("files (first: local):\n{difference}"));
        }
        if let Some(count) = pair.compilations(*place) {
            // The log may be a moment late.
            let give_up = std::time::Instant::now() + std::time::Duration::from_millis(500);
            while daemon.compilations() < before + count && std::time::Instant::now() < give_up {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            if daemon.compilations() != before + count {
                fault(format!("{} compilations on the server, not {count}", daemon.compilations() - before));
            }
        }
        let _ = std::fs::remove_dir_all(sandbox.path("distcc/lock"));
    }
    assert!(faults.is_empty(), "{pair:?}, lzo {lzo}, {} faults:\n{}", faults.len(), faults.join("\n\n"));
    sandbox.finish([daemon]);
}

#[test]
fn ours_and_ours_give_the_local_result() {
    all_commands(Pair::OursOurs, false);
}

#[test]
fn ours_and_ours_give_the_local_result_with_lzo() {
    all_commands(Pair::OursOurs, true);
}

#[test]
fn ours_and_debian_give_the_local_result() {
    all_commands(Pair::OursDebian, false);
}

#[test]
fn ours_and_debian_give_the_local_result_with_lzo() {
    all_commands(Pair::OursDebian, true);
}

#[test]
fn debian_and_ours_give_the_local_result() {
    all_commands(Pair::DebianOurs, false);
}

#[test]
fn debian_and_ours_give_the_local_result_with_lzo() {
    all_commands(Pair::DebianOurs, true);
}

#[test]
fn side_outputs_are_never_lost() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().start();
    let mut faults = Vec::new();
    for command in SIDE_OUTPUTS {
        let words = words(command);
        let local = locally(&sandbox, &words);
        assert!(local.outcome.status.success(), "the case itself is wrong: {}", local.outcome);
        let remote = through(&sandbox, sandbox.distcc(&words).hosts(&daemon.host()));
        // Contents hold times and random numbers.
        if local.tree.names() != remote.tree.names() || !remote.outcome.status.success() {
            faults.push(format!(
                "{command}: {:?} locally, {:?} through distcc: {}",
                local.tree, remote.tree, remote.outcome
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(daemon.compilations(), 0, "{}", daemon.log());
    sandbox.finish([daemon]);
}

/// clang writes the name of the file it was given into Objective-C objects for GNU's runtime: on a server that is a
/// temporary name. Pump mode has the real one.
#[test]
fn objective_c_by_clang_compiles_to_the_same_but_for_a_name() {
    for pair in [Pair::OursOurs, Pair::OursDebian, Pair::DebianOurs] {
        let sandbox = Sandbox::new();
        let daemon = pair.daemon(&sandbox);
        let words = words("clang -S c.m");
        let local = locally(&sandbox, &words);
        let remote = through(&sandbox, pair.client(&sandbox, &words).hosts(&daemon.host()));
        assert_eq!((local.outcome.code(), remote.outcome.code()), (0, 0), "{}", remote.outcome);
        daemon.wait_for_jobs(1);
        let text = |done: &Done| {
            let text = String::from_utf8(done.tree.0[Path::new("c.s")].clone()).unwrap();
            // The name, and the length of the string that holds it.
            let own = |line: &&str| !line.contains("c.m\"") && !line.contains(".mi\"");
            text.lines().filter(own).filter(|line| !line.contains(".size")).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(text(&remote), text(&local));
        sandbox.finish([daemon]);
    }
}

#[test]
#[ignore = "-Wp,-MMD,FILE is split into driver options, for which gcc chooses another target (as 3.4 does)"]
fn dependencies_asked_of_the_preprocessor_itself_name_its_target() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().start();
    let words = words("gcc -Wp,-MMD,wp.d -c a.c -o out/a.o");
    let local = locally(&sandbox, &words);
    let remote = through(&sandbox, sandbox.distcc(&words).hosts(&daemon.host()));
    assert_eq!(local.tree.difference(&remote.tree), "");
    sandbox.finish([daemon]);
}

/// Names that a shell, a make rule or a text protocol would stumble over.
const ODD_NAMES: &[&[u8]] = &[
    b"two words.c",
    b"\xff\xfe not utf-8.c",
    b"quote'\"$(x)`.c",
    b"new\nline.c",
    b"-dash/x.c",
    b"..dots..c.c",
    "\u{e4}\u{f6}\u{fc}.c".as_bytes(),
    b"C12DOTI00000000.c",
];

#[test]
fn odd_file_names_give_the_local_result() {
    for pair in [Pair::OursOurs, Pair::OursDebian, Pair::DebianOurs] {
        let sandbox = Sandbox::new();
        let daemon = pair.daemon(&sandbox);
        for (number, name) in ODD_NAMES.iter().enumerate() {
            let name = OsString::from_vec(name.to_vec());
            let mut source = OsString::from("./");
            source.push(&name);
            let mut object = source.clone();
            object.push(".o");
            let words: [&OsStr; 5] =
                ["gcc".as_ref(), "-c".as_ref(), &source, "-o".as_ref(), object.as_os_str()];
            let build = |run: Run| {
                sandbox.clear_work();
                sandbox.write(&name, "int odd(void) { return 1; }\n");
                let outcome = run.run();
                (outcome, sandbox.tree())
            };
            let (local, local_tree) = build(sandbox.command("gcc").args(&words[1..]));
            assert!(local.status.success(), "{local}");
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            let (remote, tree) = build(pair.client(&sandbox, &words).hosts(&daemon.host()));
            assert_eq!(remote.code(), 0, "{pair:?}: {remote}");
            assert_eq!(local_tree.difference(&tree), "", "{pair:?}: {}", name.display());
            wait_until("the job in the server's log", || daemon.jobs_done() > number);
        }
        sandbox.finish([daemon]);
    }
}

#[test]
fn hosts_may_have_ipv6_addresses() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().listen("::1").start();
    assert!(daemon.host().starts_with("[::1]:"), "{}", daemon.host());
    for host in [daemon.host(), daemon.host_lzo()] {
        populate(&sandbox);
        sandbox.distcc(["gcc", "-c", "a.c"]).hosts(&host).run().assert_quiet_success();
    }
    daemon.wait_for_jobs(2);
    let debian = sandbox.debian_distcc(["gcc", "-c", "a.c"]).hosts(&daemon.host()).run();
    assert_eq!(debian.code(), 0, "{debian}");
    daemon.wait_for_jobs(3);
    assert!(daemon.log().contains("::1"), "{}", daemon.log());
    sandbox.finish([daemon]);
}

#[test]
fn standard_output_and_an_empty_object_come_back() {
    for pair in [Pair::OursOurs, Pair::DebianOurs] {
        for lzo in [false, true] {
            let sandbox = Sandbox::new();
            let body = "for last; do :; done\necho out of the compiler\necho err of the compiler >&2\n";
            sandbox.script("server-bin/fakecc", &format!("{body}: > \"$last\"\n"));
            sandbox.script("client-bin/fakecc", "exec gcc \"$@\"\n");
            sandbox.allow_compiler("fakecc");
            let path = |directory: &str| format!("{}:/usr/bin:/bin", sandbox.path(directory).display());
            let daemon = sandbox.daemon().env("DISTCCD_PATH", path("server-bin")).start();
            sandbox.write("a.c", "int a;\n");
            sandbox.write("a.o", "an old object");
            let host = if lzo { daemon.host_lzo() } else { daemon.host() };
            let words = words("fakecc -c a.c -o a.o");
            let run = pair.client(&sandbox, &words).hosts(&host).env("PATH", path("client-bin")).run();
            assert_eq!(run.code(), 0, "{run}");
            assert_eq!(run.out(), "out of the compiler\n", "{run}");
            assert!(run.err().contains("err of the compiler\n"), "{run}");
            assert_eq!(sandbox.read("a.o"), b"", "{run}");
            sandbox.finish([daemon]);
        }
    }
}
