//! Trees to analyse, made for each case; and the compilers' own `-M`, which says what they read.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use distcc::compiler_args::{self, Compile, Verdict};
use distcc::include_scan::{CannotAnalyse, Closure, IncludeVariables, Query, Scanner};
use distcc::sys::temp::TempDir;

pub(crate) const SEARCH_PATH: &str = "/usr/bin:/bin";

/// A private tree; gone when dropped.
pub(crate) struct Tree {
    directory: TempDir,
    pub(crate) root: PathBuf,
}

impl Tree {
    /// Each file is `name: text`; `name -> target` makes a link.
    pub(crate) fn new(files: &[(&str, &str)]) -> Tree {
        let directory = TempDir::create(&std::env::temp_dir(), "include_scan", false).unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        let tree = Tree { directory, root };
        for (name, text) in files {
            tree.write(name, text);
        }
        tree
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let (name, target) = match name.split_once(" -> ") {
            Some((name, target)) => (name, Some(target)),
            None => (name, None),
        };
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match target {
            Some(target) => symlink(target.replace("ROOT", self.root.to_str().unwrap()), path).unwrap(),
            None if name.ends_with('/') => fs::create_dir_all(path).unwrap(),
            None => fs::write(path, text.replace("ROOT", self.root.to_str().unwrap())).unwrap(),
        }
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.root.join(name)).unwrap();
    }

    pub(crate) fn argv(&self, command: &str) -> Vec<OsString> {
        let root = self.directory.path().to_str().unwrap();
        command.split(' ').map(|word| word.replace("ROOT", root).into()).collect()
    }

    pub(crate) fn scan(&self, scanner: &mut Scanner, command: &str) -> Result<Arc<Closure>, CannotAnalyse> {
        self.scan_with(scanner, command, &IncludeVariables::default())
    }

    pub(crate) fn scan_with(
        &self,
        scanner: &mut Scanner,
        command: &str,
        variables: &IncludeVariables,
    ) -> Result<Arc<Closure>, CannotAnalyse> {
        let argv = self.argv(command);
        scan(scanner, &argv, &self.root, variables)
    }

    /// The names below the root that are in the answer.
    pub(crate) fn names(&self, closure: &Closure) -> BTreeSet<String> {
        let below = |path: &Path| path.strip_prefix(&self.root).ok()?.to_str().map(str::to_owned);
        closure.files.iter().filter_map(|file| below(&file.real)).collect()
    }

    /// The files below the root that the compiler reads, by their real paths; `None` if it fails.
    pub(crate) fn oracle(&self, command: &str, variables: &[(&str, &str)]) -> Option<BTreeSet<String>> {
        let files = oracle(&self.argv(command), &self.root, variables)?;
        Some(
            files
                .iter()
                .filter_map(|path| path.strip_prefix(&self.root).ok()?.to_str().map(str::to_owned))
                .collect(),
        )
    }
}

pub(crate) fn compile(argv: &[OsString]) -> Compile {
    match compiler_args::scan(argv).unwrap() {
        Verdict::Distribute(compile) => *compile,
        other => panic!("{argv:?}: {other:?}"),
    }
}

pub(crate) fn scan(
    scanner: &mut Scanner,
    argv: &[OsString],
    directory: &Path,
    variables: &IncludeVariables,
) -> Result<Arc<Closure>, CannotAnalyse> {
    scan_by(scanner, &Path::new("/usr/bin").join(&argv[0]), argv, directory, variables)
}

pub(crate) fn scan_by(
    scanner: &mut Scanner,
    compiler: &Path,
    argv: &[OsString],
    directory: &Path,
    variables: &IncludeVariables,
) -> Result<Arc<Closure>, CannotAnalyse> {
    scanner.scan(&Query {
        compile: &compile(argv),
        compiler,
        directory,
        variables,
        search_path: OsStr::new(SEARCH_PATH),
    })
}

/// The real paths of all files the compiler reads.
pub(crate) fn oracle(
    argv: &[OsString],
    directory: &Path,
    variables: &[(&str, &str)],
) -> Option<BTreeSet<PathBuf>> {
    let mut command = Command::new(&argv[0]);
    command.env_clear().env("PATH", SEARCH_PATH).envs(variables.iter().copied()).current_dir(directory);
    let mut skip = false;
    for word in &argv[1..] {
        let drop = skip
            || matches!(word.to_str(), Some("-c" | "-o" | "-MMD" | "-MD" | "-MP" | "-MF" | "-MQ" | "-MT"));
        skip = !skip && matches!(word.to_str(), Some("-o" | "-MF" | "-MQ" | "-MT"));
        if !drop {
            command.arg(word);
        }
    }
    let output = command.args(["-M", "-w"]).output().unwrap();
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8(output.stdout).unwrap().replace("\\\n", " ").replace("\\ ", "\u{1}");
    let (_, names) = text.split_once(": ")?;
    let real = |name: &str| {
        let name = name.replace('\u{1}', " ").replace("\\#", "#").replace("$$", "$");
        fs::canonicalize(directory.join(name)).unwrap()
    };
    Some(names.split_ascii_whitespace().map(real).collect())
}

pub(crate) fn has(compiler: &str) -> bool {
    let found = Path::new("/usr/bin").join(compiler).exists();
    if !found {
        println!("skipped for {compiler}, which is not installed");
    }
    found
}

/// A command, its files, and names that must be in the answer although a compiler may not need them.
pub(crate) type Case<'a> = (&'a str, &'a [(&'a str, &'a str)]);

pub(crate) fn check(cases: &[Case<'_>]) {
    for (command, files) in cases {
        let tree = Tree::new(files);
        let compiler = command.split(' ').next().unwrap();
        if !has(compiler) {
            continue;
        }
        let want = tree.oracle(command, &[]).unwrap_or_else(|| panic!("{command}: the compiler fails"));
        let mut scanner = Scanner::new();
        for round in ["cold", "warm"] {
            let closure = tree.scan(&mut scanner, command).unwrap_or_else(|why| panic!("{command}: {why}"));
            let found = tree.names(&closure);
            let missing: Vec<_> = want.difference(&found).collect();
            assert!(missing.is_empty(), "{command} ({round}): {missing:?} missing in {found:?}\n{files:?}");
        }
        // The whole view must be enough: the same files are read in a copy of it.
        let closure = tree.scan(&mut scanner, command).unwrap();
        let copy = recreate(&tree, &closure);
        let again =
            copy.oracle(command, &[]).unwrap_or_else(|| panic!("{command}: the copy does not compile"));
        assert_eq!(again, want, "{command}: the copy reads other files");
    }
}

/// What a server would build: the files, links and directories of an answer, below another root.
pub(crate) fn recreate(tree: &Tree, closure: &Closure) -> Tree {
    let copy = Tree::new(&[]);
    let place = |path: &Path| path.strip_prefix(&tree.root).ok().map(|name| copy.root.join(name));
    let make_parent = |path: &Path| fs::create_dir_all(path.parent().unwrap()).unwrap();
    for directory in closure.directories.iter().filter_map(|directory| place(directory)) {
        fs::create_dir_all(directory).unwrap();
    }
    for file in &closure.files {
        let Some(to) = place(&file.real) else { continue };
        make_parent(&to);
        let text = fs::read(&file.real).unwrap();
        let (from_root, to_root) = (tree.root.to_str().unwrap(), copy.root.to_str().unwrap());
        match String::from_utf8(text) {
            Ok(text) => fs::write(&to, text.replace(from_root, to_root)).unwrap(),
            Err(bytes) => fs::write(&to, bytes.as_bytes()).unwrap(),
        }
        // For `#import` files of the same content and time are the same file.
        let (seconds, nanoseconds) = file.modified;
        let modified = UNIX_EPOCH + Duration::new(seconds as u64, nanoseconds);
        fs::File::options().write(true).open(&to).unwrap().set_modified(modified).unwrap();
    }
    for link in &closure.links {
        let Some(to) = place(&link.path) else { continue };
        make_parent(&to);
        symlink(place(&link.target).unwrap_or_else(|| link.target.to_path_buf()), to).unwrap();
    }
    copy
}

/// What is done to a tree between two questions.
pub(crate) type Change = fn(&Tree);

/// Waits until files that were written before are believed to stay as they are.
pub(crate) fn settle() {
    std::thread::sleep(Duration::from_millis(60));
}
