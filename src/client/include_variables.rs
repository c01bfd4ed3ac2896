//! The include directories that variables name (gcc(1), CPATH and its kin) as options that mean the same: a server's
//! compiler does not see our variables, and 3.4's include server does not know them.
//!
//! A directory of CPATH is searched like one of `-I` behind all others, a directory of the language's own variable like
//! one of `-isystem` behind all others. An empty name is the working directory, and what is no directory is passed over
//! without the warning that an option would get. So it is in gcc and clang; a test compares.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::client::settings::CompilerPaths;
use crate::compiler_args::Language;

/// The options, to be added to a command's end; an error names what cannot be said by an option.
pub fn as_options(paths: &CompilerPaths, language: Language) -> Result<Vec<OsString>, String> {
    let own = match language {
        Language::C => &paths.c,
        Language::Cxx => &paths.cxx,
        Language::ObjectiveC => &paths.objective_c,
        Language::ObjectiveCxx => &paths.objective_cxx,
    };
    let mut options = Vec::new();
    for (option, list) in [("-I", &paths.all), ("-isystem", own)] {
        let Some(list) = list.as_ref().filter(|list| !list.is_empty()) else { continue };
        for name in list.as_bytes().split(|byte| *byte == b':') {
            let name = OsStr::from_bytes(if name.is_empty() { b"." } else { name });
            if name == "-" || name.as_bytes().starts_with(b"=") || name.as_bytes().starts_with(b"$SYSROOT") {
                return Err(format!("an include directory called {name:?} is named by a variable"));
            }
            if Path::new(name).is_dir() {
                options.extend([option.into(), name.to_owned()]);
            }
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_named_in_their_order() {
        let paths = |all: &str, c: &str| CompilerPaths {
            all: Some(all.into()),
            c: Some(c.into()),
            cxx: Some("/var".into()),
            ..CompilerPaths::default()
        };
        let cases = [
            (paths("/usr:/bin", "/tmp"), Language::C, "-I /usr -I /bin -isystem /tmp"),
            (paths("/usr::/no/such", ":"), Language::C, "-I /usr -I . -isystem . -isystem ."),
            (paths("", ""), Language::C, ""),
            (paths("", "/tmp"), Language::Cxx, "-isystem /var"),
            (paths("", "/tmp"), Language::ObjectiveC, ""),
        ];
        for (paths, language, want) in cases {
            let options = as_options(&paths, language).unwrap();
            assert_eq!(options.join(OsStr::new(" ")), want, "{paths:?}");
        }
        for odd in ["-", "/usr:=x", "$SYSROOT/x"] {
            assert!(as_options(&paths(odd, ""), Language::C).is_err(), "{odd}");
        }
    }
}
