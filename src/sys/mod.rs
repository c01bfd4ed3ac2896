//! The operating system, in safe clothes: the only directory that names `libc` and holds `unsafe`.
//!
//! Knows nothing of distcc: no protocol, no hosts, no jobs.
#![allow(unsafe_code)]

pub mod lock;
pub mod syslog;
pub mod watch;
