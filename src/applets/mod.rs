//! The programs this binary is, by name. Thin: parse options, build a configuration, call one domain function.

use std::ffi::OsString;

/// Runs the applet that `argv[0]` names and returns the exit status.
pub fn run(_argv: Vec<OsString>) -> i32 {
    0
}
