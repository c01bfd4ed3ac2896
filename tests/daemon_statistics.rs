//! The statistics of a server, asked for by real scrapers and by visitors who are none.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Daemon, PATIENCE, Run, Sandbox, free_port, require, wait_until};

/// The first bytes of 3.4's answer.
const HEAD: &str = "HTTP/1.0 200 OK\nContent-Type: text/plain\nConnection: close\n\n";

/// Where a daemon of ours says its statistics are.
fn statistics_of(daemon: &Daemon) -> String {
    daemon.wait_for_log("statistics on ");
    let log = daemon.log();
    log.split("statistics on ").nth(1).unwrap().lines().next().unwrap().to_string()
}

fn our_daemon(sandbox: &Sandbox, options: &[&str]) -> (Daemon, String) {
    let options = ["--stats", "--stats-port", "0"].iter().chain(options);
    let daemon = sandbox.daemon().jobs(3).args(options).start();
    let statistics = statistics_of(&daemon);
    (daemon, statistics)
}

/// Everything a visitor gets who sends these bytes.
fn visit(address: &str, sends: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(sends).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

/// The body of the answer to a GET by an HTTP/1.1 client.
fn get(address: &str, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: */*\r\n\r\n");
    let answer = String::from_utf8(visit(address, request.as_bytes())).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    body.to_string()
}

fn json(address: &str) -> Value {
    serde_json::from_str(&get(address, "/json")).unwrap()
}

/// What a scraper of 3.4's time makes of an answer: names in order, and values.
fn scrape(address: &str) -> (Vec<String>, BTreeMap<String, String>) {
    let answer = String::from_utf8(visit(address, b"GET / HTTP/1.0\r\n\r\n")).unwrap();
    let body = answer.strip_prefix(HEAD).unwrap_or_else(|| panic!("another head: {answer}"));
    let block = body.strip_prefix("argv /distccd\n<distccstats>\n").unwrap_or_else(|| panic!("{body}"));
    let block = block.strip_suffix("</distccstats>\n").unwrap_or_else(|| panic!("{body}"));
    let fields: Vec<(String, String)> = block
        .lines()
        .map(|line| line.split_once(' ').unwrap_or_else(|| panic!("{line}")))
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect();
    (fields.iter().map(|field| field.0.clone()).collect(), fields.into_iter().collect())
}

/// Has one source compiled with success, and one without.
fn compile_two(sandbox: &Sandbox, daemon: &Daemon) {
    sandbox.write("good.c", "int good;\n");
    sandbox.write("bad.c", "int bad(\n");
    for (source, code) in [("good.c", 0), ("bad.c", 1)] {
        let run = sandbox.distcc(["gcc", "-c", source, "-o", "x.o"]).env("DISTCC_FALLBACK", "0");
        let run = run.hosts(&daemon.host()).run();
        assert_eq!(run.code(), code, "{run}");
    }
}

#[test]
fn a_scraper_reads_ours_as_it_reads_those_of_3_4() {
    let sandbox = Sandbox::new();
    let (ours, our_address) = our_daemon(&sandbox, &[]);
    let port = free_port().to_string();
    let theirs = sandbox.debian_daemon().jobs(3).args(["--stats", "--stats-port", &port]).start();
    let their_address = format!("127.0.0.1:{port}");
    let mut found = Vec::new();
    for (daemon, address) in [(&ours, &our_address), (&theirs, &their_address)] {
        compile_two(&sandbox, daemon);
        wait_until("both jobs in the statistics", || scrape(address).1["dcc_num_compiles1"] == "2");
        found.push(scrape(address));
    }
    let [(our_names, our_values), (their_names, their_values)] = found.try_into().unwrap();
    // 3.4 as it was released lacks the last line, which its successor has.
    let (last, others) = our_names.split_last().unwrap();
    assert_eq!((others, last.as_str()), (their_names.as_slice(), "dcc_free_mem"));
    for name in [
        "dcc_rej_bad_req",
        "dcc_rej_overload",
        "dcc_compile_ok",
        "dcc_compile_error",
        "dcc_compile_timeout",
        "dcc_cli_disconnect",
        "dcc_longest_job_compiler",
        "dcc_longest_job",
        "dcc_max_kids",
        "dcc_num_compiles1",
        "dcc_num_compiles2",
        "dcc_num_compiles3",
    ] {
        assert_eq!(our_values[name], their_values[name], "{name}");
    }
    // What changes from moment to moment has the same form.
    let form = |value: &str| {
        let mut form: Vec<char> = value.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        form.dedup_by(|one, other| *one == '0' && *other == '0');
        form.into_iter().collect::<String>()
    };
    for name in
        ["dcc_load1", "dcc_load2", "dcc_load3", "dcc_max_RSS", "dcc_free_space", "dcc_num_procstate_D"]
    {
        assert_eq!(form(&our_values[name]), form(&their_values[name]), "{name}");
    }
    for name in ["dcc_avg_kids1", "dcc_current_load", "dcc_longest_job_time_msecs", "dcc_io_rate"] {
        assert!(our_values[name].parse::<i64>().is_ok(), "{name} {}", our_values[name]);
    }
    for values in [&our_values, &their_values] {
        assert!(values["dcc_max_RSS_name"].starts_with('(') && values["dcc_max_RSS_name"].ends_with(')'));
    }
    sandbox.finish([ours, theirs]);
}

#[test]
fn whoever_connects_is_answered_with_the_text() {
    let sandbox = Sandbox::new();
    let (daemon, address) = our_daemon(&sandbox, &[]);
    let slow_get = b"GET / HTTP/1.1\r\nX: ".to_vec();
    let long = [b"GET / HTTP/1.1\r\n".to_vec(), b"X: y\r\n".repeat(5000)].concat();
    for (what, sends) in [
        ("nothing", b"".to_vec()),
        ("a byte", b"x".to_vec()),
        ("a line", b"GET / \r\n".to_vec()),
        ("a request without an end", slow_get),
        ("a request without any bound", long),
        ("the protocol of jobs", b"DIST00000001ARGC00000002".to_vec()),
        ("20000 letters", vec![b'A'; 20_000]),
        ("an upload", b"POST /json HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc".to_vec()),
        ("a path nobody knows", b"GET /old/scraper HTTP/1.1\r\nAccept: text/html\r\n\r\n".to_vec()),
        ("the path of the text", b"GET /stats HTTP/1.1\r\nAccept: text/html\r\n\r\n".to_vec()),
    ] {
        let answer = String::from_utf8(visit(&address, &sends)).unwrap();
        assert!(answer.starts_with(HEAD) && answer.ends_with("</distccstats>\n"), "{what}: {answer}");
    }
    // One who has closed its side at once (`nc </dev/null`) is not waited for.
    let began = Instant::now();
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("</distccstats>\n") && began.elapsed() < Duration::from_millis(900));
    let head = String::from_utf8(visit(&address, b"HEAD /json HTTP/1.1\r\n\r\n")).unwrap();
    assert!(head.contains("application/json") && head.ends_with("\r\n\r\n"), "{head}");
    sandbox.finish([daemon]);
}

#[test]
fn prometheus_takes_the_metrics() {
    let promtool = require("promtool");
    let sandbox = Sandbox::new();
    let (daemon, address) = our_daemon(&sandbox, &[]);
    compile_two(&sandbox, &daemon);
    wait_until("both jobs in the metrics", || {
        get(&address, "/metrics").contains("distccd_compile_duration_seconds_count 2\n")
    });
    let metrics = get(&address, "/metrics");
    for line in [
        "distccd_jobs_total{result=\"compile_ok\"} 1",
        "distccd_jobs_total{result=\"compile_error\"} 1",
        "distccd_slots 3",
        "distccd_client_jobs_total{client=\"127.0.0.1\"} 2",
        "distccd_connections_total 2",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} in\n{metrics}");
    }
    let file = sandbox.write("metrics", metrics);
    let script = format!("{promtool} check metrics <\"$0\"");
    let run = Run::new("/bin/sh").args(["-c", &script]).args([file]).run();
    assert!(run.code() == 0 && run.out().is_empty() && run.err().is_empty(), "{run}");
    sandbox.finish([daemon]);
}

#[test]
fn json_tells_what_has_happened() {
    let sandbox = Sandbox::new();
    let (daemon, address) = our_daemon(&sandbox, &[]);
    compile_two(&sandbox, &daemon);
    // A compiler whose name would be markup, and what is no request at all.
    let name = "x<b>\"";
    let mut request = String::from("DIST00000001ARGC00000005");
    for word in [name, "-c", "a.c", "-o", "a.o"] {
        request += &format!("ARGV{:08x}{word}", word.len());
    }
    visit(&daemon.host(), format!("{request}DOTI00000000").as_bytes());
    visit(&daemon.host(), b"nonsense");
    wait_until("all four", || json(&address)["total"]["connections"] == 4);
    wait_until("their ends", || json(&address)["total"]["jobs"]["rej_bad_req"] == 1);
    let found = json(&address);
    for (pointer, expected) in [
        ("/server/slots", Value::from(3)),
        ("/now/running", 0.into()),
        ("/now/waiting", 0.into()),
        ("/total/jobs/compile_ok", 1.into()),
        ("/total/jobs/compile_error", 1.into()),
        ("/total/jobs/other", 1.into()),
        ("/total/refusals/compiler", 1.into()),
        ("/total/refusals/protocol", 1.into()),
        ("/total/lost_events", 0.into()),
        ("/recent/compiled", vec![2, 2, 2].into()),
        ("/clients/0/address", "127.0.0.1".into()),
        ("/clients/0/jobs", 2.into()),
        ("/clients/0/failed", 1.into()),
        ("/clients/0/refused", 2.into()),
        ("/last_refusals/1/client", "127.0.0.1".into()),
        ("/last_refusals/1/reason", "compiler".into()),
    ] {
        assert_eq!(found.pointer(pointer), Some(&expected), "{pointer} in {found:#}");
    }
    let number = |pointer: &str| found.pointer(pointer).and_then(Value::as_f64).unwrap_or(-1.0);
    assert!(number("/total/compile_seconds") > 0.0 && number("/total/received_bytes") > 100.0, "{found:#}");
    assert!(
        number("/total/sent_bytes") > 500.0 && number("/machine/memory_available_bytes") > 1e6,
        "{found:#}"
    );
    sandbox.finish([daemon]);
}

#[test]
fn statistics_are_for_those_who_may_send_jobs() {
    let sandbox = Sandbox::new();
    let file = sandbox.write("clients.allow", "192.0.2.1\n");
    let (daemon, address) = our_daemon(&sandbox, &["--allow-file", file.to_str().unwrap()]);
    let is_denied = || {
        let mut stream = TcpStream::connect(&address).unwrap();
        let mut answer = Vec::new();
        // A reset is as good as an end.
        let _ = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
        let _ = stream.read_to_end(&mut answer);
        answer.is_empty()
    };
    assert!(is_denied());
    daemon.wait_for_log("'127.0.0.1', is denied by access list");
    fs::write(&file, "127.0.0.1\n").unwrap();
    daemon.signal("HUP");
    wait_until("the new list", || !is_denied());
    fs::write(&file, "192.0.2.1\n").unwrap();
    daemon.signal("HUP");
    wait_until("the old list again", is_denied);
    sandbox.finish([daemon]);
}

#[test]
fn idle_visitors_hold_up_neither_jobs_nor_each_other_for_long() {
    let sandbox = Sandbox::new();
    let (daemon, address) = our_daemon(&sandbox, &[]);
    // Many who say nothing, and some who ask and do not read.
    let mut idle = Vec::new();
    for number in 0..200 {
        let mut stream = TcpStream::connect(&address).unwrap();
        if number % 2 == 0 {
            let _ = stream.write_all(b"GET /json HTTP/1.1\r\nX: ");
        }
        idle.push(stream);
    }
    compile_two(&sandbox, &daemon);
    let began = Instant::now();
    wait_until("an answer", || {
        let mut stream = TcpStream::connect(&address).unwrap();
        let mut answer = String::new();
        let _ = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
        let _ = stream.read_to_string(&mut answer);
        answer.contains("dcc_compile_ok 1\n")
    });
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    drop(idle);
    sandbox.finish([daemon]);
}

/// The processor time of the statistics' thread, in ticks of a hundredth of a second.
fn ticks_of_statistics(daemon: &Daemon) -> u64 {
    let threads = fs::read_dir(format!("/proc/{}/task", daemon.id())).unwrap();
    let stats = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("stat")).unwrap());
    let stat = stats.into_iter().find(|stat| stat.contains("(statistics)")).unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

#[test]
fn who_asks_without_end_takes_no_processor_from_compilers() {
    let sandbox = Sandbox::new();
    let (daemon, address) = our_daemon(&sandbox, &[]);
    let time = Duration::from_secs(3);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while began.elapsed() < time {
                    // It may be hung up on, as one of too many.
                    let Ok(mut stream) = TcpStream::connect(&address) else { continue };
                    let _ = stream.write_all(b"GET /json HTTP/1.1\r\n\r\n");
                    let _ = stream.read_to_end(&mut Vec::new());
                }
            });
        }
    });
    let used = Duration::from_millis(10 * ticks_of_statistics(&daemon));
    assert!(used < began.elapsed().mul_f64(0.45), "{used:?} of {:?}", began.elapsed());
    sandbox.finish([daemon]);
}

#[test]
fn statistics_are_where_the_daemon_is() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().listen("::1").args(["--stats", "--stats-port=0"]).start();
    let address = statistics_of(&daemon);
    assert!(address.starts_with("[::1]:"), "{address}");
    assert_eq!(scrape(&address).1["dcc_compile_ok"], "0");
    let port = address.rsplit(':').next().unwrap().to_string();
    // The port is taken.
    let second =
        sandbox.applet("distccd").args(["--daemon", "--no-detach", "--port=0", "--listen=::1", "--stats"]);
    let second = second.args([format!("--stats-port={port}")]).run();
    assert_eq!(second.code(), 102, "{second}");
    assert!(second.err().contains(&port), "{second}");
    sandbox.finish([daemon]);
}
