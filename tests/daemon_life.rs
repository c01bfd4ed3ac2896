//! The lives of a daemon, its jobs and their compilers: who ends whom, how soon, and what is left.

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::{Duration, Instant};

use raw::{Place, Reply, SOON, ask, closes, is_alive, job, read_reply, wait_for_end};
use support::{tree_of, wait_until};

/// A compiler with a child; both would sleep for a minute.
const FAMILY: &str = "sleep 60 & echo $! >$marks/child; echo $$ >$marks/compiler; touch $out.extra; wait";
/// A compiler that waits for the test.
const GATED: &str =
    "echo $$ >$marks/compiler; until [ -e $marks/go ]; do sleep 0.01; done; printf done >$out";

fn family(place: &Place) -> [u32; 2] {
    [place.wait_for_pid("child"), place.wait_for_pid("compiler")]
}

#[test]
fn a_client_that_leaves_takes_its_compilers_whole_family_with_it() {
    let place = Place::new();
    let daemon = place.start(&[]);
    let mut stream = daemon.connect();
    stream.write_all(&job(FAMILY)).unwrap();
    let processes = family(&place);
    assert!(processes.iter().all(|pid| is_alive(*pid)));
    assert_eq!(fs::read_dir(daemon.guard.temporary()).unwrap().count(), 1);
    let began = Instant::now();
    drop(stream);
    processes.into_iter().for_each(wait_for_end);
    wait_until("the end of the directory", || tree_of(daemon.guard.temporary()).0.is_empty());
    assert!(began.elapsed() < SOON, "it took {:?}", began.elapsed());
    assert!(daemon.summary(0).contains("CLI_DISCONN"), "{}", daemon.summary(0));
    daemon.assert_unharmed();
    place.finish(daemon);
}

#[test]
fn what_a_finished_compiler_left_running_is_ended() {
    let place = Place::new();
    let daemon = place.start(&[]);
    let reply = daemon.ask(&job("sleep 60 & echo $! >$marks/child; printf x >$out")).unwrap();
    assert_eq!((reply.status, reply.object.as_slice()), (0, b"x".as_slice()));
    wait_for_end(place.wait_for_pid("child"));
    daemon.assert_unharmed();
    place.finish(daemon);
}

#[test]
fn job_lifetime_ends_a_compile_and_says_so() {
    let place = Place::new();
    let daemon = place.start(&["--job-lifetime", "1"]);
    let began = Instant::now();
    let reply = daemon.ask(&job(&format!("echo half-done >&2; {FAMILY}"))).unwrap();
    let elapsed = began.elapsed();
    assert_eq!(reply.status, 118 << 8, "{reply:?}");
    assert!(reply.stderr.starts_with("half-done\n"), "{reply:?}");
    assert!(reply.stderr.contains("takes too long, timeout"), "{reply:?}");
    assert!(reply.object.is_empty());
    assert!(elapsed >= Duration::from_secs(1) && elapsed < Duration::from_secs(1) + SOON, "{elapsed:?}");
    family(&place).into_iter().for_each(wait_for_end);
    assert!(daemon.summary(0).contains("COMPILE_TIMEOUT"), "{}", daemon.summary(0));
    daemon.assert_unharmed();
    place.finish(daemon);
}

#[test]
fn a_job_that_ends_in_time_knows_nothing_of_the_limit() {
    let place = Place::new();
    let daemon = place.start(&["--job-lifetime", "1"]);
    // The limit is for compilers, not for clients that are slow to send.
    let bytes = job("printf x >$out");
    let mut stream = daemon.connect();
    stream.write_all(&bytes[..bytes.len() - 1]).unwrap();
    thread::sleep(Duration::from_millis(1200));
    stream.write_all(&bytes[bytes.len() - 1..]).unwrap();
    let reply = read_reply(&mut stream).unwrap();
    assert_eq!((reply.status, reply.stderr.as_str()), (0, ""));
    place.finish(daemon);
}

#[test]
fn term_lets_running_jobs_finish_and_sends_the_others_away() {
    let place = Place::new();
    let mut daemon = place.start(&["--jobs", "1"]);
    let mut running = daemon.connect();
    running.write_all(&job(GATED)).unwrap();
    let compiler = place.wait_for_pid("compiler");
    let mut waiting = daemon.connect();
    waiting.write_all(&job("echo >$marks/must-not-run")).unwrap();
    let mut receiving = daemon.connect();
    receiving.write_all(&job("echo >$marks/must-not-run")[..70]).unwrap();
    daemon.wait_for_lines("compile from", 2);

    daemon.guard.signal("TERM");
    daemon.wait_for_lines("told to stop", 1);
    // They may go elsewhere at once.
    let began = Instant::now();
    assert!(closes(&mut waiting) && closes(&mut receiving));
    assert!(began.elapsed() < SOON);
    wait_until("the end of listening", || std::net::TcpStream::connect(daemon.address).is_err());
    assert!(is_alive(compiler) && is_alive(daemon.pid()));

    fs::write(place.mark("go"), "").unwrap();
    let reply = read_reply(&mut running).unwrap();
    assert_eq!((reply.status, reply.object.as_slice()), (0, b"done".as_slice()));
    assert_eq!(daemon.guard.wait().signal(), Some(15));
    daemon.wait_for_lines("COMPILE_OK", 1);
    assert!(!place.mark("must-not-run").exists());
    place.finish(daemon);
}

#[test]
fn a_second_term_ends_compilers_at_once() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    let mut stream = daemon.connect();
    stream.write_all(&job(&format!("trap '' TERM INT HUP; {FAMILY}"))).unwrap();
    let processes = family(&place);
    daemon.guard.signal("TERM");
    daemon.wait_for_lines("told to stop", 1);
    assert!(processes.iter().all(|pid| is_alive(*pid)));
    let began = Instant::now();
    daemon.guard.signal("TERM");
    assert_eq!(daemon.guard.wait().signal(), Some(15));
    assert!(began.elapsed() < SOON, "it took {:?}", began.elapsed());
    assert!(!processes.iter().any(|pid| is_alive(*pid)), "a compiler survived");
    let _ = stream.read_to_end(&mut Vec::new());
    place.finish(daemon);
}

#[test]
fn an_idle_daemon_ends_at_once_by_the_signal_it_got() {
    for (name, number) in [("TERM", 15), ("INT", 2)] {
        let place = Place::new();
        let mut daemon = place.start(&[]);
        daemon.assert_serves();
        let began = Instant::now();
        daemon.guard.signal(name);
        assert_eq!(daemon.guard.wait().signal(), Some(number), "{name}");
        assert!(began.elapsed() < SOON, "{name} took {:?}", began.elapsed());
        place.sandbox.finish([]);
    }
}

#[test]
fn compilers_do_not_survive_a_daemon_that_is_killed() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    let mut stream = daemon.connect();
    stream.write_all(&job(GATED)).unwrap();
    let compiler = place.wait_for_pid("compiler");
    daemon.guard.signal("KILL");
    daemon.guard.wait();
    wait_for_end(compiler);
}

#[test]
fn lifetime_ends_the_daemon() {
    let place = Place::new();
    let mut daemon = place.start(&["--lifetime", "1"]);
    let reply = daemon.ask(&job("sleep 1.2; printf x >$out")).unwrap();
    assert_eq!((reply.status, reply.object.as_slice()), (0, b"x".as_slice()));
    let status = daemon.guard.wait();
    assert_eq!(status.signal(), Some(14), "{status}: {}", daemon.guard.log());
    place.sandbox.finish([]);
}

#[test]
fn hup_opens_the_log_again_and_disturbs_no_job() {
    let place = Place::new();
    let logs = place.path("logs");
    fs::create_dir(&logs).unwrap();
    fs::set_permissions(&logs, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let (log, rotated) = (logs.join("distccd.log"), logs.join("distccd.log.1"));
    let port = support::free_port();
    let mut daemon = place
        .sandbox
        .applet("distccd")
        .args(place.script_options())
        .env("PATH", place.search_path())
        .args(["--no-detach", "--daemon", "--listen", "127.0.0.1", "--allow", "127.0.0.1"])
        .args(["--port", &port.to_string(), "--log-level", "info", "--log-file"])
        .args([&log])
        .env("TMPDIR", place.sandbox.server_directory())
        .start();
    let read = |path: &std::path::Path| fs::read_to_string(path).unwrap_or_default();
    wait_until("the daemon", || read(&log).contains("listening on"));
    let address = ([127, 0, 0, 1], port).into();

    let running = thread::spawn(move || ask(address, &job(GATED)).unwrap());
    place.wait_for_mark("compiler");
    fs::rename(&log, &rotated).unwrap();
    daemon.signal("HUP");
    wait_until("the new log", || read(&log).contains("log reopened"));
    assert!(ask(address, &job("printf second >$out")).unwrap().object == b"second");
    fs::write(place.mark("go"), "").unwrap();
    assert_eq!(running.join().unwrap().object, b"done");
    wait_until("both summaries", || read(&log).matches("COMPILE_OK").count() == 2);
    assert!(!read(&rotated).contains("COMPILE_OK"));

    assert!(daemon.is_running());
    daemon.signal("TERM");
    assert_eq!(daemon.finish().signal(), Some(15));
    place.sandbox.finish([]);
}

#[test]
fn no_more_compilers_run_than_jobs_allow_and_all_have_their_turn() {
    let place = Place::new();
    let daemon = place.start(&["--jobs", "2"]);
    let address = daemon.address;
    let script = "mkdir $marks/$$; ls -d $marks/[0-9]* | wc -l >>$marks/counts; sleep 0.05; rmdir $marks/$$; printf x >$out";
    let clients: Vec<_> =
        (0..20).map(|_| thread::spawn(move || ask(address, &job(script)).unwrap())).collect();
    let replies: Vec<Reply> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    assert!(replies.iter().all(|reply| reply.status == 0 && reply.object == b"x"), "{replies:?}");
    let counts = fs::read_to_string(place.mark("counts")).unwrap();
    let counts: Vec<u32> = counts.lines().map(|line| line.trim().parse().unwrap()).collect();
    assert_eq!(counts.len(), 20);
    assert_eq!(counts.iter().max(), Some(&2), "compilers at once: {counts:?}");
    place.finish(daemon);
}

#[test]
fn jobs_start_in_the_order_in_which_they_came() {
    let place = Place::new();
    let daemon = place.start(&["--jobs", "1"]);
    let mut first = daemon.connect();
    first.write_all(&job(GATED)).unwrap();
    place.wait_for_mark("compiler");
    let mut streams: Vec<_> = (0..8)
        .map(|number| {
            let mut stream = daemon.connect();
            stream.write_all(&job(&format!("echo {number} >>$marks/order"))).unwrap();
            daemon.wait_for_lines("bytes received", number + 2);
            stream
        })
        .collect();
    // One of them loses patience; the others keep their places.
    drop(streams.remove(3));
    daemon.wait_for_lines("went away", 1);
    fs::write(place.mark("go"), "").unwrap();
    for stream in &mut streams {
        assert_eq!(read_reply(stream).unwrap().status, 0);
    }
    let order = fs::read_to_string(place.mark("order")).unwrap();
    assert_eq!(order.split_whitespace().collect::<String>(), "0124567");
    place.finish(daemon);
}

#[test]
fn waiting_for_a_turn_costs_a_job_no_time() {
    let place = Place::new();
    let daemon = place.start(&["--jobs", "1"]);
    let address = daemon.address;
    let began = Instant::now();
    let clients: Vec<_> =
        (0..10).map(|_| thread::spawn(move || ask(address, &job("printf x >$out")).unwrap())).collect();
    clients.into_iter().for_each(|client| assert_eq!(client.join().unwrap().status, 0));
    assert!(began.elapsed() < SOON, "ten jobs took {:?}", began.elapsed());
    place.finish(daemon);
}

#[test]
fn saved_temporary_files_stay() {
    let place = Place::new();
    let mut daemon = raw::Daemon::start(place.daemon().env("DISTCC_SAVE_TEMPS", "1"));
    assert_eq!(daemon.ask(&job("printf x >$out")).unwrap().status, 0);
    daemon.guard.stop();
    let names = tree_of(daemon.guard.temporary()).names();
    assert!(names.iter().any(|name| name.ends_with("distccd.i")), "{names:?}");
    assert!(names.iter().any(|name| name.ends_with("distccd.o")), "{names:?}");
    assert!(names.iter().all(|name| name.starts_with("distccd_")), "{names:?}");
}
