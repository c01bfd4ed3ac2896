//! Preprocessing tokens, as far as computed includes need them: small numbers for their texts, so that sequences are
//! cheap to copy and compare. Knows no macro.

use std::collections::HashMap;
use std::rc::Rc;

use super::text::{Rules, Text, is_name_byte};

/// One token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Token {
    /// The number of its text.
    pub(super) text: u32,
    /// A blank comes before it.
    pub(super) spaced: bool,
    /// It is not expanded any more.
    pub(super) painted: bool,
}

/// Texts and their numbers.
#[derive(Debug, Default)]
pub(super) struct Texts {
    numbers: HashMap<Rc<[u8]>, u32>,
    texts: Vec<Rc<[u8]>>,
}

impl Texts {
    pub(super) fn number(&mut self, text: &[u8]) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let shared: Rc<[u8]> = text.into();
        let number = self.texts.len() as u32;
        self.texts.push(Rc::clone(&shared));
        self.numbers.insert(shared, number);
        number
    }

    pub(super) fn text(&self, token: Token) -> &Rc<[u8]> {
        &self.texts[token.text as usize]
    }

    pub(super) fn token(&mut self, text: &[u8]) -> Token {
        Token { text: self.number(text), spaced: false, painted: false }
    }

    pub(super) fn is_name(&self, token: Token) -> bool {
        self.text(token).first().is_some_and(|byte| is_name_byte(*byte) && !byte.is_ascii_digit())
    }

    /// Divides text into tokens. Punctuation is single bytes, except for what macros treat specially.
    pub(super) fn tokens(&mut self, text: &[u8]) -> Vec<Token> {
        let mut out = Vec::new();
        let mut at = 0;
        let mut spaced = false;
        while let Some(byte) = text.get(at) {
            if byte.is_ascii_whitespace() || *byte == 0x0b {
                spaced = true;
                at += 1;
                continue;
            }
            let end = token_end(text, at);
            let spelled: &[u8] = match &text[at..end] {
                b"%:%:" => b"##",
                b"%:" => b"#",
                other => other,
            };
            out.push(Token { text: self.number(spelled), spaced, painted: false });
            spaced = false;
            at = end;
        }
        out
    }

    /// The text of a sequence, with its blanks if they are wanted.
    pub(super) fn spelling(&self, tokens: &[Token], with_blanks: bool) -> Vec<u8> {
        let mut out = Vec::new();
        for token in tokens {
            if token.spaced && with_blanks && !out.is_empty() {
                out.push(b' ');
            }
            out.extend_from_slice(self.text(*token));
        }
        out
    }
}

fn token_end(text: &[u8], at: usize) -> usize {
    let rest = &text[at..];
    let is_number =
        rest[0].is_ascii_digit() || rest[0] == b'.' && rest.get(1).is_some_and(u8::is_ascii_digit);
    if is_number {
        let more = |byte: &u8| is_name_byte(*byte) || *byte == b'.';
        return at + rest.iter().position(|byte| !more(byte)).unwrap_or(rest.len());
    }
    if is_name_byte(rest[0]) {
        return at + rest.iter().position(|byte| !is_name_byte(*byte)).unwrap_or(rest.len());
    }
    match rest {
        [b'"' | b'\'', ..] => Text { bytes: text, rules: Rules::default() }.literal_end(at),
        [b'%', b':', b'%', b':', ..] => at + 4,
        [b'.', b'.', b'.', ..] => at + 3,
        [b'#', b'#', ..] | [b'%', b':', ..] => at + 2,
        _ => at + 1,
    }
}
