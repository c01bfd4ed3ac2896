//! The programs this binary is, by name. Thin: parse options, build a configuration, call one domain function, map
//! what it says to an exit status.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::exit_code::ExitCode;

/// Prints a line of an answer. Whoever closed standard output does not want it.
macro_rules! say {
    ($($arg:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stdout(), $($arg)*);
    }};
}

mod distcc;
mod distccd;
mod distccmon_text;
mod include_server;
mod pump;
mod report;
mod standard_input;
mod unbuilt;

/// A program: its arguments, its own name first, to its exit status.
type Applet = fn(&[OsString]) -> i32;

/// The programs with a name of their own. Any other name is the client's: `distcc` itself, or a compiler that it
/// stands in for.
const APPLETS: &[(&str, Applet)] = &[
    ("distccd", distccd::run),
    ("lsdistcc", unbuilt::run),
    ("pump", pump::run),
    ("include_server", include_server::run),
    ("distccmon-text", distccmon_text::run),
    ("update-distcc-symlinks", unbuilt::run),
];

/// Runs the applet that `argv[0]` names and returns the exit status.
pub fn run(argv: Vec<OsString>) -> i32 {
    let Some(program) = argv.first() else {
        eprintln!("distcc: started without a name");
        return ExitCode::BadArguments.number();
    };
    let name = basename(program);
    let applet =
        APPLETS.iter().find(|(applet, _)| name == *applet).map_or(distcc::run as Applet, |(_, run)| *run);
    applet(&argv)
}

fn basename(program: &OsStr) -> &OsStr {
    Path::new(program).file_name().unwrap_or(program)
}
