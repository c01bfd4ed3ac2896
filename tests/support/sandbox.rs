//! A test's private directories, and the environment its programs run in.
//!
//! ```text
//! bin/            links to the binary under its applets' names
//! lib/distcc/     the daemon's masquerade directory: compilers it accepts
//! masquerade/     links to the client called like compilers, for PATH
//! work/           the directory commands run in
//! tmp/            the client's TMPDIR; must be empty in the end
//! distcc/         DISTCC_DIR
//! home/           HOME
//! server-N/       a daemon's TMPDIR; must be empty in the end
//! ```

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::{DEBIAN_DISTCC, Daemon, DaemonBuilder, Run, Tree, require, send_signal, tree_of};

/// The names the binary is called by in every sandbox.
const APPLETS: &[&str] = &[
    "distccd",
    "distcc-3.4",
    "lsdistcc",
    "pump",
    "include_server",
    "distccmon-text",
    "update-distcc-symlinks",
];
/// Compilers that clients may masquerade as, and that daemons accept.
const COMPILERS: &[&str] = &["gcc", "cc", "g++", "c++", "clang", "clang++"];
/// Names that clients complete those to.
const COMPLETED: &[&str] = &["x86_64-linux-gnu-gcc", "x86_64-linux-gnu-g++"];
/// How long what a killed process left may take to go away.
const CLEAN_TIME_MAX: Duration = Duration::from_secs(5);
/// Where programs are looked for.
const PATH: &str = "/usr/bin:/bin:/usr/sbin:/sbin";

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Private directories; removed when dropped, unless the test failed.
pub struct Sandbox {
    root: PathBuf,
    servers: AtomicU32,
    /// What daemons may run though it is a script.
    scripts: Mutex<Vec<PathBuf>>,
}

impl Sandbox {
    /// Makes the directories.
    pub fn new() -> Sandbox {
        Sandbox::of(Path::new(env!("CARGO_BIN_EXE_distcc")))
    }

    /// The same for another build of the binary.
    pub fn of(binary: &Path) -> Sandbox {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("distcc-e2e-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        for directory in ["bin", "lib/distcc", "masquerade", "work", "tmp", "distcc", "home"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::set_permissions(&root, PermissionsExt::from_mode(0o755)).unwrap();
        let own = root.join("bin/distcc");
        // Our own name for the file: the daemon looks for its masquerade directory beside its executable.
        if fs::hard_link(binary, &own).is_err() {
            fs::copy(binary, &own).unwrap();
        }
        for applet in APPLETS {
            symlink("distcc", root.join("bin").join(applet)).unwrap();
        }
        for compiler in COMPILERS {
            symlink("../bin/distcc", root.join("masquerade").join(compiler)).unwrap();
        }
        for compiler in COMPILERS.iter().chain(COMPLETED) {
            symlink("../../bin/distcc", root.join("lib/distcc").join(compiler)).unwrap();
        }
        Sandbox { root, servers: AtomicU32::new(0), scripts: Mutex::default() }
    }

    /// A path in the sandbox: `path("tmp")`.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join(name)
    }

    /// A path in the directory commands run in.
    pub fn work(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join("work").join(name)
    }

    /// Writes a file for the commands, with the directories it needs.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.work(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
        path
    }

    /// Reads what a command wrote.
    #[track_caller]
    pub fn read(&self, name: impl AsRef<Path>) -> Vec<u8> {
        let path = self.work(name);
        fs::read(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
    }

    /// Everything commands have written.
    pub fn tree(&self) -> Tree {
        tree_of(&self.root.join("work"))
    }

    /// Empties the directory commands run in.
    pub fn clear_work(&self) {
        fs::remove_dir_all(self.work("")).unwrap();
        fs::create_dir(self.work("")).unwrap();
    }

    /// Writes a program, the shell script `body`: `script("bin/fakecc", "exit 1\n")`. Daemons of ours that are made
    /// later accept it as a compiler.
    pub fn script(&self, path: impl AsRef<Path>, body: &str) -> PathBuf {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // By another process: one that this process starts meanwhile would inherit the open file, and a
        // script that is open for writing cannot be executed.
        let status = std::process::Command::new("/bin/sh")
            .args(["-c", "printf '#!/bin/sh\\n%s' \"$1\" > \"$0\" && chmod 755 \"$0\""])
            .arg(&path)
            .arg(body)
            .status();
        assert!(status.is_ok_and(|status| status.success()), "write {}", path.display());
        self.scripts.lock().unwrap().push(path.clone());
        path
    }

    /// Lets our daemons accept one more compiler name.
    pub fn allow_compiler(&self, name: &str) {
        symlink("../../bin/distcc", self.path("lib/distcc").join(name)).unwrap();
    }

    /// A program in the tests' environment.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Run {
        Run::new(program)
            .env("PATH", PATH)
            .env("HOME", self.path("home"))
            .env("LC_ALL", "C")
            .env("TMPDIR", self.path("tmp"))
            .env("DISTCC_DIR", self.path("distcc"))
            // Or a background include server would outlive the test.
            .env("DISTCC_PUMP", "0")
            .cwd(self.work(""))
    }

    /// Our client: `distcc WORDS`.
    pub fn distcc<I: IntoIterator<Item: AsRef<OsStr>>>(&self, words: I) -> Run {
        self.command(self.path("bin/distcc")).args(words)
    }

    /// The client of distcc 3.4.
    pub fn debian_distcc<I: IntoIterator<Item: AsRef<OsStr>>>(&self, words: I) -> Run {
        require("distcc");
        self.command(DEBIAN_DISTCC).args(words)
    }

    /// The binary under another name in `bin`: `applet("lsdistcc")`.
    pub fn applet(&self, name: &str) -> Run {
        self.command(self.path("bin").join(name))
    }

    /// Our daemon, not yet started. It accepts the compilers in `lib/distcc`.
    pub fn daemon(&self) -> DaemonBuilder {
        let mut scripts = self.scripts.lock().unwrap().clone();
        scripts.dedup();
        let options = scripts.into_iter().flat_map(|script| ["--allow-script".into(), script]);
        DaemonBuilder::ours(&self.path("bin/distccd"), self.server_directory()).args(options)
    }

    /// The daemon of distcc 3.4, not yet started. It accepts the compilers in /usr/lib/distcc.
    pub fn debian_daemon(&self) -> DaemonBuilder {
        DaemonBuilder::debian(self.server_directory())
    }

    /// A TMPDIR for a daemon, which may be another user.
    pub fn server_directory(&self) -> PathBuf {
        let number = self.servers.fetch_add(1, Ordering::Relaxed);
        let directory = self.path(format!("server-{number}"));
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, PermissionsExt::from_mode(0o777)).unwrap();
        directory
    }

    /// Stops the daemons, and fails if anything is left: a temporary file of a client or a server, a state
    /// file, a half-written output, a process.
    #[track_caller]
    pub fn finish(self, daemons: impl IntoIterator<Item = Daemon>) {
        for mut daemon in daemons {
            daemon.stop();
        }
        self.assert_clean();
    }

    /// The same check while daemons run: they may live, but must hold no files.
    #[track_caller]
    pub fn assert_clean_beside(&self, daemons: &[&Daemon]) {
        let alive: BTreeSet<u32> = daemons.iter().map(|daemon| daemon.id()).collect();
        self.check(&|process, group| !alive.contains(&process) && !alive.contains(&group));
    }

    /// Fails if anything is left.
    #[track_caller]
    pub fn assert_clean(&self) {
        self.check(&|_, _| true);
    }

    #[track_caller]
    fn check(&self, counts: &dyn Fn(u32, u32) -> bool) {
        let give_up = Instant::now() + CLEAN_TIME_MAX;
        loop {
            let left = self.leftovers(counts);
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < give_up, "left behind:\n{}", left.join("\n"));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn leftovers(&self, counts: &dyn Fn(u32, u32) -> bool) -> Vec<String> {
        let mut left = Vec::new();
        let mut directories = vec![self.path("tmp"), self.path("distcc/state")];
        directories.extend(
            (0..self.servers.load(Ordering::Relaxed)).map(|number| self.path(format!("server-{number}"))),
        );
        for directory in directories.iter().filter(|directory| directory.exists()) {
            let names = tree_of(directory).names();
            left.extend(names.iter().map(|name| format!("file {}/{name}", directory.display())));
        }
        for (process, group) in self.processes() {
            if counts(process, group) {
                let command = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
                let command = String::from_utf8_lossy(&command).replace('\0', " ");
                left.push(format!("process {process}: {command}"));
            }
        }
        left
    }

    /// Processes of this test, with their groups: those with one of our directories in their environment.
    pub fn processes(&self) -> Vec<(u32, u32)> {
        let own = format!("{}/", self.root.display());
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            if environment.windows(own.len()).any(|part| part == own.as_bytes()) {
                let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
                let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
                let group = fields.get(2).and_then(|group| group.parse().ok()).unwrap_or(0);
                if fields.first() != Some(&"Z") {
                    found.push((process, group));
                }
            }
        }
        found
    }

    /// Names of the files in `distcc/lock` that start with a text: `backoff_` for hosts that are avoided.
    pub fn lock_files(&self, prefix: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path("distcc/lock")) else { return Vec::new() };
        let mut names: Vec<String> = entries
            .flatten()
            .map(|entry| entry.file_name())
            .filter(|name| name.as_bytes().starts_with(prefix.as_bytes()))
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// The hosts that are avoided.
    pub fn backoffs(&self) -> Vec<String> {
        self.lock_files("backoff_")
    }
}

impl Default for Sandbox {
    fn default() -> Sandbox {
        Sandbox::new()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // What a failed test has not ended: include servers live on for hours.
        for (process, _) in self.processes() {
            send_signal("KILL", i64::from(process));
        }
        if std::thread::panicking() {
            eprintln!("the sandbox is kept: {}", self.root.display());
            return;
        }
        let _ = fs::remove_dir_all(&self.root);
    }
}
