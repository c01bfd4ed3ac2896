//! Asking compile servers from outside whether they would do a job: `lsdistcc`, and whoever else wants to know.
//!
//! Knows the protocol and sockets; nothing of host lists, slots, or real jobs.

pub mod test_job;
