//! Which compiler is meant, and where the real one is: masquerade names, the search path, the guard against
//! distcc calling itself (manual, "Installing distcc").

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::client::TRIPLE;
use crate::client::settings::Settings;
use crate::compiler_args::{self, Family, Surroundings};
use crate::exit_code::ExitCode;
use crate::log::{self, Level};
use crate::log_debug;
use crate::sys::child::{self, Environment};
use crate::sys::process::FileIdentity;

/// The variable that counts how many distccs a process was started through.
const SAFEGUARD: &str = "_DISTCC_SAFEGUARD";
/// How clang spells the machine that [`TRIPLE`] names.
const CLANG_VENDOR: &str = "pc";

/// A compiler command, and the search path on which its compiler is found.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The command; the compiler first.
    pub argv: Vec<OsString>,
    /// PATH, without the masquerade directory and what is before it.
    pub search_path: OsString,
    /// Whether PATH was cut.
    pub trimmed: bool,
    /// The level of the recursion guard for children.
    pub level: u32,
    /// What is behind each name, so that the path is searched once for it: many directories cost many system calls.
    found: RefCell<BTreeMap<OsString, Option<PathBuf>>>,
}

impl Invocation {
    /// A command named by the arguments: `distcc gcc -c a.c`.
    pub fn explicit(argv: Vec<OsString>, settings: &Settings) -> Invocation {
        let level = settings.safeguard.unwrap_or(0);
        Invocation::new(argv, settings.search_path.clone(), false, level)
    }

    /// A command named by what we were called: a link to us called `gcc`.
    pub fn masqueraded(mut argv: Vec<OsString>, settings: &Settings) -> Invocation {
        let program = argv[0].clone();
        let rest = path_after(&program, &settings.search_path);
        if let Some(base) = Path::new(&program).file_name() {
            argv[0] = base.to_os_string();
        }
        let trimmed = rest.is_some();
        let search_path = rest.unwrap_or_else(|| settings.search_path.clone());
        Invocation::new(argv, search_path, trimmed, settings.safeguard.unwrap_or(0))
    }

    fn new(argv: Vec<OsString>, search_path: OsString, trimmed: bool, level: u32) -> Invocation {
        Invocation { argv, search_path, trimmed, level, found: RefCell::default() }
    }

    /// Refuses a command that distcc has started itself and would start again and again. `Ok(true)`: an outer distcc
    /// has decided already, so this one only makes way for the compiler.
    pub fn check_recursion(&self) -> Result<bool, ExitCode> {
        if self.level > u32::from(self.trimmed) {
            log::write(
                Level::Critical,
                None,
                format_args!(
                    "distcc seems to have invoked itself recursively! {SAFEGUARD}={}; is {} a script or link that \
                     calls distcc, and in two directories of PATH?",
                    self.level,
                    self.argv[0].display()
                ),
            );
            return Err(ExitCode::Recursion);
        }
        Ok(self.level > 0)
    }

    /// The file to run for `name`: the first on the search path that is not distcc itself; for a path to distcc itself,
    /// its last part on the search path. A path to nothing stands for no other compiler of that name.
    pub fn find(&self, name: &OsStr) -> Option<PathBuf> {
        if let Some(known) = self.found.borrow().get(name) {
            return known.clone();
        }
        let found = self.search(name);
        self.found.borrow_mut().insert(name.to_os_string(), found.clone());
        found
    }

    /// Whose compiler a name stands for, as it says or as the file says that it leads to: `mycc` may be a link to clang.
    pub fn family(&self, name: &OsStr) -> Family {
        let said = Family::of_name(name);
        if said == Family::Clang {
            return said;
        }
        let file = self.find(name).and_then(|path| fs::canonicalize(path).ok());
        file.map_or(said, |file| Family::of_name(file.as_os_str()))
    }

    fn search(&self, name: &OsStr) -> Option<PathBuf> {
        let own = FileIdentity::of_own_executable();
        let is_real = |path: &PathBuf| own.is_none() || FileIdentity::of(path) != own;
        child::candidates(name, &self.search_path).find(is_real).or_else(|| {
            let base = Path::new(name).file_name().filter(|base| *base != name)?;
            child::is_executable(Path::new(name)).then_some(())?;
            child::candidates(base, &self.search_path).find(is_real)
        })
    }

    /// The environment of compilers and preprocessors.
    pub fn environment(&self) -> Environment {
        let mut environment = Environment::inherited();
        environment.set("PATH", &self.search_path);
        environment.set(SAFEGUARD, OsStr::new(&(self.level + 1).min(9).to_string()));
        environment
    }

    /// Completes the compiler's name, so that servers run the one this machine would (manual,
    /// DISTCC_NO_REWRITE_CROSS).
    pub fn complete_name(&mut self) {
        let clang_triple = TRIPLE.replacen('-', &format!("-{CLANG_VENDOR}-"), 1);
        let is_x86 = TRIPLE.starts_with("x86_64") || TRIPLE.starts_with("i686");
        let mut surroundings = Surroundings {
            link_target: &mut |name| self.alias_target(name),
            on_path: &mut |name| self.find(name).is_some(),
            gcc_triple: OsStr::new(TRIPLE),
            clang_triple: OsStr::new(if is_x86 { clang_triple.as_str() } else { TRIPLE }),
        };
        let argv = compiler_args::rewrite(&self.argv, &mut surroundings);
        if argv != self.argv {
            log_debug!("the command is completed to {}", command_text(&argv));
            self.argv = argv;
        }
    }

    /// What `cc` links to, with one hop through `/etc/alternatives`.
    fn alias_target(&self, name: &OsStr) -> Option<OsString> {
        let distcc_free =
            std::env::join_paths(std::env::split_paths(&self.search_path).filter(|directory| {
                !directory.as_os_str().as_bytes().windows(6).any(|part| part == b"distcc")
            }));
        let found = child::candidates(name, &distcc_free.ok()?).next()?;
        let target = fs::read_link(found).ok()?;
        let target = if target == Path::new("/etc/alternatives").join(name) {
            fs::read_link(target).ok()?
        } else {
            target
        };
        target.file_name().map(OsStr::to_os_string)
    }
}

/// A command as a person would type it, for the log.
pub fn command_text(argv: &[OsString]) -> String {
    argv.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The part of a search path behind the directory that `program` was called from; `None` if it is not on the path, or
/// last.
fn path_after(program: &OsStr, search_path: &OsStr) -> Option<OsString> {
    let has_slash = program.as_bytes().contains(&b'/');
    let directories: Vec<PathBuf> = std::env::split_paths(search_path).collect();
    let position = if has_slash {
        let own = absolute_without_links(Path::new(program).parent()?)?;
        directories.iter().position(|directory| *directory == own)?
    } else {
        directories.iter().position(|directory| child::is_executable(&directory.join(program)))?
    };
    let rest = &directories[position + 1..];
    if rest.is_empty() { None } else { std::env::join_paths(rest).ok() }
}

/// A directory as an absolute path, `..` taken off textually: links must not be resolved, because the directory is
/// compared with the words of PATH.
fn absolute_without_links(directory: &Path) -> Option<PathBuf> {
    let mut result = if directory.is_absolute() { PathBuf::new() } else { std::env::current_dir().ok()? };
    for component in directory.components() {
        match component {
            Component::ParentDir => {
                result.pop();
            }
            Component::CurDir => {}
            other => result.push(other),
        }
    }
    Some(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::temp::TempDir;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_path_is_cut_behind_the_masquerade_directory() {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let masquerade = dir.path().join("masquerade");
        fs::create_dir(&masquerade).unwrap();
        symlink("/bin/sh", masquerade.join("gcc")).unwrap();
        let path = format!("/nonexistent:{}:/usr/bin:/bin", masquerade.display());
        let absolute = masquerade.join("gcc");
        let dotted = masquerade.join("../masquerade/gcc");
        for program in [OsStr::new("gcc"), absolute.as_os_str(), dotted.as_os_str()] {
            assert_eq!(
                path_after(program, OsStr::new(&path)).unwrap(),
                "/usr/bin:/bin",
                "{}",
                program.display()
            );
        }
        let last = format!("/usr/bin:{}", masquerade.display());
        assert_eq!(path_after(OsStr::new("gcc-none"), OsStr::new(&path)), None);
        assert_eq!(path_after(absolute.as_os_str(), OsStr::new(&last)), None);
        assert_eq!(path_after(OsStr::new("/elsewhere/gcc"), OsStr::new(&path)), None);
    }

    fn invocation(level: u32, trimmed: bool) -> Invocation {
        Invocation::new(vec!["gcc".into()], "/usr/bin:/bin".into(), trimmed, level)
    }

    #[test]
    fn recursion_is_told_from_two_masquerade_directories() {
        assert_eq!(invocation(0, false).check_recursion(), Ok(false));
        assert_eq!(invocation(0, true).check_recursion(), Ok(false));
        assert_eq!(invocation(1, true).check_recursion(), Ok(true));
        assert_eq!(invocation(1, false).check_recursion(), Err(ExitCode::Recursion));
        assert_eq!(invocation(2, true).check_recursion(), Err(ExitCode::Recursion));
    }

    #[test]
    fn a_path_to_distcc_itself_means_its_name_and_a_path_to_nothing_nothing() {
        let invocation = invocation(0, false);
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let link = dir.path().join("sh");
        symlink(std::env::current_exe().unwrap(), &link).unwrap();
        let found = invocation.find(link.as_os_str()).unwrap();
        assert_eq!(found.file_name(), Some(OsStr::new("sh")));
        for name in ["/nonexistent/sh", "no-such-compiler"] {
            assert_eq!(invocation.find(OsStr::new(name)), None);
        }
    }
}
