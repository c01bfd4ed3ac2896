//! Lends out things that are costly to warm up and used by one at a time. Knows nothing of what they do.
//!
//! The warmest free one is lent, and another is made only when all have been busy for a while: so that memory and
//! cold starts are not multiplied for nothing, and one long piece of work still does not stop the others.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long all may be busy before another is made: far longer than a warm answer takes.
const BUSY_TIME_MAX: Duration = Duration::from_millis(20);
/// How long a caller waits when no more may be made: whoever asks has something better to do by then.
const WAIT_MAX: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct State<T> {
    /// The free ones, and how often each was lent.
    free: Vec<(u64, T)>,
    made: usize,
}

/// The pool.
#[derive(Debug)]
pub(super) struct Pool<T> {
    state: Mutex<State<T>>,
    returned: Condvar,
    most: usize,
}

/// One that is lent; it goes back when dropped, unless its user panics: then it is not to be trusted any more.
#[derive(Debug)]
pub(super) struct Lease<'a, T> {
    pool: &'a Pool<T>,
    uses: u64,
    /// `None` only while being dropped.
    thing: Option<T>,
}

impl<T> Pool<T> {
    /// A pool of at most so many.
    pub(super) fn new(most: usize) -> Pool<T> {
        let state = Mutex::new(State { free: Vec::new(), made: 0 });
        Pool { state, returned: Condvar::new(), most }
    }

    /// Borrows one, making it if that is better than to wait; `None` if all are busy for too long.
    pub(super) fn lend(&self, make: impl FnOnce() -> T) -> Option<Lease<'_, T>> {
        let begin = Instant::now();
        let mut state = self.lock();
        loop {
            let warmest = (0..state.free.len()).max_by_key(|at| state.free[*at].0);
            if let Some(at) = warmest {
                let (uses, thing) = state.free.swap_remove(at);
                return Some(Lease { pool: self, uses: uses + 1, thing: Some(thing) });
            }
            let may_make = state.made < self.most;
            let waited = begin.elapsed();
            if state.made == 0 || may_make && waited >= BUSY_TIME_MAX {
                state.made += 1;
                drop(state);
                return Some(Lease { pool: self, uses: 1, thing: Some(make()) });
            }
            let limit = if may_make { BUSY_TIME_MAX } else { WAIT_MAX };
            let left = limit.checked_sub(waited).filter(|left| !left.is_zero())?;
            state = self.returned.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Deref for Lease<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.thing.as_ref().expect("it is there until dropped")
    }
}

impl<T> DerefMut for Lease<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.thing.as_mut().expect("it is there until dropped")
    }
}

impl<T> Drop for Lease<'_, T> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        match self.thing.take() {
            Some(thing) if !thread::panicking() => state.free.push((self.uses, thing)),
            _ => state.made -= 1,
        }
        drop(state);
        self.pool.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn the_warmest_is_lent_first() {
        let pool = Pool::new(2);
        let first = pool.lend(|| 'a').unwrap();
        let second = pool.lend(|| 'b').unwrap();
        assert_eq!((*first, *second), ('a', 'b'));
        drop((second, first));
        for _ in 0..3 {
            drop(pool.lend(|| 'c').unwrap());
        }
        let one = pool.lend(|| 'c').unwrap();
        let warmth = one.uses;
        assert_eq!(warmth, 5, "the same one was lent each time");
    }

    #[test]
    fn a_second_is_made_only_after_a_while() {
        let pool = Pool::new(2);
        let first = pool.lend(|| 1).unwrap();
        let begin = Instant::now();
        let second = pool.lend(|| 2).unwrap();
        assert!(begin.elapsed() >= BUSY_TIME_MAX);
        assert_eq!(*second, 2);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| *pool.lend(|| 3).unwrap());
            drop(first);
            assert_eq!(waiting.join().unwrap(), 1, "one that is returned is better than a new one");
        });
    }

    #[test]
    fn what_panics_does_not_come_back() {
        let pool = Pool::new(1);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let _lease = pool.lend(|| 1).unwrap();
            panic!("a bug, for a test");
        }));
        assert!(outcome.is_err());
        assert_eq!(*pool.lend(|| 2).unwrap(), 2);
    }
}
