//! What a compiler would find out about the user's terminal, in words: neither servers nor compilers whose messages are
//! captured can see it.

use std::ffi::OsString;
use std::io::{self, IsTerminal};

use crate::client::settings::Settings;
use crate::compiler_args::{Compile, Family};

/// Options that say of our standard error what the compiler would see; none unless it is a terminal, or for what the
/// command says itself.
pub fn options(compile: &Compile, family: Family, settings: &Settings) -> Vec<OsString> {
    let mut options = Vec::new();
    if !io::stderr().is_terminal() {
        return options;
    }
    let unwanted = if family == Family::Clang { settings.no_colour } else { settings.no_gcc_colours };
    if settings.terminal_colours && !unwanted && !compile.chooses_colour() {
        options.push("-fdiagnostics-color=always".into());
    }
    // gcc folds no lines by itself. clang's driver believes COLUMNS, and has long ceased to ask the terminal.
    let says_width = |word: &OsString| word.as_encoded_bytes().starts_with(b"-fmessage-length");
    if family == Family::Clang && !compile.argv().iter().any(says_width) {
        options.extend(settings.columns.map(|columns| format!("-fmessage-length={columns}").into()));
    }
    options
}
