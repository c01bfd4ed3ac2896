//! What administrators and users write: host lists, who may connect, which compilers may run.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use distcc::daemon::access::AccessList;
use distcc::daemon::compilers::{Compilers, Policy, parse_command_list};
use distcc::hosts::list::HostList;
use distcc::hosts::spec::{SLOTS_MAX, parse_word};

/// A list that is taken has hosts with names, slots and files of their own below one directory; its words mean by
/// themselves what they mean in the list, comments and blanks mean nothing, and a shuffle loses nobody.
pub fn host_list(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(mut list) = HostList::parse(&text, "list") else { return };
    assert!(!list.hosts.is_empty());
    assert!((1..=SLOTS_MAX).contains(&list.local_slots) && (1..=SLOTS_MAX).contains(&list.local_cpp_slots));
    assert!(list.total_slots() >= list.hosts.len() as u64);
    for host in &list.hosts {
        assert_eq!(parse_word(&host.word).as_ref(), Ok(host));
        assert!((1..=SLOTS_MAX).contains(&host.slots) && (1..=3).contains(&host.protocol()));
        assert!(!host.pump || host.compress);
        assert!(!host.name().is_empty());
        let file = format!("backoff_{}_0", host.lock_name());
        assert!(!file.contains('/') && !file.contains('\0'), "{file:?} leaves the directory");
    }
    let words: Vec<&str> = list.hosts.iter().map(|host| host.word.as_str()).collect();
    let settings = format!(
        "--localslots={} --localslots_cpp={} {}",
        list.local_slots,
        list.local_cpp_slots,
        if list.randomize { "--randomize" } else { "# nothing" }
    );
    let spaced = format!("# a comment\n {}\r\n\t{settings}", words.join(" # and another\n"));
    assert_eq!(HostList::parse(&spaced, "list").ok().as_ref(), Some(&list));
    let mut before: Vec<String> = words.into_iter().map(str::to_owned).collect();
    list.shuffle(bytes.len() as u64);
    let mut after: Vec<String> = list.hosts.into_iter().map(|host| host.word).collect();
    before.sort();
    after.sort();
    assert_eq!(before, after);
}

/// A rule lets exactly those addresses pass whose first bits are its own, compared one by one. The input is a line with
/// an address, then lines with rules; names, which would be resolved, are left out.
pub fn access_list(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split('\n');
    let Some(client) = lines.next().and_then(|line| line.parse::<IpAddr>().ok()) else { return };
    let (mut list, mut expected) = (AccessList::default(), false);
    for rule in lines {
        let (address, length) = rule.split_once('/').map_or((rule, None), |(one, other)| (one, Some(other)));
        let Ok(network) = address.parse::<IpAddr>() else { continue };
        let network = bits(network);
        let length = match length.map(str::parse::<usize>) {
            None => Some(network.len()),
            Some(length) => length.ok().filter(|length| *length <= network.len()),
        };
        assert_eq!(list.allow(rule).is_ok(), length.is_some(), "{rule}");
        let client = bits(client);
        expected |= length
            .is_some_and(|length| client.len() == network.len() && client[..length] == network[..length]);
    }
    assert_eq!(list.permits(client), expected);
    let mut private = list.clone();
    private.allow_private();
    assert!(private.permits(client) || !expected, "a further rule forbids");
}

/// One address, bit by bit; an IPv4 one also if it is written as IPv6.
fn bits(address: IpAddr) -> Vec<bool> {
    let bytes = match address.to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect()
}

/// The list allows what ends like one of its lines, nothing else, and what is run is that line or the last of several.
/// The first byte says how many words count, the first line is the request.
pub fn command_list(bytes: &[u8]) {
    let Some((words, rest)) = bytes.split_first() else { return };
    let words = usize::from(words % 6);
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (requested, text) = rest.split_at(end);
    let policy = parse_command_list(text, Path::new("list"), words);
    let Policy::CommandList { commands, .. } = &policy else {
        panic!("a command list makes no other policy")
    };
    let lines: Vec<&[u8]> =
        text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()).collect();
    assert!(commands.values().all(|command| lines.contains(&command.as_bytes())));
    let compilers = Compilers::new(policy.clone(), "".into());
    let expected = lines.iter().rev().find(|line| last(line, words) == last(requested, words));
    let accepted = compilers.accept(OsStr::from_bytes(requested)).ok();
    assert_eq!(accepted.as_deref().map(OsStr::as_bytes), expected.copied());
}

/// The last parts of a path.
fn last(path: &[u8], count: usize) -> Vec<&[u8]> {
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    parts[parts.len().saturating_sub(count.max(1))..].to_vec()
}
