//! Lends out things that are costly to warm up and used by one at a time. Knows nothing of what they do.
//!
//! The warmest free one is lent, and another is made only when none came back for a while: so that memory and cold starts
//! are not multiplied for nothing, and one long piece of work still does not stop the others.
//!
//! Who comes when one is free takes it, even if others were told of it and are still waking up: that wastes no time. Only
//! who has waited for long goes first.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long all may be busy without one coming back before another is made: far longer than a warm answer takes.
const BUSY_TIME_MAX: Duration = Duration::from_millis(20);
/// Who has waited for longer is not overtaken any more.
const OVERTAKING_TIME_MAX: Duration = Duration::from_millis(1);
/// How long a caller waits when no more may be made: whoever asks has something better to do by then.
const WAIT_MAX: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct State<T> {
    /// The free ones, and how often each was lent.
    free: Vec<(u64, T)>,
    made: usize,
    /// When one last came back.
    returned: Instant,
    /// Who waits, since when.
    waiting: VecDeque<(Instant, Arc<Condvar>)>,
}

/// The pool.
#[derive(Debug)]
pub(super) struct Pool<T> {
    state: Mutex<State<T>>,
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
        let waiting = VecDeque::new();
        Pool {
            state: Mutex::new(State { free: Vec::new(), made: 0, returned: Instant::now(), waiting }),
            most,
        }
    }

    /// Borrows one, making it if that is better than to wait; `None` if all are busy for too long.
    pub(super) fn lend(&self, make: impl FnOnce() -> T) -> Option<Lease<'_, T>> {
        let begin = Instant::now();
        let told = Arc::new(Condvar::new());
        let mut state = self.lock();
        if let Some((uses, thing)) = state.take(begin, &told) {
            return Some(Lease { pool: self, uses, thing: Some(thing) });
        }
        state.waiting.push_back((begin, Arc::clone(&told)));
        loop {
            let now = Instant::now();
            let waited = now.duration_since(begin);
            let stuck = now.duration_since(state.returned.max(begin));
            let may_make = state.made < self.most;
            if state.made == 0 || may_make && stuck >= BUSY_TIME_MAX {
                state.made += 1;
                state.forget(&told);
                drop(state);
                return Some(Lease { pool: self, uses: 1, thing: Some(make()) });
            }
            if waited >= WAIT_MAX {
                state.forget(&told);
                return None;
            }
            let left = if may_make { BUSY_TIME_MAX - stuck } else { WAIT_MAX - waited };
            state = told.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            if let Some((uses, thing)) = state.take(Instant::now(), &told) {
                state.forget(&told);
                return Some(Lease { pool: self, uses, thing: Some(thing) });
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    /// The warmest free one, unless somebody else has waited for it for too long.
    fn take(&mut self, now: Instant, own: &Arc<Condvar>) -> Option<(u64, T)> {
        let is_overtaking = self.waiting.front().is_some_and(|(since, told)| {
            !Arc::ptr_eq(told, own) && now.duration_since(*since) > OVERTAKING_TIME_MAX
        });
        let warmest = (0..self.free.len()).max_by_key(|at| self.free[*at].0).filter(|_| !is_overtaking)?;
        let (uses, thing) = self.free.swap_remove(warmest);
        Some((uses + 1, thing))
    }

    fn forget(&mut self, own: &Arc<Condvar>) {
        self.waiting.retain(|(_, told)| !Arc::ptr_eq(told, own));
        // There may be another one for the next.
        self.tell();
    }

    fn tell(&self) {
        if let Some((_, told)) = self.waiting.front().filter(|_| !self.free.is_empty()) {
            told.notify_one();
        }
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
        state.returned = Instant::now();
        state.tell();
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
    fn a_pool_in_constant_use_stays_small_and_serves_all() {
        let pool = Pool::new(4);
        let longest = thread::scope(|scope| {
            let work = || {
                let mut longest = Duration::ZERO;
                for _ in 0..300 {
                    let begin = Instant::now();
                    let _lease = pool.lend(|| ()).unwrap();
                    longest = longest.max(begin.elapsed());
                    thread::sleep(Duration::from_micros(50));
                }
                longest
            };
            let threads: Vec<_> = (0..6).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).max().unwrap()
        });
        assert_eq!(pool.lock().made, 1, "the longest wait was {longest:?}");
        assert!(pool.lock().waiting.is_empty());
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
