//! The lines that people's log readers match.

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::io::Write;

use raw::{Place, job, packet, request};

/// The parts of `client: ADDRESS:PORT RESULT exit:E sig:S core:C ret:R time:Tms[ COMPILER SOURCE]`, without the
/// port and the time.
fn parts(summary: &str) -> (String, String, String) {
    let rest = summary.strip_prefix("client: ").unwrap_or_else(|| panic!("{summary}"));
    let words: Vec<&str> = rest.split(' ').collect();
    let (address, port) = words[0].rsplit_once(':').unwrap();
    assert!(port.parse::<u16>().is_ok() && address == "127.0.0.1", "{summary}");
    let time = words[6].strip_prefix("time:").and_then(|time| time.strip_suffix("ms"));
    assert!(time.is_some_and(|time| time.parse::<u64>().is_ok_and(|time| time < 10_000)), "{summary}");
    (words[1].into(), words[2..6].join(" "), words[7..].join(" "))
}

#[test]
fn every_job_has_its_summary() {
    let place = Place::new();
    let daemon =
        raw::Daemon::start(place.daemon().args(["--job-lifetime", "1"]).env("DISTCC_TCP_DEFER_ACCEPT", "0"));
    let head = raw::request_head(1, &["cc", "-c", "a.c"]);
    let cases: Vec<(&str, Vec<u8>, &str, &str, &str)> = vec![
        ("success", job("printf x >$out"), "COMPILE_OK", "exit:0 sig:0 core:0 ret:0", "cc hello.c"),
        ("an error", job("exit 1"), "COMPILE_ERROR", "exit:1 sig:0 core:0 ret:0", "cc hello.c"),
        ("an odd code", job("exit 77"), "COMPILE_ERROR", "exit:77 sig:0 core:0 ret:0", "cc hello.c"),
        ("a signal", job("kill -KILL $$"), "COMPILE_ERROR", "exit:0 sig:9 core:0 ret:0", "cc hello.c"),
        ("no end", job("sleep 9"), "COMPILE_TIMEOUT", "exit:0 sig:9 core:0 ret:0", ""),
        ("no request", b"GET / HTTP/1.0\r\n".to_vec(), "REJ_BAD_REQ", "exit:0 sig:0 core:0 ret:109", ""),
        ("a version to come", packet("DIST", 9, b""), "REJ_BAD_REQ", "exit:0 sig:0 core:0 ret:109", ""),
        (
            "linking",
            request(1, &["cc", "a.c", "-o", "a", "-save-temps"], b""),
            "REJ_BAD_REQ",
            "exit:0 sig:0 core:0 ret:101",
            "",
        ),
        (
            "native tuning",
            request(1, &["cc", "-c", "a.c", "-march=native"], b""),
            "REJ_BAD_REQ",
            "exit:0 sig:0 core:0 ret:100",
            "",
        ),
        (
            "another compiler",
            request(1, &["evil", "-c", "a.c"], b""),
            "OTHER",
            "exit:0 sig:0 core:0 ret:110",
            "",
        ),
        ("nothing at all", Vec::new(), "OTHER", "exit:0 sig:0 core:0 ret:108", ""),
        ("half a request", head, "CLI_DISCONN", "exit:0 sig:0 core:0 ret:107", ""),
    ];
    for (index, (what, bytes, result, numbers, names)) in cases.iter().enumerate() {
        let mut stream = daemon.connect();
        stream.write_all(bytes).unwrap();
        if !["nothing at all", "half a request"].contains(what) {
            let _ = raw::read_reply(&mut stream);
        }
        // A refused client is given time to take in its answer: the line comes when it has gone.
        drop(stream);
        let expected = (result.to_string(), numbers.to_string(), names.to_string());
        assert_eq!(parts(&daemon.summary(index)), expected, "{what}");
    }
    place.finish(daemon);
}

#[test]
fn a_job_that_its_client_left_is_summarised_as_such() {
    let place = Place::new();
    let daemon = place.start(&[]);
    let mut stream = daemon.connect();
    stream.write_all(&job("echo >$marks/started; sleep 9")).unwrap();
    place.wait_for_mark("started");
    drop(stream);
    let (result, numbers, names) = parts(&daemon.summary(0));
    assert_eq!((result.as_str(), names.as_str()), ("CLI_DISCONN", ""));
    assert!(numbers.ends_with("ret:107"), "{numbers}");
    place.finish(daemon);
}

#[test]
fn a_job_leaves_the_lines_of_3_4() {
    let place = Place::new();
    let daemon = place.start(&["--jobs", "3"]);
    daemon.ask(&job("printf x >$out")).unwrap();
    daemon.ask(&job("exit 3")).unwrap();
    daemon.summary(1);
    let address = daemon.address;
    for words in [
        "allowing up to 3 active jobs",
        "daemon started (",
        &format!("listening on {address}"),
        "connection from 127.0.0.1:",
        "compile from hello.c to hello.o",
        "bytes received in 0.",
        "s, rate ",
        "cc hello.c on localhost completed ok",
        "cc hello.c on localhost failed with exit code 3",
        "job complete",
        "(dcc_job_summary) client: 127.0.0.1:",
    ] {
        assert!(!daemon.lines_with(words).is_empty(), "no {words:?} in {}", daemon.guard.log());
    }
    let prefix = format!("distccd[{}] ", daemon.pid());
    assert!(daemon.guard.log().lines().all(|line| line.starts_with(&prefix)), "{}", daemon.guard.log());
    place.finish(daemon);
}

/// A line with its numbers made equal; `exit:1` and the like stay.
fn masked(line: &str) -> String {
    let mut text = String::new();
    for word in line.split(' ') {
        let keep = ["exit:", "sig:", "core:", "ret:"].iter().any(|name| word.starts_with(name));
        let mut digits = false;
        for character in word.chars() {
            if !keep && character.is_ascii_digit() {
                if !std::mem::replace(&mut digits, true) {
                    text.push('N');
                }
            } else {
                digits = false;
                text.push(character);
            }
        }
        text.push(' ');
    }
    text
}

#[test]
fn summaries_are_those_of_3_4() {
    let place = Place::new();
    let ours = place.start(&[]);
    let theirs = raw::Daemon::start(place.sandbox.debian_daemon());
    for (index, source) in [b"int a;\n".as_slice(), b"int a\n"].into_iter().enumerate() {
        let bytes = request(1, &["gcc", "-c", "sub/hello.c", "-o", "out/hello.o"], source);
        let (reply, reference) = (ours.ask(&bytes).unwrap(), theirs.ask(&bytes).unwrap());
        assert_eq!(reply.status, reference.status);
        let line = |daemon: &raw::Daemon| // The first word keeps out the connections by which the harness finds that 3.4 is ready.
            masked(&daemon.wait_for_lines(" COMPILE_", index + 1)[index]);
        assert_eq!(line(&ours), line(&theirs));
        for words in ["compile from", "on localhost"] {
            let line = |daemon: &raw::Daemon| {
                let line = daemon.wait_for_lines(words, index + 1)[index].clone();
                let text = line.split_once("] ").unwrap().1.to_owned();
                // 3.4 names the function, at debug level, and its own object's name or none.
                text.rsplit(") ").next().unwrap().to_owned()
            };
            assert_eq!(line(&ours), line(&theirs));
        }
    }
    drop(theirs);
    place.finish(ours);
}
