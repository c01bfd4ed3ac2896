//! Which rule decides what compilers run here: from configuration and directories to a [`Policy`], at the start and again.
//!
//! Knows where rules are found; [`crate::daemon::compilers`] judges by them.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::PathBuf;

use crate::daemon::compilers::{self, Compilers, Policy};
use crate::daemon::config::Config;
use crate::exit_code::ExitCode;
use crate::log::{self, Level};
use crate::toolchain::installed::{Installed, SYSTEM_DIRECTORIES};
use crate::toolchain::links;
use crate::{log_error, log_notice, log_warning};

/// Directories whose links name the compilers that may run, beside the one next to the executable.
const MASQUERADE_DIRECTORIES: [&str; 2] = ["/usr/lib/distcc", "/usr/local/lib/distcc"];

/// Why no rule can be found.
#[derive(Debug)]
enum Undecided {
    /// DISTCC_CMDLIST, which allows nothing then.
    UnreadableList(String),
    /// Nothing says which compilers may run, and there are none.
    NoCompilers(String),
}

impl fmt::Display for Undecided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Undecided::UnreadableList(why) | Undecided::NoCompilers(why)) = self;
        f.write_str(why)
    }
}

/// The compilers of a server that starts.
pub fn compilers(config: &Config) -> Result<Compilers, ExitCode> {
    let policy = match decide(config) {
        Err(Undecided::UnreadableList(problem)) => {
            log_error!("{problem}; no compiler is allowed until it can be read");
            let file = config.environment.command_list.clone().unwrap_or_default();
            let words = config.environment.command_list_words;
            Ok(Policy::CommandList { commands: HashMap::new(), words, file })
        }
        decided => decided,
    };
    let compilers = policy.and_then(|policy| {
        let compilers = Compilers::new(policy, config.environment.search_path.clone())
            .allowing_scripts(config.scripts.iter().cloned());
        check(&compilers)?;
        Ok(compilers)
    });
    compilers.map_err(|problem| {
        log::write(Level::Critical, None, format_args!("{problem}"));
        ExitCode::CompilerMissing
    })
}

/// Decides anew for a server that runs. What cannot be decided leaves everything as it was.
pub fn decide_again(config: &Config, compilers: &Compilers) {
    let before = compilers.policy();
    let decided = decide(config).and_then(|policy| {
        compilers.replace_policy(policy);
        check(compilers).inspect_err(|_| compilers.replace_policy(Policy::clone(&before)))
    });
    match decided {
        Ok(()) => announce(compilers),
        Err(problem) => log_error!("{problem}; compilers are judged as before"),
    }
}

fn decide(config: &Config) -> Result<Policy, Undecided> {
    let environment = &config.environment;
    if let Some(file) = &environment.command_list {
        return compilers::command_list(file, environment.command_list_words)
            .map_err(Undecided::UnreadableList);
    }
    if config.any_compiler {
        return Ok(Policy::Anything);
    }
    let beside =
        std::env::current_exe().ok().and_then(|path| Some(path.parent()?.parent()?.join(links::DIRECTORY)));
    let mut directories: Vec<PathBuf> = beside.into_iter().collect();
    directories.extend(MASQUERADE_DIRECTORIES.iter().map(PathBuf::from));
    directories.dedup();
    if directories.iter().any(|directory| directory.is_dir()) {
        return Ok(Policy::Masqueraded(directories));
    }
    let searched = std::env::split_paths(&environment.search_path);
    // PATH is whatever the shell of whoever starts the daemon has; DISTCCD_PATH is meant for compilers.
    let searched = searched.filter(|directory| {
        environment.search_path_is_chosen
            || SYSTEM_DIRECTORIES.iter().any(|known| directory.as_os_str() == *known)
    });
    let installed = Installed::in_directories(searched.filter(|directory| directory.is_absolute()).collect());
    Ok(Policy::Installed(installed, directories.swap_remove(0)))
}

/// Whether there is a compiler at all, where the server looks for them itself.
fn check(compilers: &Compilers) -> Result<(), Undecided> {
    let policy = compilers.policy();
    let (Policy::Installed(installed, directory), Some([])) =
        (&*policy, compilers.found_by_itself().as_deref())
    else {
        return Ok(());
    };
    Err(Undecided::NoCompilers(format!(
        "no masquerade directory ({}) says which compilers may run, and there are none in \"{}\"; install one, name \
         its directory in DISTCCD_PATH, or allow others with update-distcc-symlinks or by hand: mkdir -p {0} && \
         ln -s $(command -v distcc) {0}/NAME",
        directory.display(),
        installed.search_path().display()
    )))
}

/// Says what is not plain from the configuration: which compilers the server has found, or that none may run.
pub fn announce(compilers: &Compilers) {
    match &*compilers.policy() {
        Policy::Installed(installed, directory) => log_notice!(
            "these compilers of {} may run: {} (to choose others: update-distcc-symlinks makes {}, which decides then, \
             or see DISTCC_CMDLIST)",
            installed.search_path().display(),
            compilers.found_by_itself().unwrap_or_default().join(" "),
            directory.display()
        ),
        Policy::Masqueraded(directories) => {
            let mut standing = directories.iter().filter(|directory| directory.is_dir());
            let is_empty = |directory: &PathBuf| {
                fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none())
            };
            if standing.clone().all(is_empty)
                && let Some(directory) = standing.next()
            {
                log_warning!(
                    "{0} is empty: no compiler may run; fill it with update-distcc-symlinks, or remove it, and distccd \
                     finds compilers by itself",
                    directory.display()
                );
            }
        }
        Policy::Anything | Policy::CommandList { .. } => {}
    }
}
