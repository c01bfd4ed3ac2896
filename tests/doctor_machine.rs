//! `distcc --doctor` about this machine: what keeps its jobs at home is named, with what mends it, and nothing else is.

mod support;

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::Value;
use support::{Outcome, Run, Sandbox, require};

/// What is different (`NAME=VALUE`, `@` being the sandbox), and what is to be found: topic, verdict, words, remedy.
type Case = (&'static str, &'static str, (&'static str, &'static str, &'static str));

/// What is on PATH unless a case says otherwise: one compiler is enough for most.
const PROGRAMS: [&str; 4] = ["gcc", "as", "ld", "nice"];

const CASES: &[Case] = &[
    ("", "program", ("good", env!("CARGO_PKG_VERSION"), "")),
    // The host list.
    ("", "hosts", ("good", "$DISTCC_HOSTS has hosts: 1, jobs at a time: 4", "")),
    (
        "DISTCC_HOSTS=",
        "hosts",
        ("bad", "contained no hosts", "echo 'SERVER/8,lzo localhost/2' > @/distcc/hosts"),
    ),
    ("DISTCC_HOSTS=a/0", "hosts", ("bad", "bad multiplier", "hosts")),
    ("DISTCC_HOSTS=localhost", "hosts", ("bad", "no server is named", "export DISTCC_HOSTS=")),
    ("DISTCC_HOSTS=h,down h,down", "hosts", ("warning", "the same host again", "$DISTCC_HOSTS")),
    // Directories.
    ("", "directory", ("good", "@/distcc/lock", "")),
    (
        "DISTCC_DIR=/nowhere/at/all",
        "directory",
        ("bad", "/nowhere/at/all/lock: No such file", "mkdir -p /nowhere/at/all"),
    ),
    ("TMPDIR=/nowhere", "temporary", ("bad", "TMPDIR /nowhere cannot be written", "unset TMPDIR")),
    (
        "DISTCC_LOG=/nowhere/log",
        "log",
        ("warning", "DISTCC_LOG /nowhere/log: No such file", "unset DISTCC_LOG"),
    ),
    ("DISTCC_LOG=@/log", "log", ("good", "can be written", "")),
    // PATH.
    ("", "path", ("good", "only commands that begin with `distcc'", "make CC='distcc gcc'")),
    ("PATH=@/masquerade:/usr/bin:/bin", "path", ("good", "@/masquerade stands in for gcc, g++, cc", "")),
    (
        "PATH=/usr/bin:@/masquerade",
        "path",
        ("warning", "not distributed: gcc, g++", "export PATH=@/masquerade:$PATH"),
    ),
    (
        "PATH=@/masquerade",
        "path",
        ("warning", "without a compiler of that name behind them: gcc", "rm the links"),
    ),
    ("PATH=/usr/lib/distcc:/usr/bin", "path", ("warning", "a distcc that is not this one", "ls -l")),
    // ccache.
    ("PATH=/usr/lib/ccache:@/masquerade:/usr/bin", "ccache", ("good", "what it misses is distributed", "")),
    (
        "PATH=@/masquerade:/usr/lib/ccache:/usr/bin",
        "ccache",
        ("warning", "nothing is looked up", "export PATH=/usr/lib/ccache:$PATH"),
    ),
    ("CCACHE_PREFIX=distcc", "ccache", ("good", "what ccache misses is distributed", "")),
    ("CCACHE_PREFIX=no-such-prefix", "ccache", ("warning", "no such program", "CCACHE_PREFIX=distcc")),
    ("CCACHE_PREFIX=nice", "ccache", ("warning", "not given to distcc", "CCACHE_PREFIX=distcc")),
    (
        "CCACHE_PREFIX=@/bin/distcc PATH=/usr/lib/ccache:@/masquerade:/usr/bin",
        "ccache",
        ("warning", "either alone is enough", "unset CCACHE_PREFIX"),
    ),
    ("CCACHE_PREFIX=distcc DISTCC_HOSTS=h,lzo,cpp,down", "ccache", ("warning", "of no use", "take ,cpp off")),
    // Variables.
    ("_DISTCC_SAFEGUARD=1", "environment", ("bad", "_DISTCC_SAFEGUARD is set", "unset _DISTCC_SAFEGUARD")),
    ("COMPILER_PATH=/nowhere", "environment", ("bad", "COMPILER_PATH changes", "unset COMPILER_PATH")),
    ("INCLUDE_SERVER_PORT=/nowhere", "environment", ("warning", "no host has ,cpp", "add ,lzo,cpp")),
    ("DISTCC_BACKOFF_PERIOD=0", "environment", ("warning", "every job waits", "unset")),
    ("DISTCC_IO_TIMEOUT=20", "environment", ("warning", "DISTCC_IO_TIMEOUT=20", "unset")),
    ("DISTCC_FALLBACK=0 DISTCC_HOSTS=localhost", "environment", ("bad", "every compile fails", "unset")),
    ("INCLUDE_SERVER_STUB=x", "environment", ("warning", "for tests", "unset")),
    // The include server.
    ("DISTCC_HOSTS=h,lzo,cpp,down", "include server", ("warning", "DISTCC_PUMP=0", "unset DISTCC_PUMP")),
    (
        "DISTCC_HOSTS=h,lzo,cpp,down INCLUDE_SERVER_PORT=/nowhere",
        "include server",
        ("warning", "no include server answers at /nowhere", "unset INCLUDE_SERVER_PORT"),
    ),
    (
        "DISTCC_HOSTS=h,lzo,cpp,down DEPENDENCIES_OUTPUT=x INCLUDE_SERVER_PORT=/nowhere",
        "include server",
        ("warning", "DEPENDENCIES_OUTPUT", "unset DEPENDENCIES_OUTPUT"),
    ),
    // The compilers.
    ("PATH=/usr/bin:/bin", "compiler", ("good", "gcc, asked for as x86_64-linux-gnu-gcc: GCC: (Debian", "")),
    ("PATH=/usr/bin:/bin", "compiler", ("good", "clang++: Debian clang version", "")),
    ("PATH=/nowhere", "compiler", ("bad", "no compiler that works", "apt-get install gcc")),
    (
        "PATH=@/broken:/usr/bin:/bin DISTCC_NO_REWRITE_CROSS=1",
        "compiler",
        ("warning", "gcc cannot compile a line here: it ends with exit code 3: no licence", "gcc -x c"),
    ),
    ("", "sandbox", ("good", "a distccd here would hold its compilers back by", "")),
];

/// `distcc --doctor --json` with a case's variables.
fn doctor(sandbox: &Sandbox, variables: &str, hosts: &str) -> Run {
    let programs = sandbox.path("programs");
    if fs::create_dir(&programs).is_ok() {
        PROGRAMS.iter().for_each(|name| symlink(format!("/usr/bin/{name}"), programs.join(name)).unwrap());
    }
    let path = format!("{}:{}", sandbox.path("bin").display(), programs.display());
    let run = sandbox.distcc(["--doctor", "--json"]).env("PATH", path).hosts(hosts);
    let here = sandbox.path("").display().to_string();
    let mut words: Vec<String> = Vec::new();
    for word in variables.split(' ') {
        match (word.contains('='), words.last_mut()) {
            // A value with a blank in it.
            (false, Some(last)) => *last = format!("{last} {word}"),
            _ => words.push(word.replace('@', here.trim_end_matches('/'))),
        }
    }
    words.iter().filter_map(|word| word.split_once('=')).fold(run, |run, (name, value)| run.env(name, value))
}

fn findings(outcome: &Outcome) -> Value {
    serde_json::from_slice(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome}"))
}

#[test]
fn what_keeps_work_at_home_is_named() {
    require("ccache");
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().start();
    sandbox.script("broken/gcc", "echo 'no licence' >&2; exit 3\n");
    let here = sandbox.path("").display().to_string();
    for (variables, topic, (verdict, words, remedy)) in CASES {
        let outcome = doctor(&sandbox, variables, &daemon.host()).run();
        let all = findings(&outcome);
        let machine = all["machine"].as_array().unwrap();
        let expand = |text: &str| text.replace('@', here.trim_end_matches('/'));
        let holds = |value: &Value, text: &str| value.as_str().unwrap_or_default().contains(&expand(text));
        let found = machine.iter().any(|check| {
            check["check"] == *topic
                && check["verdict"] == *verdict
                && holds(&check["words"], words)
                && holds(&check["remedy"], remedy)
        });
        assert!(found, "{variables}: no {verdict} {topic} {words:?} {remedy:?}: {outcome}");
        // Work goes away unless something is bad, here or with every host.
        let has_bad = machine.iter().any(|check| check["verdict"] == "bad");
        let able = all["hosts"].as_array().unwrap().iter().any(|host| host["able"] == true);
        assert_eq!(all["can_distribute"], !has_bad && able, "{variables}: {outcome}");
        assert_eq!(outcome.code(), i32::from(has_bad || !able), "{variables}: {outcome}");
        // Only the log says by itself that it cannot be opened.
        assert!(outcome.err().is_empty() || variables.contains("DISTCC_LOG"), "{variables}: {outcome}");
    }
    sandbox.finish([daemon]);
}

#[test]
fn a_sound_machine_has_no_warnings() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().start();
    let outcome = doctor(&sandbox, "PATH=@/masquerade:/usr/bin:/bin", &daemon.host()).run();
    let machine = findings(&outcome)["machine"].clone();
    assert!(machine.as_array().unwrap().iter().all(|check| check["verdict"] == "good"), "{outcome}");
    assert_eq!(outcome.code(), 0, "{outcome}");
    sandbox.finish([daemon]);
}

#[test]
fn a_list_in_a_file_is_found_and_a_hidden_one_named() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().start();
    let file = sandbox.path("distcc/hosts");
    fs::write(&file, format!("{} # the only one\n", daemon.host_lzo())).unwrap();
    let words = |run: Run| {
        let outcome = run.run();
        let all = findings(&outcome);
        let hosts =
            all["machine"].as_array().unwrap().iter().find(|check| check["check"] == "hosts").cloned();
        hosts.unwrap()["words"].as_str().unwrap().to_owned()
    };
    let found = words(doctor(&sandbox, "", "").env_remove("DISTCC_HOSTS"));
    // This machine may have another list of its own.
    assert!(found.starts_with(&format!("{} has hosts: 1, jobs at a time: 4", file.display())), "{found}");
    let found = words(doctor(&sandbox, "", &daemon.host()));
    assert!(found.contains(&format!("; not read: {}", file.display())), "{found}");
    sandbox.finish([daemon]);
}

#[test]
fn a_number_that_is_none_is_an_error() {
    let sandbox = Sandbox::new();
    let outcome = doctor(&sandbox, "DISTCC_IO_TIMEOUT=soon", "red").run();
    assert_eq!((outcome.code(), outcome.out().as_str()), (101, ""), "{outcome}");
    assert!(outcome.err().contains("DISTCC_IO_TIMEOUT=soon"), "{outcome}");
    sandbox.finish([]);
}
