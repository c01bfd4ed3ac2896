//! `distcc --explain` against what the same command then really does, by the client's own log: the same host, the same
//! mode, the same words sent, or the same reason for staying here; and that nothing runs meanwhile.

mod support;

use std::fs;
use std::path::PathBuf;

use support::{Daemon, Outcome, Pump, Sandbox, wait_until};

/// A command and what is different about its surroundings: `NAME=VALUE` words, `@` being the sandbox and `HOST` the daemon.
type Case = (&'static str, &'static str);

/// With a host for plain mode, by its address and with LZO.
const PLAIN: &[Case] = &[
    // Sent.
    ("gcc -c a.c", ""),
    ("gcc -O2 -g -Wall -DX=1 -Iinc -c a.c -o out.o", ""),
    ("gcc -MMD -MF a.dep -c a.c", ""),
    ("gcc -MD -c sub/b.c", ""),
    ("gcc -S a.c", ""),
    ("gcc -xc++ -c a.c", ""),
    ("gcc -c a.c", "DISTCC_NO_REWRITE_CROSS=1"),
    ("g++ -std=c++17 -c c.cc", ""),
    ("cc -c a.c", ""),
    ("clang -c a.c", ""),
    ("clang -g -c a.c", ""),
    ("clang++ -c c.cc", ""),
    ("gcc -c done.i", ""),
    ("gcc @words", ""),
    ("gcc -Wp,-MMD,a.d2 -c a.c", ""),
    ("gcc -flto -c a.c", ""),
    ("gcc -march=native -c a.c", ""),
    ("-c a.c", ""),
    ("gcc -include inc/h.h -c a.c", ""),
    ("gcc -c a.c", "DISTCC_FALLBACK=0"),
    // Here, for an option.
    ("gcc a.o -o a", ""),
    ("gcc -E a.c", ""),
    ("gcc -M a.c", ""),
    ("gcc -c a.c sub/b.c", ""),
    ("gcc -c a.c -o -", ""),
    ("gcc -c -", ""),
    ("gcc -c asm.S", ""),
    ("gcc -c inc/h.h", ""),
    ("gcc -fprofile-arcs -c a.c", ""),
    ("gcc --coverage -c a.c", ""),
    ("gcc -fprofile-use=a.gcda -c a.c", ""),
    ("gcc -save-temps -c a.c", ""),
    ("gcc -gsplit-dwarf -c a.c", ""),
    ("gcc -Wa,-a=list -c a.c", ""),
    ("gcc -specs=none -c a.c", ""),
    ("gcc -fplugin=x.so -c a.c", ""),
    ("gcc -x ada -c a.c", ""),
    ("gcc -x assembler -c a.c", ""),
    ("gcc -c conftest.c", ""),
    ("gcc -o", ""),
    ("gcc -frepo -c a.c", ""),
    ("gcc -dumpversion", ""),
    ("gcc -v", ""),
    ("gcc -B/home/x -c a.c", ""),
    ("clang -Xclang -load -Xclang x.so -c a.c", ""),
    ("clang -ftime-trace -c a.c", ""),
    ("clang -arch x86_64 -arch arm64 -c a.c", ""),
    // Here, or not at all, for the surroundings.
    ("gcc -c a.c", "COMPILER_PATH=/nowhere"),
    ("gcc -c a.c", "GCC_EXEC_PREFIX=/nowhere/"),
    ("gcc -c a.c", "DISTCC_HOSTS="),
    ("gcc -c a.c", "DISTCC_HOSTS=b/0"),
    ("gcc -c a.c", "DISTCC_HOSTS= DISTCC_FALLBACK=0"),
    ("gcc -c a.c", "DISTCC_HOSTS=red,down"),
    ("gcc -c a.c", "DISTCC_HOSTS=red,down DISTCC_FALLBACK=0"),
    ("gcc -c a.c", "DISTCC_HOSTS=HOST,auth"),
    ("gcc -c a.c", "DISTCC_HOSTS=HOST,auth DISTCC_FALLBACK=0"),
    ("gcc -c a.c", "DISTCC_HOSTS=localhost"),
    ("gcc -c a.c", "TMPDIR=/nowhere"),
    ("gcc -c a.c", "TMPDIR=/nowhere DISTCC_FALLBACK=0"),
    ("gcc -c a.c", "DISTCC_DIR=/nowhere/at/all DISTCC_FALLBACK=0"),
    ("gcc -c a.c", "DISTCC_DIR=/nowhere/at/all"),
    ("gcc -c a.c", "DISTCC_DIR= HOME="),
    ("gcc -c missing.c", ""),
    ("gcc -c missing.i", ""),
    ("no-such-gcc -c a.c", ""),
    ("no-such-gcc -c done.i", "DISTCC_HOSTS="),
    ("no-such-gcc a.o", ""),
    ("gcc -c a.c", "_DISTCC_SAFEGUARD=1"),
];

/// With a host for pump mode, and an include server that `pump` has started.
const PUMP: &[Case] = &[
    ("gcc -Iinc -c a.c", ""),
    ("gcc -Iinc -MMD -c a.c", ""),
    ("gcc -Iinc -g -O2 -c sub/b.c", ""),
    ("g++ -c c.cc", ""),
    ("clang -Iinc -c a.c", ""),
    ("gcc -c done.i", ""),
    ("gcc -Xpreprocessor -DX -c a.c", ""),
    ("gcc -Iinc -c a.c", "DEPENDENCIES_OUTPUT=@/deps"),
    ("gcc -Iinc -c a.c", "INCLUDE_SERVER_PORT=/nowhere"),
    ("gcc -Iinc -c a.c", "INCLUDE_SERVER_PORT="),
    ("gcc -c missing.c", ""),
    ("gcc -Iinc -march=native -c a.c", ""),
];

/// With that host, and an include server that the first job starts.
const BACKGROUND: &[Case] = &[
    ("gcc -Iinc -MMD -c a.c", "DISTCC_PUMP=1"),
    ("g++ -c c.cc", "DISTCC_PUMP=1"),
    ("gcc -c missing.c", "DISTCC_PUMP=1"),
    ("gcc -c done.i", "DISTCC_PUMP=1"),
];

fn with_sources() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("a.c", "#include <stddef.h>\n#include \"inc/h.h\"\nint a(void) { return H; }\n");
    sandbox.write("sub/b.c", "int b;\n");
    sandbox.write("c.cc", "#include <new>\nint c() { return 0; }\n");
    sandbox.write("inc/h.h", "#define H 42\n");
    sandbox.write("done.i", "int done;\n");
    sandbox.write("asm.S", ".globl x\n");
    sandbox.write("conftest.c", "int x;\n");
    sandbox.write("words", "-O2 -c a.c -o words.o");
    sandbox
}

/// What is the same for the explanation of a case and for its run.
struct Stage<'a> {
    sandbox: &'a Sandbox,
    hosts: &'a str,
    pump: Option<&'a Pump>,
    directory: PathBuf,
}

impl Stage<'_> {
    /// A case's command behind `distcc`, and its variables.
    fn run(&self, option: &[&str], (command, variables): Case) -> Outcome {
        let words = option.iter().copied().chain(command.split(' '));
        let run = self.sandbox.distcc(words).hosts(self.hosts).env("DISTCC_VERBOSE", "1");
        let run = run.env("DISTCC_DIR", &self.directory);
        let run = match self.pump {
            Some(pump) => pump.around(run),
            None => run,
        };
        let variables = variables.split(' ').filter_map(|word| word.split_once('='));
        let here = self.sandbox.path("").display().to_string();
        variables
            .fold(run, |run, (name, value)| {
                run.env(name, value.replace('@', &here).replace("HOST", self.hosts))
            })
            .run()
    }
}

/// The rest of the first line that holds a text.
fn after<'a>(text: &'a str, beginning: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.split_once(beginning)).map(|(_, rest)| rest.trim())
}

/// Compares an explanation with the log of the run.
fn compare(case: Case, explained: &Outcome, real: &Outcome) {
    let (text, log) = (explained.out(), real.err());
    let context = format!("{case:?}\n{text}\nand really:\n{log}");
    let verdict = after(&text, "verdict:").unwrap_or_else(|| panic!("no verdict: {context}"));
    let sent: Vec<&str> =
        log.lines().filter_map(|line| line.split_once("exec on ")).map(|(_, rest)| rest).collect();
    let away = sent.iter().find(|line| !line.starts_with("localhost: "));
    if let Some(rest) = verdict.strip_prefix("sent to ") {
        assert_eq!(explained.code(), 0, "{context}");
        let (host, mode) = rest.split_once(", in ").unwrap();
        let (real_host, argv) =
            away.unwrap_or_else(|| panic!("not sent: {context}")).split_once(": ").unwrap();
        assert_eq!(real_host, host, "{context}");
        assert_eq!(after(&text, "sent:").unwrap(), argv, "{context}");
        // Only preprocessors are started for text, and nothing is for files.
        let preprocessed = sent.iter().any(|line| line.starts_with("localhost: "));
        let expected = mode == "plain mode" && !case.0.contains("done.i");
        assert_eq!(preprocessed, expected, "{context}");
    } else if let Some(reason) = verdict.strip_prefix("runs here: ") {
        assert_eq!(explained.code(), 1, "{context}");
        assert!(away.is_none(), "{context}");
        let cause = after(&log, "running locally: ").or_else(|| after(&log, "running locally instead: "));
        match cause {
            Some(cause) => assert_eq!(cause, reason, "{context}"),
            None => {
                let unsaid = ["localhost comes first", "the preprocessor ends it: ", "an outer distcc"];
                assert!(unsaid.iter().any(|text| reason.starts_with(text)), "{context}");
            }
        }
    } else {
        let rest = verdict.strip_prefix("fails with exit status ").unwrap_or_else(|| panic!("{context}"));
        let (number, _) = rest.split_once(": ").unwrap();
        assert_eq!(number, explained.code().to_string(), "{context}");
        assert_eq!(explained.code(), real.code(), "{context}");
        assert!(away.is_none(), "{context}");
    }
}

/// Explains each command, runs it, and compares.
fn check(cases: &[Case], sandbox: &Sandbox, daemon: &Daemon, pump: Option<&Pump>, hosts: &[String]) {
    let mut sent = 0;
    for (number, case) in cases.iter().enumerate() {
        for (kind, hosts) in hosts.iter().enumerate() {
            // What one case teaches about hosts must not decide the next.
            let directory = sandbox.path(format!("dir-{number}-{kind}"));
            fs::create_dir(&directory).unwrap();
            let stage = Stage { sandbox, hosts, pump, directory };
            let before = sandbox.tree();
            let mut explained = stage.run(&["--explain"], *case);
            assert_eq!(sandbox.tree(), before, "{case:?}: --explain writes files");
            assert_eq!(fs::read_dir(&stage.directory).unwrap().count(), 0, "{case:?}: --explain takes slots");
            let real = stage.run(&[], *case);
            if case.0.contains("native") {
                // What the compiler is asked once is known now.
                explained = stage.run(&["--explain"], *case);
            }
            compare(*case, &explained, &real);
            sent += usize::from(explained.code() == 0);
        }
    }
    // Explanations themselves send nothing.
    wait_until("all jobs that were said to be sent", || daemon.compilations() >= sent);
    assert_eq!(daemon.compilations(), sent, "{}", daemon.log());
}

#[test]
fn nothing_of_the_command_is_run() {
    let sandbox = with_sources();
    sandbox.honest_client_compiler();
    let daemon = sandbox.daemon().start();
    let explain = |words: &str, host: &str| {
        let words: Vec<&str> = ["--explain", "fakecc"].into_iter().chain(words.split(' ')).collect();
        let path = format!("{}:/usr/bin:/bin", sandbox.path("client-bin").display());
        sandbox.distcc(words).env("PATH", path).env("DISTCC_PUMP", "1").hosts(host).run()
    };
    let host = format!("{},lzo,cpp", daemon.host());
    for (words, host, code, calls) in [
        ("-c a.c", daemon.host(), 0, None),
        ("-march=native -c a.c", daemon.host(), 0, None),
        ("a.c -o a", daemon.host(), 1, None),
        ("-E a.c", daemon.host(), 1, None),
        // Its own include directories, as an include server asks for them, and as --scan-includes does.
        ("-c a.c", host, 0, Some("-x c -v -E -dM /dev/null")),
    ] {
        let explained = explain(words, &host);
        assert_eq!((explained.code(), explained.err().as_str()), (code, ""), "{explained}");
        assert_eq!(sandbox.client_calls(), Vec::from_iter(calls), "{explained}");
    }
    assert!(!sandbox.path("distcc/lock").exists());
    assert_eq!(daemon.log().matches("dcc_job_summary").count(), 0, "{}", daemon.log());
    sandbox.finish([daemon]);
}

#[test]
fn hosts_that_failed_are_named_and_passed_over() {
    let sandbox = with_sources();
    fs::create_dir(sandbox.path("distcc/lock")).unwrap();
    fs::write(sandbox.path("distcc/lock/backoff_tcp_red_3632_0"), "x").unwrap();
    let explained = sandbox.distcc(["--explain", "gcc", "-c", "a.c"]).hosts("red blue/2,lzo").run();
    let text = explained.out();
    assert!(text.starts_with("verdict:    sent to blue/2,lzo, in plain mode\n"), "{text}");
    assert!(
        text.contains(
            "1. red: 4 slots, plain mode, not compressed; left alone, it failed less than 60 s ago"
        ),
        "{text}"
    );
    let explained = sandbox.distcc(["--explain", "gcc", "-c", "a.c"]).hosts("red").run();
    assert_eq!(explained.code(), 1, "{explained}");
    assert!(explained.out().contains("every host is down, failed a short time ago"), "{explained}");
    sandbox.finish([]);
}

#[test]
fn a_command_that_is_none_is_an_error() {
    let sandbox = with_sources();
    let explained = sandbox.distcc(["--explain"]).hosts("red").run();
    assert_eq!(explained.code(), 101, "{explained}");
    assert!(explained.out().contains("the command is empty"), "{explained}");
    sandbox.finish([]);
}

#[test]
fn plain_jobs_go_where_they_are_said_to_go() {
    let sandbox = with_sources();
    let daemon = sandbox.daemon().start();
    check(PLAIN, &sandbox, &daemon, None, &[daemon.host(), daemon.host_lzo()]);
    sandbox.finish([daemon]);
}

#[test]
fn pump_jobs_go_where_they_are_said_to_go() {
    let sandbox = with_sources();
    let daemon = sandbox.daemon().start();
    let host = format!("{},lzo,cpp", daemon.host());
    let pump = Pump::start(&sandbox, &host);
    check(PUMP, &sandbox, &daemon, Some(&pump), &[host]);
    pump.stop(&sandbox);
    sandbox.finish([daemon]);
}

#[test]
fn pump_jobs_without_pump_go_where_they_are_said_to_go() {
    let sandbox = with_sources();
    let daemon = sandbox.daemon().start();
    check(BACKGROUND, &sandbox, &daemon, None, &[format!("{},lzo,cpp", daemon.host())]);
    sandbox.end_background_server();
    sandbox.finish([daemon]);
}
