//! The three forms of pump, each from top to bottom: around one command, and its two halves for a shell.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{self, Path, PathBuf};

use crate::hosts::list::HostList;
use crate::pump::command::{self, Signals};
use crate::pump::include_server::{IncludeServer, Lifetime};
use crate::pump::search_path;
use crate::pump::servers::{self, Search};
use crate::pump::settings::Settings;
use crate::pump::shell_words;
use crate::pump::voice::Voice;
use crate::sys::child::{self, Environment};
use crate::sys::signal;

/// Exit status of a build that was not begun.
const NOT_BEGUN: i32 = 1;
/// Default of DISTCC_MAX_DISCREPANCY.
const DISCREPANCIES_MAX_DEFAULT: u64 = 1;

/// What every form needs.
pub struct Pump<'a> {
    /// The environment.
    pub settings: Settings,
    /// The name we were called by, and how we speak.
    pub voice: Voice,
    /// Reads the host list that applies if DISTCC_HOSTS says nothing, or what DISTCC_HOSTS says.
    pub read_hosts: &'a dyn Fn() -> Result<HostList, String>,
}

/// What was made ready for a build.
struct Ready {
    /// None if servers were found but no include server could be started.
    server: Option<IncludeServer>,
    /// DISTCC_HOSTS for the build; none leaves it as it is.
    hosts: Option<OsString>,
    search_path: OsString,
}

impl Pump<'_> {
    /// `pump COMMAND`: the exit status is the command's.
    pub fn around(&self, words: &[OsString]) -> i32 {
        let Ok(discrepancies_max) = self.discrepancies_max() else { return NOT_BEGUN };
        let Some(location) = self.location() else { return NOT_BEGUN };
        self.voice.progress(format_args!("Using distcc-pump from {}", location.display()));
        let Some(mut signals) = self.hold_signals() else { return NOT_BEGUN };
        let Some(ready) = self.make_ready(&location, Lifetime::OfThisProcess) else { return NOT_BEGUN };
        let mut environment = Environment::inherited();
        environment.set("PATH", &ready.search_path);
        if let Some(hosts) = &ready.hosts {
            environment.set("DISTCC_HOSTS", hosts);
        }
        match &ready.server {
            Some(server) => environment.set("INCLUDE_SERVER_PORT", server.socket().as_os_str()),
            None => {
                self.voice
                    .warning(format_args!("Warning: distcc-pump include server failed; running unpumped"));
                environment.remove("INCLUDE_SERVER_PORT");
            }
        }
        let early = signals.came_early();
        let status = match early {
            Some(signal) => 128 + signal,
            None => command::run(words, &environment, &ready.search_path, &mut signals, &self.voice),
        };
        if let Some(server) = ready.server {
            server.shut_down(discrepancies_max, &self.voice);
        }
        early.into_iter().for_each(signal::die_of);
        status
    }

    /// `pump --startup`: prints the variables, for a shell's `eval`, and nothing else.
    pub fn start_up(&mut self) -> i32 {
        self.voice.silent = true;
        let Ok(discrepancies_max) = self.discrepancies_max() else { return NOT_BEGUN };
        let Some(location) = self.location() else { return NOT_BEGUN };
        let Some(mut signals) = self.hold_signals() else { return NOT_BEGUN };
        let Some(ready) = self.make_ready(&location, Lifetime::UntilIdle) else { return NOT_BEGUN };
        let Some(server) = ready.server else { return NOT_BEGUN };
        let pid = server.pid.map(|pid| OsString::from(pid.to_string())).unwrap_or_default();
        let mut text = Vec::new();
        export(&mut text, "INCLUDE_SERVER_PID", &pid);
        export(&mut text, "INCLUDE_SERVER_DIR", server.directory.as_os_str());
        export(&mut text, "INCLUDE_SERVER_PORT", server.socket().as_os_str());
        if let Some(hosts) = ready.hosts.as_ref().or(self.settings.hosts.as_ref()) {
            export(&mut text, "DISTCC_HOSTS", hosts);
        }
        export(&mut text, "PATH", &ready.search_path);
        let early = signals.came_early();
        let written = match early {
            Some(_) => Ok(()),
            None => io::stdout().write_all(&text),
        };
        if let Err(error) = &written {
            self.voice.error(format_args!("write the variables: {error}"));
        }
        if early.is_some() || written.is_err() {
            // Nobody knows of the server, so nobody will end it.
            server.shut_down(discrepancies_max, &self.voice);
            early.into_iter().for_each(signal::die_of);
            return NOT_BEGUN;
        }
        0
    }

    /// `pump --shutdown`: ends what `pump --startup` has started, if the environment tells what.
    pub fn shut_down(&self) -> i32 {
        let Ok(discrepancies_max) = self.discrepancies_max() else { return NOT_BEGUN };
        if let Some(server) = IncludeServer::from_environment(&self.settings) {
            server.shut_down(discrepancies_max, &self.voice);
        }
        0
    }

    fn discrepancies_max(&self) -> Result<u64, ()> {
        let Some(value) = &self.settings.discrepancies_max else { return Ok(DISCREPANCIES_MAX_DEFAULT) };
        match value.to_str().and_then(|text| text.trim().parse().ok()) {
            Some(number) if number > 0 => Ok(number),
            _ => {
                self.voice.advice(format_args!(
                    "{}: Bad DISTCC_MAX_DISCREPANCY value: \"{}\". Needs to be 1 or greater.",
                    self.voice.program.display(),
                    value.display()
                ));
                Err(())
            }
        }
    }

    /// The directory of our programs, `distcc` at least among them.
    fn location(&self) -> Option<PathBuf> {
        let location = match &self.settings.location {
            Some(location) => path::absolute(location).ok(),
            None => search_path::location_of(&self.voice.program, &self.settings.search_path),
        };
        let found =
            location.as_ref().is_some_and(|directory| child::is_executable(&directory.join("distcc")));
        if !found {
            let looked = location.as_deref().unwrap_or(Path::new("PATH"));
            self.voice.error(format_args!("can't find distcc (looked in {})", looked.display()));
        }
        location.filter(|_| found)
    }

    fn hold_signals(&self) -> Option<Signals> {
        Signals::hold().map_err(|error| self.voice.error(format_args!("hold signals: {error}"))).ok()
    }

    /// Finds the servers and starts the include server; none if the build cannot begin.
    fn make_ready(&self, location: &Path, lifetime: Lifetime) -> Option<Ready> {
        let (settings, voice) = (&self.settings, &self.voice);
        let search_path = search_path::with_location(location, &settings.search_path);
        if let Some(potential) = &settings.potential_hosts {
            let search = Search::start(location, potential, settings, voice);
            let server = IncludeServer::start(lifetime, settings, voice);
            let hosts = search.finish(server.is_some(), voice);
            return Some(Ready { server, hosts: Some(hosts), search_path });
        }
        let announced = (self.read_hosts)().and_then(|list| servers::announce(&list, voice).map(|()| list));
        let list = announced.map_err(|error| voice.error(format_args!("{error}"))).ok()?;
        let server = IncludeServer::start(lifetime, settings, voice)?;
        Some(Ready { server: Some(server), hosts: self.hosts_in_place_of_none(&list), search_path })
    }

    /// An empty DISTCC_HOSTS means no hosts at all to distcc. The build gets the list that was found behind it.
    fn hosts_in_place_of_none(&self, list: &HostList) -> Option<OsString> {
        (self.settings.hosts_are_empty).then(|| servers::text_of(list))
    }
}

/// One line for a shell's `eval`.
fn export(text: &mut Vec<u8>, name: &str, value: &OsStr) {
    text.extend_from_slice(format!("export {name}=").as_bytes());
    text.extend_from_slice(shell_words::quote(value).as_bytes());
    text.push(b'\n');
}
