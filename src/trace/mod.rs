//! The record of a build (manual, "THE RECORD OF A BUILD"): one line for each job, written by clients, read afterwards.

pub mod chrome;
pub mod job;
pub mod quantiles;
pub mod reading;
pub mod recorder;
pub mod report;
pub mod timeline;
