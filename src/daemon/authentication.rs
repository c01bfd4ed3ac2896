//! The handshake with one client where the server has `--auth`: what is due, what is answered, and the verdict.
//!
//! Knows neither sockets nor clocks; what a token means the library says, on a staging thread.

use std::sync::Arc;

use crate::daemon::principals::{Principals, split_realm};
use crate::protocol::ProtocolError;
use crate::protocol::handshake::{DENIED, GRANTED, NOTICE, TokenDecoder, encode_token};
use crate::protocol::peer_text::one_line;
use crate::sys::gssapi::{Acceptor, Credential, GssError, Step};

/// The first byte of a request (DIST).
const REQUEST_FIRST: u8 = b'D';

/// How this server authenticates its clients; one for all.
#[derive(Debug)]
pub struct Authentication {
    credential: Arc<Credential>,
    realm: Option<String>,
    principals: Option<Principals>,
}

/// A client's token, to be judged on a thread: the library reads files and may wait for locks.
#[derive(Debug)]
pub struct Question {
    acceptor: Acceptor,
    token: Vec<u8>,
}

/// What the library said.
#[derive(Debug)]
pub struct Answer {
    acceptor: Acceptor,
    /// The next step; with the client's principal, if it is the last.
    result: Result<(Step, Option<String>), GssError>,
}

/// What is to be done next.
#[derive(Debug)]
pub enum Turn {
    /// Nothing, until more comes.
    Wait,
    /// Send [`Handshake::unsent`].
    Send,
    /// Ask the library, and report what it says.
    Ask(Question),
    /// The client asks without saying who it is, in the protocol's own language: tell it in that.
    Unwilling,
    /// Send [`Handshake::unsent`] and the reason, then end the connection.
    Deny(String),
    /// End the connection; there is nothing to be said. The reason is for the log.
    Fail(String),
}

/// One client's handshake.
#[derive(Debug)]
pub struct Handshake {
    authentication: Arc<Authentication>,
    due: Due,
    unsent: Vec<u8>,
    decoder: TokenDecoder,
}

#[derive(Debug)]
enum Due {
    Notice,
    Token(Acceptor),
    Answer,
    /// The client may go on, as this principal.
    Nothing(Option<String>),
}

impl Authentication {
    /// Accepts with a credential those that a list admits; without a list, whoever the realm knows.
    pub fn new(credential: Credential, principals: Option<Principals>) -> Result<Authentication, GssError> {
        let realm = split_realm(&credential.principal()?).1.map(str::to_owned);
        Ok(Authentication { credential: Arc::new(credential), realm, principals })
    }

    fn judge(&self, principal: &str) -> Result<(), String> {
        self.principals.as_ref().map_or(Ok(()), |list| list.judge(principal, self.realm.as_deref()))
    }
}

impl Question {
    /// Asks the library.
    pub fn answer(self) -> Answer {
        let Question { mut acceptor, token } = self;
        let result = acceptor.step(&token).and_then(|step| {
            let client = step.is_complete.then(|| acceptor.client()).transpose()?;
            Ok((step, client))
        });
        Answer { acceptor, result }
    }
}

impl Handshake {
    /// The beginning.
    pub fn new(authentication: Arc<Authentication>) -> Handshake {
        Handshake { authentication, due: Due::Notice, unsent: Vec::new(), decoder: TokenDecoder::default() }
    }

    /// Takes what the client sent. It must wait for each answer, so nothing may come before that is sent.
    pub fn take(&mut self, mut bytes: &[u8]) -> Turn {
        let mut turn = Turn::Wait;
        while let Some(first) = bytes.first() {
            match std::mem::replace(&mut self.due, Due::Nothing(None)) {
                Due::Notice if *first == NOTICE => {
                    bytes = &bytes[1..];
                    self.unsent.push(NOTICE);
                    self.due = Due::Token(Acceptor::new(Arc::clone(&self.authentication.credential)));
                    turn = Turn::Send;
                }
                Due::Notice if *first == REQUEST_FIRST => return Turn::Unwilling,
                Due::Notice => {
                    let expected = "the beginning of a handshake";
                    return fail(&ProtocolError::UnexpectedByte { expected, found: *first });
                }
                Due::Token(acceptor) => match self.decoder.take(bytes) {
                    Ok((used, token)) => {
                        bytes = &bytes[used..];
                        match token {
                            None => self.due = Due::Token(acceptor),
                            Some(token) => {
                                self.due = Due::Answer;
                                turn = Turn::Ask(Question { acceptor, token });
                            }
                        }
                    }
                    Err(error) => return fail(&error),
                },
                Due::Answer | Due::Nothing(_) => {
                    return Turn::Fail("bytes came before the handshake was over".into());
                }
            }
        }
        turn
    }

    /// Takes what the library said.
    pub fn answered(&mut self, answer: Answer) -> Turn {
        let (step, client) = match answer.result {
            Ok(step) => step,
            Err(error) => return self.deny(&error.to_string()),
        };
        if let Some(token) = &step.token {
            self.unsent.extend_from_slice(&encode_token(token));
        }
        match client.map(|client| one_line(&client)) {
            None if step.token.is_none() => self.deny("the client's token has no answer"),
            None => {
                self.due = Due::Token(answer.acceptor);
                Turn::Send
            }
            Some(client) => match self.authentication.judge(&client) {
                Ok(()) => {
                    self.unsent.push(GRANTED);
                    self.due = Due::Nothing(Some(client));
                    Turn::Send
                }
                Err(reason) => self.deny(&reason),
            },
        }
    }

    fn deny(&mut self, reason: &str) -> Turn {
        self.unsent.push(DENIED);
        // The library quotes names from the client's token.
        Turn::Deny(one_line(reason))
    }

    /// What is to be sent.
    pub fn unsent(&self) -> &[u8] {
        &self.unsent
    }

    /// So many bytes of it were sent.
    pub fn sent(&mut self, count: usize) {
        self.unsent.drain(..count);
    }

    /// The client's principal, once it may go on and has been told.
    pub fn granted(&mut self) -> Option<String> {
        match &mut self.due {
            Due::Nothing(principal) if self.unsent.is_empty() => principal.take(),
            _ => None,
        }
    }

    /// The memory it holds, in bytes.
    pub fn memory(&self) -> u64 {
        (self.decoder.memory() + self.unsent.capacity()) as u64
    }

    /// What is due from the client, for messages.
    pub fn expecting(&self) -> &'static str {
        match self.due {
            Due::Notice => "the client's wish to authenticate",
            Due::Token(_) => "a token",
            Due::Answer | Due::Nothing(_) => "the end of the handshake",
        }
    }
}

fn fail(error: &ProtocolError) -> Turn {
    Turn::Fail(error.to_string())
}
