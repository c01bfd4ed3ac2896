//! What a compiler wrote about files below a private directory, as it would have written it about the client's own:
//! messages, and dependency files with their line breaks. Knows the two compilers' ways to write; knows no command.

/// The longest line of a dependency file that gcc writes if it can, in bytes.
const GCC_LINE_BYTES: usize = 72;
/// The same for clang, which also leaves room for the two bytes of the line's end.
const CLANG_LINE_BYTES: usize = 75 - 2;

/// Takes `root`, an absolute path without a slash at the end, out of the names in a compiler's messages.
pub fn clean_messages(messages: &[u8], root: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(messages.len());
    let mut rest = messages;
    while let Some(at) = position(rest, root) {
        let (before, after) = (&rest[..at], &rest[at + root.len()..]);
        out.extend_from_slice(before);
        match after.first() {
            Some(b'/') => {}
            // Another directory, whose name only begins like the root's.
            Some(byte) if byte.is_ascii_alphanumeric() || b"_-.".contains(byte) => {
                out.extend_from_slice(root)
            }
            _ => out.push(b'/'),
        }
        rest = after;
    }
    out.extend_from_slice(rest);
    out
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    if wanted.is_empty() {
        return None;
    }
    bytes.windows(wanted.len()).position(|part| part == wanted)
}

/// Takes `root` out of the names in a dependency file, however they are quoted for make, and breaks the lines
/// where the compiler would have broken them.
///
/// A rule without the root is left as it is.
pub fn clean_dependencies(text: &[u8], root: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (rule, after) = rest.split_at(rule_length(rest));
        clean_rule(rule, root, &mut out);
        rest = after;
    }
    out
}

/// The length of the first rule: up to a line's end that no backslash precedes, with it.
fn rule_length(text: &[u8]) -> usize {
    let ends = |at: &usize| text[*at] == b'\n' && (*at == 0 || text[at - 1] != b'\\');
    (0..text.len()).find(ends).map_or(text.len(), |at| at + 1)
}

fn clean_rule(rule: &[u8], root: &[u8], out: &mut Vec<u8>) {
    let line_end = if rule.ends_with(b"\n") { rule.len() - 1 } else { rule.len() };
    let (head, tail) = rule[..line_end].split_at(head_length(&rule[..line_end]));
    let names: Vec<&[u8]> = names(tail).collect();
    let cleaned: Vec<&[u8]> = names.iter().map(|name| without_root(name, root)).collect();
    // A rule for a file alone, as -MP adds them, begins with its name.
    let target = without_root(head, root);
    if cleaned == names && target.len() == head.len() {
        return out.extend_from_slice(rule);
    }
    out.extend_from_slice(target);
    let last_line = head.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    push_names(&cleaned, last_line.len(), writes_like_clang(rule), out);
    out.extend_from_slice(&rule[line_end..]);
}

/// The length of the targets with their colon. Those are the client's own words: they are right already.
fn head_length(rule: &[u8]) -> usize {
    let ends =
        |at: &usize| rule[*at] == b':' && matches!(rule.get(at + 1), None | Some(b' ' | b'\t' | b'\n'));
    (0..rule.len()).find(ends).map_or(0, |at| at + 1)
}

/// The names after the colon, quoted as they are.
fn names(tail: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = tail;
    std::iter::from_fn(move || {
        while let Some(skipped) = blank_length(rest) {
            rest = &rest[skipped..];
        }
        let mut end = 0;
        while end < rest.len() && blank_length(&rest[end..]).is_none() {
            end += if rest[end] == b'\\' { 2 } else { 1 };
        }
        let (name, after) = rest.split_at(end.min(rest.len()));
        rest = after;
        (!name.is_empty()).then_some(name)
    })
}

/// The length of what separates names, if that is what comes first.
fn blank_length(text: &[u8]) -> Option<usize> {
    match text {
        [b' ' | b'\t' | b'\n', ..] => Some(1),
        [b'\\', b'\n', ..] => Some(2),
        _ => None,
    }
}

/// The name without the root; the name if it does not begin with the root.
fn without_root<'a>(name: &'a [u8], root: &[u8]) -> &'a [u8] {
    let mut rest = name;
    for byte in root {
        rest = match rest {
            [b'\\', quoted @ (b' ' | b'\t' | b'#' | b':'), after @ ..] if quoted == byte => after,
            [b'$', b'$', after @ ..] if *byte == b'$' => after,
            [first, after @ ..] if first == byte => after,
            _ => return name,
        };
    }
    if rest.starts_with(b"/") { rest } else { name }
}

/// Both put one blank between names and one at the beginning of a line; clang puts two there.
fn writes_like_clang(rule: &[u8]) -> bool {
    position(rule, b" \\\n  ").is_some()
}

/// Writes names from `column` on. Each compiler counts its columns in its own way.
fn push_names(names: &[&[u8]], mut column: usize, like_clang: bool, out: &mut Vec<u8>) {
    for name in names {
        let (length, breaks) = if like_clang {
            // It counts the name as it is without quotes, and the blank before it.
            let length = unquoted_length(name);
            (length, column + length + 1 > CLANG_LINE_BYTES)
        } else {
            (name.len(), column > 0 && column + name.len() > GCC_LINE_BYTES)
        };
        if breaks {
            out.extend_from_slice(if like_clang { b" \\\n " } else { b" \\\n" });
            column = if like_clang { 2 } else { 0 };
        }
        out.push(b' ');
        out.extend_from_slice(name);
        column += 1 + length;
    }
}

fn unquoted_length(name: &[u8]) -> usize {
    let is_quote = |pair: &&[u8]| matches!(pair, [b'\\', b' ' | b'#'] | [b'$', b'$']);
    let quotes = name.windows(2).filter(is_quote).count();
    name.len() - quotes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(clean: fn(&[u8], &[u8]) -> Vec<u8>, root: &str, cases: &[(&str, &str)]) {
        for (text, want) in cases {
            let cleaned = String::from_utf8(clean(text.as_bytes(), root.as_bytes())).unwrap();
            assert_eq!(cleaned, *want, "{text}");
        }
    }

    #[test]
    fn messages_lose_the_root() {
        check(
            clean_messages,
            "/t/R",
            &[
                ("/t/R/a.c:1:2: error\n/t/R/b.c:1", "/a.c:1:2: error\n/b.c:1"),
                (
                    "In file included from /t/R/a.c:1,\n   from '/t/R'",
                    "In file included from /a.c:1,\n   from '/'",
                ),
                ("/t/Rx/a.c /t/R.d/b /t/R", "/t/Rx/a.c /t/R.d/b /"),
                ("no name, /t/", "no name, /t/"),
                ("", ""),
            ],
        );
    }

    #[test]
    fn dependencies_lose_the_root() {
        check(
            clean_dependencies,
            "/t/R",
            &[
                ("a.o: /t/R/a.c b.h\n", "a.o: /a.c b.h\n"),
                ("a.o: a.c \\\n /t/R/b.h\n", "a.o: a.c /b.h\n"),
                ("a.o: a.c \\\n  /t/R/b.h \\\n  c.h", "a.o: a.c /b.h c.h"),
                ("a.o: a.c \\\n b.h\n", "a.o: a.c \\\n b.h\n"),
                ("a.o b\\ c: /t/R/a\\ b.h /t/Rx\n/t/R/a\\ b.h:\n", "a.o b\\ c: /a\\ b.h /t/Rx\n/a\\ b.h:\n"),
                ("a.o: /t/R/a.c\n\n/t/R/b.h:\n", "a.o: /a.c\n\n/b.h:\n"),
                ("a.o: /t/R", "a.o: /t/R"),
                ("\\", "\\"),
                ("a: \\", "a: \\"),
                ("a:b:/t/R/c: /t/R/d\\", "a:b:/t/R/c: /d\\"),
                ("", ""),
            ],
        );
    }

    #[test]
    fn a_root_that_make_must_quote_is_found() {
        check(
            clean_dependencies,
            "/a b/c#d/e$f:g",
            &[
                ("x: /a\\ b/c\\#d/e$$f:g/h.c\n", "x: /h.c\n"),
                ("x: /a\\ b/c\\#d/e$$f\\:g/h.c\n", "x: /h.c\n"),
                ("x: /a b/c#d/e$f:g/h.c\n", "x: /a b/c#d/e$f:g/h.c\n"),
            ],
        );
    }

    #[test]
    fn very_long_lines_are_cleaned_too() {
        let name = "n".repeat(100_000);
        let text = format!("{name}.o: \\\n /t/R/{name}.c \\\n /t/R/b\n");
        let want = format!("{name}.o: \\\n /{name}.c \\\n /b\n");
        assert_eq!(clean_dependencies(text.as_bytes(), b"/t/R"), want.as_bytes());
    }
}
