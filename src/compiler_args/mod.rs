//! The compiler's command line: what it means, where it may run, and what each place is told.
//!
//! Pure: argument words in, a decision or argument words out. No file is opened, no variable read, no clock
//! asked; what is needed from outside comes in as a value or a callback.
//!
//! - `option_table` is the one list of options that matter, `option_role` what it can say of them; `words` divides a
//!   command by it.
//! - `scan` decides between local and remote and gives a [`Compile`]; `reason` says why not.
//! - `compile` turns a [`Compile`] into the commands to run; `gathered` knows the form of text that clang gets;
//!   `dependency` knows the `.d` file's name.
//! - `server_args` is the daemon's side, `server_policy` what it lets options do; `unpacked` and `unpacked_text` are
//!   for its jobs whose files lie below a private directory; `old_server` is what a server of distcc 3.4 accepts.
//! - `rewrite`, `response_file` and `source_file` are small and stand alone.

mod compile;
mod dependency;
mod gathered;
mod old_server;
mod option_role;
mod option_table;
mod reason;
mod response_file;
mod rewrite;
mod scan;
mod server_args;
mod server_policy;
mod source_file;
mod unpacked;
mod unpacked_text;
mod words;

pub use compile::{Compile, CompilerOption, Family};
pub use dependency::{DependencyOutput, dependency_file, implies_dependencies};
pub use gathered::{TextForm, is_about_gathering, is_faithful, unrepeated};
pub use old_server::refused_word;
pub use reason::Reason;
pub use response_file::expand;
pub use rewrite::{Surroundings, rewrite};
pub use scan::{ScanError, Verdict, is_implicit_compiler_call, scan, split_wp};
pub use server_args::{Refusal, ServerCompile, check};
pub use source_file::{Language, SourceKind, is_source, preprocessed_suffix, suffix};
pub use unpacked::{PathMaps, Unpacked};
pub use unpacked_text::{clean_dependencies, clean_messages};
