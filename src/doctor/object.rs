//! What an object file says of the compiler that made it: its target, and how it calls itself. Trusts no byte of it; it
//! comes from a server.

use crate::protocol::peer_text::one_line;

/// Names of machines, by their numbers in ELF headers.
const MACHINES: [(u16, &str); 10] = [
    (3, "i386"),
    (8, "mips"),
    (20, "powerpc"),
    (21, "powerpc64"),
    (22, "s390"),
    (40, "arm"),
    (62, "x86-64"),
    (183, "aarch64"),
    (243, "riscv"),
    (258, "loongarch"),
];
/// The longest name of a compiler that is shown, in characters.
const NAME_CHARACTERS_MAX: usize = 100;
/// The section in which compilers write who they are.
const COMMENT: &[u8] = b".comment";

/// What an object says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// The kind of machine it runs on.
    pub(super) target: String,
    /// The compiler's own words, fit for a terminal; none with `-fno-ident`.
    pub(super) compiler: Option<String>,
}

impl Facts {
    /// The compiler's maker and its version: `GCC: (Debian 12.2.0-14) 12.2.0` is gcc's 12.2.0.
    pub(super) fn release(&self) -> Option<(&'static str, &str)> {
        let words = self.compiler.as_deref()?;
        let maker = if words.contains("clang") { "clang" } else { "gcc" };
        let version = match words.split_once("version ") {
            Some((_, rest)) => rest.split_whitespace().next()?,
            None => words.split_whitespace().next_back()?,
        };
        Some((maker, version))
    }

    /// The compiler and its target, for a sentence.
    pub(super) fn text(&self) -> String {
        format!("{}, for {}", self.compiler.as_deref().unwrap_or("a compiler that does not say"), self.target)
    }
}

/// Where the fields of an ELF file are: in one of 64 bits and in one of 32.
struct Layout {
    wide: bool,
    big_endian: bool,
}

impl Layout {
    fn number(&self, bytes: &[u8], at: usize, length: usize) -> Option<u64> {
        let field = bytes.get(at..at.checked_add(length)?)?;
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if self.big_endian { field.iter().fold(0, add) } else { field.iter().rev().fold(0, add) })
    }

    /// An offset or a size, at its place in files of 64 and of 32 bits.
    fn word(&self, bytes: &[u8], (wide, narrow): (usize, usize)) -> Option<usize> {
        let (at, length) = if self.wide { (wide, 8) } else { (narrow, 4) };
        self.number(bytes, at, length)?.try_into().ok()
    }

    fn half(&self, bytes: &[u8], (wide, narrow): (usize, usize)) -> Option<usize> {
        self.number(bytes, if self.wide { wide } else { narrow }, 2)?.try_into().ok()
    }

    /// A section's header, of so many in the file.
    fn section<'a>(&self, object: &'a [u8], index: usize) -> Option<&'a [u8]> {
        let size = self.half(object, (0x3a, 0x2e))?;
        let start = self.word(object, (0x28, 0x20))?.checked_add(index.checked_mul(size)?)?;
        object.get(start..start.checked_add(size)?)
    }

    fn content<'a>(&self, object: &'a [u8], header: &[u8]) -> Option<&'a [u8]> {
        let start = self.word(header, (0x18, 0x10))?;
        object.get(start..start.checked_add(self.word(header, (0x20, 0x14))?)?)
    }

    fn comment<'a>(&self, object: &'a [u8]) -> Option<&'a [u8]> {
        let names = self.section(object, self.half(object, (0x3e, 0x32))?)?;
        let names = self.content(object, names)?;
        for index in 0..self.half(object, (0x3c, 0x30))? {
            let header = self.section(object, index)?;
            let name = names.get(self.number(header, 0, 4)? as usize..)?;
            if name.split(|byte| *byte == 0).next() == Some(COMMENT) {
                return self.content(object, header);
            }
        }
        None
    }
}

/// What an object says; none if it is no object.
pub(super) fn facts(object: &[u8]) -> Option<Facts> {
    let rest = object.strip_prefix(b"\x7fELF")?;
    let layout = Layout { wide: *rest.first()? == 2, big_endian: *rest.get(1)? == 2 };
    let machine = layout.number(object, 18, 2)? as u16;
    let known = MACHINES.iter().find(|(number, _)| *number == machine);
    let mut target = known.map_or_else(|| format!("machine {machine}"), |(_, name)| (*name).to_string());
    if matches!(target.as_str(), "riscv" | "powerpc64" | "mips" | "arm" | "aarch64") {
        let bits = if layout.wide { "64" } else { "32" };
        let order = if layout.big_endian { "big" } else { "little" };
        target = format!("{target} ({bits} bits, {order}-endian)");
    }
    let said = layout.comment(object).unwrap_or_default();
    let compiler = said.split(|byte| *byte == 0).find(|part| !part.is_empty()).map(|part| {
        let text = one_line(&String::from_utf8_lossy(part));
        text.chars().take(NAME_CHARACTERS_MAX).collect()
    });
    Some(Facts { target, compiler })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::temp::TempDir;
    use std::process::Command;

    fn object(compiler: &str) -> Vec<u8> {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let (source, object) = (dir.path().join("a.c"), dir.path().join("a.o"));
        std::fs::write(&source, "int a;\n").unwrap();
        let status = Command::new(compiler).arg("-c").arg(&source).arg("-o").arg(&object).status().unwrap();
        assert!(status.success());
        std::fs::read(object).unwrap()
    }

    #[test]
    fn compilers_are_known_by_their_objects() {
        for compiler in ["gcc", "clang"] {
            let facts = facts(&object(compiler)).unwrap();
            assert_eq!(facts.target, if cfg!(target_arch = "x86_64") { "x86-64" } else { &facts.target });
            let said = Command::new(compiler).arg("-dumpversion").output().unwrap();
            let version = String::from_utf8(said.stdout).unwrap();
            let (maker, found) = facts.release().unwrap();
            assert_eq!(maker, compiler);
            assert!(found.starts_with(version.trim()), "{found} {version}");
        }
    }

    #[test]
    fn broken_objects_are_no_objects_and_no_panic() {
        let whole = object("gcc");
        for length in 0..whole.len() {
            let _ = facts(&whole[..length]);
        }
        // Each field of the header, at its extremes.
        for at in 0..64 {
            for value in [0, 0x7f, 0xff] {
                let mut broken = whole.clone();
                broken[at] = value;
                let _ = facts(&broken);
            }
        }
        assert_eq!(facts(b"\x7fELX"), None);
        assert_eq!(facts(b""), None);
    }

    #[test]
    fn releases_are_read_from_compilers_words() {
        let cases = [
            ("GCC: (Debian 12.2.0-14+deb12u1) 12.2.0", ("gcc", "12.2.0")),
            ("Debian clang version 14.0.6", ("clang", "14.0.6")),
            ("clang version 17.0.6 (https://example.net 6009708)", ("clang", "17.0.6")),
        ];
        for (words, expected) in cases {
            let facts = Facts { target: "x".into(), compiler: Some(words.into()) };
            assert_eq!(facts.release(), Some(expected), "{words}");
        }
    }
}
