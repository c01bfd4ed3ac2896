//! clang elsewhere says and makes what clang says and makes here: messages, columns and macros as in the source.
//!
//! One table of commands, each run locally and through distcc with our server and that of 3.4.

mod support;

use support::{Daemon, Outcome, Sandbox, require, wait_until};

const SOURCES: &[(&str, &str)] = &[
    ("once.h", "#pragma once\n#define ONE(x) ((x) == 1)\nstatic inline int once(int a) { return ONE(a); }\n"),
    ("im.h", "#define IMPORTED 3\n"),
    (
        "macros.c",
        "#include <assert.h>\n#include <limits.h>\n#include \"once.h\"\n#include \"once.h\"\n\
         #define CALL(a) a\n#define TEXT(x) #x\n\
         int f(int a) { int unused; if ONE(a) return 1; assert((a == 2)); return CALL(a\n#ifdef MORE\n\
         + MORE\n#else\n+ 1\n#endif\n) + __COUNTER__ + (a = once(a)); }\n\
         const char *s = TEXT(a /* b */ \"c\") __FILE__;\n",
    ),
    (
        "warning.c",
        "int *a = 1;\n#warning careful\n#pragma message \"hello\"\nvoid f(int a) { a == (a == 1); }\n",
    ),
    ("condition.c", "#if NOWHERE\n#endif\nint f(void) { return 0; }\n"),
    ("imported.c", "int imported = IMPORTED;\n"),
    ("when.c", "const char *when = __DATE__;\nint f(void) { return 0; }\n"),
    ("line.c", "#line 7 \"grammar.y\"\n#if 1\nint f(void) { return __LINE__; }\n#endif\n"),
    ("marked.c", "int a;\n# 7 \"grammar.y\"\n#if 1\nint f(void) { return __LINE__; }\n#endif\n"),
    ("count.c", "#if __COUNTER__ == 0\nint count = __COUNTER__;\n#endif\n"),
    ("error.c", "int a = \"b\";\n#error stop\nint c = undeclared;\n"),
    ("wrong.c", "#include \"once.h\"\nint f(int a) { return undeclared + ONE(a); }\n"),
    (
        "start.cc",
        "#include <iostream>\nstruct Start { Start(); } start;\nconst char *raw = R\"(\n#include \"nowhere.h\"\n)\";\n\
         int main() { int unused; std::cout << __PRETTY_FUNCTION__; }\n",
    ),
];

const COMMANDS: &[&str] = &[
    "clang -Wall -Wextra -c macros.c -o out.o",
    "clang -O2 -DNDEBUG -DMORE=2 -DTEXT2=x.c -UOTHER -std=c99 -c macros.c -o out.o",
    "clang -O2 -D once=twice -Wall -S macros.c -o out.o",
    "clang -O1 -gdwarf-4 -DMORE=2 -c macros.c -o out.o",
    "clang -fsanitize=undefined -c macros.c -o out.o",
    "clang -flto -fcolor-diagnostics -Wall -c macros.c -o out.o",
    "clang -ffile-prefix-map=macros=renamed -c macros.c -o out.o",
    "clang -Wall -MD -MF out.d -c macros.c -o out.o",
    "clang -x c++ -Wno-register -c macros.c -o out.o",
    "clang -Wall -lunused -c macros.c -o out.o",
    "clang -Wall -Wunused-macros -c warning.c -o out.o",
    "clang -Wundef -c condition.c -o out.o",
    "clang -imacros im.h -c imported.c -o out.o",
    "clang -include im.h -c imported.c -o out.o",
    "clang -c when.c -o out.o",
    "clang -c line.c -o out.o",
    "clang -c marked.c -o out.o",
    "clang -c count.c -o out.o",
    "clang -Wall -c error.c -o out.o",
    "clang -Wall -pedantic -c macros.c -o out.o",
    "clang -c wrong.c -o out.o",
    "clang++ -Wall -O1 -c start.cc -o out.o",
];

#[test]
fn clang_says_and_makes_the_same_on_our_server() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().start();
    compare(sandbox, daemon);
}

#[test]
fn clang_says_and_makes_the_same_on_a_server_of_3_4() {
    require("distccd");
    let sandbox = Sandbox::new();
    let daemon = sandbox.debian_daemon().start();
    compare(sandbox, daemon);
}

fn compare(sandbox: Sandbox, daemon: Daemon) {
    require("clang");
    for (name, text) in SOURCES {
        sandbox.write(name, text);
    }
    for command in COMMANDS {
        let words = || command.split(' ');
        let run = |run: support::Run| {
            let outcome = run.run();
            let files = ["out.o", "out.d"].map(|name| take(&sandbox, name));
            (outcome, files)
        };
        let here = run(sandbox.command(words().next().unwrap()).args(words().skip(1)));
        let there = run(sandbox.distcc(words()).hosts(&daemon.host()));
        assert_same(command, &here, &there);
    }
    // All but the one that cannot be preprocessed.
    wait_until("every command to be compiled there", || daemon.compilations() == COMMANDS.len() - 1);
    sandbox.finish([daemon]);
}

#[test]
fn objects_for_debuggers_do_not_name_the_directory_of_a_job() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().start();
    sandbox.write("plain.i", "int f(int a) { return a; }\n");
    for compiler in ["gcc", "clang"] {
        require(compiler);
        let object = || {
            let words = [compiler, "-g", "-c", "plain.i", "-o", "out.o"];
            let outcome = sandbox.distcc(words).hosts(&daemon.host()).env("DISTCC_FALLBACK", "0").run();
            assert_eq!(outcome.code(), 0, "{}", outcome.err());
            take(&sandbox, "out.o").unwrap()
        };
        let (first, second) = (object(), object());
        assert!(first == second, "{compiler}: two compilations differ");
        let name = b"distccd_";
        assert!(!first.windows(name.len()).any(|part| part == name), "{compiler}");
    }
    sandbox.finish([daemon]);
}

type Made = (Outcome, [Option<Vec<u8>>; 2]);

#[track_caller]
fn assert_same(command: &str, here: &Made, there: &Made) {
    assert_eq!(here.0.code(), there.0.code(), "{command}: {}", there.0.err());
    assert_eq!(here.0.err(), there.0.err(), "{command}");
    assert!(here.1 == there.1, "{command}: other files");
}

/// What a command wrote, which is removed.
fn take(sandbox: &Sandbox, name: &str) -> Option<Vec<u8>> {
    let path = sandbox.work(name);
    let bytes = std::fs::read(&path).ok();
    let _ = std::fs::remove_file(path);
    bytes
}
