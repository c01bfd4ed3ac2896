//! pump: what it does around a build. Real include servers, and commands that look at what they were given.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{Outcome, Run, Sandbox, require, send_signal, wait_until};

/// A pump host; no job is sent in these tests.
const HOST: &str = "127.0.0.1:1,lzo,cpp";

fn pump<const N: usize>(sandbox: &Sandbox, words: [&str; N]) -> Run {
    sandbox.applet("pump").args(words).hosts(HOST)
}

/// A shell script around which pump runs.
fn around(sandbox: &Sandbox, script: &str) -> Run {
    pump(sandbox, ["sh", "-c", script])
}

/// Standard output, with the sandbox's directory called ROOT.
fn said(sandbox: &Sandbox, run: &Outcome) -> String {
    run.out().replace(&sandbox.path("").display().to_string(), "ROOT/")
}

/// The process of the include server at this socket, if there is one.
fn server_of(socket: &str) -> Option<u32> {
    fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let process = entry.file_name().to_str()?.parse().ok()?;
        let command = fs::read_to_string(entry.path().join("cmdline")).ok()?;
        let words: Vec<&str> = command.split('\0').collect();
        (words[0].ends_with("include_server") && words.contains(&socket)).then_some(process)
    })
}

/// The variables that `pump --startup` printed, as a shell reads them.
fn evaluated(sandbox: &Sandbox, startup: &Outcome, name: &str) -> String {
    let script = format!("eval \"$1\"; printf %s \"${name}\"");
    let shell = sandbox.command("/bin/sh").args(["-c", &script, "sh", &startup.out()]).run();
    assert_eq!(shell.code(), 0, "{shell}");
    shell.out()
}

/// `pump --shutdown` after a `pump --startup`.
fn shut_down(sandbox: &Sandbox, startup: &Outcome) -> Run {
    let run = pump(sandbox, ["--shutdown"]);
    let value = |name| evaluated(sandbox, startup, name);
    run.env("INCLUDE_SERVER_PID", value("INCLUDE_SERVER_PID"))
        .env("INCLUDE_SERVER_DIR", value("INCLUDE_SERVER_DIR"))
}

#[test]
fn a_command_runs_beside_an_include_server() {
    let sandbox = Sandbox::new();
    let script = "test -S \"$INCLUDE_SERVER_PORT\" && echo beside; \
        stat -c %a \"$(dirname \"$INCLUDE_SERVER_PORT\")\"; command -v distcc";
    let run = around(&sandbox, script).run();
    assert_eq!(run.code(), 0, "{run}");
    let expected = "__________Using distcc-pump from ROOT/bin\n\
        __________Using 1 distcc server in pump mode\n\
        beside\n700\nROOT/bin/distcc\n\
        __________Shutting down distcc-pump include server\n";
    assert_eq!(said(&sandbox, &run), expected, "{run}");
    assert_eq!(run.err(), "");
    sandbox.finish([]);
}

#[test]
fn the_lines_around_a_build_are_those_of_3_4() {
    let sandbox = Sandbox::new();
    let theirs = require("distcc-pump");
    for hosts in [HOST, "a,cpp,lzo b,cpp,lzo", "a,cpp,lzo b", "a b,lzo,cpp c,lzo,cpp", "localhost", "a"] {
        let run = |program: &Path| {
            let words = [
                "sh",
                "-c",
                "printf 12 >\"$(dirname \"$INCLUDE_SERVER_PORT\")/discrepancy_counter\"; exit 3",
            ];
            let run = sandbox.command(program).env("PATH", "/usr/bin:/bin").args(words).hosts(hosts).run();
            let name = program.parent().unwrap().display().to_string();
            let own_name =
                |text: String| text.replace(&program.display().to_string(), "pump").replace(&name, "BIN");
            (run.code(), own_name(run.out()), own_name(run.err()))
        };
        assert_eq!(run(&sandbox.path("bin/pump")), run(Path::new(&theirs)), "{hosts}");
    }
    sandbox.finish([]);
}

#[test]
fn the_exit_status_is_the_commands() {
    let sandbox = Sandbox::new();
    sandbox.script("work/unmarked", "exit 0\n");
    fs::write(sandbox.work("unmarked"), "exit 9\n").unwrap();
    fs::write(sandbox.work("plain"), "exit 9\n").unwrap();
    let cases: &[(&[&str], i32, &str)] = &[
        (&["true"], 0, ""),
        (&["sh", "-c", "exit 77"], 77, ""),
        (&["sh", "-c", "kill -KILL $$"], 137, ""),
        (&["./unmarked"], 9, ""),
        (&["no-such-command"], 127, "no-such-command: not found"),
        (&["./no-such-command"], 127, "./no-such-command: not found"),
        (&["./plain"], 126, "./plain: permission denied"),
        (&["--version"], 127, "--version: not found"),
        (&["--startup", "x"], 127, "--startup: not found"),
    ];
    for (words, status, error) in cases {
        let run = sandbox.applet("pump").args(*words).hosts(HOST).run();
        assert_eq!(run.code(), *status, "{run}");
        assert!(run.err().contains(error) && run.err().is_empty() == error.is_empty(), "{run}");
    }
    sandbox.finish([]);
}

#[test]
fn the_usage_is_the_answer_to_no_command() {
    let sandbox = Sandbox::new();
    for words in [&[][..], &["-h"], &["--help"], &["--help", "me"]] {
        let run = sandbox.applet("pump").args(words).env("DISTCC_MAX_DISCREPANCY", "0").run();
        assert_eq!((run.code(), run.err().as_str()), (0, ""), "{run}");
        assert!(run.out().starts_with("Usage:") && run.out().contains("pump COMMAND"), "{run}");
    }
}

#[test]
fn what_is_wrong_is_found_in_a_known_order() {
    let sandbox = Sandbox::new();
    let bad = |run: Run, text: &str| {
        let run = run.run();
        assert_eq!(run.code(), 1, "{run}");
        assert!(run.err().contains(text), "{text}: {run}");
        assert!(!run.out().contains("begun"), "{run}");
    };
    let wrong = || around(&sandbox, "echo begun").hosts("localhost").env("DISTCC_LOCATION", "/nonexistent");
    for value in ["0", "-1", "some"] {
        bad(wrong().env("DISTCC_MAX_DISCREPANCY", value), "Needs to be 1 or greater.");
    }
    bad(wrong(), "can't find distcc (looked in /nonexistent)");
    let found = || wrong().env_remove("DISTCC_LOCATION");
    bad(found(), "does not contain any hosts with ',cpp' option");
    bad(found().hosts("a,cpp"), "requires compression (',lzo')");
    bad(found().hosts(HOST).env("INCLUDE_SERVER_ARGS", "'open"), "INCLUDE_SERVER_ARGS: a quotation");
    bad(found().hosts(HOST).env("INCLUDE_SERVER_ARGS", "--no-such-option"), "Could not start distcc-pump");
    bad(found().hosts(HOST).env("TMPDIR", "/nonexistent"), "make a directory in /nonexistent");
    sandbox.finish([]);
}

#[test]
fn the_command_has_the_standard_streams_and_the_server_none_of_them() {
    let sandbox = Sandbox::new();
    let script =
        "cat; echo error >&2; echo \"$INCLUDE_SERVER_PORT\" >port; while ! [ -e go ]; do sleep 0.01; done";
    let (read, mut write) = std::io::pipe().unwrap();
    let run = around(&sandbox, script).with(|command| {
        command.stdin(read);
    });
    let running = run.start();
    std::io::Write::write_all(&mut write, b"input\n").unwrap();
    drop(write);
    wait_until("the port", || fs::read(sandbox.work("port")).is_ok_and(|port| port.ends_with(b"\n")));
    let port = String::from_utf8(sandbox.read("port")).unwrap();
    let server = server_of(port.trim()).expect("an include server");
    let open = |process: u32| -> Vec<PathBuf> {
        let entries = fs::read_dir(format!("/proc/{process}/fd")).unwrap().flatten();
        entries.filter_map(|entry| fs::read_link(entry.path()).ok()).collect()
    };
    for number in 0..3 {
        let own = fs::read_link(format!("/proc/{}/fd/{number}", running.id())).unwrap();
        assert!(!open(server).contains(&own), "{number} is {}: {:?}", own.display(), open(server));
    }
    sandbox.write("go", "");
    let run = running.finish();
    assert_eq!(run.err(), "error\n");
    assert!(run.out().contains("\ninput\n"), "{run}");
    sandbox.finish([]);
}

#[test]
fn clients_of_both_kinds_find_the_include_server() {
    let sandbox = Sandbox::new();
    sandbox.write("include/value.h", "#define VALUE 42\n");
    sandbox.write("a.c", "#include \"value.h\"\nint value(void) { return VALUE; }\n");
    let compile = ["gcc", "-Iinclude", "-c", "a.c", "-o", "a.o"];
    sandbox.command("gcc").args(&compile[1..]).run().assert_quiet_success();
    let local = sandbox.read("a.o");
    let daemon = sandbox.daemon().start();
    let log = sandbox.path("client.log");
    for client in [sandbox.path("bin/distcc"), PathBuf::from(require("distcc"))] {
        fs::remove_file(sandbox.work("a.o")).unwrap();
        let _ = fs::remove_file(&log);
        // With the variable for tests an include server that cannot be asked is an error.
        let run = sandbox
            .applet("pump")
            .args([client.as_os_str()])
            .args(compile)
            .hosts(&format!("{},lzo,cpp", daemon.host()))
            .env("DISTCC_TESTING_INCLUDE_SERVER", "1")
            .env("DISTCC_FALLBACK", "0")
            .env("DISTCC_LOG", &log)
            .env("DISTCC_VERBOSE", "1")
            .run();
        let log = fs::read_to_string(&log).unwrap_or_default();
        assert_eq!((run.code(), run.err().as_str()), (0, ""), "{run}\n{log}");
        assert!(!log.contains(" -E "), "preprocessed here: {log}");
        assert_eq!(sandbox.read("a.o"), local, "{}", client.display());
    }
    sandbox.finish([daemon]);
}

#[test]
fn startup_prints_variables_and_shutdown_ends_what_they_name() {
    let sandbox = Sandbox::new();
    let startup = pump(&sandbox, ["--startup"]).run();
    assert_eq!((startup.code(), startup.err().as_str()), (0, ""), "{startup}");
    let value = |name| evaluated(&sandbox, &startup, name);
    let directory = value("INCLUDE_SERVER_DIR");
    let expected = [
        format!("export INCLUDE_SERVER_PID='{}'", value("INCLUDE_SERVER_PID")),
        format!("export INCLUDE_SERVER_DIR='{directory}'"),
        format!("export INCLUDE_SERVER_PORT='{directory}/socket'"),
        format!("export DISTCC_HOSTS='{HOST}'"),
        format!("export PATH='{}:/usr/bin:/bin:/usr/sbin:/sbin'", sandbox.path("bin").display()),
    ];
    assert_eq!(startup.out().lines().collect::<Vec<_>>(), expected);
    assert!(directory.starts_with(&format!("{}/distcc-pump.", sandbox.path("tmp").display())), "{directory}");
    let server = server_of(&value("INCLUDE_SERVER_PORT")).unwrap();
    assert_eq!(server.to_string(), value("INCLUDE_SERVER_PID"));

    let shutdown = shut_down(&sandbox, &startup).run();
    assert_eq!(shutdown.code(), 0, "{shutdown}");
    assert_eq!(shutdown.out(), "__________Shutting down distcc-pump include server\n");
    assert_eq!(server_of(&value("INCLUDE_SERVER_PORT")), None);
    shut_down(&sandbox, &startup).run().assert_quiet_success();
    sandbox.finish([]);
}

#[test]
fn a_failed_startup_prints_nothing_to_evaluate() {
    let sandbox = Sandbox::new();
    for (name, value) in [("INCLUDE_SERVER_ARGS", "--no-such-option"), ("DISTCC_HOSTS", "localhost")] {
        let run = pump(&sandbox, ["--startup"]).env(name, value).run();
        assert_eq!((run.code(), run.out().as_str()), (1, ""), "{run}");
        assert!(!run.err().is_empty());
    }
    sandbox.finish([]);
}

#[test]
fn odd_values_survive_a_shell() {
    let sandbox = Sandbox::new();
    let odd = sandbox.path("tmp/it's a \"$HOME\" `dir`");
    fs::create_dir(&odd).unwrap();
    let path = format!("/usr/bin:/bin:{}", odd.display());
    let hosts = "host's,lzo,cpp\n  other # no more";
    let startup = pump(&sandbox, ["--startup"]).hosts(hosts).env("TMPDIR", &odd).env("PATH", &path).run();
    assert_eq!(startup.code(), 0, "{startup}");
    assert_eq!(evaluated(&sandbox, &startup, "DISTCC_HOSTS"), hosts);
    assert_eq!(evaluated(&sandbox, &startup, "PATH"), format!("{}:{path}", sandbox.path("bin").display()));
    let socket = evaluated(&sandbox, &startup, "INCLUDE_SERVER_PORT");
    assert!(Path::new(&socket).starts_with(&odd) && server_of(&socket).is_some(), "{socket}");
    assert_eq!(shut_down(&sandbox, &startup).run().code(), 0);
    fs::remove_dir(&odd).unwrap();
    sandbox.finish([]);
}

#[test]
fn a_long_tmpdir_does_not_make_the_socket_impossible() {
    let sandbox = Sandbox::new();
    let long = sandbox.path("tmp").join("d".repeat(100));
    fs::create_dir(&long).unwrap();
    let run = around(&sandbox, "test -S \"$INCLUDE_SERVER_PORT\"").env("TMPDIR", &long).run();
    assert_eq!(run.code(), 0, "{run}");
    fs::remove_dir(&long).unwrap();
    sandbox.finish([]);
}

#[test]
fn the_words_for_the_include_server_reach_it() {
    let sandbox = Sandbox::new();
    let script =
        "read -r pid <\"$(dirname \"$INCLUDE_SERVER_PORT\")/pid\" && tr '\\0' '\\n' <\"/proc/$pid/cmdline\"";
    let run =
        around(&sandbox, script).env("INCLUDE_SERVER_ARGS", "-s --stat_reset_triggers='a b':'*.h' ").run();
    assert_eq!(run.code(), 0, "{run}");
    assert!(run.out().contains("\n-s\n--stat_reset_triggers=a b:*.h\n"), "{run}");
    sandbox.finish([]);
}

#[test]
fn failures_on_servers_are_counted_at_the_end() {
    let sandbox = Sandbox::new();
    let script = "printf '\\1\\1' >\"$(dirname \"$INCLUDE_SERVER_PORT\")/discrepancy_counter\"";
    let pointer = "See the Distcc Discrepancy Symptoms section in the include_server(1) man page.\n";
    let counted = "__________Warning: 2 pump-mode compilation(s) failed on server, but succeeded locally.\n";
    let demoted = "__________Distcc-pump was demoted to plain mode.\n";
    for (limit, expected) in
        [("2", format!("{counted}{demoted}{pointer}")), ("3", format!("{counted}{pointer}"))]
    {
        let run = around(&sandbox, script).env("DISTCC_MAX_DISCREPANCY", limit).run();
        assert_eq!((run.code(), run.err()), (0, expected), "{run}");
    }
    sandbox.finish([]);
}

#[test]
fn what_the_server_said_is_shown_when_it_has_ended() {
    let sandbox = Sandbox::new();
    let script =
        "cd \"$(dirname \"$INCLUDE_SERVER_PORT\")\" && echo statistics >>stdout && echo trouble >>stderr";
    let run = around(&sandbox, script).run();
    assert!(run.out().ends_with("__________Shutting down distcc-pump include server\nstatistics\n"), "{run}");
    assert_eq!(run.err(), "trouble\n");
    sandbox.finish([]);
}

#[test]
fn a_server_that_ended_before_the_build_is_missed() {
    let sandbox = Sandbox::new();
    let script = "cd \"$(dirname \"$INCLUDE_SERVER_PORT\")\" && kill -9 \"$(cat pid)\" && \
                  while kill -0 \"$(cat pid)\" 2>/dev/null; do sleep 0.01; done";
    let run = around(&sandbox, script).run();
    assert_eq!(run.code(), 0, "{run}");
    assert!(
        run.err().starts_with("__________Warning: the include server had ended before the build"),
        "{run}"
    );
    assert!(!run.out().contains("Shutting down"), "{run}");
    sandbox.finish([]);
}

#[test]
fn an_empty_variable_hides_no_host_file() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("distcc/hosts"), "# ours\nred,lzo,cpp/2 # fast\nlocalhost/1 --localslots=3\n")
        .unwrap();
    let run = pump(&sandbox, ["distcc", "--show-hosts"]).hosts("").run();
    assert!(run.out().contains("\nred,lzo,cpp/2\nlocalhost/1\n"), "{run}");
    let startup = pump(&sandbox, ["--startup"]).hosts("").run();
    let hosts = evaluated(&sandbox, &startup, "DISTCC_HOSTS");
    assert_eq!(hosts, "--localslots=3 --localslots_cpp=8 red,lzo,cpp/2 localhost/1");
    assert_eq!(shut_down(&sandbox, &startup).run().code(), 0);
    sandbox.finish([]);
}

#[test]
fn without_the_variable_the_host_file_is_left_to_distcc() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("distcc/hosts"), "red,lzo,cpp\n").unwrap();
    let run = around(&sandbox, "echo \"${DISTCC_HOSTS-unset}\"").env_remove("DISTCC_HOSTS").run();
    assert!(run.out().contains("\nunset\n"), "{run}");
    let startup = pump(&sandbox, ["--startup"]).env_remove("DISTCC_HOSTS").run();
    assert!(!startup.out().contains("DISTCC_HOSTS"), "{startup}");
    assert_eq!(shut_down(&sandbox, &startup).run().code(), 0);
    sandbox.finish([]);
}

/// A directory of programs whose `lsdistcc` is the script `body`.
fn location_with_lister(sandbox: &Sandbox, body: &str) -> PathBuf {
    sandbox.script("location/lsdistcc", body);
    let location = sandbox.path("location");
    std::os::unix::fs::symlink(sandbox.path("bin/distcc"), location.join("distcc")).unwrap();
    location
}

#[test]
fn servers_that_lsdistcc_finds_become_the_hosts() {
    let sandbox = Sandbox::new();
    let location = location_with_lister(&sandbox, "echo \"$*\" >asked\nprintf 'red\\n  blue:3/4\\n'\n");
    let search = |script| {
        around(&sandbox, script)
            .hosts("other")
            .env("DISTCC_LOCATION", &location)
            .env("DISTCC_POTENTIAL_HOSTS", " red  blue:3 green")
            .env("LSDISTCC_ARGS", "-t2  -n")
    };
    let run = search("echo \"$DISTCC_HOSTS\"").run();
    let expected = "__________Using distcc-pump from ROOT/location\n\
        __________Found 2 available distcc servers\n\
        --randomize red,cpp,lzo blue:3/4,cpp,lzo\n\
        __________Shutting down distcc-pump include server\n";
    assert_eq!(said(&sandbox, &run), expected, "{run}");
    assert_eq!(sandbox.read("asked"), b"-c150 -t2 -n red blue:3 green\n");

    // Servers without an include server are still servers.
    let run = search("echo \"$DISTCC_HOSTS ${INCLUDE_SERVER_PORT-unset}\"")
        .env("INCLUDE_SERVER_ARGS", "--no-such-option")
        .env("INCLUDE_SERVER_PORT", "/of/another/pump")
        .run();
    assert_eq!(run.code(), 0, "{run}");
    assert!(run.out().ends_with("\n--randomize red,lzo blue:3/4,lzo unset\n"), "{run}");
    assert!(run.err().contains("__________Warning: distcc-pump include server failed; running unpumped\n"));
    sandbox.finish([]);
}

#[test]
fn no_server_is_found_where_lsdistcc_is_not() {
    let sandbox = Sandbox::new();
    let location = location_with_lister(&sandbox, "");
    fs::remove_file(location.join("lsdistcc")).unwrap();
    let run = around(&sandbox, "echo \"$DISTCC_HOSTS\"")
        .env("DISTCC_LOCATION", &location)
        .env("DISTCC_POTENTIAL_HOSTS", "red")
        .run();
    assert_eq!(run.code(), 0, "{run}");
    assert!(run.out().contains("Found 0 available distcc servers\n--randomize\n"), "{run}");
    assert!(run.err().contains("can't find lsdistcc (looked in "), "{run}");
    sandbox.finish([]);
}

#[test]
fn a_masquerade_stays_before_the_compilers() {
    let sandbox = Sandbox::new();
    let masquerade = sandbox.path("masquerade");
    let path = format!("{}:/usr/bin:/bin", masquerade.display());
    let run = around(&sandbox, "command -v gcc distcc").env("PATH", &path).run();
    assert!(said(&sandbox, &run).contains("\nROOT/masquerade/gcc\n"), "{run}");
    sandbox.finish([]);
}

#[test]
fn progress_is_quiet_while_the_include_server_is_tested() {
    let sandbox = Sandbox::new();
    let run = around(&sandbox, "echo build").env("DISTCC_TESTING_INCLUDE_SERVER", "1").run();
    assert_eq!(run.out(), "build\n");
    let run = around(&sandbox, "echo build").env("DISTCC_TESTING_INCLUDE_SERVER", "0").run();
    assert!(run.out().contains("__________Using"), "{run}");
    sandbox.finish([]);
}

/// A build that waits to be signalled, and says where its include server is.
const WAITING: &str = "echo \"$INCLUDE_SERVER_PORT\" >port; while :; do sleep 0.02; done";

fn port_of(sandbox: &Sandbox) -> String {
    let port = || fs::read_to_string(sandbox.work("port")).unwrap_or_default();
    wait_until("the port", || port().ends_with('\n'));
    port().trim().to_owned()
}

#[test]
fn a_signal_to_pump_reaches_the_command() {
    let sandbox = Sandbox::new();
    for (name, number) in [("TERM", 15), ("INT", 2), ("HUP", 1), ("QUIT", 3)] {
        let script = format!("trap 'exit {}' {name}; {WAITING}", 40 + number);
        let running = around(&sandbox, &script).start();
        port_of(&sandbox);
        running.signal(name);
        let run = running.finish();
        assert_eq!(run.code(), 40 + number, "{run}");
        assert!(run.out().ends_with("__________Shutting down distcc-pump include server\n"), "{run}");
        fs::remove_file(sandbox.work("port")).unwrap();
    }
    sandbox.finish([]);
}

#[test]
fn a_command_that_dies_of_its_signal_is_reported_as_a_shell_does() {
    let sandbox = Sandbox::new();
    let running = around(&sandbox, WAITING).start();
    port_of(&sandbox);
    running.signal("TERM");
    let run = running.finish();
    assert_eq!(run.status.code(), Some(143), "{run}");
    sandbox.finish([]);
}

#[test]
fn an_interrupt_for_the_whole_group_lets_the_command_finish_first() {
    let sandbox = Sandbox::new();
    let script = format!("trap 'sleep 0.3; echo cleaned; exit 5' INT; {WAITING}");
    let running = around(&sandbox, &script).start();
    port_of(&sandbox);
    send_signal("INT", -i64::from(running.id()));
    let run = running.finish();
    assert_eq!(run.code(), 5, "{run}");
    assert!(run.out().contains("cleaned\n__________Shutting down"), "{run}");
    sandbox.finish([]);
}

#[test]
fn killing_pump_ends_the_include_server() {
    let sandbox = Sandbox::new();
    let running = around(&sandbox, WAITING).start();
    let port = port_of(&sandbox);
    assert!(server_of(&port).is_some());
    running.signal("KILL");
    wait_until("the end of the include server", || server_of(&port).is_none());
    drop(running);
    // Nobody is left to remove it.
    fs::remove_dir_all(Path::new(&port).parent().unwrap()).unwrap();
    sandbox.finish([]);
}

#[test]
fn shutdown_touches_nothing_that_is_not_an_include_servers() {
    let sandbox = Sandbox::new();
    let mut other = sandbox.command("sleep").args(["60"]).start();
    sandbox.write("precious/file", "x");
    for directory in ["precious", "distcc-pump.precious"] {
        let run = pump(&sandbox, ["--shutdown"])
            .env("INCLUDE_SERVER_PID", other.id().to_string())
            .env("INCLUDE_SERVER_DIR", sandbox.work(directory))
            .run();
        assert_eq!((run.code(), run.out().as_str()), (0, ""), "{run}");
        let _ = fs::rename(sandbox.work("precious"), sandbox.work("distcc-pump.precious"));
    }
    assert!(other.is_running());
    assert_eq!(sandbox.read("distcc-pump.precious/file"), b"x");
    drop(other);
    pump(&sandbox, ["--shutdown"]).run().assert_quiet_success();
    sandbox.finish([]);
}
