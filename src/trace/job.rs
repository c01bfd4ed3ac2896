//! One line of the record: its fields, as docs/trace.md describes them, for writing and for reading. Knows no file.

use serde::{Deserialize, Serialize};

/// The version of the lines. Fields may be added under it; readers pass over those they do not know.
pub const VERSION: u32 = 1;
/// The longest line, in bytes with its end. What is written is cut so that it stays far below.
pub const LINE_BYTES_MAX: usize = 40 << 10;
/// The longest name of a file, in bytes as it is written.
pub const PATH_BYTES_MAX: usize = 4 << 10;
/// The longest sentence, in bytes as it is written.
pub const CAUSE_BYTES_MAX: usize = 512;
/// How many phases are recorded of one job.
pub const PHASES_MAX: usize = 48;
/// How many attempts are recorded of one job.
pub const ATTEMPTS_MAX: usize = 8;

/// What became of one command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// [`VERSION`].
    pub v: u32,
    /// The client's process.
    #[serde(default)]
    pub pid: u32,
    /// When it began, in microseconds since 1970.
    pub start: u64,
    /// How long it took, in microseconds.
    pub duration: u64,
    /// The exit status; none if the client became another program.
    #[serde(default)]
    pub status: Option<i32>,
    /// `distribute`, `local` or `preprocess`.
    #[serde(default)]
    pub verdict: String,
    /// Why it was not to be distributed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where the last compiler ran: `local`, `plain` or `pump`.
    #[serde(default)]
    pub mode: String,
    /// On which host, by its name; `localhost` for this machine.
    #[serde(default)]
    pub host: String,
    /// In which slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u32>,
    /// Why it ran here although it was to be distributed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
    /// The compiler, by the name it is run by.
    #[serde(default)]
    pub compiler: String,
    /// The source, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What is made of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// The working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Each host that was tried, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// What it did, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<Phase>,
}

/// One host's try.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The host's word in the list.
    pub host: String,
    /// The slot on it.
    #[serde(default)]
    pub slot: u32,
    /// When the slot was taken, in microseconds since 1970.
    pub start: u64,
    /// For how long it was held, in microseconds.
    pub duration: u64,
    /// `done`, or who is at fault: `host`, `unfit`, `job`, `source`, `include-server`.
    #[serde(default)]
    pub outcome: String,
    /// What failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Bytes of source text, or in pump mode of packed files, that were to be sent.
    #[serde(default)]
    pub source_bytes: u64,
    /// Bytes that were sent.
    #[serde(default)]
    pub sent: u64,
    /// Bytes that came.
    #[serde(default)]
    pub received: u64,
    /// Bytes of object, dependency file and messages, unpacked.
    #[serde(default)]
    pub result_bytes: u64,
}

/// A time in which one thing was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// `blocked`, `connect`, `preprocess`, `send`, `compile` or `receive`.
    pub phase: String,
    /// Where: a host's name, `localhost`, or nothing for waiting.
    #[serde(default)]
    pub host: String,
    /// In which slot.
    #[serde(default)]
    pub slot: u32,
    /// When it began, in microseconds since 1970.
    pub start: u64,
    /// How long it took, in microseconds.
    pub duration: u64,
}

/// A text of which at most so many bytes are written, escapes included.
pub fn cut(text: &str, bytes_max: usize) -> String {
    let mut left = bytes_max;
    let is_kept = |character: &char| {
        let bytes = match character {
            '"' | '\\' => 2,
            character if *character < ' ' => 6,
            character => character.len_utf8(),
        };
        left = left.saturating_sub(bytes);
        left > 0
    };
    text.chars().take_while(is_kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_line_stays_below_its_limit() {
        for filling in ["\u{1}", "\"", "x", "ä", "日"] {
            let path = cut(&filling.repeat(PATH_BYTES_MAX), PATH_BYTES_MAX);
            let cause = cut(&filling.repeat(PATH_BYTES_MAX), CAUSE_BYTES_MAX);
            let attempt = Attempt {
                host: cause.clone(),
                outcome: "include-server".into(),
                cause: Some(cause.clone()),
                slot: u32::MAX,
                start: u64::MAX,
                duration: u64::MAX,
                source_bytes: u64::MAX,
                sent: u64::MAX,
                received: u64::MAX,
                result_bytes: u64::MAX,
            };
            let phase = Phase {
                phase: "preprocess".into(),
                host: cut(&cause, crate::trace::recorder::PHASE_HOST_BYTES_MAX),
                slot: u32::MAX,
                start: u64::MAX,
                duration: u64::MAX,
            };
            let job = Job {
                source: Some(path.clone()),
                output: Some(path.clone()),
                directory: Some(path.clone()),
                compiler: cause.clone(),
                reason: Some(cause.clone()),
                fallback: Some(cause.clone()),
                host: cause,
                attempts: vec![attempt; ATTEMPTS_MAX],
                phases: vec![phase; PHASES_MAX],
                status: Some(i32::MIN),
                slot: Some(u32::MAX),
                start: u64::MAX,
                duration: u64::MAX,
                ..Job::default()
            };
            let length = serde_json::to_vec(&job).unwrap().len();
            assert!(length + 1024 < LINE_BYTES_MAX, "{filling:?}: {length}");
        }
    }

    #[test]
    fn a_cut_text_is_what_fits_with_its_escapes() {
        for (text, bytes_max, want) in
            [("abc", 4, "abc"), ("abc", 3, "ab"), ("\n\nb", 12, "\n"), ("ää", 4, "ä")]
        {
            assert_eq!(cut(text, bytes_max), want);
        }
    }
}
