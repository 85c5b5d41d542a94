//! One shard of the wheel: the timers of one loop, or those that no loop owns.
//!
//! Any thread may call any method. The lock is held for the work on the slots only: no payload is dropped
//! and nothing of the payload runs under it, besides the two getters of [`Entry`]. The earliest deadline
//! and the number of entries are published in atomics, so that a loop asks for them without the lock.

use crate::node::{Deadline, Entry, NEVER, Node};
use crate::slot::Due;
use crate::slots::Slots;
use crate::sync::{AtomicU64, AtomicUsize, Mutex, Ordering};

/// Timers in order of (deadline, insertion).
///
/// An entry that was cancelled without [`Shard::remove`] still counts in [`Shard::len`] and
/// [`Shard::next_deadline`] until it is removed or due, and is then dropped without being reported.
#[derive(Debug)]
pub struct Shard<E> {
    slots: Mutex<Slots<E>>,
    /// The earliest deadline, or `NEVER`. Written under the lock (release), read anywhere (acquire).
    next: AtomicU64,
    /// Entries. Written under the lock, read anywhere; a number for statistics, hence relaxed.
    len: AtomicUsize,
}

impl<E: Entry> Shard<E> {
    /// An empty shard, which allocates nothing.
    pub fn new() -> Self {
        Self {
            slots: Mutex::new(Slots::new()),
            next: AtomicU64::new(NEVER),
            len: AtomicUsize::new(0),
        }
    }

    /// Adds an entry; true if its deadline is now the earliest of the shard, and was not before.
    ///
    /// On true, whoever attends the shard has to be told ([`Attendance`](crate::Attendance)). An entry that
    /// was cancelled before it got here is dropped: its canceller has called `remove` in vain already.
    pub fn insert(&self, entry: E) -> bool {
        let mut slots = self.slots.lock();
        if !entry.node().is_pending() {
            drop(slots);
            drop(entry);
            return false;
        }
        let deadline = entry.deadline();
        let earliest = deadline < slots.next_deadline();
        slots.insert(entry);
        self.len.store(slots.len(), Ordering::Relaxed);
        if earliest {
            self.next.store(deadline, Ordering::Release);
        }
        earliest
    }

    /// Takes out one entry, and returns what the shard held for it: drop it with no lock held.
    ///
    /// Meant for the thread whose [`Node::cancel`](crate::Node::cancel) won. None if the entry has left
    /// already, be it that it expired at the same time.
    pub fn remove(&self, entry: &E) -> Option<E> {
        self.remove_node(entry.node(), entry.deadline())
    }

    /// As [`Shard::remove`], of the entry with this node and deadline.
    pub fn remove_node(&self, node: &Node, deadline: Deadline) -> Option<E> {
        let mut slots = self.slots.lock();
        let removed = slots.remove(node, deadline)?;
        self.publish(&slots);
        Some(removed)
    }

    /// Has `work` take out and add entries under one lock; true if the earliest deadline of the shard is an earlier one now.
    ///
    /// What the shard lets go of comes into `left`: drop it with no lock held. Every other user of the shard waits
    /// meanwhile: a few entries at a time.
    #[cfg(all(feature = "services", not(loom)))]
    pub(crate) fn change(&self, left: &mut Vec<E>, work: impl FnOnce(&mut Changes<'_, E>)) -> bool {
        let mut slots = self.slots.lock();
        let before = slots.next_deadline();
        work(&mut Changes {
            slots: &mut slots,
            left,
        });
        self.publish(&slots);
        slots.next_deadline() < before
    }

    /// Appends every entry due at or before `now` to `out`, in the order of (deadline, insertion).
    ///
    /// Each of them won against cancellation: its node is no longer pending. Entries that were cancelled are
    /// dropped, after the lock is released.
    pub fn expire(&self, now: Deadline, out: &mut Vec<E>) {
        self.expire_some(now, usize::MAX, out);
    }

    /// Like [`Shard::expire`] for at most `limit` entries, the earliest first; the rest stays due.
    ///
    /// For owners with a bounded buffer. Each entry then costs its way through the heap of the front slot; without a
    /// limit, what is due is sorted at once.
    pub fn expire_some(&self, now: Deadline, limit: usize, out: &mut Vec<E>) {
        // An entry inserted by another thread right now is one that came after this call.
        if self.next.load(Ordering::Acquire) > now {
            return;
        }
        let mut due = Due::new(now, out);
        let mut slots = self.slots.lock();
        if slots.len() <= limit {
            slots.take_due(&mut due);
        } else {
            slots.take_some(&mut due, limit);
        }
        self.publish(&slots);
        drop(slots);
        due.finish();
    }

    /// The earliest deadline; None if there is none or it is [`NEVER`]. One atomic load.
    pub fn next_deadline(&self) -> Option<Deadline> {
        let next = self.next.load(Ordering::Acquire);
        (next != NEVER).then_some(next)
    }

    /// The number of entries, as of a moment ago if other threads use the shard.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether [`Shard::len`] is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes out everything, in no order, and leaves the nodes as they are: for closing a loop.
    pub fn drain(&self) -> Vec<E> {
        let mut slots = self.slots.lock();
        let taken = slots.take();
        self.publish(&slots);
        drop(slots);
        // Copying a million entries takes milliseconds: not under the lock.
        taken.into_entries()
    }

    /// Shows every entry to `visit`, in no order: for a garbage collector. `visit` must not use the shard.
    pub fn for_each(&self, visit: impl FnMut(&E)) {
        self.slots.lock().for_each(visit);
    }

    /// Bytes that the shard has allocated, payloads excluded. Walks all slots: for tests and monitoring.
    pub fn allocated(&self) -> usize {
        self.slots.lock().allocated()
    }

    fn publish(&self, slots: &Slots<E>) {
        self.len.store(slots.len(), Ordering::Relaxed);
        self.next.store(slots.next_deadline(), Ordering::Release);
    }
}

impl<E: Entry> Default for Shard<E> {
    fn default() -> Self {
        Self::new()
    }
}

/// What [`Shard::change`] lets its caller do.
#[cfg(all(feature = "services", not(loom)))]
pub(crate) struct Changes<'a, E> {
    slots: &'a mut Slots<E>,
    left: &'a mut Vec<E>,
}

#[cfg(all(feature = "services", not(loom)))]
impl<E: Entry> Changes<'_, E> {
    /// As [`Shard::insert`].
    pub(crate) fn insert(&mut self, entry: E) {
        if entry.node().is_pending() {
            self.slots.insert(entry);
        } else {
            self.left.push(entry);
        }
    }

    /// As [`Shard::remove`].
    pub(crate) fn remove(&mut self, entry: E) {
        let removed = self.slots.remove(entry.node(), entry.deadline());
        self.left.extend(removed);
        self.left.push(entry);
    }
}
