//! How the C library's allocator deals with memory that this process has freed.
//!
//! Knows mallopt(3) of glibc; other C libraries are left as they are.

/// What is allocated by itself, outside the heap, and given back when it is freed: pieces of at least so many bytes, more
/// than all files of a usual job. Said aloud it stays so: else glibc begins with 128 KiB, takes each larger piece that is
/// freed for the new measure, up to 32 MiB, and keeps twice as much.
const LARGE_BYTES: libc::c_int = 1 << 20;
/// Free memory at the end of the heap that is kept for the next pieces, in bytes.
const KEPT_BYTES: libc::c_int = 2 << 20;
/// Heaps. What a thread leaves free in a heap of its own, no other thread uses; those of a server spend their time in
/// system calls, and do not stand in each other's way.
const HEAPS_MAX: libc::c_int = 1;

/// Has large pieces of memory given back at once, for a process that lives long and meets a large job now and then. To be
/// called before there are threads.
pub fn return_what_is_freed() {
    #[cfg(target_env = "gnu")]
    for (what, value) in [
        (libc::M_MMAP_THRESHOLD, LARGE_BYTES),
        (libc::M_TRIM_THRESHOLD, KEPT_BYTES),
        (libc::M_ARENA_MAX, HEAPS_MAX),
    ] {
        // SAFETY: these settings are numbers; what was allocated before stays where it is.
        unsafe { libc::mallopt(what, value) };
    }
}

/// Gives back all that is free now, also between what is not (malloc_trim(3)).
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointers and moves nothing.
    unsafe {
        libc::malloc_trim(0);
    }
}
