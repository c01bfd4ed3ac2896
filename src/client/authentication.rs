//! Who is at the other end of a connection, and whether that is who was asked for: the client's side of the handshake with
//! a host that has `,auth` (GSS-API). Nothing of a job is sent before it is over.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use crate::client::outcome::Fault;
use crate::client::settings::Settings;
use crate::client::transport::Connection;
use crate::exit_code::ExitCode;
use crate::hosts::spec::Host;
use crate::log_debug;
use crate::protocol::handshake::{DENIED, GRANTED, NOTICE, TokenDecoder, encode_token};
use crate::protocol::peer_text::one_line;
use crate::sys::gssapi::{Initiator, Name};
use crate::sys::net::{self, Ready};
use crate::sys::resolve;

/// How long each answer may take. A server of 3.4 answers only when one of its processes is free.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// How much a server may say about why it denies, in bytes, and how long that may take.
const REASON_BYTES_MAX: usize = 1000;
const REASON_TIME_MAX: Duration = Duration::from_secs(1);

/// Authenticates both ends of `connection` to each other, if the host list asks for it.
pub fn authenticate(connection: &Connection, host: &Host, settings: &Settings) -> Result<(), Fault> {
    let Some(given) = &host.authenticate else { return Ok(()) };
    // What the library says may be the server's words.
    let unfit = |what: &dyn fmt::Display| Fault::Unfit(ExitCode::GssapiFailed, one_line(&what.to_string()));
    let server = server_name(host, given.as_deref(), settings).map_err(|error| unfit(&error))?;
    let mut initiator = Initiator::new(&server).map_err(|error| unfit(&error))?;
    let mut answers = Answers { connection, bytes: Vec::new() };
    send(connection, &[NOTICE])?;
    if answers.byte("whether it authenticates")? != NOTICE {
        return Err(failed("it does not authenticate: is it a distccd with --auth?"));
    }
    let (mut decoder, mut token) = (TokenDecoder::default(), None);
    loop {
        let step = initiator.step(token.as_deref()).map_err(|error| unfit(&error))?;
        if let Some(token) = &step.token {
            send(connection, &encode_token(token))?;
        }
        if step.is_complete {
            break;
        }
        // A server that cannot accept a token says so in place of its own.
        if answers.next("a token")? == DENIED {
            return Err(answers.denial());
        }
        token = Some(answers.token(&mut decoder)?);
    }
    match answers.byte("its verdict")? {
        GRANTED => {
            log_debug!("{} is {}", host.word, server.text());
            Ok(())
        }
        DENIED => Err(answers.denial()),
        other => Err(failed(format!("its verdict is \"{}\", neither y nor n", other.escape_ascii()))),
    }
}

fn failed(text: impl Into<String>) -> Fault {
    Fault::Host(ExitCode::GssapiFailed, format!("authentication failed: {}", text.into()))
}

/// The principal that the host must prove to be (manual, DISTCC_PRINCIPAL).
fn server_name(host: &Host, given: Option<&str>, settings: &Settings) -> io::Result<Name> {
    let name = match given {
        Some(name) => name.to_owned(),
        None => {
            let deadline = Instant::now() + settings.connect_timeout;
            resolve::full_name(host.name(), deadline).map_err(|error| {
                let text =
                    format!("the full name of {}: {error}; write ,auth=NAME in the host list", host.name());
                io::Error::new(error.kind(), text)
            })?
        }
    };
    Ok(match &settings.principal {
        Some(service) => Name::Service(format!("{service}@{name}")),
        None => Name::User(format!("host/{name}")),
    })
}

fn send(connection: &Connection, mut bytes: &[u8]) -> Result<(), Fault> {
    while !bytes.is_empty() {
        let count = net::write(connection.output(), bytes)
            .map_err(|error| failed(format!("send to the server: {error}")))?;
        bytes = &bytes[count..];
    }
    Ok(())
}

/// What the server answers.
struct Answers<'a> {
    connection: &'a Connection,
    /// What has come and is not used.
    bytes: Vec<u8>,
}

impl Answers<'_> {
    /// Waits for more until a time; the end of the stream is no more.
    fn wait(&mut self, deadline: Instant) -> io::Result<usize> {
        let input = self.connection.input();
        if net::poll(&[(input, Ready::Readable)], Some(deadline))?.is_empty() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut buffer = [0; 4096];
        let count = net::read(input, &mut buffer)?;
        self.bytes.extend_from_slice(&buffer[..count]);
        Ok(count)
    }

    /// The next byte, which stays.
    fn next(&mut self, what: &str) -> Result<u8, Fault> {
        if self.bytes.is_empty() {
            match self.wait(Instant::now() + ANSWER_TIME_MAX) {
                Ok(0) => {
                    return Err(failed(format!(
                        "it closed the connection before it said {what}: does it run distccd with --auth, and does its \
                         access list have this machine? its log says"
                    )));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    let seconds = ANSWER_TIME_MAX.as_secs();
                    let text = format!(
                        "it has not said {what} for {seconds} s: a distccd without --auth does that, or a busy one"
                    );
                    return Err(Fault::Host(ExitCode::Timeout, text));
                }
                Err(error) => return Err(failed(format!("receive {what}: {error}"))),
            }
        }
        Ok(self.bytes[0])
    }

    fn byte(&mut self, what: &str) -> Result<u8, Fault> {
        let byte = self.next(what)?;
        self.bytes.remove(0);
        Ok(byte)
    }

    fn token(&mut self, decoder: &mut TokenDecoder) -> Result<Vec<u8>, Fault> {
        loop {
            self.next("a whole token")?;
            let (used, token) = decoder.take(&self.bytes).map_err(|error| failed(error.to_string()))?;
            self.bytes.drain(..used);
            if let Some(token) = token {
                return Ok(token);
            }
        }
    }

    /// The server has said no; perhaps it says why.
    fn denial(&mut self) -> Fault {
        let deadline = Instant::now() + REASON_TIME_MAX;
        while self.bytes.len() < REASON_BYTES_MAX && !self.bytes.contains(&b'\n') {
            if !self.wait(deadline).is_ok_and(|count| count > 0) {
                break;
            }
        }
        let said = self.bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let said = said.strip_prefix(&[DENIED]).unwrap_or(said);
        let said = one_line(String::from_utf8_lossy(&said[..said.len().min(REASON_BYTES_MAX)]).trim());
        let text = match said.as_str() {
            "" => "it denies access to your principal (klist shows which that is); its log says why".into(),
            said => format!("it denies access: {said}"),
        };
        Fault::Host(ExitCode::AccessDenied, text)
    }
}
