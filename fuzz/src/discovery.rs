//! What anybody in the local network, and name servers, say of servers.

use std::collections::BTreeMap;
use std::net::IpAddr;

use distcc::hosts::name_server::{self, Meaning};
use distcc::hosts::service::{HOSTS_MAX, words};
use distcc::hosts::spec::{SLOTS_MAX, Transport, parse_word};
use distcc::hosts::zeroconf;
use distcc::protocol::announcement::{Announcement, subtype};

/// The service that is asked for, and the question's number: the corpus has answers to it.
const NAME: &str = "_distcc._tcp.example.net";
const ID: u16 = 7;

/// Whatever a TXT record says, the word made of it is one host at that address and port, in one line, with a number of
/// slots that can be meant; and what is announced again is what was understood. The input is lines of `KEY=VALUE`.
pub fn announcement(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let pairs: BTreeMap<&str, &str> = text.split('\n').filter_map(|line| line.split_once('=')).collect();
    let said = Announcement::read(|key| pairs.get(key).copied());
    for (address, scope) in [("10.0.0.1", None), ("2001:db8::1", None), ("fe80::1", Some("eth0"))] {
        let address: IpAddr = address.parse().unwrap();
        let word = said.host_word(address, scope, 3632);
        let hosts = zeroconf::parse(&format!("{word} # comment\n"));
        assert_eq!(hosts.len(), 1, "{word:?}");
        assert_eq!(Ok(&hosts[0]), parse_word(&word).as_ref());
        let name = scope.map_or(address.to_string(), |scope| format!("{address}%{scope}"));
        assert_eq!(hosts[0].transport, Transport::Tcp { name, port: 3632 });
        assert!((1..=SLOTS_MAX).contains(&hosts[0].slots));
        assert_eq!((hosts[0].compress, hosts[0].pump), (said.compress, said.pump));
    }
    let again: BTreeMap<&str, String> = said.pairs().into_iter().collect();
    assert!(
        again.iter().all(|(key, value)| key.len() + value.len() < 255 && !value.contains(char::is_control))
    );
    assert_eq!(Announcement::read(|key| again.get(key).map(String::as_str)), said);
    if let Some(label) = subtype(&said.compiler_machine, &said.compiler_version) {
        assert!(label.len() <= 63 && label.starts_with('_') && !label.contains('.'));
    }
    for host in zeroconf::parse(&text) {
        assert_eq!(parse_word(&host.word), Ok(host));
    }
}

/// Whatever a name server answers, hosts made of it are words of a host list, with a port, whose files stay in their
/// directory; and there are not too many.
pub fn service_answer(bytes: &[u8]) {
    let question = name_server::question(NAME, ID).unwrap();
    let Meaning::Found(answer) = name_server::meaning(bytes, &question, ID) else { return };
    let found = words(answer.targets.clone());
    assert!(found.len() <= answer.targets.len().min(HOSTS_MAX));
    for word in found {
        let host = parse_word(&word).expect("a word of a host list");
        let Transport::Tcp { port, .. } = host.transport else { panic!("{word:?} is no TCP host") };
        assert!((1..=65535).contains(&port));
        assert!(!host.lock_name().contains(['/', '\0']));
    }
}
