//! `lsdistcc`: its options, which are those of 3.4 with their values joined to the letter, and its lines.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use crate::log::{self, Level, Sink};
use crate::probe::domain;
use crate::probe::names::{LIST_MAX, Names, Pattern, Reach};
use crate::probe::survey::{self, Finding, Plan};
use crate::probe::target::{TestJob, Trial};
use crate::probe::test_job;
use crate::protocol::Version;
use crate::sys::resolve;
use crate::{log_error, log_warning};

/// The exit status when no name resolves, of a wrong call and of `--help`, as in 3.4.
const FAILED: i32 = 1;
/// Names that are looked for when none are given.
const FORMAT_DEFAULT: &str = "distcc%d";
/// The port that is not printed.
const PORT_DEFAULT: u16 = 3632;

/// An option: its letter, what its value is called (empty if it has none), and its line of the help.
type Row = (char, &'static str, &'static str);

const OPTIONS: &[Row] = &[
    ('p', "compiler", "let each host do a test job with this compiler [none]"),
    ('P', "version", "the protocol version: 1, 2 (,lzo) or 3 (,lzo,cpp) [1]"),
    ('r', "port", "the port of the servers [3632]"),
    ('n', "", "print addresses instead of names"),
    ('l', "", "print each host's latency in milliseconds"),
    ('x', "", "print hosts that are down, too, with ,down"),
    ('v', "", "say on standard error why a host is down; twice: each step"),
    ('d', "", "append this machine's domain to the names"),
    ('t', "seconds", "the time for everything (0: no limit) [7]"),
    ('c', "ms", "the time to connect (0: believe every name that resolves) [900]"),
    ('k', "ms", "the time for the test job (0: connecting is enough) [1500]"),
    ('h', "ms", "ask again for a name that was not answered for so long [500]"),
    ('o', "count", "names of a series asked for at a time, beside one [1]"),
    ('g', "count", "names of a series that may be missing before it ends [0]"),
    ('m', "bits", "stop at an address that differs from the first in these bits [0]"),
];

/// Runs lsdistcc.
pub fn run(argv: &[OsString]) -> i32 {
    log::set("lsdistcc", Level::Warning, Sink::Stderr);
    let options = match Options::parse(&argv[1..]) {
        Ok(options) => options,
        Err(wrong) => {
            // 3.4 has no message, and says how it is called on standard output whatever the reason.
            if let Some(wrong) = wrong {
                log_error!("{wrong}");
            }
            say!("{}", help());
            return FAILED;
        }
    };
    let level = match options.verbose {
        0 => Level::Warning,
        1 => Level::Info,
        _ => Level::Debug,
    };
    log::set("lsdistcc", level, Sink::Stderr);
    let plan = match options.plan() {
        Ok(plan) => plan,
        Err(wrong) => {
            log_error!("{wrong}");
            return FAILED;
        }
    };
    let mut output = io::stdout();
    let mut unwritten = None;
    let mut report = |finding: Finding<'_>| {
        let Some(line) = options.line(&finding) else { return ControlFlow::Continue(()) };
        // Whoever reads this may start with the first server while others are still asked; and if nobody reads it any
        // more there is nothing left to do.
        match output.write_all(line.as_bytes()).and_then(|()| output.flush()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                unwritten = Some(error);
                ControlFlow::Break(())
            }
        }
    };
    let outcome = survey::run(plan, &mut report);
    if let Some(error) = unwritten.filter(|error| error.kind() != io::ErrorKind::BrokenPipe) {
        log_error!("write standard output: {error}");
        return FAILED;
    }
    match outcome {
        // That a name resolves is all that 3.4's status says, and when time is over it is content.
        Ok(summary) if summary.resolved > 0 || summary.expired => 0,
        Ok(_) => FAILED,
        Err(error) => {
            log_error!("look for servers: {error}");
            FAILED
        }
    }
}

fn help() -> String {
    let mut text = String::from(
        "Usage: lsdistcc [OPTION...] [FORMAT | HOST...]\n\
         Prints which distcc servers can be used: the given hosts, or names made of FORMAT,\n\
         in which %d is a number from 1 (default: distcc%d).\n\nOptions; a value is joined to its letter:\n",
    );
    for (letter, value, line) in OPTIONS {
        text.push_str(&format!("  {:<12} {line}\n", format!("-{letter}{}", value.to_uppercase())));
    }
    text.push_str(
        "\nExamples:\n  lsdistcc -pgcc -P3\n  DISTCC_HOSTS=\"$(lsdistcc build1 build2 build3)\" make -j20",
    );
    text
}

/// The options of a call.
#[derive(Clone, Debug)]
struct Options {
    latency: bool,
    numeric: bool,
    with_down: bool,
    verbose: u32,
    with_domain: bool,
    time: Duration,
    ask_again: Duration,
    connect: Duration,
    job_time: Duration,
    common_bits: u32,
    reach: Reach,
    port: u16,
    version: Version,
    compiler: Option<Vec<u8>>,
    words: Vec<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            latency: false,
            numeric: false,
            with_down: false,
            verbose: 0,
            with_domain: false,
            time: Duration::from_secs(7),
            ask_again: Duration::from_millis(500),
            connect: Duration::from_millis(900),
            job_time: Duration::from_millis(1500),
            common_bits: 0,
            reach: Reach { overlap: 1, gap: 0 },
            port: PORT_DEFAULT,
            version: Version::PLAIN,
            compiler: None,
            words: Vec::new(),
        }
    }
}

impl Options {
    /// Reads the options before the first word that is none. Only the first letter after a dash counts, as in 3.4. An
    /// error has a text unless help was asked for.
    fn parse(words: &[OsString]) -> Result<Options, Option<String>> {
        let mut options = Options::default();
        let mut rest = words;
        while let Some((word, after)) = rest.split_first()
            && let Some(option) = word.as_bytes().strip_prefix(b"-")
        {
            rest = after;
            if option == b"-help" {
                return Err(None);
            }
            let (letter, value) =
                option.split_first().map_or((0, &[][..]), |(letter, value)| (*letter, value));
            if !options.set(char::from(letter), value) {
                let message = match OPTIONS.iter().any(|row| row.0 == char::from(letter)) {
                    true => format!("{}: not a value this option takes", word.display()),
                    false => format!("{}: no such option", word.display()),
                };
                return Err(Some(message));
            }
        }
        options.words = rest.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        Ok(options)
    }

    /// Takes one option; whether it is one with such a value.
    fn set(&mut self, letter: char, value: &[u8]) -> bool {
        let number = leading_number(value);
        let milliseconds = || number.map(Duration::from_millis);
        let in_range = |least, most| number.filter(|number| (least..=most).contains(number));
        /// Puts a value in its place if there is one.
        fn put<T>(place: &mut T, value: Option<T>) -> bool {
            value.map(|value| *place = value).is_some()
        }
        match letter {
            'l' => self.latency = true,
            'n' => self.numeric = true,
            'x' => self.with_down = true,
            'v' => self.verbose += 1,
            'd' => self.with_domain = true,
            't' => return put(&mut self.time, number.map(Duration::from_secs)),
            'h' => return put(&mut self.ask_again, milliseconds()),
            'c' => return put(&mut self.connect, milliseconds()),
            'k' => return put(&mut self.job_time, milliseconds()),
            'm' => return put(&mut self.common_bits, in_range(0, 31).map(|bits| bits as u32)),
            'o' => return put(&mut self.reach.overlap, number.map(|number| number as usize)),
            'g' => return put(&mut self.reach.gap, number.map(|number| number as usize)),
            'r' => return put(&mut self.port, in_range(1, 65535).map(|port| port as u16)),
            'P' => {
                let version = in_range(1, 3).and_then(|number| Version::from_wire(number as u32));
                return put(&mut self.version, version);
            }
            'p' if !value.is_empty() => self.compiler = Some(value.to_vec()),
            _ => return false,
        }
        true
    }

    fn plan(&self) -> Result<Plan, String> {
        let domain = match self.with_domain {
            true => {
                let error = "option -d: neither HOST, HOSTNAME nor this machine's own name has a domain";
                Some(domain::of_this_machine(&own_names()).ok_or(error)?)
            }
            false => None,
        };
        let with_domain = |word: &str| match &domain {
            Some(domain) if resolve::in_numbers(word, 0).is_none() => format!("{word}.{domain}"),
            _ => word.to_owned(),
        };
        let first = self.words.first().map_or(FORMAT_DEFAULT, String::as_str);
        let names = match Pattern::parse(&with_domain(first)) {
            Some(pattern) => {
                if self.words.len() > 1 {
                    log_warning!("{first} is a format: the words after it are not used");
                }
                Names::Series(pattern)
            }
            None => Names::List(self.words.iter().map(|word| with_domain(word)).collect()),
        };
        if let Names::List(list) = &names
            && list.len() > LIST_MAX
        {
            return Err(format!("{} hosts are more than {LIST_MAX}", list.len()));
        }
        let job = self.compiler.as_deref().filter(|_| !self.job_time.is_zero()).map(|compiler| TestJob {
            version: self.version,
            request: test_job::request(compiler, self.version),
            time: self.job_time,
        });
        Ok(Plan {
            names,
            reach: self.reach,
            port: self.port,
            trial: (!self.connect.is_zero()).then_some(Trial { connect: self.connect, job }),
            time: (!self.time.is_zero()).then_some(self.time),
            ask_again: self.ask_again.max(Duration::from_millis(1)),
            common_bits: self.common_bits,
        })
    }

    /// A host's line, which is a word of a host list; none if it is not to be printed.
    fn line(&self, finding: &Finding<'_>) -> Option<String> {
        let verdict = &finding.verdict;
        if verdict.up.is_err() && !self.with_down {
            return None;
        }
        let name = match self.numeric {
            true => verdict.address.ip().to_string(),
            false => finding.name.to_owned(),
        };
        // As a host list wants an address with colons.
        let mut line = match name.contains(':') && !name.starts_with('[') {
            true => format!("[{name}]"),
            false => name,
        };
        if self.port != PORT_DEFAULT {
            line.push_str(&format!(":{}", self.port));
        }
        line.push_str(match self.version {
            Version::PUMP => ",lzo,cpp",
            Version::LZO => ",lzo",
            _ => "",
        });
        if verdict.up.is_err() {
            line.push_str(",down");
        }
        if self.latency {
            line.push_str(&format!(" {}", verdict.latency.as_millis()));
        }
        line.push('\n');
        Some(line)
    }
}

/// The number a value begins with, 0 if it begins with none, as 3.4 reads it; `None` for a negative one. What is too
/// large for any of these options is cut to what is still a time.
fn leading_number(value: &[u8]) -> Option<u64> {
    if value.starts_with(b"-") && value.get(1).is_some_and(|byte| (b'1'..=b'9').contains(byte)) {
        return None;
    }
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit());
    let number =
        digits.fold(0_u64, |number, digit| number.saturating_mul(10).saturating_add((digit - b'0').into()));
    Some(number.min(i32::MAX as u64))
}

/// What shells call this machine.
fn own_names() -> Vec<String> {
    ["HOST", "HOSTNAME"].iter().filter_map(|name| env::var(name).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::target::{Down, Verdict};

    fn options(words: &[&str]) -> Result<Options, Option<String>> {
        Options::parse(&words.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn values_are_read_as_3_4_reads_them() {
        for (word, taken) in [
            ("-t", true),
            ("-tx", true),
            ("-t0", true),
            ("-t-1", false),
            ("-h", true),
            ("-h0", true),
            ("-c", true),
            ("-cx", true),
            ("-k-1", false),
            ("-m31", true),
            ("-m32", false),
            ("-m-1", false),
            ("-o0", true),
            ("-o-1", false),
            ("-o100000", true),
            ("-g500000", true),
            ("-g-1", false),
            ("-r0", false),
            ("-rx", false),
            ("-r3633", true),
            ("-P", false),
            ("-P0", false),
            ("-P3", true),
            ("-P4", false),
            ("-p", false),
            ("-pgcc", true),
            ("-lx", true),
            ("-v5", true),
            ("-", false),
            ("--", false),
            ("-z", false),
            ("--help", false),
            ("--version", false),
            ("-h99999999999999999999", true),
        ] {
            assert_eq!(options(&[word]).is_ok(), taken, "{word}");
        }
    }

    #[test]
    fn options_end_at_the_first_word() {
        let options = options(&["-lx", "-v", "-v5", "-c150", "-P2", "a", "-n", "b"]).unwrap();
        assert_eq!((options.latency, options.with_down, options.numeric), (true, false, false));
        assert_eq!((options.verbose, options.version), (2, Version::LZO));
        assert_eq!(options.connect, Duration::from_millis(150));
        assert_eq!(options.words, ["a", "-n", "b"]);
    }

    #[test]
    fn a_line_is_a_word_of_a_host_list() {
        let line = |words: &[&str], name: &str, address: &str, up: bool| {
            let up = if up { Ok(()) } else { Err(Down::ConnectTime(Duration::ZERO)) };
            let address = address.parse().unwrap();
            let verdict = Verdict { address, up, latency: Duration::from_micros(12_900) };
            options(words).unwrap().line(&Finding { name, verdict })
        };
        let here = "127.0.0.1:1";
        for (words, name, address, up, expected) in [
            (["-l"].as_slice(), "h", here, true, Some("h 12\n")),
            (&[], "h", here, true, Some("h\n")),
            (&[], "h", here, false, None),
            (&["-x", "-r3633", "-P3", "-l"], "h", here, false, Some("h:3633,lzo,cpp,down 12\n")),
            (&["-n", "-P2"], "h", here, true, Some("127.0.0.1,lzo\n")),
            (&["-n"], "h", "[fd00::1]:1", true, Some("[fd00::1]\n")),
            (&["-r1"], "fd00::1", "[fd00::1]:1", true, Some("[fd00::1]:1\n")),
            (&["-r1"], "[fd00::1]", "[fd00::1]:1", true, Some("[fd00::1]:1\n")),
        ] {
            assert_eq!(line(words, name, address, up).as_deref(), expected, "{words:?}");
        }
    }
}
