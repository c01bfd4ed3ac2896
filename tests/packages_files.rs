//! What packages install beside the program: completions in real shells, the variables of the configuration files, the
//! units for systemd, and the sample for xinetd. (Whole packages, installed and removed: `tests/packages`.)

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use support::{Sandbox, free_port, require, wait_until};

/// Programs whose `--help` lists options.
const PROGRAMS: &[&str] =
    &["distcc", "distccd", "pump", "lsdistcc", "distccmon-text", "include_server", "update-distcc-symlinks"];

fn tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// What a shell offers at the end of a line.
fn offered(sandbox: &Sandbox, shell: &str, line: &str) -> BTreeSet<String> {
    let completions = tree("packaging/completions");
    let run = sandbox
        .command(require(shell))
        .env("TERM", "dumb")
        .env("PATH", format!("{}:/usr/bin:/bin", sandbox.path("bin").display()));
    let run = match shell {
        "bash" => run.args([tree("tests/completions/bash"), completions.join("distcc.bash")]).args([line]),
        "zsh" => run.args(["-f"]).args([tree("tests/completions/zsh"), completions]).args([line]),
        _ => run
            .args(["--no-config", "-c"])
            .args([format!("source {}; complete -C '{line}'", completions.join("distcc.fish").display())]),
    };
    let run = run.run();
    assert_eq!(run.code(), 0, "{shell}: {line}: {run}");
    assert_eq!(run.err(), "", "{shell}: {line}");
    // fish puts what an option does behind it.
    let lines = run.out();
    let words = lines.lines().map(|line| line.split('\t').next().unwrap().to_string());
    words.filter(|word| !word.is_empty()).collect()
}

/// The options of a program by its `--help`: those that begin a line, and the long ones of what goes before them.
fn options_of(sandbox: &Sandbox, program: &str) -> BTreeSet<String> {
    let help = sandbox.command(sandbox.path("bin").join(program)).args(["--help"]).run().out();
    let ends = |line: &&str| ["Environment", "Host list", "Examples"].iter().any(|end| line.starts_with(end));
    let mut options = BTreeSet::new();
    for line in help.lines().take_while(|line| !ends(line)) {
        let begins = line.trim_start().starts_with('-');
        let words = if begins { line.trim_start().split("  ").next().unwrap() } else { line };
        let is_option = |word: &&str| word.starts_with("--") || (begins && word.starts_with('-'));
        let is_name =
            |word: &&str| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        // lsdistcc's -pCOMPILER is an option with its value.
        let is_joined =
            |word: &str| word.len() > 2 && word[2..].bytes().all(|byte| byte.is_ascii_uppercase());
        let option = |word: &str| if is_joined(word) { word[..2].to_string() } else { word.to_string() };
        let words = words.split(|byte: char| " ,|[]".contains(byte)).filter(is_option);
        options.extend(words.filter(is_name).map(option));
    }
    options
}

#[test]
fn shells_offer_the_options_that_help_names() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish"] {
        for program in PROGRAMS {
            let offered = offered(&sandbox, shell, &format!("{program} -"));
            assert_eq!(offered, options_of(&sandbox, program), "{shell}: {program}");
            // These say it on the usage line or not at all.
            let says_help = !["lsdistcc", "distccmon-text"].contains(program);
            assert!(!says_help || offered.contains("--help"), "{shell}: {program}: {offered:?}");
        }
    }
}

#[test]
fn shells_complete_values_and_commands() {
    let sandbox = Sandbox::new();
    sandbox.script("bin/armv9-none-gcc", "");
    sandbox.script("bin/armv9-none-gcc-objdump", "");
    let cases: &[(&str, &[&str])] = &[
        ("distccd --sandbox r", &["require"]),
        ("distccd --log-level n", &["notice"]),
        ("distccd --allow-f", &["--allow-file"]),
        ("distcc armv9", &["armv9-none-gcc"]),
        ("distcc --scan-includes armv9", &["armv9-none-gcc"]),
        ("pump armv9", &["armv9-none-gcc", "armv9-none-gcc-objdump"]),
    ];
    for shell in ["bash", "zsh", "fish"] {
        for (line, expected) in cases {
            let expected: BTreeSet<String> = expected.iter().map(ToString::to_string).collect();
            assert_eq!(offered(&sandbox, shell, line), expected, "{shell}: {line}");
        }
        // Files of the command that is to run; zsh says the last part of the name alone.
        let offered = offered(&sandbox, shell, "distcc gcc -c /etc/passw");
        assert!(offered.iter().any(|name| name.ends_with("passwd")), "{shell}: {offered:?}");
    }
}

/// `distccd-defaults` with configuration files of ours, and with a program that says its arguments as distccd.
struct Defaults {
    sandbox: Sandbox,
    script: PathBuf,
}

impl Defaults {
    fn new() -> Defaults {
        let sandbox = Sandbox::new();
        for directory in ["etc/default", "etc/sysconfig", "etc/distcc"] {
            fs::create_dir_all(sandbox.path(directory)).unwrap();
        }
        let told = sandbox.script("told", "echo \"TMPDIR=${TMPDIR-unset} $*\"\n");
        let text = fs::read_to_string(tree("packaging/libexec/distccd-defaults")).unwrap();
        let text = text.replace("/usr/bin/distccd", told.to_str().unwrap());
        let text = text.replace("/etc/", &format!("{}/", sandbox.path("etc").display()));
        let script = sandbox.script("defaults", &text);
        Defaults { sandbox, script }
    }

    fn with(&self, file: &str, text: Option<&str>) {
        let path = self.sandbox.path("etc").join(file);
        match text {
            Some(text) => fs::write(path, text).unwrap(),
            None => drop(fs::remove_file(path)),
        }
    }

    fn run(&self, words: &[&str]) -> support::Outcome {
        self.sandbox.command(&self.script).env("TMPDIR", "/place").args(words).run()
    }
}

#[test]
fn variables_of_3_4s_packages_become_options() {
    let defaults = Defaults::new();
    let clients = format!("--allow-file {}", defaults.sandbox.path("etc/distcc/clients.allow").display());
    let cases: &[(&str, &str)] = &[
        ("", "TMPDIR=/place --daemon @"),
        // What Debian's package writes.
        (
            "STARTDISTCC=\"true\"\nALLOWEDNETS=\"127.0.0.1 10.0.0.0/8\"\nLISTENER=\"127.0.0.1\"\nNICE=\"10\"\n\
             JOBS=\"\"\nZEROCONF=\"true\"\n",
            "TMPDIR=/place --daemon --allow 127.0.0.1 --allow 10.0.0.0/8 --listen 127.0.0.1 --nice 10 --zeroconf",
        ),
        ("ALLOWEDNETS=\"\"\nJOBS=4", "TMPDIR=/place --daemon --jobs 4"),
        ("ZEROCONF=false TMPDIR=/fast", "TMPDIR=/fast --daemon @"),
        ("TMPDIR=", "TMPDIR=/place --daemon @"),
        ("DISTCCD_ARGS='--stats --jobs 7' JOBS=3", "TMPDIR=/place --daemon @ --jobs 3 --stats --jobs 7"),
        // Fedora's variable.
        ("OPTIONS='--nice 5 --allow 10.1.1.1'", "TMPDIR=/place --daemon @ --nice 5 --allow 10.1.1.1"),
        // Words are not patterns.
        ("ALLOWEDNETS='* 10.1.1.1'", "TMPDIR=/place --daemon --allow * --allow 10.1.1.1"),
    ];
    defaults.with("distcc/clients.allow", Some("127.0.0.1\n"));
    for file in ["default/distcc", "sysconfig/distccd"] {
        for (text, expected) in cases {
            defaults.with(file, Some(text));
            let run = defaults.run(&["run", "--daemon"]);
            assert_eq!(run.out().trim_end(), expected.replace('@', &clients), "{file}: {text}: {run}");
        }
        defaults.with(file, None);
    }
    defaults.with("distcc/clients.allow", None);
    assert_eq!(defaults.run(&["run", "--daemon"]).out(), "TMPDIR=/place --daemon\n");
    // Of ours, as it is installed.
    defaults
        .with("default/distcc", Some(&fs::read_to_string(tree("packaging/config/default/distcc")).unwrap()));
    assert_eq!(defaults.run(&["run", "--daemon"]).out(), "TMPDIR=/place --daemon --nice 10\n");
    assert_eq!(defaults.run(&["check"]).code(), 1);
}

#[test]
fn the_server_starts_where_it_is_wanted() {
    let defaults = Defaults::new();
    let cases: &[(Option<&str>, i32)] = &[
        (Some("STARTDISTCC=\"true\""), 0),
        (Some("STARTDISTCC=YES"), 0),
        (Some("STARTDISTCC=\"false\""), 1),
        (Some(""), 1),
        (None, 1),
    ];
    for (text, expected) in cases {
        defaults.with("default/distcc", *text);
        let run = defaults.run(&["check"]);
        assert_eq!(run.code(), *expected, "{text:?}: {run}");
        assert_eq!(run.err().contains("STARTDISTCC"), *expected != 0, "{text:?}: {run}");
    }
    // What is no answer is a failure, and not a no: systemd reports 255 and passes over 1.
    assert_eq!(defaults.run(&["chekc"]).code(), 255);
}

#[test]
fn systemd_understands_the_units() {
    let analyze = require("systemd-analyze");
    let sandbox = Sandbox::new();
    let installed = "/usr/libexec/distcc/distccd-defaults";
    let mut units = Vec::new();
    for name in ["distccd.service", "distccd.socket"] {
        let text = fs::read_to_string(tree("packaging/systemd").join(name)).unwrap();
        let here = tree("packaging/libexec/distccd-defaults");
        assert!(text.contains(installed), "{name}");
        units.push(sandbox.write(name, text.replace(installed, here.to_str().unwrap())));
    }
    // Whether the manual page is installed here says nothing of the unit.
    let run = sandbox.command(&analyze).args(["verify", "--man=no"]).args(&units).run();
    assert_eq!((run.code(), run.err()), (0, String::new()), "{run}");
}

#[test]
fn the_sample_for_xinetd_serves() {
    let xinetd = require("xinetd");
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!("skipped: only root can start xinetd");
        return;
    }
    let sandbox = Sandbox::new();
    let port = free_port();
    let clients = sandbox.write("clients.allow", "127.0.0.1\n");
    let text = fs::read_to_string(tree("packaging/xinetd/distcc")).unwrap();
    let daemon = sandbox.path("bin/distccd");
    let replaced = [
        ("disable      = yes", "disable      = no".to_string()),
        ("port         = 3632", format!("port         = {port}")),
        ("user         = distccd", "user         = root".to_string()),
        ("/usr/bin/distccd", daemon.display().to_string()),
        ("/etc/distcc/clients.allow", clients.display().to_string()),
    ];
    let text = replaced.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    let configuration = sandbox.write("xinetd.conf", text);
    let server = sandbox.command(xinetd).env("TMPDIR", sandbox.server_directory());
    let server = server.args(["-dontfork", "-f"]).args([&configuration]);
    let mut server = server.args(["-pidfile"]).args([sandbox.path("xinetd.pid")]).start();
    wait_until("xinetd", || TcpStream::connect(("127.0.0.1", port)).is_ok() || !server.is_running());

    sandbox.write("a.c", "int a;\n");
    let client = sandbox.distcc(["gcc", "-c", "a.c"]).hosts(&format!("127.0.0.1:{port}"));
    client.env("DISTCC_FALLBACK", "0").run().assert_quiet_success();
    assert!(!sandbox.read("a.o").is_empty());
    server.signal("TERM");
    server.finish();
    sandbox.finish([]);
}
