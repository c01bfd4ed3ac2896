//! What a string literal may mean to others than the compiler: assembler text that takes in files, and `_Pragma`. Knows
//! neither where the literal stands nor which files there are.

/// The names of files that assembler text takes in, by `.incbin` or `.include`; `None` for a name that is put together
/// elsewhere.
pub(super) fn assembler_files(literal: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let dots = literal.iter().enumerate().filter(|(_, byte)| **byte == b'.');
    dots.filter_map(|(at, _)| {
        let rest = &literal[at..];
        let incbin = rest.strip_prefix(b".incbin");
        let operand = without_blanks(incbin.or_else(|| rest.strip_prefix(b".include"))?);
        let name = quoted(operand);
        // Prose speaks of `.include` too, but does not end with it.
        (name.is_some() || incbin.is_some() || operand == b"\"").then_some(name)
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
        let cases: [(&str, &[Option<&str>]); 6] = [
            (r#"".incbin \"a.bin\"; .include\t\"b\"""#, &[Some("a.bin"), Some("b")]),
            (r#"".include \"a\"; .incbin \"b\"""#, &[Some("a"), Some("b")]),
            (r#"".incbin ""#, &[None]),
            (r#""see .included""#, &[]),
            (r#"".include ""#, &[None]),
            (r#"".incbin \"\"""#, &[None]),
        ];
        for (literal, want) in cases {
            let found: Vec<_> = assembler_files(literal.as_bytes())
                .map(|name| name.map(|name| str::from_utf8(name).unwrap()))
                .collect();
            assert_eq!(found, want, "{literal}");
        }
        assert_eq!(pragma(br#"" GCC x \"y\\z\" \t""#).as_deref(), Some(&br#" GCC x "y\z" \t"#[..]));
        assert_eq!(pragma(b"\"once\""), None);
    }
}
