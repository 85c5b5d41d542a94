//! The inbox: callbacks that other threads hand to the loop.
//!
//! Any thread may push; the loop's thread drains. A push alone wakes nobody: the pushing thread calls
//! [`crate::ParkState::notify`] *after* it, and writes the waker if that says so. The lock is held for moving
//! values only: no payload is dropped, cloned or called under it.

use crate::ready::KEPT_BY_CARRIER;
use crate::sync::{AtomicBool, Mutex, Ordering};

/// What other threads have handed in since the last drain, in the order in which they took the lock.
#[derive(Debug)]
pub struct Inbox<T> {
    /// Whether `state.entries` holds anything. Written under the lock only, read without it.
    ///
    /// The release store of a push pairs with the acquire load of [`Inbox::is_empty`]. A reader that has
    /// learnt of the push through [`crate::ParkState`] is bound to see it; any other may see it late.
    filled: AtomicBool,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    entries: Vec<T>,
    /// Set once by [`Inbox::close`]; from then on `entries` stays empty.
    closed: bool,
}

impl<T> Inbox<T> {
    /// Creates an open inbox, which allocates nothing yet.
    #[must_use]
    pub fn new() -> Self {
        let state = State {
            entries: Vec::new(),
            closed: false,
        };
        Self {
            filled: AtomicBool::new(false),
            state: Mutex::new(state),
        }
    }

    /// Adds `entry` behind all others.
    ///
    /// # Errors
    /// Gives `entry` back if the inbox is closed.
    #[inline]
    pub fn push(&self, entry: T) -> Result<(), T> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(entry);
        }
        state.entries.push(entry);
        if state.entries.len() == 1 {
            self.filled.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Whether there is nothing to drain: one load, no lock.
    ///
    /// May miss a push whose thread has not called [`crate::ParkState::notify`] yet: that call comes after
    /// the push, and keeps the loop from parking.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.filled.load(Ordering::Acquire)
    }

    /// Moves every entry behind those of `out`, oldest first.
    ///
    /// An empty `out` is exchanged for the inner vector: constant time under the lock, and two vectors take
    /// turns without allocating.
    #[inline]
    pub fn drain_into(&self, out: &mut Vec<T>) {
        // A carrier that a huge backlog has grown must not become the inner vector, or the two would keep
        // that room between them for ever.
        if out.is_empty() && out.capacity() > KEPT_BY_CARRIER {
            *out = Vec::new();
        }
        let mut state = self.state.lock();
        if out.is_empty() {
            std::mem::swap(&mut state.entries, out);
        } else {
            out.append(&mut state.entries);
            state.entries.shrink_to(KEPT_BY_CARRIER);
        }
        self.filled.store(false, Ordering::Relaxed);
    }

    /// Shows every entry to `visit`, oldest first: for a garbage collector. `visit` must not use the inbox.
    pub fn for_each(&self, visit: impl FnMut(&T)) {
        self.state.lock().entries.iter().for_each(visit);
    }

    /// Closes the inbox and returns what it held, oldest first; empty if it was closed before.
    ///
    /// Every entry ends in exactly one place: drained, returned from here, or given back by
    /// [`push`](Self::push).
    #[must_use = "dropping the entries may run foreign code: choose where"]
    pub fn close(&self) -> Vec<T> {
        let mut state = self.state.lock();
        state.closed = true;
        self.filled.store(false, Ordering::Relaxed);
        std::mem::take(&mut state.entries)
    }
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn drain_into_a_filled_vector_appends() {
        let inbox = Inbox::new();
        let mut out = vec![1];
        assert_eq!(inbox.push(2), Ok(()));
        assert_eq!(inbox.push(3), Ok(()));
        assert!(!inbox.is_empty());
        inbox.drain_into(&mut out);
        assert_eq!(out, [1, 2, 3]);
        assert!(inbox.is_empty());
    }

    #[test]
    fn closed_inbox_gives_entries_back() {
        let inbox = Inbox::new();
        assert_eq!(inbox.push("kept"), Ok(()));
        assert_eq!(inbox.close(), ["kept"]);
        assert_eq!(inbox.push("late"), Err("late"));
        assert!(inbox.is_empty());
        assert!(inbox.close().is_empty());
    }

    #[test]
    fn backlog_memory_does_not_stay_in_the_exchange() {
        let inbox = Inbox::new();
        for entry in 0..100_000 {
            assert_eq!(inbox.push(entry), Ok(()));
        }
        let mut out = Vec::new();
        inbox.drain_into(&mut out);
        assert!(out.capacity() >= 100_000);
        out.clear();
        for _ in 0..2 {
            inbox.drain_into(&mut out);
            assert!(out.capacity() <= KEPT_BY_CARRIER);
        }
    }
}
