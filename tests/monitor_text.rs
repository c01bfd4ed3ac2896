//! `distccmon-text` beside Debian's: the same lines of the same directory, whoever's clients wrote into it.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use support::{Outcome, Run, Sandbox, require, wait_until};

/// A state file as 3.4 writes it on this kind of machine.
fn state(process: u32, file: &[u8], host: &[u8], slot: i32, phase: i32) -> Vec<u8> {
    let mut record = vec![0; 296];
    record[..8].copy_from_slice(&296u64.to_ne_bytes());
    record[8..16].copy_from_slice(&0x4449_4800u64.to_ne_bytes());
    record[16..24].copy_from_slice(&u64::from(process).to_ne_bytes());
    record[24..24 + file.len()].copy_from_slice(file);
    record[152..152 + host.len()].copy_from_slice(host);
    record[280..284].copy_from_slice(&slot.to_ne_bytes());
    record[284..288].copy_from_slice(&phase.to_ne_bytes());
    record
}

fn ours(sandbox: &Sandbox) -> Run {
    sandbox.command(sandbox.path("bin/distcc")).argv0("distccmon-text")
}

fn debian(sandbox: &Sandbox) -> Run {
    sandbox.command(require("distccmon-text"))
}

fn assert_same(what: &str, ours: &Outcome, debian: &Outcome) {
    assert_eq!((ours.code(), &ours.stdout), (debian.code(), &debian.stdout), "{what}:\n{ours}\n{debian}");
}

fn states(sandbox: &Sandbox) -> std::path::PathBuf {
    let directory = sandbox.path("distcc/state");
    fs::create_dir_all(&directory).unwrap();
    directory
}

#[test]
fn the_lines_are_byte_for_byte_those_of_3_4() {
    let sandbox = Sandbox::new();
    let directory = states(&sandbox);
    let living = std::process::id();
    let put = |name: &str, bytes: &[u8]| fs::write(directory.join(name), bytes).unwrap();
    assert_same("no job", &ours(&sandbox).run(), &debian(&sandbox).run());
    for (number, (file, host, slot, phase)) in [
        (&b"a.c"[..], &b"zeta"[..], 10, 5),
        (b"b.c", b"zeta", 2, 0),
        (&[b'f'; 127], &[b'h'; 127], 0, 1),
        (b"c\x1b[2J\xff.c", b"alpha", 3, 2),
        (b"thirty-columns-of-a-file-name.c", b"exactly-24-columns-wide.x", 0, 3),
        (b"", b"", 0, 4),
        (b"d.c", b"alpha", -1, 6),
        (b"done.c", b"alpha", 0, 7),
        (b"new.c", b"alpha", 1, 8),
        (b"odd.c", b"alpha", 2, -5),
    ]
    .iter()
    .enumerate()
    {
        put(&format!("binstate_{number}"), &state(living, file, host, *slot, *phase));
    }
    put("binstate_root", &state(1, b"e.c", b"beta", 0, 5));
    put("binstate_gone", &state(4_194_304, b"gone.c", b"beta", 1, 5));
    put("binstate_short", &state(living, b"short.c", b"beta", 2, 5)[..200]);
    put("binstate_long", &[state(living, b"long.c", b"beta", 3, 5), vec![7; 10]].concat());
    put(".binstate_beside", &state(living, b"beside.c", b"beta", 4, 5));
    put("other", &state(living, b"other.c", b"beta", 5, 5));
    let (mut theirs, own) = (debian(&sandbox).run(), ours(&sandbox).run());
    // But for what would steer the terminal.
    theirs.stdout.iter_mut().filter(|byte| **byte == 0x1b).for_each(|byte| *byte = b'?');
    assert_same("a crafted directory", &own, &theirs);
    assert!(own.out().lines().count() > 10, "{own}");
    fs::remove_dir_all(directory).unwrap();
    sandbox.finish([]);
}

#[test]
fn jobs_of_either_client_are_seen_by_either_monitor() {
    let sandbox = Sandbox::new();
    sandbox.fake_client_compiler("case \" $* \" in *' -E '*) exec gcc \"$@\";; esac\nsleep 600\n");
    sandbox.write("a.c", "int a;\n");
    let daemon = sandbox.daemon_with_compiler("sleep 600\n").start();
    let path = format!("{}:/usr/bin:/bin", sandbox.path("client-bin").display());
    for is_ours in [true, false] {
        let words = ["fakecc", "-c", "a.c"];
        let client = if is_ours { sandbox.distcc(words) } else { sandbox.debian_distcc(words) };
        let job = client.env("PATH", &path).hosts(&daemon.host()).start();
        wait_until("the job to be compiling", || ours(&sandbox).run().out().contains("Compile     a.c"));
        let (theirs, own) = (debian(&sandbox).run(), ours(&sandbox).run());
        assert_same(if is_ours { "our job" } else { "their job" }, &own, &theirs);
        assert!(own.out().ends_with("127.0.0.1[0]\n\n"), "{own}");
        job.signal("KILL");
        job.finish();
        for file in fs::read_dir(states(&sandbox)).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
    }
    let mut daemon = daemon;
    daemon.stop();
}

#[test]
fn arguments_and_places_have_the_statuses_of_3_4() {
    let sandbox = Sandbox::new();
    for words in [&["x"][..], &["1", "2"], &["0"], &[""], &["0x"], &["1 "], &[" 0"]] {
        let (own, theirs) = (ours(&sandbox).args(words).run(), debian(&sandbox).args(words).run());
        assert_same(&format!("{words:?}"), &own, &theirs);
        assert_eq!(own.err().starts_with("usage: distccmon-text"), own.code() == 1, "{own}");
    }
    for (name, value) in [("DISTCC_DIR", Some("/nonexistent/x")), ("DISTCC_DIR", None)] {
        let changed = |run: Run| match value {
            Some(value) => run.env(name, value),
            None => run.env_remove(name).env_remove("HOME"),
        };
        let (own, theirs) = (changed(ours(&sandbox)).run(), changed(debian(&sandbox)).run());
        assert_same(&format!("{name}={value:?}"), &own, &theirs);
        assert!(!own.err().is_empty(), "{own}");
    }
    for bad in ["-1", "nan"] {
        assert_eq!(ours(&sandbox).args([bad]).run().code(), 1, "{bad}");
    }
    assert_eq!(ours(&sandbox).args(["--help"]).run().code(), 0);
}

#[test]
fn piped_with_a_delay_it_repeats_plain_lines_until_nobody_reads() {
    let sandbox = Sandbox::new();
    fs::write(states(&sandbox).join("binstate_1"), state(1, b"a\x1b.c", b"h", 0, 5)).unwrap();
    for option in ["", "-w "] {
        let program = sandbox.path("distccmon-text");
        if !program.exists() {
            symlink(sandbox.path("bin/distcc"), &program).unwrap();
        }
        let script = format!("'{}' {option}0.01 | head -n 6", program.display());
        let run = sandbox.command("/bin/sh").args(["-c", &script]).run();
        assert_eq!((run.code(), run.out().lines().count()), (0, 6), "{run}");
        assert!(!run.out().contains("\x1b["), "{run}");
    }
}

#[test]
fn what_others_put_into_the_directory_is_survived() {
    let sandbox = Sandbox::new();
    let directory = states(&sandbox);
    let put = |name: &str| directory.join(format!("binstate_{name}"));
    symlink("/dev/zero", put("zero")).unwrap();
    symlink(put("loop"), put("loop")).unwrap();
    fs::create_dir(put("directory")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(put("fifo")).status().unwrap().success());
    let big = fs::File::create(put("big")).unwrap();
    big.set_len(1 << 40).unwrap();
    fs::write(put("good"), state(1, b"good.c", b"h", 0, 5)).unwrap();
    let run = ours(&sandbox).run();
    assert_eq!((run.code(), run.out().lines().count()), (0, 2), "{run}");
    assert!(Path::new(&put("fifo")).exists());
}
