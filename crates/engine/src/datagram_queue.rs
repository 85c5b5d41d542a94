//! The queue of a datagram transport: what it has accepted and the kernel has not.
//!
//! Datagrams stay whole and in order. Only the loop's thread touches a queue. As with the write buffer, nothing is
//! dropped here: what leaves the queue is handed to the caller, who drops it when its own state is whole.

use std::collections::VecDeque;

/// Datagrams in the order in which they were sent, and how much memory they stand for.
#[derive(Debug)]
pub struct DatagramQueue<D> {
    waiting: VecDeque<D>,
    /// Bytes of all datagrams that wait, with `overhead` for each.
    bytes: usize,
    /// Bytes that a datagram counts for beside its own: even empty ones fill a queue.
    overhead: usize,
}

impl<D: AsRef<[u8]>> DatagramQueue<D> {
    /// Creates an empty queue, which allocates nothing.
    #[must_use]
    pub const fn new(overhead: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
            overhead,
        }
    }

    /// What a datagram of `len` bytes adds to [`bytes`](Self::bytes).
    #[inline]
    #[must_use]
    pub fn weight(&self, len: usize) -> usize {
        len + self.overhead
    }

    /// Adds a datagram behind all others.
    #[inline]
    pub fn push(&mut self, datagram: D) {
        self.bytes += self.weight(datagram.as_ref().len());
        self.waiting.push_back(datagram);
    }

    /// Puts the oldest datagram back that [`pop`](Self::pop) has taken.
    pub fn put_back(&mut self, datagram: D) {
        self.bytes += self.weight(datagram.as_ref().len());
        self.waiting.push_front(datagram);
    }

    /// Takes the oldest datagram out.
    pub fn pop(&mut self) -> Option<D> {
        let datagram = self.waiting.pop_front()?;
        self.bytes -= self.weight(datagram.as_ref().len());
        Some(datagram)
    }

    /// Moves the `count` oldest datagrams behind those of `out`; all, if there are fewer.
    #[inline]
    pub fn take_into(&mut self, count: usize, out: &mut Vec<D>) {
        let count = count.min(self.waiting.len());
        out.reserve(count);
        for datagram in self.waiting.drain(..count) {
            self.bytes -= datagram.as_ref().len() + self.overhead;
            out.push(datagram);
        }
    }

    /// The datagrams, oldest first.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = &D> {
        self.waiting.iter()
    }

    /// The oldest datagram.
    #[inline]
    #[must_use]
    pub fn front(&self) -> Option<&D> {
        self.waiting.front()
    }

    /// Number of datagrams.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Bytes of all datagrams that wait, overhead included: what flow control goes by.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn datagrams_leave_whole_and_in_order() {
        let mut queue = DatagramQueue::new(8);
        for datagram in ["one", "", "three"] {
            queue.push(datagram);
        }
        assert_eq!(queue.bytes(), 8 + 3 * 8);
        assert_eq!(queue.front(), Some(&"one"));
        let mut out = Vec::new();
        queue.take_into(2, &mut out);
        assert_eq!(out, ["one", ""]);
        assert_eq!(queue.bytes(), 13);
        assert_eq!(queue.iter().copied().collect::<Vec<_>>(), ["three"]);
    }

    #[test]
    fn what_was_put_back_is_the_oldest_again() {
        let mut queue = DatagramQueue::new(0);
        queue.push("one");
        queue.push("two");
        let one = queue.pop().expect("two wait");
        assert_eq!(queue.bytes(), 3);
        queue.put_back(one);
        assert_eq!((queue.front(), queue.bytes()), (Some(&"one"), 6));
    }

    #[test]
    fn an_emptied_queue_weighs_nothing() {
        let mut queue = DatagramQueue::new(8);
        assert!(queue.pop().is_none());
        for _ in 0..100 {
            queue.push("");
        }
        let mut out = Vec::new();
        queue.take_into(1_000, &mut out);
        assert_eq!((out.len(), queue.len(), queue.bytes()), (100, 0, 0));
        assert!(queue.is_empty());
    }
}
