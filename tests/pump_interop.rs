//! Pump mode among programs of distcc 3.4 and ours: client, include server and daemon in every mixture. Where 3.4
//! is wrong, a mixture that can be right is.
//!
//! The include server of 3.4 cannot work with Python 3.10 or later; a few lines that Python loads at its start
//! repair it here.

mod support;

use std::fs;
use std::net::TcpListener;

use support::{DEBIAN_DISTCC, Daemon, Outcome, Pump, Run, Sandbox, Tap, require};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Maker {
    Ours,
    Theirs,
}

use Maker::{Ours, Theirs};

/// Whose client, whose include server, whose daemon.
type Mixture = (Maker, Maker, Maker);

const MIXTURES: [Mixture; 6] = [
    (Ours, Ours, Theirs),
    (Ours, Theirs, Ours),
    (Ours, Theirs, Theirs),
    (Theirs, Ours, Ours),
    (Theirs, Ours, Theirs),
    (Theirs, Theirs, Ours),
];

/// Other bodies for three functions of 3.4's C extension that Python 3.10 and later refuse to call. The stream is
/// LZO1X without a single match.
const REPAIR: &str = r#"
import os
try:
    import distcc_pump_c_extensions as c
except ImportError:
    c = None

def compress(data):
    if isinstance(data, str):
        data = data.encode("utf-8")
    end = b"\x11\0\0"
    if not data:
        return end
    if len(data) <= 238:
        return bytes([17 + len(data)]) + data + end
    zeros, last = divmod(len(data) - 19, 255)
    return bytes(1 + zeros) + bytes([last + 1]) + data + end

if c is not None:
    c.CompressLzo1xAlloc = compress
    c.OsPathExists = os.path.exists
    c.OsPathIsFile = os.path.isfile
"#;

/// A build in pump mode by a mixture of programs.
struct Build {
    sandbox: Sandbox,
    mixture: Mixture,
    daemon: Daemon,
    tap: Tap,
    pump: Pump,
}

impl Build {
    #[track_caller]
    fn start(mixture: Mixture) -> Build {
        let sandbox = Sandbox::new();
        let (_, includes, server) = mixture;
        let daemon = match server {
            Ours => sandbox.daemon().start(),
            Theirs => sandbox.debian_daemon().start(),
        };
        let tap = Tap::before(daemon.port());
        let pump = match includes {
            Ours => Pump::start(&sandbox, &tap.pump_host()),
            Theirs => debian_pump(&sandbox, &tap.pump_host()),
        };
        Build { sandbox, mixture, daemon, tap, pump }
    }

    fn distcc(&self, words: &[&str]) -> Run {
        let run = match self.mixture.0 {
            Ours => self.sandbox.distcc(words),
            Theirs => self.sandbox.debian_distcc(words),
        };
        self.pump.around(run.hosts(&self.tap.pump_host()))
    }

    /// Runs a command that must be compiled by the server in pump mode, without a word.
    #[track_caller]
    fn compile(&self, words: &[&str]) {
        let run = self.distcc(words).run();
        assert!(run.status.success() && run.stderr.is_empty(), "{:?}: {run}", self.mixture);
        assert_eq!(self.tap.take_versions(), [3], "{:?}: {run}", self.mixture);
    }

    fn finish(mut self) {
        let outcome = self.pump.stop(&self.sandbox);
        assert!(!outcome.err().contains("Warning"), "{:?}: {outcome}", self.mixture);
        self.daemon.stop();
    }
}

/// Debian's `pump --startup`, repaired.
#[track_caller]
fn debian_pump(sandbox: &Sandbox, hosts: &str) -> Pump {
    let program = require("distcc-pump");
    let directory = sandbox.path("repair");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("sitecustomize.py"), REPAIR).unwrap();
    let run = sandbox.command(program).args(["--startup"]).hosts(hosts);
    let run =
        run.env("PYTHONPATH", directory).env("DISTCC_LOCATION", DEBIAN_DISTCC.rsplit_once('/').unwrap().0);
    Pump::from(&run.run())
}

const MAIN: &str = "#include <stdio.h>\n#include <part.h>\n#include \"../inc/deep/near.h\"\n\
    int main(void) {\n  int answer = part(20) + NEAR;\n  printf(\"%d\\n\", answer);\n  return 0;\n}\n";
const PART: &str = "#include \"deep/near.h\"\nstatic inline int part(int x) {\n  int part_local = x * 2;\n  return part_local;\n}\n";

fn write_program(sandbox: &Sandbox) {
    sandbox.write("src/main.c", MAIN);
    sandbox.write("inc/part.h", PART);
    sandbox.write("inc/deep/near.h", "#define NEAR 2\n");
    sandbox.write("out/.keep", "");
}

/// Ways to say where the headers and the source are; `{work}` is the directory of the command.
const WAYS: &[(&str, &str)] = &[
    ("-Iinc", "src/main.c"),
    ("-I{work}/inc", "src/main.c"),
    ("-isysteminc", "src/main.c"),
    ("-Isrc/../inc", "src/main.c"),
    ("-Iinc", "{work}/src/main.c"),
];

/// What decides whether a program does what it should: everything but what is for debuggers.
fn code(sandbox: &Sandbox, object: &str) -> Vec<u8> {
    let output = sandbox.path("stripped.o");
    let run = sandbox.command("objcopy").args(["--strip-debug", object]).args([&output]).run();
    run.assert_quiet_success();
    fs::read(output).unwrap()
}

fn gdb(sandbox: &Sandbox, program: &str) -> Outcome {
    require("gdb");
    let words = ["-batch", "-nx", "-ex", "list main", "-ex", "list part"];
    // From elsewhere: only what the program itself says helps to find the sources.
    sandbox.command("gdb").args(words).args([sandbox.work(program)]).cwd("/").run()
}

#[test]
fn every_mixture_makes_the_program_a_local_build_makes() {
    for mixture in MIXTURES {
        let build = Build::start(mixture);
        let sandbox = &build.sandbox;
        write_program(sandbox);
        let work = sandbox.path("work").display().to_string();
        for (number, (option, source)) in WAYS.iter().enumerate() {
            let (option, source) = (option.replace("{work}", &work), source.replace("{work}", &work));
            let versions = ["-gdwarf-4", "-gdwarf-5"];
            for dwarf in if number == 0 { &versions[..] } else { &versions[number % 2..][..1] } {
                let words = ["gcc", *dwarf, "-MD", &option, "-c", &source, "-o", "out/main.o"];
                sandbox.command(words[0]).args(&words[1..]).run().assert_quiet_success();
                let local =
                    (sandbox.read("out/main.o"), code(sandbox, "out/main.o"), sandbox.read("out/main.d"));
                fs::remove_file(sandbox.work("out/main.o")).unwrap();
                fs::remove_file(sandbox.work("out/main.d")).unwrap();
                build.compile(&words);
                let way = format!("{mixture:?}: {words:?}");
                assert!(code(sandbox, "out/main.o") == local.1, "{way}: other code");
                // The compiler of a daemon of 3.4 folds lines at the length of other names.
                let text = |bytes: &[u8]| {
                    let text = String::from_utf8_lossy(bytes).into_owned();
                    if mixture.2 == Ours { text } else { text.replace("\\\n", "").replace("  ", " ") }
                };
                assert_eq!(text(&sandbox.read("out/main.d")), text(&local.2), "{way}: dependencies");
                // Our daemon's compiler sees what a local one sees; a line of text may be in 3.4's way.
                if mixture.2 == Ours && !option.contains(&work) && !source.contains(&work) {
                    assert!(sandbox.read("out/main.o") == local.0, "{way}: not the same object");
                }
                sandbox.command("gcc").args(["out/main.o", "-o", "program"]).run().assert_quiet_success();
                assert_eq!(sandbox.command(sandbox.work("program")).run().out(), "42\n", "{way}");
                // 3.4's daemon leaves its own directories in the tables of lines, and all of DWARF 5's.
                let absolute = option.contains(&work) || source.contains(&work);
                if mixture.2 == Ours || (*dwarf == "-gdwarf-4" && !absolute) {
                    let listed = gdb(sandbox, "program");
                    for line in ["int answer = part(20)", "int part_local"] {
                        assert!(listed.out().contains(line), "{way}: {line}: {listed}");
                    }
                }
            }
        }
        build.finish();
    }
}

#[test]
fn with_our_daemon_no_path_of_the_server_is_in_an_object() {
    for mixture in MIXTURES.into_iter().filter(|mixture| mixture.2 == Ours) {
        let build = Build::start(mixture);
        write_program(&build.sandbox);
        for options in [&["-gdwarf-5", "-c"][..], &["-gdwarf-4", "-g3", "-c"], &["-g3", "-S"]] {
            let words = [&["gcc", "-Iinc", "src/main.c", "-o", "out/main.o"][..], options].concat();
            build.compile(&words);
            let object = build.sandbox.read("out/main.o");
            let own = build.daemon.temporary().display().to_string();
            let shows = object.windows(own.len()).any(|part| part == own.as_bytes());
            assert!(!shows, "{mixture:?}, {options:?}: the object names {own}");
        }
        build.finish();
    }
}

#[test]
fn bytes_above_127_arrive_unchanged_from_our_include_server() {
    const SOURCE: &[u8] = b"#include \"l.h\"\nconst char latin[] = \"\xe4\xf6\xfc\xff\" HEADER; /* \xdf */\n";
    for mixture in MIXTURES.into_iter().filter(|mixture| mixture.1 == Ours) {
        let build = Build::start(mixture);
        build.sandbox.write("l.c", SOURCE);
        build.sandbox.write("l.h", b"#define HEADER \"\xe9\x80\xc3\"\n");
        build.compile(&["gcc", "-c", "l.c"]);
        let object = build.sandbox.read("l.o");
        let text = b"\xe4\xf6\xfc\xff\xe9\x80\xc3\0";
        assert!(object.windows(text.len()).any(|part| part == text), "{mixture:?}");
        build.finish();
    }
}

#[test]
fn diagnostics_name_the_clients_files() {
    for mixture in MIXTURES.into_iter().filter(|mixture| mixture.2 == Ours) {
        let build = Build::start(mixture);
        build.sandbox.write("w.h", "static inline int h(void) { int unused; return 0; }\n");
        build.sandbox.write("w.c", "#include \"w.h\"\nint w(int x) { if (x = 1) return h(); return 0; }\n");
        let words = ["gcc", "-Wall", "-c", "w.c"];
        let local = build.sandbox.command(words[0]).args(&words[1..]).run();
        let run = build.distcc(&words).run();
        assert_eq!(build.tap.take_versions(), [3], "{mixture:?}: {run}");
        assert_eq!((run.code(), run.err()), (0, local.err()), "{mixture:?}");
        build.finish();
    }
}

#[test]
fn a_pump_host_that_fails_is_followed_by_the_next() {
    let refuses = support::free_port();
    // Takes connections and closes them.
    let closes = TcpListener::bind("127.0.0.1:0").unwrap();
    let closing = closes.local_addr().unwrap().port();
    std::thread::spawn(move || closes.incoming().for_each(drop));
    for (port, includes) in [(refuses, Ours), (closing, Ours), (refuses, Theirs), (closing, Theirs)] {
        let build = Build::start((Ours, includes, Ours));
        write_program(&build.sandbox);
        let hosts = format!("127.0.0.1:{port}/8,lzo,cpp {}", build.tap.pump_host());
        let words = ["gcc", "-g", "-Iinc", "-c", "src/main.c", "-o", "out/main.o"];
        let run = build.distcc(&words).hosts(&hosts).run();
        assert_eq!(run.code(), 0, "{run}");
        assert_eq!(build.tap.take_versions(), [3], "{run}");
        assert_eq!(build.sandbox.backoffs().len(), 1, "{run}");
        build.finish();
    }
}

/// Debian's client, which cannot speak for its surroundings, gets the daemon's.
#[test]
fn a_client_that_names_no_surroundings_is_served() {
    let build = Build::start((Theirs, Ours, Ours));
    build.sandbox.write("t.c", "const char *base = __BASE_FILE__;\nint line = __LINE__;\n");
    build.compile(&["gcc", "-g", "-c", "t.c"]);
    let remote = build.sandbox.read("t.o");
    build.sandbox.command("gcc").args(["-g", "-c", "t.c"]).run().assert_quiet_success();
    assert!(build.sandbox.read("t.o") == remote, "not the local object");
    build.finish();
}
