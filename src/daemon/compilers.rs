//! Which compilers this server runs, and where they are.
//!
//! A request carries a name. It is looked up in the command list (DISTCC_CMDLIST) where there is one, else it must
//! appear in a masquerade directory, else (`--enable-tcp-insecure`) anything on the search path goes.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::daemon::refusal::Refusal;
use crate::exit_code::ExitCode;
use crate::sys::child;
use crate::sys::process::FileIdentity;

/// How the name in a request is judged.
#[derive(Clone, Debug)]
pub enum Policy {
    /// `--enable-tcp-insecure`: any program.
    Anything,
    /// Only names that are executable in one of these masquerade directories.
    Masqueraded(Vec<PathBuf>),
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
#[derive(Clone, Debug)]
pub struct Compilers {
    policy: Policy,
    search_path: OsString,
    /// Our own executable, which must never be run as a compiler.
    own_identity: Option<FileIdentity>,
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
        Compilers { policy, search_path, own_identity: FileIdentity::of_own_executable() }
    }

    /// Finds the compiler a request names, or says why it is not run and what would change that.
    pub fn find(&self, requested: &OsStr) -> Result<Program, Refusal> {
        let name = self.accept(requested)?;
        let found = self.on_search_path(&name).or_else(|| {
            // A path that exists only on the client: its last part may be here under another directory.
            let base = Path::new(&name).file_name().filter(|base| *base != name)?;
            self.on_search_path(base)
        });
        found.map(|path| Program { path, name: name.clone() }).ok_or_else(|| {
            Refusal::new(
                ExitCode::CompilerMissing,
                format!(
                    "compiler {} is not on this server; install it, or set DISTCCD_PATH to its directory (searched: {})",
                    name.display(),
                    self.search_path.display()
                ),
            )
        })
    }

    fn on_search_path(&self, name: &OsStr) -> Option<PathBuf> {
        child::candidates(name, &self.search_path).find(|path| !self.is_own_executable(path))
    }

    fn is_own_executable(&self, path: &Path) -> bool {
        self.own_identity.is_some() && FileIdentity::of(path) == self.own_identity
    }

    /// The name to run, if the policy accepts the one requested.
    pub fn accept(&self, requested: &OsStr) -> Result<OsString, Refusal> {
        match &self.policy {
            Policy::Anything => Ok(requested.to_os_string()),
            Policy::Masqueraded(directories) => {
                accept_masqueraded(requested, directories).map(|()| requested.to_os_string())
            }
            Policy::CommandList { commands, words, file } => {
                commands.get(&last_words(requested, *words)).cloned().ok_or_else(|| {
                    Refusal::new(
                        ExitCode::CompilerMissing,
                        format!(
                            "compiler {} is not in this server's command list; add its path as a line of {} \
                             and restart distccd",
                            requested.display(),
                            file.display()
                        ),
                    )
                })
            }
        }
    }
}

fn accept_masqueraded(requested: &OsStr, directories: &[PathBuf]) -> Result<(), Refusal> {
    let name = without_system_prefix(requested);
    if name.as_bytes().contains(&b'/') {
        return Err(Refusal::new(
            ExitCode::CompilerMissing,
            format!(
                "compiler {} is not accepted: only names and paths below /usr/bin and /bin are; \
                 call it by its name on the client, or list it for this server with DISTCC_CMDLIST",
                requested.display()
            ),
        ));
    }
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
    let text = fs::read(file).map_err(|error| {
        format!("DISTCC_CMDLIST {}: {error}; no compiler is allowed until it can be read", file.display())
    })?;
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
    use std::os::unix::fs::symlink;

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
        let program = compilers.find(OsStr::new("/USR/bin/sh")).unwrap();
        assert_eq!(program, Program { path: "/bin/sh".into(), name: "/USR/bin/sh".into() });
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
        assert!(compilers.find(OsStr::new("/elsewhere/sh")).is_ok());
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
        assert!(command_list(&dir.path().join("none"), 1).unwrap_err().contains("no compiler is allowed"));
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
