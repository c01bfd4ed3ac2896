//! The rules of ARCHITECTURE.md that a text search can check. Knows file names and words, no Rust.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What each module of the crate may use beside itself. An arrow of use only ever goes down this table.
const LAYERS: &[(&str, &[&str])] = &[
    (
        "applets",
        &[
            "client",
            "daemon",
            "doctor",
            "include_scan",
            "include_server",
            "monitor",
            "probe",
            "pump",
            "trace",
            "hosts",
            "toolchain",
            "compiler_args",
            "protocol",
            "checksum",
            "exit_code",
            "log",
            "sys",
        ],
    ),
    ("doctor", &["client", "hosts", "compiler_args", "protocol", "exit_code", "log", "sys"]),
    (
        "client",
        &["monitor", "trace", "mail", "hosts", "compiler_args", "protocol", "exit_code", "log", "sys"],
    ),
    ("daemon", &["toolchain", "compiler_args", "protocol", "checksum", "exit_code", "log", "sys"]),
    ("include_scan", &["compiler_args", "protocol", "checksum", "exit_code", "log", "sys"]),
    (
        "include_server",
        &["include_scan", "compiler_args", "mail", "protocol", "checksum", "exit_code", "log", "sys"],
    ),
    ("monitor", &["trace", "hosts", "exit_code", "log", "sys"]),
    ("trace", &["exit_code", "log", "sys"]),
    ("probe", &["protocol", "exit_code", "log", "sys"]),
    ("pump", &["hosts", "exit_code", "log", "sys"]),
    ("hosts", &["protocol", "checksum", "exit_code", "log", "sys"]),
    ("toolchain", &["exit_code", "log", "sys"]),
    ("compiler_args", &["exit_code"]),
    ("protocol", &["checksum", "exit_code"]),
    ("mail", &["exit_code", "sys"]),
    ("log", &["sys"]),
    ("sys", &["exit_code", "log"]),
    ("exit_code", &[]),
    ("checksum", &[]),
];

/// Modules that take bytes and give bytes: what they must not name.
const PURE: &[&str] = &["protocol", "compiler_args"];
const IMPURE: &[&str] =
    &["std::fs", "std::net", "std::env", "std::process", "std::time", "std::thread", "use std::{"];

/// Each dependency's home. `libc` is `sys`'s and has a check of its own.
const HOMES: &[(&str, &[&str])] = &[
    ("argh", &["applets/"]),
    ("crc32fast", &["checksum.rs"]),
    ("mdns_sd", &["daemon/announcer.rs", "hosts/browser.rs"]),
    ("memmap2", &["sys/mapped_file.rs"]),
    ("minilzo_rs", &["protocol/lzo/"]),
    (
        "mio",
        &[
            "daemon/server.rs",
            "daemon/client.rs",
            "daemon/listeners.rs",
            "daemon/staging.rs",
            "daemon/statistics",
            "probe/",
        ],
    ),
    ("serde", &["trace/job.rs"]),
    ("serde_json", &["daemon/statistics/json.rs", "doctor/report.rs", "trace/"]),
    ("simple_dns", &["hosts/name_server.rs"]),
    ("socket2", &["sys/net.rs"]),
];

/// Longest source file, in lines: what a reader can hold in mind.
const LINES_MAX: usize = 560;
/// How far above an unsafe block its justification may stand, in lines.
const SAFETY_LINES_MAX: usize = 6;
/// Names of files that say nothing of what is in them.
const NAMELESS: &[&str] = &["util", "utils", "helper", "helpers", "common", "misc"];

const DAEMON_OPTIONS: &str = "applets/distccd/options.rs";
const DAEMON_ENVIRONMENT: &str = "applets/distccd/configuration.rs";
const INCLUDE_SERVER_OPTIONS: &str = "applets/include_server.rs";
const LISTER_OPTIONS: &str = "applets/lsdistcc.rs";
/// The places that read the environment, one for each program, and the pages that describe what is read.
const ENVIRONMENTS: &[(&str, &str)] = &[
    ("man/distcc.1", "client/settings.rs"),
    ("man/distccd.1", DAEMON_ENVIRONMENT),
    ("man/include_server.1", INCLUDE_SERVER_OPTIONS),
    ("man/lsdistcc.1", LISTER_OPTIONS),
    ("man/pump.1", "pump/settings.rs"),
];
/// The place that hands the environment on.
const CHILD_ENVIRONMENT: &str = "sys/child.rs";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("read {path}: {error}"))
}

fn files_below(directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// Every Rust file below src: its path from there, and its text.
fn sources() -> Vec<(String, String)> {
    let src = root().join("src");
    let mut paths = Vec::new();
    files_below(&src, &mut paths);
    let sources: Vec<_> = paths
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| {
            let name = path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect();
    assert!(sources.len() > 40, "only {} sources found", sources.len());
    sources
}

/// The lines that are not comments, numbered from 1.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// The part of a file above its unit tests.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap()
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether `word` occurs with nothing around it that would make it another word.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(start, _)| {
        let before = text.as_bytes()[..start].last();
        let after = text.as_bytes().get(start + word.len());
        !before.is_some_and(|byte| is_word_byte(*byte)) && !after.is_some_and(|byte| is_word_byte(*byte))
    })
}

fn first_word(text: &str) -> &str {
    let text = text.trim_start();
    &text[..text.bytes().position(|byte| !is_word_byte(byte)).unwrap_or(text.len())]
}

/// The modules of the crate that a line names.
fn modules_named(line: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for part in line.split("crate::").skip(1) {
        match part.strip_prefix('{') {
            Some(list) => names.extend(list.split(',').map(first_word)),
            None => names.push(first_word(part)),
        }
    }
    names.iter().map(|name| if name.starts_with("log_") { "log" } else { name }).collect()
}

fn assert_nothing(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn use_goes_down_the_layers_only() {
    let layer = |name: &str| LAYERS.iter().find(|(layer, _)| *layer == name);
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        let module = name.split('/').next().unwrap().trim_end_matches(".rs");
        if matches!(module, "main" | "lib") {
            continue;
        }
        let Some((_, allowed)) = layer(module) else {
            wrong.push(format!("{name}: module {module} is in no layer"));
            continue;
        };
        for (number, line) in code(&text) {
            for used in modules_named(line) {
                if used != module && layer(used).is_some() && !allowed.contains(&used) {
                    wrong.push(format!("{name}:{number}: {module} uses {used}"));
                }
            }
            if line.contains("super::super::super") {
                wrong.push(format!("{name}:{number}: a path that climbs out of its layer"));
            }
        }
    }
    assert_nothing("uses against the layers", wrong);
}

#[test]
fn pure_modules_know_no_world() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        if !PURE.iter().any(|module| name.starts_with(&format!("{module}/"))) {
            continue;
        }
        for (number, line) in code(&text) {
            let named = IMPURE.iter().chain(&["crate::sys", "crate::log", "unsafe"]);
            wrong.extend(
                named.filter(|word| line.contains(**word)).map(|word| format!("{name}:{number}: {word}")),
            );
        }
    }
    assert_nothing("input, output, environment or time in a pure module", wrong);
}

#[test]
fn unsafe_code_lives_in_sys_and_says_why_it_is_sound() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in code(&text) {
            let (has_unsafe, has_libc) = (has_word(line, "unsafe"), line.contains("libc::"));
            if !name.starts_with("sys/") {
                if has_unsafe || has_libc {
                    wrong.push(format!("{name}:{number}: outside src/sys: {}", line.trim()));
                }
            } else if has_unsafe && !line.contains("allow(unsafe_code") {
                let above = &lines[number.saturating_sub(1 + SAFETY_LINES_MAX)..number];
                let is_justified = |line: &&str| line.contains("// SAFETY:") || line.contains("/// # Safety");
                if !above.iter().any(is_justified) {
                    wrong.push(format!("{name}:{number}: no SAFETY comment: {}", line.trim()));
                }
            }
        }
    }
    assert_nothing("unsafe code", wrong);
}

#[test]
fn only_main_ends_the_process() {
    let mut found = Vec::new();
    for (name, text) in sources() {
        for (number, line) in code(&text) {
            if name != "main.rs" && (line.contains("process::exit") || line.contains("process::abort")) {
                found.push(format!("{name}:{number}"));
            }
        }
    }
    assert_nothing("ends the process", found);
    assert!(read("src/main.rs").contains("process::exit"), "this check looks for the wrong words");
}

#[test]
fn every_dependency_has_one_home() {
    let manifest = read("Cargo.toml");
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    let mut wrong = Vec::new();
    let names = dependencies.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name.trim());
    for name in names.map(|name| name.replace('-', "_")).filter(|name| name != "libc") {
        let Some((_, homes)) = HOMES.iter().find(|(dependency, _)| *dependency == name) else {
            wrong.push(format!("{name} has no home in this table"));
            continue;
        };
        let mut users = 0;
        for (file, text) in sources() {
            for (number, line) in code(&text) {
                if has_word(line, &name) && (line.contains("use ") || line.contains(&format!("{name}::"))) {
                    users += 1;
                    if !homes.iter().any(|home| file.starts_with(home)) {
                        wrong.push(format!("{file}:{number}: {name}"));
                    }
                }
            }
        }
        if users == 0 {
            wrong.push(format!("{name} is used nowhere"));
        }
    }
    assert_nothing("dependencies", wrong);
}

#[test]
fn every_source_says_first_what_it_owns_and_stays_short() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        if !text.starts_with("//! ") {
            wrong.push(format!("{name}: does not begin with //!"));
        }
        if text.lines().count() > LINES_MAX {
            wrong.push(format!("{name}: {} lines, more than {LINES_MAX}", text.lines().count()));
        }
        let stem = Path::new(&name).file_stem().unwrap().to_str().unwrap();
        if NAMELESS.contains(&stem) {
            wrong.push(format!("{name}: a name that says nothing"));
        }
    }
    assert_nothing("source files", wrong);
}

/// The entries (`.TP`, then `.B`) of a section of a manual page: the heading with `\-` made `-`, and the text.
fn entries(page: &str, section: &str) -> Vec<(String, String)> {
    let text = read(page);
    let start = format!("\n.SH {section}\n");
    let body = text.split(&start).nth(1).unwrap_or_else(|| panic!("{page} has no section {section}"));
    let body = body.split("\n.SH ").next().unwrap();
    let entries: Vec<_> = format!("\n{body}")
        .split("\n.TP\n")
        .skip(1)
        .filter_map(|entry| entry.strip_prefix(".B "))
        .map(|entry| {
            let (heading, text) = entry.split_once('\n').unwrap();
            (heading.replace("\\-", "-"), text.to_owned())
        })
        .collect();
    assert!(entries.len() > 1, "{page}, {section}: {} entries", entries.len());
    entries
}

/// The options a text names, long and short, without their values.
fn options_in(text: &str) -> BTreeSet<String> {
    let is_option_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let plain = text.replace("\\fI", " ").replace("\\fR", " ").replace("\\fB", " ");
    plain
        .split(|character: char| !character.is_ascii() || !is_option_byte(character as u8))
        .filter(|word| match word.strip_prefix("--") {
            Some(long) => !long.is_empty(),
            None => word.len() == 2 && word.starts_with('-'),
        })
        .map(str::to_owned)
        .collect()
}

/// The options of `distccd` as its source declares them.
fn declared_options() -> BTreeSet<String> {
    let text = read(&format!("src/{DAEMON_OPTIONS}"));
    let declaration = text.split("struct Options {").nth(1).unwrap().split("\n}").next().unwrap();
    let mut options = BTreeSet::from(["--help".to_owned()]);
    let mut lines = declaration.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(attribute) = line.strip_prefix("#[argh(") else { continue };
        let field = lines.next().unwrap().split(':').next().unwrap().trim_start_matches("pub(super) ");
        if attribute.starts_with("positional") {
            continue;
        }
        let long =
            attribute.split_once("long = \"").map(|(_, rest)| rest.split('"').next().unwrap().to_owned());
        options.insert(format!("--{}", long.unwrap_or(field.replace('_', "-"))));
        if let Some((_, short)) = attribute.split_once("short = '") {
            options.insert(format!("-{}", &short[..1]));
        }
    }
    assert!(options.len() > 20, "{options:?}");
    options
}

#[test]
fn the_manual_of_distccd_has_its_options_and_no_others() {
    let declared = declared_options();
    let described: BTreeSet<String> =
        entries("man/distccd.1", "OPTIONS").iter().flat_map(|(heading, _)| options_in(heading)).collect();
    assert_eq!(described, declared, "manual on the left, source on the right");

    let help = Command::new(env!("CARGO_BIN_EXE_distcc")).arg0("distccd").arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let heads = help.lines().filter_map(|line| line.strip_prefix("  -").map(|rest| format!("-{rest}")));
    let shown: BTreeSet<String> =
        heads.flat_map(|line| options_in(line.split("  ").next().unwrap())).collect();
    assert!(shown.len() > 20, "{help}");
    assert_nothing(
        "options of --help that the manual lacks",
        shown.difference(&described).cloned().collect(),
    );
}

/// The options of `include_server` as the table in its source has them.
fn options_in_table() -> BTreeSet<String> {
    let text = read(&format!("src/{INCLUDE_SERVER_OPTIONS}"));
    let table = text.split("const OPTIONS: ").nth(1).unwrap().split("\n];").next().unwrap();
    let mut options = BTreeSet::new();
    for row in table.lines().filter_map(|line| line.trim().strip_prefix("(\"")) {
        let (long, rest) = row.split_once("\", '").unwrap();
        options.insert(format!("--{long}"));
        if !rest.starts_with(' ') {
            options.insert(format!("-{}", &rest[..1]));
        }
    }
    assert!(options.len() > 20, "{options:?}");
    options
}

#[test]
fn the_manual_of_the_include_server_has_its_options_and_no_others() {
    let entries = entries("man/include_server.1", "OPTIONS");
    let described: BTreeSet<String> = entries.iter().flat_map(|(heading, _)| options_in(heading)).collect();
    assert_eq!(described, options_in_table(), "manual on the left, source on the right");
}

#[test]
fn the_manual_of_lsdistcc_has_its_options_and_no_others() {
    // A row of the table begins with the letter; the value is joined to it.
    let text = read(&format!("src/{LISTER_OPTIONS}"));
    let table = text.split("const OPTIONS: ").nth(1).unwrap().split("\n];").next().unwrap();
    let rows = table.lines().filter_map(|line| line.trim().strip_prefix("('"));
    let mut declared: BTreeSet<String> = rows.map(|row| format!("-{}", &row[..1])).collect();
    declared.insert("--help".to_owned());
    let entries = entries("man/lsdistcc.1", "OPTIONS");
    let described: BTreeSet<String> = entries.iter().flat_map(|(heading, _)| options_in(heading)).collect();
    assert_eq!(described, declared, "manual on the left, source on the right");

    let help = Command::new(env!("CARGO_BIN_EXE_distcc")).arg0("lsdistcc").arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let lines = help.lines().filter_map(|line| line.strip_prefix("  -"));
    let shown: BTreeSet<String> = lines.map(|line| format!("-{}", &line[..1])).collect();
    declared.remove("--help");
    assert_eq!(shown, declared, "{help}");
}

/// The names of variables among the string literals of a file that reads the environment.
fn variables_read(file: &str) -> BTreeSet<String> {
    let text = read(&format!("src/{file}"));
    let at_run_time = code(without_tests(&text)).filter(|(_, line)| !line.contains("env!("));
    let code: Vec<&str> = at_run_time.map(|(_, line)| line).collect();
    let is_name = |word: &&str| {
        word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_uppercase() || b"_0123456789".contains(&byte))
    };
    code.join("\n").split('"').skip(1).step_by(2).filter(is_name).map(str::to_owned).collect()
}

#[test]
fn each_program_reads_its_environment_in_one_place() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        if name == CHILD_ENVIRONMENT || ENVIRONMENTS.iter().any(|(_, file)| *file == name) {
            continue;
        }
        for (number, line) in code(without_tests(&text)) {
            if line.contains("env::var") || line.contains("getenv") {
                wrong.push(format!("{name}:{number}"));
            }
        }
    }
    assert_nothing("reads the environment", wrong);
}

#[test]
fn the_manuals_have_the_variables_that_are_read_and_no_others() {
    for (page, file) in ENVIRONMENTS {
        let (without_effect, described): (Vec<_>, Vec<_>) =
            entries(page, "ENVIRONMENT").into_iter().partition(|(_, text)| text.contains("without effect"));
        let names = |entries: Vec<(String, String)>| -> BTreeSet<String> {
            entries
                .into_iter()
                .flat_map(|(heading, _)| {
                    heading
                        .split([' ', ','])
                        .filter(|word| !word.is_empty())
                        .map(str::to_owned)
                        .collect::<Vec<_>>()
                })
                .collect()
        };
        let (without_effect, described) = (names(without_effect), names(described));
        let read = variables_read(file);
        assert_eq!(described, read, "{page} on the left, {file} on the right");
        assert!(read.is_disjoint(&without_effect), "{page}: {without_effect:?} have an effect");
    }
}

#[test]
fn architecture_names_every_directory() {
    let text = read("ARCHITECTURE.md");
    let mut missing = Vec::new();
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() && !has_word(&text, &name) {
            missing.push(name);
        }
    }
    assert_nothing("directories that ARCHITECTURE.md does not name", missing);
}

#[test]
fn cited_headings_exist() {
    let mut missing = Vec::new();
    let mut cited = 0;
    for (path, text) in sources() {
        // A citation may go on in the next line of a comment.
        let lines = text.lines().map(|line| line.trim_start().trim_start_matches(['/', '!']).trim());
        let text = lines.collect::<Vec<_>>().join(" ");
        for (before, after) in text.match_indices("\" in docs/").map(|(at, _)| text.split_at(at)) {
            let heading = before.rsplit('"').next().unwrap();
            let page = after.trim_start_matches("\" in ").split(".md").next().unwrap();
            let page = format!("{page}.md");
            let is_there =
                |line: &str| line.starts_with('#') && line.trim_start_matches(['#', ' ']) == heading;
            cited += 1;
            if !read(&page).lines().any(is_there) {
                missing.push(format!("{path}: {heading:?} in {page}"));
            }
        }
    }
    assert!(cited > 0, "no citation was found at all");
    assert_nothing("headings that are cited and do not exist", missing);
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file does not find itself.
    let words =
        [["TO", "DO"], ["FIX", "ME"], ["todo", "!("], ["unimplemented", "!("]].map(|parts| parts.concat());
    let mut paths = Vec::new();
    for directory in ["src", "tests", "docs"] {
        files_below(&root().join(directory), &mut paths);
    }
    let mut found = Vec::new();
    for path in paths {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for (index, line) in text.lines().enumerate() {
            let has =
                |word: &String| if word.ends_with('(') { line.contains(word) } else { has_word(line, word) };
            if words.iter().any(has) {
                found.push(format!("{}:{}: {}", path.display(), index + 1, line.trim()));
            }
        }
    }
    assert_nothing("left for later", found);
}

#[test]
fn the_changelog_has_this_version() {
    let heading = env!("CARGO_PKG_VERSION");
    assert!(read("CHANGELOG.md").contains(heading), "CHANGELOG.md has no {heading}");
}
