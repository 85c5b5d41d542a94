//! The slots of one shard in order of time. Single-threaded: [`Shard`](crate::Shard) puts it behind a lock.
//!
//! A slot is known by its number, the deadline divided by the slot width. Those of the time that comes next are in
//! a [`Ring`], where each is found at once; those beyond it are in a tree until the ring gets there. A slot moves as a whole.

use std::collections::BTreeMap;

use crate::node::{Deadline, Entry, NEVER, Node};
use crate::ring::{NEAR, Ring};
use crate::slot::{Due, Item, Slot};

/// The slot width as a power of two of nanoseconds: 4.3 s.
///
/// Inside the front slot the heap keeps the order, so that a wide slot costs little there and saves slots and buffers
/// everywhere else. `benchmarks/EXPERIMENTS.md` has the widths that were tried.
const WIDTH_BITS: u32 = 32;

/// Entries by deadline.
///
/// Invariants between calls: `front` is the first slot with entries, and is ordered. An entry is in the slot of
/// the number of its deadline, or in that of `floor` if it was due already when it came. `floor` is at or before the beginning of
/// the ring, and both are at or before `front`; `far` has no empty slot and none that the ring covers.
#[derive(Debug)]
pub(crate) struct Slots<E> {
    ring: Ring<E>,
    /// The slots after those of the ring.
    far: BTreeMap<u64, Slot<E>>,
    /// The first slot that has entries.
    front: Option<u64>,
    /// No entry comes to a slot before this one. Rises with the time that [`Slots::take_due`] was told.
    floor: u64,
    /// Entries that went to `far` since the ring was moved for one of them.
    unmoved: usize,
    /// Entries in all slots.
    len: usize,
    /// Number of the next insertion.
    sequence: u64,
}

impl<E: Entry> Slots<E> {
    pub(crate) const fn new() -> Self {
        Self {
            ring: Ring::new(),
            far: BTreeMap::new(),
            front: None,
            floor: 0,
            unmoved: 0,
            len: 0,
            sequence: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The earliest deadline, or [`NEVER`].
    pub(crate) fn next_deadline(&self) -> Deadline {
        self.front
            .and_then(|front| self.slot(front).first())
            .map_or(NEVER, |item| item.deadline)
    }

    pub(crate) fn insert(&mut self, entry: E) {
        let deadline = entry.deadline();
        let number = self.make_room(deadline >> WIDTH_BITS);
        let item = Item {
            deadline,
            sequence: self.sequence,
            entry,
        };
        self.sequence += 1;
        self.len += 1;
        if self.ring.covers(number) {
            self.ring.push(number, item);
        } else {
            self.far.entry(number).or_insert_with(Slot::new).push(item);
        }
        if self.front.is_none_or(|front| number < front) {
            self.slot_mut(number).order();
            self.front = Some(number);
        }
    }

    /// Takes out the entry with this node and deadline, if it is here.
    pub(crate) fn remove(&mut self, node: &Node, deadline: Deadline) -> Option<E> {
        let number = (deadline >> WIDTH_BITS).max(self.floor);
        let slot = if self.ring.is_filled(number) {
            self.ring.slot_mut(number)
        } else {
            self.far.get_mut(&number)?
        };
        let item = slot.remove(node)?;
        let empty = slot.is_empty();
        self.len -= 1;
        if empty {
            self.retire(number);
        }
        Some(item.entry)
    }

    /// Moves everything due at `due.now` into `due`.
    pub(crate) fn take_due(&mut self, due: &mut Due<'_, E>) {
        let present = due.now >> WIDTH_BITS;
        while let Some(front) = self.front.filter(|&front| front < present) {
            let items = self.take_slot(front).into_items();
            self.len -= items.len();
            if due.loose.is_empty() {
                due.loose = items;
            } else {
                due.loose.extend(items);
            }
            self.front = self.first_filled();
        }
        if let Some(front) = self.front {
            // Only now: a slot that leaves as a whole need not be ordered.
            let slot = self.slot_mut(front);
            slot.order();
            let before = slot.len();
            slot.take_due(due);
            let after = slot.len();
            self.len -= before - after;
            if after == 0 {
                self.retire(front);
            }
        }
        self.ring.trim(self.len);
        self.advance(present);
    }

    /// Moves up to `limit` of what is due at `due.now` into `due`, the earliest first.
    ///
    /// One by one from the front's heap: for callers that have room for few.
    pub(crate) fn take_some(&mut self, due: &mut Due<'_, E>, limit: usize) {
        while due.settled() < limit
            && let Some(front) = self.front
            && let Some(item) = self.slot_mut(front).pop_due(due.now)
        {
            self.len -= 1;
            due.take(item);
            if self.slot(front).is_empty() {
                self.retire(front);
            }
        }
        self.advance(due.now >> WIDTH_BITS);
    }

    /// Leaves an empty structure behind, and returns what was in it. Moves no entry.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::replace(
            self,
            Self {
                sequence: self.sequence,
                ..Self::new()
            },
        )
    }

    /// All entries, in no order.
    pub(crate) fn into_entries(self) -> Vec<E> {
        let mut entries = Vec::with_capacity(self.len);
        for slot in self
            .ring
            .into_slots()
            .into_iter()
            .chain(self.far.into_values())
        {
            entries.extend(slot.into_items().into_iter().map(|item| item.entry));
        }
        entries
    }

    /// Shows every entry to `visit`, in no order.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&E)) {
        for slot in self.ring.slots().iter().chain(self.far.values()) {
            slot.entries().for_each(&mut visit);
        }
    }

    /// Bytes allocated by this structure, payloads excluded. Walks all slots.
    pub(crate) fn allocated(&self) -> usize {
        let far: usize = self.far.values().map(Slot::capacity).sum();
        // A tree node holds up to eleven pairs and is six full at worst, besides the root.
        let tree = self.far.len() * size_of::<(u64, Slot<E>)>() * 11 / 6;
        self.ring.allocated() + far * size_of::<Item<E>>() + tree
    }

    /// A slot that has entries.
    fn slot(&self, number: u64) -> &Slot<E> {
        if self.ring.covers(number) {
            self.ring.slot(number)
        } else {
            &self.far[&number]
        }
    }

    /// A slot that has entries.
    fn slot_mut(&mut self, number: u64) -> &mut Slot<E> {
        if self.ring.covers(number) {
            self.ring.slot_mut(number)
        } else {
            self.far.get_mut(&number).expect("the slot has entries")
        }
    }

    fn take_slot(&mut self, number: u64) -> Slot<E> {
        if self.ring.covers(number) {
            self.ring.take(number)
        } else {
            self.far.remove(&number).expect("the slot has entries")
        }
    }

    fn first_filled(&self) -> Option<u64> {
        self.ring
            .first_filled()
            .or_else(|| self.far.first_key_value().map(|(&number, _)| number))
    }

    /// Notes that a slot has lost its last entry.
    fn retire(&mut self, number: u64) {
        if self.ring.covers(number) {
            self.ring.emptied(number);
        } else {
            self.far.remove(&number);
        }
        self.ring.trim(self.len);
        if self.front == Some(number) {
            self.front = self.first_filled();
            if let Some(front) = self.front {
                self.slot_mut(front).order();
            }
        }
    }

    /// Says in which slot an entry with this number belongs, with the ring moved to where it should be.
    ///
    /// The ring follows the time that [`Slots::take_due`] tells. Until it has told any the ring begins where the first entry is,
    /// and moves for others: back for one that is before it, which takes out slots that were put in one by one; forward
    /// for one that is behind it, if nothing is in it, and not before as many such entries have come as slots may have to be put
    /// in. So an insertion moves a bounded number of slots on average, whatever the order is, and finds them in as many words as the
    /// ring has.
    fn make_room(&mut self, number: u64) -> u64 {
        if self.len == 0 {
            self.floor = self.floor.min(number);
            let near = number - self.floor < NEAR;
            self.ring.set_base(if near { self.floor } else { number });
        }
        let number = number.max(self.floor);
        if number < self.ring.base() {
            self.move_back(number);
        } else if !self.ring.covers(number) {
            self.unmoved += 1;
            let in_far = |front: &u64| !self.ring.covers(*front);
            if let Some(front) = self.front.filter(in_far)
                && self.unmoved > self.far.len().min(NEAR as usize)
            {
                self.move_forward(front.min(number));
            }
        }
        number
    }

    /// Learns what time it is: nothing comes to a slot before the present one any more, or before the front.
    fn advance(&mut self, present: u64) {
        self.floor = self
            .floor
            .max(self.front.map_or(present, |front| front.min(present)));
        if self.floor > self.ring.base() {
            self.move_forward(self.floor);
        }
    }

    /// Has the ring begin at `base`, at or before the front and after its present beginning.
    fn move_forward(&mut self, base: u64) {
        self.unmoved = 0;
        self.ring.set_base(base);
        while let Some(first) = self.far.first_entry()
            && self.ring.covers(*first.key())
        {
            let (number, slot) = first.remove_entry();
            self.ring.put(number, slot);
        }
    }

    /// Has the ring begin at `base`, before its present beginning.
    #[cold]
    fn move_back(&mut self, base: u64) {
        let before = self.ring.base();
        let mut from = before.max(base + NEAR);
        while from < before + NEAR
            && let Some(number) = self.ring.next_filled(from)
        {
            self.far.insert(number, self.ring.take(number));
            from = number + 1;
        }
        self.ring.set_base(base);
    }
}
