//! A source gathered into one text: its included files in place, its macros as they are (clang's
//! `-frewrite-includes`). Knows which compilations can be sent so, what the server must be told besides, and
//! which texts must not be; runs nothing. See "Gathered text" in docs/design-notes.md.
//!
//! clang judges by what a macro looks like: it warns of doubled parentheses in expanded text where it forgives
//! them in the source, and its notes, columns and debug information follow the text it reads. Gathered text
//! compiles as the source does. The server needs nothing new: told that the text is preprocessed, clang still
//! obeys directives and defines its own macros; only its driver drops `-D`, so the words go past the driver.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::compile::{Compile, Family};
use super::option_table::Role;
use super::words::{Item, Kind, items};

/// What has become of the source in the text that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextForm {
    /// Files included, macros expanded, conditions decided: what `-E` writes.
    Expanded,
    /// Files included; the rest is left to the server's compiler.
    Gathered,
}

impl Compile {
    /// The form in which this source is sent, unless the text turns out unfit ([`is_faithful`]).
    pub fn text_form(&self, family: Family) -> TextForm {
        let plain_name = self
            .source()
            .to_str()
            .is_some_and(|name| !name.chars().any(|c| c.is_control() || matches!(c, '"' | '\\')));
        // What -imacros defines is left out of the text; what goes past the driver is not understood.
        let spoils = |item: Item<'_>| match item.kind {
            Kind::Known(row, _) => {
                row.role == Role::PassedToPreprocessor
                    || row.name.trim_start_matches('-').starts_with("imacros")
            }
            _ => false,
        };
        let gathers = family == Family::Clang && !self.is_preprocessed() && plain_name;
        if gathers && !items(self.argv()).any(spoils) { TextForm::Gathered } else { TextForm::Expanded }
    }

    /// What comes before a text of this form. clang takes the source's name from the first line, for debug
    /// information and for the names of static initialisers, but does not write it there when it gathers.
    pub fn preface(&self, form: TextForm) -> Vec<u8> {
        match form {
            TextForm::Expanded => Vec::new(),
            TextForm::Gathered => [b"# 1 \"", self.source().as_bytes(), b"\"\n"].concat(),
        }
    }
}

/// What the server's compiler must be told so that an option's effect on macros is the same there. Options
/// that only find or include files have had their effect.
pub(super) fn macro_words(item: &Item<'_>) -> Vec<OsString> {
    let to_frontend = |option: &str, value: &OsStr| {
        let mut word = OsString::from(option);
        word.push(value);
        vec!["-Xclang".into(), word]
    };
    const FILE_PREFIXES: &[u8] = b"-ffile-prefix-map=";
    if let Some(prefixes) = item.word.as_bytes().strip_prefix(FILE_PREFIXES) {
        return to_frontend("-fmacro-prefix-map=", OsStr::from_bytes(prefixes));
    }
    let Kind::Known(row, value) = item.kind else { return Vec::new() };
    match row.name {
        "-D" | "--define-macro" | "--define-macro=" => to_frontend("-D", value),
        "-U" | "--undefine-macro" | "--undefine-macro=" => to_frontend("-U", value),
        "-undef" | "-fmacro-prefix-map=" => to_frontend(row.name, value),
        _ => Vec::new(),
    }
}

/// Whether a gathered text compiles elsewhere to what the source compiles to here.
///
/// It does not where a macro means the time of day; where the source itself says which line it is (`#line`, or
/// markers of an earlier preprocessing), which clang forgets at the next condition it decides; and where a
/// condition counts `__COUNTER__`, because the server's compiler counts from there again.
pub fn is_faithful(text: &[u8]) -> bool {
    let mut pairs = text.windows(2).enumerate();
    !pairs.any(|(at, pair)| {
        let (before, from) = text.split_at(at);
        match pair {
            b"__" if from.starts_with(b"__COUNTER__") => is_in_condition(before),
            b"__" => TIMES.iter().any(|name| from.starts_with(name)),
            b"li" => from.starts_with(b"line") && trim_blanks_end(before).ends_with(b"#"),
            b"# " => is_marker_of_source(before, from),
            _ => false,
        }
    })
}

const TIMES: [&[u8]; 3] = [b"__DATE__", b"__TIME__", b"__TIMESTAMP__"];

/// Whether what follows `before` is in the line of an `#if` or `#elif`.
fn is_in_condition(before: &[u8]) -> bool {
    let line = last_line(before).trim_ascii_start();
    let directive = line.strip_prefix(b"#").map(<[u8]>::trim_ascii_start);
    directive.is_some_and(|word| word.starts_with(b"if") || word.starts_with(b"elif"))
}

/// Whether a marker `# 7 "name"` is the source's own: clang puts one without flags only after a directive.
fn is_marker_of_source(before: &[u8], from: &[u8]) -> bool {
    let Some(text) = before.strip_suffix(b"\n").filter(|_| from[2..].first().is_some_and(u8::is_ascii_digit))
    else {
        return false;
    };
    let marker = first_line(from).trim_ascii_end();
    marker.ends_with(b"\"") && !last_line(text).trim_ascii_start().starts_with(b"#")
}

fn first_line(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == b'\n').next().unwrap_or_default()
}

fn last_line(text: &[u8]) -> &[u8] {
    text.rsplit(|byte| *byte == b'\n').next().unwrap_or_default()
}

fn trim_blanks_end(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Whether a diagnostic is about a condition or an included file. The server's compiler does not see those: it
/// finds conditions decided, and files in place.
pub fn is_about_gathering(diagnostics: &[u8]) -> bool {
    const DIRECTIVES: [&[u8]; 4] = [b"if", b"elif", b"include", b"import"];
    diagnostics.split(|byte| *byte == b'#').skip(1).any(|part| {
        let word = part.trim_ascii_start();
        DIRECTIVES.iter().any(|directive| word.starts_with(directive))
    })
}

/// The diagnostics of gathering that `there`, those of the server's compiler, lack. A preprocessor's warning
/// should be in both; clang's driver may complain in one place or both.
pub fn unrepeated(here: &[u8], there: &[u8]) -> Vec<u8> {
    fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
        text.split_inclusive(|byte| *byte == b'\n')
    }
    let is_repeated = |line: &[u8]| lines(there).any(|other| other == line);
    let is_count = |line: &[u8]| line.ends_with(b" generated.\n");
    let (drivers, compilers): (Vec<&[u8]>, Vec<&[u8]>) = lines(here).partition(|line| is_of_driver(line));
    let mut rest: Vec<&[u8]> = drivers.into_iter().filter(|line| !is_repeated(line)).collect();
    if !compilers.iter().all(|line| is_count(line) || is_repeated(line)) {
        rest.extend(compilers);
    }
    rest.concat()
}

/// Whether a line is clang's driver complaining about the command, which takes one line each time.
fn is_of_driver(line: &[u8]) -> bool {
    const FLAGS: [&[u8]; 3] =
        [b"[-Wunused-command-line-argument]", b"[-Wignored-optimization-argument]", b"treating '"];
    FLAGS.iter().any(|flag| line.windows(flag.len()).any(|part| part == *flag))
}

#[cfg(test)]
mod tests {
    use super::super::compile::tests::compile;
    use super::super::words::argv;
    use super::super::{old_server::refused_word, server_args};
    use super::*;

    #[test]
    fn only_clang_gathers_and_only_what_it_can() {
        let cases = [
            ("clang -c t.c", Family::Clang, TextForm::Gathered),
            ("clang++ -x c++ -c t.c", Family::Clang, TextForm::Gathered),
            ("clang -c t.m", Family::Clang, TextForm::Gathered),
            ("gcc -c t.c", Family::Gcc, TextForm::Expanded),
            ("clang -c t.i", Family::Clang, TextForm::Expanded),
            ("clang -x cpp-output -c t.c", Family::Clang, TextForm::Expanded),
            ("clang -Xpreprocessor -DX -c t.c", Family::Clang, TextForm::Expanded),
            ("clang -imacros x.h -c t.c", Family::Clang, TextForm::Expanded),
            ("clang --imacros=x.h -c t.c", Family::Clang, TextForm::Expanded),
            ("clang -c a\"b.c", Family::Clang, TextForm::Expanded),
            ("clang -c a\\b.c", Family::Clang, TextForm::Expanded),
        ];
        for (command, family, want) in cases {
            assert_eq!(compile(command).text_form(family), want, "{command}");
        }
    }

    #[test]
    fn gathering_asks_for_the_dependencies_of_the_compilation() {
        let cases = [
            ("clang -DX -c t.c -o t.o", "clang -DX -E t.c -frewrite-includes"),
            ("clang -MD -c t.c -o y/t.o", "clang -MD -E t.c -MF y/t.d -MQ y/t.o -frewrite-includes"),
        ];
        for (command, want) in cases {
            assert_eq!(compile(command).preprocess_command(TextForm::Gathered), argv(want), "{command}");
        }
    }

    #[test]
    fn macros_travel_past_the_driver_and_servers_accept_them() {
        let cases = [
            (
                "clang -DA -D B=1 -UC -I x -include y.h -O2 -c s/t.c",
                "clang -O2 -c s/t.c -o t.o -Xclang -DA -Xclang -DB=1 -Xclang -UC",
            ),
            (
                "clang --define-macro=A --undefine-macro B -undef -c t.c",
                "clang -c t.c -o t.o -Xclang -DA -Xclang -UB -Xclang -undef",
            ),
            ("clang -x c++ -DA=x.c -c t.c", "clang -x c++-cpp-output -c t.c -o t.o -Xclang -DA=x.c"),
            ("clang++ -DA -c t.c", "clang++ -c -x c++-cpp-output t.c -o t.o -Xclang -DA"),
            ("clang -D A=/x-file -c t.c", "clang -c t.c -o t.o -Xclang -DA=/x-file"),
            (
                "clang -fmacro-prefix-map=a=b -ffile-prefix-map=c=d -c t.c",
                "clang -ffile-prefix-map=c=d -c t.c -o t.o -Xclang -fmacro-prefix-map=a=b -Xclang \
                 -fmacro-prefix-map=c=d",
            ),
        ];
        for (command, want) in cases {
            let sent = compile(command).plain_command(Family::Clang, TextForm::Gathered).unwrap();
            assert_eq!(sent, argv(want), "{command}");
            assert_eq!(refused_word(&sent), None, "{command}");
            let run = server_args::check(&sent).unwrap().command(OsStr::new("/s.i"), OsStr::new("/o.o"));
            let defines = |words: &[OsString]| words.iter().filter(|word| *word == "-Xclang").count();
            assert_eq!(defines(&run), defines(&sent), "{command}: {run:?}");
        }
    }

    #[test]
    fn the_first_line_names_the_source() {
        let compile = compile("clang -c s/t.c");
        assert_eq!(compile.preface(TextForm::Gathered), b"# 1 \"s/t.c\"\n");
        assert_eq!(compile.preface(TextForm::Expanded), b"");
    }

    #[test]
    fn texts_that_would_compile_differently_elsewhere_are_noticed() {
        let cases = [
            ("int a;\n# 1 \"t.c\" 2\n__LINE__ __FILE__ list_line #define\n", true),
            ("char *d = __DATE__;", false),
            ("x\n  f(__TIME__)", false),
            ("__TIMESTAMP__", false),
            ("___DATE__", false),
            ("__DATE_", true),
            ("int c = __COUNTER__;\n#define U __COUNTER__\n", true),
            ("#if __COUNTER__ == 0\n", false),
            ("\t# elif 1 + __COUNTER__\n", false),
            ("#line 4 \"x.y\"\n", false),
            ("  #  line 4\n", false),
            ("# outline", true),
            ("#endif\n# 7 \"t.c\"\nint a;\n# 1 \"t.h\" 1\nint b;\n# 9 \"t.c\" 2\n", true),
            ("int a;\n# 7 \"other.y\"\n", false),
            ("int a;\n# 7 \"t.c\" 3 4\n", true),
            ("a # 7 \"t.c\"\n# ", true),
            ("", true),
            ("_", true),
        ];
        for (text, want) in cases {
            assert_eq!(is_faithful(text.as_bytes()), want, "{text}");
        }
    }

    #[test]
    fn diagnostics_of_what_the_server_does_not_see_are_noticed() {
        let cases = [
            ("t.c:1:5: warning: 'X' is not defined, evaluates to 0 [-Wundef]\n#if X\n    ^\n", true),
            ("    1 |   # elif X\n", true),
            ("./h.h:8:2: warning: x [-Winclude-next-absolute-path]\n#include_next \"h3.h\"\n ^\n", true),
            ("t.c:1:2: warning: x [-W#warnings]\n#warning x\n ^\n1 warning generated.\n", false),
            ("clang: warning: -lx: 'linker' input unused [-Wunused-command-line-argument]\n", false),
            ("", false),
        ];
        for (text, want) in cases {
            assert_eq!(is_about_gathering(text.as_bytes()), want, "{text}");
        }
    }

    #[test]
    fn nothing_is_said_twice_and_nothing_is_lost() {
        let unused = "clang: warning: -lx: 'linker' input unused [-Wunused-command-line-argument]\n";
        let ignored =
            "clang: warning: optimization flag '-fx' is not supported [-Wignored-optimization-argument]\n";
        let warning = "t.c:1:2: warning: x [-W#warnings]\n#warning x\n ^\n";
        let once =
            "t.c:1:9: warning: #pragma once in main file [-Wpragma-once-outside-header]\n#pragma once\n";
        let counted = [warning, "1 warning generated.\n"].concat();
        let more = ["t.c:0:0: before\n", warning, "t.c:9:9: after\n3 warnings generated.\n"].concat();
        let cases = [
            (unused.to_string(), String::new(), unused.to_string()),
            ([unused, ignored].concat(), ignored.into(), unused.into()),
            (counted.clone(), more.clone(), String::new()),
            ([unused, &counted].concat(), more.clone(), unused.into()),
            (once.into(), more, once.into()),
            (counted.clone(), String::new(), counted),
            (String::new(), "t.c:9:9: after\n".into(), String::new()),
        ];
        for (here, there, want) in cases {
            let rest = unrepeated(here.as_bytes(), there.as_bytes());
            assert_eq!(String::from_utf8_lossy(&rest), want, "{here} / {there}");
        }
    }
}
