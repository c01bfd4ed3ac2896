//! Computed includes: every header name that an expression can become. Each use of a macro is expanded by each of its
//! definitions, whichever is in force at that place; so the result is a superset, within a budget of work.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use super::definition::Macro;
use super::effort::{DEPTH_MAX, RESULTS_MAX, TOKENS_BEFORE_SHORTCUT_MAX, TOKENS_MAX, Unknown};
use super::reference::Target;
use super::tokens::{Texts, Token};

/// Macros that are different at each use: a name made of one is not known.
const CHANGING: [&[u8]; 7] = [
    b"__COUNTER__",
    b"__LINE__",
    b"__INCLUDE_LEVEL__",
    b"__DATE__",
    b"__TIME__",
    b"__TIMESTAMP__",
    b"__FILE_NAME__",
];

type Sequences = Rc<Vec<Vec<Token>>>;

/// Expands expressions by one set of definitions.
#[derive(Debug, Default)]
pub struct Expander {
    texts: Texts,
    macros: HashMap<u32, Rc<Vec<Macro>>>,
    expanded: HashMap<(Vec<Token>, Vec<u32>), Sequences>,
    /// Tokens that may yet be produced, for this way to the answer and for the translation unit.
    left: usize,
    unit_left: usize,
    depth: usize,
}

/// Gives all definitions of a name, each once, as the text after `#define`.
pub type Source<'a> = &'a mut dyn FnMut(&[u8]) -> BTreeSet<Vec<u8>>;

impl Expander {
    /// The header names that `expression` can become.
    ///
    /// Where that takes long, and nothing the expression leads to can make a string, the names that stand in those
    /// definitions are taken instead. That is how Boost's preprocessor iteration hands them on: as an element of a
    /// tuple, through hundreds of macros.
    ///
    /// The work is taken from `unit_left`, in tokens.
    pub fn targets(
        &mut self,
        expression: &[u8],
        unit_left: &mut usize,
        source: Source<'_>,
    ) -> Result<Vec<Target>, Unknown> {
        self.unit_left = *unit_left;
        let outcome = self.targets_within(expression, source);
        *unit_left = self.unit_left;
        outcome
    }

    fn targets_within(&mut self, expression: &[u8], source: Source<'_>) -> Result<Vec<Target>, Unknown> {
        let tokens = self.texts.tokens(expression);
        let mut targets = BTreeSet::new();
        let mut sequences = self.expansions(tokens.clone(), TOKENS_BEFORE_SHORTCUT_MAX, source);
        if sequences.as_ref().is_err_and(|why| *why != Unknown::Work) {
            if !self.standing_names(tokens.clone(), &mut targets, source)? {
                return Ok(targets.into_iter().collect());
            }
            targets.clear();
            sequences = self.expansions(tokens, TOKENS_MAX, source);
        }
        for sequence in sequences?.iter() {
            self.header_names(sequence, &mut targets)?;
        }
        Ok(targets.into_iter().collect())
    }

    fn expansions(
        &mut self,
        tokens: Vec<Token>,
        budget: usize,
        source: Source<'_>,
    ) -> Result<Sequences, Unknown> {
        (self.left, self.depth) = (budget, 0);
        self.expand(tokens, &[], source)
    }

    /// The header names in all definitions that a sequence leads to. True if any of them could make others by `#`.
    fn standing_names(
        &mut self,
        tokens: Vec<Token>,
        out: &mut BTreeSet<Target>,
        source: Source<'_>,
    ) -> Result<bool, Unknown> {
        let hash = self.texts.number(b"#");
        let mut stringizes = false;
        let mut seen = BTreeSet::new();
        let mut open = vec![tokens];
        while let Some(tokens) = open.pop() {
            for (at, token) in tokens.iter().enumerate() {
                stringizes |= token.text == hash;
                match &**self.texts.text(*token) {
                    [b'"', ..] => self.header_names(&tokens[at..=at], out)?,
                    b"<" => {
                        for name in
                            self.expansions(self.header_name_at(&tokens, at), TOKENS_MAX, source)?.iter()
                        {
                            self.header_names(name, out)?;
                        }
                    }
                    _ => {}
                }
                if self.texts.is_name(*token) && seen.insert(token.text) {
                    let macros = self.macros_of(token.text, source);
                    open.extend(macros.iter().map(|known| known.body.clone()));
                }
            }
        }
        Ok(stringizes)
    }

    /// The tokens from `<` to `>`, or to the end.
    fn header_name_at(&self, tokens: &[Token], at: usize) -> Vec<Token> {
        let close = tokens[at..].iter().position(|token| &**self.texts.text(*token) == b">");
        tokens[at..close.map_or(tokens.len(), |close| at + close + 1)].to_vec()
    }

    fn header_names(&self, sequence: &[Token], out: &mut BTreeSet<Target>) -> Result<(), Unknown> {
        let Some(first) = sequence.first() else { return Ok(()) };
        let text = self.texts.text(*first);
        let mut names = Vec::new();
        if let Some(name) = text.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) {
            names.push(Target::Quote(name.into()));
        } else if &**text == b"<" {
            let close = sequence.iter().position(|token| &**self.texts.text(*token) == b">");
            let Some(close) = close else { return Ok(()) };
            names.extend([true, false].map(|with_blanks| {
                let name = self.texts.spelling(&sequence[1..close], with_blanks);
                Target::Angle(name.into())
            }));
        }
        for name in names {
            if let Target::Quote(text) | Target::Angle(text) = &name
                && CHANGING.iter().any(|word| text.windows(word.len()).any(|part| part == *word))
            {
                return Err(Unknown::Changing);
            }
            out.insert(name);
        }
        Ok(())
    }

    /// All that a sequence can become. `active` are the macros whose expansion it is part of.
    fn expand(
        &mut self,
        tokens: Vec<Token>,
        active: &[u32],
        source: Source<'_>,
    ) -> Result<Sequences, Unknown> {
        self.spend(tokens.len())?;
        let mut first = None;
        for (at, token) in tokens.iter().enumerate() {
            if !token.painted && self.texts.is_name(*token) && !self.macros_of(token.text, source).is_empty()
            {
                first = Some(at);
                break;
            }
        }
        let Some(at) = first else { return Ok(Rc::new(vec![tokens])) };
        let key = (tokens, active.to_vec());
        if let Some(known) = self.expanded.get(&key) {
            return Ok(Rc::clone(known));
        }
        if self.depth == DEPTH_MAX {
            return Err(Unknown::Budget);
        }
        self.depth += 1;
        let tokens = &key.0;
        let mut results = BTreeSet::new();
        for (choice, rest) in self.choices(tokens, at, active, source)? {
            let mut choice = choice;
            let mut tail = tokens[rest..].to_vec();
            // A name at the end of an expansion may be a macro that takes the parentheses behind it.
            let is_name_itself = rest == at + 1 && choice == [tokens[at]];
            if let Some(last) = choice.last().copied()
                && !is_name_itself
                && !last.painted
                && self.begins_call(&tail, 0)
                && self.macros_of(last.text, source).iter().any(|known| known.parameters.is_some())
            {
                choice.pop();
                tail.insert(0, last);
            }
            let tails = self.expand(tail, active, source)?;
            for tail in tails.iter() {
                let whole = [&tokens[..at], &choice, tail].concat();
                self.spend(whole.len())?;
                results.insert(whole);
            }
            if results.len() > RESULTS_MAX {
                return Err(Unknown::Budget);
            }
        }
        self.depth -= 1;
        let results = Rc::new(results.into_iter().collect::<Vec<_>>());
        self.expanded.insert(key, Rc::clone(&results));
        Ok(results)
    }

    /// What the name at `at` can become, and how far it reaches.
    fn choices(
        &mut self,
        tokens: &[Token],
        at: usize,
        active: &[u32],
        source: Source<'_>,
    ) -> Result<BTreeSet<(Vec<Token>, usize)>, Unknown> {
        let name = tokens[at];
        let unexpanded = (vec![Token { painted: true, ..name }], at + 1);
        if active.contains(&name.text) {
            return Ok(BTreeSet::from([unexpanded]));
        }
        let mut choices = BTreeSet::new();
        let macros = self.macros_of(name.text, source);
        let call = self.arguments(tokens, at + 1);
        let inner: Vec<u32> = active.iter().copied().chain([name.text]).collect();
        for known in macros.iter() {
            let (bodies, rest) = match (&known.parameters, &call) {
                (None, _) => (self.substitute(known, &[], active, source)?, at + 1),
                (Some(_), Some((arguments, end))) => {
                    (self.substitute(known, arguments, active, source)?, *end)
                }
                (Some(_), None) => continue,
            };
            for body in bodies {
                for sequence in self.expand(body, &inner, source)?.iter() {
                    let mut sequence = sequence.clone();
                    if let Some(first) = sequence.first_mut() {
                        first.spaced = name.spaced;
                    }
                    choices.insert((sequence, rest));
                }
            }
        }
        // The name may have no definition at that place, or one that wants parentheses and may yet find them.
        if macros.iter().any(|known| known.parameters.is_none()) && self.may_be_a_word(name) {
            choices.insert(unexpanded);
        }
        if call.is_none() && macros.iter().any(|known| known.parameters.is_some()) {
            choices.insert((vec![name], at + 1));
        }
        Ok(choices)
    }

    /// Whether a name may be part of a path where it happens not to be a macro, as `linux` in `<linux/x.h>`. A name
    /// without small letters is used as a macro only.
    fn may_be_a_word(&self, name: Token) -> bool {
        self.texts.text(name).iter().any(|byte| !matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'))
    }

    fn begins_call(&self, tokens: &[Token], at: usize) -> bool {
        tokens.get(at).is_some_and(|token| &**self.texts.text(*token) == b"(")
    }

    /// The arguments in parentheses at `at`, and the end of them.
    fn arguments(&self, tokens: &[Token], at: usize) -> Option<(Vec<Vec<Token>>, usize)> {
        if !self.begins_call(tokens, at) {
            return None;
        }
        let mut arguments = vec![Vec::new()];
        let mut depth = 0;
        for (offset, token) in tokens[at..].iter().enumerate() {
            match (&**self.texts.text(*token), depth) {
                (b"(", 0) => depth = 1,
                (b")", 1) => return Some((arguments, at + offset + 1)),
                (b",", 1) => arguments.push(Vec::new()),
                (text, _) => {
                    depth += i32::from(text == b"(") - i32::from(text == b")");
                    arguments.last_mut().expect("there is one from the start").push(*token);
                }
            }
        }
        None
    }

    /// The bodies with arguments in place of parameters; none if their number does not fit.
    fn substitute(
        &mut self,
        known: &Macro,
        arguments: &[Vec<Token>],
        active: &[u32],
        source: Source<'_>,
    ) -> Result<Vec<Vec<Token>>, Unknown> {
        let parameters = known.parameters.as_deref().unwrap_or_default();
        let Some(arguments) = self.fit(known, parameters.len(), arguments) else { return Ok(Vec::new()) };
        // Every way to expand each argument that is used expanded.
        let mut ways: Vec<Vec<Vec<Token>>> = vec![Vec::new()];
        for (argument, parameter) in arguments.iter().zip(parameters) {
            // What is never used expanded need not be: that keeps tuples with many ways out of the count.
            let expanded = if self.uses_expanded(known, *parameter) {
                self.expand(argument.clone(), active, source)?
            } else {
                Rc::new(vec![Vec::new()])
            };
            let mut longer = Vec::with_capacity(ways.len() * expanded.len());
            for way in &ways {
                for sequence in expanded.iter() {
                    self.spend(sequence.len() + 1)?;
                    let mut way = way.clone();
                    way.push(sequence.clone());
                    longer.push(way);
                }
            }
            ways = longer;
            if ways.len() > RESULTS_MAX {
                return Err(Unknown::Budget);
            }
        }
        let mut bodies = Vec::with_capacity(ways.len());
        for way in &ways {
            let body = self.fill(known, parameters, &arguments, way);
            self.spend(body.len())?;
            bodies.push(body);
        }
        Ok(bodies)
    }

    fn uses_expanded(&mut self, known: &Macro, parameter: u32) -> bool {
        let (hash, paste) = (self.texts.number(b"#"), self.texts.number(b"##"));
        let is = |at: Option<usize>, text| {
            at.and_then(|at| known.body.get(at)).is_some_and(|token| token.text == text)
        };
        known.body.iter().enumerate().any(|(at, token)| {
            let before = at.checked_sub(1);
            token.text == parameter && !is(before, hash) && !is(before, paste) && !is(Some(at + 1), paste)
        })
    }

    /// Arguments in the number of the parameters.
    fn fit(&mut self, known: &Macro, wanted: usize, arguments: &[Vec<Token>]) -> Option<Vec<Vec<Token>>> {
        let mut arguments = arguments.to_vec();
        if wanted == 0 && arguments.iter().all(Vec::is_empty) && arguments.len() <= 1 {
            return Some(Vec::new());
        }
        if known.variadic {
            while arguments.len() < wanted {
                arguments.push(Vec::new());
            }
            let rest = arguments.split_off(wanted - 1);
            let comma = self.texts.token(b",");
            let mut joined = Vec::new();
            for (at, argument) in rest.into_iter().enumerate() {
                if at > 0 {
                    joined.push(comma);
                }
                joined.extend(argument);
            }
            arguments.push(joined);
        }
        (arguments.len() == wanted).then_some(arguments)
    }

    /// One body: `#` and `##` take arguments as they are written, all else as they are expanded.
    fn fill(
        &mut self,
        known: &Macro,
        parameters: &[u32],
        arguments: &[Vec<Token>],
        expanded: &[Vec<Token>],
    ) -> Vec<Token> {
        let (hash, paste) = (self.texts.number(b"#"), self.texts.number(b"##"));
        let body = &known.body;
        let mut out: Vec<Token> = Vec::with_capacity(body.len());
        let mut pastes = false;
        let mut at = 0;
        while let Some(token) = body.get(at) {
            let parameter = |token: &Token| parameters.iter().position(|name| *name == token.text);
            if token.text == paste && at > 0 && at + 1 < body.len() {
                pastes = true;
                at += 1;
                continue;
            }
            let is_pasted = body.get(at + 1).is_some_and(|next| next.text == paste);
            let mut piece = match (parameter(token), body.get(at + 1).and_then(parameter)) {
                (None, Some(next)) if token.text == hash && known.parameters.is_some() => {
                    at += 1;
                    vec![self.stringized(&arguments[next])]
                }
                (Some(number), _) if pastes || is_pasted => arguments[number].clone(),
                (Some(number), _) => expanded[number].clone(),
                (None, _) => vec![*token],
            };
            if let Some(first) = piece.first_mut() {
                first.spaced = token.spaced;
            }
            at += 1;
            if pastes {
                pastes = false;
                // An empty side leaves the other as it is. The left side is what this body has put out last.
                if let (Some(left), Some(right)) = (out.last().copied(), piece.first().copied())
                    && !self.texts.text(left).starts_with(b",")
                {
                    out.pop();
                    piece.remove(0);
                    let joined = [&**self.texts.text(left), &**self.texts.text(right)].concat();
                    out.push(Token { text: self.texts.number(&joined), spaced: left.spaced, painted: false });
                }
            }
            out.append(&mut piece);
        }
        out
    }

    fn stringized(&mut self, argument: &[Token]) -> Token {
        let mut text = vec![b'"'];
        for (at, token) in argument.iter().enumerate() {
            if token.spaced && at > 0 {
                text.push(b' ');
            }
            let spelled = self.texts.text(*token);
            let escapes = spelled.first().is_some_and(|byte| matches!(byte, b'"' | b'\''));
            for byte in spelled.iter() {
                if escapes && matches!(byte, b'"' | b'\\') {
                    text.push(b'\\');
                }
                text.push(*byte);
            }
        }
        text.push(b'"');
        self.texts.token(&text)
    }

    fn macros_of(&mut self, name: u32, source: Source<'_>) -> Rc<Vec<Macro>> {
        if let Some(known) = self.macros.get(&name) {
            return Rc::clone(known);
        }
        let token = Token { text: name, spaced: false, painted: false };
        let text = Rc::clone(self.texts.text(token));
        let macros = Rc::new(
            source(&text)
                .iter()
                .map(|definition| Macro::read(&mut self.texts, definition, text.len()))
                .collect(),
        );
        self.macros.insert(name, Rc::clone(&macros));
        macros
    }

    fn spend(&mut self, tokens: usize) -> Result<(), Unknown> {
        self.unit_left = self.unit_left.checked_sub(tokens + 1).ok_or(Unknown::Work)?;
        self.left = self.left.checked_sub(tokens + 1).ok_or(Unknown::Budget)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::directives::Directives;
    use super::super::effort::TOKENS_PER_UNIT_MAX;
    use super::*;

    fn targets(definitions: &str, expression: &str) -> Result<String, Unknown> {
        let directives = Directives::of(definitions.as_bytes());
        let targets = Expander::default().targets(
            expression.as_bytes(),
            &mut TOKENS_PER_UNIT_MAX.clone(),
            &mut |name| directives.definitions_of(name).map(<[u8]>::to_vec).collect(),
        )?;
        let shown = targets.iter().map(|target| match target {
            Target::Quote(name) => format!("\"{}\"", String::from_utf8_lossy(name)),
            Target::Angle(name) => format!("<{}>", String::from_utf8_lossy(name)),
            Target::Computed(_) => unreachable!("expansion gives names"),
        });
        Ok(shown.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn expressions_become_every_name_they_can() {
        let cases = [
            ("#define A \"a.h\"", "A", "\"a.h\""),
            ("#define A \"a.h\"\n#define A \"b.h\"\n#undef A", "A", "\"a.h\" \"b.h\""),
            ("#define A B\n#define B <b.h>", "A", "<b.h>"),
            ("#define A <dir/name.h>\n#define name x", "A", "<dir/name.h> <dir/x.h>"),
            ("#define STR(x) STR_(x)\n#define STR_(x) #x\n#define N one", "STR(dir/N.h)", "\"dir/one.h\""),
            ("#define S(x) #x\n#define N one", "S(N.h)", "\"N.h\""),
            ("#define CAT(a, b) a##b\n#define ab <ab.h>", "CAT(a, b)", "<ab.h>"),
            ("#define F(...) #__VA_ARGS__", "F(a.h)", "\"a.h\""),
            ("#define F(x, ...) __VA_ARGS__", "F(1, \"a.h\")", "\"a.h\""),
            ("#define F(rest...) rest", "F(\"a.h\")", "\"a.h\""),
            ("#define F() \"a.h\"", "F()", "\"a.h\""),
            ("#define CALL F\n#define F(x) #x", "CALL(a.h)", "\"a.h\""),
            ("#define P(x) P_##x\n#define P_1(y) #y", "P(1)(a.h)", "\"a.h\""),
            ("#define A A", "A", ""),
            ("#define A \"a.h", "A", ""),
            ("", "NONE", ""),
            ("#define E\n", "E \"a.h\"", "\"a.h\""),
            ("#define H(x) <sys/x##_t.h>", "H(a)", "<sys/a_t.h>"),
            ("%:define A(x) %:x", "A(y)", "\"y\""),
        ];
        for (definitions, expression, want) in cases {
            assert_eq!(targets(definitions, expression).as_deref(), Ok(want), "{definitions} {expression}");
        }
    }

    #[test]
    fn what_cannot_be_told_is_said() {
        assert_eq!(
            targets("#define S(x) S_(x)\n#define S_(x) #x", "S(a__COUNTER__)"),
            Err(Unknown::Changing)
        );
        let mut text = "#define A20 S(x)\n#define S(x) #x\n".to_owned();
        for number in 0..20 {
            text += &format!("#define A{number} A{next} A{next}\n#define A{number} x\n", next = number + 1);
        }
        assert_eq!(targets(&text, "A0"), Err(Unknown::Budget));
        let mut left = 10;
        let outcome =
            Expander::default().targets(b"S(x) S(x) S(x) S(x)", &mut left, &mut |_| BTreeSet::new());
        assert_eq!(outcome, Err(Unknown::Work));
    }

    #[test]
    fn long_ways_end() {
        let mut text = "#define A2000 \"a.h\"\n".to_owned();
        for number in 0..2000 {
            text += &format!("#define A{number} A{}\n", number + 1);
        }
        assert_eq!(targets(&text, "A0").as_deref(), Ok("\"a.h\""));
        assert_eq!(targets("#define F(x) F(x x) F(x)", "F(F(F(1)))").as_deref(), Ok(""));
        assert_eq!(targets("#define F(x) G x\n#define G(x) F x", "F((1").as_deref(), Ok(""));
    }
}
