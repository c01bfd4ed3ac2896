//! `pump`: pump mode for a build (manual, pump(1)).

use std::ffi::OsString;

use crate::client::session;
use crate::client::settings::Settings as ClientSettings;
use crate::hosts::list::HostList;
use crate::log::{self, Level, Sink};
use crate::pump::forms::Pump;
use crate::pump::settings::Settings;
use crate::pump::voice::Voice;

const HELP: &str = "\
Usage:
   pump COMMAND [ARG...]
   pump --startup | --shutdown | --help

   COMMAND       run a build in pump mode, in which the servers preprocess: start an
                 include server, run the command, end the include server
   --startup     start an include server and print variables for a shell's eval
   --shutdown    end the include server that those variables name

      pump make -j20 CC=distcc

      eval \"$(pump --startup)\"; make -j20 CC=distcc; pump --shutdown

Environment, all optional (see man pump for the rest):
   DISTCC_HOSTS            the hosts, as for distcc; those with ,lzo,cpp preprocess
   DISTCC_POTENTIAL_HOSTS  servers to look for with lsdistcc instead
   LSDISTCC_ARGS           options for lsdistcc
   INCLUDE_SERVER_ARGS     options for the include server, quoted as for a shell
   DISTCC_LOCATION         the directory of the programs, if not that of pump";

/// Runs pump.
pub fn run(argv: &[OsString]) -> i32 {
    log::set("pump", Level::Warning, Sink::Stderr);
    let settings = Settings::from_environment();
    let voice = Voice { program: argv[0].clone(), silent: settings.silent };
    let mut pump = Pump { settings, voice, read_hosts: &read_hosts };
    let words = &argv[1..];
    match words.first().and_then(|word| word.to_str()) {
        None if words.is_empty() => help(),
        Some("-h" | "--help") => help(),
        Some("--startup") if words.len() == 1 => pump.start_up(),
        Some("--shutdown") if words.len() == 1 => pump.shut_down(),
        _ => pump.around(words),
    }
}

fn help() -> i32 {
    say!("{HELP}");
    0
}

/// The host list as distcc would read it, but for an empty DISTCC_HOSTS, which hides no file from pump.
fn read_hosts() -> Result<HostList, String> {
    let mut settings = ClientSettings::from_environment().map_err(|code| code.to_string())?;
    settings.hosts = settings.hosts.filter(|hosts| !hosts.is_empty());
    session::read_hosts(&settings)
}
