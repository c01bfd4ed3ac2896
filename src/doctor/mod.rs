//! `distcc --doctor`: looks for what keeps jobs from being distributed, on this machine and on each host, and says
//! what mends it.
//!
//! Hosts are given real, tiny jobs through the client's own parts, so that what is found is what a build would meet.
//! Nothing is remembered: no slot is taken, no host is marked. All hosts are looked at at once; a silent one costs a
//! named time.

pub mod check;
pub mod report;

mod clock;
mod hosts;
mod judgment;
mod machine;
mod object;
mod path;
mod specimen;
mod trial;

use crate::client::session;
use crate::client::settings::{LogSettings, Neighbours, Settings};
use crate::hosts::spec::{self, Host, Transport};
use check::{Check, Findings, HostFindings};
use specimen::Specimens;

/// Everything that is looked at.
#[derive(Debug)]
pub struct Question<'a> {
    /// Words of hosts; the host list's if there are none.
    pub hosts: &'a [String],
    /// The client's environment.
    pub settings: &'a Settings,
    /// Its log.
    pub log: &'a LogSettings,
    /// What others in the environment do.
    pub neighbours: &'a Neighbours,
}

/// Looks at everything.
pub fn examine(question: &Question<'_>) -> Findings {
    let settings = question.settings;
    let (hosts, mut unreadable) = hosts_of(question);
    let mut machine = machine::checks(question, &hosts);
    let (specimens, of_compilers) = Specimens::make(settings, &hosts);
    machine.extend(of_compilers);
    // A list that cannot be read has been spoken of.
    if !hosts.is_empty() && hosts.iter().all(|host| host.transport == Transport::Local) {
        let words = "no server is named: all work stays on this machine";
        machine.push(Check::bad("hosts", words).mended_by("export DISTCC_HOSTS='localhost/2 SERVER/8,lzo'"));
    }
    let mut found = hosts::checks(hosts, settings, specimens);
    found.append(&mut unreadable);
    Findings { machine, hosts: found }
}

/// The hosts to look at, and what is to be said of words that are none.
fn hosts_of(question: &Question<'_>) -> (Vec<Host>, Vec<HostFindings>) {
    if question.hosts.is_empty() {
        // What is wrong with the list is a matter of this machine.
        return (
            session::read_hosts(question.settings).map_or_else(|_| Vec::new(), |list| list.hosts),
            Vec::new(),
        );
    }
    let mut hosts: Vec<Host> = Vec::new();
    let mut unreadable = Vec::new();
    for word in question.hosts {
        match spec::parse_word(word) {
            Ok(host) => hosts.push(host),
            Err(error) => {
                let check = Check::bad("list", error.to_string())
                    .mended_by("man distcc (HOST SPECIFICATIONS) has the grammar");
                unreadable.push(HostFindings { host: word.clone(), takes_work: true, checks: vec![check] });
            }
        }
    }
    (hosts, unreadable)
}
