//! Our verdict on commands against that of Debian's distcc 3.4, whose scanner is seen from outside: a server that only
//! listens shows whether a command goes away, and with which words.
//!
//! Commands are made by chance, from a fixed seed, of parts that belong together: an option with its value, a source.
//! Some parts are named in [`DIFFERENCES`], the table of what differs on purpose (docs/compatibility.md, Commands). A
//! command without them must be judged alike, and be sent in the same words. One with them may differ; without them it
//! must not. `DIFFERENTIAL_ROUNDS=20000` makes more commands than a usual run, `DIFFERENTIAL_SEED=N` others.

mod support;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::ffi::OsStringExt;
use std::sync::{Arc, Mutex};

use distcc::compiler_args::{Family, TextForm, Verdict, scan};
use distcc::protocol::limits::RequestLimits;
use distcc::protocol::request::{RequestDecoder, RequestEvent};
use support::{DEBIAN_DISTCC, Sandbox, require};

/// Commands of a usual run: some seconds.
const ROUNDS: usize = 300;

/// A part of a command that both judge alike, and send alike.
type Part = &'static [&'static str];

/// Parts that mean the same to both. Of those with a source there is one or, rarely, none or two.
const SOURCES: &[Part] = &[
    &["foo.c"],
    &["dir/foo.c"],
    &["/abs/foo.cc"],
    &["foo.cpp"],
    &["foo.cxx"],
    &["foo.C"],
    &["foo.c++"],
    &["foo.m"],
    &["foo.mm"],
    &["./foo.bar.c"],
    &["foo.i"],
    &["foo.ii"],
    &["conftest.c"],
    &["dir/tmp.conftest.c"],
];
const MODES: &[Part] = &[&["-c"], &["-S"], &["-E"], &[], &["-c", "-S"], &["-S", "-c"]];
const OUTPUTS: &[Part] =
    &[&["-o", "foo.o"], &["-ofoo.o"], &["-o", "dir/foo.o"], &["-o", "foo"], &["-o", "-"]];
const OPTIONS: &[Part] = &[
    &["-O2"],
    &["-O0"],
    &["-g"],
    &["-ggdb3"],
    &["-Wall"],
    &["-Wextra"],
    &["-Werror=format"],
    &["-pedantic"],
    &["-w"],
    &["-std=c11"],
    &["-std=gnu++17"],
    &["-fPIC"],
    &["-fno-strict-aliasing"],
    &["-fvisibility=hidden"],
    &["-fopenmp"],
    &["-flto=auto"],
    &["-ffast-math"],
    &["-fstack-protector-strong"],
    &["-march=x86-64-v2"],
    &["-mtune=generic"],
    &["-mavx2"],
    &["-m64"],
    &["-pthread"],
    &["-pipe"],
    &["-DX"],
    &["-DX=1"],
    &["-D", "X=1"],
    &["-UX"],
    &["-U", "X"],
    &["-Idir"],
    &["-I", "dir"],
    &["-I."],
    &["-isystem", "dir"],
    &["-idirafter", "dir"],
    &["-iprefix", "dir"],
    &["-iwithprefix", "dir"],
    &["-include", "header.h"],
    &["-imacros", "header.h"],
    &["-undef"],
    &["-nostdinc"],
    &["-nostdinc++"],
    &["-Ldir"],
    &["-L", "dir"],
    &["-lm"],
    &["-Wl,-s"],
    &["-Wa,--noexecstack"],
    &["-Wa,-adhln"],
    &["-MD"],
    &["-MMD"],
    &["-MP"],
    &["-MG"],
    &["-MD", "-MF", "foo.d"],
    &["-MMD", "-MFfoo.d"],
    &["-MT", "target"],
    &["-MTtarget"],
    &["-MQ", "target"],
    &["-M"],
    &["-MM"],
    &["-Wp,-DX"],
    &["-Wp,-DX,-DY"],
    &["-fprofile-arcs"],
    &["-ftest-coverage"],
    &["--coverage"],
    &["-fprofile-generate"],
    &["-fprofile-use"],
    &["-fprofile-use=dir"],
    &["-fprofile-correction"],
    &["-frepo"],
    &["-specs=file"],
    &["-dr"],
    &["--param", "max-inline-insns-single=9"],
    &["-fdiagnostics-color=always"],
    &["-unknown-option"],
];

/// What differs on purpose, by the line of docs/compatibility.md, and the parts that show it.
const DIFFERENCES: &[(&str, &[Part])] = &[
    (
        "values of options that look like files",
        &[
            &["-include", "other.c"],
            &["-imacros", "other.c"],
            &["-D", "other.c"],
            &["-I", "other.c"],
            &["--param", "other.c"],
            &["-MT", "other.c"],
        ],
    ),
    ("the language in -x", &[&["-xc"], &["-xc++"], &["-x", "c"], &["-x", "c++"], &["-x", "objective-c"]]),
    (
        "languages that are no C",
        &[&["-x", "c-header"], &["-x", "cuda"], &["-x", "none"], &["-x", "assembler"]],
    ),
    ("this machine's processor", &[&["-march=native"], &["-mtune=native"], &["-mcpu=native"]]),
    ("-flto", &[&["-flto"]]),
    ("short names of sources", &[&["a.c"], &["b.i"]]),
    (
        "outputs besides the object",
        &[
            &["-save-temps"],
            &["-save-temps=obj"],
            &["-fstack-usage"],
            &["-gsplit-dwarf"],
            &["-fdump-tree-all"],
            &["-fdump-rtl-expand"],
            &["-da"],
            &["-fcallgraph-info"],
            &["-aux-info", "protos"],
            &["-fopt-info-vec=file"],
            &["-fsave-optimization-record"],
            &["-ftime-trace"],
        ],
    ),
    (
        "profiles and coverage in other spellings",
        &[&["-coverage"], &["-fprofile-dir=dir"], &["-fprofile-instr-generate"], &["-fcoverage-mapping"]],
    ),
    (
        "what loads code or names programs",
        &[&["-fplugin=file"], &["-wrapper", "program"], &["--specs=file"], &["-Bdir"], &["-B", "dir"]],
    ),
    ("modules", &[&["-fmodules"], &["-fmodules-ts"], &["-include-pch", "file"]]),
    (
        "options that speak about the run",
        &[&["-v"], &["-###"], &["-Q"], &["-ftime-report"], &["-fsyntax-only"]],
    ),
    (
        "what changes the preprocessor's output",
        &[&["-C"], &["-CC"], &["-P"], &["-dD"], &["-traditional-cpp"]],
    ),
    ("-Xpreprocessor", &[&["-Xpreprocessor", "-fopenmp"], &["-Xpreprocessor", "-DX"]]),
    (
        "other words that are no options",
        &[&["other.o"], &["file.txt"], &["foo.s"], &["foo.S"], &["foo.cu"], &["foo.CXX"], &["foo.h"], &["-"]],
    ),
    ("dependencies to standard output", &[&["-MF", "-"]]),
    ("dependency words in -Wp,", &[&["-Wp,-MD,foo.d"], &["-Wp,-MMD,dir/foo.d"]]),
    ("long spellings", &[&["--compile"], &["--output=foo.o"], &["--language=c"]]),
    (
        "what preprocessing or linking uses up",
        &[
            &["-iquote", "dir"],
            &["-isysroot", "dir"],
            &["--sysroot=dir"],
            &["-includeheader.h"],
            &["-imacrosheader.h"],
            &["-H"],
            &["-A", "x(y)"],
            &["-shared"],
            &["-rdynamic"],
            &["-finput-charset=latin1"],
            &["-stdlib=libc++"],
        ],
    ),
    ("a response file that cannot be read", &[&["@missing"], &["-D", "@missing"], &["-D@missing"]]),
];

/// One command in parts, each with the number of its difference.
type Command = Vec<(Part, Option<usize>)>;

fn words(command: &Command) -> Vec<&'static str> {
    let words = command.iter().flat_map(|(part, _)| part.iter().copied());
    std::iter::once("gcc").chain(words).collect()
}

/// Xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as usize % limit
    }

    fn pick(&mut self, parts: &'static [Part]) -> Part {
        parts[self.below(parts.len())]
    }

    fn command(&mut self) -> Command {
        let mut command: Command = Vec::new();
        // Most are what builds run; the rest is what scanners trip over.
        let mode = if self.below(8) == 0 { self.pick(MODES) } else { MODES[self.below(2)] };
        command.push((mode, None));
        let sources = [1, 1, 1, 1, 1, 1, 1, 1, 0, 2][self.below(10)];
        for _ in 0..sources {
            let usual = if self.below(4) == 0 { SOURCES.len() } else { 10 };
            command.push((SOURCES[self.below(usual)], None));
        }
        if self.below(2) == 0 {
            let usual = if self.below(5) == 0 { OUTPUTS.len() } else { 3 };
            command.push((OUTPUTS[self.below(usual)], None));
        }
        for _ in 0..self.below(6) {
            command.push((self.pick(OPTIONS), None));
        }
        for _ in 0..[0, 0, 1, 1, 2][self.below(5)] {
            let difference = self.below(DIFFERENCES.len());
            command.push((self.pick(DIFFERENCES[difference].1), Some(difference)));
        }
        for last in (1..command.len()).rev() {
            command.swap(last, self.below(last + 1));
        }
        command
    }
}

/// What becomes of a command: it runs here, or goes away in these words.
#[derive(Clone, Debug, PartialEq)]
enum Fate {
    Local,
    Sent(Vec<OsString>),
}

/// What our client makes of it. Words of this machine's processor count as unresolved.
fn ours(words: &[&str]) -> Fate {
    let argv: Vec<OsString> = words.iter().map(OsString::from).collect();
    match scan(&argv) {
        Ok(Verdict::Distribute(compile)) => match compile.plain_command(Family::Gcc, TextForm::Expanded) {
            Ok(words) => Fate::Sent(words),
            Err(_) => Fate::Local,
        },
        _ => Fate::Local,
    }
}

/// A client of 3.4 with a compiler that does nothing, and a server that lets every job fail.
struct Debian {
    sandbox: Sandbox,
    port: u16,
    sent: Arc<Mutex<Vec<Vec<OsString>>>>,
}

impl Debian {
    fn new() -> Debian {
        require("distcc");
        let sandbox = Sandbox::new();
        for name in ["foo.i", "foo.ii", "b.i", "header.h"] {
            sandbox.write(name, "int x;\n");
        }
        std::fs::create_dir(sandbox.work("dir")).unwrap();
        std::fs::create_dir(sandbox.path("true")).unwrap();
        std::os::unix::fs::symlink("/bin/true", sandbox.path("true/gcc")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let sent = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&sent);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if let Some(words) = serve(stream) {
                    record.lock().unwrap().push(words);
                }
            }
        });
        Debian { sandbox, port, sent }
    }

    fn fate(&self, words: &[&str]) -> Fate {
        let ended = std::process::Command::new(DEBIAN_DISTCC)
            .args(words)
            .current_dir(self.sandbox.work(""))
            .env_clear()
            .env("PATH", self.sandbox.path("true"))
            .env("HOME", self.sandbox.path("home"))
            .env("TMPDIR", self.sandbox.path("tmp"))
            .env("DISTCC_DIR", self.sandbox.path("distcc"))
            .env("DISTCC_HOSTS", format!("127.0.0.1:{}/9", self.port))
            .env("DISTCC_BACKOFF_PERIOD", "0")
            .env("DISTCC_SKIP_LOCAL_RETRY", "1")
            .env("DISTCC_FALLBACK", "0")
            .env("DISTCC_NO_REWRITE_CROSS", "1")
            .output()
            .expect("run distcc of 3.4");
        let mut sent = std::mem::take(&mut *self.sent.lock().unwrap());
        assert!(sent.len() < 2, "{words:?} was sent {} times", sent.len());
        match sent.pop() {
            Some(words) => Fate::Sent(words),
            None => {
                let said = String::from_utf8_lossy(&ended.stderr);
                assert!(
                    ended.status.success(),
                    "{words:?} was neither sent nor run: {} {said}",
                    ended.status
                );
                Fate::Local
            }
        }
    }
}

/// Reads a request and answers that the compiler failed.
fn serve(mut stream: TcpStream) -> Option<Vec<OsString>> {
    let mut decoder = RequestDecoder::new(RequestLimits::default());
    let (mut buffer, mut words) = (Vec::new(), None);
    loop {
        let (used, event) = decoder.next(&buffer).expect("a request of 3.4 is understood");
        match event {
            Some(RequestEvent::Arguments(argv)) => {
                words = Some(argv.into_iter().map(OsString::from_vec).collect());
            }
            Some(RequestEvent::End) => break,
            Some(_) => {}
            None if used == 0 => {
                let mut piece = [0; 4096];
                let count = stream.read(&mut piece).ok().filter(|count| *count > 0)?;
                buffer.extend_from_slice(&piece[..count]);
                continue;
            }
            None => {}
        }
        buffer.drain(..used);
    }
    let _ = stream.write_all(b"DONE00000001STAT00000100SERR00000000SOUT00000000DOTO00000000");
    words
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

#[test]
fn commands_are_judged_as_by_3_4_but_for_what_is_listed() {
    let (rounds, seed) = (setting("DIFFERENTIAL_ROUNDS", ROUNDS), setting("DIFFERENTIAL_SEED", 1));
    let debian = Debian::new();
    let mut random = Random((seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut unlisted = Vec::new();
    let mut counts = BTreeMap::<&str, usize>::new();
    let (mut alike, mut sent) = (0, 0);
    for _ in 0..rounds {
        let mut command = random.command();
        loop {
            let words = words(&command);
            let (here, there) = (ours(&words), debian.fate(&words));
            if here == there {
                alike += 1;
                sent += usize::from(here != Fate::Local);
                break;
            }
            // Without the parts that are listed there is nothing left to differ.
            let listed = command.iter().position(|(_, difference)| difference.is_some());
            let Some(at) = listed else {
                unlisted.push(format!("{words:?}\n  ours {here:?}\n  3.4  {there:?}"));
                break;
            };
            let (_, difference) = command.remove(at);
            *counts.entry(DIFFERENCES[difference.expect("it is listed")].0).or_default() += 1;
        }
    }
    println!(
        "{rounds} commands: {alike} judged alike in the end, {sent} of them sent; parts taken out: {counts:#?}"
    );
    assert!(unlisted.is_empty(), "{} differences are not listed:\n{}", unlisted.len(), unlisted.join("\n"));
    let stale = DIFFERENCES.iter().filter(|(name, _)| !counts.contains_key(name));
    let stale: Vec<_> = stale.map(|(name, _)| name).collect();
    assert!(rounds < 2000 || stale.is_empty(), "no command showed these differences: {stale:?}");
}
