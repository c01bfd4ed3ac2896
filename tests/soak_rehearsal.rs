//! The short form of tests/soak: as much goes wrong as in the long one, for some seconds.

mod support;

use std::path::Path;
use std::time::Duration;

use support::{Run, require};

/// Usually a tenth of it; the rest is for a machine that has much else to do.
const TIME_MAX: Duration = Duration::from_secs(100);

#[test]
fn a_hundred_and_forty_jobs_end_rightly_while_everything_breaks() {
    require("python3");
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let run = Run::new(repository.join("tests/soak"))
        .args(["--jobs", "140", "--binary", env!("CARGO_BIN_EXE_distcc")])
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
        .within(TIME_MAX)
        .run();
    assert_eq!(run.code(), 0, "{run}");
}
