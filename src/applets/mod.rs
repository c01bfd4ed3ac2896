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
mod include_server;
mod lsdistcc;
mod pump;
mod standard_input;
mod unbuilt;
mod update_distcc_symlinks;
mod zeroconf;

/// A program: its arguments, its own name first, to its exit status.
type Applet = fn(&[OsString]) -> i32;

/// The programs with a name of their own. Any other name is the client's: `distcc` itself, or a compiler that it
/// stands in for.
const APPLETS: &[(&str, Applet)] = &[
    ("distccd", distccd::run),
    ("lsdistcc", lsdistcc::run),
    ("pump", pump::run),
    // Its name in Debian.
    ("distcc-pump", pump::run),
    ("include_server", include_server::run),
    ("distccmon-text", unbuilt::run),
    (crate::daemon::announcer::PROGRAM, zeroconf::announce),
    (crate::hosts::zeroconf::PROGRAM, zeroconf::browse),
    ("update-distcc-symlinks", update_distcc_symlinks::run),
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

/// What `--show-principal` says, in the form of 3.4.
fn principal_text(principal: Option<&str>) -> String {
    principal.map_or("Principal\t: Not Set.".into(), |name| format!("Principal is\t: {name}"))
}

fn basename(program: &OsStr) -> &OsStr {
    Path::new(program).file_name().unwrap_or(program)
}
