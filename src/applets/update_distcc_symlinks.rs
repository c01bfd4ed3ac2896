//! `update-distcc-symlinks`: a link for each compiler of this machine (manual, update-distcc-symlinks(1)).

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::exit_code::ExitCode;
use crate::log::{self, Level, Sink};
use crate::sys::child;
use crate::toolchain::installed::{Installed, SYSTEM_DIRECTORIES};
use crate::toolchain::links::{self, Outcome};
use crate::toolchain::natures::Natures;
use crate::{log_error, log_info, log_warning};

const HELP: &str = "\
Usage: update-distcc-symlinks [--prefix DIR] [--verbose] [DIRECTORY...]

Makes PREFIX/lib/distcc hold a link to distcc for each compiler in
/usr/local/bin, /usr/bin and the directories given, and prints their names.
Links for compilers that are gone are removed; whatever else is there stays.

   --prefix DIR   instead of the prefix this program is installed in
   --verbose      say which links are made and removed
   --help         this text

Builds use the links by having the directory first in PATH. Servers run the
compilers that have one. Run it after compilers were installed or removed.";

/// The option with its value in one word.
const JOINED_PREFIX: &[u8] = b"--prefix=";

/// What the words ask for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    prefix: Option<PathBuf>,
    verbose: bool,
    directories: Vec<PathBuf>,
}

/// Runs update-distcc-symlinks.
pub fn run(argv: &[OsString]) -> i32 {
    log::set("update-distcc-symlinks", Level::Warning, Sink::Stderr);
    match read_options(&argv[1..]) {
        Ok(None) => {
            say!("{HELP}");
            0
        }
        Ok(Some(options)) => update(&options).map_or_else(ExitCode::number, |()| 0),
        Err(problem) => {
            log_error!("{problem}; see update-distcc-symlinks --help");
            ExitCode::BadArguments.number()
        }
    }
}

/// `None` if the words ask for help.
fn read_options(words: &[OsString]) -> Result<Option<Options>, String> {
    let mut options = Options::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        match &*text {
            "-h" | "--help" => return Ok(None),
            "-v" | "--verbose" => options.verbose = true,
            "--prefix" => {
                options.prefix = Some(words.next().ok_or("--prefix: want a directory")?.into());
            }
            _ if word.as_bytes().starts_with(JOINED_PREFIX) => {
                let value = OsStr::from_bytes(&word.as_bytes()[JOINED_PREFIX.len()..]);
                options.prefix = Some(value.into());
            }
            _ if text.starts_with('-') => return Err(format!("{text}: no such option")),
            _ if text.is_empty() => return Err("want a directory, not an empty word".into()),
            _ => options.directories.push(word.into()),
        }
    }
    Ok(Some(options))
}

fn update(options: &Options) -> Result<(), ExitCode> {
    if options.verbose {
        log::set("update-distcc-symlinks", Level::Info, Sink::Stderr);
    }
    let prefix = match &options.prefix {
        Some(prefix) => prefix.clone(),
        None => own_prefix().ok_or_else(|| {
            log_error!(
                "this program is in no directory bin, so its prefix is not plain; name one with --prefix"
            );
            ExitCode::BadArguments
        })?,
    };
    let client = prefix.join("bin/distcc");
    if !child::is_executable(&client) {
        log_error!("{}: no such program, so links would lead nowhere (see --prefix)", client.display());
        return Err(ExitCode::NoSuchFile);
    }
    let mut directories: Vec<PathBuf> = SYSTEM_DIRECTORIES.iter().map(PathBuf::from).collect();
    directories.extend(options.directories.iter().cloned());
    for directory in options.directories.iter().filter(|directory| !directory.is_dir()) {
        log_warning!("{}: no such directory", directory.display());
    }
    let found = Installed::in_directories(directories).compilers(&Natures::default());
    let names: BTreeSet<OsString> = found.keys().map(OsString::from).collect();
    let outcome = links::update(&prefix, &names).map_err(|error| {
        log_error!("{error}");
        ExitCode::IoError
    })?;
    tell(&prefix.join(links::DIRECTORY), &outcome);
    for name in found.keys() {
        say!("{name}");
    }
    Ok(())
}

fn tell(directory: &Path, outcome: &Outcome) {
    let directory = directory.display();
    for name in &outcome.made {
        log_info!("made {directory}/{}", name.display());
    }
    for name in &outcome.removed {
        log_info!("removed {directory}/{}", name.display());
    }
    for (name, what) in &outcome.foreign {
        log_info!("{directory}/{} is {what}, and stays as it is", name.display());
    }
}

/// The directory above the one with our programs.
fn own_prefix() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let directory = program.parent()?;
    let is_usual = directory.file_name().is_some_and(|name| name == "bin" || name == "sbin");
    is_usual.then(|| directory.parent().map(Path::to_path_buf))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Option<Options>, String> {
        read_options(&words.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read_in_both_spellings() {
        for (words, prefix, directories) in [
            ([].as_slice(), None, [].as_slice()),
            (&["--prefix", "/x", "/opt/bin"], Some("/x"), &["/opt/bin"]),
            (&["/a", "--prefix=/x", "/b"], Some("/x"), &["/a", "/b"]),
        ] {
            let options = read(words).unwrap().unwrap();
            assert_eq!(options.prefix, prefix.map(PathBuf::from), "{words:?}");
            assert_eq!(options.directories, directories.iter().map(PathBuf::from).collect::<Vec<_>>());
        }
        assert!(read(&["-v"]).unwrap().unwrap().verbose);
        assert_eq!(read(&["/a", "--help", "--bogus"]), Ok(None));
        for words in [["--bogus"].as_slice(), &["--prefix"], &[""], &["-x"]] {
            assert!(read(words).is_err(), "{words:?}");
        }
    }
}
