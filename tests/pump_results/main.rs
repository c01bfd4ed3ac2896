//! The same result in pump mode: object, dependency file, diagnostics and exit status of a command are byte for
//! byte those of a local compile, and the job really was preprocessed and compiled by the server.
//!
//! Each command of a table is run locally, and then through our client, include server and daemon in a directory
//! of the same name. A tap on the wire tells which version of the protocol was spoken.

mod cases;
mod files;
#[path = "../support/mod.rs"]
mod support;

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use cases::{Case, Place};
use files::populate;
use support::{Daemon, Outcome, Pump, Run, Sandbox, Tap, Tree, require};

/// How the include server comes to be, and where the daemon's compilers run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    /// `pump --startup`; a root of its own for each job.
    Wrapped,
    /// Started by the first client that needs it; the same daemon.
    Automatic,
    /// `pump --startup`; below a temporary directory of the daemon, as where the kernel forbids namespaces.
    Prefixed,
}

const MODES: [Mode; 3] = [Mode::Wrapped, Mode::Automatic, Mode::Prefixed];

struct Done {
    outcome: Outcome,
    /// The files that were not there before.
    outputs: Tree,
}

/// Takes away what a command made: the files that are not among `sources`.
fn take_outputs(sandbox: &Sandbox, sources: &Tree) -> Tree {
    let mut tree = sandbox.tree();
    tree.0.retain(|name, content| sources.0.get(name) != Some(content));
    for name in tree.0.keys() {
        assert!(!sources.0.contains_key(name), "{} was changed", name.display());
        fs::remove_file(sandbox.work(name)).unwrap();
    }
    tree
}

/// A command of a table: variables, then words.
struct Command {
    variables: Vec<(String, String)>,
    words: Vec<OsString>,
}

fn parse(sandbox: &Sandbox, text: &str) -> Command {
    let replace = |word: &str| {
        let work = sandbox.path("work").display().to_string();
        let top = sandbox.path("").display().to_string();
        word.replace('␣', " ").replace("{work}", &work).replace("{top}", top.trim_end_matches('/'))
    };
    let is_variable = |word: &&str| {
        word.split_once('=')
            .is_some_and(|(name, _)| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'))
    };
    let words: Vec<&str> = text.split(' ').collect();
    let variables = words.iter().copied().take_while(is_variable).filter_map(|word| word.split_once('='));
    let variables: Vec<_> = variables.map(|(name, value)| (name.to_owned(), replace(value))).collect();
    let words = words[variables.len()..].iter().map(|word| OsString::from(replace(word))).collect();
    Command { variables, words }
}

impl Command {
    /// The command's variables and directory. One that says where it is, is there.
    fn dress(&self, run: Run) -> Run {
        let mut run = run;
        for (name, value) in &self.variables {
            run = run.env(name, value);
            if name == "PWD" && Path::new(value).is_dir() {
                run = run.cwd(value);
            }
        }
        run
    }
}

/// A daemon with a tap before it, and an include server.
struct Farm<'a> {
    sandbox: &'a Sandbox,
    daemon: Daemon,
    tap: Tap,
    pump: Option<Pump>,
}

impl<'a> Farm<'a> {
    fn start(sandbox: &'a Sandbox, mode: Mode) -> Farm<'a> {
        let mut daemon = sandbox.daemon();
        if mode == Mode::Prefixed {
            daemon = daemon.env("DISTCCD_NAMESPACES", "0");
        }
        let daemon = daemon.start();
        let tap = Tap::before(daemon.port());
        let pump = (mode != Mode::Automatic).then(|| Pump::start(sandbox, &tap.pump_host()));
        Farm { sandbox, daemon, tap, pump }
    }

    fn run(&self, command: &Command, sources: &Tree) -> Done {
        let run = command.dress(self.sandbox.distcc(&command.words).hosts(&self.tap.pump_host()));
        let run = match &self.pump {
            Some(pump) => pump.around(run),
            None => run.env_remove("DISTCC_PUMP"),
        };
        Done { outcome: run.run(), outputs: take_outputs(self.sandbox, sources) }
    }

    fn stop(self) {
        match self.pump {
            Some(pump) => {
                let outcome = pump.stop(self.sandbox);
                assert!(!outcome.err().contains("demoted"), "{outcome}");
            }
            None => self.sandbox.end_background_server(),
        }
        let mut daemon = self.daemon;
        daemon.stop();
    }
}

fn locally(sandbox: &Sandbox, command: &Command, sources: &Tree) -> Done {
    let run = sandbox.command(&command.words[0]).args(&command.words[1..]);
    Done { outcome: command.dress(run).run(), outputs: take_outputs(sandbox, sources) }
}

/// Versions of the protocol that a job in such a place speaks.
fn versions(place: Place) -> &'static [u32] {
    match place {
        Place::Server | Place::ServerAndHere => &[3],
        Place::Plain => &[2],
        Place::Here => &[],
    }
}

/// What compilers said. That pump mode is of no use for a source is said by the client.
fn said(outcome: &Outcome) -> Vec<u8> {
    let own =
        |line: &&[u8]| !(line.starts_with(b"distcc[") && line.windows(9).any(|part| part == b"pump mode"));
    outcome.stderr.split_inclusive(|byte| *byte == b'\n').filter(own).flatten().copied().collect()
}

/// What differs between the two results.
fn differences(local: &Done, remote: &Done) -> Vec<String> {
    let mut faults = Vec::new();
    if remote.outcome.code() != local.outcome.code() {
        faults.push(format!("exit {} instead of {}", remote.outcome.code(), local.outcome.code()));
    }
    if remote.outcome.stdout != local.outcome.stdout || said(&remote.outcome) != local.outcome.stderr {
        faults.push(format!("says: {}\nlocally: {}", remote.outcome, local.outcome));
    }
    let difference = local.outputs.difference(&remote.outputs);
    if !difference.is_empty() {
        faults.push(format!("files (first: local):\n{difference}"));
    }
    faults
}

fn check(cases: &[Case]) {
    for tool in ["gcc", "g++", "clang", "clang++"] {
        require(tool);
    }
    let sandbox = Sandbox::new();
    populate(&sandbox);
    let sources = sandbox.tree();
    let commands: Vec<Command> = cases.iter().map(|(text, _)| parse(&sandbox, text)).collect();
    let local: Vec<Done> = commands.iter().map(|command| locally(&sandbox, command, &sources)).collect();
    let mut faults = Vec::new();
    for mode in MODES {
        let farm = Farm::start(&sandbox, mode);
        // Who started the include server makes no difference to it: a part of the commands is enough to see that.
        let step = if mode == Mode::Automatic { 5 } else { 1 };
        for (((text, place), command), local) in cases.iter().zip(&commands).zip(&local).step_by(step) {
            if mode == Mode::Prefixed && cases::BEYOND_ROOT.iter().any(|part| text.contains(part)) {
                continue;
            }
            let remote = farm.run(command, &sources);
            let spoken = farm.tap.take_versions();
            let beyond = |part: &&str| mode == Mode::Prefixed && text.contains(*part);
            if cases::BEYOND_PREFIXES.iter().any(beyond) {
                assert_eq!(spoken, [3, 2], "{text}: {}", remote.outcome);
                remote.outcome.assert_quiet_success();
                continue;
            }
            let mut found = differences(local, &remote);
            if spoken != versions(*place) {
                found.push(format!("{place:?}, but requests of versions {spoken:?}: {}", remote.outcome));
            }
            faults.extend(found.into_iter().map(|fault| format!("{mode:?}: {text}: {fault}")));
            let _ = fs::remove_dir_all(sandbox.path("distcc/lock"));
        }
        farm.stop();
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n\n"));
    sandbox.assert_clean();
}

#[test]
fn what_debuggers_are_told_is_what_a_local_compile_tells_them() {
    check(cases::DEBUGGING);
}

#[test]
fn outputs_are_where_a_local_compile_puts_them() {
    check(cases::OUTPUTS);
}

#[test]
fn diagnostics_are_those_of_a_local_compile() {
    check(cases::DIAGNOSTICS);
}

#[test]
fn a_clients_surroundings_travel_with_the_job() {
    check(cases::SURROUNDINGS);
}

#[test]
fn headers_are_found_where_a_local_compile_finds_them() {
    check(cases::SEARCH);
}

#[test]
fn dependency_files_are_those_of_a_local_compile() {
    check(cases::DEPENDENCIES);
}

#[test]
fn every_language_gives_the_local_result() {
    check(cases::LANGUAGES);
}
