//! `include_server`: its options, which are those of 3.4 in getopt's syntax, and a few of our own.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, PathBuf};
use std::time::Duration;

use crate::include_server::config::{Aids, Config, MailConfig};
use crate::include_server::server;
use crate::log::{self, Level, Sink};
use crate::sys::pattern::Pattern;
use crate::sys::{process, temp};
use crate::{log_error, log_info};

/// The exit status of a wrong call, and of a server that does not start, as in 3.4.
const FAILED: i32 = 1;
/// Descriptors below are the standard streams.
const FIRST_DESCRIPTOR: i32 = 3;
/// Most messages sent by `--email` unless `--email_bound` says otherwise.
const MAILS_DEFAULT: u32 = 3;
/// Where 3.4 sends them unless DISTCC_EMAILLOG_WHOM_TO_BLAME says otherwise.
const MAIL_TO_DEFAULT: &str = "distcc-pump-errors";
/// A directory in memory, where the files for clients of 3.4 are quickest.
const MEMORY_DIRECTORY: &str = "/dev/shm";
/// How many components DISTCC_CLIENT_TMP may have: clients take three off each path, and one is ours.
const PLACE_COMPONENTS_MAX: usize = 2;

/// An option: its long name, its letter (or a blank), what its value is called (empty if it has none), and its line of
/// the help. Options without a line are accepted, without effect.
type Row = (&'static str, char, &'static str, &'static str);

const OPTIONS: &[Row] = &[
    ("port", ' ', "path", "the socket to listen on (necessary)"),
    ("pid_file", ' ', "file", "write the process id there"),
    ("debug_pattern", 'd', "n", "what to report: 1 warnings (default), 2 or more everything"),
    ("email", 'e', "", "send mail about internal errors"),
    ("no-email", ' ', "", "do not (the default)"),
    ("email_bound", ' ', "n", "send no more than N mails (default: 3)"),
    ("path_observation_re", ' ', "re", "warn of each file whose real path matches"),
    ("statistics", 's', "", "print statistics after each answer"),
    ("time", 't', "", "print the time used at the end"),
    ("no_force_dirs", ' ', "", "do not send directories without files"),
    ("verify", 'v', "", "check each answer by running the preprocessor"),
    ("write_include_closure", 'w', "", "write the files of each answer to OBJECT.d_approx"),
    ("foreground", ' ', "", "stay in the foreground"),
    ("idle-timeout", ' ', "seconds", "end when no client came for so long (0: never)"),
    ("exit-on-eof", ' ', "fd", "end when this open descriptor has an end"),
    ("help", 'h', "", "show this help"),
    ("stat_reset_triggers", ' ', "globs", ""),
    ("unsafe_absolute_includes", ' ', "", ""),
    ("unsafe_no_unexpanded_functions", ' ', "", ""),
    ("exact_analysis", 'x', "", ""),
    ("simple_algorithm", ' ', "", ""),
];

/// Runs the include server.
pub fn run(argv: &[OsString]) -> i32 {
    log::set("include_server", Level::Warning, Sink::Stderr);
    let given = match parse(&argv[1..]) {
        Ok(given) => given,
        Err(wrong) => {
            say!("include_server: {wrong}\n{}", help());
            return FAILED;
        }
    };
    if given.has("help") {
        say!("{}", help());
        return 0;
    }
    if given.has("simple_algorithm") {
        eprintln!("include_server: --simple_algorithm: Not implemented");
        return FAILED;
    }
    let config = match configure(&given) {
        Ok(config) => config,
        Err(wrong) => {
            log_error!("{wrong}");
            say!("{}", help());
            return FAILED;
        }
    };
    match config.end_of_build {
        Some(kept) => process::close_inherited_descriptors_except(kept),
        None => process::close_inherited_descriptors(),
    }
    process::keep_new_files_private();
    // So that no directory of a build is kept busy. Every path is absolute by now.
    let _ = env::set_current_dir("/");
    // A bug that one command shows costs that command's answer, not the server.
    std::panic::set_hook(Box::new(|panic| log_error!("internal error: {panic}")));
    match server::run(config) {
        Ok(()) => 0,
        // What went wrong was said; 3.4 knows no other number.
        Err(_) => FAILED,
    }
}

fn help() -> String {
    let mut text = String::from("Usage: include_server --port path [OPTION...]\n");
    for (long, letter, value, line) in OPTIONS.iter().filter(|row| !row.3.is_empty()) {
        let short = if *letter == ' ' { String::new() } else { format!("-{letter}, ") };
        let value = if value.is_empty() { String::new() } else { format!(" {value}") };
        text.push_str(&format!("  {:<30} {line}\n", format!("{short}--{long}{value}")));
    }
    text.push_str("For clients, see INCLUDE_SERVER_PORT in man distcc; pump or distcc usually starts it.");
    text
}

/// The options of a call, in order.
#[derive(Debug, Default)]
struct Given(Vec<(&'static str, OsString)>);

impl Given {
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(given, _)| *given == name)
    }

    /// The last value of an option.
    fn value(&self, name: &str) -> Option<&OsStr> {
        self.0.iter().rev().find(|(given, _)| *given == name).map(|(_, value)| value.as_os_str())
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let number = value.to_str().and_then(|text| text.parse().ok());
        number.map(Some).ok_or_else(|| format!("--{name} {}: want a number", value.display()))
    }
}

/// Reads the words of a call as getopt does: values joined or separate, letters in one word, long names shortened.
fn parse(words: &[OsString]) -> Result<Given, String> {
    let mut given = Given::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let bytes = word.as_bytes();
        if let Some(long) = bytes.strip_prefix(b"--") {
            let at = long.iter().position(|byte| *byte == b'=');
            let (name, joined) = at.map_or((long, None), |at| (&long[..at], Some(&long[at + 1..])));
            let row = long_option(&String::from_utf8_lossy(name))?;
            let value = match (row.2.is_empty(), joined) {
                (true, Some(_)) => return Err(format!("option --{} takes no value", row.0)),
                (true, None) => OsString::new(),
                (false, Some(joined)) => OsString::from_vec(joined.to_vec()),
                (false, None) => words.next().cloned().ok_or_else(|| lacks_value(row))?,
            };
            given.0.push((row.0, value));
            continue;
        }
        let Some(mut letters) = bytes.strip_prefix(b"-").filter(|letters| !letters.is_empty()) else {
            return Err(format!("{}: not an option", word.display()));
        };
        while let Some((letter, rest)) = letters.split_first() {
            let row = OPTIONS
                .iter()
                .find(|row| row.1 == char::from(*letter) && *letter != b' ')
                .ok_or_else(|| format!("option -{} not recognized", letter.escape_ascii()))?;
            letters = rest;
            let mut value = OsString::new();
            if !row.2.is_empty() {
                value = match std::mem::take(&mut letters) {
                    [] => words.next().cloned().ok_or_else(|| lacks_value(row))?,
                    joined => OsString::from_vec(joined.to_vec()),
                };
            }
            given.0.push((row.0, value));
        }
    }
    Ok(given)
}

fn lacks_value(row: &Row) -> String {
    format!("option --{} requires a value", row.0)
}

fn long_option(name: &str) -> Result<&'static Row, String> {
    let mut fitting = OPTIONS.iter().filter(|row| row.0.starts_with(name));
    let exact = OPTIONS.iter().find(|row| row.0 == name);
    match (exact, fitting.next(), fitting.next()) {
        (Some(row), _, _) | (None, Some(row), None) => Ok(row),
        (None, Some(_), Some(_)) => Err(format!("option --{name} is not a unique prefix")),
        (None, None, _) => Err(format!("option --{name} not recognized")),
    }
}

fn configure(given: &Given) -> Result<Config, String> {
    let debug: u32 = given.number("debug_pattern")?.unwrap_or(1);
    let level = match debug {
        0 => Level::Error,
        1 => Level::Warning,
        _ => Level::Debug,
    };
    log::set("include_server", level, Sink::Stderr);
    for (name, _, _, _) in OPTIONS.iter().filter(|row| row.3.is_empty() && given.has(row.0)) {
        log_info!("--{name} is not needed: answers are checked against the file system each time");
    }
    let absolute = |name: &str| {
        let value = given.value(name)?;
        Some(std::path::absolute(value).map_err(|error| format!("--{name} {}: {error}", value.display())))
    };
    let observed = given.value("path_observation_re").map(|text| {
        let text = text.to_string_lossy();
        Pattern::new(&text).map_err(|error| format!("--path_observation_re {text}: {error}"))
    });
    let seconds: Option<u64> = given.number("idle-timeout")?;
    let end_of_build: Option<i32> = given.number("exit-on-eof")?;
    if let Some(number) = end_of_build.filter(|number| *number < FIRST_DESCRIPTOR) {
        return Err(format!("--exit-on-eof {number}: want a descriptor above the standard streams"));
    }
    let most_mails = given.number("email_bound")?.unwrap_or(MAILS_DEFAULT);
    // Of --email and --no-email the later one counts.
    let mail = given.0.iter().rev().find(|(name, _)| matches!(*name, "email" | "no-email"));
    let environment = Environment::read();
    Ok(Config {
        socket: absolute("port").ok_or("--port is missing: no path to listen on")??,
        pid_file: absolute("pid_file").transpose()?,
        foreground: given.has("foreground"),
        idle_timeout: seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs),
        end_of_build,
        mirror: mirror_place(environment.client_tmp)?,
        search_path: environment.search_path,
        times: given.has("time"),
        aids: Aids {
            force_directories: !given.has("no_force_dirs"),
            observed: observed.transpose()?,
            statistics: given.has("statistics"),
            write_closure: given.has("write_include_closure"),
            verify: given.has("verify"),
        },
        mail: mail
            .filter(|(name, _)| *name == "email")
            .map(|_| MailConfig { to: environment.mail_to, most: most_mails }),
    })
}

/// The include server's environment.
struct Environment {
    search_path: OsString,
    client_tmp: Option<OsString>,
    mail_to: OsString,
}

impl Environment {
    fn read() -> Environment {
        let non_empty = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        Environment {
            search_path: env::var_os("PATH").unwrap_or_default(),
            client_tmp: non_empty("DISTCC_CLIENT_TMP"),
            mail_to: non_empty("DISTCC_EMAILLOG_WHOM_TO_BLAME").unwrap_or_else(|| MAIL_TO_DEFAULT.into()),
        }
    }
}

/// Where the files for clients of 3.4 go.
fn mirror_place(client_tmp: Option<OsString>) -> Result<PathBuf, String> {
    let Some(place) = client_tmp.map(PathBuf::from) else {
        let memory = PathBuf::from(MEMORY_DIRECTORY);
        return Ok(if temp::is_usable_directory(&memory) { memory } else { "/tmp".into() });
    };
    let plain = |part: &Component<'_>| matches!(part, Component::Normal(_) | Component::RootDir);
    let parts = place.components().filter(|part| matches!(part, Component::Normal(_))).count();
    if !place.is_absolute() || !place.components().all(|part| plain(&part)) || parts > PLACE_COMPONENTS_MAX {
        return Err(format!(
            "DISTCC_CLIENT_TMP={}: want an absolute path of at most two directories",
            place.display()
        ));
    }
    Ok(place.components().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(words: &[&str]) -> Result<Given, String> {
        parse(&words.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_taken_as_getopt_takes_them() {
        let want = [("port", "/s"), ("debug_pattern", "3"), ("statistics", ""), ("time", "")];
        for words in [
            ["--port=/s", "-d3", "-s", "-t"].as_slice(),
            &["--port", "/s", "-d", "3", "-st"],
            &["--po", "/s", "--debug_pattern=3", "--statistics", "--time"],
            &["--port=/s", "--debug=3", "-st"],
        ] {
            let given = given(words).unwrap();
            let found: Vec<_> =
                given.0.iter().map(|(name, value)| (*name, value.to_str().unwrap())).collect();
            assert_eq!(found, want, "{words:?}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (words, message) in [
            (["--bogus"].as_slice(), "--bogus not recognized"),
            (&["--stat"], "not a unique prefix"),
            (&["--port"], "requires a value"),
            (&["--time=3"], "takes no value"),
            (&["-q"], "-q not recognized"),
            (&["stray"], "not an option"),
        ] {
            let error = given(words).unwrap_err();
            assert!(error.contains(message), "{words:?}: {error}");
        }
        let fault = |words: &[&str]| configure(&given(words).unwrap()).unwrap_err();
        assert!(fault(&[]).contains("--port"));
        assert!(fault(&["--port=/s", "--idle-timeout=soon"]).contains("want a number"));
        assert!(fault(&["--port=/s", "--path_observation_re=("]).contains("--path_observation_re"));
    }

    #[test]
    fn the_place_for_old_clients_has_at_most_two_directories() {
        let place = |text: &str| mirror_place(Some(text.into()));
        assert_eq!(place("/var/tmp/").unwrap(), PathBuf::from("/var/tmp"));
        assert_eq!(place("/").unwrap(), PathBuf::from("/"));
        for bad in ["tmp", "/a/b/c", "/a/../b"] {
            assert!(place(bad).unwrap_err().contains("DISTCC_CLIENT_TMP"), "{bad}");
        }
    }
}
