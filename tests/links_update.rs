//! `update-distcc-symlinks`: what it makes, keeps and removes, beside Debian's script of that name.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use support::{Outcome, Run, Sandbox, require, tree_of};

const DEBIANS: &str = "/usr/sbin/update-distcc-symlinks";

fn update(sandbox: &Sandbox) -> Run {
    sandbox.applet("update-distcc-symlinks")
}

fn entries(directory: &Path) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(directory) else { return BTreeSet::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn printed(run: &Outcome) -> BTreeSet<String> {
    assert!(run.status.success() && run.err().is_empty(), "{run}");
    run.out().lines().map(str::to_owned).collect()
}

fn program(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "\x7fELF").unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn every_compiler_here_gets_a_link_that_leads_to_distcc() {
    let sandbox = Sandbox::new();
    let directory = sandbox.path("lib/distcc");
    fs::remove_dir_all(&directory).unwrap();
    let names = printed(&update(&sandbox).run());
    for name in ["cc", "gcc", "g++", "gcc-12", "x86_64-linux-gnu-gcc", "clang", "clang++", "clang-14"] {
        assert!(names.contains(name), "{name} in {names:?}");
    }
    assert_eq!(entries(&directory), names);
    let own = fs::metadata(sandbox.path("bin/distcc")).unwrap();
    for name in &names {
        let link = directory.join(name);
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("../../bin/distcc"), "{name}");
        assert_eq!(fs::metadata(&link).unwrap().ino(), own.ino(), "{name}");
    }
    // They are links for builds, too.
    sandbox.write("a.c", "int a;\n");
    let path = format!("{}:/usr/bin:/bin", directory.display());
    let daemon = sandbox.daemon().start();
    let run = sandbox.command(directory.join("gcc")).args(["-c", "a.c"]).env("PATH", path);
    run.hosts(&daemon.host()).run().assert_quiet_success();
    daemon.wait_for_jobs(1);

    // And again: nothing changes, not even a link's age.
    let ages = || {
        names
            .iter()
            .map(|name| fs::symlink_metadata(directory.join(name)).unwrap().ctime_nsec())
            .collect::<Vec<_>>()
    };
    let before = ages();
    assert_eq!(printed(&update(&sandbox).run()), names);
    assert_eq!(ages(), before);
    sandbox.finish([daemon]);
}

#[test]
fn links_of_compilers_that_are_gone_go_and_what_others_made_stays() {
    let sandbox = Sandbox::new();
    let directory = sandbox.path("lib/distcc");
    let kit = sandbox.path("kit/bin");
    for name in ["gcc-77", "armv7-kit-linux-gnueabi-g++", "gcc-nm"] {
        program(&kit.join(name));
    }
    fs::create_dir_all(sandbox.path("kit/lib/gcc/armv7-kit-linux-gnueabi")).unwrap();
    symlink("/usr/bin/ccache", kit.join("clang-77")).unwrap();
    symlink("../../bin/distcc", directory.join("gcc-66")).unwrap();
    symlink("/gone/bin/distcc", directory.join("gcc-55")).unwrap();
    symlink(sandbox.path("bin/distcc"), directory.join("by-hand")).unwrap();
    fs::write(directory.join("README"), "text").unwrap();
    let run = update(&sandbox).args(["--verbose"]).args([&kit]).run();
    assert!(run.status.success(), "{run}");
    let names: BTreeSet<String> = run.out().lines().map(str::to_owned).collect();
    let there = entries(&directory);
    for name in ["gcc-77", "armv7-kit-linux-gnueabi-g++"] {
        assert!(names.contains(name) && there.contains(name), "{name}: {run}");
        assert!(run.err().contains(&format!("made {}/{name}\n", directory.display())), "{run}");
    }
    for name in ["clang-77", "gcc-66", "gcc-55", "gcc-nm"] {
        assert!(!names.contains(name) && !there.contains(name), "{name}: {run}");
    }
    assert!(run.err().contains(&format!("removed {}/gcc-66\n", directory.display())), "{run}");
    assert!(there.contains("by-hand") && there.contains("README"), "{there:?}");

    // Without the kit, its links go.
    update(&sandbox).run();
    assert!(!entries(&directory).contains("gcc-77"));
    sandbox.finish([]);
}

#[test]
fn mistakes_are_told() {
    let sandbox = Sandbox::new();
    let before = tree_of(&sandbox.path("lib"));
    for (words, code, text) in [
        (["--bogus"].as_slice(), 101, "ERROR: --bogus: no such option; see update-distcc-symlinks --help"),
        (&["--prefix"], 101, "--prefix: want a directory"),
        (&["--prefix", "/no/such/prefix"], 115, "/no/such/prefix/bin/distcc: no such program"),
    ] {
        let run = update(&sandbox).args(words).run();
        assert_eq!(run.code(), code, "{run}");
        assert!(run.err().contains(text) && run.out().is_empty(), "{run}");
    }
    assert_eq!(tree_of(&sandbox.path("lib")).names(), before.names());
    let run = update(&sandbox).args(["/no/such/kit"]).run();
    assert!(run.status.success() && run.err().contains("Warning: /no/such/kit: no such directory"), "{run}");
    let help = update(&sandbox).args(["--help"]).run();
    assert!(help.status.success() && help.out().contains("PREFIX/lib/distcc"), "{help}");
    assert!(help.out().lines().all(|line| line.chars().count() <= 80), "{help}");

    // A program that lies about has no prefix.
    let stray = sandbox.path("stray/update-distcc-symlinks");
    fs::create_dir(sandbox.path("stray")).unwrap();
    fs::copy(sandbox.path("bin/distcc"), &stray).unwrap();
    let run = sandbox.command(&stray).run();
    assert_eq!(run.code(), 101, "{run}");
    assert!(run.err().contains("name one with --prefix"), "{run}");
    let prefix = sandbox.path("other");
    fs::create_dir_all(prefix.join("bin")).unwrap();
    fs::write(prefix.join("lib"), "in the way").unwrap();
    symlink(sandbox.path("bin/distcc"), prefix.join("bin/distcc")).unwrap();
    let run = sandbox.command(&stray).args([format!("--prefix={}", prefix.display())]).run();
    assert_eq!(run.code(), 107, "{run}");
    assert!(run.err().contains(&format!("ERROR: make {}/lib/distcc: ", prefix.display())), "{run}");
    fs::remove_file(prefix.join("lib")).unwrap();
    let run = sandbox.command(&stray).args([format!("--prefix={}", prefix.display())]).run();
    assert_eq!(printed(&run), entries(&prefix.join("lib/distcc")));
    sandbox.finish([]);
}

/// Debian's script and ours look at the same machine, with many more compilers than this one has.
#[test]
fn debians_script_makes_the_same_links() {
    require("distcc");
    let sandbox = Sandbox::new();
    let [programs, libraries] = ["more/bin", "more/lib"].map(|name| sandbox.path(name));
    for name in [
        "gcc-99",
        "g++-99",
        "x86_64-linux-gnu-gcc-99",
        "arm-none-eabi-gcc",
        "arm-none-eabi-g++-13.2",
        "aarch64-linux-gnu-gcc-12",
        "x86_64-w64-mingw32-gcc-12-posix",
        "x86_64-w64-mingw32-g++",
        "clang-99",
        "clang++-3.8",
        "llvm-clang-3.8",
        "nvcc",
        "musl-gcc",
        "gcc-nm-99",
        "clang-format-99",
        "clang-cpp-99",
        "x86_64-linux-gnu-gcc-ar-99",
    ] {
        program(&programs.join(name));
    }
    fs::write(programs.join("clang-98"), "not executable").unwrap();
    for name in [
        "gcc/x86_64-linux-gnu/99",
        "gcc/arm-none-eabi/13.2",
        "gcc-cross/aarch64-linux-gnu/12",
        "gcc/x86_64-w64-mingw32/12-posix",
        "distcc",
    ] {
        fs::create_dir_all(libraries.join(name)).unwrap();
    }
    fs::create_dir(sandbox.path("scratch")).unwrap();
    // An overlay of each directory: what the machine has, and what is added. The script's directory is a fresh one.
    let script = "s=$0; mount -t tmpfs none \"$s\" && mkdir \"$s/u\" \"$s/w\" \
         && mount -t overlay -o lowerdir=\"$1\":/usr/bin none /usr/bin \
         && mount -t overlay -o lowerdir=\"$2\":/usr/lib,upperdir=\"$s/u\",workdir=\"$s/w\" none /usr/lib \
         && rm -rf /usr/lib/distcc/* && \"$3\" && \"$4\" >/dev/null && cd /usr/lib/distcc \
         && for name in *; do echo \"$name $(readlink \"$name\")\"; done";
    let run = sandbox
        .command("/usr/bin/unshare")
        .args(["--mount", "--map-root-user", "/bin/sh", "-c", script])
        .args([
            sandbox.path("scratch"),
            programs,
            libraries,
            DEBIANS.into(),
            sandbox.path("bin/update-distcc-symlinks"),
        ])
        .run();
    assert!(run.status.success() && run.err().is_empty(), "{run}");
    let debians: BTreeSet<String> = run.out().lines().map(str::to_owned).collect();
    let directory = sandbox.path("lib/distcc");
    let mut ours: BTreeSet<String> = entries(&directory)
        .into_iter()
        .map(|name| format!("{name} {}", fs::read_link(directory.join(&name)).unwrap().display()))
        .collect();
    assert!(debians.len() > 25, "{debians:?}");
    // These two are 3.4's own, and Debian's script leaves them out.
    for name in ["c89 ../../bin/distcc", "c99 ../../bin/distcc"] {
        ours.remove(name);
    }
    assert_eq!(ours, debians, "ours on the left, Debian's on the right");
    sandbox.finish([]);
}
