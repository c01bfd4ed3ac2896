//! The dependency file of a compilation: its name and target, as gcc and clang choose them (they agree). Writes
//! nothing; knows nothing of what the file holds.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::option_table::{DependencyPart, Role};
use super::scan::split_wp;
use super::words::{Item, basename, items, with_suffix};

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

/// A file's name as gcc and clang write it as a target, unless `-MT` gives it.
pub(super) fn quoted_for_make(name: &OsStr) -> OsString {
    let mut quoted = Vec::with_capacity(name.len());
    let mut backslashes = 0;
    for &byte in name.as_bytes() {
        match byte {
            // A backslash before a quoted blank would quote that quotation.
            b' ' | b'\t' => quoted.extend(std::iter::repeat_n(b'\\', backslashes + 1)),
            b'#' => quoted.push(b'\\'),
            b'$' => quoted.push(b'$'),
            _ => {}
        }
        quoted.push(byte);
        backslashes = if byte == b'\\' { backslashes + 1 } else { 0 };
    }
    OsString::from_vec(quoted)
}

/// `FILE` or `FILE TARGET`.
fn split_environment(value: &OsStr) -> (&OsStr, Option<&OsStr>) {
    let bytes = value.as_bytes();
    match bytes.iter().position(|byte| *byte == b' ') {
        Some(blank) => (OsStr::from_bytes(&bytes[..blank]), Some(OsStr::from_bytes(&bytes[blank + 1..]))),
        None => (value, None),
    }
}

/// Where a compiler that is given these words writes dependencies; `None` if none are asked for. `source` is the
/// source among them.
pub fn dependency_file(argv: &[OsString], source: &OsStr) -> Option<OsString> {
    let mut request = Request::default();
    let mut output = None;
    let argv = split_wp(argv);
    for item in items(&argv) {
        request.note(&item);
        if item.role() == Role::Output {
            output = Some(item.value().to_owned());
        }
    }
    request.output(source, output.as_deref(), None).map(|found| found.path)
}

/// Whether the words name a target for dependencies without asking for any: clients of 3.4 whose user set
/// `DEPENDENCIES_OUTPUT` do, and want what `-MMD` gives.
pub fn implies_dependencies(argv: &[OsString]) -> bool {
    let (mut targets, mut requests) = (0, 0);
    for item in items(argv) {
        match item.role() {
            Role::Dependency(DependencyPart::Target | DependencyPart::QuotedTarget) => targets += 1,
            Role::Dependency(DependencyPart::Request) => requests += 1,
            _ => {}
        }
    }
    targets > 0 && requests == 0
}

#[cfg(test)]
mod tests {
    use super::super::words::argv;
    use super::*;

    #[test]
    fn targets_are_quoted_as_compilers_quote_them() {
        for (name, want) in [
            ("a.o", "a.o"),
            ("a b.o", r"a\ b.o"),
            ("a\tb.o", "a\\\tb.o"),
            ("a#b$c:d%e.o", r"a\#b$$c:d%e.o"),
            (r"a\b.o", r"a\b.o"),
            (r"a\ b.o", r"a\\\ b.o"),
            (r"a\#b.o", r"a\\#b.o"),
        ] {
            assert_eq!(quoted_for_make(OsStr::new(name)), OsString::from(want), "{name}");
        }
    }

    #[test]
    fn a_servers_compiler_writes_dependencies_where_a_local_one_would() {
        for (command, want) in [
            ("gcc -c d/a.c -o b/a.o", None),
            ("gcc -MT x -c d/a.c -o b/a.o", None),
            ("gcc -MD -c d/a.c -o b/a.o", Some("b/a.d")),
            ("gcc -MMD -c d/a.c", Some("a.d")),
            ("gcc -MD -MF x/y.d -c d/a.c -o b/a.o", Some("x/y.d")),
            ("gcc -MMD -MFy.d -c d/a.c -o b/a.o", Some("y.d")),
            ("gcc -Wp,-MD,.a.o.d -c d/a.c -o b/a.o", Some(".a.o.d")),
        ] {
            assert_eq!(
                dependency_file(&argv(command), OsStr::new("d/a.c")),
                want.map(OsString::from),
                "{command}"
            );
        }
        assert!(implies_dependencies(&argv("gcc -c a.c -MT x")));
        assert!(!implies_dependencies(&argv("gcc -c a.c -MD -MT x")));
        assert!(!implies_dependencies(&argv("gcc -c a.c")));
    }
}
