//! A service's name in a host list (`_distcc._tcp.example.net/8,lzo`): DNS says which hosts it has (SRV, RFC 2782).
//!
//! Knows the entry's grammar, and the file in which an answer is kept until it is too old, so that only the first job
//! asks. Who is asked, and how, is [`crate::hosts::name_server`]'s.
//!
//! ```text
//! dns/NAME    until SECONDS         the answer is good until then (Unix time)
//!             answered SECONDS      when it came
//!             # CAUSE               why there is none, or none newer
//!             HOST:PORT             one a line, best first
//! ```

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::hosts::name_server::{self, Answer, Target};
use crate::hosts::spec::{self, Host, SpecError};
use crate::log_info;
use crate::sys::lock::LockFile;
use crate::sys::open;
use crate::sys::temp::OutputFile;

/// The directory in DISTCC_DIR.
const DIRECTORY: &str = "dns";
/// Held by who asks: a build of a hundred jobs asks once.
const LOCK: &str = "lock";
/// Shortest and longest time an answer is kept, whatever it says itself, in seconds: an answer for less would be asked
/// for by every job, and a mistake is not to last for days.
const KEPT_SECONDS_MIN: u64 = 10;
const KEPT_SECONDS_MAX: u64 = 3600;
/// How long a name server that did not answer is left alone, in seconds.
const FAILURE_SECONDS: u64 = 30;
/// How long an old answer serves while no newer one is to be had, in seconds: a day.
const STALE_SECONDS_MAX: u64 = 24 * 3600;
/// Most hosts of one service that are used.
pub const HOSTS_MAX: usize = 512;
/// Longest file that is read, in bytes: that many hosts with the longest names.
const FILE_BYTES_MAX: usize = HOSTS_MAX * 300;

/// An entry of a host list that names a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEntry {
    /// The name to ask for: `_distcc._tcp.example.net`.
    pub name: String,
    /// What follows it, for each host: `/8,lzo`.
    options: String,
}

/// What is known of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    until: u64,
    answered: u64,
    cause: Option<String>,
    hosts: Vec<String>,
}

impl ServiceEntry {
    /// Reads a word, if it is one of a service: its first two labels are `_SERVICE._tcp`.
    pub fn parse(word: &str) -> Option<Result<ServiceEntry, SpecError>> {
        let end = word.find(['/', ',', '=']).unwrap_or(word.len());
        let (name, options) = word.split_at(end);
        let mut labels = name.split('.');
        let is_service = labels.next().is_some_and(|label| label.len() > 1 && label.starts_with('_'))
            && labels.next().is_some_and(|label| label.eq_ignore_ascii_case("_tcp"));
        if !is_service || name.contains([':', '@']) {
            return None;
        }
        // Options are judged before anybody is asked.
        let checked = spec::parse_word(&format!("host{options}"))
            .map_err(|error| SpecError { word: word.to_owned(), ..error });
        Some(checked.map(|_| ServiceEntry { name: name.to_owned(), options: options.to_owned() }))
    }

    /// The hosts the service has now, best first. The error is a text that names the service.
    pub fn hosts(&self, distcc_directory: Option<&Path>) -> Result<Vec<Host>, String> {
        let known = match distcc_directory {
            None => Known::default().renewed(self.ask(), now()),
            Some(directory) => self.known(&directory.join(DIRECTORY)),
        };
        let words = known.hosts.iter().map(|host| format!("{host}{}", self.options));
        let hosts: Vec<Host> = words.filter_map(|word| spec::parse_word(&word).ok()).collect();
        if let (true, cause) = (hosts.is_empty(), known.cause) {
            let cause = cause.unwrap_or_else(|| "it has no hosts".to_owned());
            return Err(format!("service {}: {cause}", self.name));
        }
        Ok(hosts)
    }

    fn ask(&self) -> Result<Answer, name_server::Failure> {
        name_server::services(&self.name)
    }

    /// What the file says, or if that is too old what a name server says; other jobs wait for the one that asks.
    fn known(&self, directory: &Path) -> Known {
        let file = self.file(directory);
        let known = Known::read(&file);
        if known.until > now() && known.until <= now() + KEPT_SECONDS_MAX {
            return known;
        }
        let _ = fs::create_dir_all(directory);
        let lock = LockFile::open(&directory.join(LOCK)).ok();
        if let Some(lock) = &lock {
            // Who has an answer that has just become too old does not wait for another job's question.
            let is_ours = lock.try_lock().unwrap_or(true);
            if !is_ours && !known.hosts.is_empty() {
                return known;
            }
            if !is_ours {
                // Whoever has it for longer than a question takes does not ask.
                let _ = lock.lock_until(Instant::now() + name_server::TOTAL_TIME_MAX);
            }
        }
        let known = Known::read(&file);
        if known.until > now() && known.until <= now() + KEPT_SECONDS_MAX {
            return known;
        }
        let renewed = known.renewed(self.ask(), now());
        if let Err(error) = renewed.write(&file) {
            log_info!("keep the hosts of {} in {}: {error}", self.name, file.display());
        }
        renewed
    }

    fn file(&self, directory: &Path) -> PathBuf {
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) { c.to_ascii_lowercase() } else { '-' }
        };
        // A file's name has room for 255 bytes; a domain name, too.
        directory.join(self.name.chars().take(250).map(plain).collect::<String>())
    }
}

impl Known {
    /// What is known after a question: old hosts stay while nobody answers.
    fn renewed(self, answer: Result<Answer, name_server::Failure>, now: u64) -> Known {
        match answer {
            Ok(answer) => {
                let seconds = u64::from(answer.seconds).clamp(KEPT_SECONDS_MIN, KEPT_SECONDS_MAX);
                let cause = answer.targets.is_empty().then(|| "it has no hosts".to_owned());
                Known { until: now + seconds, answered: now, cause, hosts: words(answer.targets) }
            }
            Err(failure) => {
                let is_fresh = now.saturating_sub(self.answered) < STALE_SECONDS_MAX && self.answered <= now;
                let hosts = if failure.is_final || !is_fresh { Vec::new() } else { self.hosts };
                let until = now + FAILURE_SECONDS;
                Known { until, answered: self.answered, cause: Some(failure.to_string()), hosts }
            }
        }
    }

    /// What a file says; nothing if it says nothing sensible.
    fn parse(text: &str) -> Known {
        let mut known = Known::default();
        for line in text.lines() {
            let number = |text: &str| text.parse::<u64>().unwrap_or(0);
            if let Some(seconds) = line.strip_prefix("until ") {
                known.until = number(seconds);
            } else if let Some(seconds) = line.strip_prefix("answered ") {
                known.answered = number(seconds);
            } else if let Some(cause) = line.strip_prefix("# ") {
                known.cause = Some(cause.to_owned());
            } else if known.hosts.len() < HOSTS_MAX && is_answer(line) {
                known.hosts.push(line.to_owned());
            }
        }
        known
    }

    fn text(&self) -> String {
        let mut text = format!("until {}\nanswered {}\n", self.until, self.answered);
        if let Some(cause) = &self.cause {
            text.push_str(&format!("# {}\n", cause.replace(['\n', '\r'], " ")));
        }
        for host in &self.hosts {
            text.push_str(host);
            text.push('\n');
        }
        text
    }

    fn read(file: &Path) -> Known {
        let mut text = Vec::new();
        // What cannot be read, or is something else than a file, is as good as none.
        let _ = open::without_waiting(file)
            .and_then(|file| file.take(FILE_BYTES_MAX as u64).read_to_end(&mut text));
        Known::parse(&String::from_utf8_lossy(&text))
    }

    fn write(&self, file: &Path) -> std::io::Result<()> {
        let mut output = OutputFile::create(file)?;
        output.file().write_all(self.text().as_bytes())?;
        output.commit()
    }
}

/// Words of a host list, best first: lower priorities before higher ones, in each the heaviest first.
pub fn words(mut targets: Vec<Target>) -> Vec<String> {
    targets.sort_by(|a, b| {
        (a.priority, u16::MAX - a.weight, &a.host, a.port).cmp(&(
            b.priority,
            u16::MAX - b.weight,
            &b.host,
            b.port,
        ))
    });
    let mut words: Vec<String> = Vec::new();
    for target in targets.into_iter().take(HOSTS_MAX) {
        let word = format!("{}:{}", target.host, target.port);
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

/// Whether a line is what a name server can have said, HOST:PORT: nothing else of a host list has a place in the file.
fn is_answer(line: &str) -> bool {
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port != 0);
    line.split_once(':').is_some_and(|(host, port)| name_server::is_host_name(host) && is_port(port))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::name_server::Failure;

    fn target(priority: u16, weight: u16, host: &str) -> Target {
        Target { priority, weight, port: 3632, host: host.into() }
    }

    #[test]
    fn a_service_is_told_from_a_host() {
        for (word, expected) in [
            ("_distcc._tcp.example.net", Some(("_distcc._tcp.example.net", ""))),
            ("_distcc._tcp.example.net/8,lzo,cpp", Some(("_distcc._tcp.example.net", "/8,lzo,cpp"))),
            ("_distcc._tcp", Some(("_distcc._tcp", ""))),
            ("_distcc._TCP.a.,lzo", Some(("_distcc._TCP.a.", ",lzo"))),
            ("_host", None),
            ("_host.example.net", None),
            ("_distcc._udp.example.net", None),
            ("red", None),
            ("me@_distcc._tcp.example.net", None),
        ] {
            let found = ServiceEntry::parse(word).map(Result::unwrap);
            let found = found.as_ref().map(|entry| (entry.name.as_str(), entry.options.as_str()));
            assert_eq!(found, expected, "{word}");
        }
        let error = ServiceEntry::parse("_distcc._tcp.a,cpp").unwrap().unwrap_err();
        assert_eq!(error.word, "_distcc._tcp.a,cpp");
    }

    #[test]
    fn hosts_are_ordered_by_priority_then_weight() {
        let targets = vec![target(20, 9, "c"), target(10, 1, "b"), target(10, 5, "a"), target(10, 5, "a")];
        assert_eq!(words(targets), ["a:3632", "b:3632", "c:3632"]);
    }

    #[test]
    fn a_file_says_what_was_written() {
        let known = Known {
            until: 7,
            answered: 5,
            cause: Some("two\nlines".into()),
            hosts: vec!["a:1".into(), "b:2".into()],
        };
        let again = Known::parse(&known.text());
        assert_eq!(again, Known { cause: Some("two lines".into()), ..known });
        let text =
            "until x\n\u{0}\nme@red\n@red:run\nlocalhost/9\n-oProxyCommand=x:1\nred:0\nred:1/8,cpp\nred\n";
        assert_eq!(Known::parse(text), Known::default());
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let directory = crate::hosts::tests::TestDirectory::new("service_pipe");
        let pipe = directory.join("_distcc._tcp");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!(Known::read(&pipe), Known::default());
        assert_eq!(Known::read(Path::new("/dev/zero")), Known::default());
    }

    #[test]
    fn old_hosts_serve_for_a_day_while_nobody_answers() {
        let known = Known { until: 100, answered: 50, cause: None, hosts: vec!["a:1".into()] };
        let silent = || Err(Failure { is_final: false, cause: "no answer".into() });
        let renewed = known.clone().renewed(silent(), 200);
        assert_eq!((renewed.until, renewed.hosts.len()), (200 + FAILURE_SECONDS, 1));
        assert_eq!(renewed.cause.as_deref(), Some("no answer"));
        assert!(known.clone().renewed(silent(), 100 + STALE_SECONDS_MAX).hosts.is_empty());
        let gone = Err(Failure { is_final: true, cause: "no such name".into() });
        assert!(known.clone().renewed(gone, 200).hosts.is_empty());
        let answer = Answer { seconds: 1_000_000, targets: vec![target(1, 1, "b")] };
        let renewed = known.renewed(Ok(answer), 200);
        assert_eq!((renewed.until, renewed.hosts), (200 + KEPT_SECONDS_MAX, vec!["b:3632".to_owned()]));
    }
}
