//! What PATH makes of compilers' names: links to distcc, ccache, the compilers themselves, and whether their order lets
//! work be distributed.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::check::Check;
use crate::client::settings::{Neighbours, Settings};
use crate::hosts::spec::Host;
use crate::sys::child;
use crate::sys::process::FileIdentity;

/// The names that builds call compilers by.
const NAMES: [&str; 6] = ["gcc", "g++", "cc", "c++", "clang", "clang++"];
/// Where packages put links to distcc.
const PACKAGED_LINKS: [&str; 2] = ["/usr/lib/distcc", "/usr/local/lib/distcc"];

/// What a program on PATH is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// This program.
    Distcc,
    /// A program called distcc that is not this one.
    OtherDistcc,
    /// ccache, under a compiler's name.
    Ccache,
    /// Anything else: the compiler, as far as anybody knows.
    Compiler,
}

/// A name, and what PATH has under it, in order.
#[derive(Debug)]
struct Found {
    name: &'static str,
    programs: Vec<(Kind, PathBuf)>,
}

impl Found {
    fn place_of(&self, kind: Kind) -> Option<usize> {
        self.programs.iter().position(|(found, _)| *found == kind)
    }

    fn directory_of(&self, kind: Kind) -> Option<&Path> {
        self.programs[self.place_of(kind)?].1.parent()
    }
}

/// The checks of PATH and of ccache.
pub(super) fn checks(settings: &Settings, neighbours: &Neighbours, hosts: &[Host], checks: &mut Vec<Check>) {
    let found: Vec<Found> = NAMES.iter().map(|name| look_up(name, &settings.search_path)).collect();
    checks.extend(masquerade(&found));
    checks.extend(ccache(&found, neighbours));
    if let Some(prefix) = &neighbours.ccache_prefix {
        checks.push(ccache_prefix(prefix, settings, neighbours, &found));
        if prefix_is_distcc(prefix) && hosts.iter().any(|host| host.pump) {
            let words =
                "ccache preprocesses by itself: with CCACHE_PREFIX=distcc, pump mode (,cpp) is of no use";
            checks.push(
                Check::warning("ccache", words).mended_by("take ,cpp off the hosts, or build without ccache"),
            );
        }
    }
}

fn look_up(name: &'static str, search_path: &OsStr) -> Found {
    let own = FileIdentity::of_own_executable();
    let kind = |path: &PathBuf| {
        let target = fs::canonicalize(path).unwrap_or_default();
        let file = target.file_name().unwrap_or_default().as_bytes();
        match () {
            () if own.is_some() && FileIdentity::of(path) == own => Kind::Distcc,
            () if file.starts_with(b"distcc") => Kind::OtherDistcc,
            () if file.starts_with(b"ccache") => Kind::Ccache,
            () => Kind::Compiler,
        }
    };
    let programs = child::candidates(OsStr::new(name), search_path).map(|path| (kind(&path), path)).collect();
    Found { name, programs }
}

/// Links to distcc come before the compilers, and have compilers behind them.
fn masquerade(found: &[Found]) -> Vec<Check> {
    let topic = "path";
    let mut checks = Vec::new();
    let names = |is: &dyn Fn(&Found) -> bool| {
        found.iter().filter(|found| is(found)).map(|found| found.name).collect::<Vec<_>>().join(", ")
    };
    let of_kind = |kind| found.iter().find_map(move |found| found.directory_of(kind));
    let others = names(&|found| found.programs.first().is_some_and(|(kind, _)| *kind == Kind::OtherDistcc));
    if let Some(directory) = of_kind(Kind::OtherDistcc).filter(|_| !others.is_empty()) {
        let words = format!("{others}: links in {} to a distcc that is not this one", directory.display());
        checks.push(Check::warning(topic, words).mended_by("ls -l on them, and keep one of the two"));
    }
    let Some(links) = of_kind(Kind::Distcc) else {
        if checks.is_empty() {
            let packaged = PACKAGED_LINKS.into_iter().find(|path| Path::new(path).is_dir());
            let links = packaged.unwrap_or("DIRECTORY-OF-LINKS");
            let words =
                "no links to distcc are on it: only commands that begin with `distcc' are distributed";
            let remedy = format!("export PATH={links}:$PATH   # or make CC='distcc gcc' CXX='distcc g++'");
            // It is one of the ways to work.
            checks.push(Check { remedy: Some(remedy), ..Check::good(topic, words) });
        }
        return checks;
    };
    let links = links.display();
    let late = names(&|found| {
        let compiler = found.place_of(Kind::Compiler);
        found.place_of(Kind::Distcc).is_some_and(|link| compiler.is_some_and(|compiler| compiler < link))
    });
    if !late.is_empty() {
        let words = format!(
            "the compilers come before distcc's links in {links}, so that these are not distributed: {late}"
        );
        checks.push(Check::warning(topic, words).mended_by(format!("export PATH={links}:$PATH")));
    }
    let alone =
        names(&|found| found.place_of(Kind::Distcc).is_some() && found.place_of(Kind::Compiler).is_none());
    if !alone.is_empty() {
        let words = format!("links to distcc without a compiler of that name behind them: {alone}");
        checks.push(
            Check::warning(topic, words)
                .mended_by(format!("rm the links in {links}, or install the compilers")),
        );
    }
    if checks.is_empty() {
        let linked = names(&|found| found.place_of(Kind::Distcc).is_some());
        checks.push(Check::good(topic, format!("{links} stands in for {linked}")));
    }
    checks
}

/// ccache comes before distcc, which compiles what it misses.
fn ccache(found: &[Found], neighbours: &Neighbours) -> Option<Check> {
    let nested =
        |found: &&Found| found.place_of(Kind::Ccache).is_some() && found.place_of(Kind::Distcc).is_some();
    let both = found.iter().find(nested)?;
    let (cache, distcc) =
        (both.directory_of(Kind::Ccache)?.display(), both.directory_of(Kind::Distcc)?.display());
    if neighbours.ccache_is_off {
        return Some(Check::good("ccache", "is switched off (CCACHE_DISABLE)"));
    }
    Some(if both.place_of(Kind::Ccache) < both.place_of(Kind::Distcc) {
        Check::good("ccache", format!("{cache} comes before {distcc}: what it misses is distributed"))
    } else {
        let words = format!(
            "distcc's links in {distcc} come before ccache's in {cache}: nothing is looked up in the cache"
        );
        Check::warning("ccache", words).mended_by(format!("export PATH={cache}:$PATH"))
    })
}

fn prefix_is_distcc(prefix: &OsStr) -> bool {
    prefix.as_bytes().split(u8::is_ascii_whitespace).any(|word| {
        Path::new(OsStr::from_bytes(word))
            .file_name()
            .is_some_and(|name| name.as_bytes().starts_with(b"distcc"))
    })
}

fn ccache_prefix(prefix: &OsStr, settings: &Settings, neighbours: &Neighbours, found: &[Found]) -> Check {
    let program =
        prefix.as_bytes().split(u8::is_ascii_whitespace).find(|word| !word.is_empty()).unwrap_or_default();
    let text = format!("CCACHE_PREFIX={}", prefix.display());
    if child::candidates(OsStr::from_bytes(program), &settings.search_path).next().is_none() {
        return Check::warning("ccache", format!("{text}: no such program is on PATH, and ccache fails"))
            .mended_by("export CCACHE_PREFIX=distcc");
    }
    if !prefix_is_distcc(prefix) {
        return Check::warning("ccache", format!("{text}: what ccache misses is not given to distcc"))
            .mended_by("export CCACHE_PREFIX=distcc");
    }
    let is_nested = |found: &Found| {
        let (cache, link) = (found.place_of(Kind::Ccache), found.place_of(Kind::Distcc));
        cache.is_some() && link.is_some() && cache < link
    };
    if found.iter().any(is_nested) && !neighbours.ccache_is_off {
        let words = format!("{text}, and distcc's links behind ccache's: either alone is enough");
        return Check::warning("ccache", words).mended_by("unset CCACHE_PREFIX");
    }
    Check::good("ccache", format!("{text}: what ccache misses is distributed"))
}
