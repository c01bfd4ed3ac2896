//! What the client's variables do, where no other test looks: switches and their values, directories, names of
//! compilers, hosts that want what is not built.

mod support;

use std::fs;

use support::{Run, Sandbox};

fn with_source() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("a.c", "int a;\n");
    sandbox
}

/// The command that the client of this log sent to a host.
fn sent(log: &str) -> &str {
    let line = log.lines().find_map(|line| line.split_once("exec on 127.0.0.1")).expect("a job was sent").1;
    line.split_once(": ").unwrap().1
}

#[test]
fn compiler_names_stay_as_they_are_if_asked_to() {
    let sandbox = with_source();
    let daemon = sandbox.daemon().start();
    let log = sandbox.path("client.log");
    for (value, compiler) in [(None, "x86_64-linux-gnu-gcc"), (Some("1"), "gcc"), (Some("0"), "gcc")] {
        let check = |client: Run| {
            let _ = fs::remove_file(&log);
            let client = client.hosts(&daemon.host()).env("DISTCC_LOG", &log);
            let client = match value {
                Some(value) => client.env("DISTCC_NO_REWRITE_CROSS", value),
                None => client,
            };
            client.run().assert_quiet_success();
            let log = fs::read_to_string(&log).unwrap();
            assert_eq!(sent(&log), format!("{compiler} -c a.c -o a.o"), "{value:?}\n{log}");
        };
        check(sandbox.distcc(["gcc", "-c", "a.c"]));
        check(sandbox.debian_distcc(["gcc", "-c", "a.c"]));
    }
    sandbox.finish([daemon]);
}

/// A link to us is no compiler: a name is not completed to one that only leads back here.
#[test]
fn names_are_not_completed_to_masquerade_links() {
    let sandbox = with_source();
    let daemon = sandbox.daemon().start();
    sandbox.script("only/gcc", "exec /usr/bin/gcc \"$@\"\n");
    std::os::unix::fs::symlink(sandbox.path("bin/distcc"), sandbox.path("only/x86_64-linux-gnu-gcc"))
        .unwrap();
    let log = sandbox.path("client.log");
    sandbox
        .distcc(["gcc", "-c", "a.c"])
        .hosts(&daemon.host())
        .env("PATH", sandbox.path("only"))
        .env("DISTCC_LOG", &log)
        .run()
        .assert_quiet_success();
    assert_eq!(sent(&fs::read_to_string(&log).unwrap()), "gcc -c a.c -o a.o");
    sandbox.finish([daemon]);
}

#[test]
fn corked_or_not_a_request_arrives() {
    let sandbox = with_source();
    let daemon = sandbox.daemon().start();
    for (count, value) in ["0", "1", "yes"].into_iter().enumerate() {
        for (lzo, host) in [daemon.host(), daemon.host_lzo()].iter().enumerate() {
            let client = sandbox.distcc(["gcc", "-c", "a.c"]).hosts(host).env("DISTCC_TCP_CORK", value);
            client.env("DISTCC_FALLBACK", "0").run().assert_quiet_success();
            daemon.wait_for_jobs(2 * count + lzo + 1);
        }
    }
    sandbox.finish([daemon]);
}

/// Switches are on for exactly `1` and off for exactly `0`; others count by being there.
#[test]
fn only_0_and_1_turn_switches() {
    let sandbox = with_source();
    // Nobody compiles there, so what counts is whether it is compiled here.
    for (value, falls_back) in [("0", false), ("1", true), ("00", true), ("no", true), ("", true)] {
        let status = |client: Run| client.hosts("127.0.0.1:1").env("DISTCC_FALLBACK", value).run().code();
        let ours = status(sandbox.distcc(["gcc", "-c", "a.c"]).env("DISTCC_BACKOFF_PERIOD", "0"));
        assert_eq!(ours, if falls_back { 0 } else { 103 }, "DISTCC_FALLBACK={value}");
    }
    for (value, explains) in [("1", true), ("0", false), ("2", false), ("yes", false), ("", false)] {
        let client = sandbox.distcc(["gcc", "-c", "a.c"]).hosts("localhost").env("DISTCC_VERBOSE", value);
        assert_eq!(!client.run().err().is_empty(), explains, "DISTCC_VERBOSE={value}");
    }
    sandbox.finish([]);
}

#[test]
fn the_directory_in_the_home_is_made_and_that_of_the_variable_is_not() {
    let sandbox = with_source();
    let daemon = sandbox.daemon().start();
    let home = sandbox.path("home/.distcc");
    let client = sandbox.distcc(["gcc", "-c", "a.c"]).hosts(&daemon.host()).env_remove("DISTCC_DIR");
    client.run().assert_quiet_success();
    daemon.wait_for_jobs(1);
    let slot = format!("lock/cpu_tcp_127.0.0.1_{}_0", daemon.port());
    assert_eq!(fs::metadata(home.join(&slot)).unwrap().len(), 0);
    assert!(fs::read_dir(home.join("state")).unwrap().next().is_none());
    fs::remove_dir_all(&home).unwrap();

    let missing = sandbox.path("missing");
    let run = sandbox.distcc(["gcc", "-c", "a.c"]).hosts(&daemon.host()).env("DISTCC_DIR", &missing).run();
    assert_eq!(run.code(), 0, "{run}");
    assert!(run.err().contains(missing.to_str().unwrap()), "{run}");
    assert!(!missing.exists());
    assert_eq!(daemon.jobs_done(), 1);
    sandbox.finish([daemon]);
}

/// Authentication is what we lack: the host is not at fault, and others are tried.
#[test]
fn a_host_that_wants_authentication_is_passed_over_and_not_blamed() {
    let sandbox = with_source();
    let daemon = sandbox.daemon().start();
    let wants = format!("{},auth", daemon.host());
    let hosts = format!("{wants} {}", daemon.host_lzo());
    let run = sandbox.distcc(["gcc", "-c", "a.c"]).hosts(&hosts).run();
    assert_eq!(run.code(), 0, "{run}");
    assert!(run.err().contains(&wants) && run.err().lines().count() == 1, "{run}");
    daemon.wait_for_jobs(1);
    assert!(sandbox.backoffs().is_empty(), "{:?}", sandbox.backoffs());
    let run = sandbox.distcc(["gcc", "-c", "a.c"]).hosts(&wants).env("DISTCC_FALLBACK", "0").run();
    assert_eq!(run.code(), 119, "{run}");
    sandbox.finish([daemon]);
}

#[test]
fn an_output_that_cannot_be_written_is_named() {
    let sandbox = with_source();
    let daemon = sandbox.daemon().start();
    for host in [daemon.host(), daemon.host_lzo()] {
        let run = sandbox.distcc(["gcc", "-c", "a.c", "-o", "no/where.o"]).hosts(&host).run();
        assert_eq!(run.code(), 1, "{run}");
        assert!(run.err().contains("write no/where.o: "), "{run}");
    }
    assert!(sandbox.backoffs().is_empty());
    sandbox.finish([daemon]);
}

#[test]
fn a_preprocessed_source_that_is_missing_is_named() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().start();
    let run = sandbox.distcc(["gcc", "-c", "none.i"]).hosts(&daemon.host()).run();
    assert_eq!(run.code(), 1, "{run}");
    assert!(run.err().lines().next().is_some_and(|line| line.contains("preprocess: none.i: ")), "{run}");
    assert!(sandbox.backoffs().is_empty());
    sandbox.finish([daemon]);
}
