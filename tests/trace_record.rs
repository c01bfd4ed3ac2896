//! The record of a build: one line for each job, whatever becomes of it, and no cost without it.

#[path = "support/pump.rs"]
mod pump;
mod support;

use std::fs;

use pump::{FakeIncludeServer, Language, Says};
use serde_json::Value;
use support::{Run, Sandbox, free_port, require, wait_until};

/// The lines of the record, parsed.
fn record(sandbox: &Sandbox) -> Vec<Value> {
    let text = fs::read_to_string(sandbox.path("trace")).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn recorded(sandbox: &Sandbox, run: Run) -> Value {
    let before = record(sandbox).len();
    run.env("DISTCC_TRACE", sandbox.path("trace")).run();
    let mut lines = record(sandbox);
    assert_eq!(lines.len(), before + 1, "{lines:?}");
    lines.pop().unwrap()
}

fn phases(job: &Value) -> Vec<&str> {
    job["phases"].as_array().unwrap().iter().map(|phase| phase["phase"].as_str().unwrap()).collect()
}

/// What holds of every line: nothing happens outside the job's time.
fn assert_sound(job: &Value) {
    let (start, duration) = (job["start"].as_u64().unwrap(), job["duration"].as_u64().unwrap());
    assert_eq!(job["v"], 1);
    for key in ["phases", "attempts"] {
        let mut last = start;
        for part in job[key].as_array().unwrap_or(&Vec::new()) {
            let begin = part["start"].as_u64().unwrap();
            assert!(begin >= last && begin + part["duration"].as_u64().unwrap() <= start + duration, "{job}");
            last = begin;
        }
    }
}

#[test]
fn a_plain_job_names_its_host_phases_and_bytes() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().start();
    sandbox.write("a.c", "int a;\n");
    for (host, packed) in [(daemon.host(), false), (daemon.host_lzo(), true)] {
        let job = recorded(&sandbox, sandbox.distcc(["gcc", "-g", "-c", "a.c"]).hosts(&host));
        assert_sound(&job);
        assert_eq!(
            (&job["mode"], &job["status"], &job["verdict"]),
            (&"plain".into(), &0.into(), &"distribute".into())
        );
        assert_eq!((&job["source"], &job["output"]), (&"a.c".into(), &"a.o".into()));
        // Its name is completed, where a compiler by the full name exists.
        assert!(job["compiler"].as_str().unwrap().ends_with("gcc"), "{job}");
        assert_eq!((&job["host"], &job["slot"]), (&"127.0.0.1".into(), &0.into()));
        let directory = fs::canonicalize(sandbox.work("")).unwrap();
        assert_eq!(job["directory"], directory.to_str().unwrap());
        let phases = phases(&job);
        assert!(phases.ends_with(&["send", "compile", "receive"]) && phases.contains(&"connect"), "{job}");
        assert!(phases.contains(&"preprocess"), "{job}");
        let attempt = &job["attempts"][0];
        assert_eq!((&attempt["host"], &attempt["outcome"]), (&host.as_str().into(), &"done".into()));
        let object = fs::metadata(sandbox.work("a.o")).unwrap().len();
        assert_eq!(attempt["result_bytes"], object);
        let number = |key: &str| attempt[key].as_u64().unwrap();
        assert!(number("sent") > 0 && number("source_bytes") > 0, "{job}");
        assert_eq!(number("received") < object, packed, "{job}");
    }
    sandbox.finish([daemon]);
}

#[test]
fn a_pump_job_says_so() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().start();
    sandbox.write("a.c", "int a;\n");
    let server = FakeIncludeServer::start(&sandbox, Language::Direct, Says::AllFiles);
    let run = sandbox.distcc(["gcc", "-c", "a.c"]).hosts(&format!("{},lzo,cpp", daemon.host()));
    let job = recorded(&sandbox, run.env("INCLUDE_SERVER_PORT", &server.socket));
    assert_sound(&job);
    assert_eq!((&job["mode"], &job["status"]), (&"pump".into(), &0.into()), "{job}");
    assert!(!phases(&job).contains(&"preprocess"), "{job}");
    assert!(job["attempts"][0]["source_bytes"].as_u64().unwrap() > 0, "{job}");
    sandbox.finish([daemon]);
}

#[test]
fn what_runs_here_says_why() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().start();
    sandbox.write("a.c", "int main(void) { return 0; }\n");
    sandbox.write("bad.c", "int f(void) { return undeclared; }\n");
    sandbox.write("lost.c", "#error no\n");
    let (there, dead) = (daemon.host(), format!("127.0.0.1:{}/3", free_port()));
    for (words, hosts, verdict, mode, key, text, status) in [
        ("gcc a.c", &there, "local", "local", "reason", "the command links", 0),
        ("gcc -E a.c", &there, "preprocess", "", "reason", "-E asks for preprocessing", 0),
        ("gcc -c a.c -march=native -fprofile-use", &there, "local", "local", "reason", "-fprofile", 0),
        ("gcc -c bad.c", &there, "distribute", "local", "fallback", "the compiler on", 1),
        ("gcc -c lost.c", &there, "distribute", "local", "fallback", "preprocessor rejects", 1),
        ("gcc -c a.c", &dead, "distribute", "local", "fallback", "every host is down", 0),
        ("gcc -c a.c", &"localhost/1".to_owned(), "distribute", "local", "reason", "", 0),
        ("nothing-like-it -c a.c", &"localhost/1".to_owned(), "distribute", "local", "reason", "", 110),
    ] {
        let job = recorded(&sandbox, sandbox.distcc(words.split(' ')).hosts(hosts));
        assert_sound(&job);
        assert_eq!((&job["verdict"], &job["status"]), (&verdict.into(), &status.into()), "{words}: {job}");
        assert!(job[key].as_str().unwrap_or("").contains(text), "{words}: {key} in {job}");
        if !mode.is_empty() {
            assert_eq!((&job["mode"], &job["host"]), (&mode.into(), &"localhost".into()), "{words}: {job}");
        }
        if hosts == &dead {
            let attempt = &job["attempts"][0];
            assert_eq!(
                (&attempt["host"], &attempt["outcome"]),
                (&dead.as_str().into(), &"host".into()),
                "{job}"
            );
            assert!(attempt["cause"].as_str().unwrap().starts_with("connect: "), "{job}");
        }
    }
    sandbox.finish([daemon]);
}

#[test]
fn a_compiler_by_its_own_name_and_one_for_which_we_make_way() {
    let sandbox = Sandbox::new();
    sandbox.write("a.c", "int a;\n");
    let path = format!("{}:/usr/bin:/bin", sandbox.path("masquerade").display());
    let gcc = || sandbox.command(sandbox.path("masquerade/gcc")).args(["-c", "a.c"]).env("PATH", &path);
    let job = recorded(&sandbox, gcc().hosts("localhost"));
    assert_eq!(job["status"], 0, "{job}");
    assert!(job["compiler"].as_str().unwrap().ends_with("gcc"), "{job}");
    let job = recorded(&sandbox, gcc().hosts("localhost").env("_DISTCC_SAFEGUARD", "1"));
    assert_eq!((&job["verdict"], &job["status"]), (&"local".into(), &Value::Null), "{job}");
    assert!(job["reason"].as_str().unwrap().contains("another distcc"), "{job}");
    assert!(sandbox.work("a.o").exists());
    sandbox.finish([]);
}

#[test]
fn lines_of_parallel_jobs_do_not_mix_and_a_killed_job_leaves_none() {
    let sandbox = Sandbox::new();
    sandbox.fake_client_compiler("exec sleep 600");
    let trace = sandbox.path("trace");
    let killed = sandbox.fakecc("-c a.c").hosts("localhost").env("DISTCC_TRACE", &trace).start();
    wait_until("the compiler to start", || !sandbox.client_calls().is_empty());
    killed.signal("TERM");
    assert_eq!(killed.finish().signal(), Some(15));
    assert_eq!(record(&sandbox).len(), 0);
    let jobs: Vec<_> = (0..40)
        .map(|number| {
            let name = format!("{}{number}.c", "long".repeat(40));
            sandbox.write(&name, "int a;\n");
            sandbox.distcc(["gcc", "-c", &name]).hosts("localhost/8").env("DISTCC_TRACE", &trace).start()
        })
        .collect();
    for job in jobs {
        assert_eq!(job.finish().code(), 0);
    }
    let mut sources: Vec<_> = record(&sandbox).iter().map(|job| job["source"].to_string()).collect();
    sources.sort();
    sources.dedup();
    assert_eq!(sources.len(), 40);
    sandbox.finish([]);
}

#[test]
fn a_record_that_cannot_be_written_is_one_warning_and_no_failure() {
    let sandbox = Sandbox::new();
    sandbox.write("a.c", "int a;\n");
    let build = sandbox.command("sleep").args(["60"]).start();
    for warnings in [1, 0] {
        let run = sandbox.distcc(["gcc", "-c", "a.c"]).hosts("localhost").group_of(&build);
        let run = run.env("DISTCC_TRACE", sandbox.path("missing/trace")).run();
        assert_eq!((run.code(), run.err_lines_with("DISTCC_TRACE: write ")), (0, warnings), "{run}");
    }
    drop(build);
    sandbox.finish([]);
}

/// The record must cost nothing where it is not wanted.
#[test]
fn without_a_record_there_is_not_one_system_call_more() {
    require("strace");
    let sandbox = Sandbox::new();
    sandbox.write("a.c", "int a;\n");
    let calls = |traced: bool| {
        let log = sandbox.path("strace");
        let client = sandbox.path("bin/distcc");
        let run = sandbox.command("strace").args(["-o", log.to_str().unwrap(), client.to_str().unwrap()]);
        let run = run.args(["gcc", "-c", "a.c"]).hosts("localhost");
        let run = if traced { run.env("DISTCC_TRACE", sandbox.path("trace")) } else { run };
        assert_eq!(run.run().code(), 0);
        fs::read_to_string(&log).unwrap()
    };
    let (without, with) = (calls(false), calls(true));
    assert!(!without.contains("getcwd") && !without.contains("trace\""), "{without}");
    assert!(with.contains("getcwd") && with.contains("trace\""), "{with}");
    let writes =
        with.lines().filter(|line| line.starts_with("write(") && line.contains("\"{\\\"v\\\":1,")).count();
    assert_eq!(writes, 1, "{with}");
    sandbox.finish([]);
}
