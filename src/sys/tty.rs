//! The terminal as a screen: how large it is, and the keys that stop a program on it.

use std::os::fd::{AsRawFd, BorrowedFd};

/// Columns and rows of a terminal; none if it is no terminal, or does not say.
pub fn size(terminal: BorrowedFd<'_>) -> Option<(usize, usize)> {
    // SAFETY: the structure is plain data, and what the call fills in; the descriptor is borrowed for the call.
    let size = unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        if libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) != 0 {
            return None;
        }
        size
    };
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col.into(), size.ws_row.into()))
}

/// Stops this process as Ctrl-Z does, until somebody lets it go on.
pub fn stop_here() {
    // SAFETY: no preconditions.
    unsafe { libc::raise(libc::SIGSTOP) };
}
