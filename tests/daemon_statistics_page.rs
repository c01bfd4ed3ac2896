//! The page of the statistics, in a browser without a screen.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use support::{Daemon, Outcome, Run, Sandbox, require, wait_until};

/// Long enough for the page to ask twice, in the browser's own time.
const TIME_BUDGET: &str = "--virtual-time-budget=5000";

fn chromium(sandbox: &Sandbox, options: &[&str], url: &str) -> Outcome {
    let profile = format!("--user-data-dir={}", sandbox.path("profile").display());
    Run::new(require("chromium"))
        .env("HOME", sandbox.path("profile"))
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions"])
        .args([profile.as_str(), TIME_BUDGET, "--enable-logging=stderr", "--log-level=0"])
        .args(options)
        .args([url])
        .within(Duration::from_secs(60))
        .run()
}

fn statistics_of(daemon: &Daemon) -> String {
    daemon.wait_for_log("statistics on ");
    let log = daemon.log();
    log.split("statistics on ").nth(1).unwrap().lines().next().unwrap().to_string()
}

fn json(address: &str) -> Value {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /json HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// Width and height of a PNG file, and how many bytes it has.
fn image(path: &Path) -> (u32, u32, usize) {
    let bytes = fs::read(path).unwrap();
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    assert!(bytes.starts_with(b"\x89PNG\r\n"));
    (number(16), number(20), bytes.len())
}

#[test]
fn a_browser_shows_what_the_server_did() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().jobs(3).args(["--stats", "--stats-port", "0"]).start();
    let address = statistics_of(&daemon);
    sandbox.write("a.c", "int a;\n");
    // A name that is markup, as far as a page is concerned.
    let hostile = "<img src=x onerror=document.title='owned'>.c";
    sandbox.write(hostile, "int b;\n");
    for source in ["a.c", hostile] {
        let run = sandbox.distcc(["gcc", "-c", source, "-o", "x.o"]).hosts(&daemon.host()).run();
        assert_eq!(run.code(), 0, "{run}");
    }
    daemon.wait_for_jobs(2);
    // The same in what the server refuses.
    let mut stream = TcpStream::connect(daemon.host()).unwrap();
    let name = "<img src=x>";
    write!(
        stream,
        "DIST00000001ARGC00000003ARGV{:08x}{name}ARGV00000002-cARGV00000003a.cDOTI00000000",
        name.len()
    )
    .unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
    // Into a step that is over, so that it is drawn.
    wait_until("a step with two compiles", || {
        let steps = &json(&address)["history"][0]["compiled"];
        steps.as_array().is_some_and(|steps| steps.iter().filter_map(Value::as_u64).sum::<u64>() == 2)
    });

    let url = format!("http://{address}/");
    let run = chromium(&sandbox, &["--dump-dom"], &url);
    assert_eq!(run.code(), 0, "{run}");
    let page = run.out();
    assert!(page.contains(">live<"), "{page}");
    assert!(page.contains("<b>2</b><span>compiled, 0 failed</span>"), "{page}");
    assert!(page.contains("127.0.0.1") && page.contains("100 %"), "{page}");
    assert!(page.matches("<polyline").count() >= 6, "{page}");
    assert!(page.contains("&lt;img src=x&gt;"), "the refused compiler: {page}");
    assert!(!page.contains("<img") && !page.contains("<title>owned"), "{page}");
    // Whatever its policy or its script objected to.
    for word in ["Content Security Policy", "Content-Security-Policy", "Uncaught", "CONSOLE"] {
        assert!(!run.err().contains(word), "{}", run.err());
    }

    let file = sandbox.path("page.png");
    let option = format!("--screenshot={}", file.display());
    let run = chromium(&sandbox, &["--window-size=1280,1300", &option], &url);
    assert_eq!(run.code(), 0, "{run}");
    let (width, height, bytes) = image(&file);
    assert!(width == 1280 && height == 1300 && bytes > 20_000, "{width}x{height}, {bytes} bytes");
    fs::remove_dir_all(sandbox.path("profile")).unwrap();
    wait_until("the browser's end", || sandbox.processes().len() <= 1);
    sandbox.finish([daemon]);
}
