//! Aids for whoever doubts an answer: options `--path_observation_re`, `-w` and `-v`. They cost what they cost, and change
//! no answer but to refuse a wrong one.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::analyst::Job;
use super::compose::bytes_of;
use crate::compiler_args::TextForm;
use crate::include_scan::Closure;
use crate::log_warning;
use crate::sys::child::{Command, Environment, Group};
use crate::sys::pattern::Pattern;
use crate::sys::temp;

/// The most preprocessed text that is read to verify an answer, in bytes.
const TEXT_BYTES_MAX: u64 = 1 << 30;

/// Warns of the files whose real path matches.
pub(super) fn observe(pattern: &Pattern, job: &Job, closure: &Closure) {
    for file in closure.files.iter().filter(|file| pattern.is_in(&file.real)) {
        log_warning!(
            "for the translation unit {}, the file {} was found at {}",
            job.compile().source().display(),
            file.path.display(),
            file.real.display()
        );
    }
}

/// Writes the real paths of an answer's files, one a line, to the object's name with `.d_approx`.
pub(super) fn write_closure(job: &Job, closure: &Closure) -> Result<(), String> {
    write_list(job, "d_approx", closure.files.iter().map(|file| &*file.real))
}

fn write_list<'a>(job: &Job, suffix: &str, paths: impl Iterator<Item = &'a Path>) -> Result<(), String> {
    let output = Path::new(job.compile().output());
    let stem =
        if output.extension() == Some(OsStr::new("o")) { output.with_extension("") } else { output.into() };
    let mut name = job.directory().join(stem).into_os_string();
    name.push(format!(".{suffix}"));
    let mut text = Vec::new();
    for path in paths {
        text.extend_from_slice(bytes_of(path));
        text.push(b'\n');
    }
    fs::write(&name, text).map_err(|error| format!("write {}: {error}", name.display()))
}

/// Runs the preprocessor, and fails if it opened a file that is neither in the answer nor the system's.
pub(super) fn verify(job: &Job, closure: &Closure, write: bool) -> Result<(), String> {
    let opened = opened_files(job).map_err(|error| {
        format!("preprocess {} to verify its files: {error}", job.compile().source().display())
    })?;
    if write {
        write_list(job, "d_exact", opened.iter().map(PathBuf::as_path))?;
    }
    let known: BTreeSet<&Path> = closure.files.iter().map(|file| &*file.real).collect();
    let is_system = |path: &Path| closure.system_directories.iter().any(|root| path.starts_with(root));
    let missing: Vec<String> = opened
        .iter()
        .filter(|path| !known.contains(path.as_path()) && !is_system(path))
        .map(|path| path.display().to_string())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the preprocessor opened files that the analysis of {} did not find: {}",
        job.compile().source().display(),
        missing.join(" ")
    ))
}

/// The real paths of the files the preprocessor opens.
fn opened_files(job: &Job) -> io::Result<BTreeSet<PathBuf>> {
    let mut argv = job.compile().preprocess_command(TextForm::Expanded);
    if job.compile().dependency_output(None).is_some() {
        // The last one counts: the build's own file is the compiler's to write.
        argv.extend(["-MF".into(), "/dev/null".into()]);
    }
    let mut environment = Environment::inherited();
    environment.set("PATH", job.search_path());
    environment.remove("DEPENDENCIES_OUTPUT");
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let mut text = temp::anonymous("preprocessed")?;
    let child = Command {
        program: job.compiler(),
        argv: &argv,
        environment: &environment,
        directory: Some(job.directory()),
        stdio: [Some(null.as_fd()), Some(text.as_fd()), Some(null.as_fd())],
        group: Group::Shared,
        walls: None,
    }
    .spawn()?;
    let status = child.wait()?;
    if !status.success() {
        return Err(io::Error::other(format!("the compiler ends with {status}")));
    }
    let text = temp::read_back(&mut text, TEXT_BYTES_MAX)?;
    let names: BTreeSet<&[u8]> = text.split(|byte| *byte == b'\n').filter_map(marked_name).collect();
    Ok(names
        .into_iter()
        .filter_map(|name| fs::canonicalize(job.directory().join(OsStr::from_bytes(&unescaped(name)))).ok())
        .filter(|path| path.is_file())
        .collect())
}

/// The name in a line marker (`# 12 "a.h" 1`), still escaped.
fn marked_name(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(b"# ")?;
    let quote = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    let rest = rest[quote..].strip_prefix(b" \"")?;
    let end = rest.iter().rposition(|byte| *byte == b'"')?;
    Some(&rest[..end])
}

fn unescaped(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| *first == b'\\') {
            Some(byte) => {
                out.push(byte);
                rest = &after[3..];
            }
            None if *first == b'\\' && !after.is_empty() => {
                out.push(after[0]);
                rest = &after[1..];
            }
            None => out.push(*first),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_markers_are_read_as_gcc_writes_them() {
        let cases: [(&str, Option<&str>); 5] = [
            ("# 1 \"a b.h\" 1 3", Some("a b.h")),
            ("# 0 \"d\\\\e\\\"f.c\"", Some("d\\e\"f.c")),
            ("# 7 \"\\303\\244.h\" 2", Some("ä.h")),
            ("#pragma x \"y\"", None),
            ("# define \"y\"", None),
        ];
        for (line, want) in cases {
            let name = marked_name(line.as_bytes()).map(unescaped);
            assert_eq!(name.as_deref(), want.map(str::as_bytes), "{line}");
        }
    }
}
