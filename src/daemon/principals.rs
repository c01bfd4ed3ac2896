//! Which principals may compile here: `--whitelist` names those that may and `--blacklist` those that may not (manual,
//! GSS-API). Knows names; not how anybody proved theirs.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The largest list, in bytes: a hundred thousand names.
const LIST_BYTES_MAX: u64 = 8 << 20;

/// What a list is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// Only those named may.
    White,
    /// Those named may not.
    Black,
}

impl ListKind {
    fn option(self) -> &'static str {
        match self {
            ListKind::White => "--whitelist",
            ListKind::Black => "--blacklist",
        }
    }
}

/// A list of principals, one to a line.
#[derive(Clone, Debug)]
pub struct Principals {
    kind: ListKind,
    file: PathBuf,
    names: HashSet<String>,
}

impl Principals {
    /// Reads the file of an option.
    pub fn read(kind: ListKind, file: &Path) -> Result<Principals, String> {
        let cannot =
            |cause: &dyn std::fmt::Display| format!("{}: read {}: {cause}", kind.option(), file.display());
        let size = fs::metadata(file).map_err(|error| cannot(&error))?.len();
        if size > LIST_BYTES_MAX {
            return Err(cannot(&format_args!("it has more than {LIST_BYTES_MAX} bytes")));
        }
        let text = fs::read_to_string(file).map_err(|error| cannot(&error))?;
        Ok(Principals::parse(kind, file, &text))
    }

    fn parse(kind: ListKind, file: &Path, text: &str) -> Principals {
        let names = text.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Principals { kind, file: file.to_path_buf(), names }
    }

    /// Whether `principal`, a name with its realm, may compile on a server of the realm `own`; the error is the reason.
    ///
    /// A line without a realm means the server's own realm where it admits, and any realm where it refuses: another
    /// realm's administrator chooses who is called what over there.
    pub fn judge(&self, principal: &str, own: Option<&str>) -> Result<(), String> {
        let (name, realm) = split_realm(principal);
        let is_named = realm.is_some() && self.names.contains(principal)
            || self.names.contains(name) && (self.kind == ListKind::Black || realm == own);
        match (self.kind, is_named) {
            (ListKind::White, true) | (ListKind::Black, false) => Ok(()),
            (ListKind::White, false) => Err(format!(
                "{principal} is not in {}; to admit it, add a line with that name and restart distccd",
                self.file.display()
            )),
            (ListKind::Black, true) => Err(format!("{principal} is in {}", self.file.display())),
        }
    }
}

/// The name and the realm of a principal. An `@` that belongs to the name has a backslash before it (RFC 1964, 2.1.1).
pub fn split_realm(principal: &str) -> (&str, Option<&str>) {
    let bytes = principal.as_bytes();
    let at = (0..bytes.len()).find(|&at| {
        bytes[at] == b'@' && bytes[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 0
    });
    match at {
        Some(at) => (&principal[..at], Some(&principal[at + 1..])),
        None => (principal, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_admit_and_refuse() {
        let text = "alice\n  bob/admin \n\ncarol@OTHER.ORG\nd\\@ve\n";
        for (principal, white, black) in [
            ("alice@HOME.ORG", true, false),
            // Somebody else's alice.
            ("alice@EVIL.ORG", false, false),
            ("alice", false, false),
            ("alice/admin@HOME.ORG", false, true),
            ("bob@HOME.ORG", false, true),
            ("bob/admin@HOME.ORG", true, false),
            ("carol@OTHER.ORG", true, false),
            ("carol@HOME.ORG", false, true),
            ("d\\@ve@HOME.ORG", true, false),
            ("alice\\@HOME.ORG@EVIL.ORG", false, true),
            ("", false, true),
        ] {
            let judge = |kind| {
                Principals::parse(kind, Path::new("/l"), text).judge(principal, Some("HOME.ORG")).is_ok()
            };
            assert_eq!(judge(ListKind::White), white, "white: {principal}");
            assert_eq!(judge(ListKind::Black), black, "black: {principal}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let list = Principals::parse(ListKind::White, Path::new("/etc/distcc/principals"), "");
        let reason = list.judge("eve@HOME.ORG", Some("HOME.ORG")).unwrap_err();
        assert!(reason.contains("eve@HOME.ORG is not in /etc/distcc/principals; to admit it"), "{reason}");
    }

    #[test]
    fn realms_are_split_at_an_at_sign_that_is_not_the_names() {
        for (principal, name, realm) in [
            ("a@R", "a", Some("R")),
            ("a", "a", None),
            ("a\\@b@R", "a\\@b", Some("R")),
            ("a\\\\@R", "a\\\\", Some("R")),
            ("@", "", Some("")),
        ] {
            assert_eq!(split_realm(principal), (name, realm));
        }
    }
}
