//! Whatever changes between two questions is seen, and nothing is read twice.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use distcc::include_scan::{Closure, Scanner};

use crate::trees::*;

#[test]
fn every_change_between_two_questions_is_seen() {
    let command = "gcc -c -Ii -Ij a.c";
    let files = [
        ("a.c", "#include <b.h>\n#include \"c.h\"\n"),
        ("i/x", ""),
        ("j/b.h", ""),
        ("c.h", ""),
        ("d/c.h", ""),
        ("e.h", ""),
    ];
    let changes: [(&str, Change); 10] = [
        ("edited", |tree| tree.write("j/b.h", "#include \"../e.h\"\n")),
        ("edited to the same length", |tree| tree.write("a.c", "#include <b.h>\n#include \"e.h\"\n")),
        ("created earlier in the path", |tree| tree.write("i/b.h", "#include_next <b.h>\n")),
        ("deleted", |tree| {
            tree.write("i/b.h", "");
            tree.remove("j/b.h");
        }),
        ("replaced by a link", |tree| {
            tree.remove("c.h");
            tree.write("c.h -> d/c.h", "");
        }),
        ("a link led elsewhere", |tree| {
            tree.remove("c.h");
            tree.write("c.h -> e.h", "");
        }),
        ("a search directory replaced", |tree| {
            fs::rename(tree.root.join("j"), tree.root.join("k")).unwrap();
            tree.write("j/b.h", "#include \"../e.h\"\n");
        }),
        ("a search directory became a link", |tree| {
            fs::rename(tree.root.join("j"), tree.root.join("k")).unwrap();
            tree.write("j -> k", "");
        }),
        ("a search directory appeared", |tree| {
            fs::remove_dir_all(tree.root.join("i")).unwrap();
            tree.write("i/b.h", "#include <../e.h>\n");
        }),
        ("replaced by rename", |tree| {
            tree.write("new", "#include \"d/c.h\"\n");
            fs::rename(tree.root.join("new"), tree.root.join("c.h")).unwrap();
        }),
    ];
    // Fresh files are not trusted at all; files that have settled are the harder case.
    for settled in [false, true] {
        for (what, change) in &changes {
            let tree = Tree::new(&files);
            let mut scanner = Scanner::new();
            if settled {
                settle();
            }
            tree.scan(&mut scanner, command).unwrap();
            tree.scan(&mut scanner, command).unwrap();
            change(&tree);
            let want = tree.oracle(command, &[]);
            let closure = tree.scan(&mut scanner, command).unwrap();
            let found = tree.names(&closure);
            let want = want.unwrap_or_else(|| panic!("{what}: the compiler fails"));
            assert!(want.is_subset(&found), "{what}: {want:?} is not in {found:?}");
            assert_eq!(found, tree.names(&tree.scan(&mut Scanner::new(), command).unwrap()), "{what}: stale");
        }
    }
}

#[test]
fn nothing_is_read_twice() {
    let tree = Tree::new(&[
        ("a.c", "#include <stdio.h>\n#include \"b.h\"\n"),
        ("b.h", ""),
        ("c.c", "#include \"b.h\"\n"),
    ]);
    settle();
    let mut scanner = Scanner::new();
    tree.scan(&mut scanner, "gcc -c a.c").unwrap();
    let first = scanner.counters();
    tree.scan(&mut scanner, "gcc -c a.c").unwrap();
    assert_eq!(scanner.counters().reads, first.reads);
    tree.scan(&mut scanner, "gcc -c c.c").unwrap();
    assert_eq!(scanner.counters().reads, first.reads + 1);
}

#[test]
fn what_was_read_is_known_by_its_number() {
    let tree = Tree::new(&[
        ("a.c", "#include \"b.h\"\nasm(\".incbin \\\"c.bin\\\"\");\n"),
        ("b.h", ""),
        ("c.bin", "x"),
    ]);
    settle();
    let mut scanner = Scanner::new();
    let mut scan = || tree.scan(&mut scanner, "gcc -c a.c").unwrap();
    let first = scan();
    let again = scan();
    assert_eq!(first.files, again.files, "nothing has changed");
    assert!(Arc::ptr_eq(&again, &scan()), "an answer that holds is the same answer");
    for file in &first.files {
        let metadata = fs::metadata(&file.real).unwrap();
        assert_eq!(file.modified, (metadata.mtime(), metadata.mtime_nsec() as u32));
        assert_eq!(file.read().unwrap(), Some(fs::read(&file.real).unwrap()));
    }
    for name in ["b.h", "c.bin"] {
        let before = scan();
        tree.write(name, "/* y */");
        let of =
            |closure: &Closure| closure.files.iter().find(|file| file.real.ends_with(name)).unwrap().clone();
        assert_eq!(of(&before).read().unwrap(), None, "{name} has changed");
        let after = scan();
        assert_ne!(of(&before).content, of(&after).content, "{name}");
        assert_eq!(of(&after).read().unwrap(), Some(b"/* y */".to_vec()));
        tree.remove(name);
        assert_eq!(of(&after).read().unwrap(), None, "{name} is gone");
        tree.write(name, "");
        settle();
    }
}
