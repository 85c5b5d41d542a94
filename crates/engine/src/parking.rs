//! The parking state: whether a thread that hands in work has to write the waker.
//!
//! Writing the waker is a system call and wakes a thread; it is wanted exactly when the loop blocks.
//!
//! ```text
//!            begin_park -> true                notify -> true: write the waker
//!  RUNNING ---------------------->  PARKED  ---------------------------------->  NOTIFIED
//!     ^ |                              |                                          |  ^
//!     | |                   end_park   |                  end_park                |  |
//!     | +<-----------------------------+------------------------------------------+  |
//!     | |                           begin_park -> false (do not block)            |  |
//!     +-+<------------------------------------------------------------------------+  |
//!       +----------------------------------------------------------------------------+
//!                                      notify -> false
//! ```
//!
//! Rules for callers:
//! - A thread that hands in work pushes first and notifies after.
//! - After `begin_park` has returned false, and after `end_park`, the loop drains the inbox before it parks
//!   again: both forget notifications, which from then on only the inbox tells.
//! - A loop that wakes for another reason (readiness, a deadline) may find the waker written late, by a
//!   thread that had been told to: a waker found readable with an empty inbox is no error.

use crate::sync::{AtomicU8, Ordering};

/// The loop runs and will call `begin_park` before it blocks.
const RUNNING: u8 = 0;
/// The loop blocks or is about to; the waker has not been written for this park.
const PARKED: u8 = 1;
/// Work was handed in since the loop last looked.
const NOTIFIED: u8 = 2;

/// Running, parked or notified, in one atomic.
///
/// [`begin_park`](Self::begin_park) and [`end_park`](Self::end_park) belong to the loop's thread,
/// [`notify`](Self::notify) to any thread.
#[derive(Debug)]
pub struct ParkState {
    /// Only the loop's thread leaves NOTIFIED or enters PARKED; only other threads enter NOTIFIED.
    ///
    /// Every write of `notify` is a read-modify-write, so all notifications since the last reset form one
    /// release sequence: the acquire of `begin_park` or `end_park` that ends it sees every push before.
    state: AtomicU8,
}

impl ParkState {
    /// Creates the state of a loop that is running.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: AtomicU8::new(RUNNING),
        }
    }

    /// Announces that the loop is about to block. On false it must not: it was notified and is running.
    ///
    /// After true, every call is followed by [`end_park`](Self::end_park).
    #[inline]
    #[must_use = "a loop that was notified must not block"]
    pub fn begin_park(&self) -> bool {
        // Relaxed on success: the RUNNING it replaces is this thread's own, and a notifier that reads PARKED
        // takes no data from here, it only writes the waker.
        let parked =
            self.state
                .compare_exchange(RUNNING, PARKED, Ordering::Relaxed, Ordering::Relaxed);
        if parked.is_err() {
            // Not a store: another thread may have pushed and notified since the failed exchange. It was
            // told that the loop will look, so this acquire has to see its push; pairs with `notify`.
            self.state.swap(RUNNING, Ordering::Acquire);
        }
        parked.is_ok()
    }

    /// Ends a park, for whatever reason the loop woke, and forgets a notification.
    #[inline]
    pub fn end_park(&self) {
        // Pairs with the release in `notify`: the drain that follows sees what the notifiers pushed.
        self.state.swap(RUNNING, Ordering::Acquire);
    }

    /// Tells the loop that work was handed in. On true the caller must write the waker.
    ///
    /// True for exactly one caller per park. False means that the loop is running and will look before it
    /// parks, or that somebody else was told to write the waker.
    #[inline]
    #[must_use = "a parked loop sleeps on unless the waker is written"]
    pub fn notify(&self) -> bool {
        // Always a read-modify-write, even if the state is NOTIFIED already. A load could be ordered before
        // the push that precedes it, and read a notification that the loop is just about to forget without
        // having seen that push.
        self.state.swap(NOTIFIED, Ordering::Release) == PARKED
    }
}

impl Default for ParkState {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn running_loop_needs_no_waker_and_does_not_block() {
        let state = ParkState::new();
        assert!(!state.notify());
        assert!(!state.notify());
        assert!(!state.begin_park());
        assert!(state.begin_park(), "the notification counts once");
    }

    #[test]
    fn one_notifier_per_park_writes_the_waker() {
        let state = ParkState::new();
        for _ in 0..2 {
            assert!(state.begin_park());
            assert!(state.notify());
            assert!(!state.notify());
            state.end_park();
        }
    }

    #[test]
    fn end_park_forgets_the_notification() {
        let state = ParkState::new();
        assert!(state.begin_park());
        assert!(state.notify());
        state.end_park();
        assert!(state.begin_park());
    }
}
