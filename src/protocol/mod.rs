//! distcc's wire protocol, versions 1 to 3, as pure functions: bytes in, bytes out. Knows no socket, file,
//! clock or environment; who reads and writes the bytes, and what a job means, is the caller's.
//!
//! A conversation is one request and one response on one stream, without greeting or negotiation:
//!
//! ```text
//! client                                     server
//! DIST version
//! CDIR directory          (version 3)
//! ARGC count, ARGV word...
//! DOTI source             (versions 1, 2)
//! NFIL count, NAME path + FILE body | LINK target ...   (version 3)
//!                                            DONE version, STAT status
//!                                            SERR, SOUT, DOTO bodies
//!                                            DOTD body  (version 3, success)
//! ```
//!
//! Both decoders share one contract. `next(input)` takes what is buffered and returns how many bytes of it
//! are used up and perhaps one event; `(0, None)` means that more bytes are needed. What then stays unused is
//! a part of one packet header, so a buffer of [`packet::HEADER_BYTES`] suffices. Every length is checked
//! against a limit when its header is read, before anything is allocated. An error uses nothing up and leaves
//! the decoder where it was: asked again, it answers the same.

pub mod announcement;
pub mod handshake;
pub mod include_query;
pub mod request;
pub mod response;
pub mod surroundings;

pub mod limits;
pub mod packet;
pub mod version;

pub mod lzo;

pub mod error;
pub mod peer_text;

#[cfg(test)]
mod cases;
#[cfg(test)]
mod xorshift;

/// The TCP port of servers that nobody has given another.
pub const PORT_DEFAULT: u16 = 3632;

pub use error::ProtocolError;
pub use version::Version;
