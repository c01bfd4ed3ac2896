//! The client in pump mode: what it asks, what it sends, what it makes of answers; and every way in which it comes to
//! preprocess here instead.

#[path = "support/pump.rs"]
mod pump;
mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;

use pump::{FakeIncludeServer, FakeServer, Language, Received, Says, reply};
use support::include_server::let_the_clock_tick;
use support::{Daemon, Outcome, Run, Sandbox, free_port};

/// A source with a header, a warning, and bytes that are no UTF-8.
fn with_sources() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write(
        "a.c",
        b"#include <stddef.h>\n#include \"inc/b.h\"\nconst char *s = \"\xe4\xff\x80\";\n\
          int f(int unused) { return B + (int)sizeof(size_t); }\n",
    );
    sandbox.write("inc/b.h", "#define B 42\n");
    sandbox.write("wrong.c", "int f(void) { return undeclared; }\n");
    sandbox
}

fn pump_host(daemon: &Daemon) -> String {
    format!("{},lzo,cpp", daemon.host())
}

fn gcc(sandbox: &Sandbox, words: &str) -> Run {
    sandbox.distcc(std::iter::once("gcc").chain(words.split(' ')))
}

fn asking(run: Run, server: &FakeIncludeServer) -> Run {
    run.env("INCLUDE_SERVER_PORT", &server.socket)
}

fn local(sandbox: &Sandbox, words: &str) -> Outcome {
    sandbox.command("gcc").args(words.split(' ')).run()
}

#[test]
fn a_server_of_3_4_preprocesses_what_each_kind_of_include_server_names() {
    let sandbox = with_sources();
    let daemon = sandbox.debian_daemon().start();
    let command = "-Wall -Wextra -MMD -c a.c -o a.o";
    let here = local(&sandbox, command);
    let (object, dependencies) = (sandbox.read("a.o"), sandbox.read("a.d"));
    let stub: Vec<String> = pump::mirror(&sandbox.work(""), &Says::AllFiles, &sandbox.path("mirror-stub"))
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    for language in [Some(Language::Direct), Some(Language::Old), None] {
        fs::remove_file(sandbox.work("a.o")).unwrap();
        fs::remove_file(sandbox.work("a.d")).unwrap();
        let server = language.map(|language| FakeIncludeServer::start(&sandbox, language, Says::AllFiles));
        let run = gcc(&sandbox, command).hosts(&pump_host(&daemon));
        let run = match &server {
            Some(server) => asking(run, server),
            None => run.env("INCLUDE_SERVER_STUB", stub.join(" ")),
        };
        let run = run.env("DISTCC_FALLBACK", "0").run();
        assert_eq!((run.code(), run.err()), (0, here.err()), "{language:?}: {run}");
        assert!(sandbox.read("a.o") == object, "{language:?}: another object");
        let made = sandbox.read("a.d");
        assert_eq!(normal(&made), normal(&dependencies), "{language:?}");
        if let Some(server) = server {
            let old = *server.old_questions.lock().unwrap();
            let direct = server.questions.lock().unwrap().len();
            assert_eq!((direct, old), if language == Some(Language::Direct) { (1, 0) } else { (0, 1) });
        }
    }
    sandbox.finish([daemon]);
}

/// A dependency file without its line breaks, which 3.4's server makes at its own paths' lengths.
fn normal(dependencies: &[u8]) -> String {
    let text = String::from_utf8_lossy(dependencies).replace("\\\n", " ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_question_names_directory_compiler_and_every_include_directory() {
    let sandbox = with_sources();
    let server = FakeIncludeServer::start(&sandbox, Language::Direct, Says::AllFiles);
    let target = FakeServer::start(|request| reply(request.version, 0, "", "object", Some("")));
    let link = sandbox.path("link");
    symlink(sandbox.work(""), &link).unwrap();
    sandbox.write("more/x.h", "");
    let work = fs::canonicalize(sandbox.work("")).unwrap();
    let cases = [
        (link.as_path(), link.as_path()),
        (work.as_path(), work.as_path()),
        (std::path::Path::new("/usr"), &work),
        (std::path::Path::new("relative"), &work),
    ];
    for (pwd, want) in cases {
        let run = gcc(&sandbox, "-std=c11 -c a.c")
            .hosts(&target.host())
            .env("PWD", pwd)
            .env("CPATH", "more:/no/such:")
            .env("C_INCLUDE_PATH", "inc")
            .env("CPLUS_INCLUDE_PATH", "more");
        asking(run, &server).run().assert_quiet_success();
        let question = server.questions.lock().unwrap().pop().unwrap();
        assert_eq!(String::from_utf8_lossy(&question.directory), want.to_string_lossy());
        assert!(question.compiler.ends_with(b"gcc") && question.compiler.starts_with(b"/"));
        assert!(!question.search_path.is_empty());
        let argv: Vec<_> = question.argv.iter().map(|word| String::from_utf8_lossy(word)).collect();
        let words = argv[1..].join(" ");
        assert_eq!(words, "-std=c11 -c a.c -o a.o -I more -I . -isystem inc");
        let request = target.received.lock().unwrap().pop().unwrap();
        assert_eq!(request.argv, argv);
        assert_eq!(request.directory, work.as_os_str().as_encoded_bytes());
        assert_eq!(sandbox.read("a.o"), b"object");
    }
    sandbox.finish([]);
}

#[test]
fn a_server_of_ours_is_told_the_surroundings() {
    let sandbox = with_sources();
    let server = FakeIncludeServer::start(&sandbox, Language::Direct, Says::AllFiles);
    let target = FakeServer::start(|request| reply(request.version, 0, "", "object", Some("x: y\n")));
    let send = |words: &str| -> Received {
        let run = gcc(&sandbox, words).hosts(&target.host()).env("TZ", "UTC").env("SOURCE_DATE_EPOCH", "5");
        asking(run, &server).env("PWD", sandbox.work("..")).run().assert_quiet_success();
        target.received.lock().unwrap().pop().unwrap()
    };
    let request = send("-c a.c");
    assert_eq!(request.version, 3);
    let environment = request.entries[0].clone();
    assert_eq!(environment.0, "/.distcc/environment");
    // Not PWD, which is not true.
    assert_eq!(String::from_utf8_lossy(&environment.1), "LC_ALL=C\0SOURCE_DATE_EPOCH=5\0TZ=UTC\0");
    assert!(request.entry("/.distcc/command").is_none(), "the command is as it was");
    let source = fs::canonicalize(sandbox.work("a.c")).unwrap();
    assert_eq!(request.entry(source.to_str().unwrap()), Some(sandbox.read("a.c").as_slice()));
    assert_eq!(request.entry("/usr/include ->"), Some(format!("{}usr/include", "../".repeat(22)).as_bytes()));
    // What is respelled for servers of 3.4 travels as it was, too.
    let request = send("-flto -MD -c a.c");
    assert!(request.argv.contains(&"--lto".into()), "{:?}", request.argv);
    let command = String::from_utf8_lossy(request.entry("/.distcc/command").unwrap()).into_owned();
    let words: Vec<&str> = command.split('\0').collect();
    assert_eq!(words[1..], ["-flto", "-MD", "-c", "a.c", "-o", "a.o", ""]);
    assert_eq!(sandbox.read("a.d"), b"x: y\n");
    sandbox.finish([]);
}

#[test]
fn servers_are_told_what_the_terminal_is() {
    let sandbox = with_sources();
    let server = FakeIncludeServer::start(&sandbox, Language::Direct, Says::AllFiles);
    let target = FakeServer::start(|request| reply(request.version, 0, "", "object", None));
    let distcc = sandbox.path("bin/distcc").display().to_string();
    let send = |command: &str, columns: Option<&str>| -> (String, String) {
        let script = format!("stty cols 61; {command}");
        let run =
            sandbox.command("/usr/bin/script").args(["-qec", &script, "/dev/null"]).hosts(&target.host());
        let run = columns.into_iter().fold(run, |run, columns| run.env("COLUMNS", columns));
        let run = run.env("TERM", "dumb").env("DISTCC_NO_REWRITE_CROSS", "1");
        assert_eq!(asking(run, &server).run().code(), 0, "{command}");
        let request = target.received.lock().unwrap().pop().unwrap();
        let variables = String::from_utf8_lossy(request.entry("/.distcc/environment").unwrap()).into_owned();
        (request.argv[1..].join(" "), variables.split('\0').filter(|text| text.starts_with("COL")).collect())
    };
    let plain = |command: &str, columns| send(&format!("{distcc} {command}"), columns);
    assert_eq!(plain("clang -c a.c", None).0, "-c a.c -o a.o");
    assert!(plain("clang -c a.c -fmessage-length=7", Some("99")).0.contains("-fmessage-length=7 -o"));
    assert!(plain("clang -c a.c", Some("99")).0.contains("-fmessage-length=99"));
    assert_eq!(plain("gcc -c a.c", None), ("-c a.c -o a.o".into(), "".into()));
    assert_eq!(plain("gcc -c a.c", Some("99")).1, "COLUMNS=99");
    // Each compiler has a variable of its own against colours.
    let is_coloured = |variables: &str, command: &str| {
        send(&format!("{variables} {distcc} {command} -c a.c"), None).0.contains("-fdiagnostics-color=always")
    };
    for (variables, gcc, clang) in [
        ("TERM=dumb", false, false),
        ("TERM=xterm", true, true),
        ("TERM=xterm NO_COLOR=", true, false),
        ("TERM=xterm GCC_COLORS=", false, true),
    ] {
        let found = (is_coloured(variables, "gcc"), is_coloured(variables, "clang"));
        assert_eq!(found, (gcc, clang), "{variables}");
    }
    sandbox.finish([]);
}

#[test]
fn a_refusal_that_comes_before_all_is_sent_is_heard() {
    let sandbox = with_sources();
    let server = FakeIncludeServer::start(&sandbox, Language::Direct, Says::AllFiles);
    let noise: Vec<u8> =
        (0..4_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    sandbox.write("noise.bin", noise);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("127.0.0.1:{},lzo,cpp", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(&reply(3, 113 << 8, "you are not on the list\n", "", None));
            // Closes with most of the request unread.
        }
    });
    let run = asking(gcc(&sandbox, "-c a.c").hosts(&host), &server).env("DISTCC_FALLBACK", "0").run();
    assert!(run.code() == 113 && run.err().contains("not on the list"), "{run}");
    sandbox.finish([]);
}

#[test]
fn results_appear_only_when_the_reply_is_complete() {
    let sandbox = with_sources();
    let server = FakeIncludeServer::start(&sandbox, Language::Direct, Says::AllFiles);
    let whole = reply(3, 0, "", "object", Some("x: y\n"));
    for cut in [whole.len() - 1, whole.len() - 20] {
        let part = whole[..cut].to_vec();
        let target = FakeServer::start(move |_| part.clone());
        let run = gcc(&sandbox, "-MD -c a.c").hosts(&target.host()).env("DISTCC_FALLBACK", "0");
        let run = asking(run, &server).run();
        assert_eq!(run.code(), 108, "{run}");
        assert!(!sandbox.work("a.o").exists() && !sandbox.work("a.d").exists(), "cut to {cut}");
        fs::remove_dir_all(sandbox.path("distcc")).unwrap();
        fs::create_dir(sandbox.path("distcc")).unwrap();
    }
    sandbox.finish([]);
}

#[test]
fn a_missing_dependency_file_matters_only_if_it_is_wanted() {
    let sandbox = with_sources();
    let server = FakeIncludeServer::start(&sandbox, Language::Direct, Says::AllFiles);
    let target = FakeServer::start(|request| reply(request.version, 0, "", "object", None));
    let run = |words: &str| asking(gcc(&sandbox, words).hosts(&target.host()), &server).run();
    run("-c a.c").assert_quiet_success();
    assert_eq!(target.versions(), [3]);
    // Preprocessed here the job has one.
    run("-MMD -c a.c").assert_quiet_success();
    assert_eq!(target.versions(), [3, 3, 2]);
    assert_eq!(normal(&sandbox.read("a.d")), "a.o: a.c inc/b.h");
    // One that is not wanted is left alone.
    let target = FakeServer::start(|request| reply(request.version, 0, "", "object", Some("unwanted")));
    fs::remove_file(sandbox.work("a.d")).unwrap();
    asking(gcc(&sandbox, "-c a.c").hosts(&target.host()), &server).run().assert_quiet_success();
    assert!(!sandbox.work("a.d").exists());
    sandbox.finish([]);
}

#[test]
fn a_host_with_other_system_headers_gets_preprocessed_text_for_a_while() {
    let sandbox = with_sources();
    let server = FakeIncludeServer::start(&sandbox, Language::Direct, Says::AllFiles);
    let target = FakeServer::start(|request| match request.version {
        3 => reply(3, 100 << 8, "system headers differ: stddef.h\n", "", None),
        version => reply(version, 0, "", "object", None),
    });
    let run = asking(gcc(&sandbox, "-c a.c").hosts(&target.host()), &server).run();
    assert_eq!(run.code(), 0, "{run}");
    assert_eq!(run.err_lines_with("stddef.h"), 1, "{run}");
    assert_eq!(run.err().lines().count(), 1, "{run}");
    assert_eq!(sandbox.read("a.o"), b"object");
    asking(gcc(&sandbox, "-c a.c").hosts(&target.host()), &server).run().assert_quiet_success();
    assert_eq!(target.versions(), [3, 2, 2]);
    assert_eq!(sandbox.backoffs(), [""; 0]);
    sandbox.finish([]);
}

#[test]
fn another_refusal_concerns_one_job_only() {
    let sandbox = with_sources();
    let server = FakeIncludeServer::start(&sandbox, Language::Direct, Says::AllFiles);
    let target = FakeServer::start(|request| match request.version {
        3 => reply(3, 100 << 8, "this job is odd\n", "", None),
        version => reply(version, 0, "", "object", None),
    });
    for _ in 0..2 {
        asking(gcc(&sandbox, "-c a.c").hosts(&target.host()), &server).run().assert_quiet_success();
    }
    assert_eq!(target.versions(), [3, 2, 3, 2]);
    sandbox.finish([]);
}

#[test]
fn after_a_pump_host_that_fails_the_next_one_is_tried() {
    let sandbox = with_sources();
    let server = FakeIncludeServer::start(&sandbox, Language::Direct, Says::AllFiles);
    let silent = FakeServer::start(|_| Vec::new());
    let daemon = sandbox.debian_daemon().start();
    let dead = format!("127.0.0.1:{},lzo,cpp", free_port());
    let hosts = format!("{dead} {} {}", silent.host(), pump_host(&daemon));
    let log = sandbox.path("log");
    let run = gcc(&sandbox, "-MD -c a.c").hosts(&hosts).env("DISTCC_LOG", &log);
    let run = asking(run, &server).env("DISTCC_FALLBACK", "0").run();
    assert_eq!(run.code(), 0, "{run}");
    assert_eq!(silent.versions(), [3]);
    assert_eq!(sandbox.backoffs().len(), 2);
    // The include server was asked once for all three, and each was sent the command of pump mode.
    assert_eq!(server.questions.lock().unwrap().len(), 1);
    let log = fs::read_to_string(&log).unwrap();
    assert_eq!(log.matches("-MT").count(), 2, "sent to the two that take connections: {log}");
    // A plain host behind a dead pump host gets text.
    let plain = sandbox.daemon().start();
    let hosts = format!("127.0.0.1:{},lzo,cpp {},lzo", free_port(), plain.host());
    let run = asking(gcc(&sandbox, "-c a.c").hosts(&hosts), &server).run();
    assert_eq!(run.code(), 0, "{run}");
    plain.wait_for_jobs(1);
    sandbox.finish([daemon, plain]);
}

/// How the include server is, and what one job's standard error then has to say, if anything.
#[test]
fn without_an_answer_jobs_are_preprocessed_here() {
    let sandbox = with_sources();
    let target = FakeServer::start(|request| reply(request.version, 0, "", "object", None));
    let cases = [
        (Language::Direct, Says::Refuses("a.c is odd"), None),
        (Language::Old, Says::Refuses(""), None),
        (Language::Direct, Says::HangsUp, Some("hung up")),
        (Language::Old, Says::HangsUp, Some("hung up")),
        (Language::Direct, Says::Lies, Some("beyond the include server's store")),
    ];
    for (language, says, want) in cases {
        let server = FakeIncludeServer::start(&sandbox, language, says.clone());
        let run = asking(gcc(&sandbox, "-c a.c").hosts(&target.host()), &server).run();
        assert_eq!(run.code(), 0, "{run}");
        match want {
            Some(text) => {
                assert!(run.err().lines().count() == 1 && run.err().contains(text), "{says:?}: {run}")
            }
            None => run.assert_quiet_success(),
        }
        // For tests of include servers that is a failure.
        let run = gcc(&sandbox, "-c a.c").hosts(&target.host()).env("DISTCC_TESTING_INCLUDE_SERVER", "1");
        let run = asking(run, &server).run();
        assert_eq!(run.code(), 100, "{says:?}: {run}");
    }
    let run =
        gcc(&sandbox, "-c a.c").hosts(&target.host()).env("INCLUDE_SERVER_PORT", "/no/such/socket").run();
    assert_eq!(run.code(), 0, "{run}");
    assert!(run.err().contains("/no/such/socket") && run.err().contains("DISTCC_PUMP"), "{run}");
    // DISTCC_PUMP=0 is a wish.
    gcc(&sandbox, "-c a.c").hosts(&target.host()).run().assert_quiet_success();
    assert!(target.versions().iter().all(|version| *version == 2), "{:?}", target.versions());
    sandbox.finish([]);
}

#[test]
fn some_jobs_are_preprocessed_here_whatever_the_hosts() {
    let sandbox = with_sources();
    let server = FakeIncludeServer::start(&sandbox, Language::Direct, Says::AllFiles);
    let target = FakeServer::start(|request| reply(request.version, 0, "", "object", Some("")));
    sandbox.write("pre.i", "int x;\n");
    let run = asking(gcc(&sandbox, "-c pre.i").hosts(&target.host()), &server).run();
    assert_eq!((run.code(), run.err_lines_with("ccache")), (0, 1), "{run}");
    let run = asking(gcc(&sandbox, "-c a.c").hosts(&target.host()), &server);
    run.env("DEPENDENCIES_OUTPUT", sandbox.work("deps")).run().assert_quiet_success();
    assert!(sandbox.work("deps").exists());
    let run = asking(gcc(&sandbox, "-c a.c").hosts(&target.host()), &server);
    run.env("CPATH", "=odd").run().assert_quiet_success();
    assert_eq!(target.versions(), [2, 2, 2]);
    assert_eq!(server.questions.lock().unwrap().len(), 0);
    sandbox.finish([]);
}

#[test]
fn a_source_that_is_wrong_is_reported_by_the_local_compiler() {
    let sandbox = with_sources();
    let server = FakeIncludeServer::start(&sandbox, Language::Direct, Says::AllFiles);
    let daemon = sandbox.debian_daemon().start();
    let here = local(&sandbox, "-c wrong.c");
    let run = || asking(gcc(&sandbox, "-c wrong.c").hosts(&pump_host(&daemon)), &server);
    let retried = run().run();
    assert_eq!((retried.code(), retried.err()), (1, here.err()), "{retried}");
    let log = sandbox.path("log");
    for (variable, value) in [("DISTCC_SKIP_LOCAL_RETRY", "1"), ("DISTCC_FALLBACK", "0")] {
        let last = run().env(variable, value).env("DISTCC_LOG", &log).run();
        assert_eq!(last.code(), 1, "{last}");
        assert!(last.err().contains("undeclared"), "{last}");
        assert!(!fs::read_to_string(&log).unwrap().contains("on localhost"), "compiled here");
    }
    assert_eq!(server.counter(), "");
    assert_eq!(sandbox.backoffs(), [""; 0]);
    sandbox.finish([daemon]);
}

#[test]
fn discrepancies_are_counted_and_end_pump_mode() {
    let sandbox = with_sources();
    // Its answers lack the header, so that the server's compiler fails where ours does not.
    let server = FakeIncludeServer::start(&sandbox, Language::Direct, Says::AllBut("b.h"));
    let daemon = sandbox.debian_daemon().start();
    let run = || asking(gcc(&sandbox, "-c a.c").hosts(&pump_host(&daemon)), &server);
    let asked = || server.questions.lock().unwrap().len();
    let bad = run().env("DISTCC_MAX_DISCREPANCY", "0").run();
    assert_eq!((bad.code(), asked()), (101, 0), "{bad}");
    let first = run().run();
    assert_eq!((first.code(), asked(), server.counter().as_str()), (0, 1, "@"), "{first}");
    assert!(first.err().contains("different result"), "{first}");
    assert_eq!(sandbox.backoffs(), [""; 0], "preprocessing is to blame, not the host");
    let demoted = run().run();
    assert_eq!((demoted.code(), asked()), (0, 1), "{demoted}");
    assert!(demoted.err().contains("DISTCC_MAX_DISCREPANCY"), "{demoted}");
    let patient = run().env("DISTCC_MAX_DISCREPANCY", "2").run();
    assert_eq!((patient.code(), asked(), server.counter().as_str()), (0, 2, "@@"), "{patient}");
    sandbox.finish([daemon]);
}

#[test]
fn discrepancies_are_mailed_to_whom_the_user_says() {
    let sandbox = with_sources();
    // What is older than the build is no excuse.
    let_the_clock_tick();
    let server = FakeIncludeServer::start(&sandbox, Language::Direct, Says::AllBut("b.h"));
    let daemon = sandbox.debian_daemon().start();
    let sent = sandbox.path("sent");
    let keep = format!("{{ echo \"$@\"; cat; }} > '{}'\n", sent.display());
    sandbox.script("with-sendmail/sendmail", &keep);
    sandbox.script("broken/sendmail", "exit 75\n");
    let run = |directory: &str| {
        let path = format!("{}:/usr/bin:/bin", sandbox.path(directory).display());
        let run = gcc(&sandbox, "-c a.c").hosts(&pump_host(&daemon)).env("PATH", path);
        asking(run, &server).env("DISTCC_MAX_DISCREPANCY", "9")
    };
    run("with-sendmail").run();
    assert!(!sent.exists(), "nobody asked for mail");
    let asked = || run("with-sendmail").env("DISTCC_ENABLE_DISCREPANCY_EMAIL", "1");
    assert_eq!(asked().run().code(), 0);
    let mail = fs::read_to_string(&sent).unwrap();
    assert!(mail.starts_with("-i -- distcc-pump-errors\n"), "{mail}");
    for text in
        ["gcc -c a.c", &daemon.host(), "b.h", "exit code on localhost: 0", "Subject: distcc-pump email"]
    {
        assert!(mail.contains(text), "{text}: {mail}");
    }
    asked().env("DISTCC_EMAILLOG_WHOM_TO_BLAME", "me@here").run();
    assert!(fs::read_to_string(&sent).unwrap().contains("To: me@here\n"));
    fs::remove_file(&sent).unwrap();
    sandbox.write("inc/b.h", "#define B 43\n");
    let after_a_change = || {
        gcc(&sandbox, "-MMD -c a.c")
            .hosts(&pump_host(&daemon))
            .env("PATH", format!("{}:/usr/bin:/bin", sandbox.path("with-sendmail").display()))
            .env("DISTCC_MAX_DISCREPANCY", "9")
            .env("DISTCC_ENABLE_DISCREPANCY_EMAIL", "1")
    };
    assert_eq!(asking(after_a_change(), &server).run().code(), 0);
    assert!(!sent.exists(), "a header that changed during the build explains it");
    asking(after_a_change(), &server).env("DISTCC_EXCLUDE_FRESH_FILES", "*/b.h").run();
    assert!(sent.exists(), "such headers change all the time");
    let broken = run("broken").env("DISTCC_ENABLE_DISCREPANCY_EMAIL", "1").run();
    assert_eq!((broken.code(), broken.err_lines_with("mail a discrepancy")), (0, 1), "{broken}");
    sandbox.finish([daemon]);
}

#[test]
fn scan_includes_lists_what_the_include_server_names() {
    let sandbox = with_sources();
    let work = fs::canonicalize(sandbox.work("")).unwrap();
    let expected = format!(
        "FILE      {0}/a.c\nFILE      {0}/inc/b.h\nFILE      {0}/wrong.c\nSYSTEMDIR /usr/include\nSYSTEMDIR /usr/lib/gcc\n",
        work.display()
    );
    for (language, forced) in [(Language::Direct, false), (Language::Old, true)] {
        let server = FakeIncludeServer::start(&sandbox, language, Says::AllFiles);
        let run = asking(sandbox.distcc(["--scan-includes", "gcc", "-c", "a.c"]), &server).run();
        let forced = if forced { format!("DIRECTORY {}\n", work.display()) } else { String::new() };
        assert_eq!((run.code(), run.out()), (0, format!("{expected}{forced}")), "{run}");
    }
    let server = FakeIncludeServer::start(&sandbox, Language::Direct, Says::Refuses("a.c is odd"));
    let run = asking(sandbox.distcc(["--scan-includes", "gcc", "-c", "a.c"]), &server).run();
    assert_eq!((run.code(), run.err_lines_with("a.c is odd")), (1, 1), "{run}");
    let run = asking(sandbox.distcc(["--scan-includes", "gcc", "a.c"]), &server).run();
    assert_eq!(run.code(), 100, "{run}");
    sandbox.finish([]);
}
