//! The checks of this machine: what a client needs before it looks at any host, and what in the environment works
//! against it.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::path::Path;

use super::Question;
use super::check::Check;
use super::path;
use crate::client::session;
use crate::client::settings::Settings;
use crate::client::{TRIPLE, pump};
use crate::hosts::list::HostList;
use crate::hosts::spec::{Host, Transport};
use crate::sys::confinement;
use crate::sys::exposure::Exposure;
use crate::sys::landlock;
use crate::sys::seccomp::Filter;
use crate::sys::temp;

/// Free space in TMPDIR below which jobs may fail, in bytes: some preprocessed C++ sources at once.
const TEMPORARY_BYTES_MIN: u64 = 64 << 20;
/// A silence that large sources may well need, in seconds: with less, sound hosts are left alone.
const IO_SECONDS_MIN: u64 = 60;

/// All checks but those of the compilers.
pub(super) fn checks(question: &Question<'_>, hosts: &[Host]) -> Vec<Check> {
    let settings = question.settings;
    let version = format!("distcc {} for {TRIPLE}", env!("CARGO_PKG_VERSION"));
    let mut checks = vec![Check::good("program", version)];
    if question.hosts.is_empty() {
        host_list(settings, &mut checks);
    }
    checks.push(directory(settings));
    checks.push(temporary(settings));
    checks.extend(question.log.file.as_deref().map(log_file));
    path::checks(settings, question.neighbours, hosts, &mut checks);
    variables(settings, hosts, &mut checks);
    checks.push(sandbox());
    checks
}

fn host_list(settings: &Settings, checks: &mut Vec<Check>) {
    let files = session::host_files(settings);
    let write = files.first().map_or_else(|| "~/.distcc/hosts".into(), |file| file.display().to_string());
    let remedy = format!("echo 'SERVER/8,lzo localhost/2' > {write}   # or export DISTCC_HOSTS");
    let source = session::host_source(settings);
    let list = source
        .clone()
        .and_then(|source| HostList::parse(&source.text, &source.name).map_err(|error| error.to_string()));
    let (source, list) = match (source, list) {
        (Ok(source), Ok(list)) => (source, list),
        (_, Err(error)) | (Err(error), _) => {
            checks.push(Check::bad("hosts", error).mended_by(remedy));
            return;
        }
    };
    let hidden = files.iter().filter(|file| file.exists() && file.display().to_string() != source.name);
    let hidden: Vec<String> = hidden.map(|file| file.display().to_string()).collect();
    let hides = if hidden.is_empty() { String::new() } else { format!("; not read: {}", hidden.join(", ")) };
    let words = format!(
        "{} has hosts: {}, jobs at a time: {}{hides}",
        source.name,
        list.hosts.len(),
        list.total_slots()
    );
    checks.push(Check::good("hosts", words));
    let mut seen = BTreeSet::new();
    for host in list.hosts.iter().filter(|host| !seen.insert(host.lock_name())) {
        let words = format!("{}: the same host again; both words share their slots", host.word);
        checks.push(Check::warning("hosts", words).mended_by(format!("name it once in {}", source.name)));
    }
}

/// Where slots and the memory of failures are.
fn directory(settings: &Settings) -> Check {
    let Some(lock) = settings.lock_directory() else {
        return Check::bad(
            "directory",
            "neither DISTCC_DIR nor HOME is set: there are no slots, and nothing is sent",
        )
        .mended_by("export DISTCC_DIR=DIRECTORY   # one that you can write; or set HOME");
    };
    let own = lock.parent().expect("BUG: a directory in a directory");
    if settings.directory_is_ours {
        // As any job would.
        let _ = fs::create_dir(own);
    }
    let made = fs::create_dir(&lock);
    if temp::is_usable_directory(&lock) {
        return Check::good("directory", format!("slots are counted in {}", lock.display()));
    }
    let cause = made.err().map_or_else(|| "it cannot be written".into(), |error| error.to_string());
    let words = format!("{}: {cause}; without slots nothing is sent", lock.display());
    Check::bad("directory", words).mended_by(format!("mkdir -p {0} && chown -R $(id -u) {0}", own.display()))
}

fn temporary(settings: &Settings) -> Check {
    let directory = &settings.temporary;
    if !temp::is_usable_directory(directory) {
        let words = format!("TMPDIR {} cannot be written; nothing is sent", directory.display());
        return Check::bad("temporary", words)
            .mended_by("unset TMPDIR   # or name a directory you can write");
    }
    match temp::free_bytes(directory) {
        Ok(bytes) if bytes < TEMPORARY_BYTES_MIN => {
            let words = format!("{} has only {} MB left", directory.display(), bytes >> 20);
            Check::warning("temporary", words)
                .mended_by(format!("df -h {}   # and make room", directory.display()))
        }
        _ => Check::good("temporary", format!("{} can be written", directory.display())),
    }
}

fn log_file(path: &Path) -> Check {
    match OpenOptions::new().append(true).open(path) {
        Ok(_) => Check::good("log", format!("{} can be written", path.display())),
        Err(error) => {
            let words = format!("DISTCC_LOG {}: {error}; messages go to standard error", path.display());
            Check::warning("log", words).mended_by("unset DISTCC_LOG   # or name a file you can write")
        }
    }
}

/// Variables that do together what nobody can want.
fn variables(settings: &Settings, hosts: &[Host], checks: &mut Vec<Check>) {
    let topic = "environment";
    if settings.safeguard.is_some() {
        let words =
            "_DISTCC_SAFEGUARD is set, as within a job of distcc: every command runs here, or is refused";
        checks.push(Check::bad(topic, words).mended_by("unset _DISTCC_SAFEGUARD"));
    }
    if let Some(name) = settings.hidden_options {
        let words =
            format!("{name} changes what compilers of this machine do, so that every job is compiled here");
        checks.push(Check::bad(topic, words).mended_by(format!("unset {name}")));
    }
    let has_pump_host = hosts.iter().any(|host| host.pump);
    if let Some(socket) = settings.include_server.as_ref().filter(|_| !has_pump_host && !hosts.is_empty()) {
        let words =
            format!("there is an include server ({}), and no host has ,cpp to use it", socket.display());
        checks
            .push(Check::warning(topic, words).mended_by("add ,lzo,cpp to hosts that have the same headers"));
    }
    if settings.include_server_stub.is_some() || settings.testing_include_server {
        let words = "INCLUDE_SERVER_STUB and DISTCC_TESTING_INCLUDE_SERVER are for tests of distcc";
        let remedy = "unset INCLUDE_SERVER_STUB DISTCC_TESTING_INCLUDE_SERVER";
        checks.push(Check::warning(topic, words).mended_by(remedy));
    }
    if settings.backoff_period.is_zero() {
        let words = "DISTCC_BACKOFF_PERIOD=0: every job waits for each host that does not answer";
        checks.push(Check::warning(topic, words).mended_by("unset DISTCC_BACKOFF_PERIOD"));
    }
    if settings.io_timeout.as_secs() < IO_SECONDS_MIN {
        let seconds = settings.io_timeout.as_secs();
        let words = format!("DISTCC_IO_TIMEOUT={seconds}: a host that compiles for longer is taken for dead");
        checks.push(Check::warning(topic, words).mended_by("unset DISTCC_IO_TIMEOUT"));
    }
    let servers = hosts.iter().filter(|host| host.transport != Transport::Local);
    if !settings.fallback && servers.count() == 0 {
        let words = "DISTCC_FALLBACK=0 and no server is named: every compile fails";
        checks.push(Check::bad(topic, words).mended_by("unset DISTCC_FALLBACK   # or name servers"));
    }
    for host in hosts.iter().filter(|host| pump::had_other_headers(settings, host)) {
        let words = format!(
            "{} had other system headers a short time ago: its jobs are preprocessed here",
            host.word
        );
        let remedy = settings.lock_directory().map(|lock| format!("rm {}/plain_*", lock.display()));
        checks.push(Check::warning("headers", words).mended_by(remedy.unwrap_or_default()));
    }
}

/// What a distccd on this machine could hold its compilers to, as the user who asks.
fn sandbox() -> Check {
    let mut walls = Vec::new();
    let namespaces = confinement::probe(&Exposure::of_this_machine());
    if namespaces.is_ok() {
        walls.push("namespaces".to_string());
    }
    match landlock::version() {
        0 => {}
        version => walls.push(format!("Landlock {version}")),
    }
    if Filter::is_available() {
        walls.push("seccomp".into());
    }
    let has = if walls.is_empty() { "nothing".into() } else { walls.join(", ") };
    let words = format!("a distccd here would hold its compilers back by {has}");
    match namespaces {
        Ok(_) => Check::good("sandbox", words),
        // Only servers need it, and this may be none.
        Err(why) => Check::warning("sandbox", format!("{words}; no namespaces: {why}"))
            .mended_by("only for servers: man distccd (--sandbox) says what each kernel setting gives"),
    }
}
