//! Which compilers this server runs, and where they are.
//!
//! A request carries a name. It is looked up in the command list (DISTCC_CMDLIST) where there is one, else it must
//! appear in a masquerade directory, or where there is none be the name of an installed compiler; with
//! `--enable-tcp-insecure` anything on the search path goes. What is found there is run if it is a compiler;
//! `toolchain::natures` tells.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use crate::daemon::refusal::Refusal;
use crate::exit_code::ExitCode;
use crate::sys::child;
use crate::toolchain::installed::{Installed, is_trustworthy};
use crate::toolchain::names;
use crate::toolchain::natures::{Nature, Natures};

/// Scripts that run gcc and nothing else: the POSIX names of compilers on Debian, where clients may call them so.
const KNOWN_SCRIPTS: [&str; 2] = ["/usr/bin/c89-gcc", "/usr/bin/c99-gcc"];

/// How the name in a request is judged.
#[derive(Clone, Debug)]
pub enum Policy {
    /// `--enable-tcp-insecure`: any program.
    Anything,
    /// Only names that are executable in one of these masquerade directories.
    Masqueraded(Vec<PathBuf>),
    /// The compilers in some directories, and nothing from elsewhere. The directory is the one to make for another rule.
    Installed(Installed, PathBuf),
    /// Only commands of the command list, by their last `words` path components.
    CommandList {
        /// The key of each command, and the command it stands for.
        commands: HashMap<OsString, OsString>,
        /// DISTCC_CMDLIST_NUMWORDS.
        words: usize,
        /// DISTCC_CMDLIST, for the refusal.
        file: PathBuf,
    },
}

/// The compilers this server knows.
#[derive(Debug)]
pub struct Compilers {
    /// Replaced when the configuration is read again; a search that is under way ends by the one it began with.
    policy: RwLock<Arc<Policy>>,
    search_path: OsString,
    scripts: Vec<PathBuf>,
    natures: Natures,
}

/// A compiler that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The file to execute.
    pub path: PathBuf,
    /// The name it is called by.
    pub name: OsString,
}

impl Compilers {
    /// Judges by `policy` and searches `search_path`.
    pub fn new(policy: Policy, search_path: OsString) -> Compilers {
        let scripts = KNOWN_SCRIPTS.iter().map(PathBuf::from).collect();
        let policy = RwLock::new(Arc::new(policy));
        Compilers { policy, search_path, scripts, natures: Natures::default() }
    }

    /// Judges by another policy from now on.
    pub fn replace_policy(&self, policy: Policy) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }

    /// The policy in force.
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The names of the compilers that would run, where the server finds them itself.
    pub fn found_by_itself(&self) -> Option<Vec<String>> {
        let policy = self.policy();
        let Policy::Installed(installed, _) = &*policy else { return None };
        let names = installed.compilers(&self.natures).into_keys();
        Some(names.filter(|name| self.find(OsStr::new(name)).is_ok()).collect())
    }

    /// Accepts these scripts as compilers (`--allow-script`).
    #[must_use]
    pub fn allowing_scripts(mut self, scripts: impl IntoIterator<Item = PathBuf>) -> Compilers {
        self.scripts.extend(scripts);
        self
    }

    /// Finds the compiler a request names, or says why it is not run and what would change that.
    pub fn find(&self, requested: &OsStr) -> Result<Program, Refusal> {
        let policy = self.policy();
        let name = policy.accept(requested)?;
        let mut passed_over = Vec::new();
        if let Some(path) = self.search(&policy, &name, &mut passed_over)? {
            return Ok(Program { path, name });
        }
        // A path that exists only on the client: its last part may be here under another directory. Under that name
        // it is another request, to be accepted as such; and the compiler must not look for its parts where the
        // client has them.
        if let Some(base) = Path::new(&name).file_name().filter(|base| *base != name)
            && policy.accept(base).is_ok_and(|accepted| accepted == base)
            && let Some(path) = self.search(&policy, base, &mut passed_over)?
        {
            return Ok(Program { path, name: base.to_os_string() });
        }
        let searched = self.search_path(&policy);
        let searched = searched.display();
        let text = match passed_over.first() {
            Some((path, what)) => format!(
                "compiler {} is on this server only as {}, which {what}; install the \
                 compiler, or set DISTCCD_PATH to its directory (searched: {searched})",
                name.display(),
                path.display()
            ),
            None => format!(
                "compiler {} is not on this server; install it, or set DISTCCD_PATH to its directory \
                 (searched: {searched})",
                name.display()
            ),
        };
        Err(Refusal::new(ExitCode::CompilerMissing, text))
    }

    /// The first compiler of a name. Wrappers on the way go to `passed_over`; a script ends the search, since whoever
    /// put it before the compiler wants no job to go past it.
    fn search(
        &self,
        policy: &Policy,
        name: &OsStr,
        passed_over: &mut Vec<(PathBuf, String)>,
    ) -> Result<Option<PathBuf>, Refusal> {
        // The administrator, or a client that may do so, wants this very file.
        let is_meant = matches!(policy, Policy::Anything | Policy::CommandList { .. });
        // Nobody has said that it is one.
        let is_guessed = matches!(policy, Policy::Installed(..));
        let is_path = name.as_bytes().contains(&b'/');
        // Of such a path, only the name counts.
        let name = if is_guessed { without_system_prefix(name) } else { name };
        for path in child::candidates(name, &self.search_path(policy)) {
            match self.natures.of(&path) {
                Nature::Ourselves => {}
                Nature::Wrapper(_) if is_meant && is_path => return Ok(Some(path)),
                Nature::Wrapper(wrapper) => passed_over.push((path, format!("is {wrapper} and no compiler"))),
                _ if is_guessed && !is_trustworthy(&path) => {
                    passed_over.push((path, "everybody may change, or its directory".into()));
                }
                Nature::Script(file) if !is_meant && !self.allows(&file) => {
                    return Err(no_script(name, &path, &file));
                }
                Nature::Script(_) | Nature::Program => return Ok(Some(path)),
            }
        }
        Ok(None)
    }

    fn allows(&self, script: &Path) -> bool {
        self.scripts.iter().any(|allowed| {
            allowed == script || fs::canonicalize(allowed).is_ok_and(|allowed| allowed == script)
        })
    }

    /// Where compilers are looked for.
    fn search_path(&self, policy: &Policy) -> OsString {
        match policy {
            Policy::Installed(installed, _) => installed.search_path(),
            _ => self.search_path.clone(),
        }
    }

    /// The name to run, if the policy accepts the one requested.
    pub fn accept(&self, requested: &OsStr) -> Result<OsString, Refusal> {
        self.policy().accept(requested)
    }
}

impl Policy {
    fn accept(&self, requested: &OsStr) -> Result<OsString, Refusal> {
        match self {
            Policy::Anything => Ok(requested.to_os_string()),
            Policy::Masqueraded(directories) => {
                accept_masqueraded(requested, directories).map(|()| requested.to_os_string())
            }
            Policy::Installed(installed, directory) => {
                accept_installed(requested, installed, directory).map(|()| requested.to_os_string())
            }
            Policy::CommandList { commands, words, file } => {
                commands.get(&last_words(requested, *words)).cloned().ok_or_else(|| {
                    Refusal::new(
                        ExitCode::CompilerMissing,
                        format!(
                            "compiler {} is not in this server's command list; add its path as a line of {} \
                             and send distccd a SIGHUP",
                            requested.display(),
                            file.display()
                        ),
                    )
                })
            }
        }
    }
}

fn no_script(name: &OsStr, path: &Path, file: &Path) -> Refusal {
    let leads = if path == file { String::new() } else { format!(" leads to {}, which", file.display()) };
    let text = format!(
        "compiler {} is not run: {}{leads} is a script; to allow it: distccd --allow-script={}",
        name.display(),
        path.display(),
        path.display()
    );
    Refusal::new(ExitCode::CompilerMissing, text)
}

/// The name that stands for a compiler, without a directory that every system has.
fn plain_name(requested: &OsStr) -> Result<&OsStr, Refusal> {
    let name = without_system_prefix(requested);
    if !name.as_bytes().contains(&b'/') {
        return Ok(name);
    }
    let text = format!(
        "compiler {} is not accepted: only names and paths below /usr/bin and /bin are; call it by its name on the \
         client, or list it for this server with DISTCC_CMDLIST",
        requested.display()
    );
    Err(Refusal::new(ExitCode::CompilerMissing, text))
}

fn accept_installed(requested: &OsStr, installed: &Installed, directory: &Path) -> Result<(), Refusal> {
    let name = plain_name(requested)?;
    if installed.is_name(name) && name != names::NVCC {
        return Ok(());
    }
    let text = format!(
        "{} is no compiler that this server knows; to allow it and those it finds itself: update-distcc-symlinks, then \
         ln -s $(command -v distcc) {}/{0}, and send distccd a SIGHUP",
        name.display(),
        directory.display()
    );
    Err(Refusal::new(ExitCode::CompilerMissing, text))
}

fn accept_masqueraded(requested: &OsStr, directories: &[PathBuf]) -> Result<(), Refusal> {
    let name = plain_name(requested)?;
    let plain = !matches!(name.as_bytes(), b"" | b"." | b"..");
    if plain && directories.iter().any(|directory| child::is_executable(&directory.join(name))) {
        return Ok(());
    }
    let directory = directories.iter().find(|directory| directory.is_dir()).or(directories.first());
    Err(Refusal::new(
        ExitCode::CompilerMissing,
        format!(
            "compiler {} is not whitelisted on this server; to allow it there: ln -s $(command -v distcc) {}/{}",
            name.display(),
            directory.map(|directory| directory.display().to_string()).unwrap_or_default(),
            name.display()
        ),
    ))
}

/// A name without a leading `/bin/` or `/usr/bin/` (in any case, as 3.4 compares).
fn without_system_prefix(name: &OsStr) -> &OsStr {
    for prefix in ["/bin/", "/usr/bin/"] {
        if let Some((head, rest)) = name.as_bytes().split_at_checked(prefix.len())
            && head.eq_ignore_ascii_case(prefix.as_bytes())
        {
            return OsStr::from_bytes(rest);
        }
    }
    name
}

/// The last `count` parts of a path; all of it where there are fewer.
fn last_words(path: &OsStr, count: usize) -> OsString {
    let bytes = path.as_bytes();
    let start = bytes
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, byte)| **byte == b'/')
        .map(|(position, _)| position + 1)
        .nth(count.saturating_sub(1))
        .unwrap_or(0);
    OsString::from_vec(bytes[start..].to_vec())
}

/// Reads a command list: one command a line. A file that cannot be read is an error, and allows nothing.
pub fn command_list(file: &Path, words: usize) -> Result<Policy, String> {
    let text = fs::read(file).map_err(|error| format!("DISTCC_CMDLIST {}: {error}", file.display()))?;
    Ok(parse_command_list(&text, file, words))
}

/// The policy that a command list's text makes; refusals name `file`.
pub fn parse_command_list(text: &[u8], file: &Path, words: usize) -> Policy {
    let commands = text
        .split(|byte| *byte == b'\n')
        .map(|line| line.trim_ascii())
        .filter(|line| !line.is_empty())
        .map(|line| {
            let command = OsString::from_vec(line.to_vec());
            (last_words(&command, words), command)
        })
        .collect();
    Policy::CommandList { commands, words, file: file.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::temp::TempDir;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn masquerade() -> (TempDir, Compilers) {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        symlink("/bin/sh", dir.path().join("sh")).unwrap();
        let policy = Policy::Masqueraded(vec![dir.path().to_path_buf()]);
        let compilers = Compilers::new(policy, "/nonexistent:/bin:/usr/bin".into());
        (dir, compilers)
    }

    #[test]
    fn masqueraded_names_are_found_on_the_search_path() {
        let (_dir, compilers) = masquerade();
        let program = compilers.find(OsStr::new("sh")).unwrap();
        assert_eq!(program, Program { path: "/bin/sh".into(), name: "sh".into() });
        // Not in a file system where it would be the same; so it is called what is run.
        let program = compilers.find(OsStr::new("/USR/bin/sh")).unwrap();
        assert_eq!(program, Program { path: "/bin/sh".into(), name: "sh".into() });
    }

    #[test]
    fn refusals_say_what_to_type() {
        let (dir, compilers) = masquerade();
        for (name, remedy) in [
            ("cat", format!("ln -s $(command -v distcc) {}/cat", dir.path().display())),
            ("/opt/bin/sh", "DISTCC_CMDLIST".to_string()),
            ("/usr/bin/../bin/sh", "DISTCC_CMDLIST".to_string()),
            ("..", "ln -s".to_string()),
            ("", "ln -s".to_string()),
        ] {
            let refusal = compilers.find(OsStr::new(name)).unwrap_err();
            assert!(refusal.reason.contains(&remedy), "{refusal}");
            assert_eq!(refusal.code, ExitCode::CompilerMissing);
        }
    }

    #[test]
    fn a_missing_compiler_is_told_from_a_forbidden_one() {
        let compilers = Compilers::new(Policy::Anything, "/bin".into());
        let refusal = compilers.find(OsStr::new("no-such-gcc")).unwrap_err();
        assert!(refusal.reason.contains("DISTCCD_PATH"), "{refusal}");
        let program = compilers.find(OsStr::new("/elsewhere/sh")).unwrap();
        assert_eq!(program, Program { path: "/bin/sh".into(), name: "sh".into() });
    }

    /// Directories with a wrapper, a script and the real compiler `xcc`, in this order.
    fn layers() -> (TempDir, OsString) {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        for name in ["cache", "own", "real", "lib"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let executable = |name: &str, text: &str| {
            fs::write(dir.path().join(name), text).unwrap();
            fs::set_permissions(dir.path().join(name), PermissionsExt::from_mode(0o755)).unwrap();
        };
        executable("cache/ccache", "\x7fELF");
        executable("own/xcc", "#!/bin/sh\n");
        symlink("ccache", dir.path().join("cache/xcc")).unwrap();
        symlink("/bin/sh", dir.path().join("real/xcc")).unwrap();
        symlink("/bin/sh", dir.path().join("lib/xcc")).unwrap();
        let search_path = ["cache", "own", "real"].map(|name| dir.path().join(name));
        (dir, std::env::join_paths(search_path).unwrap())
    }

    #[test]
    fn wrappers_are_passed_over() {
        let (dir, path) = layers();
        let at = |name: &str| dir.path().join(name);
        fs::remove_file(at("own/xcc")).unwrap();
        for policy in [Policy::Anything, Policy::Masqueraded(vec![at("lib")])] {
            let compilers = Compilers::new(policy.clone(), path.clone());
            assert_eq!(compilers.find(OsStr::new("xcc")).unwrap().path, at("real/xcc"));
            let compilers = Compilers::new(policy, at("cache").into());
            let refusal = compilers.find(OsStr::new("xcc")).unwrap_err();
            let text = format!("only as {}, which is ccache and no compiler", at("cache/xcc").display());
            assert!(refusal.reason.contains(&text), "{refusal}");
        }
        // Whoever lists it means it.
        fs::write(at("commands"), at("cache/xcc").as_os_str().as_bytes()).unwrap();
        let listed = Compilers::new(command_list(&at("commands"), 1).unwrap(), path);
        assert_eq!(listed.find(OsStr::new("xcc")).unwrap().path, at("cache/xcc"));
    }

    #[test]
    fn scripts_run_only_if_they_are_listed() {
        let (dir, path) = layers();
        let at = |name: &str| dir.path().join(name);
        let policy = Policy::Masqueraded(vec![at("lib")]);
        let compilers = Compilers::new(policy.clone(), path.clone());
        let refusal = compilers.find(OsStr::new("xcc")).unwrap_err();
        let remedy = format!("is a script; to allow it: distccd --allow-script={}", at("own/xcc").display());
        assert!(refusal.reason.ends_with(&remedy), "{refusal}");
        for (scripts, allowed) in [(vec![at("own/other")], false), (vec![at("own/../own/xcc")], true)] {
            let compilers = Compilers::new(policy.clone(), path.clone()).allowing_scripts(scripts);
            assert_eq!(compilers.find(OsStr::new("xcc")).is_ok(), allowed);
        }
        assert_eq!(
            Compilers::new(Policy::Anything, path).find(OsStr::new("xcc")).unwrap().path,
            at("own/xcc")
        );
        fs::write(at("commands"), at("own/xcc").as_os_str().as_bytes()).unwrap();
        let listed = Compilers::new(command_list(&at("commands"), 1).unwrap(), "/nonexistent".into());
        assert_eq!(listed.find(OsStr::new("/any/xcc")).unwrap().path, at("own/xcc"));
    }

    #[test]
    fn a_listed_compiler_that_is_missing_is_no_other_of_its_name() {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let file = dir.path().join("commands");
        fs::write(&file, "/nonexistent/cross/sh\n").unwrap();
        let listed = Compilers::new(command_list(&file, 1).unwrap(), "/bin".into());
        let refusal = listed.find(OsStr::new("sh")).unwrap_err();
        assert!(refusal.reason.contains("/nonexistent/cross/sh is not on this server"), "{refusal}");
    }

    #[test]
    fn command_list_maps_the_last_words() {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let file = dir.path().join("commands");
        fs::write(&file, "/bin/sh\n\n  /bin/cat \n").unwrap();
        let one = Compilers::new(command_list(&file, 1).unwrap(), "/nonexistent".into());
        assert_eq!(one.find(OsStr::new("any/where/sh")).unwrap().path, Path::new("/bin/sh"));
        assert!(one.find(OsStr::new("ls")).unwrap_err().reason.contains("command list"));
        let two = Compilers::new(command_list(&file, 2).unwrap(), "/nonexistent".into());
        assert_eq!(two.find(OsStr::new("/x/bin/cat")).unwrap().path, Path::new("/bin/cat"));
        assert!(two.find(OsStr::new("cat")).is_err());
        assert!(command_list(&dir.path().join("none"), 1).unwrap_err().starts_with("DISTCC_CMDLIST "));
    }

    #[test]
    fn last_words_are_path_parts() {
        for (path, count, expected) in [
            ("/a/b/c", 1, "c"),
            ("/a/b/c", 2, "b/c"),
            ("/a/b/c", 3, "a/b/c"),
            ("c", 2, "c"),
            ("b/c", 2, "b/c"),
        ] {
            assert_eq!(last_words(OsStr::new(path), count), expected, "{path} {count}");
        }
    }
}
