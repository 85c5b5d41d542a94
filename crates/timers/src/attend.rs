//! Who answers for a shard: its own loop, whose reactor time-out covers the next deadline, or the driver.
//!
//! Every shard has one [`Attendance`], whose state names the one party that must know the earliest deadline.
//! The state changes under the lock of the [`Wheel`](crate::Wheel) only; it is read anywhere.
//!
//! The race that matters: a thread inserts an earlier deadline while the shard changes hands. The inserting
//! thread publishes the deadline, then reads the state ([`Attendance::responsible`]); the hand-over writes
//! the state, then reads the deadline. A sequentially consistent fence between the two steps, on both
//! sides, makes it impossible that each misses what the other wrote: either the inserting thread finds
//! the new party and tells it, or the new party finds the new deadline by itself.

use std::sync::{Arc, Weak};

use crate::node::Deadline;
use crate::sync::{AtomicU8, Ordering, fence};

/// The party that answers for a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attendant {
    /// The owner: it takes the earliest deadline for the time-out of its reactor, or is running right now.
    Loop,
    /// The driver: it sleeps until the earliest deadline and then calls [`Attended::due`].
    Driver,
}

const LOOP: u8 = 0;
const DRIVER: u8 = 1;

/// The owner of a shard, as the driver sees it.
pub trait Attended: Send + Sync {
    /// The earliest deadline of the shard.
    ///
    /// Called under the lock of the wheel: it must do no more than [`Shard::next_deadline`](crate::Shard::next_deadline).
    fn next_deadline(&self) -> Option<Deadline>;

    /// Tells that `deadline` has come. Called on the driver's thread with no lock held.
    ///
    /// Either expires the shard here and now, or has its owner do so (by waking a hosted loop, say); in
    /// the second case the owner must then call [`Wheel::announce`](crate::Wheel::announce) or
    /// [`Wheel::take_back`](crate::Wheel::take_back), or the driver does not come back to this shard.
    /// One deadline can be told twice. Must not block: other shards wait.
    fn due(&self, deadline: Deadline);
}

/// The attended-by state of one shard. Starts with [`Attendant::Loop`].
#[derive(Debug)]
pub struct Attendance {
    /// Key in the wheel; also the order among shards that are due at the same nanosecond.
    id: u64,
    /// `LOOP` or `DRIVER`. Written under the lock of the wheel.
    state: AtomicU8,
    /// Weak: the wheel keeps no loop alive.
    attended: Weak<dyn Attended>,
}

impl Attendance {
    /// The state of the shard that `attended` owns.
    pub fn new(attended: Weak<dyn Attended>) -> Arc<Self> {
        // Not through the facade: the number is an identity and orders nothing.
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let id = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Arc::new(Self {
            id,
            state: AtomicU8::new(LOOP),
            attended,
        })
    }

    /// Who answers for the shard, as of a moment ago.
    pub fn attendant(&self) -> Attendant {
        match self.state.load(Ordering::Acquire) {
            LOOP => Attendant::Loop,
            _ => Attendant::Driver,
        }
    }

    /// Who has to be told after [`Shard::insert`](crate::Shard::insert) returned true.
    ///
    /// On `Loop`, wake the loop if it may be parked; on `Driver`, call
    /// [`Wheel::announce`](crate::Wheel::announce).
    pub fn responsible(&self) -> Attendant {
        // Pairs with the fence in `set`: see the head of this module.
        fence(Ordering::SeqCst);
        self.attendant()
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn attended(&self) -> Option<Arc<dyn Attended>> {
        self.attended.upgrade()
    }

    /// Changes the state; the caller holds the lock of the wheel, and reads the deadline afterwards.
    pub(crate) fn set(&self, attendant: Attendant) {
        let state = match attendant {
            Attendant::Loop => LOOP,
            Attendant::Driver => DRIVER,
        };
        self.state.store(state, Ordering::Release);
        // Pairs with the fence in `responsible`.
        fence(Ordering::SeqCst);
    }
}
