//! Which machines may take a job, and which of their slots this one gets.
//!
//! Knows the host list's grammar, the lock files shared by all clients of a user, and which hosts failed
//! lately. Does blocking input and output on those files; reads no environment and speaks no protocol.

pub mod backoff;
pub mod list;
pub mod name_hash;
pub mod slots;
pub mod spec;

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
