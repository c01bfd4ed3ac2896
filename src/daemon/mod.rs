//! The server: many jobs at once in one event loop.
//!
//! [`connection`] is the page of one job. It never touches a socket; [`server`] owns those and does what a
//! connection asks for.

pub mod announcer;
pub mod config;
pub mod log_file;
pub mod run;

pub mod manager;
pub mod passed;
pub mod upkeep;

pub mod capacity;
pub mod client;
pub mod listeners;
pub mod server;

pub mod connection;
pub mod crowd;
pub mod deadline;
pub mod excess;
pub mod exchange;
pub mod receiving;

pub mod job;
pub mod plain_job;
pub mod pump_job;
pub mod unpacked;

pub mod sandbox;

pub mod debug_info;
pub mod exposures;
pub mod file_set;
pub mod surroundings;
pub mod system_headers;

pub mod statistics;

pub mod allowance;
pub mod graves;
pub mod patron;
pub mod queue;
pub mod reply;
pub mod staging;
pub mod summary;
pub mod vigil;
pub mod workers;

pub mod access;
pub mod allow_file;
pub mod authentication;
pub mod compilers;
pub mod policy;
pub mod principals;
pub mod refusal;

#[cfg(test)]
mod clock_cases;
