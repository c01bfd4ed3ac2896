//! The include server of pump mode: a process that answers what a preprocessor could open, ready to be sent. Knows both
//! languages that clients ask in, and what the answers are made of; the analysis itself is [`crate::include_scan`]'s.
//!
//! From the process down to the files:
//!
//! - `server` is its life: sockets, threads, what ends it; `config` is what it is told; `session` is one client's question.
//! - `analyst` makes an answer of a question: one scanner and what it remembers; `pool` lends analysts; `remembered` keeps what
//!   was made of a closure.
//! - `compose` writes the direct answer, over the bodies in `store`; `mirror` has the files for clients of 3.4.
//! - `aids`, `statistics` and `mailer` are for people with doubts.

pub mod config;
pub mod server;

mod aids;
mod analyst;
mod compose;
mod mailer;
mod mirror;
mod pool;
mod remembered;
mod session;
mod statistics;
mod store;
