//! `distcc --report`: the words after it (manual, "THE RECORD OF A BUILD").

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;

use crate::exit_code::ExitCode;
use crate::log_error;
use crate::sys::process::FileIdentity;
use crate::trace::{chrome, report};

const USAGE: &str = "usage: distcc --report FILE [--chrome OUT]";
/// What is read or written at a time, in bytes.
const BUFFER_BYTES: usize = 256 << 10;

/// Prints a report, or writes a trace for browsers.
pub fn run(words: &[OsString]) -> i32 {
    let (record, trace) = match words {
        [record] if record != "--chrome" => (record, None),
        [record, option, trace] if option == "--chrome" => (record, Some(trace)),
        [option, trace, record] if option == "--chrome" => (record, Some(trace)),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::BadArguments.number();
        }
    };
    let (record, trace) = (Path::new(record), trace.map(Path::new));
    let result = match trace {
        Some(trace) => convert(record, trace),
        None => print(record),
    };
    match result {
        Ok(()) => 0,
        Err(error) => {
            log_error!("--report: {error}");
            ExitCode::IoError.number()
        }
    }
}

fn print(record: &Path) -> io::Result<()> {
    let report = report::read(open(record)?).map_err(about(record))?;
    // Whoever closed standard output does not want more.
    let _ = io::stdout().write_all(report.text().as_bytes()).and_then(|()| io::stdout().flush());
    Ok(())
}

fn convert(record: &Path, trace: &Path) -> io::Result<()> {
    let from = open(record)?;
    let is_same = FileIdentity::of(record).is_some_and(|file| FileIdentity::of(trace) == Some(file));
    if is_same {
        return Err(io::Error::other(format!("{} would be written over itself", record.display())));
    }
    let to = BufWriter::with_capacity(BUFFER_BYTES, File::create(trace).map_err(about(trace))?);
    let lines = chrome::convert(from, to).map_err(about(trace))?;
    let skipped = lines.unreadable + lines.other_versions;
    say!("{}: {} jobs; lines skipped: {skipped}", trace.display(), lines.read);
    Ok(())
}

fn open(record: &Path) -> io::Result<BufReader<File>> {
    Ok(BufReader::with_capacity(BUFFER_BYTES, File::open(record).map_err(about(record))?))
}

/// Puts a file's name before what went wrong with it.
fn about(file: &Path) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", file.display()))
}
