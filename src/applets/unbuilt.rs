//! Names that will be programs in a later release: they say so instead of pretending.

use std::ffi::OsString;

use crate::applets::basename;
use crate::exit_code::ExitCode;

/// Says that the applet is not built yet.
pub fn run(argv: &[OsString]) -> i32 {
    eprintln!("{}: not built yet in distcc {}", basename(&argv[0]).display(), env!("CARGO_PKG_VERSION"));
    ExitCode::DistccFailed.number()
}
