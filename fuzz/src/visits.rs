//! What visitors of the statistics send.

use distcc::daemon::statistics::http::{HEAD_BYTES_MAX, Question, Topic};

/// In pieces a request asks for what the whole asks for, what follows a complete one changes nothing, and no more than a
/// head is waited for. Whatever it is, it is answered; and anything but the text is asked for by GET or HEAD, in words
/// that are there.
pub fn http_request(bytes: &[u8]) {
    let whole = Question::read(bytes, false);
    // All beginnings of a short one, some of a long one.
    for length in (0..bytes.len()).step_by(1 + bytes.len() / 512) {
        let part = Question::read(&bytes[..length], false);
        assert!(part.is_none() || part == whole, "{length} bytes ask for {part:?}, all for {whole:?}");
    }
    let longer = [bytes, b"\r\nAccept: text/html\r\n\r\nGET /json HTTP/1.1\r\n\r\n"].concat();
    if let Some(question) = whole {
        assert_eq!(Question::read(&longer, false), Some(question));
        assert_eq!(Question::read(bytes, true), Some(question));
    } else {
        assert!(bytes.len() < HEAD_BYTES_MAX);
    }
    let question = Question::read(bytes, true).expect("all of it is an answer");
    let has = |word: &[u8]| bytes.to_ascii_lowercase().windows(word.len()).any(|part| part == word);
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if question.topic != Topic::Text || question.is_head {
        assert!(first.starts_with(b"GET ") || first.starts_with(b"HEAD "));
        assert_eq!(question.is_head, first.starts_with(b"HEAD "));
        assert!(first.windows(7).any(|part| part == b"HTTP/1."));
    }
    match question.topic {
        Topic::Metrics => assert!(has(b"/metrics")),
        Topic::Json => assert!(has(b"/json")),
        Topic::Page => assert!(has(b"accept:") && has(b"text/html")),
        Topic::Text => {}
    }
}
