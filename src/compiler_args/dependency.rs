//! The dependency file of a compilation: its name and target, as gcc and clang choose them (they agree). Writes
//! nothing; knows nothing of what the file holds.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::option_table::{DependencyPart, Role};
use super::words::{Item, basename, with_suffix};

/// Where a compilation's dependencies go, and what depends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DependencyOutput {
    /// The file, relative to the directory of the compilation.
    pub path: OsString,
    /// The rule's target, before quoting for make, where the command names none.
    pub default_target: OsString,
    /// Whether the command names targets itself, with `-MT` or `-MQ`.
    pub names_target: bool,
}

/// What a command says about dependencies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    wanted: bool,
    /// The last `-MF`.
    pub(super) file: Option<OsString>,
    /// Whether there is a `-MT` or `-MQ`.
    pub(super) names_target: bool,
}

impl Request {
    /// Takes in one item of the command.
    pub(super) fn note(&mut self, item: &Item<'_>) {
        match item.role() {
            Role::Dependency(DependencyPart::Request) => self.wanted = true,
            Role::Dependency(DependencyPart::File) => self.file = Some(item.value().to_owned()),
            Role::Dependency(DependencyPart::Target | DependencyPart::QuotedTarget) => {
                self.names_target = true
            }
            _ => {}
        }
    }

    /// The file and target. `output` is the output the command names, if it does; `environment` is the value
    /// of `DEPENDENCIES_OUTPUT`, which counts when no option asks (manual of gcc, "Environment Variables").
    pub(super) fn output(
        &self,
        source: &OsStr,
        output: Option<&OsStr>,
        environment: Option<&OsStr>,
    ) -> Option<DependencyOutput> {
        let object = with_suffix(basename(source), ".o");
        if !self.wanted {
            let (path, target) = split_environment(environment?);
            let names_target = self.names_target;
            let default_target = target.map_or(object, OsStr::to_owned);
            return Some(DependencyOutput { path: path.to_owned(), default_target, names_target });
        }
        let path = match (&self.file, output) {
            (Some(file), _) => file.clone(),
            (None, Some(output)) => with_suffix(output, ".d"),
            (None, None) => with_suffix(&object, ".d"),
        };
        let default_target = output.map_or(object, OsStr::to_owned);
        Some(DependencyOutput { path, default_target, names_target: self.names_target })
    }
}

/// `FILE` or `FILE TARGET`.
fn split_environment(value: &OsStr) -> (&OsStr, Option<&OsStr>) {
    let bytes = value.as_bytes();
    match bytes.iter().position(|byte| *byte == b' ') {
        Some(blank) => (OsStr::from_bytes(&bytes[..blank]), Some(OsStr::from_bytes(&bytes[blank + 1..]))),
        None => (value, None),
    }
}
