//! One time slot: the entries whose deadlines fall into the same stretch of time, in one vector.
//!
//! A slot is **loose** (no order; insertion and removal by position touch one or two entries) until it is
//! the next one due. Then it is **ordered**: the same vector becomes a heap on (deadline, sequence), and
//! stays one for the rest of its life, even if an earlier slot appears, so that a slot is put in order once
//! and not once per change of the front. Every entry's node knows its index, in both forms.

use crate::node::{Deadline, Entry, NEVER, Node};
use crate::sys::prefetch::prefetch;

/// Children per heap node. Four halves the depth of a binary heap, and the children share two cache lines.
const ARITY: usize = 4;
/// Smallest buffer of a slot in the tree, of 96 bytes: a slot of a sparse shard holds few entries.
const MIN_CAPACITY: usize = 4;
/// Buffers up to this many entries are kept when entries leave (384 bytes).
pub(crate) const KEPT_CAPACITY: usize = 16;
/// A slot this small is expired entry by entry: sampling it would cost more.
const FEW: usize = 16;

/// An entry with its order.
#[derive(Debug)]
pub(crate) struct Item<E> {
    /// Copied from the entry: comparisons would otherwise miss the cache once per payload.
    pub(crate) deadline: Deadline,
    /// Counts insertions of the shard, so that equal deadlines keep their order.
    pub(crate) sequence: u64,
    pub(crate) entry: E,
}

impl<E> Item<E> {
    pub(crate) fn key(&self) -> (Deadline, u64) {
        (self.deadline, self.sequence)
    }

    fn is_due(&self, now: Deadline) -> bool {
        self.deadline <= now && self.deadline != NEVER
    }
}

/// Where due items go: in order as they come, or into `loose`, to be sorted once the shard is unlocked.
#[derive(Debug)]
pub(crate) struct Due<'a, E> {
    pub(crate) now: Deadline,
    /// Receives expired entries in (deadline, sequence) order.
    out: &'a mut Vec<E>,
    /// The length of `out` at the beginning.
    before: usize,
    /// Due items in no order; all of them come after what is in `out` already.
    pub(crate) loose: Vec<Item<E>>,
    /// Cancelled entries found on the way: dropping one may run foreign code, which must wait for the unlock.
    cancelled: Vec<E>,
}

impl<'a, E: Entry> Due<'a, E> {
    pub(crate) fn new(now: Deadline, out: &'a mut Vec<E>) -> Self {
        Self {
            now,
            before: out.len(),
            out,
            loose: Vec::new(),
            cancelled: Vec::new(),
        }
    }

    /// The number of entries that have been given out so far, in order.
    pub(crate) fn settled(&self) -> usize {
        self.out.len() - self.before
    }

    /// Takes the smallest remaining item.
    pub(crate) fn take(&mut self, item: Item<E>) {
        if self.loose.is_empty() {
            self.settle(item.entry);
        } else {
            self.loose.push(item);
        }
    }

    fn settle(&mut self, entry: E) {
        if entry.node().expire() {
            self.out.push(entry);
        } else {
            self.cancelled.push(entry);
        }
    }

    /// Sorts and settles what is loose, then drops what was cancelled. Call with the shard unlocked.
    pub(crate) fn finish(mut self) {
        let mut loose = std::mem::take(&mut self.loose);
        loose.sort_unstable_by_key(Item::key);
        self.out.reserve(loose.len());
        for item in loose {
            self.settle(item.entry);
        }
    }
}

#[derive(Debug)]
pub(crate) struct Slot<E> {
    items: Vec<Item<E>>,
    /// Whether `items` is a heap.
    ordered: bool,
}

impl<E: Entry> Slot<E> {
    pub(crate) const fn new() -> Self {
        Self {
            items: Vec::new(),
            ordered: false,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.items.capacity()
    }

    pub(crate) fn into_items(self) -> Vec<Item<E>> {
        self.items
    }

    /// All entries, in no order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &E> {
        self.items.iter().map(|item| &item.entry)
    }

    /// The smallest item of an ordered slot.
    pub(crate) fn first(&self) -> Option<&Item<E>> {
        debug_assert!(self.ordered || self.items.is_empty());
        self.items.first()
    }

    pub(crate) fn push(&mut self, item: Item<E>) {
        if self.items.len() == self.items.capacity() {
            // Many grow by half: a million entries then waste at most twelve bytes each, and are copied twice.
            let more = match self.items.capacity() {
                0 => MIN_CAPACITY,
                capacity if capacity < KEPT_CAPACITY => KEPT_CAPACITY - capacity,
                capacity => capacity / 2,
            };
            self.items.reserve_exact(more);
        }
        let position = self.items.len();
        item.entry.node().set_position(position);
        self.items.push(item);
        // The line where the next item will end. Of many slots it is in no cache by then, and the shard's unlock would wait for it.
        prefetch(self.items.as_ptr_range().end.addr() + size_of::<Item<E>>() - 1);
        if self.ordered {
            self.sift_up(position);
        }
    }

    /// Takes the entry with this node out, if this slot holds it.
    pub(crate) fn remove(&mut self, node: &Node) -> Option<Item<E>> {
        let position = node.position();
        let found = self.items.get(position)?;
        if !std::ptr::eq(found.entry.node(), node) {
            return None;
        }
        let item = self.take_at(position);
        self.shrink();
        Some(item)
    }

    /// Makes the slot a heap; does nothing if it is one.
    pub(crate) fn order(&mut self) {
        if self.ordered {
            return;
        }
        self.ordered = true;
        self.rebuild();
    }

    /// Gives a slot without a buffer one for so many entries.
    pub(crate) fn make_room(&mut self, entries: usize) {
        if self.items.capacity() == 0 {
            self.items.reserve_exact(entries);
        }
    }

    /// Takes the buffer of a slot without entries; an empty one of any other.
    pub(crate) fn take_empty(&mut self) -> Vec<Item<E>> {
        if self.is_empty() {
            std::mem::take(&mut self.items)
        } else {
            Vec::new()
        }
    }

    /// Gives a slot without a buffer one.
    pub(crate) fn adopt(&mut self, buffer: Vec<Item<E>>) {
        debug_assert!(self.capacity() == 0 && buffer.is_empty());
        self.items = buffer;
    }

    /// Makes an empty slot one that has no order.
    pub(crate) fn loosen(&mut self) {
        debug_assert!(self.is_empty());
        self.ordered = false;
    }

    /// Moves everything due at `due.now` out of an ordered slot.
    ///
    /// One by one from the heap as long as few are due, by a scan of the whole slot if many are: both stay
    /// linear in what the slot holds, and the frequent case (one timer due) is logarithmic.
    pub(crate) fn take_due(&mut self, due: &mut Due<'_, E>) {
        debug_assert!(self.ordered);
        let mut budget = if self.mostly_due(due.now) {
            0
        } else {
            FEW + self.items.len() / 8
        };
        while let Some(first) = self.items.first() {
            if !first.is_due(due.now) {
                break;
            }
            if budget == 0 {
                self.split_due(due);
                break;
            }
            budget -= 1;
            due.take(self.take_at(0));
        }
        self.shrink();
    }

    /// Takes the smallest item out of an ordered slot, if it is due.
    pub(crate) fn pop_due(&mut self, now: Deadline) -> Option<Item<E>> {
        debug_assert!(self.ordered || self.items.is_empty());
        self.items.first().filter(|item| item.is_due(now))?;
        let item = self.take_at(0);
        self.shrink();
        Some(item)
    }

    /// Guesses from a sample whether an eighth or more of the slot is due. Wrong guesses cost time only.
    fn mostly_due(&self, now: Deadline) -> bool {
        let len = self.items.len();
        if len <= FEW {
            return false;
        }
        let due = self
            .items
            .iter()
            .step_by(len / FEW)
            .filter(|item| item.is_due(now))
            .count();
        due > FEW / 8
    }

    fn split_due(&mut self, due: &mut Due<'_, E>) {
        let mut position = 0;
        while let Some(item) = self.items.get(position) {
            if item.is_due(due.now) {
                due.loose.push(self.items.swap_remove(position));
            } else {
                position += 1;
            }
        }
        self.rebuild();
    }

    /// Gives memory back once three quarters of a large buffer are unused; amortised over the removals.
    fn shrink(&mut self) {
        let (len, capacity) = (self.items.len(), self.items.capacity());
        if capacity > KEPT_CAPACITY && len < capacity / 4 {
            self.items.shrink_to((len * 2).max(MIN_CAPACITY));
        }
    }

    fn take_at(&mut self, position: usize) -> Item<E> {
        let item = self.items.swap_remove(position);
        // The last one takes the place of the next that leaves, and is told so.
        if let Some(last) = self.items.last() {
            prefetch(std::ptr::from_ref(last.entry.node()).addr());
        }
        if position < self.items.len() {
            self.place(position);
            if self.ordered {
                let settled = self.sift_up(position);
                self.sift_down(settled);
            }
        }
        item
    }

    fn rebuild(&mut self) {
        for position in 0..self.items.len() {
            self.place(position);
        }
        let last_parent = self.items.len().saturating_sub(2) / ARITY;
        for position in (0..=last_parent).rev() {
            self.sift_down(position);
        }
    }

    fn place(&self, position: usize) {
        self.items[position].entry.node().set_position(position);
    }

    /// Moves the item at `position` towards the root; returns where it came to rest.
    fn sift_up(&mut self, mut position: usize) -> usize {
        let start = position;
        while position > 0 {
            let parent = (position - 1) / ARITY;
            if self.items[parent].key() <= self.items[position].key() {
                break;
            }
            self.items.swap(parent, position);
            self.place(position);
            position = parent;
        }
        if position != start {
            self.place(position);
        }
        position
    }

    /// Moves the item at `position` towards the leaves.
    fn sift_down(&mut self, mut position: usize) {
        let start = position;
        loop {
            let children = position * ARITY + 1;
            let end = (children + ARITY).min(self.items.len());
            let Some(least) = (children..end).min_by_key(|&child| self.items[child].key()) else {
                break;
            };
            if self.items[position].key() <= self.items[least].key() {
                break;
            }
            self.items.swap(position, least);
            self.place(position);
            position = least;
        }
        if position != start {
            self.place(position);
        }
    }
}
