//! The checks of each host, in the order in which a job would meet what they look for. All hosts at once, in threads:
//! they wait, and compute nothing.
//!
//! Names are looked up before there are threads (`sys::resolve` asks for that). A host that is still not done when the
//! time is up is left behind with its thread, and reported as such.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::check::{Check, HostFindings, Verdict};
use super::clock;
use super::object;
use super::specimen::{Specimen, Specimens};
use super::trial::{Answer, Load, Outcome, Way, shortened};
use crate::client::outcome::Fault;
use crate::client::settings::Settings;
use crate::exit_code::ExitCode;
use crate::hosts::backoff::Backoff;
use crate::hosts::spec::{Host, Transport};
use crate::protocol::Version;
use crate::sys::net::Connecting;
use crate::sys::resolve::Lookup;

/// How long a host may be silent over a job of one line. A server that is full lets it wait, so it is not little.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// How long all hosts together may take, after their names are known. Two silences, and a connection.
const TIME_MAX: Duration = Duration::from_secs(45);
/// How many names are looked up at once: each takes a process and a descriptor.
const LOOKUPS_MAX: usize = 100;
/// How many hosts are looked at at once: each takes a thread and two descriptors.
const HOSTS_AT_ONCE_MAX: usize = 256;
/// Room for a thread, in bytes: a job's buffers are not on its stack.
const STACK_BYTES: usize = 1 << 20;
/// How the text of a fault begins that is a server's own answer.
const REFUSED: &str = "refused the job";
/// The difference of clocks that is none, in seconds: a job has begun and ended within it.
const CLOCK_SECONDS_MAX: i64 = 2;

/// One host on its way through the checks.
#[derive(Debug)]
struct Visit {
    index: usize,
    host: Host,
    /// What its name stands for, and how long that took to find out; none for a host that has no name of ours.
    addresses: Option<(io::Result<Vec<SocketAddr>>, Duration)>,
}

/// What all visits share.
#[derive(Debug)]
struct Practice {
    settings: Settings,
    specimens: Specimens,
}

/// Checks all hosts; the findings are in the hosts' order.
pub(super) fn checks(hosts: Vec<Host>, settings: &Settings, specimens: Specimens) -> Vec<HostFindings> {
    let mut findings: Vec<HostFindings> = hosts.iter().map(unfinished).collect();
    let visits: VecDeque<Visit> = looked_up(hosts, settings);
    let threads = visits.len().min(HOSTS_AT_ONCE_MAX);
    let mut settings = settings.clone();
    settings.io_timeout = settings.io_timeout.min(SILENCE_MAX);
    settings.ssh = without_questions(&settings);
    let practice = Arc::new(Practice { settings, specimens });
    let queue = Arc::new(Mutex::new(visits));
    let (report, reports) = mpsc::channel();
    for _ in 0..threads {
        let (queue, practice, report) = (Arc::clone(&queue), Arc::clone(&practice), report.clone());
        let work = move || {
            while let Some(visit) = { queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front() } {
                let mut checks = Vec::new();
                practice.visit(&visit, &mut checks);
                // Nobody listens any more when the time is up.
                let _ = report.send((visit.index, checks));
            }
        };
        // With fewer threads it takes longer.
        let _ = thread::Builder::new().stack_size(STACK_BYTES).spawn(work);
    }
    drop(report);
    let deadline = Instant::now() + TIME_MAX;
    while let Ok((index, checks)) = reports.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        findings[index].checks = checks;
    }
    findings
}

/// What is said of a host that is not heard of again.
fn unfinished(host: &Host) -> HostFindings {
    let words = format!("it keeps us waiting: nothing definite within {} s", TIME_MAX.as_secs());
    let check =
        Check::bad("time", words).mended_by("look at the daemon's log there, or take the host off the list");
    let takes_work = host.transport != Transport::Local && !host.down;
    HostFindings { host: host.word.clone(), takes_work, checks: vec![check] }
}

/// The hosts with their addresses; all names together may take as long as one connection.
fn looked_up(hosts: Vec<Host>, settings: &Settings) -> VecDeque<Visit> {
    let mut visits = VecDeque::new();
    let mut hosts = hosts.into_iter().enumerate().peekable();
    while hosts.peek().is_some() {
        let began = Instant::now();
        let deadline = began + settings.connect_timeout;
        let started: Vec<_> = hosts
            .by_ref()
            .take(LOOKUPS_MAX)
            .map(|(index, host)| {
                let lookup = match &host.transport {
                    Transport::Tcp { name, port } => Some(match u16::try_from(*port) {
                        Ok(port) if port > 0 => Lookup::start(name, port),
                        _ => Err(io::Error::new(
                            io::ErrorKind::InvalidInput,
                            format!("there is no port {port}"),
                        )),
                    }),
                    Transport::Local | Transport::Ssh { .. } => None,
                };
                (index, host, lookup)
            })
            .collect();
        for (index, host, lookup) in started {
            let addresses = lookup.map(|lookup| {
                let addresses = lookup.and_then(|lookup| lookup.finish(deadline));
                (addresses, began.elapsed())
            });
            visits.push_back(Visit { index, host, addresses });
        }
    }
    visits
}

/// The command for ssh hosts, which must not wait for a password that nobody is there to give.
fn without_questions(settings: &Settings) -> Vec<std::ffi::OsString> {
    let mut words = settings.ssh.clone();
    if words.is_empty() {
        words.push("ssh".into());
    }
    let name = Path::new(&words[0]).file_name().map(OsStr::to_os_string);
    if name.is_some_and(|name| name == "ssh") {
        let patience = settings.connect_timeout.as_secs().max(1);
        words.extend(["-o".into(), "BatchMode=yes".into()]);
        words.extend(["-o".into(), format!("ConnectTimeout={patience}").into()]);
    }
    words
}

impl Practice {
    /// All checks of one host, as far as each leads to the next.
    fn visit(&self, visit: &Visit, checks: &mut Vec<Check>) {
        let host = &visit.host;
        checks.push(self.entry(host));
        if host.down || host.transport == Transport::Local || checks[0].verdict == Verdict::Bad {
            return;
        }
        let reached = match &visit.addresses {
            Some((Ok(addresses), time)) => {
                checks.push(name_check(host, addresses, *time));
                self.connect(host, addresses, checks)
            }
            Some((Err(error), _)) => {
                checks.push(Check::bad("name", format!("{}: {error}", host.name())).mended_by(format!(
                    "getent ahosts {}   # and correct the name, or /etc/hosts",
                    host.name()
                )));
                None
            }
            None => Some((host.clone(), "THIS-MACHINE".into())),
        };
        let Some((reached, own_address)) = reached else { return };
        let Some(first) = self.specimens.compilers.first() else {
            checks
                .push(Check::warning("protocol", "not tried: there is no compiler here to make a job with"));
            return;
        };
        let way = Way { host: &reached, settings: &self.settings, environment: &self.specimens.environment };
        let Some(answer) = self.protocols(&way, first, &own_address, checks) else { return };
        self.compilers(&way, answer, &own_address, checks);
        if host.pump {
            self.pump(&way, checks);
        }
    }

    /// What the host's word says, and what is remembered of the host.
    fn entry(&self, host: &Host) -> Check {
        let mode = match (&host.transport, host.compress, host.pump) {
            (Transport::Local, ..) => "jobs are compiled on this machine",
            (_, true, true) => "pump mode",
            (_, true, false) => "plain mode, compressed",
            (_, false, _) => "plain mode, not compressed",
        };
        let words = format!("{} jobs at a time, {mode}", host.slots);
        if host.down {
            return Check::warning("list", format!("{words}; never used, because it has ,down"))
                .mended_by("take ,down off its word in the host list");
        }
        if host.authenticate.is_some() {
            return Check::bad("list", format!("{words}; with ,auth, and this build cannot authenticate"))
                .mended_by("take ,auth off its word in the host list");
        }
        let directory = self.settings.lock_directory();
        let backoff = directory.as_ref().map(|path| Backoff::new(path, self.settings.backoff_period));
        match (backoff, directory) {
            (Some(backoff), Some(directory)) if backoff.is_backed_off(host, SystemTime::now()) => {
                let period = self.settings.backoff_period.as_secs();
                Check::warning(
                    "list",
                    format!("{words}; it failed lately and gets no jobs for up to {period} s"),
                )
                .mended_by(format!(
                    "rm {}/backoff_{}_0",
                    directory.display(),
                    host.lock_name()
                ))
            }
            _ => Check::good("list", words),
        }
    }

    /// Tries the port. The host as it was reached, by number, and how it calls us.
    fn connect(
        &self,
        host: &Host,
        addresses: &[SocketAddr],
        checks: &mut Vec<Check>,
    ) -> Option<(Host, String)> {
        let began = Instant::now();
        let port = addresses.first().map_or(0, SocketAddr::port);
        let connected = Connecting::start(addresses).finish(began + self.settings.connect_timeout);
        let ends = connected.and_then(|stream| Ok((stream.peer_addr()?, stream.local_addr()?)));
        match ends {
            Ok((peer, own)) => {
                let time = milliseconds(began.elapsed());
                checks.push(Check::good("port", format!("{port} answers in {time}")));
                let name = match peer {
                    SocketAddr::V6(peer) if peer.scope_id() != 0 => {
                        format!("{}%{}", peer.ip(), peer.scope_id())
                    }
                    peer => peer.ip().to_string(),
                };
                let transport = Transport::Tcp { name, port: peer.port().into() };
                Some((Host { transport, ..host.clone() }, own.ip().to_string()))
            }
            Err(error) => {
                let (words, remedy) = unreachable(port, &error, self.settings.connect_timeout);
                checks.push(Check::bad("port", words).mended_by(remedy));
                None
            }
        }
    }

    /// Tries the protocol's versions. The first compiler's answer in the host's own version; none if it does no jobs.
    fn protocols(
        &self,
        way: &Way<'_>,
        first: &Specimen,
        own_address: &str,
        checks: &mut Vec<Check>,
    ) -> Option<Result<Answer, Fault>> {
        let wanted = text_version(way.host);
        let began = Instant::now();
        let Outcome { result, ssh } = way.attempt(Load::Text(first, wanted));
        if let Some(check) = silence(&result, ssh.as_deref(), way.host, own_address) {
            checks.push(check);
            return None;
        }
        let mut spoken = BTreeMap::from([(wanted.number(), true)]);
        if way.addresses_ssh() {
            checks.push(Check::good(
                "ssh",
                format!("logs in and compiles in {}", milliseconds(began.elapsed())),
            ));
        } else {
            // Only to be told: a job in its own version has come through.
            let other = if wanted == Version::LZO { Version::PLAIN } else { Version::LZO };
            spoken.insert(other.number(), is_spoken(&way.attempt(Load::Text(first, other)).result));
        }
        let clock = self.specimens.clock.as_ref().map(|clock| way.attempt(Load::Files(clock)).result);
        spoken.insert(Version::PUMP.number(), clock.as_ref().is_some_and(is_spoken));
        let numbers = |is: bool| {
            let numbers = spoken.iter().filter(move |(_, spoken)| **spoken == is);
            numbers.map(|(number, _)| number.to_string()).collect::<Vec<_>>().join(", ")
        };
        let (yes, no) = (numbers(true), numbers(false));
        checks.push(match no.is_empty() {
            true => Check::good("protocol", format!("speaks versions {yes}")),
            false => Check::good("protocol", format!("speaks version {yes}, and does no jobs in {no}")),
        });
        if let Some(Ok(answer)) = &clock {
            checks.extend(clock_check(answer));
        }
        Some(result)
    }

    /// Compares each compiler with the one here. One that is missing matters if no other is there.
    fn compilers(
        &self,
        way: &Way<'_>,
        first: Result<Answer, Fault>,
        own_address: &str,
        checks: &mut Vec<Check>,
    ) {
        let version = text_version(way.host);
        let mut found = Vec::new();
        let mut first = Some(first);
        for specimen in &self.specimens.compilers {
            let result = first.take().unwrap_or_else(|| way.attempt(Load::Text(specimen, version)).result);
            let is_missing = !matches!(&result, Ok(answer) if answer.object.is_some());
            found.push((is_missing, compiler_check(specimen, &result, own_address)));
        }
        let has_one = found.iter().any(|(is_missing, _)| !is_missing);
        checks.extend(found.into_iter().map(|(is_missing, check)| match is_missing && has_one {
            true => Check { verdict: Verdict::Warning, ..check },
            false => check,
        }));
    }

    /// Tries a job with system headers, for each compiler.
    fn pump(&self, way: &Way<'_>, checks: &mut Vec<Check>) {
        for specimen in &self.specimens.compilers {
            let Some((request, expected)) = &specimen.pump else { continue };
            let name = &specimen.name;
            let remedy = "install the same versions of compiler and library headers on both machines, or take ,cpp off \
                          the host's word";
            let check = match way.attempt(Load::Files(request)).result {
                Ok(Answer { object: Some(object), .. }) if object == *expected => {
                    Check::good("headers", format!("pump mode with {name} makes the same object as here"))
                }
                Ok(Answer { object: Some(_), .. }) => {
                    let words =
                        format!("pump mode with {name} makes another object: its system headers are others");
                    Check::warning("headers", words).mended_by(remedy)
                }
                Ok(Answer { said, .. }) => {
                    let words = format!("pump mode with {name} fails there: {}", shortened(&said));
                    Check::warning("headers", words).mended_by(remedy)
                }
                Err(fault) => {
                    let words = format!("no pump mode with {name}: {}", fault_text(&fault));
                    Check::warning("headers", format!("{words}; such jobs are preprocessed here"))
                        .mended_by(remedy)
                }
            };
            checks.push(check);
        }
    }
}

impl Way<'_> {
    fn addresses_ssh(&self) -> bool {
        matches!(self.host.transport, Transport::Ssh { .. })
    }
}

fn text_version(host: &Host) -> Version {
    if host.compress { Version::LZO } else { Version::PLAIN }
}

fn name_check(host: &Host, addresses: &[SocketAddr], time: Duration) -> Check {
    let numbers: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    if numbers.len() == 1 && numbers[0] == host.name() {
        return Check::good("name", "it is an address");
    }
    let time = milliseconds(time);
    Check::good("name", format!("{} is {} (found within {time})", host.name(), numbers.join(", ")))
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn unreachable(port: u16, error: &io::Error, patience: Duration) -> (String, String) {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => (
            format!("nothing listens on port {port} there ({error})"),
            "on the host: systemctl start distcc   # or: distccd --daemon --allow NETWORK; the port is in the host list".into(),
        ),
        io::ErrorKind::TimedOut => (
            format!("no answer from port {port} within {} s: the host is off, or a firewall drops it", patience.as_secs()),
            format!("on the host: nft add rule inet filter input tcp dport {port} accept   # or your firewall's way"),
        ),
        _ => (
            format!("port {port} cannot be reached: {error}"),
            "ip route get ADDRESS   # and see which network it is in".into(),
        ),
    }
}

/// Whether a version was understood, whatever became of the job: a refusal is an answer, too.
fn is_spoken(result: &Result<Answer, Fault>) -> bool {
    result.as_ref().map_or_else(|fault| fault_text(fault).starts_with(REFUSED), |_| true)
}

/// What is to be said of a host that did not take a job at all; none if it did.
fn silence(
    result: &Result<Answer, Fault>,
    ssh: Option<&str>,
    host: &Host,
    own_address: &str,
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
            "it hangs up without a word, as distccd 3.4 does when it refuses a client, a compiler or a version".into(),
            format!("{allow}; or see its log for the reason"),
        ),
        Fault::Host(ExitCode::Timeout, _) => (
            "protocol",
            format!("it takes the connection and no job of one line gets done within {} s: it hangs, is full, or is no \
                     distccd", SILENCE_MAX.as_secs()),
            "on the host: look at its load and at distccd's log".into(),
        ),
        Fault::Host(ExitCode::ProtocolError, _) => (
            "protocol",
            format!("what answers there is no distccd: {text}"),
            "correct the port in the host list".into(),
        ),
        Fault::Host(..) => ("protocol", text, "on the host: look at distccd's log".into()),
        Fault::Unfit(ExitCode::Busy, _) => ("access", text, "wait; or raise --jobs and --queue of distccd there".into()),
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

fn clock_check(answer: &Answer) -> Option<Check> {
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

/// Compares a compiler there with the one here.
fn compiler_check(specimen: &Specimen, result: &Result<Answer, Fault>, own_address: &str) -> Check {
    let name = &specimen.name;
    let install = format!(
        "on the host: install the same compiler, and let distccd know it (update-distcc-symlinks, then restart it); or \
         call it here by a name that both have, such as {name}-VERSION"
    );
    let object = match result {
        Ok(Answer { object: Some(object), .. }) => object,
        Ok(Answer { said, .. }) => {
            return Check::bad("compiler", format!("{name} fails there: {}", shortened(said)))
                .mended_by(install);
        }
        Err(fault) => {
            let remedy = match fault {
                Fault::Host(ExitCode::AccessDenied, _) => {
                    format!("on the host: distccd --allow {own_address}")
                }
                _ => install,
            };
            return Check::bad("compiler", format!("{name}: {}", fault_text(fault))).mended_by(remedy);
        }
    };
    if *object == specimen.object {
        return Check::good("compiler", format!("{name} makes the same object as here"));
    }
    let (Some(there), Some(here)) = (object::facts(object), &specimen.facts) else {
        return Check::warning(
            "compiler",
            format!("{name} makes another object than here, of an unknown kind"),
        );
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
    let release = |facts: &object::Facts| facts.release().map(|(maker, version)| (maker, major(version)));
    if release(&there) == release(here) {
        return Check::warning("compiler", words).mended_by(install);
    }
    Check::bad("compiler", words).mended_by(install)
}
