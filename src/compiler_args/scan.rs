//! The decision for one command: distribute it, run it here, or only preprocess it here. Knows the table and the
//! names of files; makes no command.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use super::compile::{Compile, Family};
use super::dependency;
use super::old_server::{asks_assembler_to_write, is_probe};
use super::option_table::{DependencyPart, Role, find};
use super::reason::Reason;
use super::source_file::{SourceKind, is_source, suffix};
use super::words::{Item, Kind, basename, is_option, items, with_suffix};

/// Where a command runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// On another machine, if one is to be had.
    Distribute(Box<Compile>),
    /// On this machine.
    Local(Reason),
    /// On this machine, and it is a preprocessor run (3.4 takes only a preprocessing slot for it).
    Preprocess(Reason),
}

/// Why a command is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanError {
    /// There is no word.
    Empty,
    /// The compiler's name starts with `-`.
    CompilerIsOption(OsString),
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScanError::Empty => f.write_str("the command is empty"),
            ScanError::CompilerIsOption(word) => {
                write!(f, "{} is an option where the compiler's name should be", word.display())
            }
        }
    }
}

/// Decides about a command, compiler first, response files expanded already.
pub fn scan(argv: &[OsString]) -> Result<Verdict, ScanError> {
    let compiler = argv.first().ok_or(ScanError::Empty)?;
    if compiler.as_bytes().starts_with(b"-") {
        return Err(ScanError::CompilerIsOption(compiler.clone()));
    }
    let argv = split_wp(argv);
    if let Some(item) = items(&argv).find(|item| item.role() == Role::Preprocess) {
        return Ok(Verdict::Preprocess(Reason::PreprocessOnly(item.word.to_owned())));
    }
    Ok(match distributable(argv) {
        Ok(compile) => Verdict::Distribute(Box::new(compile)),
        Err(reason) => Verdict::Local(reason),
    })
}

/// Whether distcc's first argument begins a command without a compiler's name, so that `cc` is meant (manual,
/// "With implicit compiler").
pub fn is_implicit_compiler_call(first: &OsStr) -> bool {
    first.as_bytes().starts_with(b"-") || is_source(first) || first.as_bytes().ends_with(b".o")
}

/// Divides each `-Wp,A,B` into the words it stands for; `-Wp,-MD,FILE` becomes `-MD -MF FILE`. Local runs use
/// the result too, as in 3.4.
pub fn split_wp(argv: &[OsString]) -> Vec<OsString> {
    let mut out = Vec::with_capacity(argv.len());
    for (at, word) in argv.iter().enumerate() {
        let Some(list) = word.as_bytes().strip_prefix(b"-Wp,").filter(|_| at > 0) else {
            out.push(word.clone());
            continue;
        };
        let mut names_file = false;
        for part in list.split(|byte| *byte == b',').filter(|part| !part.is_empty()) {
            if names_file && !part.starts_with(b"-") {
                out.push("-MF".into());
            }
            names_file = matches!(part, b"-MD" | b"-MMD");
            out.push(OsStr::from_bytes(part).to_owned());
        }
    }
    out
}

/// What has been seen of a command so far.
#[derive(Default)]
struct Survey {
    compiles: bool,
    assembles: bool,
    source: Option<Source>,
    language: Option<SourceKind>,
    output: Option<OsString>,
    architecture: bool,
    /// An option that is harmless if the output is named.
    changes_output_name: Option<Reason>,
    dependencies: dependency::Request,
}

struct Source {
    at: usize,
    word: OsString,
    kind: SourceKind,
    declared: bool,
}

fn distributable(mut argv: Vec<OsString>) -> Result<Compile, Reason> {
    let mut survey = Survey::default();
    for item in items(&argv) {
        survey.note(&item)?;
        survey.dependencies.note(&item);
    }
    if !survey.compiles && !survey.assembles {
        return Err(Reason::Links);
    }
    let source = survey.source.ok_or(Reason::NoSource)?;
    if is_probe(&source.word) {
        return Err(Reason::Probe(source.word));
    }
    let names_output = survey.output.is_some();
    if let Some(reason) = survey.changes_output_name.filter(|_| !names_output) {
        return Err(reason);
    }
    let output = match survey.output {
        Some(output) => check_output(output)?,
        None => {
            let output = implied_output(&source.word, survey.assembles)?;
            argv.extend(["-o".into(), output.clone()]);
            output
        }
    };
    let compile = Compile {
        argv,
        source: source.at,
        output,
        names_output,
        assembles: survey.assembles,
        kind: source.kind,
        declares_language: source.declared,
        dependencies: survey.dependencies,
    };
    match compile.plain_command(Family::Gcc) {
        Err(reason @ Reason::OldServer(_)) => Err(reason),
        _ => Ok(compile),
    }
}

fn check_output(output: OsString) -> Result<OsString, Reason> {
    if output == "-" {
        return Err(Reason::OutputToStdout);
    }
    if suffix(&output).is_some_and(|suffix| suffix == ".gch" || suffix == ".pch") {
        return Err(Reason::option(&output, "is a precompiled header"));
    }
    Ok(output)
}

fn implied_output(source: &OsStr, assembles: bool) -> Result<OsString, Reason> {
    let name = basename(source);
    if name.as_bytes().iter().rposition(|byte| *byte == b'.') == Some(0) {
        return Err(Reason::NoOutputName(source.to_owned()));
    }
    Ok(with_suffix(name, if assembles { ".s" } else { ".o" }))
}

impl Survey {
    fn note(&mut self, item: &Item<'_>) -> Result<(), Reason> {
        let (word, value) = (item.word, item.value());
        match item.kind {
            Kind::MissingValue(_) => return Err(Reason::MissingValue(word.to_owned())),
            Kind::Input => return self.note_input(item),
            Kind::Unknown | Kind::Known(..) => {}
        }
        match item.role() {
            Role::Compile => self.compiles = true,
            Role::Assemble => self.assembles = true,
            Role::Output if self.output.is_some() => return Err(Reason::SeveralOutputs),
            Role::Output => self.output = Some(value.to_owned()),
            Role::Language => {
                let kind =
                    SourceKind::of_language(value).ok_or_else(|| Reason::Language(value.to_owned()))?;
                self.language = Some(kind);
            }
            Role::Architecture if self.architecture => return Err(Reason::SeveralArchitectures),
            Role::Architecture => self.architecture = true,
            Role::ChangesOutputName(why) => self.changes_output_name = Some(Reason::option(word, why)),
            Role::Frontend => check_frontend_word(value)?,
            Role::PassedToPreprocessor => check_preprocessor_word(value)?,
            _ => check_option(item)?,
        }
        Ok(())
    }

    fn note_input(&mut self, item: &Item<'_>) -> Result<(), Reason> {
        let word = item.word;
        if word == "-" {
            return Err(Reason::SourceFromStdin);
        }
        let Some(by_name) = SourceKind::of_name(word) else {
            return Err(Reason::OtherInput(word.to_owned()));
        };
        if let Some(first) = &self.source {
            return Err(Reason::SeveralSources(first.word.clone(), word.to_owned()));
        }
        let kind = self.language.unwrap_or(by_name);
        let declared = self.language.is_some();
        self.source = Some(Source { at: item.at, word: word.to_owned(), kind, declared });
        Ok(())
    }
}

/// The options that are local, or not, by themselves.
fn check_option(item: &Item<'_>) -> Result<(), Reason> {
    let (word, value) = (item.word, item.value());
    match item.role() {
        Role::Local(why) | Role::Profile(why) | Role::Program(why) => Err(Reason::option(word, why)),
        Role::SideOutput(what) | Role::SideFile(what) => Err(Reason::side_output(word, what)),
        Role::FileAfterEquals(what) if value.as_bytes().contains(&b'=') => {
            Err(Reason::side_output(word, what))
        }
        Role::ImpliesPreprocessing => {
            Err(Reason::option(word, "asks for dependencies instead of a compilation"))
        }
        Role::Dependency(DependencyPart::File) if value == "-" || value == "/dev/stdout" => {
            Err(Reason::option(word, "sends the dependencies to standard output"))
        }
        Role::Assembler if assembler_writes(word, value) => {
            Err(Reason::side_output(word, "a listing or dependencies of the assembler"))
        }
        _ => Ok(()),
    }
}

/// Whether `-Wa,` or `-Xassembler` asks for a listing or a dependency file.
pub(super) fn assembler_writes(word: &OsStr, value: &OsStr) -> bool {
    asks_assembler_to_write(word.as_bytes())
        || word == "-Xassembler" && (value.as_bytes().starts_with(b"-a") || value == "--MD")
}

/// `-Xclang WORD`: judged as the driver's option of that name. Single letters mean other things there.
fn check_frontend_word(word: &OsStr) -> Result<(), Reason> {
    let row = if is_option(word) { find(word).filter(|row| row.name.len() > 2) } else { None };
    match row.map(|row| row.role) {
        Some(Role::Local(why) | Role::Profile(why) | Role::Program(why)) => Err(Reason::option(word, why)),
        Some(Role::SideOutput(what) | Role::SideFile(what)) => Err(Reason::side_output(word, what)),
        Some(Role::Preprocessor | Role::PreprocessorHere | Role::Dependency(_)) => {
            Err(Reason::option(word, "is given to clang past its driver"))
        }
        _ => Ok(()),
    }
}

/// `-Xpreprocessor WORD`: used up by preprocessing if the word is, or is the value of the one before it;
/// `-Xpreprocessor -fopenmp` also means the compilation, where no server hears of it.
fn check_preprocessor_word(word: &OsStr) -> Result<(), Reason> {
    let harmless = !is_option(word)
        || matches!(find(word).map(|row| row.role), Some(Role::Preprocessor | Role::Dependency(_)));
    if harmless { Ok(()) } else { Err(Reason::option(word, "is given to the preprocessor past the driver")) }
}
