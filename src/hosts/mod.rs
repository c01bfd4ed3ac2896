//! Which machines may take a job, and which of their slots this one gets.
//!
//! Knows the host list's grammar, the lock files shared by all clients of a user, and which hosts failed
//! lately; where hosts are found that the list does not name (multicast DNS, DNS). Does blocking input and output; reads no
//! environment.

pub mod backoff;
pub mod browser;
pub mod list;
pub mod name_hash;
pub mod name_server;
pub mod service;
pub mod slots;
pub mod spec;
pub mod zeroconf;

mod turnstile;

#[cfg(test)]
mod tests {
    use std::ops::Deref;
    use std::path::{Path, PathBuf};

    /// A directory of one test; gone when dropped.
    pub(super) struct TestDirectory(PathBuf);

    impl TestDirectory {
        pub(super) fn new(name: &str) -> TestDirectory {
            let path = std::env::temp_dir().join(format!("hosts_{name}_{}", std::process::id()));
            std::fs::create_dir(&path).unwrap();
            TestDirectory(path)
        }
    }

    impl Deref for TestDirectory {
        type Target = Path;

        fn deref(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for TestDirectory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}
