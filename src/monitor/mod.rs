//! What other programs may see of running jobs.

pub mod state_file;
pub mod states;
pub mod text;
pub mod watch;

mod screen;
mod view;
