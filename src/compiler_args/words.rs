//! A command line divided into options with their values, and inputs. Knows the table, not what follows from it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::option_table::{OptionRow, Role, Value, find};

/// One item of a command line: an option with its value, or an input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item<'a> {
    /// The first word's index.
    pub(super) at: usize,
    /// One word, or two when the value is separate.
    pub(super) len: usize,
    /// The first word.
    pub(super) word: &'a OsStr,
    /// What it is.
    pub(super) kind: Kind<'a>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind<'a> {
    /// An option of the table; the value is empty for options without one.
    Known(&'static OptionRow, &'a OsStr),
    /// An option that needs a value, at the end of the command.
    MissingValue(&'static OptionRow),
    /// An option the table does not list.
    Unknown,
    /// Not an option.
    Input,
}

impl<'a> Item<'a> {
    /// The role of a known option; for all else, that of an option without meaning.
    pub(super) fn role(&self) -> Role {
        match self.kind {
            Kind::Known(row, _) | Kind::MissingValue(row) => row.role,
            Kind::Unknown | Kind::Input => Role::Keep,
        }
    }

    /// Whether a compiler would take the words of a file in place of one of these: of any word that begins with `@`,
    /// also where it is an option's value; and gcc's compiler proper, to which the driver hands `-Dx` as `-D x`, of a
    /// value that begins so.
    pub(super) fn names_response_file(&self) -> bool {
        [self.word, self.value()].iter().any(|word| word.as_bytes().starts_with(b"@"))
    }

    /// The value; empty if there is none.
    pub(super) fn value(&self) -> &'a OsStr {
        match self.kind {
            Kind::Known(_, value) => value,
            _ => OsStr::new(""),
        }
    }
}

/// Divides a command line, without its first word.
pub(super) fn items(argv: &[OsString]) -> impl Iterator<Item = Item<'_>> {
    let mut at = 1;
    std::iter::from_fn(move || {
        let word = argv.get(at)?;
        let (kind, len) = classify(word, argv.get(at + 1));
        let item = Item { at, len, word, kind };
        at += len;
        Some(item)
    })
}

fn classify<'a>(word: &'a OsStr, next: Option<&'a OsString>) -> (Kind<'a>, usize) {
    if !is_option(word) {
        return (Kind::Input, 1);
    }
    let Some(row) = find(word) else { return (Kind::Unknown, 1) };
    let rest = &word.as_bytes()[row.name.len()..];
    let separate = row.value == Value::Separate || row.value == Value::Either && rest.is_empty();
    match next {
        _ if !separate => (Kind::Known(row, OsStr::from_bytes(rest)), 1),
        Some(value) => (Kind::Known(row, value), 2),
        None => (Kind::MissingValue(row), 1),
    }
}

/// Whether a word is an option: it starts with `-` and is more than that.
pub(super) fn is_option(word: &OsStr) -> bool {
    word.len() > 1 && word.as_bytes()[0] == b'-'
}

/// The part of a path after the last slash.
pub(super) fn basename(path: &OsStr) -> &OsStr {
    let bytes = path.as_bytes();
    let start = bytes.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    OsStr::from_bytes(&bytes[start..])
}

/// A path with the suffix of its last component replaced, or added if there is none.
pub(super) fn with_suffix(path: &OsStr, suffix: &str) -> OsString {
    let name = basename(path);
    let stem = name.as_bytes().iter().rposition(|byte| *byte == b'.').unwrap_or(name.len());
    let keep = path.len() - name.len() + stem;
    let mut made = OsStr::from_bytes(&path.as_bytes()[..keep]).to_owned();
    made.push(suffix);
    made
}

#[cfg(test)]
pub(super) fn argv(command: &str) -> Vec<OsString> {
    command.split(' ').filter(|word| !word.is_empty()).map(OsString::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_not_inputs() {
        let cases: [(&str, &[&str]); 6] = [
            ("gcc -include foo.c -D a.c -c b.c", &["b.c"]),
            ("gcc -MD -MF x.o -c b.c -o b.o", &["b.c"]),
            ("gcc -DX -Ifoo -includex.h b.c", &["b.c"]),
            ("clang -Xclang x.c -mllvm y.c --param z.c b.c", &["b.c"]),
            ("gcc - b.c", &["-", "b.c"]),
            ("gcc -unknown b.c", &["b.c"]),
        ];
        for (command, want) in cases {
            let words = argv(command);
            let inputs: Vec<&OsStr> =
                items(&words).filter(|item| matches!(item.kind, Kind::Input)).map(|item| item.word).collect();
            assert_eq!(inputs, want, "{command}");
        }
    }

    #[test]
    fn a_missing_value_is_seen() {
        for command in ["gcc -c a.c -o", "gcc -c a.c -MT", "gcc -Xclang"] {
            let words = argv(command);
            assert!(matches!(items(&words).last().unwrap().kind, Kind::MissingValue(_)), "{command}");
        }
    }

    #[test]
    fn a_suffix_is_replaced_in_the_last_component_only() {
        let cases = [
            ("b.c", "b.d"),
            ("a/x", "a/x.d"),
            ("a.b/x", "a.b/x.d"),
            ("x.y.o", "x.y.d"),
            ("./.hid", "./.d"),
            ("/dev/null", "/dev/null.d"),
        ];
        for (path, want) in cases {
            assert_eq!(with_suffix(OsStr::new(path), ".d"), want, "{path}");
        }
    }
}
