//! distcc: distributed C, C++ and Objective-C compilation in one static binary.
//!
//! Read `ARCHITECTURE.md` first; then [`client::job`], the page of one job on the client, and
//! [`daemon::connection`], the page of one job on the server. The modules below are in reading order; an arrow
//! of use only ever goes down this list.

pub mod applets;

pub mod doctor;

pub mod client;
pub mod daemon;
pub mod include_server;

pub mod include_scan;
pub mod monitor;
pub mod probe;
pub mod pump;

pub mod compiler_args;
pub mod hosts;

pub mod toolchain;

pub mod protocol;

pub mod checksum;
pub mod exit_code;
pub mod log;
pub mod mail;
pub mod sys;
