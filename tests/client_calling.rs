//! The three ways to call the client, its questions, and the guard against calling itself.

mod support;

use std::os::unix::fs::symlink;

use support::{Run, Sandbox, require};

const SYSTEM_PATH: &str = "/usr/bin:/bin";

/// `masquerade` before the system's directories.
fn masquerade_path(sandbox: &Sandbox) -> String {
    format!("{}:{SYSTEM_PATH}", sandbox.path("masquerade").display())
}

/// Ways to call us that all compile `a.c` on the server.
#[test]
fn every_way_to_call_it_distributes() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().start();
    let link = |name: &str| sandbox.path("masquerade").join(name);
    let relative = "../masquerade/gcc";
    let client = |words: &[&str]| sandbox.distcc(words);
    let path = masquerade_path(&sandbox);
    let masked = |run: Run| run.args(["-c", "a.c"]).env("PATH", &path);
    symlink("distcc", sandbox.path("bin/my-distcc.bin")).unwrap();
    let ways: Vec<(&str, Run)> = vec![
        ("explicit", client(&["gcc", "-c", "a.c"])),
        ("explicit with a path", client(&["/usr/bin/gcc", "-c", "a.c"])),
        ("explicit, options first", client(&["gcc", "-O2", "a.c", "-c"])),
        ("implicit, option first", client(&["-c", "a.c"])),
        ("implicit, source first", client(&["a.c", "-c"])),
        ("implicit, object first", client(&["-o", "a.o", "-c", "a.c"])),
        ("a versioned name", sandbox.applet("distcc-3.4").args(["gcc", "-c", "a.c"])),
        ("a name with distcc in it", sandbox.applet("my-distcc.bin").args(["-c", "a.c"])),
        ("a link, by its absolute path", masked(sandbox.command(link("gcc")))),
        ("a link, by its relative path", masked(sandbox.command(link("gcc")).argv0(relative))),
        ("a link, found on PATH", masked(sandbox.command(link("gcc")).argv0("gcc"))),
        ("a link to cc", masked(sandbox.command(link("cc")).argv0("cc"))),
        ("a link to g++", masked(sandbox.command(link("g++")).argv0("g++"))),
        ("a link to clang", masked(sandbox.command(link("clang")).argv0("clang"))),
        ("a link whose directory is not on PATH", sandbox.command(link("gcc")).args(["-c", "a.c"])),
    ];
    for (number, (way, run)) in ways.into_iter().enumerate() {
        sandbox.clear_work();
        sandbox.write("a.c", "int a = 1;\n");
        let outcome = run.hosts(&daemon.host()).run();
        assert_eq!(outcome.code(), 0, "{way}: {outcome}");
        assert_eq!(outcome.err(), "", "{way}: {outcome}");
        assert_eq!(sandbox.tree().names(), ["a.c", "a.o"], "{way}");
        daemon.wait_for_jobs(number + 1);
    }
    sandbox.finish([daemon]);
}

#[test]
fn a_masqueraded_command_that_is_not_distributed_runs_the_real_compiler() {
    let sandbox = Sandbox::new();
    sandbox.write("a.c", "int main(void) { return 7; }\n");
    for argv0 in ["gcc", sandbox.path("masquerade/gcc").to_str().unwrap()] {
        let run = sandbox
            .command(sandbox.path("masquerade/gcc"))
            .argv0(argv0)
            .args(["a.c", "-o", "program"])
            .env("PATH", masquerade_path(&sandbox))
            .hosts("localhost")
            .run();
        run.assert_quiet_success();
        assert_eq!(sandbox.command(sandbox.work("program")).run().code(), 7);
    }
    sandbox.finish([]);
}

/// A compiler must not find the links again when it calls another by name.
#[test]
fn the_path_is_cut_behind_the_masquerade_directory() {
    let sandbox = Sandbox::new();
    sandbox.script("real/showpath", "echo \"$PATH $_DISTCC_SAFEGUARD\"\n");
    for directory in ["masquerade", "before"] {
        std::fs::create_dir_all(sandbox.path(directory)).unwrap();
    }
    symlink("../bin/distcc", sandbox.path("masquerade/showpath")).unwrap();
    let (before, masquerade, real) =
        (sandbox.path("before"), sandbox.path("masquerade"), sandbox.path("real"));
    let path = format!("{}:{}:{}:/bin", before.display(), masquerade.display(), real.display());
    let cut = format!("{}:/bin 1\n", real.display());
    let whole = format!("{path} 1\n");
    let absolute = masquerade.join("showpath");
    let dotted = masquerade.join("../masquerade/./showpath");
    for (argv0, expected) in [
        ("showpath", &cut),
        (absolute.to_str().unwrap(), &cut),
        (dotted.to_str().unwrap(), &cut),
        ("distcc", &whole),
    ] {
        let words = if argv0 == "distcc" { vec!["showpath", "x"] } else { vec!["x"] };
        let program = if argv0 == "distcc" { sandbox.path("bin/distcc") } else { absolute.clone() };
        let run =
            sandbox.command(program).argv0(argv0).args(words).env("PATH", &path).hosts("localhost").run();
        assert_eq!(run.out(), **expected, "{argv0}: {run}");
    }
    sandbox.finish([]);
}

#[test]
fn two_masquerade_directories_in_sequence_work() {
    require("distcc");
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().start();
    std::fs::create_dir(sandbox.path("second")).unwrap();
    symlink("../bin/distcc", sandbox.path("second/gcc")).unwrap();
    let masquerade = sandbox.path("masquerade");
    let second = sandbox.path("second");
    // Ours twice, and ours before Debian's.
    for other in [second.to_str().unwrap(), "/usr/lib/distcc"] {
        sandbox.write("a.c", "int a = 1;\n");
        let path = format!("{}:{other}:{SYSTEM_PATH}", masquerade.display());
        for words in [vec!["-c", "a.c"], vec!["-shared", "a.c", "-o", "a.so"]] {
            let run = sandbox
                .command(masquerade.join("gcc"))
                .argv0("gcc")
                .args(words)
                .env("PATH", &path)
                .hosts(&daemon.host())
                .run();
            assert_eq!(run.code(), 0, "{other}: {run}");
            assert_eq!(run.err(), "", "{other}: {run}");
        }
    }
    daemon.wait_for_jobs(2);
    sandbox.finish([daemon]);
}

#[test]
fn calling_itself_again_and_again_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("a.c", "int a = 1;\n");
    let distcc = sandbox.path("bin/distcc");
    sandbox.script("loop/gcc", &format!("exec {} gcc \"$@\"\n", distcc.display()));
    sandbox.script("loop/x86_64-linux-gnu-gcc", &format!("exec {} gcc \"$@\"\n", distcc.display()));
    let path = format!("{}:{SYSTEM_PATH}", sandbox.path("loop").display());
    for run in [
        sandbox.distcc(["gcc", "-c", "a.c"]).env("_DISTCC_SAFEGUARD", "1"),
        sandbox.distcc(["gcc", "-c", "a.c"]).env("_DISTCC_SAFEGUARD", "nonsense"),
        sandbox.distcc(["gcc", "-E", "a.c"]).env("PATH", &path),
        sandbox.distcc(["gcc", "a.c", "-o", "a"]).env("PATH", &path),
    ] {
        let run = run.hosts("localhost").run();
        assert_eq!(run.code(), 111, "{run}");
        assert!(run.err().contains("invoked itself recursively"), "{run}");
    }
    sandbox.finish([]);
}

#[test]
fn a_missing_compiler_has_its_own_exit_code() {
    let sandbox = Sandbox::new();
    sandbox.write("a.c", "int a = 1;\n");
    for words in
        [vec!["no-such-compiler", "-c", "a.c"], vec!["no-such-compiler"], vec!["/no/such/compiler", "-v"]]
    {
        let run = sandbox.distcc(&words).hosts("localhost").run();
        assert_eq!(run.code(), 110, "{run}");
        assert!(run.err().contains("no-such-compiler") || run.err().contains("/no/such/compiler"), "{run}");
    }
    sandbox.finish([]);
}

#[test]
fn help_fits_a_screen() {
    let sandbox = Sandbox::new();
    for name in ["distcc", "distcc-3.4"] {
        let run = sandbox.applet(name).args(["--help"]).run();
        run.assert_quiet_success();
        let text = run.out();
        assert!(text.lines().all(|line| line.len() <= 80), "a line of --help is too long:\n{text}");
        assert!(text.lines().count() <= 45, "--help has {} lines", text.lines().count());
        for word in ["--version", "--show-hosts", "-j", "DISTCC_HOSTS", "localhost", "Usage"] {
            assert!(text.contains(word), "{word} is not in --help:\n{text}");
        }
    }
}

/// Scripts read the first two lines.
#[test]
fn the_version_has_the_shape_of_3_4() {
    let sandbox = Sandbox::new();
    let ours = sandbox.distcc(["--version"]).run();
    ours.assert_quiet_success();
    let ours = ours.out();
    let debian = sandbox.debian_distcc(["--version"]).run().out();
    let lines: Vec<&str> = ours.lines().collect();
    let words: Vec<&str> = lines[0].split(' ').collect();
    assert_eq!((words.len(), words[0]), (3, "distcc"), "{ours}");
    assert!(words[1].starts_with(|first: char| first.is_ascii_digit()), "{ours}");
    assert_eq!(words[2].split('-').next(), Some(std::env::consts::ARCH), "{ours}");
    assert_eq!(lines[1], debian.lines().nth(1).unwrap());
}

/// A host list, the words `--show-hosts` prints, the number `-j` prints. Debian's answers are the same.
const HOST_LISTS: &[(&str, &str, &str)] = &[
    ("one", "one\n", "4\n"),
    ("one two/3 localhost", "one\ntwo/3\nlocalhost\n", "9\n"),
    (
        "localhost/1 one:1234/2,lzo user@two/5:/opt/distccd",
        "localhost/1\none:1234/2,lzo\nuser@two/5:/opt/distccd\n",
        "8\n",
    ),
    ("one # two\n three/1", "one\nthree/1\n", "5\n"),
    ("[::1]:4000/7 [fe80::1]", "[::1]:4000/7\n[fe80::1]\n", "11\n"),
    ("one/2,down two", "one/2,down\ntwo\n", "6\n"),
    ("--localslots=9 --localslots_cpp=3 one", "one\n", "4\n"),
    ("\t one \r\n two \n", "one\ntwo\n", "8\n"),
];

#[test]
fn hosts_and_their_slots_are_shown() {
    let sandbox = Sandbox::new();
    for (hosts, shown, slots) in HOST_LISTS {
        for (question, answer) in [("--show-hosts", shown), ("-j", slots)] {
            let ours = sandbox.distcc([question]).hosts(hosts).run();
            assert_eq!((ours.out().as_str(), ours.code()), (*answer, 0), "{hosts}: {ours}");
            let debian = sandbox.debian_distcc([question]).hosts(hosts).run();
            assert_eq!(ours.out(), debian.out(), "{hosts} {question}");
        }
    }
    // The same from the file, and without any list.
    std::fs::write(sandbox.path("distcc/hosts"), "one two # three\n").unwrap();
    let run = sandbox.distcc(["--show-hosts"]).run();
    assert_eq!((run.out().as_str(), run.code()), ("one\ntwo\n", 0), "{run}");
    for hosts in ["", "one:x"] {
        let run = sandbox.distcc(["-j"]).hosts(hosts).run();
        assert_eq!((run.out().as_str(), run.code()), ("", 0), "{run}");
        assert!(!run.err().is_empty(), "{run}");
    }
    sandbox.finish([]);
}

#[test]
fn a_shuffled_list_has_all_hosts() {
    let sandbox = Sandbox::new();
    let mut orders = std::collections::BTreeSet::new();
    for _ in 0..12 {
        let run = sandbox.distcc(["--show-hosts"]).hosts("--randomize a b c d e f").run();
        let mut hosts: Vec<String> = run.out().lines().map(str::to_owned).collect();
        orders.insert(hosts.clone());
        hosts.sort();
        assert_eq!(hosts, ["a", "b", "c", "d", "e", "f"]);
    }
    assert!(orders.len() > 1, "twelve times the same order: {orders:?}");
}

#[test]
fn no_arguments_are_an_error() {
    let sandbox = Sandbox::new();
    for name in ["distcc", "distcc-3.4"] {
        let run = sandbox.applet(name).run();
        assert_eq!(run.code(), 101, "{run}");
        assert!(run.err().contains("missing option/operand") && run.err().contains("--help"), "{run}");
    }
}

/// A variable whose value makes no sense, and that is needed.
#[test]
fn numbers_that_make_no_sense_are_bad_arguments() {
    let sandbox = Sandbox::new();
    sandbox.write("a.c", "int a;\n");
    for (name, value) in [
        ("DISTCC_IO_TIMEOUT", "0"),
        ("DISTCC_IO_TIMEOUT", "-5"),
        ("DISTCC_IO_TIMEOUT", "soon"),
        ("DISTCC_CONNECT_TIMEOUT", "0"),
        ("DISTCC_BACKOFF_PERIOD", "-1"),
        ("DISTCC_PAUSE_TIME_MSEC", "x"),
    ] {
        let run = sandbox.distcc(["gcc", "-c", "a.c"]).hosts("localhost").env(name, value).run();
        assert_eq!(run.code(), 101, "{name}={value}: {run}");
        assert!(run.err().contains(name), "{run}");
    }
    sandbox.finish([]);
}

#[test]
fn local_commands_keep_standard_input() {
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.path("input"), "int from_stdin;\n").unwrap();
    let input = std::fs::File::open(sandbox.path("input")).unwrap();
    let run = sandbox
        .distcc(["gcc", "-x", "c", "-c", "-", "-o", "a.o"])
        .hosts("localhost")
        .with(|command| {
            command.stdin(input);
        })
        .run();
    run.assert_quiet_success();
    let symbols = sandbox.command("nm").args(["a.o"]).run();
    assert!(symbols.out().contains("from_stdin"), "{symbols}");
    sandbox.finish([]);
}
