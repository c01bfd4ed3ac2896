//! The checks of each host, in the order in which a job would meet what they look for. All hosts at once, in threads:
//! they wait, and compute nothing.
//!
//! A name, or a host, that is still not done when its time is up is left behind with its thread, and reported as such.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::check::{Check, HostFindings, Verdict};
use super::judgment;
use super::specimen::{Specimen, Specimens};
use super::trial::{Answer, Load, Outcome, Way};
use crate::client::outcome::Fault;
use crate::client::settings::Settings;
use crate::hosts::backoff::Backoff;
use crate::hosts::spec::{Host, Transport};
use crate::protocol::Version;
use crate::sys::gssapi;
use crate::sys::net::Connecting;
use crate::sys::resolve;

/// How long a host may be silent over a job of one line. A server that is full lets it wait, so it is not little.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// How long all hosts together may take: a name, a connection, two silences, and some.
const TIME_MAX: Duration = Duration::from_secs(45);
/// How far apart lookups begin: several hundred at once fill the socket of a small name server, which then loses some.
const LOOKUP_INTERVAL: Duration = Duration::from_millis(1);
/// How many hosts are looked at at once: each takes a thread and two descriptors.
const HOSTS_AT_ONCE_MAX: usize = 256;
/// Room for a thread, in bytes: a job's buffers are not on its stack.
const STACK_BYTES: usize = 1 << 20;

/// What all visits share.
#[derive(Debug)]
struct Practice {
    settings: Settings,
    specimens: Specimens,
    /// When the next name may be looked up.
    next_lookup: Mutex<Instant>,
}

/// Checks all hosts; the findings are in the hosts' order.
pub(super) fn checks(hosts: Vec<Host>, settings: &Settings, specimens: Specimens) -> Vec<HostFindings> {
    let mut findings: Vec<HostFindings> = hosts.iter().map(unfinished).collect();
    let visits: VecDeque<(usize, Host)> = hosts.into_iter().enumerate().collect();
    let threads = visits.len().min(HOSTS_AT_ONCE_MAX);
    let mut settings = settings.clone();
    settings.io_timeout = settings.io_timeout.min(SILENCE_MAX);
    settings.ssh = without_questions(&settings);
    let practice = Arc::new(Practice { settings, specimens, next_lookup: Mutex::new(Instant::now()) });
    let queue = Arc::new(Mutex::new(visits));
    let (report, reports) = mpsc::channel();
    for _ in 0..threads {
        let (queue, practice, report) = (Arc::clone(&queue), Arc::clone(&practice), report.clone());
        let work = move || {
            while let Some((index, host)) =
                { queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front() }
            {
                // Nobody listens any more when the time is up.
                let send = |news: Option<Check>| drop(report.send((index, news)));
                practice.visit(&host, &|check| send(Some(check)));
                send(None);
            }
        };
        // With fewer threads it takes longer.
        let _ = thread::Builder::new().stack_size(STACK_BYTES).spawn(work);
    }
    drop(report);
    let deadline = Instant::now() + TIME_MAX;
    while let Ok((index, news)) = reports.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        let checks = &mut findings[index].checks;
        match news {
            // Before what is said of a host that is not heard of again.
            Some(check) => checks.insert(checks.len() - 1, check),
            None => drop(checks.pop()),
        }
    }
    findings
}

/// What is said of a host that is not heard of again.
fn unfinished(host: &Host) -> HostFindings {
    let words = format!("it keeps us waiting: not all could be looked at within {} s", TIME_MAX.as_secs());
    let check =
        Check::bad("time", words).mended_by("look at the daemon's log there, or take the host off the list");
    let takes_work = host.transport != Transport::Local && !host.down;
    HostFindings { host: host.word.clone(), takes_work, checks: vec![check] }
}

/// The command for ssh hosts, which must not wait for a password that nobody is there to give.
fn without_questions(settings: &Settings) -> Vec<OsString> {
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
    fn visit(&self, host: &Host, tell: &dyn Fn(Check)) {
        let entry = self.entry(host);
        let is_used = !host.down && entry.verdict < Verdict::Bad;
        tell(entry);
        if !is_used {
            return;
        }
        let reached = match &host.transport {
            Transport::Local => return,
            Transport::Tcp { name, port } => self.reach(host, name, *port, tell),
            // How it calls us is between ssh and it.
            Transport::Ssh { .. } => Some((host.clone(), "THIS-MACHINE".into())),
        };
        let Some((reached, own_address)) = reached else { return };
        let Some(first) = self.specimens.compilers.first() else {
            tell(Check::warning("protocol", "not tried: there is no compiler here to make a job with"));
            return;
        };
        let way = Way {
            host,
            reached: &reached,
            settings: &self.settings,
            environment: &self.specimens.environment,
        };
        let Some(answer) = self.protocols(&way, first, &own_address, tell) else { return };
        self.compilers(&way, answer, tell);
        if host.pump {
            self.pump(&way, tell);
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
        if host.authenticate.is_some() && !gssapi::IS_BUILT_IN {
            return Check::bad("list", format!("{words}; with ,auth, and {}", gssapi::ABSENT)).mended_by(
                "take ,auth off its word in the host list, if distccd there is run without --auth",
            );
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

    /// Finds the name and tries the port.
    fn reach(&self, host: &Host, name: &str, port: u32, tell: &dyn Fn(Check)) -> Option<(Host, String)> {
        let began = Instant::now();
        let addresses = match u16::try_from(port) {
            Ok(port) if port > 0 => self.look_up(name, port),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("there is no port {port}"))),
        };
        match addresses {
            Ok(addresses) => {
                tell(judgment::name_check(host, &addresses, began.elapsed()));
                self.connect(host, &addresses, tell)
            }
            Err(error) => {
                tell(judgment::unknown_name(host, &error));
                None
            }
        }
    }

    /// The addresses of a name, in the time that a job has for it. A question without an answer stays behind.
    fn look_up(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let turn = {
            let mut next = self.next_lookup.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = (*next).max(Instant::now());
            *next = turn + LOOKUP_INTERVAL;
            turn
        };
        thread::sleep(turn.saturating_duration_since(Instant::now()));
        let (sender, receiver) = mpsc::channel();
        let patience = self.settings.connect_timeout;
        let (name, deadline) = (name.to_string(), turn + patience);
        thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
            // Nobody listens any more when the time is up.
            let _ = sender.send(resolve::addresses_beside_threads(&name, port, deadline));
        })?;
        receiver.recv_timeout(patience).unwrap_or_else(|_| {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the name was not resolved in time"))
        })
    }

    /// Tries the port. The host as it was reached, by number, and how it calls us.
    fn connect(&self, host: &Host, addresses: &[SocketAddr], tell: &dyn Fn(Check)) -> Option<(Host, String)> {
        let began = Instant::now();
        let connected = Connecting::start(addresses).finish(began + self.settings.connect_timeout);
        let ends = connected.and_then(|stream| Ok((stream.peer_addr()?, stream.local_addr()?)));
        match ends {
            Ok((peer, own)) => {
                let time = judgment::milliseconds(began.elapsed());
                tell(Check::good("port", format!("{} answers in {time}", peer.port())));
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
                tell(judgment::unreachable(addresses, &error, self.settings.connect_timeout));
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
        tell: &dyn Fn(Check),
    ) -> Option<Result<Answer, Fault>> {
        let wanted = text_version(way.host);
        let began = Instant::now();
        let Outcome { result, ssh } = way.attempt(Load::Text(first, wanted));
        if let Some(check) =
            judgment::no_answer(&result, ssh.as_deref(), way.host, (own_address, self.settings.io_timeout))
        {
            tell(check);
            return None;
        }
        let mut spoken = BTreeMap::from([(wanted.number(), true)]);
        if way.is_ssh() {
            tell(Check::good(
                "ssh",
                format!("logs in and compiles in {}", judgment::milliseconds(began.elapsed())),
            ));
        } else {
            // Only to be told: a job in its own version has come through.
            let other = if wanted == Version::LZO { Version::PLAIN } else { Version::LZO };
            spoken.insert(other.number(), judgment::is_spoken(&way.attempt(Load::Text(first, other)).result));
        }
        let clock = self.specimens.clock.as_ref().map(|clock| way.attempt(Load::Files(clock)).result);
        spoken.insert(Version::PUMP.number(), clock.as_ref().is_some_and(judgment::is_spoken));
        let numbers = |is: bool| {
            let numbers = spoken.iter().filter(move |(_, spoken)| **spoken == is);
            numbers.map(|(number, _)| number.to_string()).collect::<Vec<_>>().join(", ")
        };
        let (yes, no) = (numbers(true), numbers(false));
        tell(match no.is_empty() {
            true => Check::good("protocol", format!("speaks versions {yes}")),
            false => Check::good("protocol", format!("speaks version {yes}, and does no jobs in {no}")),
        });
        if let Some(Ok(answer)) = &clock {
            judgment::clock_check(answer).into_iter().for_each(tell);
        }
        Some(result)
    }

    /// Compares each compiler with the one here. One that is missing matters if no other is there.
    fn compilers(&self, way: &Way<'_>, first: Result<Answer, Fault>, tell: &dyn Fn(Check)) {
        let version = text_version(way.host);
        let mut found = Vec::new();
        let mut first = Some(first);
        for specimen in &self.specimens.compilers {
            let result = first.take().unwrap_or_else(|| way.attempt(Load::Text(specimen, version)).result);
            let is_missing = !matches!(&result, Ok(answer) if answer.object.is_some());
            found.push((is_missing, judgment::compiler_check(specimen, &result)));
        }
        let has_one = found.iter().any(|(is_missing, _)| !is_missing);
        found.into_iter().for_each(|(is_missing, check)| {
            tell(match is_missing && has_one {
                true => Check { verdict: Verdict::Warning, ..check },
                false => check,
            })
        });
    }

    /// Tries a job with system headers, for each compiler.
    fn pump(&self, way: &Way<'_>, tell: &dyn Fn(Check)) {
        for specimen in &self.specimens.compilers {
            let Some((request, expected)) = &specimen.pump else { continue };
            let result = way.attempt(Load::Files(request)).result;
            tell(judgment::headers_check(&specimen.name, expected, &result));
        }
    }
}

impl Way<'_> {
    fn is_ssh(&self) -> bool {
        matches!(self.host.transport, Transport::Ssh { .. })
    }
}

fn text_version(host: &Host) -> Version {
    if host.compress { Version::LZO } else { Version::PLAIN }
}
