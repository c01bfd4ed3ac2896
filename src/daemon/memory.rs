//! Memory that clients may make the server hold, all together: words of commands, and replies not yet taken. Only
//! counts; what is held, and what happens when there is no more, is the connections' business.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What all clients may hold together, in bytes: a farm's largest replies at once, and a fraction of what a
/// machine has that compiles.
pub const SHARED_BYTES_MAX: u64 = 1 << 30;
/// What each client may hold beside that, in bytes. A usual command is a tenth of it, so that clients who hold all
/// that is shared keep nobody else from working.
const OWN_BYTES: u64 = 64 << 10;

/// The memory that is left.
#[derive(Clone, Debug)]
pub struct Memory(Arc<AtomicU64>);

impl Memory {
    /// So many bytes.
    pub fn new(bytes: u64) -> Memory {
        Memory(Arc::new(AtomicU64::new(bytes)))
    }
}

/// One client's part; given back when dropped.
#[derive(Debug, Default)]
pub struct Share {
    of: Option<Memory>,
    bytes: u64,
}

impl Share {
    /// Grows to what `held` bytes need, and never shrinks. False if there is not so much left.
    pub fn grow_to(&mut self, held: u64, memory: &Memory) -> bool {
        let more = held.saturating_sub(OWN_BYTES).saturating_sub(self.bytes);
        if more == 0 {
            return true;
        }
        let take = |left: u64| left.checked_sub(more);
        let is_taken = memory.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        if is_taken {
            self.of.get_or_insert_with(|| memory.clone());
            self.bytes += more;
        }
        is_taken
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(memory) = &self.of {
            memory.0.fetch_add(self.bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_taken_from_one_heap_and_given_back() {
        let memory = Memory::new(100);
        let (mut one, mut other) = (Share::default(), Share::default());
        assert!(one.grow_to(OWN_BYTES + 60, &memory));
        assert!(one.grow_to(OWN_BYTES, &memory));
        assert!(other.grow_to(OWN_BYTES, &memory));
        assert!(other.grow_to(OWN_BYTES + 40, &memory));
        assert!(!other.grow_to(OWN_BYTES + 41, &memory));
        drop(one);
        assert!(other.grow_to(OWN_BYTES + 100, &memory));
        assert!(!other.grow_to(u64::MAX, &memory));
        drop(other);
        assert_eq!(memory.0.load(Ordering::Relaxed), 100);
    }
}
