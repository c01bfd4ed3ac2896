//! The system's log daemon (syslog(3)).

use std::ffi::{CStr, CString};
use std::sync::OnceLock;

/// Names the program in every later message. The first name stays.
pub fn open(program: &str) {
    // openlog keeps the pointer, so the name must live as long as the process.
    static NAME: OnceLock<CString> = OnceLock::new();
    let name = NAME.get_or_init(|| CString::new(program).unwrap_or_default());
    // SAFETY: the string is static and NUL-terminated.
    unsafe { libc::openlog(name.as_ptr(), libc::LOG_PID, libc::LOG_DAEMON) }
}

/// Sends one message at a syslog level (0 to 7).
pub fn write(level: i32, message: &CStr) {
    // SAFETY: both strings are NUL-terminated; "%s" keeps the message from being read as a format.
    unsafe { libc::syslog(level, c"%s".as_ptr(), message.as_ptr()) }
}
