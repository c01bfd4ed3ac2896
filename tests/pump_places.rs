//! Pump mode where a tree or a compiler is at a place that servers have, too, or do not expect.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use support::{Daemon, DaemonBuilder, Pump, Run, Sandbox, Tap, Tree, require, tree_of};

/// Where sources may be that a compiler's machine has files of its own.
const PLACES: &[&str] =
    &["/usr/src", "/opt", "/usr/local/src", "/usr/lib", "/home", "/var/tmp", "/srv", "/root"];

/// A directory outside the sandbox. Removed with its guard.
struct Elsewhere(PathBuf);

impl Elsewhere {
    fn new(parent: &str) -> Elsewhere {
        let path = Path::new(parent).join(format!("distcc-e2e-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("create {}: {error}", path.display()));
        Elsewhere(path)
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A build in pump mode.
struct Build {
    sandbox: Sandbox,
    daemon: Daemon,
    tap: Tap,
    pump: Pump,
}

impl Build {
    /// `path` is where client, include server and daemon look for compilers.
    fn start(sandbox: Sandbox, path: &str) -> Build {
        let daemon = sandbox.daemon();
        Build::with_daemon(sandbox, daemon, path)
    }

    fn with_daemon(sandbox: Sandbox, daemon: DaemonBuilder, path: &str) -> Build {
        let daemon = daemon.env("DISTCCD_PATH", path).start();
        let tap = Tap::before(daemon.port());
        let startup = sandbox.applet("pump").args(["--startup"]).hosts(&tap.pump_host()).env("PATH", path);
        let pump = Pump::from(&startup.run());
        Build { sandbox, daemon, tap, pump }
    }

    fn distcc(&self, words: &[&str]) -> Run {
        self.pump.around(self.sandbox.distcc(words).hosts(&self.tap.pump_host()))
    }

    /// Fails unless a command gives in `directory` what it gives locally, by way of the server in pump mode.
    #[track_caller]
    fn assert_same(&self, directory: &Path, path: &str, words: &[&str]) -> Tree {
        let run = |run: Run| {
            let outcome = run.env("PATH", path).cwd(directory).run();
            let tree = tree_of(directory);
            for name in tree.0.keys().filter(|name| name.starts_with("out")) {
                fs::remove_file(directory.join(name)).unwrap();
            }
            (outcome, tree)
        };
        fs::create_dir_all(directory.join("out")).unwrap();
        let (local, local_tree) = run(self.sandbox.command(words[0]).args(&words[1..]));
        assert_eq!(local.code(), 0, "{local}");
        let (remote, tree) = run(self.distcc(words));
        assert_eq!(self.tap.take_versions(), [3], "in {}: {remote}", directory.display());
        assert_eq!(remote.err(), local.err(), "in {}: {remote}", directory.display());
        assert_eq!(remote.code(), 0, "{remote}");
        assert_eq!(local_tree.difference(&tree), "", "in {}: {remote}", directory.display());
        tree
    }

    fn finish(self) {
        self.pump.stop(&self.sandbox);
        self.sandbox.finish([self.daemon]);
    }
}

const SYSTEM_PATH: &str = "/usr/bin:/bin";

#[test]
fn a_tree_may_lie_below_directories_of_the_server() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!("skipped: only root can write there");
        return;
    }
    let build = Build::start(Sandbox::new(), SYSTEM_PATH);
    for place in PLACES {
        let tree = Elsewhere::new(place);
        tree.write("inc/a.h", "#include \"sub/b.h\"\nstatic inline int in_a(void) { return B; }\n");
        tree.write("inc/sub/b.h", "#define B 4\n");
        tree.write("src/a.c", "#include <stdio.h>\n#include <a.h>\nint a(void) { int unused; return in_a(); }\nconst char *f = __FILE__;\n");
        symlink("../inc", tree.0.join("src/link")).unwrap();
        let whole = tree.0.display();
        let (include, source) = (format!("-I{whole}/inc"), format!("{whole}/src/a.c"));
        for words in [
            &["gcc", "-g", "-Wall", "-MD", "-Iinc", "-c", "src/a.c", "-o", "out/a.o"],
            &["gcc", "-gdwarf-4", "-Wall", "-MD", &include, "-c", &source, "-o", "out/a.o"],
            &["gcc", "-g3", "-Wall", "-MMD", "-Isrc/link", "-c", &source, "-o", "out/a.o"],
        ] {
            build.assert_same(&tree.0, SYSTEM_PATH, words);
        }
    }
    build.finish();
}

/// The compiler's own files, as far as it finds them beside itself.
fn install_compiler(toolchain: &Path) {
    let driver = fs::canonicalize(require("gcc")).unwrap();
    fs::create_dir_all(toolchain.join("bin")).unwrap();
    fs::copy(driver, toolchain.join("bin/privatecc")).unwrap();
    let text = std::process::Command::new("gcc").arg("-print-file-name=include").output().unwrap().stdout;
    let include = PathBuf::from(String::from_utf8(text).unwrap().trim());
    let real = include.parent().unwrap();
    let own = toolchain.join(real.strip_prefix("/usr").unwrap());
    fs::create_dir_all(own.join("include")).unwrap();
    for entry in fs::read_dir(real).unwrap().flatten() {
        if entry.file_name() != "include" {
            symlink(entry.path(), own.join(entry.file_name())).unwrap();
        }
    }
    for entry in fs::read_dir(include).unwrap().flatten().filter(|entry| entry.path().is_file()) {
        fs::copy(entry.path(), own.join("include").join(entry.file_name())).unwrap();
    }
    // What only this compiler has.
    fs::write(own.join("include/private-header.h"), "#define PRIVATE 7\n").unwrap();
}

#[test]
fn a_compiler_may_live_outside_usr() {
    let sandbox = Sandbox::new();
    install_compiler(&sandbox.path("toolchain"));
    let path = format!("{}:{SYSTEM_PATH}", sandbox.path("toolchain/bin").display());
    let whole = sandbox.path("toolchain/bin/privatecc").display().to_string();
    fs::write(sandbox.path("commands"), format!("{whole}\n")).unwrap();
    sandbox.write("a.h", "#include <private-header.h>\n");
    sandbox.write("a.c", "#include <stddef.h>\n#include <stdio.h>\n#include \"a.h\"\nsize_t a = PRIVATE;\n");
    let daemon = sandbox.daemon().env("DISTCC_CMDLIST", sandbox.path("commands"));
    let build = Build::with_daemon(sandbox, daemon.env("DISTCC_CMDLIST_NUMWORDS", "1"), &path);
    let work = build.sandbox.work("");
    build.assert_same(&work, &path, &["privatecc", "-g", "-MD", "-c", "a.c", "-o", "out/a.o"]);
    build.assert_same(&work, &path, &[&whole, "-g", "-MD", "-c", "a.c", "-o", "out/a.o"]);
    build.finish();
}

#[test]
fn a_compiler_may_be_a_script_that_adds_options() {
    let sandbox = Sandbox::new();
    let extra = sandbox.path("toolchain/extra");
    fs::create_dir_all(&extra).unwrap();
    fs::write(extra.join("extra.h"), "#define EXTRA 5\n").unwrap();
    let body = format!("exec gcc -DWRAPPED=2 -isystem '{}' \"$@\"\n", extra.display());
    sandbox.script("toolchain/bin/wrapcc", &body);
    let path = format!("{}:{SYSTEM_PATH}", sandbox.path("toolchain/bin").display());
    sandbox.allow_compiler("wrapcc");
    sandbox.write("a.c", "#include <extra.h>\nint a = EXTRA + WRAPPED;\n");
    let build = Build::start(sandbox, &path);
    build.assert_same(&build.sandbox.work(""), &path, &["wrapcc", "-g", "-MD", "-c", "a.c", "-o", "out/a.o"]);
    build.finish();
}

/// A link to a compiler, by another name, in a directory of its own.
#[test]
fn a_compiler_may_be_a_link() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("toolchain/bin")).unwrap();
    symlink("/usr/bin/gcc", sandbox.path("toolchain/bin/linkcc")).unwrap();
    let path = format!("{}:{SYSTEM_PATH}", sandbox.path("toolchain/bin").display());
    sandbox.allow_compiler("linkcc");
    sandbox.write("a.c", "#include <stdio.h>\nint a;\n");
    let build = Build::start(sandbox, &path);
    build.assert_same(&build.sandbox.work(""), &path, &["linkcc", "-g", "-MD", "-c", "a.c", "-o", "out/a.o"]);
    build.finish();
}
