//! The slots of one shard in order of time. Single-threaded: [`Shard`](crate::Shard) puts it behind a lock.
//!
//! A tree maps slot numbers (deadline divided by the slot width) to places in a slab. The slab exists for
//! the shortcuts: the slot used last and the front slot are found by index, without a walk down the tree.

use std::collections::BTreeMap;

use crate::node::{Deadline, Entry, NEVER};
use crate::slot::{Due, Item, Slot};

/// The slot width as a power of two of nanoseconds: 4.3 s.
///
/// Inside the front slot the heap keeps the order, so that a wide slot costs little there and saves tree nodes
/// and buffers everywhere else. Insert, cancel and remove with 10^4 / 10^6 others pending, random deadlines in an hour,
/// best of 9 rounds on a shared 2.5 GHz machine, before empty slots were kept: 67 ms slots 322 / 490 ns,
/// 268 ms 298 / 377, 1.1 s 238 / 265, 4.3 s 192 / 200, 17 s 129 / 172; but cancelling the first of 10^6 rises from
/// 107 ns at 67 ms to 221 at 4.3 s and 300 at 17 s. Bytes per entry with 10^4 in an hour: 123, 83, 51, 31, 28.
/// With empty slots kept, and the machine quieter: 108 / 115 ns at 4.3 s.
const WIDTH_BITS: u32 = 32;
/// So many empty slots are left in the tree for reuse, beside as many as there are slots with entries.
const KEPT_SLOTS: usize = 64;

/// A slot by its number in the tree and its index in the slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    number: u64,
    index: u32,
}

/// Entries by deadline.
///
/// A slot that runs empty stays in the tree, because arming and cancelling time-outs tends to come back to it:
/// building and tearing it down each time took two thirds of the cost of such a pair. Empty slots are
/// deleted all at once when they outnumber the others, or one by one when they are in the way at the front.
///
/// Invariants between calls: `front` is the first slot with entries, and is ordered; no empty slot
/// is before it except `idle`; `last` and `idle` are in the tree.
#[derive(Debug)]
pub(crate) struct Slots<E> {
    /// Slot number to index in `slab`.
    tree: BTreeMap<u64, u32>,
    slab: Vec<Slot<E>>,
    /// Unused indices of `slab`.
    free: Vec<u32>,
    /// The first slot that has entries.
    front: Option<Place>,
    /// The slot found last: bursts of equal or neighbouring deadlines need no walk.
    last: Option<Place>,
    /// The slot that ran empty last: not deleted when in the way, or a timer that is armed and cancelled before
    /// all others would have its slot built and torn down each time.
    idle: Option<Place>,
    /// Empty slots in the tree.
    empty: usize,
    /// Entries in all slots.
    len: usize,
    /// Number of the next insertion.
    sequence: u64,
}

impl<E: Entry> Slots<E> {
    pub(crate) const fn new() -> Self {
        Self {
            tree: BTreeMap::new(),
            slab: Vec::new(),
            free: Vec::new(),
            front: None,
            last: None,
            idle: None,
            empty: 0,
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
            .and_then(|place| self.slot(place).first())
            .map_or(NEVER, |item| item.deadline)
    }

    pub(crate) fn insert(&mut self, entry: E) {
        let deadline = entry.deadline();
        let number = deadline >> WIDTH_BITS;
        let place = self.find_or_create(number);
        self.last = Some(place);
        if self.slot(place).is_empty() {
            self.empty -= 1;
        }
        let sequence = self.sequence;
        self.sequence += 1;
        self.slot_mut(place).push(Item {
            deadline,
            sequence,
            entry,
        });
        self.len += 1;
        if self.front.is_none_or(|front| number < front.number) {
            self.slot_mut(place).order();
            self.front = Some(place);
        }
    }

    pub(crate) fn remove(&mut self, entry: &E) -> Option<E> {
        let place = self.find(entry.deadline() >> WIDTH_BITS)?;
        self.last = Some(place);
        let item = self.slot_mut(place).remove(entry)?;
        self.len -= 1;
        if self.slot(place).is_empty() {
            self.retire(place);
        }
        Some(item.entry)
    }

    /// Moves everything due at `due.now` into `due`.
    pub(crate) fn take_due(&mut self, due: &mut Due<'_, E>) {
        let present = due.now >> WIDTH_BITS;
        while let Some(front) = self.front.filter(|front| front.number < present) {
            let items = self.delete(front).into_items();
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
            self.slot_mut(front).order();
            if front.number == present {
                self.take_due_from(front, due);
            }
        }
        self.compact();
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
        self.compact();
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
        for slot in self.slab {
            entries.extend(slot.into_items().into_iter().map(|item| item.entry));
        }
        entries
    }

    /// Shows every entry to `visit`, in no order.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&E)) {
        for slot in &self.slab {
            slot.entries().for_each(&mut visit);
        }
    }

    /// Bytes allocated by this structure, payloads excluded. Walks all slots.
    pub(crate) fn allocated(&self) -> usize {
        let items: usize = self.slab.iter().map(Slot::capacity).sum();
        // A tree node holds up to eleven pairs and is six full at worst, besides the root.
        let tree = self.tree.len() * size_of::<(u64, u32)>() * 11 / 6;
        items * size_of::<Item<E>>()
            + self.slab.capacity() * size_of::<Slot<E>>()
            + self.free.capacity() * size_of::<u32>()
            + tree
    }

    fn take_due_from(&mut self, place: Place, due: &mut Due<'_, E>) {
        let before = self.slot(place).len();
        self.slot_mut(place).take_due(due);
        self.len -= before - self.slot(place).len();
        if self.slot(place).is_empty() {
            self.retire(place);
        }
    }

    fn slot(&self, place: Place) -> &Slot<E> {
        &self.slab[place.index as usize]
    }

    fn slot_mut(&mut self, place: Place) -> &mut Slot<E> {
        &mut self.slab[place.index as usize]
    }

    /// Finds a slot without the tree, if it is the one used last or the front.
    fn recent(&self, number: u64) -> Option<Place> {
        [self.last, self.front]
            .into_iter()
            .flatten()
            .find(|place| place.number == number)
    }

    fn find(&self, number: u64) -> Option<Place> {
        self.recent(number)
            .or_else(|| self.tree.get(&number).map(|&index| Place { number, index }))
    }

    fn find_or_create(&mut self, number: u64) -> Place {
        if let Some(place) = self.recent(number) {
            return place;
        }
        let index = *self.tree.entry(number).or_insert_with(|| {
            self.empty += 1;
            self.free.pop().unwrap_or_else(|| {
                self.slab.push(Slot::new());
                // A slab of 2^32 slots would take more than 100 GB.
                (self.slab.len() - 1) as u32
            })
        });
        Place { number, index }
    }

    fn delete(&mut self, place: Place) -> Slot<E> {
        self.tree.remove(&place.number);
        if self.last == Some(place) {
            self.last = None;
        }
        if self.idle == Some(place) {
            self.idle = None;
        }
        self.free.push(place.index);
        std::mem::replace(self.slot_mut(place), Slot::new())
    }

    /// Notes that `place` has run empty.
    fn retire(&mut self, place: Place) {
        self.empty += 1;
        self.idle = Some(place);
        if self.front == Some(place) {
            self.front = self.first_filled();
            if let Some(front) = self.front {
                self.slot_mut(front).order();
            }
        }
        if self.empty > KEPT_SLOTS + self.tree.len() / 2 {
            self.purge();
        }
    }

    /// Finds the first slot with entries, and deletes the empty ones before it, save `idle`.
    fn first_filled(&mut self) -> Option<Place> {
        loop {
            let place = self
                .tree
                .iter()
                .map(|(&number, &index)| Place { number, index })
                .find(|&place| self.idle != Some(place) || !self.slot(place).is_empty())?;
            if !self.slot(place).is_empty() {
                return Some(place);
            }
            self.delete(place);
            self.empty -= 1;
        }
    }

    /// Deletes all empty slots: as many steps as slots ran empty since the last time, within a factor of two.
    fn purge(&mut self) {
        let (slab, free) = (&mut self.slab, &mut self.free);
        self.tree.retain(|_, &mut index| {
            let slot = &mut slab[index as usize];
            if slot.is_empty() {
                *slot = Slot::new();
                free.push(index);
            }
            !slot.is_empty()
        });
        self.empty = 0;
        self.idle = None;
        self.last = None;
        self.compact();
    }

    /// Rebuilds the slab once three quarters of it are unused; amortised over the deletions.
    fn compact(&mut self) {
        if self.slab.len() <= KEPT_SLOTS || self.tree.len() >= self.slab.len() / 4 {
            return;
        }
        let mut slab = Vec::with_capacity(self.tree.len() * 2);
        for index in self.tree.values_mut() {
            slab.push(std::mem::replace(
                &mut self.slab[*index as usize],
                Slot::new(),
            ));
            *index = (slab.len() - 1) as u32;
        }
        self.slab = slab;
        self.free = Vec::new();
        let tree = &self.tree;
        let moved = |place: Place| Place {
            index: tree[&place.number],
            ..place
        };
        self.front = self.front.map(moved);
        self.last = self.last.map(moved);
        self.idle = self.idle.map(moved);
    }
}
