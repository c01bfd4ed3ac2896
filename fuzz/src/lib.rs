//! What must hold for any bytes: one function for each fuzz target, which panics where it does not. `tests/fuzz_corpus.rs`
//! runs the same functions over the files in `corpus` and `regressions`, without a fuzzer.
//!
//! Each check says more than that nothing panics. Where there is a second opinion (the LZO library, a simple reader of
//! plain cases), it is asked; elsewhere what is written is read back, what comes in pieces is compared with the whole,
//! and limits are set low enough to be reached.

pub mod analysis;
pub mod commands;
pub mod compression;
pub mod discovery;
pub mod lists;
pub mod results;
pub mod visits;
pub mod wire;
pub mod words;

/// One target: its name, which its corpus has too, and its check.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("access_list", lists::access_list),
    ("announcement", discovery::announcement),
    ("client_command", commands::client_command),
    ("command_list", lists::command_list),
    ("compress", compression::compress),
    ("computed_include", analysis::computed_include),
    ("decompress", compression::decompress),
    ("dependencies", results::dependencies),
    ("directives", analysis::directives),
    ("elf", results::elf),
    ("gathered", results::gathered),
    ("handshake", wire::handshake),
    ("host_list", lists::host_list),
    ("http_request", visits::http_request),
    ("include_query", wire::include_query),
    ("messages", results::messages),
    ("request", wire::request),
    ("response", wire::response),
    ("response_file", words::response_file),
    ("server_command", commands::server_command),
    ("service_answer", discovery::service_answer),
    ("shell_words", words::shell_words),
    ("state_file", results::state_file),
    ("surroundings", wire::surroundings),
];
