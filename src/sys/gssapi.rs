//! GSS-API (RFC 2743, its C binding RFC 2744), as far as distcc needs it: who is at the other end, for both ends.
//!
//! In a build without the feature `gssapi` there is no such library, and whoever asks for it is told so.

#[cfg(not(feature = "gssapi"))]
mod absent;
#[cfg(feature = "gssapi")]
mod library;

#[cfg(not(feature = "gssapi"))]
pub use absent::{Acceptor, Credential, Initiator};
#[cfg(feature = "gssapi")]
pub use library::{Acceptor, Credential, Initiator};

use std::fmt;

/// Whether this build has GSS-API.
pub const IS_BUILT_IN: bool = cfg!(feature = "gssapi");
/// What to say where it has not.
pub const ABSENT: &str = "this build has no GSS-API: install the package distcc-rs-gssapi in its place, or build it with \
                          install.sh --with-gssapi";

/// The name of one end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// `SERVICE@HOST`, which the mechanism makes a principal of (GSS_C_NT_HOSTBASED_SERVICE).
    Service(String),
    /// A principal in the mechanism's own words (GSS_C_NT_USER_NAME).
    User(String),
}

impl Name {
    /// A name as DISTCCD_PRINCIPAL gives it: with an `@` it is a service's.
    pub fn of_principal(text: &str) -> Name {
        if text.contains('@') { Name::Service(text.into()) } else { Name::User(text.into()) }
    }

    /// The name's text.
    pub fn text(&self) -> &str {
        match self {
            Name::Service(text) | Name::User(text) => text,
        }
    }
}

/// What one side says next in a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// For the other side; none if there is nothing to say.
    pub token: Option<Vec<u8>>,
    /// This side needs no more.
    pub is_complete: bool,
}

/// Why it did not work, in the library's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GssError(String);

impl GssError {
    fn new(text: impl Into<String>) -> GssError {
        GssError(text.into())
    }
}

impl fmt::Display for GssError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for GssError {}
