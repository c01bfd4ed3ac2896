//! What a string literal may mean to others than the compiler: assembler text that takes in files, and `_Pragma`. Knows
//! neither where the literal stands nor which files there are.

/// A file that assembler text takes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken<'a> {
    /// `.incbin "name"`.
    Bytes(&'a [u8]),
    /// `.include "name"`.
    Text(&'a [u8]),
    /// The name is put together elsewhere.
    Unnamed,
}

/// The files that assembler text in a literal takes in.
pub(super) fn assembler_files(literal: &[u8]) -> impl Iterator<Item = Taken<'_>> {
    let dots = literal.iter().enumerate().filter(|(_, byte)| **byte == b'.');
    dots.filter_map(|(at, _)| {
        let rest = &literal[at..];
        if let Some(operand) = rest.strip_prefix(b".incbin") {
            return Some(quoted(without_blanks(operand)).map_or(Taken::Unnamed, Taken::Bytes));
        }
        let operand = without_blanks(rest.strip_prefix(b".include")?);
        match quoted(operand) {
            Some(name) => Some(Taken::Text(name)),
            // Prose speaks of `.include` too, but does not end with it.
            None => (operand == b"\"").then_some(Taken::Unnamed),
        }
    })
}

fn without_blanks(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [b'\\', b't', rest @ ..] = text {
        text = rest;
    }
    text
}

/// The name in `\"name\"`, or in `"name"` as raw strings have it.
fn quoted(text: &[u8]) -> Option<&[u8]> {
    let quoted = text.strip_prefix(b"\\\"").or_else(|| text.strip_prefix(b"\""))?;
    let end = quoted.iter().position(|byte| matches!(byte, b'"' | b'\\' | b'\n'))?;
    (end > 0 && quoted[end] != b'\n').then(|| &quoted[..end])
}

/// The pragma that `_Pragma` would make of a literal, if it is one for gcc.
pub(super) fn pragma(literal: &[u8]) -> Option<Vec<u8>> {
    let inside = literal.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if !inside.trim_ascii_start().starts_with(b"GCC") {
        return None;
    }
    let escapes = |at: usize| inside[at] == b'\\' && matches!(inside.get(at + 1), Some(b'"' | b'\\'));
    let mut text = Vec::with_capacity(inside.len());
    let mut at = 0;
    while at < inside.len() {
        at += usize::from(escapes(at));
        text.push(inside[at]);
        at += 1;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_stand_in_source() {
        let cases: [(&str, &[Taken<'_>]); 6] = [
            (r#"".incbin \"a.bin\"; .include\t\"b\"""#, &[Taken::Bytes(b"a.bin"), Taken::Text(b"b")]),
            (r#"".include \"a\"; .incbin \"b\"""#, &[Taken::Text(b"a"), Taken::Bytes(b"b")]),
            (r#"".incbin ""#, &[Taken::Unnamed]),
            (r#""see .included""#, &[]),
            (r#"".include ""#, &[Taken::Unnamed]),
            (r#"".incbin \"\"""#, &[Taken::Unnamed]),
        ];
        for (literal, want) in cases {
            let found: Vec<_> = assembler_files(literal.as_bytes()).collect();
            assert_eq!(found, want, "{literal}");
        }
        assert_eq!(pragma(br#"" GCC x \"y\\z\" \t""#).as_deref(), Some(&br#" GCC x "y\z" \t"#[..]));
        assert_eq!(pragma(b"\"once\""), None);
    }
}
