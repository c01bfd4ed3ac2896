//! Pump mode around a build: an include server is there while the build runs, and gone after it. Read [`forms`] first.
//!
//! Knows how to start and end an include server, and nothing of what it answers.

pub mod forms;

pub mod command;
pub mod include_server;
pub mod servers;

pub mod search_path;
pub mod settings;
pub mod shell_words;
pub mod voice;
