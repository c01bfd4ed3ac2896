//! Where the object goes: links, devices, permissions, places that do not exist. And what the environment
//! asks for.

mod support;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};

use support::{Run, Sandbox};

/// Compiles `a.c` with `words` after it, locally or on the server.
fn compile(sandbox: &Sandbox, host: Option<&str>, words: &str) -> Run {
    let words = ["gcc", "-c", "a.c"].into_iter().chain(words.split(' ')).collect::<Vec<_>>();
    match host {
        Some(host) => sandbox.distcc(words).hosts(host),
        None => sandbox.command("gcc").args(&words[1..]),
    }
}

#[test]
fn objects_are_placed_as_the_compiler_places_them() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().start();
    let host = daemon.host();
    let mut found = Vec::new();
    for host in [None, Some(host.as_str())] {
        sandbox.clear_work();
        sandbox.write("a.c", "int a;\n");
        let mode = |name: &str| fs::symlink_metadata(sandbox.work(name)).unwrap().mode();
        // A link is replaced, and what it leads to is not touched.
        sandbox.write("real.o", "real");
        symlink("real.o", sandbox.work("link.o")).unwrap();
        compile(&sandbox, host, "-o link.o").run().assert_quiet_success();
        // So is one of two names: a cache may own the other.
        sandbox.write("cached.o", "cached");
        fs::hard_link(sandbox.work("cached.o"), sandbox.work("hard.o")).unwrap();
        compile(&sandbox, host, "-o hard.o").run().assert_quiet_success();
        // An old object's permissions are not kept; the umask decides.
        sandbox.write("old.o", "an old object that is longer than nothing");
        fs::set_permissions(sandbox.work("old.o"), PermissionsExt::from_mode(0o755)).unwrap();
        compile(&sandbox, host, "-o old.o").run().assert_quiet_success();
        let path = sandbox.path("bin").display().to_string() + ":/usr/bin:/bin";
        let command = if host.is_some() { "distcc gcc" } else { "gcc" };
        let masked = format!("umask 077; {command} -c a.c -o masked.o");
        let run =
            sandbox.command("/bin/sh").args(["-c", &masked]).env("PATH", path).hosts(host.unwrap_or(""));
        run.run().assert_quiet_success();
        let modes = ["link.o", "hard.o", "old.o", "masked.o"].map(mode);
        found.push((sandbox.tree(), modes));
    }
    assert_eq!(found[0].0.difference(&found[1].0), "");
    assert_eq!(found[0].1, found[1].1);
    assert_eq!(sandbox.read("real.o"), b"real");
    assert_eq!(sandbox.read("cached.o"), b"cached");
    daemon.wait_for_jobs(4);
    sandbox.finish([daemon]);
}

#[test]
fn an_output_that_cannot_be_written_is_the_compilers_to_report() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().start();
    sandbox.write("a.c", "int a;\n");
    sandbox.write("directory.o/file", "");
    for output in ["-o no/such/place.o", "-o directory.o"] {
        let local = compile(&sandbox, None, output).run();
        let run = compile(&sandbox, Some(&daemon.host()), output).run();
        assert_eq!(run.code(), local.code(), "{run}");
        assert!(run.err().ends_with(&local.err().replace("x86_64-linux-gnu-", "")), "{run}\n{local}");
        assert_eq!(sandbox.backoffs(), [""; 0], "{run}");
    }
    assert_eq!(sandbox.tree().names(), ["a.c", "directory.o/file"]);
    sandbox.finish([daemon]);
}

/// Configure scripts compile to /dev/null, as root too.
#[test]
fn devices_stay_devices() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().start();
    sandbox.write("a.c", "int a;\n");
    // The real one is not put at risk by a test that root may run.
    let own = sandbox.command("mknod").args(["null", "c", "1", "3"]).run();
    let device = if own.code() == 0 { sandbox.work("null") } else { "/dev/null".into() };
    compile(&sandbox, Some(&daemon.host()), &format!("-o {}", device.display())).run().assert_quiet_success();
    assert!(fs::metadata(&device).unwrap().file_type().is_char_device());
    daemon.wait_for_jobs(1);
    sandbox.finish([daemon]);
}

/// Variables by which gcc writes dependencies without an option.
#[test]
fn variables_that_ask_for_dependencies_are_obeyed() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().start();
    for variable in [
        ("DEPENDENCIES_OUTPUT", "deps"),
        ("DEPENDENCIES_OUTPUT", "deps other-target"),
        ("SUNPRO_DEPENDENCIES", "deps"),
    ] {
        for words in ["-O1", "-o out.o"] {
            let mut trees = Vec::new();
            for host in [None, Some(daemon.host())] {
                sandbox.clear_work();
                sandbox.write("a.h", "");
                sandbox.write("a.c", "#include \"a.h\"\nint a;\n");
                compile(&sandbox, host.as_deref(), words)
                    .env(variable.0, variable.1)
                    .run()
                    .assert_quiet_success();
                trees.push(sandbox.tree());
            }
            assert_eq!(trees[0].difference(&trees[1]), "", "{variable:?} {words}");
        }
    }
    sandbox.finish([daemon]);
}

/// The preprocessor's search path may come from the environment.
#[test]
fn include_directories_of_the_environment_are_searched() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().start();
    sandbox.write("hidden/part.h", "#define PART 5\n");
    sandbox.write("a.c", "#include <part.h>\nint a = PART;\n");
    for variable in ["CPATH", "C_INCLUDE_PATH"] {
        let run = compile(&sandbox, Some(&daemon.host()), "-O1").env(variable, "hidden").run();
        run.assert_quiet_success();
    }
    daemon.wait_for_jobs(2);
    sandbox.finish([daemon]);
}
