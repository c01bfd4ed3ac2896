//! The compiler's name made explicit, so that every machine runs the same compiler: `cc` becomes what it links
//! to, `gcc` becomes `TRIPLE-gcc`, clang is told its target. Asks questions; looks nothing up itself.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::words::{Kind, items};

/// The answers rewriting needs from outside.
pub struct Surroundings<'a> {
    /// For `cc` or `c++`: the last component of what the link on PATH leads to.
    pub link_target: &'a mut dyn FnMut(&OsStr) -> Option<OsString>,
    /// Whether an executable of this name is on PATH.
    pub on_path: &'a mut dyn FnMut(&OsStr) -> bool,
    /// The triple that prefixes gcc's name, such as `x86_64-linux-gnu`.
    pub gcc_triple: &'a OsStr,
    /// The triple clang is given with `-target`.
    pub clang_triple: &'a OsStr,
}

/// Rewrites a command as distcc 3.4 does. The caller does not call this when `DISTCC_NO_REWRITE_CROSS` is set.
/// Names with a slash stay as they are.
pub fn rewrite(argv: &[OsString], surroundings: &mut Surroundings<'_>) -> Vec<OsString> {
    let mut out = argv.to_vec();
    let Some(name) = out.first_mut() else { return out };
    if let Some(target) = alias(name, surroundings) {
        *name = target;
    }
    if is_named(name, &["gcc", "g++"]) {
        let mut prefixed = surroundings.gcc_triple.to_owned();
        prefixed.push("-");
        prefixed.push(&name);
        if (surroundings.on_path)(&prefixed) {
            *name = prefixed;
        }
    } else if is_named(name, &["clang", "clang++"]) && takes_target(&out) {
        out.extend(["-target".into(), surroundings.clang_triple.to_owned()]);
    }
    out
}

/// What `cc` or `c++` stands for, if it is a compiler we know.
fn alias(name: &OsStr, surroundings: &mut Surroundings<'_>) -> Option<OsString> {
    let known: [&str; 2] = match name.as_bytes() {
        b"cc" => ["gcc", "clang"],
        b"c++" => ["g++", "clang++"],
        _ => return None,
    };
    (surroundings.link_target)(name).filter(|target| known.iter().any(|known| target == known))
}

/// Whether a name is one of these, perhaps with a version after a dash; it then has no slash.
fn is_named(name: &OsStr, known: &[&str]) -> bool {
    let bytes = name.as_bytes();
    !bytes.contains(&b'/')
        && known.iter().any(|known| {
            bytes.strip_prefix(known.as_bytes()).is_some_and(|rest| rest.is_empty() || rest[0] == b'-')
        })
}

/// Whether `-target` may be appended: no target is given, and no option at the end would swallow it.
fn takes_target(argv: &[OsString]) -> bool {
    let chosen = argv.iter().any(|word| word == "-target" || word.as_bytes().starts_with(b"--target"));
    !chosen && !items(argv).any(|item| matches!(item.kind, Kind::MissingValue(_)))
}

#[cfg(test)]
mod tests {
    use super::super::words::argv;
    use super::*;

    fn rewritten(command: &str, cc: Option<&str>, on_path: &[&str]) -> Vec<OsString> {
        let mut surroundings = Surroundings {
            link_target: &mut |_| cc.map(OsString::from),
            on_path: &mut |name| on_path.iter().any(|known| name == *known),
            gcc_triple: OsStr::new("x86_64-linux-gnu"),
            clang_triple: OsStr::new("x86_64-pc-linux-gnu"),
        };
        rewrite(&argv(command), &mut surroundings)
    }

    #[test]
    fn names_become_explicit() {
        let gcc = ["x86_64-linux-gnu-gcc", "x86_64-linux-gnu-g++", "x86_64-linux-gnu-gcc-12"];
        let cases = [
            ("cc -c a.c", Some("gcc"), "x86_64-linux-gnu-gcc -c a.c"),
            ("cc -c a.c", Some("clang"), "clang -c a.c -target x86_64-pc-linux-gnu"),
            ("cc -c a.c", Some("tcc"), "cc -c a.c"),
            ("cc -c a.c", Some("g++"), "cc -c a.c"),
            ("cc -c a.c", None, "cc -c a.c"),
            ("c++ -c a.c", Some("g++"), "x86_64-linux-gnu-g++ -c a.c"),
            ("gcc-12 -c a.c", None, "x86_64-linux-gnu-gcc-12 -c a.c"),
            ("gcc-9 -c a.c", None, "gcc-9 -c a.c"),
            ("gccgo -c a.c", None, "gccgo -c a.c"),
            ("/usr/bin/gcc -c a.c", None, "/usr/bin/gcc -c a.c"),
            ("clang++-14 -c a.cc", None, "clang++-14 -c a.cc -target x86_64-pc-linux-gnu"),
            ("clang -target arm -c a.c", None, "clang -target arm -c a.c"),
            ("clang --target=arm -c a.c", None, "clang --target=arm -c a.c"),
            ("clang -c a.c -o", None, "clang -c a.c -o"),
            ("clang-tidy -c a.c", None, "clang-tidy -c a.c -target x86_64-pc-linux-gnu"),
        ];
        for (command, cc, want) in cases {
            assert_eq!(rewritten(command, cc, &gcc), argv(want), "{command} with cc {cc:?}");
        }
    }
}
