//! What the outcomes of trials mean, in words, and what mends it. Looks at no host itself.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::check::Check;
use super::clock;
use super::object::{self, Facts};
use super::specimen::Specimen;
use super::trial::{Answer, shortened};
use crate::client::outcome::Fault;
use crate::exit_code::ExitCode;
use crate::hosts::spec::{Host, PORT_DEFAULT, Transport};

/// How the text of a fault begins that is a server's own answer.
const REFUSED: &str = "refused the job";
/// The difference of clocks that is none, in seconds: a job has begun and ended within it.
const CLOCK_SECONDS_MAX: i64 = 2;

/// The name was found.
pub(super) fn name_check(host: &Host, addresses: &[SocketAddr], time: Duration) -> Check {
    let numbers: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    if numbers.len() == 1 && numbers[0] == host.name() {
        return Check::good("name", "it is an address");
    }
    let time = milliseconds(time);
    Check::good("name", format!("{} is {} (found within {time})", host.name(), numbers.join(", ")))
}

/// The name was not found.
pub(super) fn unknown_name(host: &Host, error: &io::Error) -> Check {
    let name = host.name();
    Check::bad("name", format!("{name}: {error}"))
        .mended_by(format!("getent ahosts {name}   # and correct the name in the host list, or /etc/hosts"))
}

/// A time, for a person.
pub(super) fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// The port does not answer.
pub(super) fn unreachable(addresses: &[SocketAddr], error: &io::Error, patience: Duration) -> Check {
    let first = addresses.first().expect("BUG: a name was found");
    let port = first.port();
    let (words, remedy) = match error.kind() {
        io::ErrorKind::ConnectionRefused => (
            format!("nothing listens on port {port} there ({error})"),
            if u32::from(port) == PORT_DEFAULT {
                "on the host: systemctl start distccd   # or: distccd --daemon --allow NETWORK".to_string()
            } else {
                format!(
                    "on the host: distccd --daemon --port {port} --allow NETWORK   # or correct the host list"
                )
            },
        ),
        io::ErrorKind::TimedOut => (
            format!(
                "no answer from port {port} within {} s: the host is off, or a firewall drops it",
                patience.as_secs()
            ),
            format!(
                "on the host: nft add rule inet filter input tcp dport {port} accept   # or your firewall's way"
            ),
        ),
        _ => (
            format!("port {port} cannot be reached: {error}"),
            format!("ip route get {}   # and see which way packets go there", first.ip()),
        ),
    };
    Check::bad("port", words).mended_by(remedy)
}

/// Whether a version was understood, whatever became of the job: a refusal is an answer, too.
pub(super) fn is_spoken(result: &Result<Answer, Fault>) -> bool {
    result.as_ref().map_or_else(|fault| fault_text(fault).starts_with(REFUSED), |_| true)
}

/// What is to be said of a host that did not take a job at all; none if it did. `patience` is for its silence.
pub(super) fn no_answer(
    result: &Result<Answer, Fault>,
    ssh: Option<&str>,
    host: &Host,
    (own_address, patience): (&str, Duration),
) -> Option<Check> {
    let Err(fault) = result else { return None };
    let text = fault_text(fault);
    if let Transport::Ssh { name, user, .. } = &host.transport
        && !text.starts_with(REFUSED)
    {
        let login = user.as_ref().map_or_else(|| name.clone(), |user| format!("{user}@{name}"));
        let said = ssh.map_or(text, |said| format!("no distccd through ssh: {said}"));
        let remedy =
            format!("ssh {login} distccd --version   # it must ask for no password, and find distccd");
        return Some(Check::bad("ssh", said).mended_by(remedy));
    }
    let allow = format!("on the host: start distccd with --allow {own_address}, or add it to clients.allow");
    let (topic, words, remedy) = match fault {
        Fault::Host(ExitCode::AccessDenied, _) => ("access", text, allow),
        Fault::Host(ExitCode::Truncated, _) => (
            "protocol",
            "it hangs up without a word, as distccd 3.4 does to refuse a client, a compiler or a version"
                .into(),
            format!("{allow}; or see its log for the reason"),
        ),
        Fault::Host(ExitCode::Timeout, _) => (
            "protocol",
            format!(
                "it lets us in, and no job of one line is done within {} s: it hangs, is full, or is no distccd",
                patience.as_secs()
            ),
            "on the host: look at its load and at distccd's log".into(),
        ),
        Fault::Host(ExitCode::ProtocolError, _) => (
            "protocol",
            format!("what answers there is no distccd: {text}"),
            "correct the port in the host list".into(),
        ),
        Fault::Host(..) => ("protocol", text, "on the host: look at distccd's log".into()),
        Fault::Unfit(ExitCode::Busy, _) => {
            ("access", text, "wait; or raise --jobs and --queue of distccd there".into())
        }
        // What is wrong with one compiler may be right with the next.
        _ => return None,
    };
    Some(Check::bad(topic, words).mended_by(remedy))
}

fn fault_text(fault: &Fault) -> String {
    match fault {
        Fault::Host(_, text) | Fault::Unfit(_, text) | Fault::Job(_, text) => shortened(text),
        Fault::NeedsText(text) | Fault::IncludeServer(text) => shortened(text),
        Fault::Source { .. } => "the source is refused".into(),
    }
}

/// How its clock compares with ours, if its answer tells.
pub(super) fn clock_check(answer: &Answer) -> Option<Check> {
    let (began, ended) = answer.time;
    let ahead = clock::seconds_ahead(answer.object.as_deref()?, began, ended)?;
    if ahead.abs() <= CLOCK_SECONDS_MAX {
        return Some(Check::good("clock", "agrees with ours, as far as time zones let that be seen"));
    }
    let direction = if ahead > 0 { "ahead of" } else { "behind" };
    let words = format!("is {} s {direction} ours (or more, if it is not in another time zone)", ahead.abs());
    Some(
        Check::warning("clock", words).mended_by("timedatectl set-ntp true   # on the machine that is wrong"),
    )
}

/// A compiler there, compared with the one here.
pub(super) fn compiler_check(specimen: &Specimen, result: &Result<Answer, Fault>) -> Check {
    let name = &specimen.name;
    let install = format!(
        "on the host: install the same compiler, and let distccd know it (update-distcc-symlinks, then restart \
         it); or call it here by a name that both have, such as {name}-VERSION"
    );
    let object = match result {
        Ok(Answer { object: Some(object), .. }) => object,
        Ok(Answer { said, .. }) => {
            let words = format!("{name} fails there: {}", shortened(said));
            return Check::bad("compiler", words).mended_by(install);
        }
        Err(fault) => {
            return Check::bad("compiler", format!("{name}: {}", fault_text(fault))).mended_by(install);
        }
    };
    if *object == specimen.object {
        return Check::good("compiler", format!("{name} makes the same object as here"));
    }
    let (Some(there), Some(here)) = (object::facts(object), &specimen.facts) else {
        let words = format!("{name} makes another object than here, of an unknown kind");
        return Check::warning("compiler", words);
    };
    if there.target != here.target {
        let words = format!("{name} makes objects for {}, not for {}", there.target, here.target);
        let remedy = format!("on the host: install a cross compiler called {name} for {}", here.target);
        return Check::bad("compiler", words).mended_by(remedy);
    }
    if there.compiler == here.compiler {
        let words =
            format!("{name} calls itself the same as here and makes another object: its defaults differ");
        return Check::warning("compiler", words).mended_by(install);
    }
    let words = format!("{name} there is {}; here it is {}", there.text(), here.text());
    let major = |version: &str| version.split('.').next().unwrap_or_default().to_string();
    let release = |facts: &Facts| facts.release().map(|(maker, version)| (maker, major(version)));
    if release(&there) == release(here) {
        return Check::warning("compiler", words).mended_by(install);
    }
    Check::bad("compiler", words).mended_by(install)
}

/// A job with system headers in pump mode; `expected` is what it becomes here.
pub(super) fn headers_check(name: &str, expected: &[u8], result: &Result<Answer, Fault>) -> Check {
    let words = match result {
        Ok(Answer { object: Some(object), .. }) if object == expected => {
            return Check::good("headers", format!("pump mode with {name} makes the same object as here"));
        }
        Ok(Answer { object: Some(_), .. }) => {
            format!("pump mode with {name} makes another object: its system headers are others")
        }
        Ok(Answer { said, .. }) => format!("pump mode with {name} fails there: {}", shortened(said)),
        Err(fault) => {
            format!("no pump mode with {name}: {}; such jobs are preprocessed here", fault_text(fault))
        }
    };
    Check::warning("headers", words).mended_by(
        "install the same versions of compiler and library headers on both machines, or take ,cpp off the host's word",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_compilers_are_left_to_their_own_checks() {
        let host = crate::hosts::spec::parse_word("red").unwrap();
        let check = |fault| no_answer(&Err(fault), None, &host, ("10.0.0.1", Duration::from_secs(15)));
        let missing = || Fault::Unfit(ExitCode::CompilerMissing, "refused the job: no gcc".into());
        assert_eq!(check(missing()), None);
        assert!(is_spoken(&Err(missing())));
        let silent = check(Fault::Host(ExitCode::Timeout, "no byte came".into())).unwrap();
        assert!(silent.words.contains("within 15 s"), "{silent:?}");
        assert!(!is_spoken(&Err(Fault::Host(ExitCode::Timeout, "no byte came".into()))));
        let denied = check(Fault::Host(ExitCode::AccessDenied, "refused the job: you".into())).unwrap();
        assert!(denied.remedy.unwrap().contains("--allow 10.0.0.1"));
    }
}
