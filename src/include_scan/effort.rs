//! What computed names may cost, counted in tokens and not in time, so that an answer does not depend on the machine's
//! load; and why a name has no answer. Expands nothing.

use std::fmt;

/// The most tokens that the expansion of one expression may produce before a shorter way is looked for: 2 to 4 ms.
pub(super) const TOKENS_BEFORE_SHORTCUT_MAX: usize = 100_000;
/// The same where there is no shorter way. The headers of Boost.MPL need a third of it.
pub(super) const TOKENS_MAX: usize = 2_000_000;
/// The most tokens that all expressions of one translation unit may produce: a quarter of a second. What was answered
/// until then is remembered. All of Boost's headers need less than half of it.
pub(super) const TOKENS_PER_UNIT_MAX: usize = 6_000_000;
/// The most results one expression may have.
pub const RESULTS_MAX: usize = 10_000;
/// How deep macros may name each other in one expression: the limit of our own stack, ten times what is in use.
pub(super) const DEPTH_MAX: usize = 400;

/// Why an expression has no answer. The text completes a sentence about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// There are too many ways.
    Budget,
    /// It depends on more than definitions.
    Changing,
    /// The translation unit has used up its share of work; the same question may be answered in the next query.
    Work,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unknown::Budget => "has too many expansions",
            Unknown::Changing => "depends on a macro that changes",
            Unknown::Work => "is one computed name too many in one query",
        })
    }
}
