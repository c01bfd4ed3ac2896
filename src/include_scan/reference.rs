//! How one file names another, and what for. Knows nothing of where the other is.

/// How the file that is named will be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Use {
    /// Read as source text: `#include`, `#import`; also `__has_include` and `#pragma GCC dependency`, which only ask.
    Include,
    /// `#include_next` and `__has_include_next`.
    IncludeNext,
    /// Read as bytes: `#embed`, `__has_embed`, and `.incbin` in assembler text.
    Embed,
    /// Read by the assembler: `.include`.
    Assemble,
}

/// How the file is named.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// `"name"`.
    Quote(Box<[u8]>),
    /// `<name>`.
    Angle(Box<[u8]>),
    /// Text that macro expansion turns into one of the others.
    Computed(Box<[u8]>),
}

/// One reference to another file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// What for.
    pub purpose: Use,
    /// By what name.
    pub target: Target,
}
