//! Asking compile servers from outside whether they would do a job: `lsdistcc`, and whoever else wants to know.
//!
//! Knows the protocol and sockets; nothing of host lists, slots, or real jobs. A [`survey`] is a loop over many hosts:
//! [`names`] says which ([`domain`] completes them), [`resolvers`] finds their addresses, a [`target`] is one host on its way to a verdict, and
//! [`test_job`] is what it is asked to do.

pub mod domain;
pub mod names;
pub mod resolvers;
pub mod survey;
pub mod target;
pub mod test_job;
