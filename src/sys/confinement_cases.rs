//! What must be true of a confined program: shells and compilers run in chambers. Where the machine allows no
//! namespaces, each case says so and checks that this is what a caller is told.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::exit_code::WaitStatus;
use crate::sys::child::{Child, Command, Environment, Group, Signal};
use crate::sys::confinement::{Chamber, ChamberLimits, Failure, probe};
use crate::sys::exposure::Exposure;
use crate::sys::job_root::JobRoot;
use crate::sys::temp::{self, TempDir};

const LIMITS: ChamberLimits = ChamberLimits { bytes: 16 << 20, files: 1000 };
/// Long enough for a busy machine, short enough for a person.
const PATIENCE: Duration = Duration::from_secs(20);

fn chamber_with(exposure: &Exposure, limits: ChamberLimits) -> Option<Chamber> {
    match Chamber::open(exposure, limits) {
        Ok(chamber) => Some(chamber),
        Err(failure) => {
            let told = probe(exposure).expect_err("a machine that can confine, and a chamber that cannot");
            eprintln!("NOT CHECKED, because this machine cannot confine: {failure}; probe says: {told}");
            assert!(matches!(failure, Failure::Unavailable(_)) && told.contains("confine a program: "));
            None
        }
    }
}

fn chamber() -> Option<Chamber> {
    chamber_with(&Exposure::of_this_machine(), LIMITS)
}

fn fill(chamber: &Chamber, files: &[(&str, &str)]) {
    let mut unpacker = chamber.root().unpacker();
    for (path, content) in files {
        unpacker.create_file(path.as_bytes(), content.as_bytes(), None).unwrap();
    }
}

fn start(
    chamber: Chamber,
    directory: &str,
    argv: &[&str],
    output: &File,
) -> Result<(Child, JobRoot), Failure> {
    let argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
    let mut environment = Environment::default();
    environment.set("PATH", "/usr/bin:/bin".as_ref());
    environment.set("LC_ALL", "C".as_ref());
    let program =
        ["/usr/bin", "/bin"].map(|bin| Path::new(bin).join(&argv[0])).into_iter().find(|p| p.exists());
    chamber.run(&Command {
        program: &program.unwrap_or_else(|| PathBuf::from(&argv[0])),
        argv: &argv,
        environment: &environment,
        directory: Some(Path::new(directory)),
        stdio: [None, Some(output.as_fd()), Some(output.as_fd())],
        group: Group::Own,
        walls: None,
    })
}

/// Runs a program to its end: how it ended, what it wrote, and its root.
fn run(chamber: Chamber, directory: &str, argv: &[&str]) -> (WaitStatus, String, JobRoot) {
    let mut output = temp::anonymous("output").unwrap();
    let (child, root) = start(chamber, directory, argv, &output).unwrap();
    let status = child.wait().unwrap();
    let text = temp::read_back(&mut output, 1 << 20).unwrap();
    (status, String::from_utf8(text).unwrap(), root)
}

fn shell(chamber: Chamber, directory: &str, script: &str) -> String {
    run(chamber, directory, &["sh", "-c", script]).1
}

fn result(root: &JobRoot, path: &str) -> Option<String> {
    let mut text = String::new();
    root.open_result(path.as_bytes()).unwrap()?.read_to_string(&mut text).unwrap();
    Some(text)
}

#[test]
fn a_program_sees_the_jobs_files_and_the_system_and_nothing_else() {
    let cases = [
        ("pwd; cat a.c ../inc/b.h", "/home/nobody-here/p\nA\nB\n"),
        ("test -x /usr/bin/env && test -x /bin/sh && echo yes", "yes\n"),
        ("ls /home; ls -d /root /var /srv /etc/passwd 2>/dev/null", "nobody-here\n"),
        ("ls -A /tmp; echo x >/tmp/x && cat /tmp/x; stat -c %a /tmp", "x\n1777\n"),
        ("echo $$; for p in /proc/[0-9]*; do echo $p; done | head -n 1", "1\n/proc/1\n"),
        ("cat /proc/1/environ | tr '\\0' '\\n' | sort", "LC_ALL=C\nPATH=/usr/bin:/bin\n"),
        ("ls /proc/1/fd", "0\n1\n2\n"),
        ("echo gone >/dev/null; head -c 2 /dev/zero | od -An -tx1; cat </dev/null", " 00 00\n"),
        ("cat; echo $?", "0\n"),
        (
            "grep -E '^(Cap|NoNewPrivs)' /proc/self/status | tr '\\t' ' ' | sort -u | cut -d' ' -f2 | sort -u",
            "0000000000000000\n1\n",
        ),
        ("trap; grep ^SigBlk: /proc/self/status | cut -f2", "0000000000000000\n"),
    ];
    let files = [("/home/nobody-here/p/a.c", "A\n"), ("/home/nobody-here/inc/b.h", "B\n")];
    // SAFETY: duplicates a descriptor, as one that whoever started us has left open.
    assert!(unsafe { libc::fcntl(2, libc::F_DUPFD, 30) } >= 30);
    for one_by_one in [false, true] {
        for (script, expected) in cases {
            let Some(mut chamber) = chamber() else { return };
            chamber.one_by_one = one_by_one;
            fill(&chamber, &files);
            assert_eq!(shell(chamber, "/home/nobody-here/p", script), expected, "{script}");
        }
    }
}

#[test]
fn nothing_of_the_server_can_be_changed() {
    let attempts = [
        "touch /usr/confined",
        "touch /usr/lib/confined",
        "mkdir /opt/confined",
        "touch -c -r /etc/ld.so.cache /etc/ld.so.cache",
        "chmod 666 /dev/null",
        "chmod 755 /usr",
        "touch /dev/null",
        "mount -o remount,rw /usr",
        "umount /usr",
        "mknod /tmp/disk b 8 0",
        "chroot / true",
        "unshare -U true",
    ];
    for one_by_one in [false, true] {
        for attempt in attempts {
            let Some(mut chamber) = chamber() else { return };
            chamber.one_by_one = one_by_one;
            let text = shell(chamber, "/", &format!("{attempt} 2>/dev/null || echo refused"));
            assert_eq!(text, "refused\n", "{attempt} (one by one: {one_by_one})");
        }
    }
    assert!(!Path::new("/usr/confined").exists() && !Path::new("/opt/confined").exists());
}

#[test]
fn namespaces_are_new_and_mounts_are_locked() {
    for one_by_one in [false, true] {
        for namespace in ["user", "mnt", "pid", "ipc"] {
            let Some(mut chamber) = chamber() else { return };
            chamber.one_by_one = one_by_one;
            let path = format!("/proc/self/ns/{namespace}");
            let text = shell(chamber, "/", &format!("readlink {path}"));
            let ours = fs::read_link(&path).unwrap();
            assert!(text.starts_with(namespace) && text.trim() != ours.to_str().unwrap(), "{text}");
        }
        let mut chamber = chamber().unwrap();
        chamber.one_by_one = one_by_one;
        fill(&chamber, &[("/opt/job/a.c", "A\n")]);
        let text = shell(chamber, "/", "cat /proc/self/mountinfo");
        for line in text.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let (place, has) = (fields[4], |flag| fields[5].split(',').any(|word| word == flag));
            let is_jobs = ["/", "/opt"].contains(&place) || place == "/proc" && one_by_one;
            assert!(has(if is_jobs { "rw" } else { "ro" }), "{line}");
            assert!(has("nosuid") && (has("nodev") || place.starts_with("/dev/")), "{line}");
            assert!(!line.contains("master:") && !line.contains("shared:"), "{line}");
        }
        assert!(text.lines().count() > 7, "{text}");
    }
}

#[test]
fn a_jobs_files_may_lie_below_system_directories() {
    let usr = fs::read_dir("/usr").unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir());
    let server = usr.unwrap();
    let files = [
        ("/usr/src/confined/a.c", "A\n"),
        ("/opt/confined/b.h", "B\n"),
        ("/usr/include/stdio.h", "not the server's\n"),
        ("/tmp/c", "C\n"),
    ];
    let Some(chamber) = chamber() else { return };
    if !probe(&Exposure::of_this_machine()).unwrap().overlays {
        eprintln!("NOT CHECKED, because this machine cannot overlay in a user namespace");
        return;
    }
    fill(&chamber, &files);
    let script = format!(
        "cat a.c /opt/confined/b.h /usr/include/stdio.h /tmp/c; test -d {} && test -x /usr/bin/env && echo both; \
         echo object >a.o; echo more >>/usr/include/stdio.h; echo new >/usr/include/confined.h",
        server.display()
    );
    let mut output = temp::anonymous("output").unwrap();
    let (child, root) =
        start(chamber, "/usr/src/confined", &["sh", "-c", &format!("{script}; read x")], &output).unwrap();
    child.wait().unwrap();
    let text = String::from_utf8(temp::read_back(&mut output, 1 << 20).unwrap()).unwrap();
    assert_eq!(text, "A\nB\nnot the server's\nC\nboth\n");
    assert_eq!(result(&root, "/usr/src/confined/a.o").as_deref(), Some("object\n"));
    assert_eq!(result(&root, "/usr/src/confined/../confined/a.o").as_deref(), Some("object\n"));
    assert_eq!(result(&root, "/usr/include/stdio.h").as_deref(), Some("not the server's\nmore\n"));
    assert!(!Path::new("/usr/src/confined").exists() && !Path::new("/usr/include/confined.h").exists());
    assert!(!fs::read_to_string("/usr/include/stdio.h").is_ok_and(|text| text.contains("not the server's")));
}

#[test]
fn without_overlays_system_directories_are_shown_entry_by_entry() {
    for one_by_one in [false, true] {
        let Some(mut chamber) = chamber() else { return };
        (chamber.without_overlays, chamber.one_by_one) = (true, one_by_one);
        fill(&chamber, &[("/usr/src/confined/a.c", "A\n"), ("/opt/confined/b.h", "B\n")]);
        let script = "cat a.c ../../../opt/confined/b.h; test -x /usr/bin/env && echo both; \
                      touch /usr/bin/env 2>/dev/null || echo kept; echo object >a.o";
        let (_, text, root) = run(chamber, "/usr/src/confined", &["sh", "-c", script]);
        assert_eq!(text, "A\nB\nboth\nkept\n");
        assert_eq!(result(&root, "/usr/src/confined/a.o").as_deref(), Some("object\n"));
    }
    let mut chamber = chamber().unwrap();
    chamber.without_overlays = true;
    if fs::read_dir("/usr/bin").unwrap().count() > 400 {
        fill(&chamber, &[("/usr/bin/confined/a.c", "A\n")]);
        let output = temp::anonymous("output").unwrap();
        let refused = start(chamber, "/", &["true"], &output).map(drop);
        assert!(matches!(refused, Err(Failure::Unavailable(_))), "{refused:?}");
    }
}

#[test]
fn a_servers_closed_directory_does_not_close_the_jobs() {
    let place = temp::TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
    let [closed, open] = ["a/closed", "open"].map(|name| place.path().join(name));
    fs::create_dir_all(&closed).unwrap();
    fs::create_dir(&open).unwrap();
    fs::write(open.join("server"), "S\n").unwrap();
    let set_mode = |mode| fs::set_permissions(&closed, fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o000);
    let exposure = Exposure::of_this_machine().with(&[place.path().to_owned()]);
    let chamber = chamber_with(&exposure, LIMITS);
    if let Some(chamber) = chamber {
        fill(&chamber, &[(closed.join("a.c").to_str().unwrap(), "A\n")]);
        let script = "cat a.c ../../open/server; echo b >b && cat b";
        assert_eq!(shell(chamber, closed.to_str().unwrap(), script), "A\nS\nb\n");
    }
    set_mode(0o700);
    assert_eq!(fs::read_dir(&closed).unwrap().count(), 0);
}

#[test]
fn other_file_systems_below_an_overlaid_directory_are_seen_and_not_hidden() {
    let exposure = Exposure::of_this_machine().with(&[PathBuf::from("/run")]);
    let run = exposure.parts().directories.iter().find(|directory| directory.path == Path::new("/run"));
    let Some((mounted, device)) = run.and_then(|run| {
        let mut reachable =
            run.submounts.iter().filter_map(|path| Some((path, fs::metadata(path).ok()?.dev())));
        reachable.next()
    }) else {
        eprintln!("NOT CHECKED, because nothing is mounted below /run");
        return;
    };
    let Some(chamber) = chamber_with(&exposure, LIMITS) else { return };
    fill(&chamber, &[("/run/job/a.c", "A\n")]);
    let look = format!("stat -c %d {0}; touch {0} 2>/dev/null || echo kept", mounted.display());
    assert_eq!(
        shell(chamber, "/run/job", &format!("cat a.c; {look}; echo b >b && cat b")),
        format!("A\n{device}\nkept\nb\n")
    );

    // Files on the other file system.
    let chamber = chamber_with(&exposure, LIMITS).unwrap();
    let place = mounted.join("job");
    fill(&chamber, &[(place.join("a.c").to_str().unwrap(), "A\n")]);
    let text = shell(chamber, place.to_str().unwrap(), "cat a.c; echo b >b && cat b");
    assert_eq!(text, "A\nb\n");
    assert!(!place.exists() && !Path::new("/run/job").exists());
}

#[test]
fn results_can_be_read_while_the_program_runs() {
    let Some(chamber) = chamber() else { return };
    fill(&chamber, &[("/home/x/a.c", "A\n"), ("/opt/y/b.c", "B\n")]);
    let output = temp::anonymous("output").unwrap();
    let script = "echo one >/home/x/one; echo two >/opt/y/two; echo ready; sleep 60";
    let (child, root) = start(chamber, "/", &["sh", "-c", script], &output).unwrap();
    while output.metadata().unwrap().len() == 0 {
        thread::yield_now();
    }
    for _ in 0..2 {
        assert_eq!(result(&root, "/home/x/one").as_deref(), Some("one\n"));
        assert_eq!(result(&root, "/opt/y/two").as_deref(), Some("two\n"));
        assert_eq!(result(&root, "/opt/y/three"), None);
        child.signal(Signal::Kill);
        let _ = child.wait();
    }
}

#[test]
fn a_compiler_outside_usr_is_shown_with_its_links() {
    let home = TempDir::create(&fs::canonicalize(std::env::temp_dir()).unwrap(), "toolchain", false).unwrap();
    fs::create_dir_all(home.path().join("gcc-9/bin")).unwrap();
    fs::write(home.path().join("gcc-9/bin/cc"), "#!/bin/sh\necho nine\n").unwrap();
    fs::write(home.path().join("secret"), "").unwrap();
    std::os::unix::fs::symlink("gcc-9", home.path().join("gcc")).unwrap();
    let compiler = home.path().join("gcc/bin/cc");
    fs::set_permissions(&compiler, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let exposure = Exposure::of_this_machine();
    assert!(!exposure.covers(&compiler));
    let exposure = exposure.with(&[home.path().join("gcc")]);
    assert!(exposure.covers(&compiler));
    let Some(chamber) = chamber_with(&exposure, LIMITS) else { return };
    let script = format!("{}; ls {}", compiler.display(), home.path().display());
    assert_eq!(shell(chamber, "/", &script), "nine\ngcc\ngcc-9\n");
}

#[test]
fn debug_information_has_the_clients_directory() {
    let Some(chamber) = chamber() else { return };
    fill(&chamber, &[("/home/nobody-here/p/a.c", "#include \"b.h\"\nint a = B;\n")]);
    fill(&chamber, &[("/home/nobody-here/p/b.h", "#include <stdio.h>\n#define B 7\n")]);
    let (status, text, root) = run(chamber, "/home/nobody-here/p", &["gcc", "-g", "-c", "a.c", "-o", "a.o"]);
    assert!(status.success(), "{text}");
    let mut object = root.open_result(b"/home/nobody-here/p/a.o").unwrap().unwrap();
    let mut bytes = Vec::new();
    object.read_to_end(&mut bytes).unwrap();
    let here = TempDir::create(&std::env::temp_dir(), "object", false).unwrap();
    fs::write(here.path().join("a.o"), bytes).unwrap();
    let dump = std::process::Command::new("objdump")
        .args(["--dwarf=info", "--dwarf-depth=1"])
        .arg(here.path().join("a.o"))
        .output();
    let dump = String::from_utf8(dump.unwrap().stdout).unwrap();
    let directory = dump.lines().find(|line| line.contains("DW_AT_comp_dir")).unwrap();
    assert!(directory.ends_with(": /home/nobody-here/p"), "{directory}");
}

#[test]
fn compilers_work_as_process_one() {
    let good = "int main(void) { return 0; }\n";
    let crash = "#pragma clang __debug crash\n";
    let cases: [(&[&str], &str, &str, Option<u8>); 5] = [
        (&["gcc", "-c", "a.c"], good, "", Some(0)),
        (&["gcc", "-pipe", "-c", "a.c"], "int a = ;\n", "expected expression", Some(1)),
        (&["gcc", "-wrapper", "sh,-c,kill -SEGV $$", "-c", "a.c"], good, "Segmentation fault", Some(4)),
        (&["clang", "-c", "a.c"], good, "", Some(0)),
        (&["clang", "-c", "a.c", "-fno-crash-diagnostics"], crash, "PLEASE submit a bug report", None),
    ];
    for (argv, source, message, code) in cases {
        if !Path::new("/usr/bin").join(argv[0]).exists() {
            eprintln!("NOT CHECKED, because there is no {}", argv[0]);
            continue;
        }
        let Some(chamber) = chamber() else { return };
        fill(&chamber, &[("/p/a.c", source)]);
        let (status, text, root) = run(chamber, "/p", argv);
        assert!(text.contains(message), "{argv:?}: {text}");
        assert!(code.is_none() && !status.success() || status.code() == code, "{argv:?}: {status:?} {text}");
        assert_eq!(root.open_result(b"/p/a.o").unwrap().is_some(), code == Some(0), "{argv:?}");
    }
}

/// Waits until nobody holds the reading end's other side.
fn ended(mut reader: std::io::PipeReader) -> bool {
    let (sender, receiver) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let mut rest = Vec::new();
        let _ = reader.read_to_end(&mut rest);
        let _ = sender.send(());
    });
    receiver.recv_timeout(PATIENCE).is_ok()
}

/// Starts a shell that leaves a daemon behind, which holds `writer`, and waits until both run.
fn start_with_daemon(chamber: Chamber, writer: std::io::PipeWriter) -> Child {
    let mut output = temp::anonymous("output").unwrap();
    let argv = ["sh", "-c", "(setsid sh -c 'echo up >&2; sleep 1000' &) ; sleep 1000"].map(OsString::from);
    let mut environment = Environment::default();
    environment.set("PATH", "/usr/bin:/bin".as_ref());
    let command = Command {
        program: Path::new("/bin/sh"),
        argv: &argv,
        environment: &environment,
        directory: None,
        stdio: [None, Some(writer.as_fd()), Some(output.as_fd())],
        group: Group::Shared,
        walls: None,
    };
    let (child, _) = chamber.run(&command).unwrap();
    while temp::read_back(&mut output, 100).unwrap().is_empty() {
        thread::yield_now();
    }
    child
}

#[test]
fn ending_process_one_ends_all_it_started() {
    for signal in [Signal::Kill, Signal::Terminate] {
        let Some(chamber) = chamber() else { return };
        let (reader, writer) = std::io::pipe().unwrap();
        let child = start_with_daemon(chamber, writer);
        child.signal(signal);
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        assert!(ended(reader), "a grandchild lives on");
    }
}

#[test]
fn a_program_ends_with_the_thread_that_started_it() {
    let Some(probe) = chamber() else { return };
    drop(probe);
    let (reader, writer) = std::io::pipe().unwrap();
    let child = thread::spawn(move || start_with_daemon(chamber().unwrap(), writer)).join().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert!(ended(reader), "a grandchild lives on");
}

/// Descriptors of this process that are there only while a chamber is opened.
fn left_by_children() -> Vec<PathBuf> {
    let descriptors = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let targets = descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
    let names = ["setgroups", "gid_map", "uid_map", "max_user_namespaces"];
    targets.filter(|target| names.iter().any(|name| target.ends_with(name))).collect()
}

#[test]
fn a_child_killed_at_any_moment_leaves_no_descriptor() {
    let Some(probe) = chamber() else { return };
    drop(probe);
    let (sender, receiver) = std::sync::mpsc::channel();
    let opener = thread::spawn(move || {
        sender.send(fs::canonicalize("/proc/thread-self/children").unwrap()).unwrap();
        (0..1000).filter(|_| Chamber::open(&Exposure::of_this_machine(), LIMITS).is_err()).count()
    });
    let children = receiver.recv().unwrap();
    while !opener.is_finished() {
        for child in fs::read_to_string(&children).unwrap_or_default().split_whitespace() {
            Child::init_of_namespace(child.parse().unwrap()).signal(Signal::Kill);
        }
    }
    assert!(opener.join().unwrap() > 0, "none was killed in time");
    // Others are at it at this moment, and done with it soon.
    let give_up = Instant::now() + PATIENCE;
    while !left_by_children().is_empty() && Instant::now() < give_up {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(left_by_children(), Vec::<PathBuf>::new());
}

#[test]
fn limits_hold_while_unpacking_and_inside() {
    let limits = ChamberLimits { bytes: 1 << 20, files: 100 };
    let Some(chamber) = chamber_with(&Exposure::of_this_machine(), limits) else { return };
    let mut unpacker = chamber.root().unpacker();
    let error = unpacker.create_file(b"/p/big", &vec![b'x'; 2 << 20], None).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    unpacker.create_file(b"/p/big", b"small", None).unwrap();
    let many = (0..200).find_map(|i| unpacker.create_file(format!("/p/{i}").as_bytes(), b"", None).err());
    assert_eq!(many.unwrap().kind(), std::io::ErrorKind::StorageFull);
    drop(unpacker);

    let chamber = chamber_with(&Exposure::of_this_machine(), limits).unwrap();
    let text = shell(chamber, "/tmp", "head -c 2000000 /dev/zero >big; stat -c %s big");
    assert!(text.contains("No space left on device") && text.ends_with("1048576\n"), "{text}");

    // Not even enough for what is ours.
    let opened = Chamber::open(&Exposure::of_this_machine(), ChamberLimits { bytes: 0, files: 0 });
    assert!(matches!(opened, Err(Failure::Unavailable(_))), "{opened:?}");
}

#[test]
fn a_program_that_cannot_be_used_is_told_from_a_chamber_that_cannot() {
    let output = temp::anonymous("output").unwrap();
    for (directory, program) in [("/", "/usr/bin/no-such-compiler"), ("/no/such/directory", "true")] {
        let Some(chamber) = chamber() else { return };
        match start(chamber, directory, &[program], &output) {
            Err(Failure::Program(error)) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
            other => panic!("{program} in {directory}: {:?}", other.map(drop)),
        }
    }
}

#[test]
fn what_a_job_puts_in_the_way_leads_nowhere() {
    let Some(chamber) = chamber() else { return };
    let outside = TempDir::create(&std::env::temp_dir(), "outside", false).unwrap();
    let mut unpacker = chamber.root().unpacker();
    let target = outside.path().as_os_str().as_encoded_bytes();
    // Places that are mounted on, as links out of the root.
    for link in ["/opt", "/etc/alternatives", "/etc/ld.so.cache", "/dev/null"] {
        unpacker.create_link(link.as_bytes(), target).unwrap();
    }
    let text =
        shell(chamber, "/", "echo started; ls -A /opt/ 2>/dev/null; mkdir -p /opt/x; echo x >/dev/null");
    assert!(text.starts_with("started\n"), "{text}");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);

    // A whole /usr as a link: the program is not found, and nothing else happens.
    let chamber = chamber_with(&Exposure::of_this_machine(), LIMITS).unwrap();
    chamber.root().unpacker().create_link(b"/usr", target).unwrap();
    let output = temp::anonymous("output").unwrap();
    let refused = start(chamber, "/", &["true"], &output).map(drop);
    assert!(matches!(refused, Err(Failure::Program(_))), "{refused:?}");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn a_program_cannot_lead_us_out_by_its_results() {
    let Some(chamber) = chamber() else { return };
    fill(&chamber, &[("/p/a.c", "A\n")]);
    let script = "ln -s /etc/passwd a; ln -s ../../../../../../etc/passwd b; ln -s / c; ln -s /p/a.c good; \
                  mkfifo f; mkdir d; ln -s /proc/1/root/etc/passwd e; ln -s loop loop";
    let (_, _, root) = run(chamber, "/p", &["sh", "-c", script]);
    for missing in ["/p/a", "/p/b", "/p/c/etc/passwd", "/p/e", "/p/../../../etc/passwd", "/p/a.c/x"] {
        assert!(root.open_result(missing.as_bytes()).unwrap().is_none(), "{missing}");
    }
    for wrong in ["/p/f", "/p/d", "/p/loop", "/p/c", "", "/"] {
        assert!(root.open_result(wrong.as_bytes()).is_err(), "{wrong}");
    }
    assert_eq!(result(&root, "/p/good").as_deref(), Some("A\n"));
}

#[test]
fn many_chambers_at_once_do_not_disturb_each_other() {
    let Some(probe) = chamber() else { return };
    drop(probe);
    let start = Instant::now();
    let threads: Vec<_> = (0..8)
        .map(|number| {
            thread::spawn(move || {
                for round in 0..10 {
                    let unused = chamber().unwrap();
                    let used = chamber().unwrap();
                    let content = format!("{number} {round}\n");
                    fill(&used, &[("/p/a.c", &content)]);
                    assert_eq!(shell(used, "/p", "cat a.c"), content);
                    drop(unused);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}

#[test]
fn probing_says_what_works() {
    match probe(&Exposure::of_this_machine()) {
        Ok(abilities) => eprintln!("this machine can confine: {abilities:?}"),
        Err(text) => {
            eprintln!("this machine cannot confine: {text}");
            assert!(text.starts_with("confine a program: ") && text.ends_with(')'), "{text}");
        }
    }
}
