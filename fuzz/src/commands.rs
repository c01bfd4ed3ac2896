//! Commands: what a client makes of one, and what a server lets pass.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use distcc::compiler_args::{
    Compile, Family, PathMaps, ServerCompile, Surroundings, TextForm, Unpacked, Verdict, check,
    dependency_file, refused_word, rewrite, scan, split_wp,
};

use super::words::lines;

/// A command that is distributed passes our own server and a server of 3.4, for the source and output it had; asks for one
/// preprocessor run here; and completing a compiler's name twice is completing it once.
pub fn client_command(bytes: &[u8]) {
    let argv = lines(bytes);
    let divided = split_wp(&argv);
    assert_eq!(split_wp(&divided), divided);
    completed_once(&argv, bytes.first().is_some_and(|byte| byte % 2 == 0));
    let verdict = scan(&argv);
    let Ok(Verdict::Distribute(compile)) = verdict else {
        if let Err(error) = verdict {
            assert!(argv[0].is_empty() || argv[0].as_bytes().starts_with(b"-"), "{error}");
        }
        return;
    };
    assert!(!compile.source().is_empty() && !compile.output().is_empty());
    // One of the four ways a time, which doubles the number of commands.
    let family = if bytes.len() % 2 == 0 { Family::Gcc } else { Family::Clang };
    let form = if bytes.len() % 4 < 2 { TextForm::Expanded } else { TextForm::Gathered };
    if let Ok(sent) = compile.plain_command(family, form) {
        accepted(&compile, &sent);
    }
    preprocesses(&compile.preprocess_command(form));
    if let Ok(sent) = compile.pump_command(family, Some(OsStr::new("x.d y.o"))) {
        accepted(&compile, &sent);
    }
    let resolved = compile.with_native(&["-march=core2".into()]);
    assert!(resolved.native_options().is_empty() || compile.native_options().is_empty());
    assert_eq!(resolved.source(), compile.source());
}

fn accepted(compile: &Compile, sent: &[OsString]) {
    assert_eq!(refused_word(sent), None, "a server of 3.4 drops {sent:?}");
    let server = check(sent).unwrap_or_else(|refusal| panic!("our own server refuses {sent:?}: {refusal}"));
    assert_eq!(server.source(), compile.source());
    assert_eq!(server.output(), compile.output());
    assert_eq!(server.argv()[0], compile.compiler());
}

fn preprocesses(argv: &[OsString]) {
    assert_eq!(argv.iter().filter(|word| *word == "-E").count(), 1, "{argv:?}");
    assert!(matches!(scan(argv), Ok(Verdict::Preprocess(_))), "{argv:?}");
}

fn completed_once(argv: &[OsString], is_clang: bool) {
    let mut found = |name: &OsStr| {
        let name = match (name.as_bytes(), is_clang) {
            (b"cc", false) => "gcc",
            (b"cc", true) => "clang",
            (_, false) => "g++",
            (_, true) => "clang++",
        };
        Some(OsString::from(name))
    };
    let mut complete = |argv: &[OsString]| {
        let mut surroundings = Surroundings {
            link_target: &mut found,
            on_path: &mut |_| true,
            gcc_triple: OsStr::new("x86_64-linux-gnu"),
            clang_triple: OsStr::new("x86_64-pc-linux-gnu"),
        };
        rewrite(argv, &mut surroundings)
    };
    let once = complete(argv);
    assert_eq!(complete(&once), once);
}

const ROOT: &str = "/private/root";

/// What a server lets pass: no word is left that names a response file, loads code, replaces the compiler's programs or
/// sends the object elsewhere; the source and the object are the server's; and where the client's files lie below a private
/// directory, every name of a file that is read begins with it.
pub fn server_command(bytes: &[u8]) {
    let argv = lines(bytes);
    let Ok(compile) = check(&argv) else { return };
    let compiler = compile.argv()[0].as_bytes();
    assert!(!compiler.is_empty() && !compiler.starts_with(b"-"));
    let (source, object) = (OsStr::new("/private/distccd.i"), OsStr::new("/private/distccd.o"));
    let made = compile.command(source, object);
    harmless(&made);
    assert_eq!(made.iter().filter(|word| *word == source).count(), 1, "{made:?}");
    assert_eq!(made[made.len() - 2..], [OsString::from("-o"), object.to_owned()]);
    assert!(dependency_file(&made, source).is_none(), "{made:?} writes dependencies");
    let again = check(&made).unwrap_or_else(|refusal| panic!("what passed is refused: {made:?}: {refusal}"));
    assert_eq!((again.source(), again.output()), (source, object));
    let _ = (compile.wants_dependencies(), compile.records_directory(), compile.output_or_default());
    assert!(compile.preprocessed_suffix().starts_with('.'));
    unpacked(&compile);
}

fn unpacked(compile: &ServerCompile) {
    let dependencies = OsStr::new("/private/distccd.d");
    let object = OsStr::new("/private/distccd.o");
    for maps in [PathMaps::Unknown, PathMaps::DebugAndMacros] {
        let place = Unpacked { root: OsStr::new(ROOT), object, dependencies, maps, brought: &|_| true };
        let Ok(made) = compile.pump_command(&place) else { continue };
        harmless(&made);
        let ends = ["-MF", "/private/distccd.d", "-o", "/private/distccd.o"].map(OsString::from);
        assert!(made.ends_with(&ends), "{made:?}");
        assert_eq!(dependency_file(&made, OsStr::new("x.c")).as_deref(), Some(dependencies), "{made:?}");
        below(&made[..made.len() - 4]);
    }
}

/// Options whose value is a file to be read, in one word or two; others that take a word as their value; and beginnings
/// of options without one. A command with anything else is not judged.
const READ: [&str; 9] =
    ["-include", "-imacros", "-isystem", "-iquote", "-idirafter", "-isysroot", "-iframework", "-I", "-F"];
const TAKE: [&str; 24] = [
    "-D",
    "-U",
    "-MT",
    "-MQ",
    "-x",
    "--param",
    "-B",
    "-MF",
    "-MJ",
    "-mllvm",
    "-Xclang",
    "-fdebug-compilation-dir",
    "-fmodules-user-build-path",
    "-fopenmp-host-ir-file-path",
    "-framework",
    "-gcc-toolchain",
    "-gen-cdb-fragment-path",
    "-meabi",
    "-mlink-bitcode-file",
    "-mlink-builtin-bitcode",
    "-module-dependency-dir",
    "-mthread-model",
    "-chain-include",
    "-cxx-isystem",
];
const SIMPLE: [&str; 12] =
    ["-O", "-W", "-f", "-g", "-std=", "-D", "-U", "-M", "-c", "-S", "-pipe", "/private/root/"];

fn below(argv: &[OsString]) {
    let mut words = argv.iter().skip(1);
    while let Some(word) = words.next() {
        let bytes = word.as_bytes();
        let value = match READ.into_iter().find(|name| begins_one(word)(name)) {
            Some(name) if word == name => words.next().map(|value| value.as_bytes()).unwrap_or_default(),
            Some(name) => &bytes[name.len()..],
            None if TAKE.iter().any(|name| word == name) => {
                words.next();
                continue;
            }
            None if !bytes.starts_with(b"-") || SIMPLE.iter().any(begins_one(word)) => bytes,
            None => return,
        };
        assert!(
            !value.starts_with(b"/") || value.starts_with(ROOT.as_bytes()),
            "{} is outside: {argv:?}",
            value.escape_ascii()
        );
    }
}

/// No word by which a compiler would run a client's code, take options from a file, or write where it is told.
fn harmless(argv: &[OsString]) {
    const WHOLE: [&str; 16] = [
        "-wrapper",
        "-specs",
        "--specs",
        "--config",
        "-march=native",
        "-mcpu=native",
        "-mtune=native",
        "-aux-info",
        "--aux-info",
        "-dumpdir",
        "--dumpdir",
        "--serialize-diagnostics",
        "-serialize-diagnostics",
        "-E",
        "-M",
        "-MM",
    ];
    const BEGINNINGS: [&str; 13] = [
        "-fplugin=",
        "-fpass-plugin=",
        "-specs=",
        "--specs=",
        "--config=",
        "-aux-info=",
        "-fprofile-use=",
        "-fprofile-generate",
        "-fauto-profile",
        "-MJ",
        "-fmodule-mapper=",
        "-ftime-trace=",
        "-fcrash-diagnostics-dir=",
    ];
    assert!(!argv.iter().skip(1).any(|word| word.as_bytes().starts_with(b"@")), "a response file: {argv:?}");
    let mut words = argv.iter().skip(1);
    while let Some(word) = words.next() {
        let is_bad = WHOLE.iter().any(|name| word == name) || BEGINNINGS.iter().any(begins_one(word));
        assert!(!is_bad, "{word:?} was let pass: {argv:?}");
        let joined =
            READ.iter().chain(&TAKE[..4]).find_map(|name| word.as_bytes().strip_prefix(name.as_bytes()));
        assert!(
            !joined.is_some_and(|value| value.starts_with(b"@")),
            "{word:?} is a response file: {argv:?}"
        );
        if word == "-Xclang" || word == "-mllvm" {
            let value = words.next().map(|value| value.as_bytes()).unwrap_or_default();
            let is_bad = value.starts_with(b"-load") || value.starts_with(b"-fplugin=");
            assert!(!is_bad, "{argv:?} loads code");
        } else if READ.iter().chain(&TAKE).any(|name| word == name) {
            words.next();
        } else if word.as_bytes().starts_with(b"-") && !SIMPLE.iter().chain(&READ).any(begins_one(word)) {
            return;
        }
    }
}

fn begins_one(word: &OsStr) -> impl Fn(&&str) -> bool {
    move |name| word.as_bytes().starts_with(name.as_bytes())
}
