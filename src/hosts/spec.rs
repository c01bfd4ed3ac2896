//! One word of a host list (manual, "Host Specifications"): its grammar, and the names its files have.
//!
//! Knows nothing of the list around it, of files, or of connections.
//!
//! ```text
//! localhost[/LIMIT]                                  compile here
//! [USER]@NAME[/LIMIT][:COMMAND][,OPTION...]          over ssh
//! NAME[/LIMIT][:PORT][/LIMIT][,OPTION...]            over TCP; NAME may be an IPv6 address in brackets
//! ```
//!
//! distcc 3.4 is forgiving, and lists that it accepts are in use, so three of its habits are kept: whatever
//! follows a number or an option without being the next part is ignored together with the rest of the word
//! (`h/4x,lzo` is `h/4`); `=` may stand for `/` where a limit is looked for and the name has already ended;
//! and a port is not checked for range, so that one bad port costs one host and not the whole list.

use std::fmt;

use crate::protocol::PORT_DEFAULT;

/// Slots of a remote host that sets no limit.
pub const REMOTE_SLOTS_DEFAULT: u32 = 4;
/// Slots of `localhost` without a limit.
pub const LOCALHOST_SLOTS_DEFAULT: u32 = 2;
/// The most slots one host gets; greater limits are cut to it. Each slot is a file that a client may have to
/// look at, and no machine runs this many compilers.
pub const SLOTS_MAX: u32 = 10_000;

/// How jobs reach a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Not at all: the job runs on this machine.
    Local,
    /// A TCP connection to a daemon.
    Tcp {
        /// A host name or an address; IPv6 addresses are without brackets, and may carry `%scope`.
        name: String,
        /// As written, even if no such port exists; 0 if the word ends in a bare colon.
        port: u32,
    },
    /// A daemon started through ssh for one job.
    Ssh {
        /// The login name, if given.
        user: Option<String>,
        /// What ssh is to connect to.
        name: String,
        /// The daemon's path on the other side, if given.
        command: Option<String>,
    },
}

impl Transport {
    /// The name in lock and back-off files, the same as distcc 3.4's, whose clients share them. User and
    /// command of an ssh host are not part of it.
    pub fn lock_name(&self) -> String {
        let name = match self {
            Transport::Local => String::from("localhost"),
            Transport::Tcp { name, port } => format!("tcp_{name}_{port}"),
            Transport::Ssh { name, .. } => format!("ssh_{name}"),
        };
        // The grammar lets no slash into a name; a host made in another way must not leave the directory
        // either.
        name.replace('/', "_")
    }
}

/// A machine that may take jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The word of the list, verbatim: the name that messages, monitors and `--show-hosts` use.
    pub word: String,
    /// How many jobs this user's clients together may have there at a time; at least 1.
    pub slots: u32,
    /// How jobs get there.
    pub transport: Transport,
    /// `,lzo`: bodies travel compressed.
    pub compress: bool,
    /// `,cpp`: the server preprocesses (pump mode).
    pub pump: bool,
    /// `,auth`: authenticate with GSS-API, as the principal named by `,auth=NAME` if there is one.
    pub authenticate: Option<Option<String>>,
    /// `,down`: never used, though it counts towards `distcc -j`.
    pub down: bool,
}

impl Host {
    /// The protocol version its options ask for: 1, 2 with compression, 3 in pump mode.
    pub fn protocol(&self) -> u32 {
        match (self.compress, self.pump) {
            (false, _) => 1,
            (true, false) => 2,
            (true, true) => 3,
        }
    }

    /// What monitors and statistics call this host: its name, without port, user or options.
    pub fn name(&self) -> &str {
        match &self.transport {
            Transport::Local => "localhost",
            Transport::Tcp { name, .. } | Transport::Ssh { name, .. } => name,
        }
    }

    /// The name of this host in lock and back-off files ([`Transport::lock_name`]).
    pub fn lock_name(&self) -> String {
        self.transport.lock_name()
    }
}

/// Why a word is not a host. The manual counts all of these as a bad host specification (exit code 106).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpecFault {
    /// There is nothing where the name should be.
    MissingName,
    /// `[` without `]`.
    UnclosedBracket,
    /// What follows the colon of a TCP host is not a port.
    BadPort(String),
    /// What follows `/` or `=` is not a number above 0.
    BadLimit(String),
    /// An option that does not exist.
    BadOption(String),
    /// `,cpp` without `,lzo`.
    PumpWithoutCompression,
    /// A NUL byte, which no name of a host or file can have.
    NulByte,
}

/// A word that is not a host, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecError {
    /// The word, verbatim.
    pub word: String,
    /// What is wrong with it.
    pub fault: SpecFault,
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host specification \"{}\": {}", self.word, self.fault)
    }
}

impl std::error::Error for SpecError {}

impl fmt::Display for SpecFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpecFault::NulByte => f.write_str("NUL byte"),
            SpecFault::MissingName => f.write_str("hostname is required"),
            SpecFault::UnclosedBracket => f.write_str("IPv6 hostname requires closing ']'"),
            SpecFault::BadPort(text) => write!(f, "invalid tcp port specification in \"{text}\""),
            SpecFault::BadLimit(text) => write!(f, "bad multiplier \"{text}\""),
            SpecFault::BadOption(text) => write!(f, "unrecognized option \"{text}\""),
            SpecFault::PumpWithoutCompression => {
                f.write_str("pump mode (',cpp') requires compression (',lzo')")
            }
        }
    }
}

/// Reads one word: no blanks, no comment, and not one of the list's `--` options.
pub fn parse_word(word: &str) -> Result<Host, SpecError> {
    parse(word).map_err(|fault| SpecError { word: word.to_owned(), fault })
}

fn parse(word: &str) -> Result<Host, SpecFault> {
    if word.contains('\0') {
        return Err(SpecFault::NulByte);
    }
    // Anything else that starts with "localhost" is an ordinary name: `localhost:3632` goes through TCP.
    if word == "localhost" || word.starts_with("localhost/") {
        let limit = take_limit(&mut &word["localhost".len()..])?;
        return Ok(host(word, limit.unwrap_or(LOCALHOST_SLOTS_DEFAULT), Transport::Local));
    }
    match word.split_once('@') {
        Some((user, rest)) => parse_ssh(word, user, rest),
        None => parse_tcp(word),
    }
}

fn parse_ssh(word: &str, user: &str, mut rest: &str) -> Result<Host, SpecFault> {
    let name = take_name(&mut rest)?;
    let slots = take_limit(&mut rest)?.unwrap_or(REMOTE_SLOTS_DEFAULT);
    let mut command = None;
    if let Some(after) = rest.strip_prefix(':') {
        let end = after.find(',').unwrap_or(after.len());
        command = (end > 0).then(|| after[..end].to_owned());
        rest = &after[end..];
    }
    let user = (!user.is_empty()).then(|| user.to_owned());
    let mut host = host(word, slots, Transport::Ssh { user, name: name.to_owned(), command });
    parse_options(&mut host, rest)?;
    Ok(host)
}

fn parse_tcp(word: &str) -> Result<Host, SpecFault> {
    let mut rest = word;
    let name = match word.strip_prefix('[') {
        Some(inside) => {
            let end = inside.find(['/', ',', ']']).unwrap_or(inside.len());
            rest = inside[end..].strip_prefix(']').ok_or(SpecFault::UnclosedBracket)?;
            &inside[..end]
        }
        None => take_name(&mut rest)?,
    };
    if name.is_empty() {
        return Err(SpecFault::MissingName);
    }
    let first = take_limit(&mut rest)?;
    let port = take_port(&mut rest)?.unwrap_or(PORT_DEFAULT.into());
    let slots = take_limit(&mut rest)?.or(first).unwrap_or(REMOTE_SLOTS_DEFAULT);
    let mut host = host(word, slots, Transport::Tcp { name: name.to_owned(), port });
    parse_options(&mut host, rest)?;
    Ok(host)
}

fn host(word: &str, slots: u32, transport: Transport) -> Host {
    let word = word.to_owned();
    Host { word, slots, transport, compress: false, pump: false, authenticate: None, down: false }
}

fn take_name<'a>(rest: &mut &'a str) -> Result<&'a str, SpecFault> {
    let end = rest.find(['/', ':', ',']).unwrap_or(rest.len());
    let (name, after) = rest.split_at(end);
    if name.is_empty() {
        return Err(SpecFault::MissingName);
    }
    *rest = after;
    Ok(name)
}

/// Takes `/N` or `=N`, if the text starts so. Also serves `--localslots` and its sister.
pub(super) fn take_limit(rest: &mut &str) -> Result<Option<u32>, SpecFault> {
    let Some(after) = rest.strip_prefix(['/', '=']) else { return Ok(None) };
    let digits = after.strip_prefix('+').unwrap_or(after);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let (number, after) = digits.split_at(end);
    // Only the length can make a string of digits unreadable, and then the number is above any limit.
    let limit = number.parse::<u32>().unwrap_or(if number.is_empty() { 0 } else { u32::MAX });
    if limit == 0 {
        return Err(SpecFault::BadLimit((*rest).to_owned()));
    }
    *rest = after;
    Ok(Some(limit.min(SLOTS_MAX)))
}

fn take_port(rest: &mut &str) -> Result<Option<u32>, SpecFault> {
    let Some(text) = rest.strip_prefix(':') else { return Ok(None) };
    let end = text.find(['/', ',']).unwrap_or(text.len());
    let (number, after) = text.split_at(end);
    let digits = number.strip_prefix('+').unwrap_or(number);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number && !number.is_empty() {
        return Err(SpecFault::BadPort(text.to_owned()));
    }
    *rest = after;
    Ok(Some(if number.is_empty() { 0 } else { digits.parse().unwrap_or(u32::MAX) }))
}

fn parse_options(host: &mut Host, mut rest: &str) -> Result<(), SpecFault> {
    let options = rest;
    // A list of prefixes, as in 3.4: what follows a complete option without a comma ends the reading.
    while let Some(option) = rest.strip_prefix(',') {
        if let Some(after) = option.strip_prefix("lzo") {
            host.compress = true;
            rest = after;
        } else if let Some(after) = option.strip_prefix("cpp") {
            host.pump = true;
            rest = after;
        } else if let Some(after) = option.strip_prefix("down") {
            host.down = true;
            rest = after;
        } else if let Some(after) = option.strip_prefix("auth") {
            let named = after.strip_prefix('=');
            let name = named.map(|name| name.split(',').next().unwrap_or_default());
            rest = named.map_or(after, |named| &named[name.map_or(0, str::len)..]);
            host.authenticate = Some(name.filter(|name| !name.is_empty()).map(str::to_owned));
        } else {
            return Err(SpecFault::BadOption(options.to_owned()));
        }
    }
    if host.pump && !host.compress {
        return Err(SpecFault::PumpWithoutCompression);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Renders what a word means in one line, so that a case is a pair of strings.
    fn meaning(word: &str) -> String {
        let host = match parse_word(word) {
            Ok(host) => host,
            Err(error) => return format!("{:?}", error.fault),
        };
        assert_eq!(host.word, word);
        let mut text = match &host.transport {
            Transport::Local => String::from("local"),
            Transport::Tcp { name, port } => format!("tcp {name} {port}"),
            Transport::Ssh { user, name, command } => {
                format!("ssh {} {name} {}", user.as_deref().unwrap_or("-"), command.as_deref().unwrap_or("-"))
            }
        };
        text += &format!(" x{} v{}", host.slots, host.protocol());
        if let Some(name) = &host.authenticate {
            text += &format!(" auth({})", name.as_deref().unwrap_or(""));
        }
        text + if host.down { " down" } else { "" }
    }

    #[test]
    fn words_mean_what_they_mean_to_distcc_3_4() {
        for (word, expected) in [
            ("localhost", "local x2 v1"),
            ("localhost/5", "local x5 v1"),
            ("localhost/3x,foo", "local x3 v1"),
            ("localhost,lzo", "tcp localhost 3632 x4 v2"),
            ("localhost:12", "tcp localhost 12 x4 v1"),
            ("localhost=3", "tcp localhost=3 3632 x4 v1"),
            ("localhosts", "tcp localhosts 3632 x4 v1"),
            ("h", "tcp h 3632 x4 v1"),
            ("h/3", "tcp h 3632 x3 v1"),
            ("h/+4", "tcp h 3632 x4 v1"),
            ("h/3x:99,foo", "tcp h 3632 x3 v1"),
            ("h=3", "tcp h=3 3632 x4 v1"),
            ("h/2=3", "tcp h 3632 x3 v1"),
            ("h/2/3/4", "tcp h 3632 x3 v1"),
            ("h:99", "tcp h 99 x4 v1"),
            ("h:99/3", "tcp h 99 x3 v1"),
            ("h/3:99/5,lzo", "tcp h 99 x5 v2"),
            ("h/3:99", "tcp h 99 x3 v1"),
            ("h:", "tcp h 0 x4 v1"),
            ("h:/3,lzo", "tcp h 0 x3 v2"),
            ("h:+5", "tcp h 5 x4 v1"),
            ("h:010", "tcp h 10 x4 v1"),
            ("h:99999", "tcp h 99999 x4 v1"),
            ("h/99999999999", "tcp h 3632 x10000 v1"),
            ("[::1]", "tcp ::1 3632 x4 v1"),
            ("[::1]:99/2,lzo", "tcp ::1 99 x2 v2"),
            ("[::1]=5", "tcp ::1 3632 x5 v1"),
            ("[fe80::1%eth0]:99", "tcp fe80::1%eth0 99 x4 v1"),
            ("[::1]x:99,foo", "tcp ::1 3632 x4 v1"),
            ("h,lzo", "tcp h 3632 x4 v2"),
            ("h,lzo,cpp", "tcp h 3632 x4 v3"),
            ("h,cpp,lzo", "tcp h 3632 x4 v3"),
            ("h,lzo/7", "tcp h 3632 x4 v2"),
            ("h,lzox,foo", "tcp h 3632 x4 v2"),
            ("h,down,lzo", "tcp h 3632 x4 v2 down"),
            ("h,auth", "tcp h 3632 x4 v1 auth()"),
            ("h,auth=bob,lzo", "tcp h 3632 x4 v2 auth(bob)"),
            ("h,auth=,lzo", "tcp h 3632 x4 v2 auth()"),
            ("@h", "ssh - h - x4 v1"),
            ("u@h,lzo,cpp", "ssh u h - x4 v3"),
            ("u@h/3:/x/y,lzo", "ssh u h /x/y x3 v2"),
            ("u@h:/x/y/3", "ssh u h /x/y/3 x4 v1"),
            ("u@h:,lzo", "ssh u h - x4 v2"),
            ("u@h/2/3:/x,foo", "ssh u h - x2 v1"),
            ("u@h=3", "ssh u h=3 - x4 v1"),
            ("u@[::1]", "ssh u [ :1] x4 v1"),
            ("a@b@c", "ssh a b@c - x4 v1"),
            ("x,y:z@h", "ssh x,y:z h - x4 v1"),
        ] {
            assert_eq!(meaning(word), expected, "{word}");
        }
    }

    #[test]
    fn malformed_words_are_refused_with_their_fault() {
        for (word, expected) in [
            (":99", "MissingName"),
            ("/4", "MissingName"),
            (",lzo", "MissingName"),
            ("[]:5", "MissingName"),
            ("a\0b", "NulByte"),
            ("@", "MissingName"),
            ("u@/3", "MissingName"),
            ("@:cmd", "MissingName"),
            ("[::1", "UnclosedBracket"),
            ("[a/b]:5", "UnclosedBracket"),
            ("[a,b]", "UnclosedBracket"),
            ("h:x", "BadPort(\"x\")"),
            ("h:99x/2", "BadPort(\"99x/2\")"),
            ("h:0x10", "BadPort(\"0x10\")"),
            ("h:99=5", "BadPort(\"99=5\")"),
            ("h:-5", "BadPort(\"-5\")"),
            ("h:+", "BadPort(\"+\")"),
            ("h/0", "BadLimit(\"/0\")"),
            ("h/", "BadLimit(\"/\")"),
            ("h/x,lzo", "BadLimit(\"/x,lzo\")"),
            ("h/-1", "BadLimit(\"/-1\")"),
            ("localhost/0", "BadLimit(\"/0\")"),
            ("u@h/x", "BadLimit(\"/x\")"),
            ("h,foo", "BadOption(\",foo\")"),
            ("h,", "BadOption(\",\")"),
            ("h,lzo,", "BadOption(\",lzo,\")"),
            ("u@h:cmd,foo", "BadOption(\",foo\")"),
            ("h,cpp", "PumpWithoutCompression"),
        ] {
            assert_eq!(meaning(word), expected, "{word}");
        }
    }

    #[test]
    fn an_error_names_the_word_and_the_cause() {
        let error = parse_word("red:x").unwrap_err();
        assert_eq!(
            error.to_string(),
            "host specification \"red:x\": invalid tcp port specification in \"x\""
        );
    }

    #[test]
    fn lock_names_are_those_of_distcc_3_4() {
        for (word, expected) in [
            ("localhost/3", "localhost"),
            ("127.0.0.1:39420/2,lzo", "tcp_127.0.0.1_39420"),
            ("[::1]:39420", "tcp_::1_39420"),
            ("[::1%lo]:39420", "tcp_::1%lo_39420"),
            ("Red.Example", "tcp_Red.Example_3632"),
            ("localhost,lzo", "tcp_localhost_3632"),
            ("h:", "tcp_h_0"),
            ("h=3", "tcp_h=3_3632"),
            ("bob@sshhost/3:/x/y,lzo", "ssh_sshhost"),
            ("a@b@c", "ssh_b@c"),
        ] {
            assert_eq!(parse_word(word).unwrap().lock_name(), expected, "{word}");
        }
    }

    #[test]
    fn no_name_leaves_the_lock_directory() {
        let outside = Transport::Ssh { user: None, name: String::from("../../x"), command: None };
        assert!(!outside.lock_name().contains('/'));
    }
}
