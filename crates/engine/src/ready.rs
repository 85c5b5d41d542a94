//! The ready queue: callbacks of the loop's own thread, first in, first out, without a lock.
//!
//! Only the thread that runs the loop touches it. Other threads go through [`crate::inbox`].

use std::collections::VecDeque;

/// Room, in entries, that a queue keeps whatever it held before.
///
/// 65536 entries of two words are 1 MiB. A backlog beyond that grows anew each time: measured with one of
/// 50 000 entries, built and run again and again, a queue that kept 4096 took 10.9 to 13.2 ns per entry, one
/// that kept 65536 took 8.8 to 10.1 ns (Rust 1.95, shared 2-core virtual machine). Beyond a million entries
/// growing costs up to 10 ns each, a tenth of a callback, and saves tens of megabytes ever after.
pub const KEPT_ENTRIES: usize = 65_536;

/// Room, in entries, that a vector keeps which carries entries from one queue to another.
///
/// Such vectors are refilled every iteration, are seldom long, and two take turns per loop.
pub(crate) const KEPT_BY_CARRIER: usize = 4096;

/// A queue with more room than [`KEPT_ENTRIES`] gives it back once it holds no more entries than this.
///
/// Not zero: a loop whose last few callbacks re-schedule themselves never runs empty. Few, because the
/// entries still queued move to the smaller allocation.
pub const SHRINK_AT: usize = KEPT_ENTRIES / 8;

/// Callbacks of the loop's own thread in the order in which they were scheduled.
///
/// Memory: the room of a backlog beyond [`KEPT_ENTRIES`] is given back when a [`pop`](Self::pop) leaves
/// at most [`SHRINK_AT`] entries. A queue that never outgrew [`KEPT_ENTRIES`] pays one comparison.
#[derive(Debug)]
pub struct ReadyQueue<T> {
    entries: VecDeque<T>,
}

impl<T> ReadyQueue<T> {
    /// Creates an empty queue, which allocates nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entries: VecDeque::new(),
        }
    }

    /// Adds `entry` behind all others.
    #[inline]
    pub fn push(&mut self, entry: T) {
        self.entries.push_back(entry);
    }

    /// Removes the entry that has waited longest.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        let entry = self.entries.pop_front();
        if self.entries.capacity() > KEPT_ENTRIES {
            self.give_back();
        }
        entry
    }

    /// Number of entries that wait.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no entry waits.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries that wait, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter()
    }

    /// Room in entries that the queue holds now, for diagnostics.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.entries.capacity()
    }

    /// Moves all of `from` behind the entries of the queue and leaves `from` empty.
    ///
    /// `from` keeps its room for the next use, up to 4096 entries.
    #[inline]
    pub fn append_from(&mut self, from: &mut Vec<T>) {
        self.entries.extend(from.drain(..));
        from.shrink_to(KEPT_BY_CARRIER);
    }

    /// Moves every entry out and leaves the queue as new.
    ///
    /// For closing a loop: the caller drops the entries, which may run foreign code, when the loop is in a
    /// state that such code may see.
    #[must_use]
    pub fn take_all(&mut self) -> VecDeque<T> {
        std::mem::take(&mut self.entries)
    }

    /// Applies the memory rule to a queue that has outgrown [`KEPT_ENTRIES`].
    ///
    /// Not inlined: the path of a small queue stays a comparison that is never taken.
    #[cold]
    fn give_back(&mut self) {
        if self.entries.len() <= SHRINK_AT {
            self.entries.shrink_to(KEPT_ENTRIES);
        }
    }
}

impl<T> Default for ReadyQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The entries that one iteration runs: those queued when it was taken, and no other.
///
/// It counts; it does not copy. What a callback schedules goes behind the batch and runs in the next.
/// Stopping the loop does not end a batch: the caller runs it to its end, then looks at the stop flag.
#[derive(Debug)]
#[must_use = "a batch runs nothing by itself"]
pub struct Batch {
    /// Entries of the batch that are still queued.
    left: usize,
}

impl Batch {
    /// Takes note of what `queue` holds now.
    #[inline]
    pub fn of<T>(queue: &ReadyQueue<T>) -> Self {
        Self { left: queue.len() }
    }

    /// Removes the next entry of the batch from the queue that the batch was taken of.
    ///
    /// `None` at the end of the batch, and earlier if somebody emptied the queue (a callback that closes
    /// the loop).
    #[inline]
    pub fn next<T>(&mut self, queue: &mut ReadyQueue<T>) -> Option<T> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        queue.pop()
    }

    /// Number of entries that the batch has still to run.
    #[inline]
    #[must_use]
    pub fn left(&self) -> usize {
        self.left
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn new_queue_allocates_nothing() {
        assert_eq!(ReadyQueue::<u64>::new().capacity(), 0);
    }

    #[test]
    fn backlog_memory_is_given_back_when_it_has_run_down() {
        let mut queue = ReadyQueue::new();
        for entry in 0..100_000 {
            queue.push(entry);
        }
        for entry in 0..100_000 - SHRINK_AT {
            assert!(queue.capacity() >= 100_000, "still needed at {entry}");
            assert_eq!(queue.pop(), Some(entry));
        }
        assert!(queue.capacity() <= KEPT_ENTRIES);
        for entry in 100_000 - SHRINK_AT..100_000 {
            assert_eq!(queue.pop(), Some(entry));
        }
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn queue_that_never_runs_empty_gives_its_backlog_memory_back() {
        let mut queue = ReadyQueue::new();
        for entry in 0..100_000 {
            queue.push(entry);
        }
        for _ in 0..100_000 {
            let entry = queue
                .pop()
                .expect("two entries always re-schedule themselves");
            if entry < 2 {
                queue.push(entry);
            }
        }
        assert_eq!(queue.len(), 2);
        assert!(queue.capacity() <= KEPT_ENTRIES);
    }

    #[test]
    fn small_queue_keeps_its_room() {
        let mut queue = ReadyQueue::new();
        for entry in 0..1000 {
            queue.push(entry);
        }
        let room = queue.capacity();
        while queue.pop().is_some() {}
        assert_eq!(queue.capacity(), room);
    }

    #[test]
    fn append_from_releases_an_oversized_carrier() {
        let mut queue = ReadyQueue::new();
        let mut carrier: Vec<u32> = (0..50_000).collect();
        queue.append_from(&mut carrier);
        assert!(carrier.is_empty());
        assert!(carrier.capacity() <= KEPT_BY_CARRIER);
        assert_eq!(queue.len(), 50_000);

        let mut carrier = Vec::with_capacity(100);
        carrier.push(7);
        queue.append_from(&mut carrier);
        assert_eq!(carrier.capacity(), 100);
    }

    #[test]
    fn batch_excludes_what_it_schedules() {
        let mut queue = ReadyQueue::new();
        queue.push(1);
        queue.push(2);
        let mut batch = Batch::of(&queue);
        let mut ran = Vec::new();
        while let Some(entry) = batch.next(&mut queue) {
            ran.push(entry);
            queue.push(entry + 10);
        }
        assert_eq!(ran, [1, 2]);
        assert_eq!(queue.take_all(), [11, 12]);
        assert_eq!(queue.capacity(), 0);
    }

    #[test]
    fn batch_ends_when_the_queue_is_emptied_under_it() {
        let mut queue = ReadyQueue::new();
        queue.push(1);
        queue.push(2);
        let mut batch = Batch::of(&queue);
        assert_eq!(batch.next(&mut queue), Some(1));
        drop(queue.take_all());
        assert_eq!(batch.left(), 1);
        assert_eq!(batch.next(&mut queue), None);
    }
}
