//! What was made of a closure, for as long as the closure stays the answer: the same question is usually asked again with
//! nothing changed. Knows nothing of what is made.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use crate::include_scan::Closure;

/// Bytes of things made after which all are forgotten: ten thousand answers of usual size.
const BYTES_MAX: usize = 64 << 20;

/// Things made of closures.
#[derive(Debug)]
pub(super) struct Remembered<T> {
    /// By the closure's address, which the weak reference keeps from being used for another.
    made: HashMap<usize, (Weak<Closure>, Arc<T>)>,
    bytes: usize,
}

impl<T> Default for Remembered<T> {
    fn default() -> Remembered<T> {
        Remembered { made: HashMap::new(), bytes: 0 }
    }
}

impl<T> Remembered<T> {
    /// What was made of this closure.
    pub(super) fn get(&self, closure: &Arc<Closure>) -> Option<Arc<T>> {
        self.made.get(&address(closure)).map(|(_, thing)| Arc::clone(thing))
    }

    /// Remembers something of so many bytes.
    pub(super) fn put(&mut self, closure: &Arc<Closure>, thing: Arc<T>, bytes: usize) {
        if self.bytes + bytes > BYTES_MAX {
            self.made.clear();
            self.bytes = 0;
        }
        self.bytes += bytes;
        self.made.insert(address(closure), (Arc::downgrade(closure), thing));
    }
}

fn address(closure: &Arc<Closure>) -> usize {
    Arc::as_ptr(closure).addr()
}
