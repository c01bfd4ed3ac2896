//! The include server that nobody has to start: it is there when the first job needs it, once for all, and in nobody's
//! way.

mod support;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use support::{Daemon, Run, Running, Sandbox, require, send_signal, wait_until};

/// Longer than a build that has to wait for nothing takes, shorter than the include server lives.
const NOT_HELD_UP: Duration = Duration::from_secs(20);

/// The background include server of a sandbox; ended with its guard.
struct Background {
    pid_file: PathBuf,
}

impl Background {
    fn of(sandbox: &Sandbox) -> Background {
        Background { pid_file: sandbox.path("distcc/pump/pid") }
    }

    fn process(&self) -> Option<i64> {
        fs::read_to_string(&self.pid_file).ok()?.trim().parse().ok()
    }

    fn end(&self) {
        if let Some(process) = self.process() {
            send_signal("TERM", process);
            // One that has ended and waits to be collected has no command line any more.
            let command_line = format!("/proc/{process}/cmdline");
            let gone = || fs::read(&command_line).unwrap_or_default().is_empty();
            wait_until("the end of the background include server", gone);
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(process) = self.process() {
            send_signal("KILL", process);
        }
    }
}

fn with_source() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("a.c", "#include \"b.h\"\nint a(void) { return B; }\n");
    sandbox.write("b.h", "#define B 1\n");
    sandbox
}

fn pump_host(daemon: &Daemon) -> String {
    format!("{}/64,lzo,cpp", daemon.host())
}

fn job(sandbox: &Sandbox, daemon: &Daemon, output: &str) -> Run {
    let run = sandbox.distcc(["gcc", "-MD", "-c", "a.c", "-o", output]);
    run.hosts(&pump_host(daemon)).env_remove("DISTCC_PUMP").env("DISTCC_LOG", sandbox.path("log"))
}

/// Processes that are include servers of this sandbox.
fn include_servers(sandbox: &Sandbox) -> usize {
    let is_one = |process: &u32| {
        fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default().starts_with(b"include_server\0")
    };
    sandbox.processes().iter().filter(|(process, _)| is_one(process)).count()
}

#[test]
fn many_jobs_that_start_together_start_one_include_server() {
    let sandbox = with_source();
    let background = Background::of(&sandbox);
    let daemon = sandbox.debian_daemon().start();
    let jobs: Vec<Running> =
        (0..50).map(|number| job(&sandbox, &daemon, &format!("{number}.o")).start()).collect();
    for job in jobs {
        job.finish().assert_quiet_success();
    }
    assert_eq!(include_servers(&sandbox), 1);
    let log = fs::read_to_string(sandbox.path("log")).unwrap();
    assert_eq!(log.matches("-MT ").count(), 50, "each goes unpreprocessed");
    assert_eq!(log.matches("preprocessing").count(), 0, "{log}");
    background.end();
    sandbox.finish([daemon]);
}

#[test]
fn it_holds_nothing_of_the_build_that_started_it() {
    require("ninja");
    let sandbox = with_source();
    let background = Background::of(&sandbox);
    let daemon = sandbox.debian_daemon().start();
    let distcc = sandbox.path("bin/distcc").display().to_string();
    sandbox.write(
        "build.ninja",
        format!("rule cc\n  command = {distcc} gcc -c $in -o $out\nbuild n.o: cc a.c\n"),
    );
    // Each of these waits until the last holder of a pipe is gone.
    let pipe = format!("{distcc} gcc -c a.c -o p.o 2>&1 | cat");
    let extra = format!("{{ {distcc} gcc -c a.c -o e.o 7>&1 | cat; }} 7>&1");
    let commands: [&[&str]; 3] = [&["/usr/bin/ninja"], &["/bin/sh", "-c", &pipe], &["/bin/sh", "-c", &extra]];
    for command in commands {
        let began = Instant::now();
        let run = sandbox.command(command[0]).args(&command[1..]).hosts(&pump_host(&daemon));
        let run = run.env_remove("DISTCC_PUMP").run();
        assert_eq!(run.code(), 0, "{run}");
        assert!(began.elapsed() < NOT_HELD_UP, "{run}");
        let process = background.process().expect("started");
        assert_eq!(fs::read_link(format!("/proc/{process}/cwd")).unwrap(), PathBuf::from("/"));
        background.end();
    }
    sandbox.finish([daemon]);
}

#[test]
fn one_that_does_not_start_is_not_tried_by_every_job() {
    let sandbox = with_source();
    let daemon = sandbox.debian_daemon().start();
    // A directory in the way of its socket.
    fs::create_dir_all(sandbox.path("distcc/pump/socket.direct/full")).unwrap();
    let started = |log: &str| log.matches("start the background include server").count();
    let runs: Vec<_> = (0..3)
        .map(|number| {
            let name = format!("{number}.o");
            job(&sandbox, &daemon, &name).env_remove("DISTCC_LOG").env("DISTCC_VERBOSE", "1").run()
        })
        .collect();
    assert!(runs.iter().all(|run| run.code() == 0), "{}", runs[0]);
    assert_eq!(started(&runs[0].err()), 2, "tried, and warned of: {}", runs[0]);
    assert_eq!(runs[1].err_lines_with("did not start a short time ago"), 1, "{}", runs[1]);
    assert!(runs[0].err().contains("DISTCC_PUMP"), "{}", runs[0]);
    assert!(
        runs[0].err().contains("and it said: ") && runs[0].err().contains("socket.direct"),
        "{}",
        runs[0]
    );
    assert_eq!(started(&runs[2].err()), 0, "{}", runs[2]);
    assert_eq!(include_servers(&sandbox), 0);
    sandbox.finish([daemon]);
}

#[test]
fn a_directory_with_a_long_name_is_no_obstacle() {
    let sandbox = with_source();
    let daemon = sandbox.debian_daemon().start();
    let long = sandbox.path("long").join("x".repeat(120));
    let runtime = sandbox.path("runtime");
    fs::create_dir_all(&long).unwrap();
    fs::create_dir(&runtime).unwrap();
    let background = Background { pid_file: runtime.join("distcc-pump/pid") };
    let run = job(&sandbox, &daemon, "a.o").env("DISTCC_DIR", &long).env("XDG_RUNTIME_DIR", &runtime).run();
    run.assert_quiet_success();
    assert_eq!(include_servers(&sandbox), 1);
    background.end();
    sandbox.finish([daemon]);
}

#[test]
fn a_discrepancy_does_not_end_pump_mode_for_ever() {
    let sandbox = with_source();
    let background = Background::of(&sandbox);
    let daemon = sandbox.debian_daemon().start();
    job(&sandbox, &daemon, "a.o").run().assert_quiet_success();
    let counter = sandbox.path("distcc/pump/discrepancy_counter");
    fs::write(&counter, "@").unwrap();
    let count = || fs::read_to_string(sandbox.path("log")).unwrap().matches("-MT ").count();
    assert_eq!(count(), 1);
    job(&sandbox, &daemon, "a.o").run();
    assert_eq!(count(), 1);
    let earlier = std::time::SystemTime::now() - Duration::from_secs(3600);
    fs::File::options().write(true).open(&counter).unwrap().set_modified(earlier).unwrap();
    job(&sandbox, &daemon, "a.o").run();
    assert_eq!(count(), 2);
    background.end();
    sandbox.finish([daemon]);
}

/// The include directories that variables name become options; compilers must not be able to tell.
#[test]
fn include_variables_mean_the_same_on_a_server() {
    let sandbox = Sandbox::new();
    let background = Background::of(&sandbox);
    let daemon = sandbox.daemon().start();
    sandbox.write("one/a.h", "#define A 1\nstatic int unused_a(int x) { }\n");
    sandbox.write("two/a.h", "#define A 2\n#include_next <a.h>\n");
    sandbox.write("two/b.h", "#define B 3\n#include <c.h>\n");
    sandbox.write("c.h", "static int unused_c(void) { int y; }\n");
    let source = "#include <a.h>\n#include \"b.h\"\nint f(int z) { return A + B; }\n";
    ["t.c", "t.cc"].iter().for_each(|name| drop(sandbox.write(name, source)));
    let cases = [
        ("CPATH", "one:two:", "gcc -c t.c"),
        ("CPATH", ":two:none:one", "gcc -isystem one -c t.c"),
        ("CPATH", "two:one", "clang -idirafter one -I. -c t.c"),
        ("C_INCLUDE_PATH", "one::two", "gcc -Itwo -c t.c"),
        ("C_INCLUDE_PATH", "two:one:none:", "clang -c t.c"),
        ("CPLUS_INCLUDE_PATH", "two::one", "g++ -c t.cc"),
        ("CPLUS_INCLUDE_PATH", "two::one", "g++ -c t.c"),
        ("CPLUS_INCLUDE_PATH", "one:two:", "clang++ -Ione -c t.cc"),
    ];
    for (variable, value, command) in cases {
        let words: Vec<String> = format!("{command} -g -Wall -Wextra -MD -o t.o -std=gnu++17")
            .split(' ')
            .filter(|word| !word.starts_with("-std") || command.contains("++"))
            .map(str::to_owned)
            .collect();
        let results = |run: Run| {
            let run = run.env(variable, value).env("DISTCC_NO_REWRITE_CROSS", "1").run();
            assert_eq!(run.code(), 0, "{run}");
            (run.err(), sandbox.read("t.o"), sandbox.read("t.d"))
        };
        let here = results(sandbox.command(&words[0]).args(&words[1..]));
        let there = sandbox.distcc(&words).hosts(&pump_host(&daemon)).env("DISTCC_FALLBACK", "0");
        let there = results(there.env_remove("DISTCC_PUMP").env("DISTCC_LOG", sandbox.path("log")));
        assert_eq!(there.0, here.0, "{variable}={value} {command}");
        assert!(there == here, "{variable}={value} {command}: another result");
    }
    let log = fs::read_to_string(sandbox.path("log")).unwrap();
    assert_eq!(log.matches("lzo,cpp completed ok").count(), cases.len(), "{log}");
    assert!(!log.contains("preprocessing"), "{log}");
    background.end();
    sandbox.finish([daemon]);
}

#[test]
fn an_interrupt_at_the_terminal_does_not_reach_it() {
    let sandbox = with_source();
    let background = Background::of(&sandbox);
    let daemon = sandbox.debian_daemon().start();
    let distcc = sandbox.path("bin/distcc").display().to_string();
    let script = format!("{distcc} gcc -c a.c; kill -s INT 0");
    let run = sandbox.command("/bin/sh").args(["-c", &script]).hosts(&pump_host(&daemon));
    let run = run.env_remove("DISTCC_PUMP").run();
    assert_eq!(run.signal(), Some(2), "{run}");
    assert_eq!(include_servers(&sandbox), 1);
    background.end();
    sandbox.finish([daemon]);
}
