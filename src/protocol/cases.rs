//! The protocol's tests: one list of messages with their bytes, for requests and for responses, drives
//! encoders and decoders both. Knows nothing that the protocol's public functions do not say.

use std::mem::discriminant;

use super::error::ProtocolError;
use super::limits::{RequestLimits, ResponseLimits};
use super::lzo;
use super::request::{self, RequestDecoder, RequestEvent};
use super::response::{self, ResponseDecoder, ResponseEvent};
use super::version::Version;
use super::xorshift::Xorshift;
use crate::exit_code::WaitStatus;

pub(super) fn from_hex(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "{hex}");
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits");
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// Either decoder, as the checks below see it.
trait Direction {
    fn next<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Option<Piece<'a>>), ProtocolError>;
    fn complete(&self) -> bool;
}

/// An event, as text unless the checks treat it apart.
enum Piece<'a> {
    Event(String),
    Part(&'a [u8]),
    End,
}

impl Direction for RequestDecoder {
    fn next<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Option<Piece<'a>>), ProtocolError> {
        let (used, event) = RequestDecoder::next(self, input)?;
        let piece = event.map(|event| match event {
            RequestEvent::BodyPart(part) => Piece::Part(part),
            RequestEvent::End => Piece::End,
            event => Piece::Event(format!("{event:?}")),
        });
        Ok((used, piece))
    }

    fn complete(&self) -> bool {
        self.expecting() == "nothing more"
    }
}

impl Direction for ResponseDecoder {
    fn next<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Option<Piece<'a>>), ProtocolError> {
        let (used, event) = ResponseDecoder::next(self, input)?;
        let piece = event.map(|event| match event {
            ResponseEvent::BodyPart(part) => Piece::Part(part),
            ResponseEvent::End => Piece::End,
            event => Piece::Event(format!("{event:?}")),
        });
        Ok((used, piece))
    }

    fn complete(&self) -> bool {
        self.expecting() == "nothing more"
    }
}

/// What comes out of a decoder. The parts of each body are joined, because where it is cut depends on how it
/// arrives.
#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    events: Vec<String>,
    bodies: Vec<Vec<u8>>,
    used: usize,
    ended: bool,
}

/// Feeds a decoder `step` more bytes whenever it asks for more.
fn decode(decoder: &mut impl Direction, input: &[u8], step: usize) -> Result<Decoded, ProtocolError> {
    let mut decoded = Decoded { events: Vec::new(), bodies: Vec::new(), used: 0, ended: false };
    let mut arrived = 0;
    loop {
        assert!(arrived - decoded.used < super::packet::HEADER_BYTES + step, "too much is left unused");
        let (used, piece) = decoder.next(&input[decoded.used..arrived])?;
        decoded.used += used;
        match piece {
            Some(Piece::Event(text)) => {
                if text.starts_with("BodyStart") {
                    decoded.bodies.push(Vec::new());
                }
                decoded.events.push(text);
            }
            Some(Piece::Part(part)) => {
                assert!(!part.is_empty(), "an empty part says nothing");
                decoded.bodies.last_mut().expect("a body begins before its parts").extend_from_slice(part);
            }
            Some(Piece::End) => {
                assert!(!decoded.ended, "a message ends once");
                decoded.ended = true;
            }
            None if used > 0 => {}
            None if arrived == input.len() || decoded.ended => return Ok(decoded),
            None => arrived = input.len().min(arrived.saturating_add(step)),
        }
    }
}

/// The whole test of one message: `expected` is what any way of arrival must give.
fn check_decoding<D: Direction>(name: &str, new: impl Fn() -> D, bytes: &[u8], expected: &Decoded) {
    for step in [bytes.len(), 1, 2, 11, 12, 13, 1000] {
        let decoded = decode(&mut new(), bytes, step);
        assert_eq!(decoded.as_ref(), Ok(expected), "{name}, {step} at a time");
    }
    for tail in [&b"DIST00000001"[..], b"x", &[0; 100]] {
        let decoded = decode(&mut new(), &[bytes, tail].concat(), usize::MAX - 100);
        assert_eq!(decoded.as_ref(), Ok(expected), "{name}, with {} bytes behind", tail.len());
    }
    // Large bodies are cut near their ends only, so that the test stays quick.
    for cut in (0..bytes.len()).filter(|cut| *cut < 2000 || bytes.len() - cut < 50) {
        let mut decoder = new();
        let decoded = decode(&mut decoder, &bytes[..cut], cut.max(1)).expect("a beginning is no error");
        assert!(!decoded.ended && !decoder.complete(), "{name}, cut at {cut}, seems complete");
        assert!(expected.events.starts_with(&decoded.events), "{name}, cut at {cut}");
        assert!(expected.bodies.concat().starts_with(&decoded.bodies.concat()), "{name}, cut at {cut}");
    }
    let mut random = Xorshift::new(bytes.len() as u64);
    for _ in 0..(300_000 / bytes.len()).clamp(30, 2000) {
        let damaged = random.damage(bytes);
        let whole = decode(&mut new(), &damaged, damaged.len());
        let slowly = decode(&mut new(), &damaged, 1);
        match (whole, slowly) {
            // Arriving slowly, a wrong token is quoted with less of what follows it.
            (Err(whole), Err(slowly)) => assert_eq!(discriminant(&whole), discriminant(&slowly), "{name}"),
            (whole, slowly) => assert_eq!(whole, slowly, "{name}"),
        }
    }
}

/// A request as its sender sees it; bodies as they travel.
#[derive(Clone)]
struct Request {
    version: Version,
    cwd: Option<&'static str>,
    argv: Vec<&'static str>,
    content: Content,
}

#[derive(Clone)]
enum Content {
    Source(Vec<u8>),
    Files(Vec<(&'static str, Entry)>),
}

#[derive(Clone)]
enum Entry {
    File(Vec<u8>),
    Link(String),
}

impl Request {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        request::encode_head(self.version, self.cwd.map(str::as_bytes), &self.argv, &mut out);
        match &self.content {
            Content::Source(body) => {
                request::encode_source_header(body.len() as u32, &mut out);
                out.extend_from_slice(body);
            }
            Content::Files(files) => {
                request::encode_file_count(files.len() as u32, &mut out);
                for (name, entry) in files {
                    match entry {
                        Entry::File(body) => {
                            request::encode_file_header(name.as_bytes(), body.len() as u32, &mut out);
                            out.extend_from_slice(body);
                        }
                        Entry::Link(target) => {
                            request::encode_link(name.as_bytes(), target.as_bytes(), &mut out);
                        }
                    }
                }
            }
        }
        out
    }

    fn decoded(&self) -> Decoded {
        let mut events = vec![RequestEvent::Version(self.version)];
        events.extend(self.cwd.map(|cwd| RequestEvent::Directory(cwd.into())));
        events.push(RequestEvent::Arguments(self.argv.iter().map(|word| Vec::from(*word)).collect()));
        let mut bodies = Vec::new();
        match &self.content {
            Content::Source(body) => {
                let kind = request::BodyKind::Source;
                events.push(RequestEvent::BodyStart { kind, bytes: body.len() as u32 });
                events.push(RequestEvent::BodyEnd);
                bodies.push(body.clone());
            }
            Content::Files(files) => {
                events.push(RequestEvent::FileCount(files.len() as u32));
                for (name, entry) in files {
                    let name = Vec::from(*name);
                    match entry {
                        Entry::File(body) => {
                            let kind = request::BodyKind::File { name };
                            events.push(RequestEvent::BodyStart { kind, bytes: body.len() as u32 });
                            events.push(RequestEvent::BodyEnd);
                            bodies.push(body.clone());
                        }
                        Entry::Link(target) => {
                            events.push(RequestEvent::Link { name, target: target.clone().into() });
                        }
                    }
                }
            }
        }
        let events = events.iter().map(|event| format!("{event:?}")).collect();
        Decoded { events, bodies, used: self.encode().len(), ended: true }
    }
}

const DOTS_26: &str = "../../../../../../../../../../../../../../../../../../../../../../../../../../";

/// Requests after captured ones (versions 1 and 2 from distcc 3.4, version 3 from its development head), with
/// their bytes written out. The body of the first is made up, and the third has fewer files.
fn captured_requests() -> Vec<(&'static str, Request, Vec<u8>)> {
    let plain_source: Vec<u8> = b"# 1 \"t.c\"\nint x;\n".iter().copied().cycle().take(0x4fa7).collect();
    let packed_source = from_hex(
        "072320302022742e63220a8401073c6275696c742d696e3ee00209636f6d6d616e642d6c696e65900200123120222f\
         7573722f696e636c7564652f737464632d7072656465662e6822203120332034d0092cec00000220320a2320312022\
         742e63220a696e7420783b0a110000",
    );
    let packed_header = from_hex("18696e7420783b0a110000");
    let packed_nothing = from_hex("110000");
    let target = |dots: usize, path: &str| Entry::Link(format!("{}{path}", &DOTS_26[..3 * dots]));
    vec![
        (
            "captured, version 1",
            Request {
                version: Version::PLAIN,
                cwd: None,
                argv: vec!["x86_64-linux-gnu-gcc", "-O2", "-Wall", "-c", "t.c", "-o", "t.o"],
                content: Content::Source(plain_source.clone()),
            },
            [
                &b"DIST00000001ARGC00000007ARGV00000014x86_64-linux-gnu-gccARGV00000003-O2ARGV00000005-Wall"
                    [..],
                b"ARGV00000002-cARGV00000003t.cARGV00000002-oARGV00000003t.oDOTI00004fa7",
                &plain_source,
            ]
            .concat(),
        ),
        (
            "captured, version 2",
            Request {
                version: Version::LZO,
                cwd: None,
                argv: vec!["x86_64-linux-gnu-gcc", "-c", "t.c", "-o", "t.o"],
                content: Content::Source(packed_source.clone()),
            },
            [
                &b"DIST00000002ARGC00000005ARGV00000014x86_64-linux-gnu-gccARGV00000002-cARGV00000003t.c"[..],
                b"ARGV00000002-oARGV00000003t.oDOTI0000006d",
                &packed_source,
            ]
            .concat(),
        ),
        (
            "captured, version 3",
            pump_request(
                &[
                    "x86_64-linux-gnu-gcc",
                    "-g",
                    "-O2",
                    "-I/home/u/exp/proj/abs",
                    "-DX=1",
                    "-Wall",
                    "-c",
                    "m.c",
                    "-o",
                    "m.o",
                ],
                vec![
                    ("/home/u/exp/proj/m.c", Entry::File(packed_source.clone())),
                    ("/home/u/exp/proj/inc.h", Entry::File(packed_header.clone())),
                    ("/usr/local/include", target(23, "usr/local/include")),
                    ("/usr/include", target(22, "usr/include")),
                    ("/home/u/exp/proj/link.h", Entry::Link("/home/u/exp/proj/real.h".to_owned())),
                    ("/home/u/exp/proj/forcing_technique_271828", Entry::File(Vec::new())),
                    ("/home/u/exp/proj/empty.h", Entry::File(packed_nothing.clone())),
                ],
            ),
            [
                &b"DIST00000003CDIR00000010/home/u/exp/projARGC0000000aARGV00000014x86_64-linux-gnu-gcc"[..],
                b"ARGV00000002-gARGV00000003-O2ARGV00000016-I/home/u/exp/proj/absARGV00000005-DX=1",
                b"ARGV00000005-WallARGV00000002-cARGV00000003m.cARGV00000002-oARGV00000003m.oNFIL00000007",
                b"NAME00000014/home/u/exp/proj/m.cFILE0000006d",
                &packed_source,
                b"NAME00000016/home/u/exp/proj/inc.hFILE0000000b",
                &packed_header,
                b"NAME00000012/usr/local/includeLINK00000056",
                &DOTS_26.as_bytes()[..69],
                b"usr/local/include",
                b"NAME0000000c/usr/includeLINK0000004d",
                &DOTS_26.as_bytes()[..66],
                b"usr/include",
                b"NAME00000017/home/u/exp/proj/link.hLINK00000017/home/u/exp/proj/real.h",
                b"NAME00000029/home/u/exp/proj/forcing_technique_271828FILE00000000",
                b"NAME00000018/home/u/exp/proj/empty.hFILE00000003\x11\0\0",
            ]
            .concat(),
        ),
    ]
}

/// Requests that are legal and rare, with their bytes.
fn odd_requests() -> Vec<(&'static str, Request, Vec<u8>)> {
    vec![
        (
            "no files at all",
            pump_request(&["cc", "-c", "m.c"], Vec::new()),
            b"DIST00000003CDIR00000010/home/u/exp/projARGC00000003ARGV00000002ccARGV00000002-cARGV00000003m.c\
              NFIL00000000"
                .to_vec(),
        ),
        (
            "a link at the end, with an empty target",
            pump_request(&["cc"], vec![("/l", Entry::Link(String::new()))]),
            b"DIST00000003CDIR00000010/home/u/exp/projARGC00000001ARGV00000002ccNFIL00000001\
              NAME00000002/lLINK00000000"
                .to_vec(),
        ),
        (
            "version 0, empty words and an empty source",
            Request {
                version: Version::from_wire(0).expect("0 is known"),
                cwd: None,
                argv: vec!["", "cc", "", ""],
                content: Content::Source(Vec::new()),
            },
            b"DIST00000000ARGC00000004ARGV00000000ARGV00000002ccARGV00000000ARGV00000000\
              DOTI00000000"
                .to_vec(),
        ),
    ]
}

fn pump_request(argv: &[&'static str], files: Vec<(&'static str, Entry)>) -> Request {
    Request {
        version: Version::PUMP,
        cwd: Some("/home/u/exp/proj"),
        argv: argv.to_vec(),
        content: Content::Files(files),
    }
}

fn requests() -> impl Iterator<Item = (&'static str, Request, Vec<u8>)> {
    captured_requests().into_iter().chain(odd_requests())
}

/// A response as its sender sees it; bodies as they travel.
struct Response {
    version: Version,
    status: u32,
    bodies: Vec<Vec<u8>>,
}

const KINDS: [response::BodyKind; 4] = [
    response::BodyKind::Stderr,
    response::BodyKind::Stdout,
    response::BodyKind::Object,
    response::BodyKind::Dependencies,
];

impl Response {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        response::encode_head(self.version, WaitStatus(self.status), &mut out);
        for (kind, body) in KINDS.into_iter().zip(&self.bodies) {
            response::encode_body_header(kind, body.len() as u32, &mut out);
            out.extend_from_slice(body);
        }
        out
    }

    fn decoded(&self) -> Decoded {
        let mut events = vec![ResponseEvent::Status(WaitStatus(self.status))];
        let mut bodies = Vec::new();
        for (kind, body) in KINDS.into_iter().zip(&self.bodies) {
            if self.status != 0 && kind == response::BodyKind::Object {
                break;
            }
            events.push(ResponseEvent::BodyStart { kind, bytes: body.len() as u32 });
            events.push(ResponseEvent::BodyEnd);
            bodies.push(body.clone());
        }
        let events = events.iter().map(|event| format!("{event:?}")).collect();
        Decoded { events, bodies, used: self.encode().len(), ended: true }
    }

    fn decoder(&self) -> ResponseDecoder {
        ResponseDecoder::new(self.version, ResponseLimits::default())
    }
}

/// Responses with their bytes. The first has the headers that 3.4 sent for a success.
fn responses() -> Vec<(&'static str, Response, Vec<u8>)> {
    let object: Vec<u8> = b"\x7fELF\x02\x01\x01\0".iter().copied().cycle().take(848).collect();
    let dependencies = from_hex("1b6d2e6f3a206d2e630a110000");
    vec![
        (
            "success",
            Response { version: Version::PLAIN, status: 0, bodies: vec![vec![], vec![], object.clone()] },
            [&b"DONE00000001STAT00000000SERR00000000SOUT00000000DOTO00000350"[..], &object].concat(),
        ),
        (
            "syntax error",
            Response {
                version: Version::LZO,
                status: 0x100,
                bodies: vec![from_hex("18696e7420783b0a110000"), vec![], vec![]],
            },
            b"DONE00000002STAT00000100SERR0000000b\x18int x;\n\x11\0\0SOUT00000000DOTO00000000".to_vec(),
        ),
        (
            "killed compiler with output, version 3",
            Response {
                version: Version::PUMP,
                status: 0x8b,
                bodies: vec![b"e".to_vec(), b"oo".to_vec(), vec![]],
            },
            b"DONE00000003STAT0000008bSERR00000001eSOUT00000002ooDOTO00000000".to_vec(),
        ),
        (
            "success with dependencies",
            Response {
                version: Version::PUMP,
                status: 0,
                bodies: vec![vec![], vec![], b"O".to_vec(), dependencies.clone()],
            },
            [
                &b"DONE00000003STAT00000000SERR00000000SOUT00000000DOTO00000001ODOTD0000000d"[..],
                &dependencies,
            ]
            .concat(),
        ),
        (
            "empty object and dependencies",
            Response { version: Version::PUMP, status: 0, bodies: vec![vec![]; 4] },
            b"DONE00000003STAT00000000SERR00000000SOUT00000000DOTO00000000DOTD00000000".to_vec(),
        ),
        (
            "version 0, empty object",
            Response {
                version: Version::from_wire(0).expect("0 is known"),
                status: 0,
                bodies: vec![vec![]; 3],
            },
            b"DONE00000000STAT00000000SERR00000000SOUT00000000DOTO00000000".to_vec(),
        ),
    ]
}

#[test]
fn requests_are_encoded_as_listed() {
    for (name, request, bytes) in requests() {
        assert_eq!(request.encode().escape_ascii().to_string(), bytes.escape_ascii().to_string(), "{name}");
    }
}

#[test]
fn requests_are_decoded_however_they_arrive() {
    for (name, request, bytes) in requests() {
        check_decoding(name, || RequestDecoder::new(RequestLimits::default()), &bytes, &request.decoded());
    }
}

#[test]
fn responses_are_encoded_as_listed() {
    for (name, response, bytes) in responses() {
        assert_eq!(response.encode().escape_ascii().to_string(), bytes.escape_ascii().to_string(), "{name}");
    }
}

#[test]
fn responses_are_decoded_however_they_arrive() {
    for (name, response, bytes) in responses() {
        check_decoding(name, || response.decoder(), &bytes, &response.decoded());
    }
}

#[test]
fn the_captured_bodies_decompress() {
    for (name, request, _) in requests() {
        let bodies = match request.content {
            Content::Source(body) if request.version.compresses() => vec![body],
            Content::Source(_) => continue,
            Content::Files(files) => files
                .into_iter()
                .filter_map(|(_, entry)| match entry {
                    Entry::File(body) if !body.is_empty() => Some(body),
                    Entry::File(_) | Entry::Link(_) => None,
                })
                .collect(),
        };
        for body in bodies {
            assert!(lzo::decompress(&body, 4096).is_ok(), "{name}");
        }
    }
}
