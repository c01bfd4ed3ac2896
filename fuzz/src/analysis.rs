//! The include analysis: what texts say about other files, and what computed names can become.

use std::collections::BTreeSet;

use distcc::include_scan::directives::Directives;
use distcc::include_scan::effort::{RESULTS_MAX, Unknown};
use distcc::include_scan::macros::Expander;
use distcc::include_scan::reference::{Reference, Target, Use};

/// Nothing is found that does not stand there, a blank line and carriage returns change nothing, and in text without
/// quotes, comments and continuations every `#include` is found that a simple reader of lines finds, and no other.
pub fn directives(text: &[u8]) {
    let found = Directives::of(text);
    assert!(found.references.len() <= text.len(), "more files than bytes");
    let distinct: BTreeSet<&Reference> = found.references.iter().collect();
    assert_eq!(distinct.len(), found.references.len(), "a file is named twice");
    for reference in &found.references {
        let (Target::Quote(name) | Target::Angle(name) | Target::Computed(name)) = &reference.target;
        assert!(name.len() <= text.len());
    }
    let mut last: Option<Vec<u8>> = None;
    for (name, definitions) in found.definitions() {
        assert!(last.as_deref().is_none_or(|last| last < name), "names are not in order");
        let all: Vec<&[u8]> = definitions.collect();
        assert!(!all.is_empty() && all.iter().all(|definition| definition.starts_with(name)));
        assert!(found.definitions_of(name).eq(all.iter().copied()));
        last = Some(name.to_vec());
    }
    let has_mark = text.starts_with(b"\xef\xbb\xbf");
    let again = Directives::of(&[if has_mark { b"" } else { b"\n".as_slice() }, text].concat());
    assert_eq!(again.references, found.references, "a blank line changes what is found");

    let plain =
        !text.iter().any(|byte| matches!(byte, b'"' | b'\'' | b'/' | b'\\' | b'?' | b'%' | b'(' | b'_' | 0));
    if plain && !has_mark {
        let angle = |target: &Target| match target {
            Target::Angle(name) => Some(name.to_vec()),
            _ => None,
        };
        let names: Vec<Vec<u8>> = found.references.iter().filter_map(|one| angle(&one.target)).collect();
        assert_eq!(names, simple(text));
    }
}

/// The names in `#include <name>`, line by line, each once.
fn simple(text: &[u8]) -> Vec<Vec<u8>> {
    const BLANKS: [u8; 5] = [b' ', b'\t', b'\r', 0x0b, 0x0c];
    fn trim(mut text: &[u8]) -> &[u8] {
        while let Some((first, rest)) = text.split_first()
            && BLANKS.contains(first)
        {
            text = rest;
        }
        text
    }
    let mut names: Vec<(Use, Vec<u8>)> = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        let Some(directive) = trim(line).strip_prefix(b"#") else { continue };
        let directive = trim(directive);
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'$' || *byte >= 0x80;
        let end = directive.iter().position(|byte| !is_name(byte)).unwrap_or(directive.len());
        let purpose = match &directive[..end] {
            b"include" | b"import" => Use::Include,
            b"embed" => Use::Embed,
            b"pragma" if trim(&directive[end..]).starts_with(b"GCC") => return without_pragmas(text),
            _ => continue,
        };
        let Some(rest) = trim(&directive[end..]).strip_prefix(b"<") else { continue };
        let Some(close) = rest.iter().position(|byte| *byte == b'>') else { continue };
        let found = (purpose, rest[..close].to_vec());
        if !names.contains(&found) {
            names.push(found);
        }
    }
    names.into_iter().map(|(_, name)| name).collect()
}

/// Pragmas may name files too, and are not for the simple reader: it repeats what was found.
fn without_pragmas(text: &[u8]) -> Vec<Vec<u8>> {
    let found = Directives::of(text).references.into_iter();
    found
        .filter_map(|one| match one.target {
            Target::Angle(name) => Some(name.to_vec()),
            _ => None,
        })
        .collect()
}

/// Tokens one expression may cost here: enough for every way through a few macros.
const TOKENS: usize = 1000;

/// Expansion ends within its budget, has no more results than it may, and gives the same answer to the same question,
/// also from an expander that has answered others. The input's first line is the expression, the rest defines macros.
pub fn computed_include(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (expression, text) = bytes.split_at(end);
    let directives = Directives::of(text);
    let mut definitions =
        |name: &[u8]| directives.definitions_of(name).map(<[u8]>::to_vec).collect::<BTreeSet<_>>();
    let mut left = TOKENS;
    let mut expander = Expander::default();
    let answer = expander.targets(expression, &mut left, &mut definitions);
    assert!(left <= TOKENS);
    if let Ok(targets) = &answer {
        assert!(targets.len() <= 2 * RESULTS_MAX);
        assert!(targets.iter().all(|target| !matches!(target, Target::Computed(_))));
    }
    // What is remembered makes the same question cheaper, so work that ran out may be enough now.
    let mut left = TOKENS;
    let again = expander.targets(expression, &mut left, &mut definitions);
    assert!(again == answer || answer == Err(Unknown::Work), "{answer:?} became {again:?}");
    // An expression without a macro is itself.
    if directives.definitions().next().is_none() && expression.starts_with(b"\"") && answer.is_ok() {
        let inside = &expression[1..];
        if let Some(close) = inside.iter().position(|byte| *byte == b'"')
            && !inside.contains(&b'\\')
            && !inside[..close].contains(&b'_')
        {
            assert_eq!(answer, Ok(vec![Target::Quote(inside[..close].into())]));
        }
    }
}
