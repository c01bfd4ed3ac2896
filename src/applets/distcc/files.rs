//! Which files a command's pump-mode job would send: `--scan-includes`, and the same question from `--explain`.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::client::commands::PumpCommand;
use crate::client::compiler::Invocation;
use crate::client::explain::{self, Listing};
use crate::client::file_set::Category;
use crate::client::pump::{self, WorkingDirectory};
use crate::client::settings::{CompilerPaths, Settings};
use crate::compiler_args::{self, Compile, Verdict};
use crate::exit_code::ExitCode;
use crate::include_scan::{IncludeVariables, Query, Scanner};
use crate::log_error;

/// Explains a command (manual, "--explain"), and returns the exit status.
pub(super) fn explain(invocation: Invocation, settings: &Settings) -> i32 {
    let search_path = invocation.search_path.clone();
    let explanation = explain::explain(invocation, settings, &mut |compile, candidate| {
        scan(compile, &candidate.compiler, &candidate.here, &search_path)
    });
    match io::stdout().write_all(explanation.text.as_bytes()) {
        Ok(()) => explanation.status,
        Err(error) => {
            log_error!("write the explanation: {error}");
            ExitCode::IoError.number()
        }
    }
}

/// Prints what a pump-mode job for the command would send, one entry a line (manual, "--scan-includes").
pub(super) fn scan_includes(command: &[OsString], settings: &Settings) -> i32 {
    let failed = ExitCode::DistccFailed.number();
    let command = compiler_args::expand(command, &mut |file| fs::read(Path::new(file)).ok());
    let compile = match compiler_args::scan(&command) {
        Ok(Verdict::Distribute(compile)) => compile,
        Ok(Verdict::Local(reason) | Verdict::Preprocess(reason)) => {
            log_error!("--scan-includes: the command would run locally: {reason}");
            return failed;
        }
        Err(error) => {
            log_error!("--scan-includes: {error}");
            return failed;
        }
    };
    let compiler = Invocation::explicit(command.clone(), settings).find(compile.compiler());
    let (Some(compiler), Ok(here)) = (compiler, WorkingDirectory::find(settings)) else {
        log_error!("--scan-includes: no compiler {}, or no working directory", compile.compiler().display());
        return failed;
    };
    match list(&compile, &compiler, &here, settings) {
        Ok(entries) => print(&entries),
        Err(reason) => {
            log_error!("--scan-includes: {reason}");
            1
        }
    }
}

/// The entries of a job: as the include server that the environment names lists them, or as we find them ourselves.
fn list(compile: &Compile, compiler: &Path, here: &WorkingDirectory, settings: &Settings) -> Listing {
    let argv = PumpCommand::for_compile(compile)?.argv;
    let question = pump::question(here, compiler, &settings.search_path, &argv);
    if let Some(listed) = pump::listed_files(settings, &question) {
        let files = listed.map_err(|error| error.to_string())?;
        let path = |path: &[u8]| PathBuf::from(OsStr::from_bytes(path));
        return Ok(files.entries().into_iter().map(|(category, name)| (category, path(name))).collect());
    }
    scan(compile, compiler, here, &settings.search_path)
}

/// The entries as we find them. Asks the compiler for its own directories, and nobody else.
fn scan(compile: &Compile, compiler: &Path, here: &WorkingDirectory, search_path: &OsStr) -> Listing {
    let CompilerPaths { all, c, cxx, objective_c, objective_cxx } = CompilerPaths::from_environment();
    let variables = IncludeVariables { all, c, cxx, objective_c, objective_cxx };
    let query = Query { compile, compiler, directory: here.written(), variables: &variables, search_path };
    let closure = Scanner::new().scan(&query).map_err(|reason| reason.to_string())?;
    let files = closure.files.iter().map(|file| (Category::File, &file.real));
    let links = closure.links.iter().map(|link| (Category::Symlink, &link.path));
    let directories = closure.directories.iter().map(|path| (Category::Directory, path));
    let system = closure.system_directories.iter().map(|path| (Category::SystemDirectory, path));
    let all = files.chain(links).chain(directories).chain(system);
    Ok(all.map(|(category, path)| (category, path.to_path_buf())).collect())
}

fn print(entries: &[(Category, PathBuf)]) -> i32 {
    let mut text = Vec::new();
    for (category, path) in entries {
        let word = match category {
            Category::File => "FILE",
            Category::Symlink => "SYMLINK",
            Category::Directory => "DIRECTORY",
            Category::SystemDirectory => "SYSTEMDIR",
        };
        text.extend_from_slice(format!("{word:<9} ").as_bytes());
        text.extend_from_slice(path.as_os_str().as_bytes());
        text.push(b'\n');
    }
    match io::stdout().write_all(&text) {
        Ok(()) => 0,
        Err(error) => {
            log_error!("write the list of files: {error}");
            ExitCode::IoError.number()
        }
    }
}
