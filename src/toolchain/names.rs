//! What a file's name says: whether it is a compiler's, and for which machine. Reads nothing.

/// Compilers with names of their own.
const PLAIN: [&str; 4] = ["cc", "c++", "c89", "c99"];
/// Compilers whose names take a target in front and a version behind.
const GCC: [&str; 2] = ["gcc", "g++"];
/// The same, of LLVM.
const CLANG: [&str; 2] = ["clang", "clang++"];
/// What Debian's names for Windows have behind the version: the kind of threads.
const THREADS: [&str; 2] = ["-posix", "-win32"];
/// NVIDIA's compiler. Debian's links include it; a server that has to judge options knows none of its own.
pub const NVCC: &str = "nvcc";

/// What a compiler's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name<'a> {
    /// A compiler.
    Plain,
    /// A compiler if this is a machine that compilers here are made for: `arm-none-eabi` in `arm-none-eabi-gcc-12`.
    /// Anything may stand before `-gcc`.
    Cross(&'a str),
}

/// What a file's name says; `None` if it is no compiler's.
pub fn read(name: &str) -> Option<Name<'_>> {
    // Names are shown on terminals and in logs, and made into links: others than such were never a compiler's.
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte)) {
        return None;
    }
    if PLAIN.contains(&name) || name == NVCC {
        return Some(Name::Plain);
    }
    let stem = without_version(name);
    let before = |family: [&str; 2]| {
        let mut endings = family.iter().filter_map(|ending| stem.strip_suffix(ending));
        endings.find(|before| before.is_empty() || before.ends_with('-'))
    };
    if let Some(before) = before(GCC) {
        return match before.trim_end_matches('-') {
            "" => Some(Name::Plain),
            "c89" | "c99" => (stem == name).then_some(Name::Plain),
            target => Some(Name::Cross(target)),
        };
    }
    match before(CLANG)?.trim_end_matches('-') {
        "" | "llvm" => Some(Name::Plain),
        // Made for all machines by one installation, so that no directory tells which.
        target if target.matches('-').count() >= 2 => Some(Name::Plain),
        target => Some(Name::Cross(target)),
    }
}

/// A name without `-12`, `-4.9` or `-12-posix`.
fn without_version(name: &str) -> &str {
    let plain = THREADS.iter().find_map(|threads| name.strip_suffix(threads)).unwrap_or(name);
    match plain.rsplit_once('-') {
        Some((stem, version))
            if version.starts_with(|first: char| first.is_ascii_digit())
                && version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') =>
        {
            stem
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compilers_are_told_from_their_tools_and_from_wrappers() {
        for (name, expected) in [
            ("cc", Some(Name::Plain)),
            ("c++", Some(Name::Plain)),
            ("c99", Some(Name::Plain)),
            ("nvcc", Some(Name::Plain)),
            ("gcc", Some(Name::Plain)),
            ("g++-12", Some(Name::Plain)),
            ("gcc-4.9", Some(Name::Plain)),
            ("c89-gcc", Some(Name::Plain)),
            ("c89-gcc-12", None),
            ("x86_64-linux-gnu-gcc-12", Some(Name::Cross("x86_64-linux-gnu"))),
            ("avr-g++", Some(Name::Cross("avr"))),
            ("x86_64-w64-mingw32-gcc-12-posix", Some(Name::Cross("x86_64-w64-mingw32"))),
            ("musl-gcc", Some(Name::Cross("musl"))),
            ("clang", Some(Name::Plain)),
            ("clang++-14", Some(Name::Plain)),
            ("llvm-clang-3.8", Some(Name::Plain)),
            ("x86_64-redhat-linux-gnu-clang++", Some(Name::Plain)),
            ("afl-clang", Some(Name::Cross("afl"))),
            ("gcc-ar-12", None),
            ("gcc-ranlib", None),
            ("clang-cpp-14", None),
            ("clang-format", None),
            ("colorgcc", None),
            ("winegcc", None),
            ("gcc-", None),
            ("gcc-12-", None),
            ("gcc-posix", None),
            ("\u{1b}[2J-a-b-clang", None),
            ("a b-c-d-clang", None),
            ("../a-b-c-clang", None),
            ("ä-b-c-gcc", None),
            ("-12", None),
            ("", None),
        ] {
            assert_eq!(read(name), expected, "{name}");
        }
    }
}
