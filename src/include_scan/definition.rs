//! One macro definition, read from the text after `#define`. Expands nothing.

use super::tokens::{Texts, Token};

/// A macro.
#[derive(Debug)]
pub(super) struct Macro {
    /// The parameters by their texts' numbers; `None` for a macro without parentheses.
    pub(super) parameters: Option<Vec<u32>>,
    /// The last parameter takes all further arguments.
    pub(super) variadic: bool,
    pub(super) body: Vec<Token>,
}

impl Macro {
    /// Reads a definition, whose name has `name_length` bytes.
    pub(super) fn read(texts: &mut Texts, definition: &[u8], name_length: usize) -> Macro {
        let rest = &definition[name_length..];
        let tokens = texts.tokens(rest);
        if rest.first() != Some(&b'(') {
            return Macro { parameters: None, variadic: false, body: tokens };
        }
        let close = tokens.iter().position(|token| &**texts.text(*token) == b")").unwrap_or(tokens.len());
        let mut variadic = false;
        let mut parameters = Vec::new();
        let mut named = false;
        for token in tokens[..close].iter().skip(1) {
            match &**texts.text(*token) {
                b"..." => variadic = true,
                b"," => named = false,
                _ => {
                    parameters.push(token.text);
                    named = true;
                }
            }
        }
        // `rest...` names what `...` leaves to be called __VA_ARGS__.
        if variadic && !named {
            parameters.push(texts.number(b"__VA_ARGS__"));
        }
        let body = tokens.get(close + 1..).unwrap_or_default().to_vec();
        Macro { parameters: Some(parameters), variadic, body }
    }
}
