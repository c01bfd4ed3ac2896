//! Jobs whose files were unpacked below a private directory: object, dependency file and messages must be those of a
//! compilation at the client's own paths. Both are made here, by the same compiler, and compared byte for byte.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use distcc::compiler_args::{self, PathMaps, Unpacked, clean_dependencies, clean_messages};
use distcc::daemon::debug_info::hide_root;
use distcc::sys::temp::TempDir;

const SEARCH_PATH: &str = "/usr/bin:/bin";

const FILES: [(&str, &str); 6] = [
    (
        "inc/h.h",
        "#include <assert.h>\n#define CHECK(x) assert(x)\n\
         static inline int twice(int a) { CHECK(a != 5); int unused; return a * 2; }\n",
    ),
    ("sys/s.h", "static inline const char *where(void) { return __FILE__; }\n"),
    ("src/sub/l.h", "struct L { int a, b; };\nstatic int first(struct L *l) { return l->a; }\n"),
    ("src/sub/l.c", "#include \"l.h\"\nint f(struct L *l) { return first(l); }\n"),
    (
        "src/a.c",
        "#include <stdio.h>\n#include \"h.h\"\n#include \"sub/l.h\"\n#include <s.h>\n\
         const char *file = __FILE__;\n#pragma message \"hello\"\n\
         int foo(int x) { struct L l = {x, 2}; puts(where()); return twice(x) + first(&l); }\n\
         #line 40 \"/home/generated/x.y\"\nint bar(int x) { int unused; return foo(x); }\n",
    ),
    (
        "src/b.cc",
        "#include <vector>\n#include \"h.h\"\n\
         #if __cplusplus >= 202002L && !defined __clang__\n#include <source_location>\n\
         const char *here() { return std::source_location::current().file_name(); }\n#endif\n\
         namespace { struct A { A() { twice(1); } } a; }\nstd::vector<int> v;\n",
    ),
];

/// The same files twice: at the client's paths, and at those paths below the root.
struct Trees {
    _directory: TempDir,
    client: PathBuf,
    root: PathBuf,
}

/// What a compilation made.
#[derive(Debug)]
struct Made {
    is_success: bool,
    object: Vec<u8>,
    dependencies: Vec<u8>,
    messages: String,
}

impl Trees {
    /// `depth` is the length of a directory's name that all client paths have in them.
    fn new(depth: usize) -> Trees {
        let directory = TempDir::create(&std::env::temp_dir(), "unpacked", false).unwrap();
        let top = fs::canonicalize(directory.path()).unwrap();
        let client = top.join("u".repeat(depth)).join("p");
        let root = top.join("distccd 1a$b#3c");
        for tree in [client.clone(), below(&root, &client)] {
            fs::create_dir_all(tree.join("build")).unwrap();
            for (name, text) in FILES {
                fs::create_dir_all(tree.join(name).parent().unwrap()).unwrap();
                fs::write(tree.join(name), text).unwrap();
            }
        }
        Trees { _directory: directory, client, root }
    }

    /// A command with `DIR` in place of the client's directory.
    fn argv(&self, command: &str) -> Vec<OsString> {
        let client = self.client.to_str().unwrap();
        command.split_whitespace().map(|word| word.replace("DIR", client).into()).collect()
    }

    fn at_client(&self, command: &str) -> Made {
        let directory = self.client.join("build");
        let (is_success, messages) = run(&self.argv(command), &directory);
        let take = |name: &str| {
            let content = fs::read(directory.join(name)).unwrap_or_default();
            let _ = fs::remove_file(directory.join(name));
            content
        };
        Made { is_success, object: take("a.o"), dependencies: take("a.d"), messages: text(&messages) }
    }

    fn below_root(&self, command: &str, maps: PathMaps) -> Made {
        let object = self.root.join("distccd.o");
        let dependencies = self.root.join("distccd.d");
        let place = Unpacked {
            root: self.root.as_os_str(),
            object: object.as_os_str(),
            dependencies: dependencies.as_os_str(),
            maps,
            brought: &|path| below(&self.root, Path::new(path)).exists(),
        };
        let argv = compiler_args::check(&self.argv(command)).unwrap().pump_command(&place).unwrap();
        let (is_success, messages) = run(&argv, &below(&self.root, &self.client).join("build"));
        let root = self.root.as_os_str().as_bytes();
        let take = |path: &Path| {
            let content = fs::read(path).unwrap_or_default();
            let _ = fs::remove_file(path);
            content
        };
        let dependencies = clean_dependencies(&take(&dependencies), root);
        let messages = text(&clean_messages(&messages, root));
        Made { is_success, object: take(&object), dependencies, messages }
    }

    /// An object of a compiler that is told of no map. It needs no header of the system.
    fn unmapped(&self, command: &str) -> Vec<u8> {
        let command = format!("{command} -c ../src/sub/l.c -o a.o");
        let made = self.below_root(&command, PathMaps::Unknown);
        assert!(made.is_success, "{command}: {}", made.messages);
        made.object
    }

    #[track_caller]
    fn compare(&self, command: &str) -> (Made, Made) {
        let maps = maps_of(command.split(' ').next().unwrap());
        let (local, made) = (self.at_client(command), self.below_root(command, maps));
        assert_eq!(local.messages, made.messages, "{command}");
        assert_eq!(local.is_success, made.is_success, "{command}: {}", local.messages);
        if command.contains("-MD") || command.contains("-MMD") {
            assert_eq!(text(&local.dependencies), text(&made.dependencies), "{command}");
        }
        (local, made)
    }

    #[track_caller]
    fn check_identical(&self, command: &str) {
        let (local, made) = self.compare(command);
        assert!(local.is_success, "{command}: {}", local.messages);
        assert!(!local.object.is_empty(), "{command}");
        assert!(local.object == made.object, "{command}: the objects differ");
    }
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn run(argv: &[OsString], directory: &Path) -> (bool, Vec<u8>) {
    let output = Command::new(&argv[0])
        .args(&argv[1..])
        .current_dir(directory)
        .env_clear()
        .envs([("PATH", SEARCH_PATH), ("LC_ALL", "C")])
        .env("PWD", directory)
        .output()
        .unwrap_or_else(|error| panic!("run {}: {error}", argv[0].display()));
    (output.status.success(), output.stderr)
}

fn maps_of(compiler: &str) -> PathMaps {
    let words = [compiler, "-E", "-dM", "-x", "c", "/dev/null"];
    PathMaps::of_macros(&Command::new(words[0]).args(&words[1..]).output().unwrap().stdout)
}

const INCLUDES: [&str; 2] = ["-I../inc -isystem ../sys", "-IDIR/inc -isystem DIR/sys"];

#[test]
fn objects_are_identical_with_debug_information_of_all_kinds() {
    let trees = Trees::new(9);
    let debug = [
        "-Wall",
        "-g -Wall -Wextra",
        "-g3 -O2",
        "-g -gdwarf-4",
        "-g -gz",
        "-g -S",
        "-g1 -ffunction-sections",
    ];
    for compiler in ["gcc", "clang"] {
        for options in debug {
            for (source, includes) in [("../src/a.c", INCLUDES[0]), ("../src/a.c", INCLUDES[1])] {
                trees.check_identical(&format!(
                    "{compiler} {options} {includes} -MD -MF a.d -c {source} -o a.o"
                ));
            }
            // gcc's older line tables name an absolute source twice if there is a map.
            let command = format!("{compiler} {options} {} -MD -MF a.d -c DIR/src/a.c -o a.o", INCLUDES[1]);
            if compiler == "gcc" && options.contains("-gdwarf-4") {
                let (_, mut made) = trees.compare(&command);
                let patched = hide_root(&mut made.object, trees.root.as_os_str().as_bytes());
                assert_eq!((patched.replaced, patched.remaining), (0, 0));
            } else {
                trees.check_identical(&command);
            }
        }
        trees.check_identical(&format!(
            "{compiler} -g3 -O2 -S -gdwarf-5 {} -c ../src/a.c -o a.o",
            INCLUDES[1]
        ));
    }
    for compiler in ["g++", "clang++"] {
        for source in ["../src/b.cc", "DIR/src/b.cc"] {
            trees.check_identical(&format!(
                "{compiler} -std=c++20 -g -IDIR/inc -MMD -MF a.d -c {source} -o a.o"
            ));
        }
    }
}

#[test]
fn maps_of_the_user_have_the_effect_they_have_at_home() {
    let trees = Trees::new(9);
    let top = trees.client.parent().unwrap().parent().unwrap().to_str().unwrap().to_owned();
    let maps = [
        "-ffile-prefix-map=DIR=.",
        "-fdebug-prefix-map=DIR=.",
        "-fmacro-prefix-map=DIR=M",
        "-ffile-prefix-map=DIR=A -ffile-prefix-map=DIR/src=B",
        "-ffile-prefix-map=DIR/src=B -ffile-prefix-map=DIR=A",
        "-ffile-prefix-map=DIR=A -fdebug-prefix-map=DIR/src=B",
        "-fdebug-prefix-map=DIR/src=B -ffile-prefix-map=DIR=A",
        "-fmacro-prefix-map=DIR=M -ffile-prefix-map=DIR=F",
        "-ffile-prefix-map=DIR=F -fmacro-prefix-map=DIR=M",
        "-fdebug-prefix-map=DIR/build=/elsewhere",
        "-ffile-prefix-map=TOP=/top",
        "-ffile-prefix-map=/usr/include=/headers",
        "-ffile-prefix-map=/=/all/",
        "-ffile-prefix-map=..=/relative",
    ];
    for compiler in ["gcc", "clang"] {
        for map in maps {
            let map = map.replace("TOP", &top);
            for source in ["../src/a.c", "DIR/src/a.c"] {
                trees.check_identical(&format!("{compiler} -g {map} {} -c {source} -o a.o", INCLUDES[1]));
            }
        }
    }
}

/// Hundreds of names of all lengths, some to be quoted: if a compiler's way to count were not met, one of them would
/// stand on the wrong line.
#[test]
fn dependency_files_break_their_lines_where_the_compiler_does() {
    for depth in [1, 10, 40] {
        let trees = Trees::new(depth);
        let name = |number: usize| match number % 4 {
            0 => format!("a b#{number}.h"),
            _ => format!("{}{number}.h", "n".repeat(number * 7 % 23)),
        };
        let source: String = (0..300).map(|number| format!("#include \"{}\"\n", name(number))).collect();
        for tree in [trees.client.clone(), below(&trees.root, &trees.client)] {
            fs::write(tree.join("src/many.c"), &source).unwrap();
            for number in 0..300 {
                fs::write(tree.join("inc").join(name(number)), "").unwrap();
            }
        }
        for (compiler, options) in
            [("gcc", "-MD -MP"), ("gcc", "-MMD -MT x -MQ a$b"), ("clang", "-MD -MP"), ("clang", "-MMD")]
        {
            for include in ["-I../inc", "-IDIR/inc"] {
                let command = format!("{compiler} {options} -MF a.d {include} -c DIR/src/many.c -o a.o");
                let (local, _) = trees.compare(&command);
                assert!(local.is_success, "{command}: {}", local.messages);
            }
        }
    }
}

#[test]
fn errors_are_identical() {
    let trees = Trees::new(9);
    for compiler in ["gcc", "clang"] {
        for options in ["-include DIR/inc/h.h -Dx=(", "-Dtwice=( -Wall", "-Werror -Wall -IDIR/inc"] {
            for includes in INCLUDES {
                let command = format!("{compiler} {options} {includes} -c DIR/src/a.c -o a.o");
                let (local, _) = trees.compare(&command);
                assert!(!local.is_success && !local.messages.is_empty(), "{command}");
            }
        }
    }
}

/// A compiler without maps: what is left is debug information with slashes in place of the root.
#[test]
fn objects_of_old_compilers_are_patched() {
    let trees = Trees::new(9);
    let root = trees.root.as_os_str().as_bytes();
    let commands = [
        "gcc -g",
        "gcc -g3 -gdwarf-4",
        "clang -g",
        "clang -g -gdwarf-4",
        "clang -g --target=powerpc-linux-gnu",
        "clang -g --target=s390x-linux-gnu",
        "clang -g --target=armv7-linux-gnu",
    ];
    for command in commands {
        let mut object = trees.unmapped(command);
        let before = debug_information(&trees, &object);
        let patched = hide_root(&mut object, root);
        assert!(patched.replaced > 0, "{command}: {patched:?}");
        assert!(patched.remaining == 0 && !patched.compressed_skipped, "{command}: {patched:?}");
        let padded = text(&vec![b'/'; root.len()]);
        assert_eq!(debug_information(&trees, &object), before.replace(&text(root), &padded), "{command}");
    }
    for command in ["gcc -g -gz=zlib", "gcc -g -gz=zlib-gnu"] {
        assert!(hide_root(&mut trees.unmapped(command), root).compressed_skipped, "{command}");
    }
}

/// What readelf says about an object's debug information.
fn debug_information(trees: &Trees, object: &[u8]) -> String {
    let path = trees.root.join("dump.o");
    fs::write(&path, object).unwrap();
    let mut command = Command::new("readelf");
    command
        .args(["-W", "--debug-dump=info,decodedline,rawline,macro"])
        .arg("dump.o")
        .current_dir(&trees.root);
    let output = command.output().unwrap();
    assert_eq!(text(&output.stderr), "");
    text(&output.stdout)
}
