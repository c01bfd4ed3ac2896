//! What other programs may see of running jobs.

pub mod state_file;
