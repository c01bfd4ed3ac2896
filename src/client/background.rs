//! The include server that works for a user without `pump`: started by the first job that misses it, gone when idle.
//! Knows how it is started, once for all; not what it is asked.
//!
//! Whoever finds nobody at the socket takes a lock, looks again, and starts one. It shares nothing with the job that
//! starts it: a build tool waits until the last holder of its pipes is gone. One that does not start is left alone for
//! a while, so that jobs do not wait for it in vain one after the other.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::client::settings::Settings;
use crate::client::stamp::Stamp;
use crate::log_info;
use crate::protocol::include_query::direct_socket;
use crate::protocol::peer_text::one_line;
use crate::sys::child::{Command, Environment, Group, Signal};
use crate::sys::lock::LockFile;
use crate::sys::{net, process};

/// After so long without a question it ends, in seconds: longer than linking takes, shorter than a night.
const IDLE_SECONDS: &str = "600";
/// How long the job that starts it waits for its socket.
const START_TIME_MAX: Duration = Duration::from_secs(2);
/// How long one that did not start is left alone.
const LEFT_ALONE_FOR: Duration = Duration::from_secs(60);
/// Longest path of a socket, in bytes (`sun_path` with its final NUL is 108).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The files of a user's background include server.
#[derive(Debug)]
pub struct Background {
    directory: PathBuf,
}

impl Background {
    /// Where it is, or would be: `pump` in DISTCC_DIR, or where paths may be longer in a directory for short-lived
    /// things.
    pub fn of_user(settings: &Settings) -> Background {
        let preferred = settings.directory.as_ref().map(|directory| directory.join("pump"));
        // The server has another working directory than we.
        let preferred = preferred.and_then(|directory| std::path::absolute(directory).ok());
        let fits = |directory: &PathBuf| {
            direct_socket(&directory.join("socket")).as_os_str().len() <= SOCKET_PATH_BYTES_MAX
        };
        let directory = preferred.filter(fits).unwrap_or_else(|| match &settings.runtime_directory {
            Some(runtime) => runtime.join("distcc-pump"),
            None => PathBuf::from(format!("/tmp/distcc-pump-{}", process::user_id())),
        });
        Background { directory }
    }

    /// Its socket; the direct one is beside it.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    /// Starts it, unless another job just has; returns when it can be asked.
    pub fn start(&self) -> io::Result<()> {
        let failed = Stamp::new(self.directory.join("failed"), LEFT_ALONE_FOR);
        let left_alone = || io::Error::other("the background include server did not start a short time ago");
        if failed.is_fresh() {
            return Err(left_alone());
        }
        make_private(&self.directory)?;
        let lock = LockFile::open(&self.directory.join("lock"))?;
        lock.lock()?;
        if net::connect_local(&direct_socket(&self.socket()), START_TIME_MAX, START_TIME_MAX).is_ok() {
            return Ok(());
        }
        if failed.is_fresh() {
            return Err(left_alone());
        }
        let started = self.start_alone();
        if let Err(error) = &started {
            log_info!("{error}");
            failed.set();
        }
        started
    }

    fn start_alone(&self) -> io::Result<()> {
        let cannot = |error: io::Error| {
            io::Error::new(error.kind(), format!("start the background include server: {error}"))
        };
        let null = File::options().read(true).write(true).open("/dev/null")?;
        let stderr_path = self.directory.join("stderr");
        let stderr = File::create(&stderr_path)?;
        let (socket, pid_file) = (self.socket(), self.directory.join("pid"));
        let argv = [
            "include_server".into(),
            "--port".into(),
            socket.into(),
            "--pid_file".into(),
            pid_file.into(),
            "--idle-timeout".into(),
            IDLE_SECONDS.into(),
        ];
        let child = Command {
            // We are that program, too.
            program: Path::new("/proc/self/exe"),
            argv: &argv,
            environment: &Environment::inherited(),
            directory: None,
            stdio: [Some(null.as_fd()), Some(null.as_fd()), Some(stderr.as_fd())],
            group: Group::Detached,
            walls: None,
        }
        .spawn()
        .map_err(cannot)?;
        // The process we have started ends when the one it has started can be asked.
        match child.wait_until(Instant::now() + START_TIME_MAX).map_err(cannot)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => {
                let said = fs::read(&stderr_path).unwrap_or_default();
                let said =
                    one_line(String::from_utf8_lossy(&said).trim_end().lines().last().unwrap_or("nothing"));
                Err(cannot(io::Error::other(format!("{status}, and it said: {said}"))))
            }
            None => {
                child.signal(Signal::Kill);
                let _ = child.wait();
                Err(cannot(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

/// Makes a directory of ours that nobody else can enter; or finds that it is one.
fn make_private(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(io::Error::new(error.kind(), format!("make {}: {error}", directory.display())));
        }
        _ => {}
    }
    let found = fs::symlink_metadata(directory)?;
    if found.is_dir() && found.uid() == process::user_id() && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    let text = format!("{}: not a directory that only you can write", directory.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::temp::TempDir;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn only_a_directory_of_our_own_is_taken() {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let own = dir.path().join("own");
        make_private(&own).unwrap();
        make_private(&own).unwrap();
        assert_eq!(fs::metadata(&own).unwrap().mode() & 0o777, 0o700);
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).unwrap();
        assert!(make_private(&open).is_err());
        let link = dir.path().join("link");
        symlink(&own, &link).unwrap();
        assert!(make_private(&link).is_err());
    }
}
