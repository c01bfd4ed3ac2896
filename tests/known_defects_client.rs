//! Defects of other implementations on the client's side, and in pump mode, each tried on this one. What a hostile
//! server or another user of this machine can do is in `client_hostile.rs`.
//!
//! Tried under other names already:
//!
//! | defect | test |
//! |---|---|
//! | distcc-ng 224: lengths in an answer, in pump mode | `pump_abuse::a_server_that_lies_about_dependencies_costs_a_client_nothing` |
//! | the same in plain mode; objects after failures | `client_broken_server::broken_servers_cost_time_but_never_the_result` |
//! | objects at links, hard links and devices | `client_outputs::objects_are_placed_as_the_compiler_places_them`, `client_outputs::devices_stay_devices` |
//! | distcc-ng 416, 418, 419: `--include=`, `--imacros=`, `-isysroot`, in the table of all options | `pump_results` |
//! | an include server of ours that is another user's | `pump_abuse::an_include_server_that_is_no_good_does_not_hold_a_client_up` |
//! | a mirror for clients of 3.4 with a link in it | `pump_include_server::the_mirror_is_not_left_through_a_link` |
//! | 3.4: `-o` at the end of the command reads past it | `client_outputs::an_output_that_cannot_be_written_is_the_compilers_to_report` |

#[path = "support/pump.rs"]
mod pump;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::thread;

use pump::{FakeServer, Received, reply};
use support::{Pump, Run, Sandbox, Tap, require, tree_of, wait_until};

fn with_source() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("a.c", "#include \"b.h\"\nint a(void) { return B; }\n");
    sandbox.write("b.h", "#define B 1\n");
    sandbox
}

/// distcc-ng 012: names of temporary files that followed from process number and time met at -j40.
#[test]
fn forty_clients_at_once_never_want_the_same_name() {
    let sandbox = with_source();
    let daemon = sandbox.daemon().start();
    // Where everybody may write, and nobody may remove what is another's.
    fs::set_permissions(sandbox.path("tmp"), PermissionsExt::from_mode(0o1777)).unwrap();
    let clients: Vec<_> = (0..40)
        .map(|number| {
            let output = format!("{number}.o");
            let run =
                sandbox.distcc(["gcc", "-c", "a.c", "-o", &output]).hosts(&format!("{}/40", daemon.host()));
            run.env("DISTCC_SAVE_TEMPS", "1").start()
        })
        .collect();
    clients.into_iter().for_each(|client| client.finish().assert_quiet_success());
    let kept: Vec<PathBuf> =
        fs::read_dir(sandbox.path("tmp")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(kept.len(), 40);
    let mut names: Vec<u32> = kept
        .iter()
        .map(|path| {
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o600, "{}", path.display());
            let name = path.file_stem().unwrap().to_str().unwrap();
            u32::from_str_radix(name.rsplit('_').next().unwrap(), 16).unwrap()
        })
        .collect();
    names.sort_unstable();
    // 3.4 adds 7777 on a collision.
    let near = names.windows(2).filter(|pair| pair[1] - pair[0] <= 7777).count();
    assert!(near <= 2, "{near} of {names:x?}");
    kept.iter().for_each(|path| fs::remove_file(path).unwrap());
    sandbox.finish([daemon]);
}

/// 3.4: predictable names in TMPDIR, some of them opened a second time without O_EXCL. Here there are none.
#[test]
fn nothing_of_a_job_has_a_name_in_the_directory_for_temporary_files() {
    let sandbox = with_source();
    fs::write(sandbox.path("seen"), "").unwrap();
    fs::set_permissions(sandbox.path("seen"), PermissionsExt::from_mode(0o666)).unwrap();
    let look = format!("ls -A '{}' >> '{}'\n", sandbox.path("tmp").display(), sandbox.path("seen").display());
    sandbox.fake_client_compiler(&format!("{look}exec gcc \"$@\"\n"));
    let daemon = sandbox.daemon_with_compiler(&format!("{look}exec gcc \"$@\"\n")).start();
    for options in ["-c a.c", "-MD -c a.c", "-save-temps=obj -c a.c"] {
        sandbox.fakecc(options).hosts(&daemon.host_lzo()).run().assert_quiet_success();
    }
    assert_eq!(fs::read_to_string(sandbox.path("seen")).unwrap(), "");
    sandbox.finish([daemon]);
}

/// distcc-ng 006: a monitor that looked while the state was written found a part of it.
#[test]
fn monitors_find_states_whole_or_not_at_all() {
    let sandbox = with_source();
    let daemon = sandbox.daemon().start();
    let state = sandbox.path("distcc/state");
    let clients = thread::scope(|scope| {
        let build = scope.spawn(|| {
            for _ in 0..60 {
                sandbox.distcc(["gcc", "-c", "a.c"]).hosts(&daemon.host()).run().assert_quiet_success();
            }
        });
        let mut clients = BTreeSet::new();
        while !build.is_finished() {
            for entry in fs::read_dir(&state).into_iter().flatten().flatten() {
                let name = entry.file_name().into_string().unwrap();
                let Some(process) = name.strip_prefix("binstate_") else { continue };
                let Ok(bytes) = fs::read(entry.path()) else { continue };
                assert_eq!(bytes.len(), 296, "{name}");
                assert_eq!(bytes[8..16], 0x4449_4800_u64.to_ne_bytes(), "{name}");
                clients.insert(process.to_owned());
            }
        }
        build.join().unwrap();
        clients
    });
    assert!(clients.len() > 10, "too few were seen to say anything: {clients:?}");
    sandbox.finish([daemon]);
}

/// distcc-ng 157: world-writable files, whatever the umask. Lock files hold nothing, and users of one DISTCC_DIR share
/// them by their umask.
#[test]
fn no_file_with_content_can_be_written_by_others() {
    let sandbox = with_source();
    let hold = format!("while ! [ -e '{}' ]; do sleep 0.02; done\n", sandbox.path("go").display());
    sandbox.honest_client_compiler();
    let daemon = sandbox.daemon_with_compiler(&format!("{hold}exec gcc \"$@\"\n")).start();
    let path = format!("{}:/usr/bin:/bin", sandbox.path("client-bin").display());
    let script = "umask 0; exec \"$0\" fakecc -march=native -c a.c";
    let run = sandbox.command("/bin/sh").args(["-c", script]).args([sandbox.path("bin/distcc")]);
    let run = run.env("PATH", path).env("DISTCC_LOG", sandbox.path("home/log")).env("DISTCC_SAVE_TEMPS", "1");
    let client = run.hosts(&daemon.host()).start();
    let state = sandbox.path(format!("distcc/state/binstate_{}", client.id()));
    wait_until("the state", || state.exists());
    for directory in ["tmp", "home", "distcc/state"] {
        for name in tree_of(&sandbox.path(directory)).names() {
            let file = sandbox.path(directory).join(name);
            let mode = fs::metadata(&file).unwrap().mode() & 0o777;
            assert_eq!(mode & 0o002, 0, "{} has mode {mode:o}", file.display());
        }
    }
    for name in sandbox.lock_files("") {
        assert_eq!(fs::metadata(sandbox.path("distcc/lock").join(&name)).unwrap().len(), 0, "{name}");
    }
    fs::write(sandbox.path("go"), "").unwrap();
    client.finish().assert_quiet_success();
    drop(daemon);
}

/// distcc-ng 287, as a client: `distcc /opt/cross/bin/gcc` is not the gcc of PATH.
#[test]
fn a_path_to_nothing_runs_no_other_compiler_of_that_name() {
    let sandbox = with_source();
    let daemon = sandbox.daemon().start();
    for hosts in [daemon.host(), "localhost".into(), format!("{},lzo,cpp", daemon.host())] {
        for words in [["/opt/none/gcc", "-c", "a.c"], ["none/gcc", "-c", "a.c"], ["./gcc", "-E", "a.c"]] {
            let run = sandbox.distcc(words).hosts(&hosts).run();
            assert_eq!(run.code(), 110, "{run}");
            assert!(run.err().contains(words[0]) && run.out().is_empty(), "{run}");
            assert_eq!(sandbox.tree().names(), ["a.c", "b.h"], "{run}");
        }
    }
    // 3.4 starts the one on PATH, under a name by which it does not find its parts.
    let run = sandbox.debian_distcc(["/opt/none/gcc", "-c", "a.c"]).hosts("localhost").run();
    assert!(run.err().contains("gcc: fatal error"), "{run}");
    sandbox.finish([daemon]);
}

/// distcc-ng 226, as a client.
#[test]
fn very_many_specs_are_left_to_the_compiler() {
    let sandbox = with_source();
    let daemon = sandbox.daemon().start();
    fs::write(sandbox.path("empty.specs"), "").unwrap();
    let option = format!("-specs={}", sandbox.path("empty.specs").display());
    let words = std::iter::once("gcc").chain(std::iter::repeat_n(option.as_str(), 1000));
    sandbox.distcc(words.chain(["-c", "a.c"])).hosts(&daemon.host()).run().assert_quiet_success();
    assert!(sandbox.work("a.o").exists());
    assert!(!daemon.log().contains("COMPILE_OK"), "{}", daemon.log());
    sandbox.finish([daemon]);
}

/// distcc-ng 246: the word after `-Xclang` was taken away and the next one became its value.
#[test]
fn xclang_keeps_the_word_behind_it() {
    require("clang");
    let sandbox = with_source();
    let server = FakeServer::start(|request| reply(request.version, 0, "", "object", None));
    let host = server.host().replace(",cpp", "");
    for (words, kept) in [
        ("-Xclang -fno-pch-timestamp", "-fno-pch-timestamp"),
        ("-Xclang -mllvm -Xclang -stats", "-mllvm"),
        ("-Xclang -DX=1", ""),
        ("-Xclang -Ib", ""),
    ] {
        let line = format!("clang {words} -c a.c -o a.o");
        let run = sandbox.distcc(line.split(' ')).hosts(&host).run();
        assert_eq!(run.code(), 0, "{run}");
        let Some(Received { argv, .. }) = server.received.lock().unwrap().pop() else {
            // Compiled here, with every word.
            assert!(kept.is_empty() && sandbox.read("a.o").starts_with(b"\x7fELF"), "{words}");
            continue;
        };
        let at: Vec<usize> = (0..argv.len()).filter(|at| argv[*at] == "-Xclang").collect();
        for at in at {
            let value = argv.get(at + 1).unwrap_or_else(|| panic!("{argv:?}"));
            assert!(words.contains(value.as_str()), "{value} is not a value of -Xclang: {argv:?}");
        }
        assert!(argv.iter().any(|word| word == kept) || kept.is_empty(), "{kept} is lost: {argv:?}");
        assert!(argv.windows(2).any(|pair| pair == ["-o", "a.o"]) && argv.contains(&"-c".into()), "{argv:?}");
    }
    sandbox.finish([]);
}

/// distcc-ng 416, 418 and 419: values that are joined to their option, and the other root of system headers.
#[test]
fn files_named_by_joined_options_are_found_in_pump_mode() {
    let sandbox = with_source();
    sandbox.write("pre/p.h", "#define P 2\n");
    sandbox.write("root/usr/include/r.h", "#define R 3\n");
    sandbox.write("t.c", "int t(void) { return P; }\n");
    sandbox.write("r.c", "#include <r.h>\nint r(void) { return R; }\n");
    let daemon = sandbox.daemon().start();
    let tap = Tap::before(daemon.port());
    let pump = Pump::start(&sandbox, &tap.pump_host());
    let work = fs::canonicalize(sandbox.work("")).unwrap().display().to_string();
    for words in [
        "--include=pre/p.h -c t.c",
        "--include={work}/pre/p.h -c t.c",
        "--imacros=pre/p.h -c t.c",
        "--imacros={work}/pre/p.h -c {work}/t.c",
        "-isysroot root -c r.c",
        "-isysroot {work}/root -c r.c",
        "-isysroot{work}/root -c {work}/r.c",
        "--sysroot={work}/root -c r.c",
    ] {
        let line = format!("gcc -g {words} -o x.o").replace("{work}", &work);
        let words: Vec<&str> = line.split(' ').collect();
        sandbox.command(words[0]).args(&words[1..]).run().assert_quiet_success();
        let local = sandbox.read("x.o");
        fs::remove_file(sandbox.work("x.o")).unwrap();
        let run = pump.around(sandbox.distcc(&words).hosts(&tap.pump_host())).run();
        run.assert_quiet_success();
        assert_eq!(tap.take_versions(), [3], "{line}: {run}");
        assert!(sandbox.read("x.o") == local, "{line}");
    }
    pump.stop(&sandbox);
    sandbox.finish([daemon]);
}

/// distcc-ng 398: pump asked a `ps` for options that BusyBox's does not have.
#[test]
fn pump_needs_no_ps() {
    let sandbox = with_source();
    let daemon = sandbox.daemon().start();
    let tap = Tap::before(daemon.port());
    sandbox.script("odd/ps", "echo \"ps: unrecognized option: p\" >&2; exit 1\n");
    let path = format!("{}:{}:/usr/bin:/bin", sandbox.path("odd").display(), sandbox.path("bin").display());
    let run = sandbox.applet("pump").args(["distcc", "gcc", "-c", "a.c"]).env("PATH", path);
    let run = run.hosts(&tap.pump_host()).run();
    assert_eq!(run.code(), 0, "{run}");
    assert!(!run.err().contains("ps:"), "{run}");
    assert_eq!(tap.take_versions(), [3], "{run}");
    sandbox.finish([daemon]);
}

/// distcc-ng 442: a `gcc` that is ccache told the include server nothing of gcc's directories.
#[test]
fn a_compiler_that_is_ccache_works_in_pump_mode() {
    let ccache = require("ccache");
    let sandbox = with_source();
    sandbox.write("s.c", "#include <stddef.h>\n#include <stdio.h>\n#include \"b.h\"\nsize_t s = B;\n");
    sandbox.command("gcc").args(["-c", "s.c", "-o", "local.o"]).run().assert_quiet_success();
    fs::create_dir(sandbox.path("wrapped")).unwrap();
    symlink(ccache, sandbox.path("wrapped/gcc")).unwrap();
    let daemon = sandbox.daemon().start();
    let tap = Tap::before(daemon.port());
    let bin = sandbox.path("bin").display().to_string();
    let path = format!("{}:{bin}:/usr/bin:/bin", sandbox.path("wrapped").display());
    let cache = sandbox.path("cache");
    for (what, words, prefix) in [
        ("distcc before ccache", vec!["distcc", "gcc", "-c", "s.c", "-o", "s.o"], ""),
        ("ccache before distcc", vec!["gcc", "-c", "s.c", "-o", "s.o"], "distcc"),
    ] {
        let run = sandbox.applet("pump").args(&words).env("PATH", &path).env("CCACHE_DIR", &cache);
        let run =
            if prefix.is_empty() { run } else { run.env("CCACHE_PREFIX", prefix).env("CCACHE_RECACHE", "1") };
        let run = run.env("DISTCC_NO_REWRITE_CROSS", "1").hosts(&tap.pump_host()).run();
        assert_eq!(run.code(), 0, "{what}: {run}");
        assert!(sandbox.read("s.o") == sandbox.read("local.o"), "{what}: {run}");
        assert_eq!(tap.take_versions().len(), 1, "{what} is not distributed: {run}");
        fs::remove_file(sandbox.work("s.o")).unwrap();
    }
    sandbox.finish([daemon]);
}

/// distcc-ng 227: what is called gcc is clang, and the reverse. What a script starts, nobody knows before: its objects
/// are right, and debuggers are told another directory.
#[test]
fn a_compiler_is_what_it_is_and_not_what_it_is_called() {
    let clang = require("clang");
    let sandbox = with_source();
    sandbox.write("w.c", "int w(void) { int unused; return 1; }\n#define M(x) x\nint v = M(1);\n");
    fs::create_dir(sandbox.path("named")).unwrap();
    for (name, real) in [("mycc", clang.as_str()), ("mygcc", &clang), ("myclang", "/usr/bin/gcc")] {
        symlink(real, sandbox.path("named").join(name)).unwrap();
    }
    sandbox.script("named/scriptcc", "exec clang \"$@\"\n");
    let path = format!("{}:/usr/bin:/bin", sandbox.path("named").display());
    let names = ["mycc", "mygcc", "myclang", "scriptcc"];
    names.iter().for_each(|name| sandbox.allow_compiler(name));
    let daemon = sandbox.daemon().env("DISTCCD_PATH", &path).start();
    for name in names {
        for line in ["-c w.c -o x.o", "-Wall -c w.c -o x.o", "-O2 -c w.c -o x.o", "-g -c w.c -o x.o"] {
            if name == "scriptcc" && line.contains("-g") {
                continue;
            }
            let compile = |run: Run| {
                let run = run.env("PATH", &path).run();
                assert_eq!(run.code(), 0, "{name} {line}: {run}");
                let object = sandbox.read("x.o");
                fs::remove_file(sandbox.work("x.o")).unwrap();
                (run, object)
            };
            let words: Vec<&str> = line.split(' ').collect();
            let (_, local) = compile(sandbox.command(sandbox.path("named").join(name)).args(&words));
            let words = std::iter::once(name).chain(words);
            let (run, remote) = compile(sandbox.distcc(words).hosts(&daemon.host()));
            if line.contains("-g") {
                // Of a preprocessed source clang's line numbers have another form; but they say where it was.
                let has = |text: &str| remote.windows(text.len()).any(|part| part == text.as_bytes());
                assert!(has(sandbox.work("").to_str().unwrap().trim_end_matches('/')), "{name}");
                assert!(!has("distccd_"), "{name} {line}: a directory of the server's");
            } else {
                assert!(remote == local, "{name} {line}: {run}");
            }
        }
    }
    sandbox.finish([daemon]);
}

/// 3.4's manual says that a value switches it on; any value does, and 0 too.
#[test]
fn the_manual_says_how_no_rewrite_cross_is_read() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/man/distcc.1")).unwrap();
    let entry = page.split(".B DISTCC_NO_REWRITE_CROSS\n").last().unwrap().split(".TP").next().unwrap();
    assert!(entry.contains("whatever the value"), "{entry}");
    let sandbox = with_source();
    let server = FakeServer::start(|request| reply(request.version, 0, "", "object", None));
    for (value, sent) in
        [(None, "x86_64-linux-gnu-gcc"), (Some("0"), "gcc"), (Some(""), "gcc"), (Some("1"), "gcc")]
    {
        let run = sandbox.distcc(["gcc", "-c", "a.c"]).hosts(&server.host().replace(",cpp", ""));
        let run = value.into_iter().fold(run, |run, value| run.env("DISTCC_NO_REWRITE_CROSS", value));
        assert_eq!(run.run().code(), 0);
        assert_eq!(server.received.lock().unwrap().pop().unwrap().argv[0], sent, "{value:?}");
    }
}
