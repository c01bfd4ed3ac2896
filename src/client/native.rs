//! What `-march=native` and the like mean on this machine, in the compiler's own words.
//!
//! The compiler is asked once per compiler and processor; the answer is kept in `DISTCC_DIR/native`. See "Native
//! options" in docs/design-notes.md.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::compiler_args::Family;
use crate::hosts::name_hash;
use crate::sys::child::{Command, Environment, Group};
use crate::sys::{open, temp};

/// Bytes of `/proc/cpuinfo` that identify the processor: the first processor's lines.
const CPUINFO_BYTES: u64 = 4096;
/// The longest answer kept, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// The longest plan of a driver read, in bytes: it holds a few command lines.
const PLAN_BYTES_MAX: u64 = 8 << 20;

/// The explicit options that `options` (such as `-march=native`) stand for.
pub fn resolve(
    options: &[&OsStr],
    compiler: &OsStr,
    program: &Path,
    family: Family,
    environment: &Environment,
    directory: Option<&Path>,
) -> io::Result<Vec<OsString>> {
    if let Some(words) = known(options, program, directory) {
        return Ok(words);
    }
    let kept = directory.map(|directory| kept_in(directory, options, program));
    let with = driver_plan(options, compiler, program, environment)?;
    let without = driver_plan(&[], compiler, program, environment)?;
    let words = difference(&with, &without, family);
    if words.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the compiler's answer names no options"));
    }
    if let Some(path) = kept {
        keep(&path, &words);
    }
    Ok(words)
}

/// The same, if the compiler has been asked before.
pub fn known(options: &[&OsStr], program: &Path, directory: Option<&Path>) -> Option<Vec<OsString>> {
    read_words(&kept_in(directory?, options, program))
}

fn kept_in(directory: &Path, options: &[&OsStr], program: &Path) -> PathBuf {
    directory.join("native").join(key(options, program))
}

/// One file name per compiler (by path, size and time), processor and set of options.
fn key(options: &[&OsStr], program: &Path) -> String {
    let program = fs::canonicalize(program).unwrap_or_else(|_| program.to_path_buf());
    let version = fs::metadata(&program)
        .map(|file| format!("{} {} {}", file.size(), file.mtime(), file.ino()))
        .unwrap_or_default();
    let compiler = name_hash::of_parts([program.as_os_str().as_bytes(), version.as_bytes()]);
    let processor = processor();
    let question = options.iter().map(|option| option.as_bytes()).chain([processor.as_slice()]);
    format!("{compiler:08x}{:08x}", name_hash::of_parts(question))
}

/// What tells this processor from another: its lines in `/proc/cpuinfo`, without those that change by themselves.
fn processor() -> Vec<u8> {
    let mut text = Vec::new();
    if let Ok(file) = File::open("/proc/cpuinfo") {
        let _ = file.take(CPUINFO_BYTES).read_to_end(&mut text);
    }
    let first = text.split(|byte| *byte == b'\n').take_while(|line| !line.is_empty());
    let lasting = first.filter(|line| !line.starts_with(b"cpu MHz") && !line.starts_with(b"bogomips"));
    lasting.collect::<Vec<_>>().concat()
}

fn read_words(path: &Path) -> Option<Vec<OsString>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    // The last line is the mark of a whole file.
    let words = bytes.strip_suffix(b"\n.\n")?;
    Some(words.split(|byte| *byte == b'\n').map(|word| OsString::from_vec(word.to_vec())).collect())
}

/// Keeps an answer; failure only means asking again.
fn keep(path: &PathBuf, words: &[OsString]) {
    let mut text = words.join(OsStr::new("\n"));
    text.push("\n.\n");
    let directory = path.parent().expect("BUG: a file in a directory");
    let _ = fs::create_dir(directory);
    let temporary = directory.join(format!("new_{}", temp::random_name()));
    let written = open::anew(&temporary, 0o666).and_then(|mut file| file.write_all(text.as_bytes()));
    if written.and_then(|()| fs::rename(&temporary, path)).is_err() {
        let _ = fs::remove_file(&temporary);
    }
}

/// The words of the compiler proper that the driver would start (`-###`).
fn driver_plan(
    options: &[&OsStr],
    compiler: &OsStr,
    program: &Path,
    environment: &Environment,
) -> io::Result<Vec<OsString>> {
    let mut argv = vec![compiler.to_os_string(), "-###".into()];
    argv.extend(options.iter().map(|option| option.to_os_string()));
    argv.extend(["-x", "c", "-c", "/dev/null", "-o", "/dev/null"].map(OsString::from));
    let mut plan = temp::anonymous("plan")?;
    let null = File::open("/dev/null")?;
    let mut environment = environment.clone();
    environment.set("LC_ALL", OsStr::new("C"));
    let child = Command {
        program,
        argv: &argv,
        environment: &environment,
        directory: None,
        stdio: [Some(null.as_fd()), Some(null.as_fd()), Some(plan.as_fd())],
        group: Group::Shared,
        walls: None,
    }
    .spawn()?;
    let status = child.wait()?;
    let text = temp::read_back(&mut plan, PLAN_BYTES_MAX)?;
    if !status.success() {
        let text = format!("{} -###: {status}", compiler.display());
        return Err(io::Error::other(text));
    }
    compiler_proper(&text).ok_or_else(|| io::Error::other("no cc1 in the driver's plan"))
}

/// The line that starts `cc1`, in words; gcc writes them bare, clang in quotation marks.
fn compiler_proper(plan: &[u8]) -> Option<Vec<OsString>> {
    plan.split(|byte| *byte == b'\n').map(unquote).find(|words| {
        let Some(program) = words.first() else { return false };
        let is_cc1 = Path::new(program).file_name().is_some_and(|name| name == "cc1");
        is_cc1 || words.get(1).is_some_and(|word| word == "-cc1")
    })
}

fn unquote(line: &[u8]) -> Vec<OsString> {
    let mut words = Vec::new();
    let mut word = Vec::new();
    let (mut in_word, mut in_quotes, mut escaped) = (false, false, false);
    for byte in line {
        match byte {
            _ if escaped => {
                word.push(*byte);
                escaped = false;
            }
            b'\\' => (escaped, in_word) = (true, true),
            b'"' => (in_quotes, in_word) = (!in_quotes, true),
            b' ' if !in_quotes => {
                if in_word {
                    words.push(OsString::from_vec(std::mem::take(&mut word)));
                }
                in_word = false;
            }
            _ => {
                word.push(*byte);
                in_word = true;
            }
        }
    }
    if in_word {
        words.push(OsString::from_vec(word));
    }
    words
}

/// The options of `with` that `without` has not, as words for the driver.
fn difference(with: &[OsString], without: &[OsString], family: Family) -> Vec<OsString> {
    let mut result: Vec<OsString> = Vec::new();
    let mut at = 0;
    while at < with.len() {
        let word = &with[at];
        let pair = matches!(word.as_bytes(), b"--param" | b"-target-cpu" | b"-tune-cpu" | b"-target-feature");
        let value = with.get(at + 1).filter(|_| pair);
        at += if value.is_some() { 2 } else { 1 };
        match (family, value) {
            (Family::Gcc, Some(value)) => result.extend([word.clone(), value.clone()]),
            (Family::Gcc, None) if word.as_bytes().starts_with(b"-m") => result.push(word.clone()),
            // A server of 3.4 would take the word `-xop` for `-x LANGUAGE`; the driver has its own word for it.
            (Family::Clang, Some(value))
                if word == "-target-feature" && value.as_bytes().starts_with(b"-x") =>
            {
                let mut option = OsString::from("-mno-");
                option.push(OsStr::from_bytes(&value.as_bytes()[1..]));
                result.push(option);
            }
            // clang's driver passes words behind -Xclang to the compiler proper as they are.
            (Family::Clang, Some(value)) => {
                result.extend(["-Xclang".into(), word.clone(), "-Xclang".into(), value.clone()]);
            }
            _ => {}
        }
    }
    if family == Family::Gcc {
        result.retain(|word| word == "--param" || !without.contains(word) || word.as_bytes().contains(&b'='));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn gcc_options_are_its_own_words() {
        let with = words(
            "cc1 -quiet -imultiarch x86 null -march=skylake -mmmx -mno-sse4a --param l1-cache-size=32 -mtune=skylake -o x",
        );
        let without = words("cc1 -quiet -imultiarch x86 null -mtune=generic -march=x86-64 -o x");
        let expected = words("-march=skylake -mmmx -mno-sse4a --param l1-cache-size=32 -mtune=skylake");
        assert_eq!(difference(&with, &without, Family::Gcc), expected);
    }

    #[test]
    fn clang_options_go_to_the_compiler_proper() {
        let with = words(
            "clang -cc1 -triple x -target-cpu znver3 -target-feature +avx2 -target-feature -xop -mllvm -foo",
        );
        let expected =
            words("-Xclang -target-cpu -Xclang znver3 -Xclang -target-feature -Xclang +avx2 -mno-xop");
        assert_eq!(difference(&with, &[], Family::Clang), expected);
    }

    #[test]
    fn plans_are_unquoted() {
        let plan = b"clang version 14\n \"/usr/lib/llvm-14/bin/clang\" \"-cc1\" \"-a \\\"b\\\"\"\n";
        let expected = ["/usr/lib/llvm-14/bin/clang", "-cc1", "-a \"b\""];
        assert_eq!(compiler_proper(plan).unwrap(), expected);
        assert_eq!(compiler_proper(b"Target: x\n /usr/lib/gcc/cc1 -quiet\n").unwrap()[1], "-quiet");
        assert_eq!(compiler_proper(b"nothing here"), None);
    }

    #[test]
    fn kept_answers_are_whole_or_nothing() {
        let dir = temp::TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let path = dir.path().join("native/key");
        keep(&path, &words("-march=skylake -mavx"));
        assert_eq!(read_words(&path).unwrap(), words("-march=skylake -mavx"));
        fs::write(&path, "-march=sky").unwrap();
        assert_eq!(read_words(&path), None);
    }
}
