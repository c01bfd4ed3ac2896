//! Why a command is not distributed, in words for its author. Knows no option; the table brings the words.

use std::ffi::{OsStr, OsString};
use std::fmt;

use super::server_args::Refusal;

/// Why a command runs on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// An option that only makes sense here; `why` completes the sentence that `word` starts.
    Option {
        /// The option as it was written.
        word: OsString,
        /// A verb and what follows it.
        why: &'static str,
    },
    /// An option that writes a file no server can send back.
    SideOutput {
        /// The option as it was written.
        word: OsString,
        /// What it writes.
        what: &'static str,
    },
    /// `-E` or another option that stops after preprocessing.
    PreprocessOnly(OsString),
    /// Neither `-c` nor `-S`: the command links.
    Links,
    /// No source file is named.
    NoSource,
    /// Two source files in one command.
    SeveralSources(OsString, OsString),
    /// The source is read from standard input.
    SourceFromStdin,
    /// A file that is neither source nor an option's value (a header, an assembler file, an object).
    OtherInput(OsString),
    /// `-x` names a language that is compiled here only.
    Language(OsString),
    /// A configure script's probe: speed and safety.
    Probe(OsString),
    /// The output goes to standard output.
    OutputToStdout,
    /// Two outputs are named.
    SeveralOutputs,
    /// No output is named and none can be made from the source's name.
    NoOutputName(OsString),
    /// The value of the last option is missing; the compiler says so itself.
    MissingValue(OsString),
    /// Several `-arch`: several compilations in one command.
    SeveralArchitectures,
    /// `-march=native` and the like are still unresolved.
    UnresolvedNative(OsString),
    /// A server of distcc 3.4 would drop the connection because of this word.
    OldServer(OsString),
    /// A server of ours would refuse the command.
    Server(Refusal),
}

impl Reason {
    pub(super) fn option(word: &OsStr, why: &'static str) -> Reason {
        Reason::Option { word: word.to_owned(), why }
    }

    pub(super) fn side_output(word: &OsStr, what: &'static str) -> Reason {
        Reason::SideOutput { word: word.to_owned(), what }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Option { word, why } => write!(f, "{} {why}", word.display()),
            Reason::SideOutput { word, what } => {
                write!(f, "{} writes {what}, which a server cannot send back", word.display())
            }
            Reason::PreprocessOnly(word) => write!(f, "{} asks for preprocessing only", word.display()),
            Reason::Links => f.write_str("neither -c nor -S is given: the command links"),
            Reason::NoSource => f.write_str("no source file is named"),
            Reason::SeveralSources(first, second) => {
                write!(f, "two source files in one command: {} and {}", first.display(), second.display())
            }
            Reason::SourceFromStdin => f.write_str("the source is read from standard input"),
            Reason::OtherInput(word) => {
                write!(f, "{} is not a source file that can be distributed", word.display())
            }
            Reason::Language(word) => write!(f, "-x {} is compiled locally only", word.display()),
            Reason::Probe(word) => {
                write!(f, "{} is a configure script's probe, which runs faster here", word.display())
            }
            Reason::OutputToStdout => f.write_str("the output goes to standard output"),
            Reason::SeveralOutputs => f.write_str("two outputs are named"),
            Reason::NoOutputName(word) => {
                write!(f, "no output is named and {} gives no name for it", word.display())
            }
            Reason::MissingValue(word) => write!(f, "{} lacks its value", word.display()),
            Reason::SeveralArchitectures => f.write_str("several -arch compile several times"),
            Reason::UnresolvedNative(word) => {
                write!(f, "{} means this machine's processor, which could not be named", word.display())
            }
            Reason::Server(refusal) => write!(f, "servers refuse it: {refusal}"),
            Reason::OldServer(word) => {
                write!(f, "{} makes a server of distcc 3.4 drop the connection", word.display())
            }
        }
    }
}
