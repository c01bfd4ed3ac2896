//! Which servers a build will use: the host list that applies, or those that `lsdistcc` finds. Asks none itself.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use crate::hosts::list::{self, HostList};
use crate::pump::settings::Settings;
use crate::pump::shell_words;
use crate::pump::voice::Voice;
use crate::sys::child::{self, Child, Command, Environment, Group};
use crate::sys::temp;

/// The program that looks for servers.
const LISTER: &str = "lsdistcc";
/// How many servers it is asked for at most, in its own option.
const LISTER_OPTION: &str = "-c150";
/// The longest list of servers that is read, in bytes: that of a file with a host list.
const LIST_BYTES_MAX: u64 = list::LIST_FILE_BYTES_MAX;
/// The options of servers that were found, with an include server and without.
const PUMPED: &str = ",cpp,lzo";
const UNPUMPED: &str = ",lzo";

/// Says how many servers of a list work in pump mode; an error if none does.
pub fn announce(list: &HostList, voice: &Voice) -> Result<(), String> {
    let (all, pumped) = (list.hosts.len(), list.hosts.iter().filter(|host| host.pump).count());
    match pumped {
        0 => {
            let text =
                "pump mode requested, but distcc hosts list does not contain any hosts with ',cpp' option";
            return Err(text.to_owned());
        }
        1 if all == 1 => voice.progress(format_args!("Using 1 distcc server in pump mode")),
        _ if all == pumped => voice.progress(format_args!("Using {all} distcc servers in pump mode")),
        _ => voice.progress(format_args!(
            "Using {all} distcc servers, of which only {pumped} support(s) pump mode"
        )),
    }
    Ok(())
}

/// A host list as the one line of a variable.
pub fn text_of(list: &HostList) -> OsString {
    let mut words: Vec<String> = Vec::new();
    if list.randomize {
        words.push("--randomize".to_owned());
    }
    words.push(format!("--localslots={}", list.local_slots));
    words.push(format!("--localslots_cpp={}", list.local_cpp_slots));
    words.extend(list.hosts.iter().map(|host| host.word.clone()));
    OsString::from(words.join(" "))
}

/// `lsdistcc`, looking for servers while the include server starts.
#[derive(Debug)]
pub struct Search {
    running: Option<(Child, File)>,
}

impl Search {
    /// Starts to look for the servers that `hosts` names. What prevents that is said, and then none is found.
    pub fn start(location: &Path, hosts: &OsStr, settings: &Settings, voice: &Voice) -> Search {
        let program = location.join(LISTER);
        if !child::is_executable(&program) {
            voice.error(format_args!("can't find {LISTER} (looked in {})", location.display()));
            return Search { running: None };
        }
        let mut argv = vec![program.clone().into_os_string(), LISTER_OPTION.into()];
        argv.extend(shell_words::split_at_blanks(&settings.lister_arguments));
        argv.extend(shell_words::split_at_blanks(hosts));
        let started = start(&program, &argv);
        if let Err(error) = &started {
            voice.error(format_args!("start {}: {error}", program.display()));
        }
        Search { running: started.ok() }
    }

    /// Waits for its end, and makes a host list of what it found.
    pub fn finish(self, include_server: bool, voice: &Voice) -> OsString {
        let found = self.running.map(|running| finish(running, voice)).unwrap_or_default();
        // A line's first word is the server; its latency may follow (option -l).
        let lines = found.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_start);
        let servers = lines.filter_map(|line| line.split(u8::is_ascii_whitespace).next());
        let mut list = b"--randomize".to_vec();
        let mut count = 0;
        for server in servers.filter(|server| !server.is_empty()) {
            count += 1;
            list.push(b' ');
            list.extend_from_slice(server);
            list.extend_from_slice(if include_server { PUMPED } else { UNPUMPED }.as_bytes());
        }
        voice.progress(format_args!("Found {count} available distcc servers"));
        OsString::from_vec(list)
    }
}

fn start(program: &Path, argv: &[OsString]) -> io::Result<(Child, File)> {
    let (output, null) = (temp::anonymous("servers")?, File::open("/dev/null")?);
    let child = Command {
        program,
        argv,
        environment: &Environment::inherited(),
        directory: None,
        stdio: [Some(null.as_fd()), Some(output.as_fd()), None],
        group: Group::Shared,
        walls: None,
    }
    .spawn()?;
    Ok((child, output))
}

/// What it printed. Its exit status says nothing that the list does not say.
fn finish((child, mut output): (Child, File), voice: &Voice) -> Vec<u8> {
    match child.wait().and_then(|_| temp::read_back(&mut output, LIST_BYTES_MAX)) {
        Ok(text) => text,
        Err(error) => {
            voice.error(format_args!("read the servers that {LISTER} found: {error}"));
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_in_a_variable_means_the_same_list() {
        for text in
            ["a,cpp,lzo", "--randomize --localslots=3 # all\n--localslots_cpp=7 h/4,lzo u@s:/bin/d localhost"]
        {
            let list = HostList::parse(text, "test").unwrap();
            let line = text_of(&list);
            assert_eq!(HostList::parse(line.to_str().unwrap(), "test").unwrap(), list, "{text:?}");
        }
    }
}
