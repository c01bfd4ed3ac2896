//! Which names are asked about, and how far a series of them goes. Asks nobody itself.

/// How many names of a series are tried at most.
pub const SERIES_MAX: usize = 500;
/// How many names a list may have: each costs a thread for a moment, and sockets.
pub const LIST_MAX: usize = 4096;

/// The names of a survey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// Names with a number in them, from 1.
    Series(Pattern),
    /// These.
    List(Vec<String>),
}

/// A name with a place for a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    before: String,
    /// How many digits the number has at least, filled up with zeros.
    digits: usize,
    after: String,
}

impl Pattern {
    /// Finds the first place for a number, `%d` or `%02d` and the like; `None` if the word has none.
    pub fn parse(word: &str) -> Option<Pattern> {
        word.match_indices('%').find_map(|(at, _)| {
            let rest = &word[at + 1..];
            let width = rest.strip_prefix('0').and_then(|rest| Some((rest.get(..1)?, rest.get(1..)?)));
            let (digits, rest) = match width.map(|(digit, rest)| (digit.parse().ok(), rest)) {
                Some((Some(digits), rest)) => (digits, rest),
                _ => (0, rest),
            };
            let after = rest.strip_prefix('d')?;
            Some(Pattern { before: word[..at].to_owned(), digits, after: after.to_owned() })
        })
    }

    fn name(&self, number: usize) -> String {
        format!("{}{number:0width$}{}", self.before, self.after, width = self.digits)
    }
}

/// How far a series is followed (options `-o` and `-g`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Names asked about at the same time, beside one.
    pub overlap: usize,
    /// Names that may be missing before no higher number is tried.
    pub gap: usize,
}

/// The names of a survey in order, as far as they are to be asked about.
#[derive(Debug)]
pub struct Course {
    names: Names,
    reach: Reach,
    /// How many were given out.
    given: usize,
    /// How many of them are not known as found or missing yet.
    open: usize,
    missing: usize,
    stopped: bool,
}

impl Course {
    /// The course at its start.
    pub fn new(names: Names, reach: Reach) -> Course {
        Course { names, reach, given: 0, open: 0, missing: 0, stopped: false }
    }

    /// The next name to ask about, with its index, if one is due now.
    pub fn advance(&mut self) -> Option<(usize, String)> {
        if self.stopped {
            return None;
        }
        let name = match &self.names {
            Names::List(names) => names.get(self.given)?.clone(),
            Names::Series(_) if self.given >= SERIES_MAX || self.open > self.reach.overlap => return None,
            Names::Series(pattern) => pattern.name(self.given + 1),
        };
        self.open += 1;
        self.given += 1;
        Some((self.given - 1, name))
    }

    /// A name that was given out resolves.
    pub fn found(&mut self) {
        self.open -= 1;
    }

    /// A name that was given out does not. In a series, whatever is open already is waited for.
    pub fn missing(&mut self) {
        self.open -= 1;
        self.missing += 1;
        if matches!(self.names, Names::Series(_)) && self.missing > self.reach.gap {
            self.stopped = true;
        }
    }

    /// No more names are to be given out, and none is waited for.
    pub fn stop(&mut self) {
        self.stopped = true;
        self.open = 0;
    }

    /// Whether every name that was given out is known as found or missing. With no name due, the course is at its end.
    pub fn is_settled(&self) -> bool {
        self.open == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_one_place_for_a_number() {
        for (word, number, expected) in [
            ("distcc%d", 7, Some("distcc7")),
            ("h%d.example.net", 12, Some("h12.example.net")),
            ("node%02d", 7, Some("node07")),
            ("node%02d", 107, Some("node107")),
            ("a%b%d%d", 3, Some("a%b3%d")),
            ("h%s", 1, None),
            ("h%", 1, None),
            ("h%0", 1, None),
            ("h%0d", 1, None),
            ("h%2d", 1, None),
            ("h%é", 1, None),
            ("h%0é", 1, None),
            ("host", 1, None),
        ] {
            let name = Pattern::parse(word).map(|pattern| pattern.name(number));
            assert_eq!(name.as_deref(), expected, "{word}");
        }
    }

    /// The numbers a series tries when only these exist, one answer at a time in order.
    fn tried(existing: &[usize], overlap: usize, gap: usize) -> Vec<usize> {
        let pattern = Pattern::parse("d%d").unwrap();
        let mut course = Course::new(Names::Series(pattern), Reach { overlap, gap });
        let (mut asked, mut answered) = (Vec::new(), 0);
        loop {
            while let Some((index, name)) = course.advance() {
                assert_eq!(name, format!("d{}", index + 1));
                asked.push(index + 1);
            }
            let Some(number) = asked.get(answered) else { break };
            answered += 1;
            if existing.contains(number) { course.found() } else { course.missing() }
        }
        assert!(course.is_settled());
        asked
    }

    #[test]
    fn a_series_goes_as_far_as_that_of_3_4() {
        let existing = [1, 2, 4, 7, 11];
        for (overlap, gap, last) in [
            (0, 0, 3),
            (1, 0, 4),
            (0, 1, 5),
            (1, 1, 6),
            (0, 2, 6),
            (1, 2, 7),
            (0, 3, 8),
            (3, 0, 6),
            (1, 9, 16),
        ] {
            let expected: Vec<usize> = (1..=last).collect();
            assert_eq!(tried(&existing, overlap, gap), expected, "-o{overlap} -g{gap}");
        }
        let all: Vec<usize> = (1..=600).collect();
        assert_eq!(tried(&all, 1, 0).len(), SERIES_MAX);
    }

    #[test]
    fn a_list_is_asked_about_at_once_and_whole() {
        let names = ["a", "b", "a"].map(str::to_owned);
        let mut course = Course::new(Names::List(names.to_vec()), Reach { overlap: 0, gap: 0 });
        let given: Vec<String> = std::iter::from_fn(|| course.advance()).map(|(_, name)| name).collect();
        assert_eq!(given, names);
        course.missing();
        assert!(!course.is_settled());
        course.found();
        course.missing();
        assert!(course.is_settled() && course.advance().is_none());
    }
}
