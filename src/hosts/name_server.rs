//! Asking name servers for the hosts of a service, by UDP and where the answer is too long by TCP (RFC 1035, 2782).
//!
//! A static program has no resolver library that knows SRV records, and getent(1) does not either. Knows resolv.conf(5);
//! the bytes of a message are `simple-dns`'s.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};

use crate::sys::process;

/// Where the machine's name servers are listed.
const RESOLVER_FILE: &str = "/etc/resolv.conf";
/// The port of name servers.
const PORT: u16 = 53;
/// How long all questions for one service may take: a build waits once so long, and then not for half a minute.
pub const TOTAL_TIME_MAX: Duration = Duration::from_secs(5);
/// Most servers and search domains that are used, as in the C library.
const SERVERS_MAX: usize = 3;
const DOMAINS_MAX: usize = 6;
/// How long one server has before the next is asked, unless `options timeout:` says less.
const SERVER_TIME_DEFAULT: Duration = Duration::from_secs(2);
/// How often the whole list is asked, unless `options attempts:` says otherwise; and the most that is believed.
const ATTEMPTS_DEFAULT: u32 = 2;
const ATTEMPTS_MAX: u32 = 5;
/// Longest answer by UDP without extensions, in bytes, and some more.
const DATAGRAM_BYTES_MAX: usize = 4096;
/// Longest name of a host, in bytes.
const NAME_BYTES_MAX: usize = 253;
/// Most records of an answer that are looked at.
const RECORDS_MAX: usize = 4096;

/// One host of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Lower ones are to be preferred.
    pub priority: u16,
    /// Among equals, heavier ones.
    pub weight: u16,
    /// Its port; not 0.
    pub port: u16,
    /// Its name, without a dot at the end.
    pub host: String,
}

/// The hosts of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How long it may be kept, in seconds.
    pub seconds: u32,
    /// The hosts, as they came.
    pub targets: Vec<Target>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// A name server has said that there is no such service; otherwise nobody has said anything.
    pub is_final: bool,
    /// A text for people.
    pub cause: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

/// What resolv.conf(5) says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Resolver {
    servers: Vec<SocketAddr>,
    domains: Vec<String>,
    /// Names with fewer dots are looked for in the domains first.
    dots: usize,
    server_time: Duration,
    attempts: u32,
}

/// What an answer to one question means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// These are the hosts.
    Found(Answer),
    /// It is cut: to be asked for by TCP.
    Truncated,
    /// There is no such name, or it has no such records.
    Nothing,
    /// The server cannot say.
    Refused(String),
    /// It answers something else, or nothing that can be read.
    Foreign,
}

/// The hosts of a service, as the machine's name servers know them.
pub fn services(name: &str) -> Result<Answer, Failure> {
    let text = fs::read_to_string(RESOLVER_FILE).unwrap_or_default();
    Resolver::parse(&text).services(name)
}

impl Resolver {
    fn parse(text: &str) -> Resolver {
        let mut resolver = Resolver {
            servers: Vec::new(),
            domains: Vec::new(),
            dots: 1,
            server_time: SERVER_TIME_DEFAULT,
            attempts: ATTEMPTS_DEFAULT,
        };
        for line in text.lines() {
            let mut words = line.split(['#', ';']).next().unwrap_or_default().split_whitespace();
            match words.next() {
                Some("nameserver") => resolver.servers.extend(words.next().and_then(server_address)),
                Some("domain" | "search") => {
                    resolver.domains =
                        words.take(DOMAINS_MAX).map(|word| word.trim_end_matches('.').to_owned()).collect();
                }
                Some("options") => words.for_each(|word| resolver.take_option(word)),
                _ => {}
            }
        }
        resolver.servers.truncate(SERVERS_MAX);
        if resolver.servers.is_empty() {
            resolver.servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT));
        }
        resolver
    }

    fn take_option(&mut self, word: &str) {
        let Some((name, Ok(number))) = word.split_once(':').map(|(name, text)| (name, text.parse::<u32>()))
        else {
            return;
        };
        match name {
            "ndots" => self.dots = number.min(15) as usize,
            "timeout" => {
                self.server_time = Duration::from_secs(u64::from(number.max(1))).min(SERVER_TIME_DEFAULT)
            }
            "attempts" => self.attempts = number.clamp(1, ATTEMPTS_MAX),
            _ => {}
        }
    }

    /// The names that a name may stand for, most likely first.
    fn full_names(&self, name: &str) -> Vec<String> {
        if let Some(absolute) = name.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let mut names: Vec<String> = self
            .domains
            .iter()
            .filter(|domain| !domain.is_empty())
            .map(|domain| format!("{name}.{domain}"))
            .collect();
        let has_dots = name.matches('.').count() >= self.dots;
        names.insert(if has_dots { 0 } else { names.len() }, name.to_owned());
        names
    }

    fn services(&self, name: &str) -> Result<Answer, Failure> {
        let deadline = Instant::now() + TOTAL_TIME_MAX;
        let mut failure = None;
        for name in self.full_names(name) {
            match self.ask_servers(&name, deadline) {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => {}
                Err(cause) => failure = Some(Failure { is_final: false, cause }),
            }
        }
        Err(failure.unwrap_or_else(|| Failure {
            is_final: true,
            cause: "no name server knows such a service (look with: dig SRV NAME)".to_owned(),
        }))
    }

    /// What the first server says that says anything; `None` if there is no such service.
    fn ask_servers(&self, name: &str, deadline: Instant) -> Result<Option<Answer>, String> {
        let question =
            |id| question(name, id).map_err(|error| format!("{name}: not a domain name ({error})"));
        let mut cause = String::new();
        for _ in 0..self.attempts {
            for server in &self.servers {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(format!(
                        "no answer from a name server within {} s",
                        TOTAL_TIME_MAX.as_secs()
                    ));
                }
                let id = process::random_seed() as u16;
                match ask(*server, &question(id)?, id, left.min(self.server_time)) {
                    Ok(Meaning::Found(answer)) => return Ok(Some(answer)),
                    Ok(Meaning::Nothing) => return Ok(None),
                    Ok(Meaning::Refused(said)) => cause = format!("name server {server}: {said}"),
                    Ok(Meaning::Truncated | Meaning::Foreign) => {
                        cause = format!("name server {server}: an answer that makes no sense");
                    }
                    Err(error) if is_timeout(&error) => {
                        cause = format!("name server {server} does not answer")
                    }
                    Err(error) => cause = format!("name server {server}: {error}"),
                }
            }
        }
        Err(cause)
    }
}

fn server_address(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, PORT));
    }
    let (address, interface) = text.split_once('%')?;
    let index = fs::read_to_string(format!("/sys/class/net/{}/ifindex", interface.replace('/', ""))).ok()?;
    let index = index.trim().parse().ok()?;
    Some(SocketAddr::V6(SocketAddrV6::new(address.parse().ok()?, PORT, 0, index)))
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Asks one server, by TCP if its answer does not fit.
fn ask(server: SocketAddr, question: &[u8], id: u16, time: Duration) -> io::Result<Meaning> {
    let deadline = Instant::now() + time;
    let local = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(local)?;
    // Only what this server sends is received, and that it is not there is heard.
    socket.connect(server)?;
    socket.send(question)?;
    let mut buffer = [0; DATAGRAM_BYTES_MAX];
    loop {
        socket.set_read_timeout(Some(left(deadline)?))?;
        let length = socket.recv(&mut buffer)?;
        match meaning(&buffer[..length], question, id) {
            Meaning::Foreign => {}
            Meaning::Truncated => return ask_by_tcp(server, question, id, deadline),
            meaning => return Ok(meaning),
        }
    }
}

fn ask_by_tcp(server: SocketAddr, question: &[u8], id: u16, deadline: Instant) -> io::Result<Meaning> {
    let mut stream = TcpStream::connect_timeout(&server, left(deadline)?)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    let mut request = (question.len() as u16).to_be_bytes().to_vec();
    request.extend_from_slice(question);
    stream.write_all(&request)?;
    let mut length = [0; 2];
    read_all(&mut stream, &mut length, deadline)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    read_all(&mut stream, &mut answer, deadline)?;
    Ok(meaning(&answer, question, id))
}

fn read_all(stream: &mut TcpStream, mut buffer: &mut [u8], deadline: Instant) -> io::Result<()> {
    while !buffer.is_empty() {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => buffer = &mut buffer[count..],
        }
    }
    Ok(())
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// The question for the hosts of a service.
pub fn question(name: &str, id: u16) -> Result<Vec<u8>, simple_dns::SimpleDnsError> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let (kind, class) = (QTYPE::TYPE(TYPE::SRV), QCLASS::CLASS(CLASS::IN));
    packet.questions.push(Question::new(Name::new(name)?, kind, class, false));
    packet.build_bytes_vec()
}

/// What a message means as the answer to a question.
pub fn meaning(message: &[u8], question: &[u8], id: u16) -> Meaning {
    let (Ok(packet), Ok(asked)) = (Packet::parse(message), Packet::parse(question)) else {
        return Meaning::Foreign;
    };
    let is_same = |one: &Question<'_>, other: &Question<'_>| {
        one.qtype == other.qtype && one.qname.to_string().eq_ignore_ascii_case(&other.qname.to_string())
    };
    let is_ours = packet.id() == id
        && packet.has_flags(PacketFlag::RESPONSE)
        && packet.questions.len() == 1
        && asked.questions.first().is_some_and(|asked| is_same(asked, &packet.questions[0]));
    if !is_ours {
        return Meaning::Foreign;
    }
    if packet.has_flags(PacketFlag::TRUNCATION) {
        return Meaning::Truncated;
    }
    match packet.rcode() {
        RCODE::NoError => {}
        RCODE::NameError => return Meaning::Nothing,
        code => return Meaning::Refused(format!("{code:?}")),
    }
    let mut answer = Answer { seconds: u32::MAX, targets: Vec::new() };
    let mut has_records = false;
    for record in packet.answers.iter().take(RECORDS_MAX) {
        let RData::SRV(service) = &record.rdata else { continue };
        has_records = true;
        answer.seconds = answer.seconds.min(record.ttl);
        let host = service.target.to_string();
        let host = host.trim_end_matches('.');
        // A lone dot says that the service is not to be had here (RFC 2782).
        if service.port != 0 && is_host_name(host) {
            answer.targets.push(Target {
                priority: service.priority,
                weight: service.weight,
                port: service.port,
                host: host.to_owned(),
            });
        }
    }
    if has_records { Meaning::Found(answer) } else { Meaning::Nothing }
}

/// Whether a name can stand in a host list and be the part of a file's name.
pub fn is_host_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && !name.starts_with(['-', '.', '_'])
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use simple_dns::ResourceRecord;
    use simple_dns::rdata::SRV;

    const NAME: &str = "_distcc._tcp.example.net";

    fn reply(records: &[(&str, u16, u32)]) -> Vec<u8> {
        let mut packet = Packet::new_reply(7);
        let (kind, class) = (QTYPE::TYPE(TYPE::SRV), QCLASS::CLASS(CLASS::IN));
        packet.questions.push(Question::new(Name::new(NAME).unwrap(), kind, class, false));
        for (host, port, ttl) in records {
            let target = Name::new(host).unwrap();
            let service = RData::SRV(SRV { priority: 1, weight: 2, port: *port, target });
            packet.answers.push(ResourceRecord::new(Name::new(NAME).unwrap(), CLASS::IN, *ttl, service));
        }
        packet.build_bytes_vec().unwrap()
    }

    #[test]
    fn an_answer_is_read_and_what_is_no_host_is_left_out() {
        let asked = question(NAME, 7).unwrap();
        let message = reply(&[("red.example.net", 3632, 60), ("blue.example.net", 99, 30), ("x.y", 0, 20)]);
        let Meaning::Found(answer) = meaning(&message, &asked, 7) else { panic!("no answer") };
        assert_eq!(answer.seconds, 20);
        let hosts: Vec<_> = answer.targets.iter().map(|target| (target.host.as_str(), target.port)).collect();
        assert_eq!(hosts, [("red.example.net", 3632), ("blue.example.net", 99)]);
        assert_eq!(meaning(&reply(&[]), &asked, 7), Meaning::Nothing);
    }

    #[test]
    fn an_answer_to_another_question_is_none() {
        let asked = question(NAME, 7).unwrap();
        let message = reply(&[("red.example.net", 3632, 60)]);
        assert_eq!(meaning(&message, &asked, 8), Meaning::Foreign);
        assert_eq!(meaning(&message, &question("_x._tcp.example.net", 7).unwrap(), 7), Meaning::Foreign);
        assert_eq!(meaning(&asked, &asked, 7), Meaning::Foreign);
        for length in 0..message.len() {
            assert!(!matches!(meaning(&message[..length], &asked, 7), Meaning::Found(_)), "{length}");
        }
    }

    #[test]
    fn the_resolver_is_as_the_file_says() {
        let text = "# comment\nnameserver 10.0.0.1 ; x\nnameserver ::1\nnameserver bad\nsearch a.net b.net.\n\
                    options ndots:3 timeout:1 attempts:9 rotate\n";
        let resolver = Resolver::parse(text);
        assert_eq!(resolver.servers, ["10.0.0.1:53".parse().unwrap(), "[::1]:53".parse().unwrap()]);
        assert_eq!((resolver.dots, resolver.attempts), (3, ATTEMPTS_MAX));
        assert_eq!(resolver.server_time, Duration::from_secs(1));
        assert_eq!(resolver.full_names("_d._tcp"), ["_d._tcp.a.net", "_d._tcp.b.net", "_d._tcp"]);
        assert_eq!(resolver.full_names("_d._tcp.c.d")[0], "_d._tcp.c.d");
        assert_eq!(resolver.full_names("_d._tcp.c."), ["_d._tcp.c"]);
        assert_eq!(Resolver::parse("").servers, ["127.0.0.1:53".parse().unwrap()]);
    }

    /// A name server of one socket, which answers with `reply` what it is asked.
    fn with_server(reply: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static) -> Resolver {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut buffer) {
                if let Some(reply) = reply(&buffer[..length]) {
                    let _ = socket.send_to(&reply, client);
                }
            }
        });
        Resolver { servers: vec![address], server_time: Duration::from_millis(100), ..Resolver::parse("") }
    }

    #[test]
    fn a_server_is_asked_and_forgeries_are_passed_over() {
        let resolver = with_server(|asked| {
            let mut reply = reply(&[("red.example.net", 3632, 60)]);
            reply[..2].copy_from_slice(&asked[..2]);
            Some(reply)
        });
        assert_eq!(resolver.services(NAME).unwrap().targets[0].host, "red.example.net");
        let forger = with_server(|_| Some(reply(&[("red.example.net", 3632, 60)])));
        assert!(!forger.services(NAME).unwrap_err().is_final);
    }

    #[test]
    fn silence_and_denial_are_told_apart() {
        let failure = with_server(|_| None).services(NAME).unwrap_err();
        assert!(!failure.is_final && failure.cause.contains("does not answer"), "{failure}");
        let resolver = with_server(|asked| {
            let mut reply = asked.to_vec();
            reply[2] |= 0x80;
            reply[3] = 3;
            Some(reply)
        });
        assert!(resolver.services(NAME).unwrap_err().is_final);
    }

    /// An answer with these bytes behind the question, which claims so many records.
    fn forged(records: u16, bytes: &[u8]) -> Vec<u8> {
        let mut message = question(NAME, 7).unwrap();
        message[2] |= 0x80;
        message[6..8].copy_from_slice(&records.to_be_bytes());
        message.extend_from_slice(bytes);
        message
    }

    #[test]
    fn forged_answers_are_read_in_no_time_and_say_nothing() {
        let asked = question(NAME, 7).unwrap();
        let begin = asked.len();
        let pointer = |to: usize| (0xc000 | to as u16).to_be_bytes();
        let record = |owner: &[u8], target: &[u8]| {
            let length = (6 + target.len()) as u16;
            let head = [0, 33, 0, 1, 0xff, 0xff, 0xff, 0xff].iter().copied().chain(length.to_be_bytes());
            [owner, &head.collect::<Vec<_>>(), &[0, 1, 0, 1, 0, 9], target].concat()
        };
        // A pointer to itself; two to each other; one to what comes; a chain; many labels that many records point to.
        let mut cases = vec![
            forged(1, &record(&pointer(begin), b"\x01a\0")),
            forged(1, &[&pointer(begin + 2)[..], &record(&pointer(begin), b"\x01a\0")].concat()),
            forged(1, &record(&pointer(12), &pointer(begin + 18))),
            forged(0xffff, &record(&pointer(12), b"\x01a\0")),
        ];
        let mut chain: Vec<u8> = b"\x01a\0".to_vec();
        while chain.len() < 14_000 {
            let last = begin + chain.len() - if chain.len() == 3 { 3 } else { 4 };
            chain.extend_from_slice(&[b"\x01a".as_slice(), &pointer(last)].concat());
        }
        let end = begin + chain.len() - 4;
        let mut many = record(&[chain.as_slice()].concat(), b"\x01a\0");
        while many.len() < 60_000 {
            many.extend(record(&pointer(end), &pointer(end)));
        }
        cases.push(forged(2400, &many));
        let mut labels = b"\x01a".repeat(7000);
        labels.push(0);
        let mut long = record(&labels, b"\x01a\0");
        while long.len() < 60_000 {
            long.extend(record(&pointer(begin), &pointer(begin)));
        }
        cases.push(forged(2400, &long));
        let odd = [b"\x09-oProxy=x".as_slice(), b"\x04\x1b[2J\0"].concat();
        cases.push(forged(1, &record(&pointer(12), &odd)));
        for (number, message) in cases.iter().enumerate() {
            let began = Instant::now();
            let meaning = meaning(message, &asked, 7);
            assert!(began.elapsed() < Duration::from_secs(2), "{number}: {:?}", began.elapsed());
            let hosts = if let Meaning::Found(answer) = meaning { answer.targets } else { Vec::new() };
            assert!(hosts.is_empty(), "{number}: {hosts:?}");
        }
        // And whatever else: bytes of a good answer changed by chance.
        let good = reply(&[("red.example.net", 3632, 60), ("blue.example.net", 99, 30)]);
        let mut state = 1_u32;
        for _ in 0..20_000 {
            let mut message = good.clone();
            for _ in 0..3 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = (state >> 16) as usize % message.len();
                message[at] = (state >> 8) as u8;
            }
            if let Meaning::Found(answer) = meaning(&message, &asked, 7) {
                assert!(answer.targets.iter().all(|target| is_host_name(&target.host)), "{answer:?}");
            }
        }
    }
}
