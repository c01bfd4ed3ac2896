//! The operating system, in safe clothes: the only directory that names `libc` and holds `unsafe`.
//!
//! Knows nothing of distcc: no protocol, no hosts, no jobs.
#![allow(unsafe_code)]

pub mod answer;
pub mod child;
pub mod foreign_process;
pub mod process;
pub mod process_tree;
pub mod service_manager;
pub mod signal;

pub mod lock;
pub mod watch;

pub mod appetite;
pub mod heap;
pub mod mapped_file;
pub mod temp;

pub mod confinement;
#[cfg(test)]
mod confinement_cases;
pub mod exposure;
pub mod job_root;
pub mod landlock;
mod namespace_root;
pub mod restraint;
pub mod seccomp;
pub mod withdrawal;

#[cfg(test)]
mod seccomp_cases;

pub mod directory;
pub mod gssapi;
pub mod net;
pub mod open;
pub mod resolve;

pub mod pattern;
pub mod syslog;
pub mod tty;
