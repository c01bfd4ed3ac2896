//! A compilation that can be distributed, and the commands it becomes: for the preprocessor here, for a server
//! that gets preprocessed text, for a server that preprocesses. Decides nothing; runs nothing.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::dependency::{self, DependencyOutput};
use super::old_server::refused_word;
use super::option_table::{DependencyPart, Role};
use super::reason::Reason;
use super::source_file::{Language, SourceKind};
use super::words::{Item, basename, items};

/// Whose command line it is, where gcc and clang differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// gcc, and whatever else is called by a name without `clang`.
    Gcc,
    /// clang.
    Clang,
}

impl Family {
    /// What the compiler's name says.
    pub fn of_name(compiler: &OsStr) -> Family {
        let is_clang = basename(compiler).as_bytes().windows(5).any(|part| part == b"clang");
        if is_clang { Family::Clang } else { Family::Gcc }
    }
}

/// A compilation of one source file to one output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compile {
    /// The command; `-Wp,` divided and `-o` present.
    pub(super) argv: Vec<OsString>,
    /// The source word's index.
    pub(super) source: usize,
    pub(super) output: OsString,
    /// Whether the user named the output.
    pub(super) names_output: bool,
    pub(super) assembles: bool,
    pub(super) kind: SourceKind,
    /// Whether `-x` declared the language.
    pub(super) declares_language: bool,
    pub(super) dependencies: dependency::Request,
}

/// The processor options that can be `native`.
const PROCESSOR_OPTIONS: [&str; 3] = ["-march=", "-mtune=", "-mcpu="];

impl Compile {
    /// The whole command: the compiler first, `-Wp,` divided, `-o` present.
    pub fn argv(&self) -> &[OsString] {
        &self.argv
    }

    /// The compiler, as it is called.
    pub fn compiler(&self) -> &OsStr {
        &self.argv[0]
    }

    /// The source file, as it is written.
    pub fn source(&self) -> &OsStr {
        &self.argv[self.source]
    }

    /// The output file: as it is written, or as the compiler names it.
    pub fn output(&self) -> &OsStr {
        &self.output
    }

    /// Whether the output is assembler text (`-S`).
    pub fn stops_at_assembly(&self) -> bool {
        self.assembles
    }

    /// The source's language.
    pub fn language(&self) -> Language {
        self.kind.language
    }

    /// Whether the source is preprocessed already: it is sent as it is.
    pub fn is_preprocessed(&self) -> bool {
        self.kind.preprocessed
    }

    /// The suffix, with its dot, for a file that holds the preprocessed source.
    pub fn preprocessed_suffix(&self) -> &'static str {
        self.kind.language.preprocessed_suffix()
    }

    /// The dependency file the compiler would write, if the command or `DEPENDENCIES_OUTPUT` (its value is
    /// `environment`) asks for one. Compilers write none for preprocessed text.
    pub fn dependency_output(&self, environment: Option<&OsStr>) -> Option<DependencyOutput> {
        if self.kind.preprocessed {
            return None;
        }
        let output = self.names_output.then_some(self.output.as_os_str());
        self.dependencies.output(self.source(), output, environment)
    }

    /// The command that preprocesses the source here, to standard output, and writes the dependency file that
    /// the whole compilation would have written.
    pub fn preprocess_command(&self) -> Vec<OsString> {
        let mut out = vec![self.argv[0].clone()];
        let mut has_mode = false;
        for item in items(&self.argv) {
            match item.role() {
                Role::Output => {}
                Role::Compile | Role::Assemble if has_mode => {}
                Role::Compile | Role::Assemble => {
                    has_mode = true;
                    out.push("-E".into());
                }
                _ => out.extend_from_slice(self.words(&item)),
            }
        }
        // Without -o, compilers name the file and its target after the source.
        if let Some(dependencies) = self.dependency_output(None) {
            if self.dependencies.file.is_none() {
                out.extend(["-MF".into(), dependencies.path]);
            }
            if !dependencies.names_target {
                out.extend(["-MQ".into(), dependencies.default_target]);
            }
        }
        out
    }

    /// The command for a server that gets preprocessed text (protocol versions 1 and 2).
    ///
    /// Fails while `-march=native` is unresolved, and where a server of distcc 3.4 would drop the command.
    pub fn plain_command(&self, family: Family) -> Result<Vec<OsString>, Reason> {
        let mut out = vec![self.argv[0].clone()];
        let language_at = self.language_at();
        for item in items(&self.argv) {
            match item.role() {
                Role::Preprocessor
                | Role::PreprocessorHere
                | Role::PassedToPreprocessor
                | Role::Dependency(_)
                | Role::Linker => {}
                Role::Native => return Err(Reason::UnresolvedNative(item.word.to_owned())),
                Role::Language if Some(item.at) == language_at => {
                    out.extend(["-x".into(), self.kind.language.preprocessed_name().into()]);
                }
                Role::Language => {}
                Role::Lto => out.push(lto_word(family).into()),
                _ => {
                    if item.at == self.source {
                        out.extend(self.language_of_driver(family));
                    }
                    out.extend_from_slice(self.words(&item));
                }
            }
        }
        accepted_by_old_servers(out)
    }

    /// The command for a server that preprocesses (protocol version 3). `environment` is the value of
    /// `DEPENDENCIES_OUTPUT`.
    ///
    /// Fails as [`Compile::plain_command`] does, and for options whose preprocessing belongs on this machine.
    pub fn pump_command(&self, family: Family, environment: Option<&OsStr>) -> Result<Vec<OsString>, Reason> {
        let mut out = vec![self.argv[0].clone()];
        for item in items(&self.argv) {
            match item.role() {
                Role::PreprocessorHere | Role::PassedToPreprocessor => {
                    return Err(Reason::option(item.word, "is for the preprocessor of this machine"));
                }
                Role::Native => return Err(Reason::UnresolvedNative(item.word.to_owned())),
                // Servers of 3.4 look at the next word for the language, and know -MT as a word of its own.
                Role::Language => out.extend(["-x".into(), item.value().to_owned()]),
                Role::Dependency(DependencyPart::Target) => {
                    out.extend(["-MT".into(), item.value().to_owned()])
                }
                Role::Lto => out.push(lto_word(family).into()),
                _ => out.extend_from_slice(self.words(&item)),
            }
        }
        if let Some(dependencies) = self.dependency_output(environment).filter(|wanted| !wanted.names_target)
        {
            out.extend(["-MT".into(), dependencies.default_target]);
        }
        accepted_by_old_servers(out)
    }

    /// The options that mean this machine's processor and take effect: the last of their kind.
    pub fn native_options(&self) -> Vec<&OsStr> {
        PROCESSOR_OPTIONS
            .iter()
            .filter_map(|option| {
                let of_kind = |item: &Item<'_>| item.word.as_bytes().starts_with(option.as_bytes());
                items(&self.argv).filter(of_kind).last().filter(|item| item.role() == Role::Native)
            })
            .map(|item| item.word)
            .collect()
    }

    /// The same compilation with `resolved` in place of the [`Compile::native_options`]. They come first, where
    /// gcc's driver puts its own answer: the user's other options still overrule them.
    pub fn with_native(&self, resolved: &[OsString]) -> Compile {
        let natives = self.native_options();
        let replaced: Vec<&str> = PROCESSOR_OPTIONS
            .into_iter()
            .filter(|option| natives.iter().any(|word| word.as_bytes().starts_with(option.as_bytes())))
            .collect();
        let mut argv = vec![self.argv[0].clone()];
        argv.extend_from_slice(resolved);
        let mut source = self.source;
        for item in items(&self.argv) {
            let overruled = replaced.iter().any(|option| item.word.as_bytes().starts_with(option.as_bytes()));
            if item.at == self.source {
                source = argv.len();
            }
            if item.role() != Role::Native && !overruled {
                argv.extend_from_slice(self.words(&item));
            }
        }
        Compile { argv, source, ..self.clone() }
    }

    /// Whether gcc's `-Wimplicit-fallthrough` is on at a level that reads comments. Preprocessed text has none,
    /// so a remote compilation may warn where a local one does not: see [`diagnostics_blame_lost_comments`].
    pub fn fallthrough_comments_matter(&self) -> bool {
        let mut by_extra = false;
        let mut by_name = None;
        for item in items(&self.argv) {
            match item.word.as_bytes() {
                b"-Wextra" | b"-W" | b"--extra-warnings" => by_extra = true,
                b"-Wno-extra" => by_extra = false,
                b"-w" => return false,
                b"-Wno-implicit-fallthrough" => by_name = Some(false),
                word => {
                    let level = word
                        .strip_prefix(b"-Wimplicit-fallthrough")
                        .or_else(|| word.strip_prefix(b"-Werror=implicit-fallthrough"));
                    if let Some(level) = level {
                        by_name = Some(!matches!(level, b"=0" | b"=5"));
                    }
                }
            }
        }
        by_name.unwrap_or(by_extra)
    }

    fn words(&self, item: &Item<'_>) -> &[OsString] {
        &self.argv[item.at..item.at + item.len]
    }

    /// The `-x` that holds for the source: the last one before it.
    fn language_at(&self) -> Option<usize> {
        items(&self.argv)
            .take_while(|item| item.at < self.source)
            .filter(|item| item.role() == Role::Language)
            .last()
            .map(|item| item.at)
    }

    /// `clang++` takes a C file for C++ and warns. It has warned while preprocessing; told the language, it
    /// does not warn again.
    fn language_of_driver(&self, family: Family) -> Vec<OsString> {
        let name = basename(self.compiler()).as_bytes();
        let is_cxx = family == Family::Clang && name.windows(2).any(|part| part == b"++");
        let language = self.kind.language.with_cxx();
        if !is_cxx || self.declares_language || self.kind.preprocessed || language == self.kind.language {
            return Vec::new();
        }
        vec!["-x".into(), language.preprocessed_name().into()]
    }
}

/// `-flto` in a spelling that servers of 3.4 let pass and that makes the same object.
fn lto_word(family: Family) -> &'static str {
    match family {
        Family::Gcc => "--lto",
        Family::Clang => "-flto=full",
    }
}

fn accepted_by_old_servers(argv: Vec<OsString>) -> Result<Vec<OsString>, Reason> {
    match refused_word(&argv) {
        Some(word) => Err(Reason::OldServer(word.to_owned())),
        None => Ok(argv),
    }
}

/// Whether a remote compilation's messages contain a warning (or error) that the lost comments may have caused.
/// Only a local compilation knows the truth: its messages replace these. (gcc's `-C` would keep the comments,
/// but it also puts them into stringified macro arguments and hides directives behind them.)
pub fn diagnostics_blame_lost_comments(stderr: &[u8]) -> bool {
    const TAGS: [&[u8]; 2] = [b"-Wimplicit-fallthrough", b"-Werror=implicit-fallthrough"];
    TAGS.iter().any(|tag| stderr.windows(tag.len()).any(|window| window == *tag))
}
