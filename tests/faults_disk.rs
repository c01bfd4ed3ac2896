//! Disks that are full or cannot be written, at either end and under every file that is written there: a job ends with
//! the right object or says what is wrong, and who had no room goes on when there is some.

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use support::faults::{Sample, with_mounts, with_small_disk};
use support::include_server::IncludeServer;
use support::{Daemon, Run, Sandbox, wait_until};

const NO_ROOM: &str = "No space left on device";

/// A source whose object takes 300 kB.
fn large_object(sandbox: &Sandbox) -> Sample {
    sandbox.sample("large.c", "char large[300000] = {1, 2, 3};\nint x(void) { return large[1]; }\n")
}

/// A place as a daemon with mounts of its own sees it.
fn seen_by(daemon: &Daemon, path: &Path) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root{}", daemon.id(), path.display()))
}

/// A daemon whose TMPDIR is a small file system, and that directory as it sees it.
fn daemon_on_small_disk(sandbox: &Sandbox, options: &str) -> (Daemon, PathBuf) {
    let place = sandbox.path("server-0");
    // It is the disk that has no room, not what the daemon would take of it.
    let builder = sandbox.daemon().args(["--spool", "1000"]);
    let daemon = builder.through(&with_small_disk(&place, options)).start();
    assert_eq!(daemon.temporary(), place);
    let seen = seen_by(&daemon, &place);
    (daemon, seen)
}

/// The job of a client that tries this host whatever happened before.
fn job(sandbox: &Sandbox, sample: &Sample, host: &str) -> Run {
    sandbox.job(sample, "a.o", host).env("DISTCC_BACKOFF_PERIOD", "0")
}

#[test]
fn a_server_without_room_for_the_source() {
    let sandbox = Sandbox::new();
    let small = sandbox.sample("a.c", "int a;\n");
    let padding = "// a comment that is no comment to the server: it is sent\n".repeat(40_000);
    sandbox.write("large.i", format!("int a;\n{padding}"));
    assert_eq!(sandbox.command("gcc").args(["-c", "large.i", "-o", "l.o"]).run().code(), 0);
    let large = Sample { source: "large.i".into(), object: sandbox.read("l.o") };
    fs::remove_file(sandbox.work("l.o")).unwrap();
    let (daemon, seen) = daemon_on_small_disk(&sandbox, "size=512k");
    for host in [daemon.host(), daemon.host_lzo()] {
        // Compressed it fits, and unpacked it does not.
        let run = job(&sandbox, &large, &host).run();
        assert!(run.err().contains(NO_ROOM) && run.err().contains(&daemon.host()), "{run}");
        sandbox.assert_made(&run, &large, "a.o");
        wait_until("an empty TMPDIR", || fs::read_dir(&seen).unwrap().count() == 0);
        let run = job(&sandbox, &small, &host).env("DISTCC_FALLBACK", "0").run();
        sandbox.assert_made(&run, &small, "a.o");
    }
    daemon.wait_for_jobs(2);
    sandbox.finish([daemon]);
}

#[test]
fn a_server_whose_disk_fills_up_and_is_emptied() {
    let sandbox = Sandbox::new();
    let sample = sandbox.sample("a.c", "int a;\n");
    let large = large_object(&sandbox);
    for options in ["size=512k", "size=100m,nr_inodes=6"] {
        let daemon = sandbox.daemon().through(&with_small_disk(&sandbox.path("disk"), options));
        let daemon = daemon.env("TMPDIR", sandbox.path("disk"));
        fs::create_dir_all(sandbox.path("disk")).unwrap();
        let daemon = daemon.start();
        let seen = seen_by(&daemon, &sandbox.path("disk"));
        let fill = || {
            let _ = fs::write(seen.join("filler"), vec![0; 1 << 20]);
            let more = (0..8).map(|number| seen.join(format!("filler-{number}")));
            more.for_each(|path| drop(File::create(path)));
        };
        let empty = || {
            let entries = fs::read_dir(&seen).unwrap().flatten();
            let fillers = entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"filler"));
            fillers.for_each(|entry| fs::remove_file(entry.path()).unwrap());
            wait_until("an empty TMPDIR", || fs::read_dir(&seen).unwrap().count() == 0);
        };
        for host in [daemon.host(), daemon.host_lzo()] {
            for sample in [&sample, &large] {
                fill();
                sandbox.assert_made(&job(&sandbox, sample, &host).run(), sample, "a.o");
                empty();
                let run = job(&sandbox, sample, &host).env("DISTCC_FALLBACK", "0").run();
                sandbox.assert_made(&run, sample, "a.o");
            }
        }
        drop(daemon);
    }
    sandbox.assert_clean();
}

/// The compiler has room for the source, and none for the object.
#[test]
fn a_server_without_room_for_the_object() {
    let sandbox = Sandbox::new();
    let large = large_object(&sandbox);
    let small = sandbox.sample("a.c", "int a;\n");
    let (daemon, seen) = daemon_on_small_disk(&sandbox, "size=128k");
    sandbox.assert_made(&job(&sandbox, &large, &daemon.host()).run(), &large, "a.o");
    wait_until("an empty TMPDIR", || fs::read_dir(&seen).unwrap().count() == 0);
    sandbox.assert_made(&job(&sandbox, &small, &daemon.host()).run(), &small, "a.o");
    daemon.wait_for_log(" COMPILE_OK ");
    sandbox.finish([daemon]);
}

#[test]
fn a_server_whose_temporary_directory_cannot_be_written() {
    let sandbox = Sandbox::new();
    let sample = sandbox.sample("a.c", "int a;\n");
    // The daemon's user must be refused by the permissions, and root is not: as root it is another user's directory.
    let daemon = sandbox.daemon().start();
    let before = fs::metadata(daemon.temporary()).unwrap().permissions();
    let host = daemon.host();
    for _ in 0..2 {
        fs::set_permissions(daemon.temporary(), Permissions::from_mode(0o555)).unwrap();
        let run = job(&sandbox, &sample, &host).run();
        sandbox.assert_made(&run, &sample, "a.o");
        fs::set_permissions(daemon.temporary(), before.clone()).unwrap();
        let run = job(&sandbox, &sample, &host).env("DISTCC_FALLBACK", "0").run();
        sandbox.assert_made(&run, &sample, "a.o");
    }
    sandbox.finish([daemon]);
}

/// The object comes and there is no room for it: then there is none for a local one either, and that is said.
#[test]
fn a_client_without_room_for_the_object() {
    let sandbox = Sandbox::new();
    let large = large_object(&sandbox);
    let daemon = sandbox.daemon().start();
    fs::create_dir(sandbox.path("objects")).unwrap();
    let disk = with_small_disk(&sandbox.path("objects"), "size=64k");
    for host in [daemon.host(), daemon.host_lzo()] {
        let script = "\"$0\" gcc -c \"$1\" -o ../objects/a.o; code=$?; ls -A ../objects; exit $code";
        let run = sandbox
            .command("/bin/sh")
            .args(["-c", script])
            .args([sandbox.path("bin/distcc"), large.source.clone().into()])
            .hosts(&host)
            .through(&disk)
            .run();
        assert_ne!(run.code(), 0, "{run}");
        assert!(run.err().contains(NO_ROOM), "{run}");
        assert_eq!(run.out(), "", "a part of an object is left: {run}");
        assert!(sandbox.backoffs().is_empty(), "no host is to blame: {run}");
    }
    sandbox.finish([daemon]);
}

/// Lock, state and back-off files are aids: without them the job is done all the same.
#[test]
fn a_client_whose_distcc_dir_is_full_or_read_only() {
    let sandbox = Sandbox::new();
    let sample = sandbox.sample("a.c", "int a;\n");
    let daemon = sandbox.daemon().start();
    let nobody = "127.0.0.1:1";
    let hosts = format!("{nobody} {}", daemon.host());
    let disks = (1..9).map(|inodes| format!("size=64k,nr_inodes={inodes}"));
    for options in disks.chain(["size=4k".into(), "ro".into()]) {
        let disk = with_small_disk(&sandbox.path("distcc"), &options);
        let run = sandbox.job(&sample, "a.o", &hosts).through(&disk).run();
        sandbox.assert_made(&run, &sample, "a.o");
        // What there is no room for is said once, in a line or three.
        assert!(run.err().lines().count() <= 4, "{options}: {run}");
    }
    // A directory that is filled by others.
    let fill = "mount -t tmpfs -o size=8k none \"$1\"; mkdir \"$1/lock\" \"$1/state\"; cat /dev/zero 2>/dev/null >\"$1/filler\" || true";
    let full = with_mounts(fill, &[sandbox.path("distcc").to_str().unwrap()]);
    let run = sandbox.job(&sample, "a.o", &hosts).through(&full).env("DISTCC_FALLBACK", "0").run();
    sandbox.assert_made(&run, &sample, "a.o");
    sandbox.finish([daemon]);
}

#[test]
fn a_client_whose_temporary_directory_cannot_be_written() {
    let sandbox = Sandbox::new();
    let sample = sandbox.sample("a.c", "int a;\n");
    let daemon = sandbox.daemon().start();
    for options in ["ro", "size=4k", "nr_inodes=1"] {
        let disk = with_small_disk(&sandbox.path("tmp"), options);
        let run = sandbox.job(&sample, "a.o", &daemon.host()).through(&disk).run();
        if options == "ro" {
            assert!(run.err().contains("cannot be written"), "{run}");
        }
        // gcc's own temporary files have another place then; where it has none, that is its message.
        assert!(run.code() == 0 || run.err().contains("annot"), "{options}: {run}");
        assert!(run.code() != 0 || sandbox.read("a.o") == sample.object, "{options}: {run}");
        let _ = fs::remove_file(sandbox.work("a.o"));
    }
    sandbox.finish([daemon]);
}

#[test]
fn logs_that_cannot_be_written() {
    let sandbox = Sandbox::new();
    let sample = sandbox.sample("a.c", "int a;\n");
    let daemon = sandbox.daemon().start();
    for log in ["/dev/full", "/proc/none/log"] {
        let run = sandbox.job(&sample, "a.o", &daemon.host()).env("DISTCC_LOG", log).run();
        sandbox.assert_made(&run, &sample, "a.o");
    }
    daemon.wait_for_jobs(2);
    // Standard error itself: what is said is lost, and nothing else.
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let job = sandbox.job(&sample, "a.o", &format!("127.0.0.1:1 {}", daemon.host()));
    let to_full = |command: &mut std::process::Command| {
        command.stderr(full());
    };
    let run = job.with(to_full).run();
    sandbox.assert_made(&run, &sample, "a.o");
    let port = support::free_port();
    let mut silent = sandbox
        .applet("distccd")
        .args([
            "--no-detach",
            "--daemon",
            "--listen",
            "127.0.0.1",
            "--allow",
            "127.0.0.1",
            "--log-file",
            "/dev/full",
        ])
        .args(["--port", &port.to_string()])
        .env("TMPDIR", sandbox.server_directory())
        .start();
    let host = format!("127.0.0.1:{port}");
    wait_until("the daemon", || std::net::TcpStream::connect(&host).is_ok());
    let run = sandbox.job(&sample, "a.o", &host).env("DISTCC_FALLBACK", "0").run();
    sandbox.assert_made(&run, &sample, "a.o");
    assert!(silent.is_running());
    silent.signal("TERM");
    silent.finish();
    sandbox.finish([daemon]);
}

/// Clients of 3.4 get their answers as files. Without room for those they preprocess themselves; ours get theirs.
#[test]
fn an_include_server_without_room_for_its_mirror() {
    let sandbox = Sandbox::new();
    sandbox.write("m.c", "#include \"a.h\"\n");
    sandbox
        .write("a.h", format!("// {}\n", (0..40_000).map(|number| format!("{number} ")).collect::<String>()));
    let directory = fs::canonicalize(sandbox.work("")).unwrap();
    let mirror = format!("/tmp/mirror-{}", sandbox.path("").file_name().unwrap().to_str().unwrap());
    for options in ["size=32k", "nr_inodes=3", "ro"] {
        let command =
            IncludeServer::command(&sandbox, &[]).through(&with_small_disk(Path::new(&mirror), options));
        let server = IncludeServer::of(&sandbox, command);
        for _ in 0..2 {
            assert_eq!(
                server.ask_as_3_4(&directory, &["gcc", "-c", "m.c"]),
                [""; 0].map(PathBuf::from),
                "{options}"
            );
            let files = server.ask(&directory, &["gcc", "-c", "m.c"]).unwrap();
            assert!(files.iter().any(|(name, _)| name.ends_with("/a.h")), "{options}");
        }
        server.stop();
    }
    sandbox.assert_clean();
}
