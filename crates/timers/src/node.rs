//! The state of one timer: pending, cancelled or expired, decided by one atomic word.
//!
//! A [`Node`] lives inside the payload, so that a timer handle can be cancelled from any thread without
//! finding its shard. Cancelling and expiring race for the same word: exactly one of them wins.

use crate::sync::{AtomicU32, Ordering};

/// Nanoseconds on `CLOCK_MONOTONIC`; [`NEVER`] stands for a timer that does not fire.
pub type Deadline = u64;

/// The deadline of a timer that never fires: it can be inserted, cancelled and drained like any other.
pub const NEVER: Deadline = u64::MAX;

/// Not yet decided: the timer will expire or be cancelled. Also the state before insertion.
const PENDING: u32 = 0;
/// A call of [`Node::cancel`] won.
const CANCELLED: u32 = 1;
/// The shard gave the entry out as due.
const EXPIRED: u32 = 2;

/// What a shard keeps: a counted pointer, as a rule, to the object that holds the [`Node`].
///
/// Both methods are called while the shard is locked: they must do no more than read a field. Both must
/// give the same answer for as long as the entry is in a shard, and the node must not move in memory
/// (the shard recognises an entry by the address of its node).
pub trait Entry {
    /// The state embedded in the payload.
    fn node(&self) -> &Node;
    /// When the entry is due.
    fn deadline(&self) -> Deadline;
}

/// The state of one timer, embedded in its payload. Eight bytes.
///
/// Any thread may call the public methods. A node serves one timer: once cancelled or expired it stays so.
#[derive(Debug)]
pub struct Node {
    /// `PENDING`, `CANCELLED` or `EXPIRED`; leaves `PENDING` once, by compare-and-swap.
    state: AtomicU32,
    /// Index of the entry in its slot. Written and read under the lock of the shard only, hence relaxed.
    /// Stale once the entry has left: readers compare the node's address with what they find there.
    position: AtomicU32,
}

impl Node {
    /// A pending timer that is in no shard yet.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self {
            state: AtomicU32::new(PENDING),
            position: AtomicU32::new(u32::MAX),
        }
    }

    /// A pending timer that is in no shard yet.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self {
            state: AtomicU32::new(PENDING),
            position: AtomicU32::new(u32::MAX),
        }
    }

    /// Cancels the timer; true if this call did it, false if it was already cancelled or had expired.
    ///
    /// The winner alone may let go of what the timer would have run, and should then call
    /// [`Shard::remove`](crate::Shard::remove), which frees the place in the shard at once.
    pub fn cancel(&self) -> bool {
        self.decide(CANCELLED)
    }

    /// Whether a call of [`Node::cancel`] won.
    pub fn is_cancelled(&self) -> bool {
        self.state.load(Ordering::Acquire) == CANCELLED
    }

    /// Whether the timer can still expire.
    pub fn is_pending(&self) -> bool {
        self.state.load(Ordering::Acquire) == PENDING
    }

    /// Marks the timer as given out; false if a cancellation came first.
    pub(crate) fn expire(&self) -> bool {
        self.decide(EXPIRED)
    }

    /// Leaves `PENDING` for `outcome`; false if another call did before.
    ///
    /// Release publishes what this thread did to the payload, acquire shows the loser what the winner did
    /// before it decided; the two ends of the pair are always two calls of this function.
    fn decide(&self, outcome: u32) -> bool {
        self.state
            .compare_exchange(PENDING, outcome, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    pub(crate) fn position(&self) -> usize {
        self.position.load(Ordering::Relaxed) as usize
    }

    /// Notes where the entry is. A slot of more than 2^32 entries would need 100 GB before this truncates,
    /// and a wrong position is found out by the address comparison.
    pub(crate) fn set_position(&self, position: usize) {
        self.position.store(position as u32, Ordering::Relaxed);
    }
}

impl Default for Node {
    fn default() -> Self {
        Self::new()
    }
}
