//! What a visitor asks for: as much of HTTP as tells a scraper from a browser. Takes bytes; knows no socket.
//!
//! distcc 3.4 answers whoever connects with the same text without reading what was sent, and scrapers rely on it: so
//! nothing is an error here, and what is not understood asks for that text.

/// How much of a request is looked at, in bytes: browsers send one or two thousand.
pub const HEAD_BYTES_MAX: usize = 8 << 10;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// 3.4's block.
    Text,
    /// `/` for a browser.
    Page,
    /// `/metrics`.
    Metrics,
    /// `/json`.
    Json,
}

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// What it is about.
    pub topic: Topic,
    /// It was HEAD: the answer has no body.
    pub is_head: bool,
}

impl Question {
    /// What anything that is no question asks for.
    pub const DEFAULT: Question = Question { topic: Topic::Text, is_head: false };

    /// Reads what a visitor has sent so far; `is_all` if nothing more is waited for. `None` if more is needed to know.
    pub fn read(bytes: &[u8], is_all: bool) -> Option<Question> {
        let is_all = is_all || bytes.len() >= HEAD_BYTES_MAX;
        let bytes = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
        let (is_head, rest) = match method(bytes) {
            Method::Known { is_head, rest } => (is_head, rest),
            Method::Unfinished if !is_all => return None,
            Method::Unfinished | Method::Unknown => return Some(Question::DEFAULT),
        };
        let mut lines = rest.split_inclusive(|byte| *byte == b'\n');
        let first = lines.next().unwrap_or_default();
        if !first.ends_with(b"\n") && !is_all {
            return None;
        }
        let mut words = first.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let target = path(words.next().unwrap_or_default());
        if !words.next().is_some_and(|version| version.starts_with(b"HTTP/1.")) {
            return Some(Question::DEFAULT);
        }
        let mut wants_html = false;
        loop {
            match lines.next() {
                Some(b"\n" | b"\r\n") => break,
                Some(line) if line.ends_with(b"\n") || is_all => wants_html |= accepts_html(line),
                None if is_all => break,
                Some(_) | None => return None,
            }
        }
        let topic = match target {
            b"/metrics" => Topic::Metrics,
            b"/json" => Topic::Json,
            b"/" if wants_html => Topic::Page,
            _ => Topic::Text,
        };
        Some(Question { topic, is_head })
    }
}

enum Method<'a> {
    Known { is_head: bool, rest: &'a [u8] },
    Unfinished,
    Unknown,
}

fn method(bytes: &[u8]) -> Method<'_> {
    for (name, is_head) in [(b"GET ".as_slice(), false), (b"HEAD ".as_slice(), true)] {
        if let Some(rest) = bytes.strip_prefix(name) {
            return Method::Known { is_head, rest };
        }
        if name.starts_with(bytes) {
            return Method::Unfinished;
        }
    }
    Method::Unknown
}

/// The path of a request's target, which a proxy writes with the server's name.
fn path(target: &[u8]) -> &[u8] {
    let end = target.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(target.len());
    let target = &target[..end];
    let Some(rest) = target.strip_prefix(b"http://") else { return target };
    rest.iter().position(|byte| *byte == b'/').map_or(b"/", |slash| &rest[slash..])
}

/// Whether a header line is `Accept` with a web page in it.
fn accepts_html(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
    let (name, values) = line.split_at(colon);
    if !name.eq_ignore_ascii_case(b"Accept") {
        return false;
    }
    values[1..].split(|byte| *byte == b',').any(|value| {
        let media_type = value.split(|byte| *byte == b';').next().unwrap_or_default();
        media_type.trim_ascii().eq_ignore_ascii_case(b"text/html")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Topic::{Json, Metrics, Page, Text};

    /// Requests, as they are sent by programs, and what they ask for.
    const CASES: &[(&str, Topic)] = &[
        ("GET / HTTP/1.0\r\n\r\n", Text),
        ("GET / HTTP/1.1\r\nHost: farm:3633\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\n\r\n", Text),
        ("GET / HTTP/1.1\r\nHost: x\r\nAccept: text/html,application/xhtml+xml,*/*;q=0.8\r\n\r\n", Page),
        ("GET / HTTP/1.1\r\naccept:image/png, TEXT/HTML;q=0.5\r\n\r\n", Page),
        ("GET / HTTP/1.1\nAccept: text/html\n\n", Page),
        ("GET /?refresh=1 HTTP/1.1\r\nAccept: text/html\r\n\r\n", Page),
        ("GET / HTTP/1.1\r\nAccept-Language: text/html\r\n\r\n", Text),
        ("GET / HTTP/1.1\r\nAccept: text/htmlx\r\n\r\nAccept: text/html\r\n", Text),
        ("GET /stats HTTP/1.1\r\nAccept: text/html\r\n\r\n", Text),
        ("GET /anything HTTP/1.1\r\nAccept: text/html\r\n\r\n", Text),
        (
            "GET /metrics HTTP/1.1\r\nHost: h\r\nAccept: application/openmetrics-text;version=1.0.0\r\n\r\n",
            Metrics,
        ),
        ("GET /metrics?x=y HTTP/1.0\r\n\r\n", Metrics),
        ("GET http://farm:3633/metrics HTTP/1.1\r\n\r\n", Metrics),
        ("GET http://farm:3633 HTTP/1.1\r\nAccept: text/html\r\n\r\n", Page),
        ("GET /json HTTP/1.1\r\n\r\n", Json),
        ("GET /json\r\n", Text),
        ("GET /json HTTP/2.0\r\n\r\n", Text),
        ("POST /json HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", Text),
        ("GET /../etc/passwd HTTP/1.1\r\n\r\n", Text),
        ("DIST00000001ARGC", Text),
        ("\0", Text),
        ("stats\n", Text),
    ];

    #[test]
    fn requests_ask_for_what_their_programs_expect() {
        for (request, topic) in CASES {
            let expected = Question { topic: *topic, is_head: false };
            assert_eq!(Question::read(request.as_bytes(), false), Some(expected), "{request:?}");
            if let Some(rest) = request.strip_prefix("GET ") {
                let head = Question::read(format!("HEAD {rest}").as_bytes(), false).unwrap();
                assert_eq!(head.topic, *topic, "HEAD {rest:?}");
            }
        }
    }

    #[test]
    fn pieces_ask_for_the_same_as_the_whole() {
        for (request, _) in CASES {
            let whole = Question::read(request.as_bytes(), false);
            for length in 0..request.len() {
                let part = Question::read(&request.as_bytes()[..length], false);
                assert!(part.is_none() || part == whole, "{:?}", &request[..length]);
            }
        }
    }

    #[test]
    fn what_comes_no_further_is_answered_as_far_as_it_is_understood() {
        for (request, topic) in [
            ("", Text),
            ("GET", Text),
            ("GET /met", Text),
            ("GET /metrics HTTP/1.1\r\nHo", Metrics),
            ("GET / HTTP/1.1\r\nAccept: text/html", Page),
        ] {
            assert_eq!(Question::read(request.as_bytes(), false), None, "{request:?}");
            assert_eq!(Question::read(request.as_bytes(), true).unwrap().topic, topic, "{request:?}");
        }
    }

    #[test]
    fn no_more_than_a_head_is_waited_for() {
        let mut request = b"GET /json HTTP/1.1\r\nX: ".to_vec();
        request.resize(HEAD_BYTES_MAX - 1, b'x');
        assert_eq!(Question::read(&request, false), None);
        request.extend(b"xxxxxx");
        assert_eq!(Question::read(&request, false).unwrap().topic, Json);
    }
}
