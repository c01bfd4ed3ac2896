//! How many clients this machine has descriptors for. Knows limits; nothing of who comes.

use crate::daemon::crowd::Crowd;
use crate::log_warning;
use crate::sys::process;

/// The default of `--connections`, as far as there are descriptors: each costs one or two, and a few kilobytes.
const CONNECTIONS_MAX: usize = 4096;
/// Descriptors of a connection: the socket, the source that comes or the object that goes, and the job's directory.
const DESCRIPTORS_EACH: usize = 3;
/// Descriptors left for everything that is not a connection.
const DESCRIPTORS_RESERVED: usize = 256;

/// How many clients may be served at once, with so many compilers, where `--connections` is `asked`.
pub fn connections(asked: Option<usize>, jobs: usize) -> usize {
    let descriptors = process::raise_descriptor_limit();
    // A running job needs four descriptors beside its connection: streams, and its tree.
    // Where there are few, half of them must do, or a silent client would be the only one.
    let reserved = (DESCRIPTORS_RESERVED + Crowd::STANDING_MAX + 4 * jobs).min(descriptors / 2);
    let most = (descriptors.saturating_sub(reserved) / DESCRIPTORS_EACH).max(1);
    let connections = asked.unwrap_or(most.min(CONNECTIONS_MAX));
    if connections > most {
        log_warning!("--connections {connections}: there are descriptors for {most} (see ulimit -n)");
    }
    connections.min(most)
}
