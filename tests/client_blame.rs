//! Who is blamed for what: which faults cost a host its jobs for a while, which are reported once, which are
//! silent, and what is compiled in the end.

mod support;

use std::time::Duration;

use support::{Sandbox, free_port};

/// A host where nobody listens.
fn dead_host() -> String {
    format!("127.0.0.1:{}", free_port())
}

fn with_source() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("a.c", "int a(void) { return 1; }\n");
    sandbox.honest_client_compiler();
    sandbox
}

#[test]
fn after_a_dead_host_the_next_one_compiles() {
    let sandbox = with_source();
    let daemon = sandbox.daemon().start();
    let dead = dead_host();
    let hosts = format!("{dead} {}", daemon.host());
    let run = sandbox.distcc(["gcc", "-c", "a.c"]).hosts(&hosts).run();
    assert_eq!(run.code(), 0, "{run}");
    assert_eq!(run.err().lines().count(), 1, "{run}");
    assert!(run.err().contains("Warning: ") && run.err().contains(&dead), "{run}");
    assert!(run.err().to_lowercase().contains("connection refused"), "{run}");
    daemon.wait_for_jobs(1);
    assert_eq!(sandbox.backoffs(), [format!("backoff_tcp_{}_0", dead.replace(':', "_"))]);
    // The dead host is left alone now.
    sandbox.distcc(["gcc", "-c", "a.c"]).hosts(&hosts).run().assert_quiet_success();
    daemon.wait_for_jobs(2);
    // Debian's client knows about it, too.
    let debian = sandbox.debian_distcc(["gcc", "-c", "a.c"]).hosts(&hosts).run();
    assert_eq!((debian.code(), debian.err().as_str()), (0, ""), "{debian}");
    daemon.wait_for_jobs(3);
    sandbox.finish([daemon]);
}

#[test]
fn a_host_that_works_again_is_forgiven() {
    let sandbox = with_source();
    let daemon = sandbox.daemon().start();
    std::fs::create_dir_all(sandbox.path("distcc/lock")).unwrap();
    let mark = sandbox.path("distcc/lock").join(daemon.backoff_file());
    std::fs::write(&mark, "x").unwrap();
    let run = sandbox.distcc(["gcc", "-c", "a.c"]).hosts(&daemon.host()).run();
    assert_eq!(run.code(), 0, "{run}");
    assert_eq!(daemon.compilations(), 0);
    let run =
        sandbox.distcc(["gcc", "-c", "a.c"]).hosts(&daemon.host()).env("DISTCC_BACKOFF_PERIOD", "0").run();
    run.assert_quiet_success();
    daemon.wait_for_jobs(1);
    sandbox.distcc(["gcc", "-c", "a.c"]).hosts(&daemon.host()).env("DISTCC_BACKOFF_PERIOD", "1").run();
    std::thread::sleep(Duration::from_millis(1100));
    sandbox
        .distcc(["gcc", "-c", "a.c"])
        .hosts(&daemon.host())
        .env("DISTCC_BACKOFF_PERIOD", "1")
        .run()
        .assert_quiet_success();
    assert_eq!(sandbox.backoffs(), [""; 0]);
    sandbox.finish([daemon]);
}

/// One command that starts several compilations, as make does.
fn build(sandbox: &Sandbox, hosts: &str, command: &str, times: usize) -> support::Outcome {
    let script = (0..times).map(|_| format!("{command} || exit $?\n")).collect::<String>();
    let path =
        format!("{}:{}:/usr/bin:/bin", sandbox.path("bin").display(), sandbox.path("client-bin").display());
    sandbox.command("/bin/sh").args(["-c", &script]).env("PATH", path).hosts(hosts).run()
}

#[test]
fn with_all_hosts_dead_a_build_warns_once_and_compiles_here() {
    let sandbox = with_source();
    let hosts = format!("{} {}", dead_host(), dead_host());
    let run = build(&sandbox, &hosts, "distcc gcc -c a.c", 4);
    assert_eq!(run.code(), 0, "{run}");
    assert!(!sandbox.read("a.o").is_empty());
    assert_eq!(run.err_lines_with("leaving this host alone"), 2, "{run}");
    assert_eq!(run.err_lines_with("running locally instead"), 1, "{run}");
    assert_eq!(run.err().lines().count(), 3, "{run}");
    sandbox.finish([]);
}

#[test]
fn without_backoff_dead_hosts_do_not_go_on_for_ever() {
    let sandbox = with_source();
    let run = sandbox
        .distcc(["gcc", "-c", "a.c"])
        .hosts(&dead_host())
        .env("DISTCC_BACKOFF_PERIOD", "0")
        .within(Duration::from_secs(10))
        .run();
    assert_eq!(run.code(), 0, "{run}");
    sandbox.finish([]);
}

/// A host list, and the exit code if nothing may run here instead.
#[test]
fn without_fallback_the_exit_code_names_the_cause() {
    let sandbox = with_source();
    let denying = sandbox.daemon().args(["--allow", "10.0.0.1"]).start();
    let daemon = sandbox.daemon().start();
    let dead = dead_host();
    let refused = "distcc fakecc -c a.c";
    let cases: [(&str, &str, i32); 9] = [
        (&dead, "distcc gcc -c a.c", 103),
        // A short time later it is known to be dead.
        (&dead, "distcc gcc -c a.c", 116),
        ("", "distcc gcc -c a.c", 116),
        ("one:port", "distcc gcc -c a.c", 116),
        ("one/2,down", "distcc gcc -c a.c", 116),
        (&denying.host(), "distcc gcc -c a.c", 113),
        (&daemon.host(), refused, 110),
        // What is local by nature still runs.
        (&dead, "distcc gcc -E a.c -o a.i", 0),
        ("", "distcc gcc -shared a.c -o a.so", 0),
    ];
    for (hosts, command, code) in cases {
        let words: Vec<&str> = command.split(' ').skip(1).collect();
        let path = format!("{}:/usr/bin:/bin", sandbox.path("client-bin").display());
        let run = sandbox.distcc(words).hosts(hosts).env("DISTCC_FALLBACK", "0").env("PATH", path).run();
        assert_eq!(run.code(), code, "{command} on {hosts:?}: {run}");
        let explained =
            run.err().contains("failed to distribute") && run.err().contains("fallbacks are disabled");
        assert_eq!(explained, code != 0, "{run}");
        assert!(!sandbox.work("a.o").exists(), "{command} on {hosts:?}");
    }
    sandbox.finish([daemon, denying]);
}

/// Host lists that are refused as a whole, and what must be said about them.
const BAD_LISTS: &[(&str, &str)] = &[
    ("", "contained no hosts"),
    ("   # only a comment", "contained no hosts"),
    (":1234", ":1234"),
    ("/4", "/4"),
    ("[::1", "[::1"),
    ("one:port", "one:port"),
    ("one:12x4", "one:12x4"),
    ("one/0", "one/0"),
    ("one/many", "one/many"),
    ("good one,fast", "one,fast"),
    ("one,cpp", "one,cpp"),
    ("@/2", "@/2"),
];

#[test]
fn a_bad_host_list_is_named_and_the_job_runs_here() {
    let sandbox = with_source();
    for (hosts, part) in BAD_LISTS {
        let _ = std::fs::remove_file(sandbox.work("a.o"));
        let run = sandbox.distcc(["gcc", "-c", "a.c"]).hosts(hosts).run();
        assert_eq!(run.code(), 0, "{hosts:?}: {run}");
        assert!(run.err().contains(part), "{hosts:?}: {run}");
        assert!(run.err().contains("DISTCC_HOSTS"), "{hosts:?}: {run}");
        assert_eq!(run.err().lines().count(), 1, "{hosts:?}: {run}");
        assert!(!sandbox.read("a.o").is_empty());
        let strict = sandbox.distcc(["gcc", "-c", "a.c"]).hosts(hosts).env("DISTCC_FALLBACK", "0").run();
        assert_eq!(strict.code(), 116, "{hosts:?}: {strict}");
        assert!(strict.err().contains(part), "{hosts:?}: {strict}");
        // Debian's client refuses the same lists.
        let debian =
            sandbox.debian_distcc(["gcc", "-c", "a.c"]).hosts(hosts).env("DISTCC_FALLBACK", "0").run();
        assert_eq!(debian.code(), 116, "{hosts:?}: {debian}");
    }
    sandbox.finish([]);
}

#[test]
fn without_any_list_the_job_runs_here() {
    let sandbox = with_source();
    // A list of the system's must not be found.
    std::fs::write(sandbox.path("distcc/hosts"), "# nothing yet\n").unwrap();
    let run = sandbox.distcc(["gcc", "-c", "a.c"]).run();
    assert_eq!(run.code(), 0, "{run}");
    assert!(run.err().contains("can't distribute work"), "{run}");
    let run = sandbox.distcc(["gcc", "-c", "a.c"]).env_remove("HOME").env_remove("DISTCC_DIR").run();
    assert_eq!(run.code(), 0, "{run}");
    assert!(run.err().contains("DISTCC_DIR"), "{run}");
    sandbox.finish([]);
}

#[test]
fn a_compile_error_is_shown_once_and_nobody_is_blamed() {
    let sandbox = with_source();
    let daemon = sandbox.daemon().start();
    let text = "int b(void) { return nowhere; }\n";
    sandbox.write("b.c", text);
    sandbox.write("b.o", "an old object");
    let local = sandbox.command("gcc").args(["-c", "b.c", "-o", "local.o"]).run();
    let run = sandbox.distcc(["gcc", "-c", "b.c"]).hosts(&daemon.host()).run();
    assert_eq!(run.code(), 1, "{run}");
    assert_eq!(run.err(), local.err(), "{run}");
    assert_eq!(run.err_lines_with("error: 'nowhere' undeclared"), 1, "{run}");
    assert_eq!(sandbox.backoffs(), [""; 0]);
    assert_eq!(daemon.compilations(), 1);
    sandbox.finish([daemon]);
}

/// A fault of the source that the preprocessor finds here.
#[test]
fn a_preprocessor_error_is_shown_once() {
    let sandbox = with_source();
    let daemon = sandbox.daemon().start();
    sandbox.write("missing.c", "#include \"no-such-header.h\"\nint m;\n");
    sandbox.write("error.c", "#error this is meant to fail\n");
    for (source, message) in
        [("missing.c", "no-such-header.h: No such file"), ("error.c", "error: #error this is meant")]
    {
        let words = format!("-c {source}");
        let run = sandbox.fakecc(&words).hosts(&format!("{} {}", daemon.host(), dead_host())).run();
        assert_eq!(run.code(), 1, "{run}");
        assert_eq!(run.err_lines_with(message), 1, "{run}");
        assert_eq!(run.err_lines_with("distcc["), 0, "{run}");
    }
    // The missing header ends a compilation, too; after an #error the compiler may find more.
    assert_eq!(sandbox.client_calls().len(), 3, "{:?}", sandbox.client_calls());
    assert_eq!(sandbox.backoffs(), [""; 0]);
    assert_eq!(daemon.compilations(), 0);
    // The same where nothing may run here.
    let run = sandbox.fakecc("-c error.c").hosts(&daemon.host()).env("DISTCC_FALLBACK", "0").run();
    assert_eq!((run.code(), run.err_lines_with("error: #error this")), (1, 1), "{run}");
    sandbox.finish([daemon]);
}

#[test]
fn a_server_whose_compiler_differs_is_left_alone_for_a_while() {
    let sandbox = with_source();
    let daemon = sandbox.daemon_with_compiler("echo broken compiler >&2\nexit 1\n").start();
    let run = sandbox.fakecc("-c a.c").hosts(&daemon.host()).run();
    assert_eq!(run.code(), 0, "{run}");
    assert_eq!(run.err_lines_with("different result"), 1, "{run}");
    assert_eq!(run.err().lines().count(), 1, "the thrown away attempt is shown: {run}");
    assert_eq!(sandbox.backoffs(), [daemon.backoff_file()]);
    assert!(!sandbox.read("a.o").is_empty());
    sandbox.finish([daemon]);
}

#[test]
fn without_a_local_retry_the_server_has_the_last_word() {
    let sandbox = with_source();
    let daemon = sandbox.daemon_with_compiler("echo broken compiler >&2\nexit 3\n").start();
    for variable in [("DISTCC_SKIP_LOCAL_RETRY", "0"), ("DISTCC_FALLBACK", "0")] {
        let run = sandbox.fakecc("-c a.c").hosts(&daemon.host()).env(variable.0, variable.1).run();
        assert_eq!(run.code(), 3, "{variable:?}: {run}");
        assert_eq!(run.err_lines_with("broken compiler"), 1, "{variable:?}: {run}");
        assert_eq!(sandbox.backoffs(), [""; 0], "{variable:?}");
        assert!(!sandbox.work("a.o").exists());
    }
    sandbox.finish([daemon]);
}

#[test]
fn a_compiler_that_crashes_on_the_server_is_reported() {
    let sandbox = with_source();
    let daemon = sandbox.daemon_with_compiler("kill -s SEGV $$\n").start();
    let run = sandbox.fakecc("-c a.c").hosts(&daemon.host()).run();
    assert_eq!(run.code(), 0, "{run}");
    assert!(run.err().contains("signal 11") && run.err().lines().count() == 1, "{run}");
    assert!(!sandbox.read("a.o").is_empty());
    let run = sandbox.fakecc("-c a.c").hosts(&daemon.host()).env("DISTCC_FALLBACK", "0").run();
    assert_eq!(run.code(), 139, "{run}");
    sandbox.finish([daemon]);
}

#[test]
fn a_compiler_that_crashes_here_gives_its_signal() {
    let sandbox = Sandbox::new();
    sandbox.fake_client_compiler("kill -s ABRT $$\n");
    sandbox.write("a.c", "int a;\n");
    for words in ["-v", "-c a.c"] {
        let run = sandbox.fakecc(words).hosts("localhost").run();
        assert_eq!(run.code(), 134, "{run}");
        assert!(run.err().contains("signal 6"), "{run}");
    }
    sandbox.finish([]);
}

/// A compiler that the server does not know is no reason to take the other jobs away from it.
#[test]
fn a_compiler_that_is_not_allowed_is_refused_with_the_remedy() {
    let sandbox = with_source();
    let daemon = sandbox.daemon().start();
    let run = build(&sandbox, &daemon.host(), "distcc fakecc -c a.c", 3);
    assert_eq!(run.code(), 0, "{run}");
    assert_eq!(run.err_lines_with("fakecc is not whitelisted"), 1, "{run}");
    assert_eq!(run.err_lines_with("ln -s"), 1, "{run}");
    assert!(daemon.log().contains("fakecc is not whitelisted"), "{}", daemon.log());
    assert_eq!(sandbox.backoffs(), [""; 0], "{run}");
    sandbox.distcc(["gcc", "-c", "a.c"]).hosts(&daemon.host()).run().assert_quiet_success();
    daemon.wait_for_jobs(1);
    sandbox.finish([daemon]);
}

#[test]
fn an_option_that_is_refused_costs_the_host_nothing() {
    let sandbox = with_source();
    let daemon = sandbox.daemon().start();
    // Its own scanner knows better than to send this; 3.4's client sends it.
    let ours = sandbox.distcc(["gcc", "-fplugin=none.so", "-c", "a.c"]).hosts(&daemon.host()).run();
    assert_eq!(ours.code(), 1, "{ours}");
    let debian = sandbox.debian_distcc(["gcc", "-fplugin=none.so", "-c", "a.c"]).hosts(&daemon.host()).run();
    assert_eq!(debian.code(), 1, "{debian}");
    assert_eq!(daemon.compilations(), 0);
    sandbox.distcc(["gcc", "-c", "a.c"]).hosts(&daemon.host()).run().assert_quiet_success();
    sandbox.finish([daemon]);
}

/// What our daemon refuses, 3.4's client takes for a failed compilation: it compiles locally, with the right
/// result.
#[test]
fn clients_of_3_4_survive_a_refusal() {
    let sandbox = with_source();
    let denying = sandbox.daemon().args(["--allow", "10.0.0.1"]).start();
    let daemon = sandbox.daemon().start();
    let path = format!("{}:/usr/bin:/bin", sandbox.path("client-bin").display());
    for (host, compiler) in
        [(denying.host(), "gcc"), (daemon.host(), "fakecc"), (daemon.host() + ",lzo", "fakecc")]
    {
        let _ = std::fs::remove_file(sandbox.work("a.o"));
        let run = sandbox.debian_distcc([compiler, "-c", "a.c"]).hosts(&host).env("PATH", &path).run();
        assert_eq!(run.code(), 0, "{run}");
        assert!(!sandbox.read("a.o").is_empty());
    }
    // A user who asks to see the server's words sees the remedy.
    let run = sandbox
        .debian_distcc(["fakecc", "-c", "a.c"])
        .hosts(&daemon.host())
        .env("PATH", &path)
        .env("DISTCC_FALLBACK", "0")
        .env("DISTCC_BACKOFF_PERIOD", "0")
        .run();
    assert_eq!(run.code(), 110, "{run}");
    assert!(run.err().contains("ln -s"), "{run}");
    sandbox.finish([denying, daemon]);
}

#[test]
fn a_host_that_admits_us_not_is_passed_over() {
    for debian in [false, true] {
        let sandbox = with_source();
        let denying = if debian { sandbox.debian_daemon() } else { sandbox.daemon() };
        let denying = denying.args(["--allow", "10.0.0.1"]).start();
        let daemon = sandbox.daemon().start();
        let hosts = format!("{} {}", denying.host(), daemon.host());
        let run = sandbox.distcc(["gcc", "-c", "a.c"]).hosts(&hosts).run();
        assert_eq!(run.code(), 0, "{run}");
        assert_eq!(run.err().lines().count(), 1, "{run}");
        assert!(run.err().contains("--allow") && run.err().contains(&denying.host()), "{run}");
        daemon.wait_for_jobs(1);
        assert_eq!(sandbox.backoffs(), [denying.backoff_file()]);
        sandbox.finish([denying, daemon]);
    }
}

/// The daemon of 3.4 answers with exit code 110; both must lead to the next host.
#[test]
fn a_host_without_the_compiler_is_passed_over() {
    let sandbox = with_source();
    sandbox.allow_compiler("fakecc");
    let without = sandbox.daemon().start();
    let with = sandbox.daemon_with_compiler("exec gcc \"$@\"\n").start();
    let debian = sandbox.debian_daemon().args(["--enable-tcp-insecure"]).start();
    for lacking in [&without, &debian] {
        let before = with.jobs_done();
        let hosts = format!("{} {}", lacking.host(), with.host());
        let run = sandbox.fakecc("-c a.c").hosts(&hosts).run();
        assert_eq!(run.code(), 0, "{run}");
        assert_eq!(run.err().lines().count(), 1, "{run}");
        assert!(run.err().contains("fakecc"), "{run}");
        with.wait_for_jobs(before + 1);
        assert!(!sandbox.backoffs().contains(&with.backoff_file()));
    }
    sandbox.finish([without, with, debian]);
}

/// `,cpp` in our host list, and no include server is to be had: the job is sent preprocessed.
#[test]
fn a_pump_host_gets_plain_jobs() {
    let sandbox = with_source();
    let daemon = sandbox.daemon().start();
    let host = format!("{},lzo,cpp", daemon.host());
    let run = sandbox.distcc(["gcc", "-c", "a.c"]).hosts(&host).run();
    assert_eq!(run.code(), 0, "{run}");
    daemon.wait_for_jobs(1);
    sandbox.finish([daemon]);
}

#[test]
fn a_temporary_directory_that_cannot_be_written_means_local() {
    let sandbox = with_source();
    let daemon = sandbox.daemon().start();
    let run = sandbox
        .distcc(["gcc", "-pipe", "-c", "a.c"])
        .hosts(&daemon.host())
        .env("TMPDIR", "/no/such/place")
        .run();
    assert_eq!(run.code(), 0, "{run}");
    assert!(run.err().contains("TMPDIR") && run.err().contains("/no/such/place"), "{run}");
    assert_eq!(sandbox.backoffs(), [""; 0]);
    sandbox.finish([daemon]);
}
