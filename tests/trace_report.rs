//! `distcc --report` over records of real jobs, damaged ones and large ones; and its trace for browsers.

mod support;

use std::fmt::Write;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Sandbox, free_port};

#[test]
fn a_recorded_build_is_reported_and_becomes_a_trace() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().start();
    let trace = sandbox.path("trace");
    let dead = format!("127.0.0.1:{}", free_port());
    for number in 0..4 {
        sandbox.write(format!("f{number}.c"), "int a;\n");
        let run = sandbox.distcc(["gcc", "-c", &format!("f{number}.c")]).env("DISTCC_TRACE", &trace);
        run.hosts(&format!("{dead} {}", daemon.host())).run();
    }
    let run = sandbox.distcc(["gcc", "f0.o", "-shared", "-o", "f.so"]).hosts("localhost");
    assert_eq!(run.env("DISTCC_TRACE", &trace).run().code(), 0);
    let report = sandbox.distcc(["--report"]).args([&trace]).run();
    report.assert_success_with(&[
        "5 jobs in ",
        "4 on other machines, 1 here (0 of them after all), 0 failed",
        &format!("{}: 4 jobs", daemon.host()),
        &format!("{dead}: 0 jobs, 1 failed attempts"),
        "the command links",
        "Jobs at a time",
        "Slowest sources",
    ]);
    assert!(report.out().lines().all(|line| line.len() < 132), "{report}");
    let json = sandbox.path("trace.json");
    for words in [["--report", "FILE", "--chrome", "OUT"], ["--report", "--chrome", "OUT", "FILE"]] {
        let words = words.map(|word| match word {
            "FILE" => trace.clone().into_os_string(),
            "OUT" => json.clone().into_os_string(),
            word => word.into(),
        });
        let run = sandbox.distcc(words).run();
        assert_eq!(run.code(), 0, "{run}");
        let events: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
        let events = events["traceEvents"].as_array().unwrap();
        let spans: Vec<_> = events.iter().filter(|event| event["ph"] == "X").collect();
        assert!(spans.iter().all(|span| span["ts"].is_u64() && span["dur"].is_u64() && span["tid"].is_u64()));
        assert_eq!(spans.iter().filter(|span| span["cat"] == "attempt").count(), 5);
        fs::remove_file(&json).unwrap();
    }
    sandbox.finish([daemon]);
}

trait Says {
    fn assert_success_with(&self, texts: &[&str]);
}

impl Says for support::Outcome {
    #[track_caller]
    fn assert_success_with(&self, texts: &[&str]) {
        assert_eq!(self.code(), 0, "{self}");
        for text in texts {
            assert!(self.out().contains(text), "{text:?} is missing: {self}");
        }
    }
}

#[test]
fn mistakes_have_words_and_statuses() {
    let sandbox = Sandbox::new();
    let trace = sandbox.write("trace", "");
    for (words, status, text) in [
        (&["--report"][..], 101, "usage: distcc --report FILE"),
        (&["--report", "a", "b"], 101, "usage: "),
        (&["--report", "missing"], 107, "missing: No such file"),
        (&["--report", "."], 107, ".: Is a directory"),
        (&["--report", "trace", "--chrome", "trace"], 107, "written over itself"),
        (&["--report", "trace", "--chrome", "no/where"], 107, "no/where: No such file"),
        (&["--report", "trace"], 0, ""),
    ] {
        let run = sandbox.distcc(words).run();
        assert_eq!(run.code(), status, "{run}");
        assert!(run.err().contains(text), "{text:?}: {run}");
    }
    assert!(trace.exists());
}

/// A build of a hundred thousand jobs, with lines of all kinds between.
#[test]
fn a_large_record_is_read_in_little_time_and_memory() {
    let sandbox = Sandbox::new();
    let mut text = String::new();
    for number in 0..100_000u64 {
        let start = 1_700_000_000_000_000 + number * 10_000;
        let host = number % 300;
        writeln!(
            text,
            "{{\"v\":1,\"pid\":{number},\"start\":{start},\"duration\":900000,\"status\":0,\"verdict\":\"distribute\",\
             \"mode\":\"plain\",\"host\":\"h{host}\",\"source\":\"src/f{number}.c\",\"output\":\"f.o\",\
             \"directory\":\"/home/user/project\",\"attempts\":[{{\"host\":\"h{host}/8,lzo\",\"slot\":{},\
             \"start\":{start},\"duration\":880000,\"outcome\":\"done\",\"sent\":1000,\"received\":2000}}],\
             \"phases\":[{{\"phase\":\"connect\",\"host\":\"h{host}\",\"start\":{start},\"duration\":1000}},\
             {{\"phase\":\"compile\",\"host\":\"h{host}\",\"start\":{start},\"duration\":800000}}]}}",
            number % 8
        )
        .unwrap();
        if number % 1000 == 0 {
            text.push_str("{\"v\":1,\"start\":17\n{\"v\":9}\n");
        }
    }
    sandbox.write("trace", &text);
    let began = Instant::now();
    let script = format!("ulimit -v 100000; exec '{}' --report trace", sandbox.path("bin/distcc").display());
    let run = sandbox.command("/bin/sh").args(["-c", &script]).run();
    run.assert_success_with(&["100000 jobs", "skipped: 100 cut or damaged lines, 100 of other versions"]);
    // An optimised program needs a second.
    let limit = if cfg!(debug_assertions) { 20 } else { 3 };
    assert!(began.elapsed() < Duration::from_secs(limit), "{:?}", began.elapsed());
}
