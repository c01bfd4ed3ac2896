//! The files that commands are run on. Knows nothing of commands.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::support::{Sandbox, tree_of};

/// When every file was changed last: `__TIMESTAMP__` shows it.
const MODIFIED: Duration = Duration::from_secs(1_600_000_001);

const WARN: &str = "#include \"warn.h\"\n#define BOTH(a, b) ((a) = (b), unused_name((a)))\n\
    static int never_called(int parameter) { int\tx; return parameter == 3 & 4; }\n\
    int warn(int x, unsigned y) {\n\tint unused; char *text = \"a long text that moves the caret to the right\"; \
    if (x = 2) return BOTHER(x, y);\n    if (x < y) return 1; switch (x) { case 1: x++; case 2: x--; }\n\
    return QUIET(x) + in_header(x); }\n";

const FILES: &[(&str, &str)] = &[
    (
        "a.h",
        "#ifndef VALUE\n#define VALUE 3\n#endif\nint external(int);\n#ifndef A_H\n#define A_H\nstruct in_header { int x; };\n#endif\n",
    ),
    (
        "a.c",
        "#include \"a.h\"\n#include <stddef.h>\nstatic const char *name = __FILE__;\n\
         int a(int x) { int s = 0; for (int i = 0; i < x; i++) s += external(i) * VALUE; return s; }\n\
         size_t size(struct in_header *p) { return p->x + sizeof *p; }\n\
         const char *where(void) { return name; }\n",
    ),
    (
        "b.h",
        "#pragma once\n#include <vector>\ntemplate <class T> struct Box { T value; T get() const { return value; } };\n",
    ),
    (
        "b.cc",
        "#include \"a.h\"\n#include \"b.h\"\nnamespace n { int b(int x) { std::vector<int> v(x); \
         return Box<int>{x * VALUE}.get() + v.size(); } const char *f = __FILE__; }\n",
    ),
    ("b.C", "#include \"b.h\"\nint b = sizeof(Box<int>);\n"),
    (
        "moved.cc",
        "#include \"b.h\"\n#line 77 \"generated/from.y\"\nint moved(Box<int> *b) { return b->get(); }\n",
    ),
    (
        "c.m",
        "#import \"a.h\"\n@interface Thing { int x; } - (int)x; @end\n@implementation Thing - (int)x { return x; } @end\n",
    ),
    ("d.mm", "#import \"a.h\"\n#import \"b.h\"\nint d(void) { return Box<int>{VALUE}.get(); }\n"),
    ("plain.c", "#include \"a.h\"\nint plain(int x) { return x + VALUE; }\n"),
    ("odd.name", "#include \"a.h\"\nint odd(int x) { return x + VALUE; }\n"),
    ("bare.h", "#define BARE 4\n"),
    ("bare.c", "#include \"bare.h\"\nint bare(int x) { return x + BARE; }\n"),
    ("sub/deep.h", "#include \"../a.h\"\nstatic inline int deeper(void) { return VALUE; }\n"),
    ("sub/deep.c", "#include \"deep.h\"\nint deep(void) { return deeper(); }\nconst char *f = __FILE__;\n"),
    ("sub/lone.c", "#include \"a.h\"\nconst char *f = __FILE__;\n"),
    ("quote.c", "#include \"far.h\"\nint n = NEAR;\n"),
    ("sub/nothing/.keep", ""),
    ("out/.keep", ""),
    ("empty.c", ""),
    ("empty.cc", ""),
    ("hollow.h", ""),
    ("include/far.h", "#include \"near.h\"\nstatic inline const char *far_away(void) { return __FILE__; }\n"),
    ("include/near.h", "#define NEAR 1\n"),
    ("include2/far.h", "#define SECOND 2\n"),
    ("far.c", "#include <far.h>\nconst char *f(void) { return far_away(); }\nint n = NEAR;\n"),
    ("far.cc", "#include <far.h>\nconst char *f(void) { return far_away(); }\nint n = NEAR;\n"),
    ("include/far-warn.h", "static int far_unused(int x) { int y; return x = 1; }\n#warning far away\n"),
    ("far-warn.c", "#include <far-warn.h>\nint f;\n"),
    (
        "warn.h",
        "#define QUIET(x) ({ int y = x; if (y = 1) y++; y; })\n#define BOTHER(a, b) (a == 1 & b, -1)\n\
         static inline int in_header(int x) { int unused_in_header; return x; }\n",
    ),
    ("warn.c", WARN),
    ("warn.cc", WARN),
    (
        "fall.c",
        "int fall(int x) {\n  switch (x) {\n  case 1:\n    x += 2;\n    /* fallthrough */\n  case 2:\n    \
         x += 3;\n    break;\n  }\n  return x;\n}\n",
    ),
    ("bad.c", "#include \"a.h\"\nint bad(void) { return nowhere + VALUE(1); }\n"),
    ("bad.cc", "#include \"b.h\"\nclass A { int a }; int b(A x) { return Box<A>{x}.get().y; }\n"),
    ("missing.c", "#include \"no-such-header.h\"\nint m;\n"),
    ("error.c", "#include \"a.h\"\n#error this is meant to fail\nint e;\n"),
    (
        "pragma.c",
        "#pragma message \"seen\"\n#pragma GCC diagnostic ignored \"-Wunused-variable\"\n\
        int p(void) { int u; return 0; }\n#pragma GCC poison nothing\n#pragma unknown thing\n",
    ),
    (
        "names.c",
        "#include <assert.h>\n#include \"sub/deep.h\"\nvoid check(int x) { assert(x > VALUE); }\n\
        const char *base = __BASE_FILE__, *file = __FILE__;\nint level = __INCLUDE_LEVEL__;\n",
    ),
    ("stamp.h", "static const char *header_stamp(void) { return __TIMESTAMP__; }\n"),
    (
        "stamp.c",
        "#include \"stamp.h\"\nconst char *stamp = __TIMESTAMP__;\nconst char *h(void) { return header_stamp(); }\n",
    ),
    ("date.c", "const char *date = __DATE__ \" \" __TIME__;\n"),
    ("rooted.c", "#include <only-there.h>\nint rooted = ONLY_THERE;\n"),
    ("root/usr/include/only-there.h", "#define ONLY_THERE 1\n"),
    ("bdir/include/in-b.h", "#define IN_B 1\n"),
    ("words", "-O2 \"-DVALUE=11\" '-DTEXT=\"two words\"'\n-I include"),
    ("nested", "@words -c a.c"),
    ("linked.c", "#include \"link.h\"\n#include \"linkdir/far.h\"\nint linked = VALUE + NEAR;\n"),
    ("up.c", "#include \"sub/nothing/../../a.h\"\n#include \"sub/../include/../a.h\"\nint up = VALUE;\n"),
    (
        "computed.c",
        "#define LT <\n#define NAME far\n#define HEADER <NAME.h>\n#include HEADER\n\
        #define TEXT(x) #x\n#define PLACE(x) TEXT(sub/x.h)\n#include PLACE(deep)\nint c = NEAR + VALUE;\n",
    ),
    ("given.c", "#include NAME\nint given = NEAR;\n"),
    ("include0/far.h", "#include_next <far.h>\n#define FIRST 1\n"),
    ("next.c", "#include <far.h>\nint next = FIRST + NEAR;\n"),
    ("import.c", "#import \"a.h\"\n#import \"sub/deep.h\"\n#import \"sub/../a.h\"\nint i = VALUE;\n"),
    // The same content at two times: gcc takes it for two files, by their times only.
    ("sub/once.h", "#pragma once\nONCE(int)\n"),
    ("include/once.h", "#pragma once\nONCE(int)\n"),
    (
        "once.c",
        "#define ONCE(x) extern x once;\n#include \"sub/once.h\"\n#undef ONCE\n\
        #define ONCE(x) x twice;\n#include \"include/once.h\"\n",
    ),
    ("stdlib.h", "#include_next <stdlib.h>\n#define OWN 1\n"),
    ("own.c", "#include <stdlib.h>\nint own = OWN + EXIT_FAILURE;\n"),
    // A directory where a header is looked for.
    ("blocked/far.h/.keep", ""),
    (
        "has.c",
        "#if __has_include(<far.h>) && !__has_include(\"not/there.h\") && __has_include(<stdio.h>)\n\
        int has = 1;\n#else\nint has_not = 0;\n#endif\n",
    ),
    (
        "absolute.c",
        "#include \"{work}/include/far.h\"\n#if 0\n#include \"/no/such/file.h\"\n#endif\nint absolute = NEAR;\n",
    ),
    ("dir with blanks/c d.h", "#define BLANKS 2\n"),
    ("dir with blanks/a b.c", "#include \"c d.h\"\nconst char *f = __FILE__; int blanks = BLANKS;\n"),
    ("grüße.h", "#define GRÜSSE 2\n"),
    ("grüße.c", "#include \"grüße.h\"\nconst char *f = __FILE__; int g = GRÜSSE;\n"),
    (
        "digraph.c",
        "%: /* a comment */ include /* another */ <far.h>\n#inc\\\nlude \"a.h\"\nint d = NEAR + VALUE;\n",
    ),
    ("trigraph.c", "??=include <far.h>\nint t = NEAR;\n"),
    ("blob.bin", "bytes of a blob\n"),
    (
        "incbin.c",
        "__asm__(\".section .rodata\\n\\t.globl blob\\nblob:\\t.incbin \\\"blob.bin\\\"\\n\\t.text\");\n",
    ),
    (
        "late.c",
        "/* #include \"missing-in-comment.h\"\n#include \"also-missing.h\" */\n\
        static const char *raw = \"#include \\\"not-either.h\\\"\";\n#include \"a.h\"\nint late = VALUE;\n\
        const char *r(void) { return raw; }\n",
    ),
    (
        "conditional.c",
        "#ifdef WHOLE\n#include \"a.h\"\n#else\n#include \"never-there.h\"\n#endif\nint c = VALUE;\n",
    ),
    ("ready.i", "# 1 \"x.c\"\nint ready = 1;\n"),
    ("as.s", ".globl s\ns:\n"),
    ("up.S", "#include \"bare.h\"\n.globl u\nu: .long BARE\n"),
    ("with-pch/pre.h", "#define PRE 9\nstatic inline int pre(void) { return PRE; }\n"),
    ("pre.c", "#include <pre.h>\nint p(void) { return pre(); }\n"),
];

/// Bytes that are no UTF-8, in comments, strings and a wrong place.
const LATIN: &[u8] = b"/* gr\xfc\xdfe */\nconst char *latin = \"\xe4\xf6\xfc\";\nint l(void) { int unused; return \"\xff\"[0]; }\n";

/// Links: the name, and what it points to.
const LINKS: &[(&str, &str)] = &[
    ("link.h", "sub/second-link.h"),
    ("sub/second-link.h", "{work}/a.h"),
    ("linkdir", "include"),
    ("root-link", "root"),
    ("symlinked-source.c", "sub/lone.c"),
];

/// Fills the work directory.
pub fn populate(sandbox: &Sandbox) {
    let work = sandbox.work("").display().to_string();
    let work = work.trim_end_matches('/');
    for (name, content) in FILES {
        sandbox.write(name, content.replace("{work}", work));
    }
    sandbox.write("latin.c", LATIN);
    let precompile = ["-x", "c-header", "with-pch/pre.h", "-o", "with-pch/pre.h.gch"];
    sandbox.command("gcc").args(precompile).run().assert_quiet_success();
    for name in tree_of(Path::new(work)).0.keys() {
        let file = File::options().append(true).open(sandbox.work(name)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + MODIFIED).unwrap();
    }
    let older = SystemTime::UNIX_EPOCH + MODIFIED - Duration::from_secs(1);
    File::options().append(true).open(sandbox.work("include/once.h")).unwrap().set_modified(older).unwrap();
    // A header newer than what includes it, by more than clocks differ.
    let newer = SystemTime::now() + Duration::from_secs(3600);
    File::options().append(true).open(sandbox.work("a.h")).unwrap().set_modified(newer).unwrap();
    for (name, target) in LINKS {
        symlink(target.replace("{work}", work), sandbox.work(name)).unwrap();
    }
    symlink("work", sandbox.path("link")).unwrap();
}
