//! What peers send: requests, responses, the surroundings of a pump job, questions to an include server and answers.

use distcc::protocol::handshake::{TOKEN_BYTES_MAX, TOKENS_MAX, TokenDecoder, encode_token};
use distcc::protocol::include_query::{
    Answer, OldQuestion, Question, decode_old_answer, encode_old_answer, encode_refusal,
};
use distcc::protocol::limits::{FILES_MAX, RequestLimits, ResponseLimits};
use distcc::protocol::packet::HEADER_BYTES;
use distcc::protocol::request::{self, RequestDecoder, RequestEvent};
use distcc::protocol::response::{self, ResponseDecoder, ResponseEvent};
use distcc::protocol::surroundings::{self, Files, VARIABLES};
use distcc::protocol::{ProtocolError, Version};

/// Low enough for short inputs to go beyond each.
const FEW: RequestLimits = RequestLimits {
    arguments: 6,
    argument_bytes: 24,
    arguments_bytes: 64,
    files: 4,
    path_bytes: 32,
    bodies_bytes: 96,
};
const LITTLE: ResponseLimits =
    ResponseLimits { messages_bytes: 24, object_bytes: 48, dependencies_bytes: 16 };

/// A message taken apart: its events but for the bodies' parts, which are joined, and how it ended.
#[derive(Debug, PartialEq)]
struct Taken<E> {
    events: Vec<E>,
    bodies: Vec<Vec<u8>>,
    end: End,
}

#[derive(Debug, PartialEq)]
enum End {
    /// The message is complete; so many bytes are none of it.
    Complete {
        left: usize,
    },
    /// More is due.
    Open {
        left: usize,
        expecting: &'static str,
    },
    Refused(ProtocolError),
}

/// The two decoders, which share one contract.
trait Decoder {
    type Kept;
    fn step<'a>(&mut self, input: &'a [u8]) -> Step<'a, Self::Kept>;
    fn expecting(&self) -> &'static str;
}

type Step<'a, K> = Result<(usize, Option<Sorted<'a, K>>), ProtocolError>;

enum Sorted<'a, K> {
    Part(&'a [u8]),
    Start(K),
    End,
    Other(K),
}

impl Decoder for RequestDecoder {
    type Kept = RequestEvent<'static>;
    fn step<'a>(&mut self, input: &'a [u8]) -> Step<'a, RequestEvent<'static>> {
        use RequestEvent as Event;
        let (used, event) = self.next(input)?;
        let sorted = event.map(|event| match event {
            Event::BodyPart(part) => Sorted::Part(part),
            Event::BodyStart { kind, bytes } => Sorted::Start(Event::BodyStart { kind, bytes }),
            Event::End => Sorted::End,
            Event::Version(version) => Sorted::Other(Event::Version(version)),
            Event::Directory(path) => Sorted::Other(Event::Directory(path)),
            Event::Arguments(words) => Sorted::Other(Event::Arguments(words)),
            Event::FileCount(count) => Sorted::Other(Event::FileCount(count)),
            Event::Link { name, target } => Sorted::Other(Event::Link { name, target }),
            Event::BodyEnd => Sorted::Other(Event::BodyEnd),
        });
        Ok((used, sorted))
    }
    fn expecting(&self) -> &'static str {
        RequestDecoder::expecting(self)
    }
}

impl Decoder for ResponseDecoder {
    type Kept = ResponseEvent<'static>;
    fn step<'a>(&mut self, input: &'a [u8]) -> Step<'a, ResponseEvent<'static>> {
        use ResponseEvent as Event;
        let (used, event) = self.next(input)?;
        let sorted = event.map(|event| match event {
            Event::BodyPart(part) => Sorted::Part(part),
            Event::BodyStart { kind, bytes } => Sorted::Start(Event::BodyStart { kind, bytes }),
            Event::End => Sorted::End,
            Event::Status(status) => Sorted::Other(Event::Status(status)),
            Event::BodyEnd => Sorted::Other(Event::BodyEnd),
            Event::ObjectAfterFailure { bytes } => Sorted::Other(Event::ObjectAfterFailure { bytes }),
        });
        Ok((used, sorted))
    }
    fn expecting(&self) -> &'static str {
        ResponseDecoder::expecting(self)
    }
}

/// Hands a message over in pieces of `step` bytes, as a reader with a small buffer does.
fn take<D: Decoder>(decoder: &mut D, message: &[u8], step: usize) -> Taken<D::Kept> {
    let (mut events, mut bodies) = (Vec::new(), Vec::new());
    let (mut from, mut to) = (0, step.min(message.len()));
    let end = loop {
        match decoder.step(&message[from..to]) {
            Err(error) => {
                let again = decoder.step(&message[from..to]).err();
                assert_eq!(again.as_ref(), Some(&error), "asked again, the decoder says something else");
                break End::Refused(error);
            }
            Ok((0, None)) if to == message.len() => {
                assert!(to - from < HEADER_BYTES, "{} bytes are kept waiting", to - from);
                break End::Open { left: to - from, expecting: decoder.expecting() };
            }
            Ok((0, None)) => to = message.len().min(to + step),
            Ok((used, event)) => {
                from += used;
                match event {
                    None => {}
                    Some(Sorted::End) => {
                        assert!(
                            matches!(decoder.step(&message[from..]), Ok((0, None))),
                            "more after the end"
                        );
                        break End::Complete { left: message.len() - from };
                    }
                    Some(Sorted::Part(part)) => bodies
                        .last_mut()
                        .map(|body: &mut Vec<u8>| body.extend(part))
                        .expect("a part outside a body"),
                    Some(Sorted::Start(event)) => {
                        bodies.push(Vec::new());
                        events.push(event);
                    }
                    Some(Sorted::Other(event)) => events.push(event),
                }
            }
        }
    };
    Taken { events, bodies, end }
}

/// Whole and in pieces a message is the same, whatever it is. What the limits let pass is not changed by them, and what
/// they do not let pass was never stored. A complete message is written again as it was understood.
pub fn request(bytes: &[u8]) {
    let Some((step, message)) = bytes.split_first() else { return };
    let step = 1 + usize::from(*step % 40);
    let mut decoder = RequestDecoder::new(RequestLimits::default());
    let whole = take(&mut decoder, message, usize::MAX);
    assert!(decoder.arguments_memory() <= (6 << 20) + (56 << 16));
    let pieces = take(&mut RequestDecoder::new(RequestLimits::default()), message, step);
    assert_same(&whole, &pieces);
    let limited = take(&mut RequestDecoder::new(FEW), message, step);
    let is_limited = matches!(limited.end, End::Refused(ProtocolError::LimitExceeded { .. }));
    assert!(is_limited || limited == pieces, "limits change what they let pass: {limited:?}");
    within_few(&limited);
    if let End::Complete { left } = whole.end {
        let mut written = Vec::new();
        write_request(&whole, &mut written);
        let again = take(&mut RequestDecoder::new(RequestLimits::default()), &written, step);
        assert_eq!((&again.events, &again.bodies), (&whole.events, &whole.bodies));
        assert_eq!(again.end, End::Complete { left: 0 });
        assert_eq!(written.len(), message.len() - left, "a request has one length");
    }
}

/// The tokens of a handshake are the same in pieces as whole, are bounded, and are written again as they came.
pub fn handshake(bytes: &[u8]) {
    let Some((step, stream)) = bytes.split_first() else { return };
    let take = |step: usize| {
        let (mut decoder, mut tokens) = (TokenDecoder::default(), Vec::new());
        for mut piece in stream.chunks(step) {
            while !piece.is_empty() {
                match decoder.take(piece) {
                    Ok((0, _)) => panic!("no progress"),
                    Ok((used, token)) => {
                        assert!(
                            decoder.memory() <= 2 * (stream.len() + 64),
                            "memory for bytes that have not come"
                        );
                        tokens.extend(token);
                        piece = &piece[used..];
                    }
                    Err(_) => return (tokens, false),
                }
            }
        }
        (tokens, true)
    };
    let whole = take(usize::MAX);
    assert_eq!(whole, take(1 + usize::from(*step % 40)));
    assert!(
        whole.0.len() <= TOKENS_MAX
            && whole.0.iter().all(|token| (1..=TOKEN_BYTES_MAX as usize).contains(&token.len()))
    );
    let written: Vec<u8> = whole.0.iter().flat_map(|token| encode_token(token)).collect();
    assert!(written.len() <= stream.len(), "more than came");
}

/// An error names what was at the front of the buffer, which depends on the pieces; nothing else does.
fn assert_same<K: PartialEq + std::fmt::Debug>(whole: &Taken<K>, pieces: &Taken<K>) {
    match (&whole.end, &pieces.end) {
        (
            End::Refused(ProtocolError::UnexpectedToken { found: whole_found, .. }),
            End::Refused(ProtocolError::UnexpectedToken { found, .. }),
        ) => assert!(whole_found.starts_with(found) && !found.is_empty()),
        (one, other) => assert_eq!(one, other),
    }
    assert_eq!((&whole.events, &whole.bodies), (&pieces.events, &pieces.bodies));
}

fn within_few(taken: &Taken<RequestEvent<'static>>) {
    let path = |path: &Vec<u8>| assert!(path.len() <= 32 && !path.contains(&0));
    let mut files = 0;
    for event in &taken.events {
        match event {
            RequestEvent::Directory(directory) => path(directory),
            RequestEvent::Arguments(words) => {
                assert!((1..=6).contains(&words.len()));
                assert!(words.iter().all(|word| word.len() <= 24 && !word.contains(&0)));
                assert!(words.iter().map(Vec::len).sum::<usize>() <= 64);
            }
            RequestEvent::FileCount(count) => assert!(*count <= 4),
            RequestEvent::Link { name, target } => {
                files += 1;
                path(name);
                path(target);
            }
            RequestEvent::BodyStart { kind: request::BodyKind::File { name }, .. } => {
                files += 1;
                path(name);
            }
            _ => {}
        }
    }
    assert!(files <= 4);
    assert!(taken.bodies.iter().map(Vec::len).sum::<usize>() <= 96);
}

fn write_request(taken: &Taken<RequestEvent<'static>>, out: &mut Vec<u8>) {
    let mut bodies = taken.bodies.iter();
    let (mut version, mut directory) = (None, None);
    for event in &taken.events {
        match event {
            RequestEvent::Version(found) => version = Some(*found),
            RequestEvent::Directory(found) => directory = Some(found.as_slice()),
            RequestEvent::Arguments(words) => {
                request::encode_head(version.expect("it comes first"), directory, words, out);
            }
            RequestEvent::FileCount(count) => request::encode_file_count(*count, out),
            RequestEvent::Link { name, target } => request::encode_link(name, target, out),
            RequestEvent::BodyStart { kind, bytes } => {
                match kind {
                    request::BodyKind::Source => request::encode_source_header(*bytes, out),
                    request::BodyKind::File { name } => request::encode_file_header(name, *bytes, out),
                }
                let body = bodies.next().expect("each start has a body");
                assert_eq!(body.len(), *bytes as usize);
                out.extend_from_slice(body);
            }
            _ => {}
        }
    }
}

/// As for requests. Which version was asked is the first byte's choice.
pub fn response(bytes: &[u8]) {
    let Some(([asked, step], message)) = bytes.split_first_chunk() else { return };
    let version = Version::from_wire(u32::from(asked % 4)).expect("versions 0 to 3 are known");
    let step = 1 + usize::from(*step % 40);
    let decoder = |limits| ResponseDecoder::new(version, limits);
    let whole = take(&mut decoder(ResponseLimits::default()), message, usize::MAX);
    let pieces = take(&mut decoder(ResponseLimits::default()), message, step);
    assert_same(&whole, &pieces);
    let limited = take(&mut decoder(LITTLE), message, step);
    let is_limited = matches!(limited.end, End::Refused(ProtocolError::LimitExceeded { .. }));
    assert!(is_limited || limited == pieces, "limits change what they let pass: {limited:?}");
    for (event, body) in starts(&limited).zip(&limited.bodies) {
        let most = match event {
            response::BodyKind::Stderr | response::BodyKind::Stdout => 24,
            response::BodyKind::Object => 48,
            response::BodyKind::Dependencies => 16,
        };
        assert!(body.len() <= most, "{event:?} of {} bytes", body.len());
    }
    let has_orphan =
        whole.events.iter().any(|event| matches!(event, ResponseEvent::ObjectAfterFailure { .. }));
    if matches!(whole.end, End::Complete { .. }) && !has_orphan {
        let mut written = Vec::new();
        let Some(ResponseEvent::Status(status)) = whole.events.first() else {
            panic!("a response without a status")
        };
        response::encode_head(version, *status, &mut written);
        for (kind, body) in starts(&whole).zip(&whole.bodies) {
            response::encode_body_header(kind, body.len() as u32, &mut written);
            written.extend_from_slice(body);
        }
        if !status.success() {
            response::encode_body_header(response::BodyKind::Object, 0, &mut written);
        }
        let again = take(&mut decoder(ResponseLimits::default()), &written, step);
        assert_eq!((again.events, again.bodies), (whole.events, whole.bodies));
        assert_eq!(again.end, End::Complete { left: 0 });
    }
}

fn starts(taken: &Taken<ResponseEvent<'static>>) -> impl Iterator<Item = response::BodyKind> {
    taken.events.iter().filter_map(|event| match event {
        ResponseEvent::BodyStart { kind, .. } => Some(*kind),
        _ => None,
    })
}

/// What a peer says of its surroundings names only variables that travel, has counts within the limits, and is written
/// again as it was read. A directory's content that changes changes the fingerprint.
pub fn surroundings(content: &[u8]) {
    if let Ok(variables) = surroundings::decode_environment(content) {
        let mut written = Vec::new();
        for (name, value) in &variables {
            assert!(VARIABLES.contains(name) && !value.contains(&0));
            let is_language = name.starts_with("LC_") || name.starts_with("LANG");
            assert!(!(is_language && value.contains(&b'/')), "a language that is a path");
            surroundings::encode_variable(name, value, &mut written);
        }
        assert!(variables.len() <= VARIABLES.len());
        assert_eq!(surroundings::decode_environment(&written), Ok(variables));
    }
    if let Ok(words) = surroundings::decode_command(content) {
        let mut written = Vec::new();
        surroundings::encode_command(&words, &mut written);
        assert_eq!(written, content);
        assert!(!words.is_empty());
    }
    if let Ok(files) = Files::decode(content) {
        assert!(
            files.times.len().max(files.directories.len()).max(files.headers.len()) <= FILES_MAX as usize
        );
        assert!(files.times.iter().all(|time| time.nanoseconds < 1_000_000_000));
        let mut written = Vec::new();
        files.encode(&mut written);
        assert_eq!(Files::decode(&written), Ok(files));
    }
    let found: Vec<Option<u32>> = content.iter().map(|byte| (*byte > 3).then_some((*byte).into())).collect();
    let whole = surroundings::fingerprint(found.iter().copied());
    if let Some(at) = found.iter().rposition(Option::is_some) {
        let mut other = found.clone();
        other[at] = other[at].map(|sum| sum ^ 0x1_0000);
        assert_ne!(surroundings::fingerprint(other), whole, "another content has the same fingerprint");
    }
}

/// Both languages, both directions: what is read is written again and read as the same, whatever follows it; and as long
/// as it is not complete, the answer is to wait.
pub fn include_query(bytes: &[u8]) {
    let Some((cut, message)) = bytes.split_first() else { return };
    let cut = usize::from(*cut);
    again(message, cut, OldQuestion::decode, |question, out| {
        assert!(!question.argv.is_empty() && question.directory.len() < 4096);
        OldQuestion::encode(&question.directory, &question.argv, out);
    });
    again(message, cut, decode_old_answer, |paths, out| encode_old_answer(paths, out));
    again(message, cut, Question::decode, |question, out| question.encode(out));
    again(message, cut, Answer::decode, |answer, out| match answer {
        Ok(answer) => {
            let heads: u64 = answer.pieces.iter().map(|piece| u64::from(piece.head_bytes)).sum();
            assert_eq!(heads, answer.heads.len() as u64, "the pieces are not the heads");
            answer.encode(out);
        }
        Err(reason) => encode_refusal(reason, out),
    });
}

fn again<T: PartialEq + std::fmt::Debug>(
    message: &[u8],
    cut: usize,
    decode: impl Fn(&[u8]) -> Result<Option<T>, ProtocolError>,
    encode: impl Fn(&T, &mut Vec<u8>),
) {
    let early = decode(&message[..message.len().saturating_sub(cut)]);
    let outcome = decode(message);
    match early {
        // A wrong token is quoted with what follows it.
        Err(_) => assert!(outcome.is_err(), "more bytes mend an error"),
        Ok(Some(early)) => assert_eq!(outcome.as_ref(), Ok(&Some(early)), "what follows changes it"),
        Ok(None) => {}
    }
    let Ok(Some(value)) = outcome else { return };
    let mut written = Vec::new();
    encode(&value, &mut written);
    let whole = written.len();
    for end in [cut % whole, whole - 1] {
        assert_eq!(decode(&written[..end]), Ok(None), "{end} of {whole} bytes");
    }
    written.extend_from_slice(message);
    assert_eq!(decode(&written), Ok(Some(value)));
}
