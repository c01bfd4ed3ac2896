//! What one file's text says about other files: its `#include`s and their relatives, and the macros it defines. One
//! pass over the bytes, without context: conditionals are ignored, so the answer holds for every use of the file.
//! Opens nothing, expands nothing.

use std::collections::HashSet;

use super::reference::{Reference, Target, Use};
use super::strings::{self, Taken};
use super::text::{self, Rules, Text, is_name_byte};

/// All that a file says.
#[derive(Debug, Default)]
pub struct Directives {
    /// The files it names, each once, in order of their first mention.
    pub references: Vec<Reference>,
    /// Its definitions: the text after `#define`, cleaned of comments and continuations, sorted by name.
    definitions: Vec<(u32, u32)>,
    text: Vec<u8>,
    /// Assembler text takes in a file whose name is put together elsewhere.
    pub has_unnamed_incbin: bool,
}

impl Directives {
    /// Finds everything in a file's text.
    pub fn of(text: &[u8]) -> Directives {
        let bytes = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let mut found = Directives::default();
        // Once by each set of rules that makes a difference; nearly always that is one.
        let mut matters = Rules { trigraphs: has_trigraph(bytes), ..Rules::default() };
        for rules in Rules::all() {
            if rules.are_within(matters) {
                let text = Text { bytes, rules };
                let mut scanner =
                    Scanner { text, at: 0, line: Vec::new(), found, matters, unclosed: Vec::new() };
                while scanner.at < bytes.len() {
                    scanner.logical_line();
                }
                (found, matters) = (scanner.found, scanner.matters);
            }
        }
        let mut seen = HashSet::new();
        found.references.retain(|reference| seen.insert(reference.clone()));
        found.sort_definitions();
        found
    }

    /// Definitions only, each given as the text after `#define`.
    pub(super) fn of_definitions(definitions: &[Vec<u8>]) -> Directives {
        let mut made = Directives::default();
        for definition in definitions {
            let start = made.text.len() as u32;
            made.text.extend_from_slice(definition);
            made.definitions.push((start, made.text.len() as u32));
        }
        made.sort_definitions();
        made
    }

    fn sort_definitions(&mut self) {
        let text = &self.text;
        let spelled = |(start, end): (u32, u32)| &text[start as usize..end as usize];
        self.definitions.sort_by_key(|range| (definition_name(text, *range), spelled(*range)));
        self.definitions.dedup_by_key(|range| spelled(*range));
    }

    /// The macros it defines, and all definitions of each, as the text after `#define`.
    pub fn definitions(&self) -> impl Iterator<Item = (&[u8], impl Iterator<Item = &[u8]>)> {
        let name = |range: &(u32, u32)| definition_name(&self.text, *range);
        let text = |(start, end): &(u32, u32)| &self.text[*start as usize..*end as usize];
        let same = self.definitions.chunk_by(move |one, other| name(one) == name(other));
        same.map(move |ranges| (name(&ranges[0]), ranges.iter().map(text)))
    }

    /// The definitions of one macro, each as the text after `#define`.
    pub fn definitions_of<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let from = self.definitions.partition_point(|range| definition_name(&self.text, *range) < name);
        self.definitions[from..]
            .iter()
            .take_while(move |range| definition_name(&self.text, **range) == name)
            .map(|(start, end)| &self.text[*start as usize..*end as usize])
    }
}

fn definition_name(text: &[u8], (start, end): (u32, u32)) -> &[u8] {
    let definition = &text[start as usize..end as usize];
    let end = definition.iter().position(|byte| !is_name_byte(*byte)).unwrap_or(definition.len());
    &definition[..end]
}

struct Scanner<'a> {
    text: Text<'a>,
    at: usize,
    /// The directive at hand, cleaned.
    line: Vec<u8>,
    found: Directives,
    /// The rules by which the text could mean something else.
    matters: Rules,
    /// Ends of raw strings that do not come any more: they are not looked for again.
    unclosed: Vec<Vec<u8>>,
}

impl Scanner<'_> {
    fn byte(&self) -> Option<u8> {
        self.text.bytes.get(self.at).copied()
    }

    /// Reads one logical line: a directive, or text without interest.
    fn logical_line(&mut self) {
        self.at = self.text.skip_blanks(self.at);
        let rest = &self.text.bytes[self.at..];
        let length = match rest {
            [b'#', ..] => 1,
            [b'%', ..] if self.digraph() => self.text.skip_splices(self.at + 1) + 1 - self.at,
            [b'?', b'?', b'=', ..] => 3,
            _ => return self.skip_code(),
        };
        self.at += length;
        self.directive();
    }

    fn digraph(&self) -> bool {
        self.text.bytes.get(self.text.skip_splices(self.at + 1)) == Some(&b':')
    }

    fn directive(&mut self) {
        self.at = self.text.skip_blanks(self.at);
        match self.word().as_slice() {
            b"include" | b"import" => self.include(Use::Include),
            b"include_next" => self.include(Use::IncludeNext),
            b"embed" => self.include(Use::Embed),
            b"define" => {
                self.clean_line();
                let start = self.found.text.len() as u32;
                self.find_questions(false);
                self.found.text.extend_from_slice(&self.line);
                self.found.definitions.push((start, self.found.text.len() as u32));
            }
            b"if" | b"elif" => {
                self.clean_line();
                self.find_questions(true);
            }
            b"pragma" => self.pragma(),
            _ => self.skip_code(),
        }
    }

    /// The letters from here on, over continuations.
    fn word(&mut self) -> Vec<u8> {
        let mut word = Vec::with_capacity(16);
        loop {
            self.at = self.text.skip_splices(self.at);
            match self.byte() {
                Some(byte) if is_name_byte(byte) => word.push(byte),
                _ => return word,
            }
            self.at += 1;
        }
    }

    fn include(&mut self, purpose: Use) {
        self.at = self.text.skip_blanks(self.at);
        let close = match self.byte() {
            Some(b'"') => b'"',
            Some(b'<') => b'>',
            _ => return self.computed(purpose),
        };
        let start = self.at;
        self.at += 1;
        let mut name = Vec::new();
        loop {
            self.at = self.text.skip_splices(self.at);
            match self.byte() {
                Some(byte) if byte == close => break,
                None | Some(b'\n') => {
                    // No name after all: `#include <a MACRO` may be one when it is expanded.
                    self.at = start;
                    return self.computed(purpose);
                }
                Some(byte) => name.push(byte),
            }
            self.at += 1;
        }
        self.at += 1;
        let name = name.into_boxed_slice();
        let target = if close == b'>' { Target::Angle(name) } else { Target::Quote(name) };
        self.found.references.push(Reference { purpose, target });
        self.skip_code();
    }

    fn computed(&mut self, purpose: Use) {
        self.clean_line();
        if !self.line.is_empty() {
            let target = Target::Computed(self.line.as_slice().into());
            self.found.references.push(Reference { purpose, target });
        }
    }

    fn pragma(&mut self) {
        self.clean_line();
        let line = std::mem::take(&mut self.line);
        self.pragma_text(&line);
        self.line = line;
    }

    /// `GCC dependency "name"` only asks whether a file is newer.
    fn pragma_text(&mut self, text: &[u8]) {
        let words = text.trim_ascii_start().strip_prefix(b"GCC").map(<[u8]>::trim_ascii_start);
        if let Some(rest) = words.and_then(|rest| rest.strip_prefix(b"dependency")) {
            self.operand(Use::Include, rest.trim_ascii());
        }
    }

    /// The operands of `__has_include` and the like. In a condition every header name counts: nothing else can be
    /// written like one there, and the question may be hidden in a macro.
    fn find_questions(&mut self, is_condition: bool) {
        const QUESTIONS: [(&[u8], Use); 4] = [
            (b"__has_include_next", Use::IncludeNext),
            (b"__has_include__", Use::Include),
            (b"__has_include", Use::Include),
            (b"__has_embed", Use::Embed),
        ];
        let line = std::mem::take(&mut self.line);
        let mut at = 0;
        while let Some(offset) = line[at..].iter().position(|byte| matches!(byte, b'_' | b'(')) {
            at += offset;
            let rest = &line[at..];
            if rest[0] == b'(' {
                at += 1;
                let operand = line[at..].trim_ascii_start();
                if is_condition && matches!(operand.first(), Some(b'"' | b'<')) {
                    self.operand(Use::Include, operand);
                }
                continue;
            }
            let Some((word, purpose)) = QUESTIONS.iter().find(|(word, _)| rest.starts_with(word)) else {
                at += rest.iter().position(|byte| !is_name_byte(*byte)).unwrap_or(rest.len());
                continue;
            };
            at += word.len();
            if let Some(operand) = line[at..].trim_ascii_start().strip_prefix(b"(") {
                at = line.len() - operand.len();
                self.operand(*purpose, operand.trim_ascii_start());
            }
        }
        self.line = line;
    }

    /// A header name, or a macro that may be one; what follows it is ignored.
    fn operand(&mut self, purpose: Use, operand: &[u8]) {
        let closed =
            |close: u8| operand[1..].iter().position(|byte| *byte == close).map(|end| &operand[1..=end]);
        let target = match operand.first() {
            Some(b'"') => closed(b'"').map(|name| Target::Quote(name.into())),
            Some(b'<') => closed(b'>').map(|name| Target::Angle(name.into())),
            Some(byte) if is_name_byte(*byte) => Some(Target::Computed(balanced(operand).into())),
            _ => None,
        };
        self.found.references.extend(target.map(|target| Reference { purpose, target }));
    }

    /// The rest of the logical line into `line`: comments become blanks, continuations nothing.
    fn clean_line(&mut self) {
        self.line.clear();
        self.at = self.text.skip_blanks(self.at);
        while let Some(byte) = self.byte() {
            match byte {
                b'\n' => break,
                b'"' | b'\'' => {
                    let start = self.at;
                    self.literal(byte);
                    self.text.append_spliced(start..self.at, &mut self.line);
                }
                b'/' => match self.text.comment_end(self.at) {
                    Some(end) => {
                        self.line.push(b' ');
                        self.at = end;
                    }
                    None => {
                        self.line.push(b'/');
                        self.at += 1;
                    }
                },
                _ => match self.text.splice(self.at) {
                    Some(end) => self.at = end,
                    None => {
                        self.line.push(byte);
                        self.at += 1;
                    }
                },
            }
        }
        self.at += 1;
        self.line.truncate(self.line.trim_ascii_end().len());
    }

    /// Goes behind the end of the logical line.
    fn skip_code(&mut self) {
        while let Some(offset) = self.text.bytes[self.at.min(self.text.bytes.len())..]
            .iter()
            .position(|byte| text::is_special(*byte))
        {
            self.at += offset;
            match self.text.bytes[self.at] {
                b'\n' => {
                    self.at += 1;
                    return;
                }
                quote @ (b'"' | b'\'') => self.literal(quote),
                b'/' => self.at = self.text.comment_end(self.at).unwrap_or(self.at + 1),
                _ => self.at = self.text.splice(self.at).unwrap_or(self.at + 1),
            }
        }
        self.at = self.text.bytes.len();
    }

    /// Goes behind a string or character, or behind the quote if it begins none.
    fn literal(&mut self, quote: u8) {
        let start = self.at;
        if quote == b'\'' && self.text.separates_digits(start) {
            self.matters.digit_quotes = true;
            if self.text.rules.digit_quotes {
                self.at += 1;
                return;
            }
        }
        let raw = if quote == b'"' { self.raw_string_end(start) } else { None };
        self.matters.raw_strings |= raw.is_some();
        let raw = raw.filter(|_| self.text.rules.raw_strings);
        self.at = raw.unwrap_or_else(|| self.text.literal_end(start));
        if quote == b'"' {
            self.string(start);
        }
    }

    /// Behind the raw string whose quote is at `start`, if it is one and has an end.
    fn raw_string_end(&mut self, start: usize) -> Option<usize> {
        let (close, content) = self.text.raw_string(start)?;
        if self.unclosed.contains(&close) {
            return None;
        }
        let rest = &self.text.bytes[content..];
        match rest.windows(close.len()).position(|window| window == close) {
            Some(length) => Some(content + length + close.len()),
            None => {
                self.unclosed.push(close);
                None
            }
        }
    }

    /// What the string from `start` on means to others than the compiler.
    fn string(&mut self, start: usize) {
        let literal = &self.text.bytes[start..self.at];
        for file in strings::assembler_files(literal) {
            let (purpose, name) = match file {
                Taken::Bytes(name) => (Use::Embed, name),
                Taken::Text(name) => (Use::Assemble, name),
                Taken::Unnamed => {
                    self.found.has_unnamed_incbin = true;
                    continue;
                }
            };
            self.found.references.push(Reference { purpose, target: Target::Quote(name.into()) });
        }
        if let Some(pragma) = strings::pragma(literal) {
            self.pragma_text(&pragma);
        }
    }
}

/// Whether there is a trigraph that can change where something ends. Question marks are rare.
fn has_trigraph(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == b'?') {
        if rest[at..].starts_with(b"??/") {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

/// The text up to the closing parenthesis that has no opening one.
fn balanced(text: &[u8]) -> &[u8] {
    let mut depth = 0;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' if depth == 0 => return text[..at].trim_ascii_end(),
            b')' => depth -= 1,
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// References as text: `"a"`, `<a>` or `=a` for computed ones, after `n` for next `e` for embedded and `a` for assembled.
    fn references(text: &[u8]) -> String {
        let found = Directives::of(text);
        let shown = found.references.iter().map(|reference| {
            let purpose = match reference.purpose {
                Use::Include => "",
                Use::IncludeNext => "n",
                Use::Embed => "e",
                Use::Assemble => "a",
            };
            let text = String::from_utf8_lossy;
            match &reference.target {
                Target::Quote(name) => format!("{purpose}\"{}\"", text(name)),
                Target::Angle(name) => format!("{purpose}<{}>", text(name)),
                Target::Computed(expression) => format!("{purpose}={}", text(expression)),
            }
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    fn check(cases: &[(&str, &str)]) {
        for (text, want) in cases {
            assert_eq!(references(text.as_bytes()), *want, "{text:?}");
        }
    }

    #[test]
    fn every_spelling_of_a_directive_is_found() {
        check(&[
            ("#include \"a.h\"\n#include <b.h>", "\"a.h\" <b.h>"),
            ("  #\tinclude\"a.h\"\r\n#include<b.h>\r\n", "\"a.h\" <b.h>"),
            ("#import \"a.h\"\n#include_next <b.h>\n", "\"a.h\" n<b.h>"),
            ("/* c */ # /* d */ include /* e */ \"a.h\" // f", "\"a.h\""),
            ("/* c\n\n*/#include \"a.h\"", "\"a.h\""),
            ("#inc\\\nlude \"a\\\n.h\"", "\"a.h\""),
            ("#\\\r\ninclude <a.h>", "<a.h>"),
            ("#inc??/\nlude <a.h>", "<a.h>"),
            ("%:include <a.h>\n??=include <b.h>\n", "<a.h> <b.h>"),
            ("%\\\n:include <a.h>", "<a.h>"),
            ("#if 0\n#include \"a.h\"\n#endif", "\"a.h\""),
            ("#include \"a b&c@~.h\"", "\"a b&c@~.h\""),
            ("#include <it's//a/*.h>\n#include <b.h>", "<it's//a/*.h> <b.h>"),
            ("\u{feff}#include <a.h>", "<a.h>"),
            ("x\0\n#include <a.h>\0", "<a.h>"),
            ("\x0c#include <a.h>", "<a.h>"),
        ]);
        assert_eq!(Directives::of(b"#include \"\xe4\xff.h\"").references.len(), 1);
    }

    #[test]
    fn text_that_looks_like_a_directive_is_not_one() {
        check(&[
            ("/*\n#include <a.h>\n*/", ""),
            ("// x \\\n#include <a.h>", ""),
            ("int x; #include <a.h>", ""),
            ("char *s = \"\\\n#include <a.h>\";", ""),
            ("#included <a.h>", ""),
            ("#define X #include <a.h>", ""),
        ]);
    }

    #[test]
    fn text_that_depends_on_the_language_is_read_in_every_way() {
        check(&[
            ("auto s = R\"(\n#include <a.h>\n)\";\n#include <b.h>", "<a.h> <b.h>"),
            ("auto s = u8R\"x(\n)\" /* \n)x\";\n#include <b.h>", "<b.h>"),
            ("auto s = LR\"( \" /* )\";\n#include <b.h>", "<b.h>"),
            ("int i = 1'0/* C\n#include <a.h>\n//*/\n#include <b.h>", "<a.h> <b.h>"),
            ("int i = 1'0; /* '\n#include <a.h>\n//*/\n#include <b.h>", "<a.h> <b.h>"),
            ("// ??/\n/*\n#include <a.h>\n//*/", "<a.h>"),
            ("char *s = \"??/\"/*\";\n#include <a.h>", "<a.h>"),
            ("char *s = \"??/\n#include <a.h>\n", "<a.h>"),
            ("char *s = \"\\\\\n\"/*\";\n#include <a.h>", "<a.h>"),
        ]);
    }

    #[test]
    fn what_looks_like_text_does_not_hide_a_directive() {
        check(&[
            ("char *s = \"/*\";\n#include <a.h>", "<a.h>"),
            ("int x = 1'000; /* '\n*/\n#include <a.h>", "<a.h>"),
            ("#if 0\ndon't\n#include <a.h>\n#endif", "<a.h>"),
            ("char c = '\"';\n#include <a.h>", "<a.h>"),
            ("char c = '\\'', *s = \"\\\"/*\";\n#include <a.h>", "<a.h>"),
            ("VAR\"(\n#include <a.h>\n", "<a.h>"),
            ("R\"(\n#include <a.h>\n", "<a.h>"),
            ("x = y //* z\n ;\n#include <a.h>", "<a.h>"),
            ("/\\\n* \" *\\\n/\n#include <a.h>", "<a.h>"),
            ("#define Q \"/*\"\n#include <a.h>", "<a.h>"),
            ("#define Q /* \n */ 1\n#include <a.h>", "<a.h>"),
            ("#error don't /* panic\n*/\n#include <a.h>", "<a.h>"),
        ]);
    }

    #[test]
    fn computed_names_and_questions_are_kept() {
        check(&[
            ("#include NAME(x) // c", "=NAME(x)"),
            ("#include <a DIR", "=<a DIR"),
            ("#if defined(X) && __has_include(\"a.h\") || __has_include(<b.h>)", "\"a.h\" <b.h>"),
            ("#if ASK(<c.h>) && x < y", "<c.h>"),
            ("#elif __has_include_next ( <a.h> )", "n<a.h>"),
            ("#define HAS __has_include(\"a.h\")", "\"a.h\""),
            ("#if __has_include(NAME(1)) && y", "=NAME(1)"),
            ("#embed \"a.bin\" limit(4)", "e\"a.bin\""),
            ("#pragma GCC dependency \"a.y\" rebuild", "\"a.y\""),
            ("int i; _Pragma(\"GCC dependency \\\"a.y\\\"\")", "\"a.y\""),
            ("#define D _Pragma ( \"GCC dependency <a.y> x\" )", "<a.y>"),
            ("asm(\".incbin \\\"a.bin\\\"\");", "e\"a.bin\""),
            ("#define A asm(\"x; .include \\\"a.inc\\\"\")", "a\"a.inc\""),
        ]);
        assert!(Directives::of(b"asm(\".incbin \" NAME);").has_unnamed_incbin);
        assert!(!Directives::of(b"puts(\"see .included\");").has_unnamed_incbin);
    }

    #[test]
    fn definitions_are_found_by_name() {
        let found = Directives::of(
            b"#define A 1\n#define AB(x, y) x ## /* c */ \\\n y\n# define A \"/*\"\n#undef A\n",
        );
        let all = |name: &[u8]| -> Vec<String> {
            found.definitions_of(name).map(|text| String::from_utf8_lossy(text).into_owned()).collect()
        };
        assert_eq!(all(b"A"), ["A \"/*\"", "A 1"]);
        assert_eq!(all(b"AB").len(), 1);
        assert_eq!(all(b"B"), [""; 0]);
    }
}
