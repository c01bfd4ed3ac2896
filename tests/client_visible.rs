//! What others see of a job: log files, line formats that scripts read, the file that monitors read.

mod support;

use std::fs;

use support::{Sandbox, require, wait_until};

/// A log without what differs from run to run: numbers, and the names of 3.4's functions.
fn essence(log: &str) -> Vec<String> {
    log.lines()
        .map(|line| {
            let line = line.split_once("] ").map_or(line, |parts| parts.1);
            let line = if line.starts_with('(') {
                line.split_once(") ").map_or(line, |parts| parts.1)
            } else {
                line
            };
            let mut text = String::new();
            for character in line.chars() {
                match character {
                    '0'..='9' if text.ends_with('N') => {}
                    '0'..='9' => text.push('N'),
                    other => text.push(other),
                }
            }
            text
        })
        .collect()
}

/// Beginnings and ends of the lines that scripts look for.
const LINES: &[&str] = &[
    "compile from a.c to a.o",
    "exec on ",
    " bytes from a.c compiled on ",
    "compile a.c on ",
    "elapsed compilation time ",
    "exit: code ",
];

#[test]
fn a_log_file_has_the_lines_that_scripts_look_for() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().start();
    sandbox.write("a.c", "int a;\n");
    let log_of = |ours: bool| {
        let file = sandbox.path(if ours { "ours.log" } else { "debian.log" });
        let words = ["gcc", "-c", "a.c"];
        let client = if ours { sandbox.distcc(words) } else { sandbox.debian_distcc(words) };
        client.hosts(&daemon.host()).env("DISTCC_LOG", &file).run().assert_quiet_success();
        fs::read_to_string(file).unwrap()
    };
    let (ours, debian) = (log_of(true), log_of(false));
    for wanted in LINES {
        let find = |log: &str| essence(log).into_iter().find(|line| line.contains(wanted));
        assert!(find(&ours).is_some(), "no line {wanted:?} in\n{ours}");
        assert_eq!(find(&ours), find(&debian), "{wanted:?}\n{ours}\n{debian}");
    }
    for line in ours.lines() {
        let id = line.strip_prefix("distcc[").and_then(|rest| rest.split_once("] ")).map(|parts| parts.0);
        assert!(id.is_some_and(|id| id.parse::<u32>().is_ok()), "{line}");
        assert!(line.len() < 4096);
    }
    assert!(ours.contains(&format!("compile a.c on {} completed ok", daemon.host())), "{ours}");
    sandbox.finish([daemon]);
}

/// Who counts what was compiled where reads one line for each compilation, local ones included.
#[test]
fn every_compilation_says_where_it_was_done_and_how_it_ended() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().start();
    sandbox.write("a.c", "int a;\n");
    sandbox.write("bad.c", "int bad(void) { return undeclared; }\n");
    let there = daemon.host();
    let (log, dead) = (sandbox.path("count.log"), "127.0.0.1:1");
    for (hosts, source, wanted) in [
        (there.as_str(), "a.c", vec![format!("compile a.c on {there} completed ok")]),
        ("localhost", "a.c", vec!["compile a.c on localhost completed ok".into()]),
        (dead, "a.c", vec!["compile a.c on localhost completed ok".into()]),
        (
            there.as_str(),
            "bad.c",
            vec![format!("compile bad.c on {there} failed"), "compile bad.c on localhost failed".into()],
        ),
    ] {
        for ours in [true, false] {
            let _ = fs::remove_file(&log);
            let words = ["gcc", "-c", source];
            let client = if ours { sandbox.distcc(words) } else { sandbox.debian_distcc(words) };
            client.hosts(hosts).env("DISTCC_LOG", &log).env("DISTCC_BACKOFF_PERIOD", "1").run();
            let text = fs::read_to_string(&log).unwrap();
            let found: Vec<_> = text
                .lines()
                .filter(|line| [" completed ok", " failed"].iter().any(|end| line.ends_with(end)))
                .filter_map(|line| Some(&line[line.find("compile ")?..]))
                .collect();
            assert_eq!(found, wanted, "{hosts} ours: {ours}\n{text}");
        }
    }
    sandbox.finish([daemon]);
}

#[test]
fn a_log_file_is_appended_to_and_takes_what_stderr_would_get() {
    let sandbox = Sandbox::new();
    sandbox.write("a.c", "int a;\n");
    let file = sandbox.path("log");
    fs::write(&file, "what was there\n").unwrap();
    let run = sandbox.distcc(["gcc", "-c", "a.c"]).hosts("bad:list").env("DISTCC_LOG", &file).run();
    run.assert_quiet_success();
    let log = fs::read_to_string(&file).unwrap();
    assert!(log.starts_with("what was there\ndistcc["), "{log}");
    assert!(log.contains("Warning: ") && log.contains("bad:list"), "{log}");
    // What cannot be logged is said.
    let run =
        sandbox.distcc(["gcc", "-c", "a.c"]).hosts("localhost").env("DISTCC_LOG", "/no/such/file").run();
    assert_eq!(run.code(), 0, "{run}");
    assert!(run.err().contains("/no/such/file") && run.err().contains("ERROR: "), "{run}");
    sandbox.finish([]);
}

#[test]
fn verbosity_explains_on_standard_error() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().start();
    sandbox.write("a.c", "int a;\n");
    sandbox.write("b.c", "int b;\n");
    let explain = |words: &[&str]| {
        let run = sandbox.distcc(words).hosts(&daemon.host()).env("DISTCC_VERBOSE", "1").run();
        assert_eq!(run.code(), 0, "{run}");
        run.err()
    };
    assert!(explain(&["gcc", "-c", "a.c"]).contains(&format!("exec on {}: ", daemon.host())));
    // Why a command runs here.
    assert!(explain(&["gcc", "-c", "a.c", "b.c"]).contains("two source files"));
    assert!(explain(&["gcc", "-shared", "a.c", "-o", "a.so"]).contains("links"));
    assert!(explain(&["gcc", "-c", "-fstack-usage", "a.c"]).contains("-fstack-usage"));
    // Only 1 is 1.
    let run = sandbox.distcc(["gcc", "-c", "a.c"]).hosts(&daemon.host()).env("DISTCC_VERBOSE", "yes").run();
    run.assert_quiet_success();
    sandbox.finish([daemon]);
}

/// ccache takes what is written there for messages that must not be kept with the result.
#[test]
fn messages_go_to_the_descriptor_of_ccache() {
    let sandbox = Sandbox::new();
    sandbox.write("a.c", "int a;\n#warning from the compiler\n");
    let script = "distcc gcc -c a.c 3> messages";
    let path = format!("{}:/usr/bin:/bin", sandbox.path("bin").display());
    let run = |descriptor: &str| {
        sandbox
            .command("/bin/sh")
            .args(["-c", script])
            .env("PATH", &path)
            .env("UNCACHED_ERR_FD", descriptor)
            .hosts("bad:list")
            .run()
    };
    let outcome = run("3");
    assert!(outcome.err().contains("#warning from the compiler"), "{outcome}");
    assert!(!outcome.err().contains("distcc["), "{outcome}");
    let messages = String::from_utf8(sandbox.read("messages")).unwrap();
    assert!(messages.contains("bad:list") && !messages.contains("#warning"), "{messages}");
    for nonsense in ["0", "x", "-1", "77"] {
        let outcome = run(nonsense);
        assert!(outcome.err().contains("bad:list"), "{nonsense}: {outcome}");
    }
    sandbox.finish([]);
}

#[test]
fn monitors_see_a_job_while_it_lasts() {
    require("distccmon-text");
    let sandbox = Sandbox::new();
    sandbox.write("sub/a.c", "int a;\n");
    sandbox.honest_client_compiler();
    let go = sandbox.path("go");
    let body = format!("while [ ! -e '{}' ]; do sleep 0.02; done\nexec gcc \"$@\"\n", go.display());
    let daemon = sandbox.daemon_with_compiler(&body).start();
    let client = sandbox.fakecc("-c sub/a.c").hosts(&format!("{}/3", daemon.host())).start();
    let file = sandbox.path(format!("distcc/state/binstate_{}", client.id()));
    let number = |state: &[u8], at: usize| u32::from_ne_bytes(state[at..at + 4].try_into().unwrap());
    wait_until("the compile phase", || fs::read(&file).is_ok_and(|state| number(&state, 284) == 5));
    let state = fs::read(&file).unwrap();
    assert_eq!(state.len(), 296);
    assert_eq!((number(&state, 0), number(&state, 8), number(&state, 16)), (296, 0x4449_4800, client.id()));
    let text = |at: usize| {
        String::from_utf8_lossy(state[at..].split(|byte| *byte == 0).next().unwrap()).into_owned()
    };
    assert_eq!((text(24).as_str(), text(152).as_str()), ("a.c", "127.0.0.1"));
    assert_eq!(number(&state, 280), 0);
    let monitor = sandbox.command("distccmon-text").run();
    assert!(
        monitor.out().contains("Compile")
            && monitor.out().contains("a.c")
            && monitor.out().contains("127.0.0.1[0]"),
        "{monitor}"
    );
    fs::write(&go, "").unwrap();
    client.finish().assert_quiet_success();
    assert!(!file.exists());
    assert_eq!(sandbox.command("distccmon-text").run().out().trim(), "");
    sandbox.finish([daemon]);
}

#[test]
fn kept_preprocessor_output_is_found() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().start();
    sandbox.write("a.c", "#define VALUE 42\nint a = VALUE;\n");
    sandbox
        .distcc(["gcc", "-c", "a.c"])
        .hosts(&daemon.host())
        .env("DISTCC_SAVE_TEMPS", "1")
        .run()
        .assert_quiet_success();
    let kept: Vec<_> =
        fs::read_dir(sandbox.path("tmp")).unwrap().flatten().map(|entry| entry.path()).collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    let name = kept[0].file_name().unwrap().to_string_lossy().into_owned();
    assert!(name.starts_with("distcc_") && name.ends_with(".i"), "{name}");
    assert!(fs::read_to_string(&kept[0]).unwrap().contains("int a = 42;"));
    fs::remove_file(&kept[0]).unwrap();
    sandbox.finish([daemon]);
}
