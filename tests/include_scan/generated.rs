//! Trees and texts made at random: whatever gcc reads is in the answer, and an answer that builds on earlier ones is
//! the one that a new scanner gives.
//!
//! A failure names its seed. `INCLUDE_SCAN_ROUNDS=5000 INCLUDE_SCAN_SEED=1 cargo test --test include_scan generated`
//! looks further, from that seed on.

use std::collections::BTreeSet;
use std::fs;

use distcc::include_scan::{CannotAnalyse, Closure, Scanner};

use crate::numbers::Numbers;
use crate::trees::*;

const PLACES: [&str; 5] = ["", "i/", "j/", "q/", "k/"];
const NAMES: [&str; 5] = ["a.h", "b.h", "c.h", "s/a.h", "s/b.h"];

/// The seeds to try: so many in the usual run.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let first = number("INCLUDE_SCAN_SEED").unwrap_or(1);
    first..first + number("INCLUDE_SCAN_ROUNDS").unwrap_or(usual)
}

/// A random file. Every file is guarded, so that circles end, and the guard of a file is a number of inclusions.
fn random_text(numbers: &mut Numbers, name: &str) -> String {
    const NAMED: [&str; 9] = ["a.h", "b.h", "c.h", "s/a.h", "s/b.h", "s/../c.h", "../a.h", "./b.h", "l/a.h"];
    let guard = name.replace(|byte: char| !byte.is_ascii_alphanumeric(), "_");
    let mut text = format!("#ifndef G_{guard}\n#define G_{guard}\n");
    for _ in 0..numbers.below(5) {
        let file = numbers.pick(&NAMED);
        let number = numbers.below(3);
        let line = match numbers.below(17) {
            0 | 1 => format!("#include <{file}>\n"),
            2 | 3 => format!("  # /* {file} */ include \"{file}\" // c\n"),
            4 => format!("#include_next <{file}>\n"),
            5 => format!("#define M <{file}>\n#include M\n#undef M\n"),
            6 => format!("#define P(x) #x\n#define M P({file})\n#include M\n#undef M\n#undef P\n"),
            7 => format!("#if __has_include(<{file}>)\n#include <{file}>\n#endif\n"),
            8 => format!("#ifdef G_{guard}x\n#include \"none.h\"\n#else\n%:include \"{file}\"\n#endif\n"),
            9 => format!(
                "const char s_{guard}[] = \"/*\\\"\"; /* '\n*/ #inc\\\nlude \"{file}\"\n#inc\\\nlude <{file}>\n"
            ),
            10 => format!("#define D_{number} <{file}>\n"),
            11 => format!("#ifdef D_{number}\n#include D_{number}\n#undef D_{number}\n#endif\n"),
            12 => format!("#if __has_include_next(\"{file}\")\n#include_next \"{file}\"\n#endif\n"),
            13 => {
                let stem = file.strip_suffix(".h").unwrap();
                format!(
                    "#define J(x, y) J_(x, y)\n#define J_(x, y) <x ## y>\n#if 0\n#endif\n#define S(x) #x\n#define T(x) S(x.h)\n#include T({stem})\n#undef S\n#undef T\n#undef J\n#undef J_\n"
                )
            }
            14 => format!("#if __has_include(\"{file}\") // '\n# import \"{file}\"\n#endif\n"),
            15 => format!("#pragma GCC dependency \"{file}\"\n"),
            _ => format!(
                "#if defined A_{number}\n#define D_{number} \"{file}\"\n#else\n#define A_{number}\n#include \"{file}\"\n#endif\n"
            ),
        };
        text += &line;
    }
    text + "#endif\n"
}

fn random_tree(numbers: &mut Numbers) -> Tree {
    let tree = Tree::new(&[("i/s/", ""), ("j/", ""), ("s/", ""), ("q/s/", ""), ("k/s/", "")]);
    for place in PLACES {
        for name in NAMES {
            let path = format!("{place}{name}");
            match numbers.below(8) {
                0..=3 => tree.write(&path, &random_text(numbers, &path)),
                4 if place != "k/" => tree.write(&format!("{path} -> ROOT/k/{name}"), ""),
                _ => {}
            }
        }
        if numbers.below(3) == 0 {
            tree.write(&format!("{place}l -> {}", numbers.pick(&["s", "ROOT/k/s", "../j", "none"])), "");
        }
    }
    // Everything can be found at the end of the path, so that most trees compile.
    for name in NAMES.into_iter().chain(["l/a.h"]) {
        tree.write(&format!("last/{name}"), "");
    }
    tree.write("main.c", &random_text(numbers, "main.c"));
    tree
}

/// Something that a build, an editor or a version control program might do.
fn random_change(numbers: &mut Numbers, tree: &Tree) {
    let path = format!("{}{}", numbers.pick(&PLACES), numbers.pick(&NAMES));
    let on_disk = tree.root.join(&path);
    match numbers.below(6) {
        0 => drop(fs::remove_file(&on_disk)),
        1 => {
            let _ = fs::remove_file(&on_disk);
            tree.write(&format!("{path} -> ROOT/last/{}", numbers.pick(&NAMES)), "");
        }
        2 => {
            tree.write("new", &random_text(numbers, &path));
            if on_disk.parent().is_some_and(|parent| parent.is_dir()) {
                fs::rename(tree.root.join("new"), &on_disk).unwrap();
            }
        }
        3 => {
            let place = numbers.pick(&["i", "j", "q"]);
            let from = tree.root.join(place);
            if fs::rename(&from, tree.root.join("moved")).is_err() {
                return;
            }
            if numbers.below(2) == 0 {
                tree.write(&format!("{place} -> k"), "");
            } else {
                tree.write(&format!("{place}/b.h"), "");
            }
        }
        // A file that is a link is written through it.
        _ if on_disk.exists() || fs::symlink_metadata(&on_disk).is_err() => {
            tree.write(&path, &random_text(numbers, &path));
        }
        _ => {}
    }
}

/// All of an answer but the order, and the numbers of readings.
fn content(closure: &Closure) -> impl PartialEq + std::fmt::Debug {
    let files: BTreeSet<_> = closure.files.iter().map(|file| (&file.real, file.modified)).collect();
    let links: BTreeSet<_> = closure.links.iter().map(|link| (&link.path, &link.target)).collect();
    let directories: BTreeSet<_> = closure.directories.iter().collect();
    let headers: BTreeSet<_> =
        closure.system_headers.iter().map(|header| (&header.name, header.fingerprint)).collect();
    format!("{files:#?}\n{links:#?}\n{directories:#?}\n{headers:?}")
}

#[test]
fn random_trees_are_covered_whatever_is_done_to_them() {
    const COMMANDS: [&str; 5] = [
        "clang -c -Ii -iquote q -isystem j -idirafter last -Ik main.c",
        "gcc -c -Ii -iquote q -isystem j -idirafter last -Ik main.c",
        "gcc -c -Ij -I. -Ilast -include a.h main.c",
        "gcc -c -iquote. -Ii/s/.. -isystem i -Ilast main.c",
        "gcc -c -Il -Ij/l/ -Ii -Iq/../k -Ilast -imacros s/b.h main.c",
    ];
    let (mut compiled, mut tried) = (0, 0);
    for seed in seeds(60) {
        let mut numbers = Numbers::of(seed);
        let tree = random_tree(&mut numbers);
        let command = numbers.pick(&COMMANDS);
        if !has(command.split(' ').next().unwrap()) {
            continue;
        }
        let mut scanner = Scanner::new();
        for round in 0..3 {
            let want = tree.oracle(command, &[]);
            if numbers.below(8) == 0 {
                settle();
            }
            let answer = tree.scan(&mut scanner, command);
            let fresh = tree.scan(&mut Scanner::new(), command);
            let shown = |answer: &Result<std::sync::Arc<Closure>, CannotAnalyse>| {
                answer
                    .as_ref()
                    .map_err(CannotAnalyse::to_string)
                    .map(|closure| format!("{:?}", content(closure)))
            };
            assert_eq!(
                shown(&answer),
                shown(&fresh),
                "seed {seed} round {round}: {command}: not what a new scanner says"
            );
            tried += 1;
            if let Some(want) = want {
                compiled += 1;
                let closure = answer.unwrap_or_else(|why| panic!("seed {seed}: {why}"));
                let found = tree.names(&closure);
                let missing: Vec<_> = want.difference(&found).collect();
                assert!(
                    missing.is_empty(),
                    "seed {seed} round {round}: {command}: {missing:?} missing in {found:?}"
                );
                if numbers.below(4) == 0 {
                    let again = recreate(&tree, &closure).oracle(command, &[]);
                    assert_eq!(
                        again,
                        Some(want),
                        "seed {seed} round {round}: {command}: a copy reads other files"
                    );
                }
            }
            for _ in 0..=numbers.below(3) {
                random_change(&mut numbers, &tree);
            }
        }
    }
    assert!(compiled > tried / 4, "only {compiled} of {tried} compile: the generator has lost its use");
}

/// Text in which everything that begins, ends, hides or continues something meets everything else.
fn random_soup(numbers: &mut Numbers) -> String {
    const PIECES: [&str; 42] = [
        "#",
        "%:",
        "??=",
        "include",
        "inc\\\nlude",
        "import",
        "define",
        "X",
        "\"a.h\"",
        "<b.h>",
        "\"",
        "'",
        "\\",
        "\\\n",
        "??/\n",
        "/*",
        "*/",
        "*",
        "/",
        "//",
        "\n",
        "\n",
        "\n",
        " ",
        "\t",
        "R\"(",
        ")\"",
        "R\"x(",
        ")x\"",
        "u8R",
        "'\\''",
        "1'0",
        "'a'",
        "\"\\\"\"",
        "\\\\",
        "\r\n",
        "if 0",
        "endif",
        "pragma",
        "L",
        "\\ \n",
        "0x1'",
    ];
    let mut text = String::new();
    for _ in 0..numbers.below(12) {
        for _ in 0..numbers.below(10) {
            text += numbers.pick(&PIECES);
        }
        text += &format!("\n#include \"{}\"\n", numbers.pick(&["a.h", "b.h", "c.h"]));
    }
    text
}

#[test]
fn no_text_hides_a_directive() {
    const COMMANDS: [&str; 7] = [
        "gcc -c -I. a.c",
        "gcc -c -I. -std=c99 a.c",
        "g++ -c -I. -xc++ a.c",
        "gcc -c -I. -trigraphs a.c",
        "clang -c -I. a.c",
        "clang -c -I. -std=c99 a.c",
        "clang++ -c -I. -xc++ a.c",
    ];
    let tree = Tree::new(&[("a.h", ""), ("b.h", ""), ("c.h", "")]);
    let mut scanner = Scanner::new();
    let (mut compiled, mut tried) = (0, 0);
    for seed in seeds(120) {
        let mut numbers = Numbers::of(seed);
        let text = random_soup(&mut numbers);
        tree.write("a.c", &text);
        let command = numbers.pick(&COMMANDS);
        if !has(command.split(' ').next().unwrap()) {
            continue;
        }
        tried += 1;
        let closure = tree.scan(&mut scanner, command).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        let Some(want) = tree.oracle(command, &[]) else { continue };
        compiled += 1;
        let found = tree.names(&closure);
        let missing: Vec<_> = want.difference(&found).collect();
        assert!(missing.is_empty(), "seed {seed}: {command}: {missing:?} missing\n{text}");
    }
    assert!(compiled > tried / 8, "only {compiled} of {tried} compile: the generator has lost its use");
}
