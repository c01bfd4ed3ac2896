//! What a job may look up in the compiler's own directories is listed, with what is there.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use distcc::checksum;
use distcc::include_scan::{Closure, IncludeVariables, Scanner};
use distcc::protocol::surroundings::fingerprint;

use crate::trees::*;

/// A compiler whose own directories are ROOT/sys and ROOT/more, called cc.
fn own_compiler(tree: &Tree) {
    let script = "#!/bin/sh\nexec gcc -nostdinc -isystem ROOT/sys -isystem ROOT/more \"$@\"\n";
    tree.write("cc", script);
    fs::set_permissions(tree.root.join("cc"), fs::Permissions::from_mode(0o755)).unwrap();
}

/// What would be compared with a server, by name: a checksum for each directory, `-` where there is no such file.
fn headers(closure: &Closure) -> BTreeMap<String, String> {
    let mut shown = BTreeMap::new();
    for header in &closure.system_headers {
        let name = str::from_utf8(&header.name).unwrap();
        let contents = closure.header_directories.iter().map(|directory| fs::read(directory.join(name)).ok());
        let sums: Vec<_> = contents.map(|content| content.map(|bytes| checksum::crc32(&bytes))).collect();
        assert_eq!(header.fingerprint, fingerprint(sums.iter().copied()), "{name}");
        let text = sums.iter().map(|sum| sum.map_or_else(|| "-".to_owned(), |sum| format!("{sum:x}")));
        let known = shown.insert(name.to_owned(), text.collect::<Vec<_>>().join(" "));
        assert_eq!(known, None, "{name} is listed twice");
    }
    shown
}

#[test]
fn names_that_are_looked_up_in_system_directories_are_known() {
    let tree = Tree::new(&[
        (
            "a.c",
            "#include <x.h>\n#ifdef NO\n#include <none.h>\n#endif\n#if __has_include(<asked.h>)\n#endif\n\
             #include \"own.h\"\n#define C <sub/c.h>\n#include C\n#include \"both.h\"\n#include <p.h>\n",
        ),
        ("own.h", ""),
        ("i/both.h", ""),
        ("sys/x.h", "#include \"bits/y.h\"\n#include \"./bits/../z.h\"\n"),
        ("sys/bits/y.h", "#include \"w.h\"\n#include <x.h>\n"),
        ("sys/bits/w.h", ""),
        ("sys/z.h", ""),
        ("sys/pkg/p.h", "#include \"q.h\"\n"),
        ("sys/both.h", ""),
        ("more/x.h", "shadowed"),
        ("more/q.h", ""),
        ("more/sub/c.h", ""),
    ]);
    own_compiler(&tree);
    let mut scanner = Scanner::new();
    let compiler = tree.root.join("cc");
    let argv = tree.argv("cc -c -Ii -Isys/pkg a.c");
    let mut scan =
        || scan_by(&mut scanner, &compiler, &argv, &tree.root, &IncludeVariables::default()).unwrap();
    let closure = scan();
    let below = |path: &Path| path.strip_prefix(&tree.root).unwrap().to_str().unwrap().to_owned();
    let directories: Vec<String> = closure.header_directories.iter().map(|path| below(path)).collect();
    assert_eq!(directories, ["sys/pkg", "sys", "more"]);
    assert_eq!(tree.names(&closure), ["a.c", "i/both.h", "own.h"].map(String::from).into());
    let names = headers(&closure).into_keys().collect::<Vec<_>>();
    // "both.h" is found before the system's.
    let want = ["asked.h", "bits/w.h", "bits/y.h", "none.h", "p.h", "q.h", "sub/c.h", "x.h", "z.h"];
    assert_eq!(names, want);
    // Files that servers have must be found to have changed as all others.
    let changes: [(&str, Change); 4] = [
        ("x.h", |tree| {
            tree.remove("more/x.h");
            tree.write("more/x.h", "other");
        }),
        ("none.h", |tree| tree.write("more/none.h", "")),
        ("asked.h", |tree| tree.write("sys/asked.h", "#include <none.h>\n")),
        ("bits/w.h", |tree| tree.remove("sys/bits/w.h")),
    ];
    for (name, change) in changes {
        settle();
        let before = headers(&scan());
        assert_eq!(before, headers(&scan()));
        change(&tree);
        let after = headers(&scan());
        assert_ne!(before[name], after[name], "{name}");
    }
}

#[test]
fn a_source_among_the_compilers_own_files_is_not_sent() {
    let tree = Tree::new(&[("sys/a.c", ""), ("more/", "")]);
    own_compiler(&tree);
    let argv = tree.argv("cc -c sys/a.c");
    let compiler = tree.root.join("cc");
    let why = scan_by(&mut Scanner::new(), &compiler, &argv, &tree.root, &IncludeVariables::default());
    assert!(why.unwrap_err().to_string().ends_with("one of the compiler's own files"));
}
