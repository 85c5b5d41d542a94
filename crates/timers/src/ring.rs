//! The slots of the time that comes next, in a ring: each is found by its number, without a search.
//!
//! Single-threaded, a part of [`Slots`](crate::slots::Slots).

use crate::node::Entry;
use crate::slot::{Item, KEPT_CAPACITY, Slot};

/// Slots in the ring, a power of two: 73 minutes, and 32 KiB of memory from a shard's first timer on.
pub(crate) const NEAR: u64 = 1024;
/// Entries that the first buffer of a slot has room for, unless slots have become larger lately (192 bytes).
const FIRST_CAPACITY: usize = 8;
/// Entries that fit into the buffers which empty slots keep for reuse, at least (24 KiB).
const KEPT_ENTRIES: usize = 1024;
const WORD: u64 = u64::BITS as u64;

/// The slots with the numbers from `base` up to, but not including, `base + NEAR`.
#[derive(Debug)]
pub(crate) struct Ring<E> {
    /// Slot `number` is at `number % NEAR`. Empty before the first entry.
    slots: Vec<Slot<E>>,
    /// A bit for each slot that has entries, at the same place.
    filled: [u64; (NEAR / WORD) as usize],
    base: u64,
    /// Entries that fit into the buffers of slots without entries.
    kept: usize,
    /// Entries that a new buffer has room for: as many as that of the slot that ran empty last, within bounds.
    usual: usize,
    /// Where the slot is that ran empty last.
    last_emptied: usize,
}

impl<E: Entry> Ring<E> {
    pub(crate) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            filled: [0; (NEAR / WORD) as usize],
            base: 0,
            kept: 0,
            usual: FIRST_CAPACITY,
            last_emptied: 0,
        }
    }

    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// Moves the beginning. The slots that leave the ring by that must have no entries.
    pub(crate) fn set_base(&mut self, base: u64) {
        self.base = base;
    }

    pub(crate) fn covers(&self, number: u64) -> bool {
        number.wrapping_sub(self.base) < NEAR
    }

    /// The first slot that has entries.
    pub(crate) fn first_filled(&self) -> Option<u64> {
        self.next_filled(self.base)
    }

    /// The first slot that has entries, from one of the ring's on.
    pub(crate) fn next_filled(&self, from: u64) -> Option<u64> {
        let start = from % NEAR;
        let words = NEAR / WORD;
        // The first word is looked at twice: from `from` on, and up to it.
        let found = (0..=words).find_map(|step| {
            let word = (start / WORD + step) % words;
            let mask = match step {
                0 => u64::MAX << (start % WORD),
                _ => u64::MAX,
            };
            let found = self.filled[word as usize] & mask;
            let position = word * WORD + u64::from(found.trailing_zeros());
            (found != 0).then(|| from + position.wrapping_sub(start) % NEAR)
        });
        found.filter(|&number| self.covers(number))
    }

    /// A slot that has entries.
    pub(crate) fn slot(&self, number: u64) -> &Slot<E> {
        debug_assert!(self.is_filled(number));
        &self.slots[(number % NEAR) as usize]
    }

    /// A slot that has entries. If it loses the last, [`emptied`](Self::emptied) is to be told.
    pub(crate) fn slot_mut(&mut self, number: u64) -> &mut Slot<E> {
        debug_assert!(self.is_filled(number));
        &mut self.slots[(number % NEAR) as usize]
    }

    pub(crate) fn is_filled(&self, number: u64) -> bool {
        let position = number % NEAR;
        self.covers(number) && self.filled[(position / WORD) as usize] >> (position % WORD) & 1 != 0
    }

    pub(crate) fn push(&mut self, number: u64, item: Item<E>) {
        self.allocate();
        let at = (number % NEAR) as usize;
        if self.slots[at].is_empty() {
            self.furnish(at);
            self.mark(number);
        }
        self.slots[at].push(item);
    }

    /// Gives a slot without entries a buffer: its own of earlier, that of the slot that ran empty last, or a new one.
    #[inline]
    fn furnish(&mut self, at: usize) {
        if self.slots[at].capacity() == 0 {
            let buffer = self.slots[self.last_emptied].take_empty();
            self.slots[at].adopt(buffer);
        }
        self.kept -= self.slots[at].capacity();
        self.slots[at].make_room(self.usual);
    }

    /// Notes that a slot has lost its last entry.
    pub(crate) fn emptied(&mut self, number: u64) {
        self.unmark(number);
        self.last_emptied = (number % NEAR) as usize;
        let slot = &mut self.slots[self.last_emptied];
        slot.loosen();
        self.kept += slot.capacity();
        self.usual = slot.capacity().clamp(FIRST_CAPACITY, KEPT_CAPACITY);
    }

    /// Frees the buffers of empty slots if they are too many beside what all slots hold: to be called when that has become less.
    pub(crate) fn trim(&mut self, entries: usize) {
        if self.kept > KEPT_ENTRIES + entries / 2 {
            self.purge();
        }
    }

    /// Takes a slot with all its entries out.
    pub(crate) fn take(&mut self, number: u64) -> Slot<E> {
        self.unmark(number);
        std::mem::replace(&mut self.slots[(number % NEAR) as usize], Slot::new())
    }

    /// Puts a slot with entries in the place of one that has none.
    pub(crate) fn put(&mut self, number: u64, slot: Slot<E>) {
        self.allocate();
        let before = std::mem::replace(&mut self.slots[(number % NEAR) as usize], slot);
        debug_assert!(before.is_empty());
        self.kept -= before.capacity();
        self.mark(number);
    }

    /// All slots, those without entries among them.
    pub(crate) fn slots(&self) -> &[Slot<E>] {
        &self.slots
    }

    pub(crate) fn into_slots(self) -> Vec<Slot<E>> {
        self.slots
    }

    /// Bytes allocated.
    pub(crate) fn allocated(&self) -> usize {
        let entries: usize = self.slots.iter().map(Slot::capacity).sum();
        entries * size_of::<Item<E>>() + self.slots.capacity() * size_of::<Slot<E>>()
    }

    #[inline]
    fn allocate(&mut self) {
        if self.slots.is_empty() {
            self.slots.resize_with(NEAR as usize, Slot::new);
        }
    }

    /// Frees the buffers of the slots without entries: at most [`NEAR`] steps after 64 slots ran empty, or more.
    fn purge(&mut self) {
        for slot in self.slots.iter_mut().filter(|slot| slot.is_empty()) {
            *slot = Slot::new();
        }
        self.kept = 0;
    }

    fn mark(&mut self, number: u64) {
        let position = number % NEAR;
        self.filled[(position / WORD) as usize] |= 1 << (position % WORD);
    }

    fn unmark(&mut self, number: u64) {
        let position = number % NEAR;
        self.filled[(position / WORD) as usize] &= !(1 << (position % WORD));
    }
}
