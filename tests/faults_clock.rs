//! Clocks that step, and files whose times lie far away: time limits are measured with a clock that nobody sets, and a
//! file's age counts by its distance.

mod support;

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use support::faults::Sample;
use support::include_server::IncludeServer;
use support::{Pump, Sandbox};

/// The beginning of Unix time, a month ago, the end of 32-bit time, and a century ahead.
fn far_away() -> Vec<SystemTime> {
    let day = Duration::from_secs(24 * 3600);
    let begin = SystemTime::UNIX_EPOCH;
    vec![
        begin,
        begin + day,
        SystemTime::now() - day * 30,
        begin + Duration::from_secs(1 << 31),
        SystemTime::now() + day * 36500,
    ]
}

fn set_time(path: &Path, time: SystemTime) {
    // Directories, too: a descriptor for reading suffices.
    File::open(path)
        .unwrap()
        .set_modified(time)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Everything below a directory gets this time.
fn set_times(directory: &Path, time: SystemTime) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            set_times(&entry.path(), time);
        } else if entry.file_type().unwrap().is_file() {
            set_time(&entry.path(), time);
        }
    }
    set_time(directory, time);
}

/// Failures of hosts, texts that were said, places that were taken: all in files of a wrong time.
#[test]
fn files_of_the_lock_directory_from_another_time() {
    let sandbox = Sandbox::new();
    let sample = sandbox.sample("a.c", "int a;\n");
    let daemon = sandbox.daemon().start();
    let backoff = sandbox.path("distcc/lock").join(daemon.backoff_file());
    fs::create_dir_all(sandbox.path("distcc/lock")).unwrap();
    let mut jobs = 0;
    for time in far_away() {
        fs::write(&backoff, "x").unwrap();
        set_times(&sandbox.path("distcc"), time);
        let run =
            sandbox.job(&sample, "a.o", &format!("{}/1", daemon.host())).env("DISTCC_FALLBACK", "0").run();
        sandbox.assert_made(&run, &sample, "a.o");
        jobs += 1;
        daemon.wait_for_jobs(jobs);
    }
    // A failure of this minute counts, also if the clock was set back a little since.
    for time in [SystemTime::now(), SystemTime::now() + Duration::from_secs(20)] {
        fs::write(&backoff, "x").unwrap();
        set_time(&backoff, time);
        let run = sandbox.job(&sample, "a.o", &daemon.host()).run();
        sandbox.assert_made(&run, &sample, "a.o");
        assert_eq!(daemon.jobs_done(), jobs, "{run}");
    }
    sandbox.finish([daemon]);
}

fn write_headers(sandbox: &Sandbox, value: u32) {
    sandbox.write("m.c", "#include \"a.h\"\nint value = VALUE;\n");
    sandbox.write(
        "a.h",
        format!("#include <stddef.h>\n#include \"include/b.h\"\n#define VALUE ({value} + B)\n"),
    );
    sandbox.write("include/b.h", format!("#define B {value}\n"));
}

/// The object of m.c as it is now.
fn local(sandbox: &Sandbox) -> Sample {
    let run = sandbox.command("gcc").args(["-c", "m.c", "-o", "local.o"]).run();
    assert_eq!(run.code(), 0, "{run}");
    let object = sandbox.read("local.o");
    fs::remove_file(sandbox.work("local.o")).unwrap();
    Sample { source: "m.c".into(), object }
}

/// Headers that change and keep their time and their length, as after `touch -r`, `tar` and a clock that was set back.
#[test]
fn headers_from_another_time() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().start();
    let host = format!("{},lzo,cpp", daemon.host());
    let pump = Pump::start(&sandbox, &host);
    for (number, time) in far_away().into_iter().enumerate() {
        for value in [10, 20, 30] {
            write_headers(&sandbox, 100 * number as u32 + value);
            set_times(&sandbox.work(""), time);
            let sample = local(&sandbox);
            let job = sandbox.job(&sample, "m.o", &host).env("DISTCC_FALLBACK", "0");
            let run = pump.around(job).run();
            sandbox.assert_made(&run, &sample, "m.o");
            assert_eq!(run.err(), "", "{run}");
        }
    }
    pump.stop(&sandbox);
    sandbox.finish([daemon]);
}

/// An include server that wakes up in another year: a clock that steps while it runs is a file system that has.
#[test]
fn an_include_server_among_files_whose_times_step() {
    let sandbox = Sandbox::new();
    write_headers(&sandbox, 1);
    let directory = fs::canonicalize(sandbox.work("")).unwrap();
    let server = IncludeServer::start(&sandbox, &[]);
    for (number, time) in far_away().into_iter().chain(far_away().into_iter().rev()).enumerate() {
        write_headers(&sandbox, number as u32);
        set_times(&directory, time);
        let files = server.ask(&directory, &["gcc", "-c", "m.c"]).unwrap();
        let content = |name: &str| {
            let found =
                files.iter().find(|(path, _)| path.ends_with(name)).unwrap_or_else(|| panic!("{files:?}"));
            format!("{:?}", found.1)
        };
        let expected = format!("{:?}", support::include_server::Entry::File(sandbox.read("include/b.h")));
        assert_eq!(content("/include/b.h"), expected, "{number}");
    }
    server.stop();
    sandbox.assert_clean();
}

/// Neither TMPDIR nor the list of allowed compilers has an age that matters.
#[test]
fn directories_of_the_daemon_from_another_time() {
    let sandbox = Sandbox::new();
    let sample = sandbox.sample("a.c", "int a;\n");
    let daemon = sandbox.daemon().start();
    for time in far_away() {
        set_time(daemon.temporary(), time);
        set_times(&sandbox.path("lib"), time);
        let run = sandbox.job(&sample, "a.o", &daemon.host()).env("DISTCC_FALLBACK", "0").run();
        sandbox.assert_made(&run, &sample, "a.o");
    }
    sandbox.finish([daemon]);
}

/// Where the clock of the day is read at all, a test or the comment there says why it does no harm.
#[test]
fn the_clock_of_the_day_is_read_where_files_have_times_and_nowhere_else() {
    // The age of files that other programs write, too; what a file system says of a file's last change; how long an answer
    // of a name server is good; and what people are shown.
    const READERS: &[&str] = &[
        "client/explain.rs",
        "client/job.rs",
        "client/stamp.rs",
        "daemon/statistics/ledger.rs",
        "doctor/hosts.rs",
        "doctor/trial.rs",
        "hosts/service.rs",
        "include_scan/closure.rs",
        "include_scan/file_cache.rs",
        "monitor/state_file.rs",
        "monitor/states.rs",
        "monitor/watch.rs",
        "trace/recorder.rs",
    ];
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found: Vec<String> = Vec::new();
    for (path, content) in support::tree_of(&source).0 {
        let text = String::from_utf8_lossy(&content).into_owned();
        let code = text.split("#[cfg(test)]").next().unwrap();
        if code.contains("SystemTime::now()")
            || code.contains("CLOCK_REALTIME")
            || code.contains("libc::time(")
        {
            found.push(path.display().to_string());
        }
    }
    assert_eq!(found, READERS);
}
