//! A bound to the memory of a process that keeps what strangers send it, in a library that has no bound of its own.
//!
//! Knows how much this process has, and the kernel's limit; not what is kept, nor how to forget it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::sys::heap;
use crate::sys::process_tree::page_bytes;

/// With so much memory, in bytes, what was kept is to be forgotten: many times what the largest network has to say.
const ENOUGH_BYTES: u64 = 64 << 20;
/// What the kernel gives at most, in bytes: where memory fills faster than it is looked after, the process ends.
const MOST_BYTES: u64 = 256 << 20;

/// How much memory this process has, of how much it may.
#[derive(Debug)]
pub struct Appetite {
    /// /proc/self/statm (proc_pid_statm(5)), opened while this process may open files.
    statm: File,
}

impl Appetite {
    /// Bounds this process from now on.
    pub fn bounded() -> io::Result<Appetite> {
        let statm = File::open("/proc/self/statm")?;
        // SAFETY: the structure is plain data, filled before it is used. Limits are lowered, never raised.
        unsafe {
            let mut limit: libc::rlimit = std::mem::zeroed();
            if libc::getrlimit(libc::RLIMIT_DATA, &mut limit) != 0 {
                return Err(io::Error::last_os_error());
            }
            limit.rlim_max = limit.rlim_max.min(MOST_BYTES);
            limit.rlim_cur = limit.rlim_cur.min(limit.rlim_max);
            if libc::setrlimit(libc::RLIMIT_DATA, &limit) != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(Appetite { statm })
    }

    /// Whether this process has so much that it is to forget. What it has forgotten already is given back.
    pub fn is_over(&self) -> bool {
        let has_enough = || self.resident_bytes().is_some_and(|bytes| bytes > ENOUGH_BYTES);
        if has_enough() {
            heap::give_back();
        }
        has_enough()
    }

    fn resident_bytes(&self) -> Option<u64> {
        let mut text = [0; 128];
        let length = self.statm.read_at(&mut text, 0).ok()?;
        let pages: u64 = str::from_utf8(&text[..length]).ok()?.split(' ').nth(1)?.parse().ok()?;
        Some(pages.saturating_mul(page_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_has_is_known() {
        let statm = File::open("/proc/self/statm").unwrap();
        let appetite = Appetite { statm };
        let before = appetite.resident_bytes().unwrap();
        assert!(before > 1 << 20, "{before}");
        let kept = vec![1_u8; 2 * ENOUGH_BYTES as usize];
        assert!(appetite.is_over(), "with {} bytes more than {before}", kept.len());
    }
}
