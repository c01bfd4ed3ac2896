//! What a source file's name says about it: language, whether it is preprocessed already, and the suffix its
//! preprocessed form has. Knows names only; suffixes are case sensitive, as in distcc 3.4.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// A language that can be compiled on another machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Language {
    /// C.
    C,
    /// C++.
    Cxx,
    /// Objective-C.
    ObjectiveC,
    /// Objective-C++.
    ObjectiveCxx,
}

impl Language {
    /// The value for `-x` that means "this language, preprocessed already"; gcc and clang agree on it.
    pub fn preprocessed_name(self) -> &'static str {
        match self {
            Language::C => "cpp-output",
            Language::Cxx => "c++-cpp-output",
            Language::ObjectiveC => "objective-c-cpp-output",
            Language::ObjectiveCxx => "objective-c++-cpp-output",
        }
    }

    /// The suffix, with its dot, of a file preprocessed from this language.
    pub fn preprocessed_suffix(self) -> &'static str {
        match self {
            Language::C => ".i",
            Language::Cxx => ".ii",
            Language::ObjectiveC => ".mi",
            Language::ObjectiveCxx => ".mii",
        }
    }

    /// The C++ dialect of this language: what a `++` driver of clang makes of a C file.
    pub fn with_cxx(self) -> Language {
        match self {
            Language::C | Language::Cxx => Language::Cxx,
            Language::ObjectiveC | Language::ObjectiveCxx => Language::ObjectiveCxx,
        }
    }
}

/// A language, and whether the preprocessor has been there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceKind {
    /// The language.
    pub language: Language,
    /// True for preprocessed text.
    pub preprocessed: bool,
}

impl SourceKind {
    /// The kind a file of this name has, unless `-x` says otherwise; `None` if the name is not a source's.
    pub fn of_name(name: &OsStr) -> Option<SourceKind> {
        let suffix = suffix(name)?;
        SUFFIXES.iter().find(|(known, _)| known.as_bytes() == suffix.as_bytes()).map(|(_, kind)| *kind)
    }

    /// The kind `-x NAME` declares; `None` for languages that are compiled locally only.
    pub fn of_language(name: &OsStr) -> Option<SourceKind> {
        LANGUAGES.iter().find(|(known, _)| known.as_bytes() == name.as_bytes()).map(|(_, kind)| *kind)
    }
}

const fn text(language: Language) -> SourceKind {
    SourceKind { language, preprocessed: false }
}

const fn output(language: Language) -> SourceKind {
    SourceKind { language, preprocessed: true }
}

const SUFFIXES: [(&str, SourceKind); 14] = [
    (".i", output(Language::C)),
    (".ii", output(Language::Cxx)),
    (".c", text(Language::C)),
    (".cc", text(Language::Cxx)),
    (".cpp", text(Language::Cxx)),
    (".cxx", text(Language::Cxx)),
    (".cp", text(Language::Cxx)),
    (".c++", text(Language::Cxx)),
    (".C", text(Language::Cxx)),
    (".m", text(Language::ObjectiveC)),
    (".mm", text(Language::ObjectiveCxx)),
    (".mi", output(Language::ObjectiveC)),
    (".mii", output(Language::ObjectiveCxx)),
    (".M", text(Language::ObjectiveCxx)),
];

const LANGUAGES: [(&str, SourceKind); 10] = [
    ("c", text(Language::C)),
    ("c++", text(Language::Cxx)),
    ("objective-c", text(Language::ObjectiveC)),
    ("objective-c++", text(Language::ObjectiveCxx)),
    ("cpp-output", output(Language::C)),
    ("c++-cpp-output", output(Language::Cxx)),
    ("objective-c-cpp-output", output(Language::ObjectiveC)),
    ("objective-c++-cpp-output", output(Language::ObjectiveCxx)),
    ("objc-cpp-output", output(Language::ObjectiveC)),
    ("objc++-cpp-output", output(Language::ObjectiveCxx)),
];

/// The suffix of a word, with its dot: from the last dot anywhere in the word; a dot at the very end is none.
pub fn suffix(word: &OsStr) -> Option<&OsStr> {
    let bytes = word.as_bytes();
    let dot = bytes.iter().rposition(|byte| *byte == b'.')?;
    (dot + 1 < bytes.len()).then(|| OsStr::from_bytes(&bytes[dot..]))
}

/// Whether a word names a source file that can be compiled on another machine.
pub fn is_source(word: &OsStr) -> bool {
    SourceKind::of_name(word).is_some()
}

/// The suffix of the preprocessed form of a source file of this name, by name alone (a server goes by it).
pub fn preprocessed_suffix(word: &OsStr) -> Option<&'static str> {
    SourceKind::of_name(word).map(|kind| kind.language.preprocessed_suffix())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_say_what_3_4_says() {
        let cases = [
            ("a.i", Some(".i")),
            ("a.c", Some(".i")),
            ("a.cc", Some(".ii")),
            ("a.cpp", Some(".ii")),
            ("a.cxx", Some(".ii")),
            ("a.cp", Some(".ii")),
            ("a.c++", Some(".ii")),
            ("a.C", Some(".ii")),
            ("a.ii", Some(".ii")),
            ("a.m", Some(".mi")),
            ("a.mi", Some(".mi")),
            ("a.mm", Some(".mii")),
            ("a.mii", Some(".mii")),
            ("a.M", Some(".mii")),
            ("a.b.c", Some(".i")),
            ("a.CXX", None),
            ("a.CPP", None),
            ("a.hpp", None),
            ("a.h", None),
            ("a.s", None),
            ("a.S", None),
            ("a.cu", None),
            ("a.c.", None),
            ("dir.c/a", None),
            ("c", None),
            ("", None),
        ];
        for (name, want) in cases {
            assert_eq!(preprocessed_suffix(OsStr::new(name)), want, "{name}");
            assert_eq!(is_source(OsStr::new(name)), want.is_some(), "{name}");
        }
    }

    #[test]
    fn every_language_has_a_preprocessed_name_that_is_understood() {
        for (_, kind) in LANGUAGES {
            let back = SourceKind::of_language(OsStr::new(kind.language.preprocessed_name()));
            assert_eq!(back, Some(output(kind.language)));
        }
        for local in
            ["none", "c-header", "c++-header", "assembler", "assembler-with-cpp", "go", "cuda", "f77"]
        {
            assert_eq!(SourceKind::of_language(OsStr::new(local)), None, "{local}");
        }
    }
}
