//! Files that change while a build runs: every answer of the include server is true for the moment it is given.
//!
//! What a job must give is what a local compile gives at the same moment.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use support::{Daemon, Outcome, Pump, Run, Sandbox, Tap};

/// A build in pump mode.
struct Build {
    sandbox: Sandbox,
    daemon: Daemon,
    tap: Tap,
    pump: Pump,
}

impl Build {
    fn start() -> Build {
        let sandbox = Sandbox::new();
        let daemon = sandbox.daemon().start();
        let tap = Tap::before(daemon.port());
        let pump = Pump::start(&sandbox, &tap.pump_host());
        Build { sandbox, daemon, tap, pump }
    }

    fn write(&self, name: &str, content: &str) {
        self.sandbox.write(name, content);
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.sandbox.work(name)).unwrap();
    }

    fn distcc(&self, words: &str) -> Run {
        self.pump.around(self.sandbox.distcc(words.split(' ')).hosts(&self.tap.pump_host()))
    }

    /// Fails unless a command gives what it gives locally, by way of the server in pump mode if that succeeds.
    #[track_caller]
    fn assert_same(&self, words: &str) -> Outcome {
        let outputs = ["a.o", "a.d"];
        let run = |run: Run| {
            let outcome = run.run();
            let read = |name: &str| fs::read(self.sandbox.work(name)).ok();
            let results = outputs.map(read);
            for name in outputs {
                let _ = fs::remove_file(self.sandbox.work(name));
            }
            (outcome, results)
        };
        let (program, rest) = words.split_once(' ').unwrap();
        let (local, local_results) = run(self.sandbox.command(program).args(rest.split(' ')));
        let (remote, results) = run(self.distcc(words));
        assert_eq!(remote.code(), local.code(), "{remote}\nlocally: {local}");
        assert_eq!(remote.err(), local.err(), "{remote}\nlocally: {local}");
        assert!(results == local_results, "not the local result: {remote}");
        assert_eq!(self.tap.take_versions(), [3], "{remote}");
        local
    }

    fn finish(self) {
        self.pump.stop(&self.sandbox);
        self.sandbox.finish([self.daemon]);
    }
}

/// Includes `h.h` through two directories.
const SOURCE: &str = "#include <h.h>\nint value = VALUE;\n";
const COMMAND: &str = "gcc -g -MD -Ifirst -Isecond -c a.c";

/// One change after another, and what they are called in a failure.
#[test]
fn the_next_job_sees_every_change() {
    let build = Build::start();
    build.write("a.c", SOURCE);
    build.write("first/.keep", "");
    build.write("second/h.h", "#define VALUE 1\n");
    type Change = (&'static str, fn(&Build), i32);
    let changes: &[Change] = &[
        ("nothing", |_| {}, 0),
        ("edited", |build| build.write("second/h.h", "#define VALUE 2\n"), 0),
        ("edited, same size, at once", |build| build.write("second/h.h", "#define VALUE 3\n"), 0),
        (
            "edited, with its old time",
            |build| {
                let path = build.sandbox.work("second/h.h");
                let time = fs::metadata(&path).unwrap().modified().unwrap();
                fs::write(&path, "#define VALUE 4\n").unwrap();
                fs::File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
            },
            0,
        ),
        ("shadowed", |build| build.write("first/h.h", "#define VALUE 5\n"), 0),
        ("one more include", |build| build.write("first/h.h", "#include \"more.h\"\n"), 1),
        ("which appears", |build| build.write("second/more.h", "#define VALUE 6\n"), 0),
        ("nearer by", |build| build.write("first/more.h", "#define VALUE 7\n"), 0),
        ("deleted", |build| build.remove("first/more.h"), 0),
        ("the shadow deleted", |build| build.remove("first/h.h"), 0),
        ("deleted altogether", |build| build.remove("second/h.h"), 1),
        (
            "a link now",
            |build| {
                build.write("elsewhere/real.h", "#define VALUE 8\n");
                symlink("../elsewhere/real.h", build.sandbox.work("second/h.h")).unwrap();
            },
            0,
        ),
        (
            "the link leads elsewhere",
            |build| {
                build.write("elsewhere/other.h", "#include \"real.h\"\nint other = 9;\n");
                build.remove("second/h.h");
                symlink("../elsewhere/other.h", build.sandbox.work("second/h.h")).unwrap();
            },
            1,
        ),
        (
            "where its neighbour is",
            |build| symlink("../elsewhere/real.h", build.sandbox.work("second/real.h")).unwrap(),
            0,
        ),
        ("the link's target edited", |build| build.write("elsewhere/real.h", "#define VALUE 10\n"), 0),
        (
            "the directory is a link",
            |build| {
                fs::rename(build.sandbox.work("second"), build.sandbox.work("third")).unwrap();
                symlink("third", build.sandbox.work("second")).unwrap();
            },
            0,
        ),
        (
            "a file again",
            |build| {
                build.remove("third/h.h");
                build.write("third/h.h", "#define VALUE 11\n");
            },
            0,
        ),
        ("a directory of its name", |build| fs::create_dir(build.sandbox.work("first/h.h")).unwrap(), 0),
        ("the source edited", |build| build.write("a.c", "#include <h.h>\nint other = VALUE;\n"), 0),
        (
            "the directory replaced",
            |build| {
                build.remove("second");
                build.write("fourth/h.h", "#define VALUE 12\n");
                fs::rename(build.sandbox.work("fourth"), build.sandbox.work("second")).unwrap();
            },
            0,
        ),
    ];
    for (name, change, code) in changes {
        change(&build);
        let local = build.assert_same(COMMAND);
        assert_eq!(local.code(), *code, "{name}: {local}");
    }
    build.finish();
}

/// The number in the object's `int value`, which `VALUE` and `AGAIN` must agree on.
#[track_caller]
fn value(build: &Build, object: &str) -> u32 {
    let output = build.sandbox.path(format!("{object}.bin"));
    let words = ["-O", "binary", "-j", ".data", object].map(PathBuf::from);
    build.sandbox.command("objcopy").args(words).args([&output]).run().assert_quiet_success();
    let bytes = fs::read(output).unwrap();
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!(number(0), number(4), "half of a header");
    number(0)
}

/// A header that is replaced again and again while jobs run: each job has one state of it, no older than the job.
#[test]
fn a_header_that_changes_all_the_time_is_never_seen_old_or_in_part() {
    const JOBS: u32 = 40;
    let build = Build::start();
    build.write("a.c", "#include \"h.h\"\nint value = VALUE;\nint again = AGAIN;\n");
    let published = AtomicU32::new(0);
    let stop = AtomicBool::new(false);
    let publish = |number: u32| {
        // Of changing size, and often of the same.
        build.write("h.new", &format!("#define VALUE {number}\n#define AGAIN {number}\n"));
        fs::rename(build.sandbox.work("h.new"), build.sandbox.work("h.h")).unwrap();
        published.store(number, Ordering::SeqCst);
    };
    publish(1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 1;
            while !stop.load(Ordering::SeqCst) {
                number += 1;
                publish(number);
                std::thread::sleep(Duration::from_micros(u64::from(number % 7) * 300));
            }
        });
        for job in 0..JOBS {
            let object = format!("{job}.o");
            let before = published.load(Ordering::SeqCst);
            let run = build.distcc(&format!("gcc -c a.c -o {object}")).run();
            let after = published.load(Ordering::SeqCst) + 1;
            if run.code() != 0 {
                stop.store(true, Ordering::SeqCst);
            }
            run.assert_quiet_success();
            let value = value(&build, &object);
            if !(before..=after).contains(&value) {
                stop.store(true, Ordering::SeqCst);
            }
            assert!((before..=after).contains(&value), "{value} is not of {before}..={after}");
        }
        stop.store(true, Ordering::SeqCst);
    });
    let versions = build.tap.take_versions();
    assert_eq!(versions, vec![3; JOBS as usize], "not all in pump mode");
    build.finish();
}

/// Files beside the headers come and go, as in a parallel build, and nobody minds.
#[test]
fn a_busy_directory_disturbs_no_job() {
    let build = Build::start();
    build.write("a.c", SOURCE);
    build.write("first/.keep", "");
    build.write("second/h.h", "#define VALUE 1\n");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0;
            while !stop.load(Ordering::SeqCst) {
                number += 1;
                build.write(&format!("first/generated-{}.h", number % 50), "int g;\n");
                let _ =
                    fs::remove_file(build.sandbox.work(format!("first/generated-{}.h", (number + 25) % 50)));
            }
        });
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..10 {
                build.assert_same(COMMAND);
            }
        }));
        stop.store(true, Ordering::SeqCst);
        if let Err(failure) = outcome {
            std::panic::resume_unwind(failure);
        }
    });
    build.finish();
}

/// Looked for in vain first, generated then: what a build does that lists no dependencies.
#[test]
fn a_generated_header_is_found_as_soon_as_it_is_there() {
    let build = Build::start();
    build.write("a.c", "#if __has_include(\"made.h\")\n#include \"made.h\"\n#endif\nint a = sizeof(MADE);\n");
    for round in 0..3 {
        let before = build.assert_same("gcc -MD -c a.c");
        assert_eq!(before.code(), 1, "{before}");
        let generate = format!("echo '#define MADE \"{round}\"' > made.h");
        build.sandbox.command("sh").args(["-c", &generate]).run().assert_quiet_success();
        let after = build.assert_same("gcc -MD -c a.c");
        assert_eq!(after.code(), 0, "{after}");
        build.remove("made.h");
    }
    // Through a directory that was not there either.
    build.write("b.c", "#include \"deep/er/made.h\"\nint b = MADE;\n");
    assert_eq!(build.assert_same("gcc -c b.c -o a.o").code(), 1);
    build.write("deep/er/made.h", "#define MADE 1\n");
    assert_eq!(build.assert_same("gcc -c b.c -o a.o").code(), 0);
    build.finish();
}

/// A command in a directory that is gone ends as it does locally, and the include server goes on.
#[test]
fn a_vanished_directory_harms_only_its_own_job() {
    let build = Build::start();
    build.write("a.c", "int a;\n");
    let source = build.sandbox.work("a.c").display().to_string();
    let object = build.sandbox.work("gone.o").display().to_string();
    let script = "mkdir gone && cd gone && rmdir ../gone && exec \"$@\"";
    let local =
        build.sandbox.command("sh").args(["-c", script, "sh", "gcc", "-c", &source, "-o", &object]).run();
    let bytes = fs::read(&object).ok();
    let _ = fs::remove_file(&object);
    let distcc = build.sandbox.path("bin/distcc").display().to_string();
    let run =
        build.sandbox.command("sh").args(["-c", script, "sh", &distcc, "gcc", "-c", &source, "-o", &object]);
    let run = build.pump.around(run.hosts(&build.tap.pump_host())).run();
    assert_eq!(run.code(), local.code(), "{run}\nlocally: {local}");
    assert_eq!(fs::read(&object).ok(), bytes, "{run}");
    build.tap.take_versions();
    build.assert_same("gcc -g -c a.c");
    build.finish();
}
