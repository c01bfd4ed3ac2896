//! The client: one job, in straight-line blocking code. Read [`job`] first.

pub mod job;

pub mod explain;

pub mod job_log;
pub mod outcome;
pub mod session;

pub mod commands;
pub mod local;
pub mod native;
pub mod source;

pub mod background;
pub mod discrepancy;
pub mod file_set;
mod fresh_files;
pub mod include_server;
pub mod include_variables;
pub mod pump;

pub mod authentication;
mod pace;
pub mod remote;
pub mod transport;

pub mod compiler;
pub mod notice;
pub mod settings;
pub mod stamp;
pub mod terminal;

/// The name this kind of machine goes by in compilers' names.
pub const TRIPLE: &str = if cfg!(target_arch = "x86_64") {
    "x86_64-linux-gnu"
} else if cfg!(target_arch = "aarch64") {
    "aarch64-linux-gnu"
} else if cfg!(target_arch = "x86") {
    "i686-linux-gnu"
} else if cfg!(target_arch = "arm") {
    "arm-linux-gnueabihf"
} else if cfg!(target_arch = "riscv64") {
    "riscv64-linux-gnu"
} else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
    "powerpc64le-linux-gnu"
} else if cfg!(target_arch = "s390x") {
    "s390x-linux-gnu"
} else {
    "unknown-linux-gnu"
};
