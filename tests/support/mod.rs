//! What the end-to-end tests share: private directories, real daemons, bounded commands. Knows no single
//! test.
//!
//! A test looks like this:
//!
//! ```text
//! let sandbox = Sandbox::new();
//! let daemon = sandbox.daemon().start();            // ours; or sandbox.debian_daemon().start()
//! sandbox.write("a.c", "int a;\n");
//! let run = sandbox.distcc(["gcc", "-c", "a.c"]).hosts(&daemon.host()).run();
//! assert_eq!(run.code(), 0, "{run}");
//! sandbox.finish([daemon]);                         // nothing may be left: files, processes
//! ```
#![allow(dead_code, unused_imports, reason = "each test program uses a part of this")]

mod command;
mod daemon;
mod farm;
pub mod faults;
pub mod include_server;
mod pumped;
mod realm;
mod sandbox;
mod sshd;
mod tap;
mod tools;
mod tree;

pub use command::{Outcome, Run, Running};
pub use daemon::{Daemon, DaemonBuilder, free_port};
pub use pumped::Pump;
pub use realm::{Realm, gssapi_binary};
pub use sandbox::Sandbox;
pub use sshd::start_sshd;
pub use tap::Tap;
pub use tools::{DEBIAN_DISTCC, DEBIAN_DISTCCD, require};
pub use tree::{Tree, tree_of};

use std::time::{Duration, Instant};

/// Whether this is root.
pub fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0
}

/// How long a test waits for what must happen; only a failure takes so long.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds and fails with `what` if it never does.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < give_up, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a signal by its name (`TERM`) to a process, or with a negative number to a process group.
pub fn send_signal(name: &str, process: i64) {
    let status = std::process::Command::new("/bin/sh")
        .args(["-c", "kill -s \"$0\" -- \"$1\"", name, &process.to_string()])
        .stderr(std::process::Stdio::null())
        .status();
    assert!(status.is_ok(), "run /bin/sh: {status:?}");
}
