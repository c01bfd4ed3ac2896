//! What an include server is told when it is started. Knows neither options nor variables by name.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::sys::pattern::Pattern;

/// The whole configuration.
#[derive(Debug)]
pub struct Config {
    /// The socket's path, absolute; the direct socket is beside it.
    pub socket: PathBuf,
    /// Where the server's process id is written.
    pub pid_file: Option<PathBuf>,
    /// Do not go into the background.
    pub foreground: bool,
    /// End when no question came for so long.
    pub idle_timeout: Option<Duration>,
    /// End when this inherited descriptor has an end: whoever held the other side is gone.
    pub end_of_build: Option<i32>,
    /// Where the files for clients of 3.4 are: a directory of at most two components.
    pub mirror: PathBuf,
    /// PATH: where the compilers of clients of 3.4 are looked for.
    pub search_path: OsString,
    /// Say at the end what was used.
    pub times: bool,
    /// What is done with each answer.
    pub aids: Aids,
    /// Whom to write to when something goes wrong.
    pub mail: Option<MailConfig>,
}

/// What is done with each answer, beside giving it.
#[derive(Debug)]
pub struct Aids {
    /// Name directories that must exist, even if no file of the answer is in them.
    pub force_directories: bool,
    /// Warn of files whose real path matches.
    pub observed: Option<Pattern>,
    /// Print statistics after each answer.
    pub statistics: bool,
    /// Write the list of files beside the object, as `.d_approx`.
    pub write_closure: bool,
    /// Run the preprocessor too, and refuse if it opened a file that is not in the answer.
    pub verify: bool,
}

/// Where messages about trouble go.
#[derive(Clone, Debug)]
pub struct MailConfig {
    /// The recipient.
    pub to: OsString,
    /// No more messages than this.
    pub most: u32,
}
