//! The write buffer: what a transport has accepted and the kernel has not.
//!
//! Chunks stay as they were handed in; nothing is copied together. Only the loop's thread touches a buffer.
//! It never drops a chunk: releasing a Python buffer may run foreign code, which may write to the very same
//! transport. Chunks that are done move to a vector of the caller's, who drops them when its state is whole.

use std::collections::VecDeque;
use std::io::IoSlice;

/// Most slices worth handing to one `sendmsg` or `writev`.
///
/// The kernel takes up to 1024 (`IOV_MAX`). At 64 the array is 1 KiB of stack, and a system call is shared by
/// so many chunks that sharing it by more hardly shows.
pub const MAX_SLICES: usize = 64;

/// Chunks of bytes in the order in which they were written, the first perhaps sent in part.
///
/// The slice that a chunk's `as_ref` returns must not change its length while the buffer holds the chunk (a
/// Python buffer export guarantees that).
///
/// Memory: the first chunk is stored in place, so a transport whose writes leave one at a time never
/// allocates; what more chunks need is freed as soon as the buffer runs empty. An idle connection holds no
/// allocation.
#[derive(Debug)]
pub struct WriteBuffer<B> {
    /// The chunk to send next; `None` only if there are none at all.
    first: Option<B>,
    /// The chunks after it.
    rest: VecDeque<B>,
    /// Bytes of `first` that were sent. Less than its length, except that an empty chunk has zero.
    sent_of_first: usize,
    /// Bytes still to be sent.
    bytes: usize,
}

impl<B: AsRef<[u8]>> WriteBuffer<B> {
    /// Creates an empty buffer, which allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            first: None,
            rest: VecDeque::new(),
            sent_of_first: 0,
            bytes: 0,
        }
    }

    /// Adds `chunk` behind all others. An empty chunk is held too, until an [`advance`](Self::advance) passes it.
    #[inline]
    pub fn push(&mut self, chunk: B) {
        self.bytes += chunk.as_ref().len();
        if self.first.is_none() {
            self.first = Some(chunk);
        } else {
            self.rest.push_back(chunk);
        }
    }

    /// Number of bytes still to be sent.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether the buffer holds no chunk. (Of empty chunks only, it holds some and has a `len` of zero.)
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Number of chunks that are held.
    #[inline]
    #[must_use]
    pub fn chunks(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    /// What is unsent of the first chunk: all there is to send when [`chunks`](Self::chunks) is one.
    #[inline]
    #[must_use]
    pub fn front(&self) -> Option<&[u8]> {
        self.first
            .as_ref()
            .map(|chunk| &chunk.as_ref()[self.sent_of_first..])
    }

    /// Describes the oldest unsent bytes in `out` and returns how many slices it filled.
    ///
    /// Empty chunks take no slice. Fewer slices than `out` has room for cover everything that is unsent. The
    /// array is the caller's, on its stack: `[IoSlice::new(&[]); MAX_SLICES]`.
    #[inline]
    pub fn fill_slices<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let unsent = self
            .front()
            .into_iter()
            .chain(self.rest.iter().map(AsRef::as_ref));
        let mut filled = 0;
        for (slot, slice) in out.iter_mut().zip(unsent.filter(|slice| !slice.is_empty())) {
            *slot = IoSlice::new(slice);
            filled += 1;
        }
        filled
    }

    /// Notes that the kernel took the `sent` oldest bytes; chunks that are done move behind those of `finished`.
    ///
    /// # Panics
    /// If `sent` is more than [`len`](Self::len): bytes that were never handed over cannot have been sent.
    #[inline]
    pub fn advance(&mut self, sent: usize, finished: &mut Vec<B>) {
        assert!(
            sent <= self.bytes,
            "{sent} bytes sent of {} in the buffer",
            self.bytes
        );
        self.bytes -= sent;
        let mut sent = self.sent_of_first + sent;
        while let Some(first) = &self.first {
            let len = first.as_ref().len();
            if sent < len {
                break;
            }
            sent -= len;
            finished.extend(std::mem::replace(&mut self.first, self.rest.pop_front()));
        }
        self.sent_of_first = sent;
        self.free_if_empty();
    }

    /// Moves every chunk behind those of `out`, sent in part or not, and leaves the buffer as new.
    pub fn clear_into(&mut self, out: &mut Vec<B>) {
        out.extend(self.first.take());
        out.extend(self.rest.drain(..));
        self.bytes = 0;
        self.sent_of_first = 0;
        self.free_if_empty();
    }

    #[inline]
    fn free_if_empty(&mut self) {
        if self.first.is_none() && self.rest.capacity() > 0 {
            self.rest = VecDeque::new();
        }
    }
}

impl<B: AsRef<[u8]>> Default for WriteBuffer<B> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn buffer_of(chunks: &[&'static str]) -> WriteBuffer<&'static str> {
        let mut buffer = WriteBuffer::new();
        for chunk in chunks {
            buffer.push(*chunk);
        }
        buffer
    }

    #[test]
    fn partly_sent_chunk_continues_where_it_stopped() {
        let mut buffer = buffer_of(&["hello", "world"]);
        let mut finished = Vec::new();
        buffer.advance(3, &mut finished);
        assert!(finished.is_empty());
        assert_eq!(buffer.front(), Some(&b"lo"[..]));
        buffer.advance(3, &mut finished);
        assert_eq!(finished, ["hello"]);
        assert_eq!(buffer.front(), Some(&b"orld"[..]));
        assert_eq!(buffer.len(), 4);
    }

    #[test]
    fn idle_buffer_holds_no_allocation() {
        let mut buffer = buffer_of(&["one"]);
        let mut finished = Vec::new();
        assert_eq!(buffer.rest.capacity(), 0, "a single chunk needs none");
        for _ in 0..1_000 {
            buffer.push("more");
        }
        assert!(buffer.rest.capacity() >= 1_000);
        buffer.advance(buffer.len(), &mut finished);
        assert_eq!(buffer.rest.capacity(), 0);
        assert_eq!(finished.len(), 1_001);
    }

    #[test]
    fn empty_chunks_take_no_slice_and_leave_with_the_bytes_before_them() {
        let mut buffer = buffer_of(&["", "ab", "", "c"]);
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        assert_eq!(buffer.fill_slices(&mut slices), 2);
        let mut finished = Vec::new();
        buffer.advance(2, &mut finished);
        assert_eq!(finished, ["", "ab", ""]);
        assert_eq!(buffer.chunks(), 1);
    }

    #[test]
    fn buffer_of_empty_chunks_is_emptied_by_sending_nothing() {
        let mut buffer = buffer_of(&["", ""]);
        assert!(!buffer.is_empty());
        let mut finished = Vec::new();
        buffer.advance(0, &mut finished);
        assert!(buffer.is_empty());
        assert_eq!(finished.len(), 2);
    }

    #[test]
    fn slices_stop_at_the_room_that_is_given() {
        let buffer = buffer_of(&["x"; MAX_SLICES + 10]);
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        assert_eq!(buffer.fill_slices(&mut slices), MAX_SLICES);
        assert_eq!(buffer.fill_slices(&mut slices[..3]), 3);
    }

    #[test]
    #[should_panic(expected = "4 bytes sent of 3 in the buffer")]
    fn sending_more_than_there_is_panics() {
        buffer_of(&["abc"]).advance(4, &mut Vec::new());
    }
}
