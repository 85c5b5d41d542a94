//! What an application has written to an encrypted connection and what is not encrypted yet.
//!
//! A record costs a header, an authentication tag and a pass through the cipher's set-up, so small writes are
//! joined into full records. Large ones are handed out as they are. Only the loop's thread touches a backlog. It
//! never drops a chunk: chunks that are done move to a vector of the caller's, as with
//! [`WriteBuffer`](crate::WriteBuffer).

use std::collections::VecDeque;

/// Most bytes that one TLS record carries (RFC 8446, 5.1). Writes are joined up to here.
pub const RECORD_SIZE: usize = 16 * 1024;

/// What is to be encrypted next.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<B> {
    /// One chunk, from the offset on.
    Whole {
        /// The chunk.
        chunk: B,
        /// How much of it was encrypted before.
        offset: usize,
    },
    /// Several small chunks were copied together into the caller's vector.
    Joined,
}

/// Chunks of plaintext in the order in which they were written.
#[derive(Debug)]
pub struct Backlog<B> {
    chunks: VecDeque<B>,
    /// Bytes of the first chunk that are encrypted already; less than its length.
    offset: usize,
    /// Bytes that are not encrypted.
    bytes: usize,
    /// What was put back, and how much of it is encrypted already; before all chunks.
    refused: Option<(B, usize)>,
}

impl<B: AsRef<[u8]>> Backlog<B> {
    /// Creates an empty backlog, which allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            chunks: VecDeque::new(),
            offset: 0,
            bytes: 0,
            refused: None,
        }
    }

    /// Adds `chunk`, which must not be empty, behind all others.
    #[inline]
    pub fn push(&mut self, chunk: B) {
        debug_assert!(!chunk.as_ref().is_empty(), "empty writes are not recorded");
        self.bytes += chunk.as_ref().len();
        self.chunks.push_back(chunk);
    }

    /// Puts back the rest, from `offset` on, of what [`take`](Self::take) gave last: it comes first again, by itself.
    ///
    /// (A library that could not encrypt a piece wants to be offered the same one again.)
    pub fn put_back(&mut self, chunk: B, offset: usize) {
        debug_assert!(self.refused.is_none(), "one piece is taken at a time");
        self.bytes += chunk.as_ref().len() - offset;
        self.refused = Some((chunk, offset));
    }

    /// Number of bytes that are not encrypted.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether everything is encrypted.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Takes out what belongs into the next record, or a chunk that fills one by itself.
    ///
    /// Joined bytes replace the content of `joined`; chunks that are done move behind those of `finished`.
    pub fn take(&mut self, joined: &mut Vec<u8>, finished: &mut Vec<B>) -> Option<Piece<B>> {
        if let Some((chunk, offset)) = self.refused.take() {
            self.bytes -= chunk.as_ref().len() - offset;
            return Some(Piece::Whole { chunk, offset });
        }
        let first = self.chunks.front()?;
        let unsent = first.as_ref().len() - self.offset;
        if unsent >= RECORD_SIZE || self.chunks.len() == 1 {
            let offset = std::mem::take(&mut self.offset);
            self.bytes -= unsent;
            return self
                .chunks
                .pop_front()
                .map(|chunk| Piece::Whole { chunk, offset });
        }
        joined.clear();
        while let Some(chunk) = self.chunks.front() {
            let unsent = &chunk.as_ref()[self.offset..];
            let room = RECORD_SIZE - joined.len();
            if unsent.len() > room {
                // The rest of it begins the next record.
                joined.extend_from_slice(&unsent[..room]);
                self.offset += room;
                break;
            }
            joined.extend_from_slice(unsent);
            self.offset = 0;
            finished.extend(self.chunks.pop_front());
        }
        self.bytes -= joined.len();
        Some(Piece::Joined)
    }

    /// Moves every chunk behind those of `dropped`.
    pub fn clear_into(&mut self, dropped: &mut Vec<B>) {
        dropped.extend(self.refused.take().map(|(chunk, _)| chunk));
        dropped.extend(self.chunks.drain(..));
        self.offset = 0;
        self.bytes = 0;
    }
}

impl<B: AsRef<[u8]>> Default for Backlog<B> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Takes everything out; the bytes of each piece.
    fn drained(backlog: &mut Backlog<Vec<u8>>) -> Vec<Vec<u8>> {
        let (mut pieces, mut joined, mut finished) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(piece) = backlog.take(&mut joined, &mut finished) {
            pieces.push(match piece {
                Piece::Whole { chunk, offset } => chunk[offset..].to_vec(),
                Piece::Joined => joined.clone(),
            });
        }
        pieces
    }

    #[test]
    fn one_chunk_is_handed_out_as_it_is() {
        let mut backlog = Backlog::new();
        backlog.push(b"abc".to_vec());
        let piece = backlog.take(&mut Vec::new(), &mut Vec::new());
        assert_eq!(
            piece,
            Some(Piece::Whole {
                chunk: b"abc".to_vec(),
                offset: 0
            })
        );
        assert!(backlog.is_empty());
    }

    #[test]
    fn small_chunks_share_a_record() {
        let mut backlog = Backlog::new();
        for _ in 0..3 {
            backlog.push(b"abc".to_vec());
        }
        assert_eq!(drained(&mut backlog), [b"abcabcabc".to_vec()]);
    }

    #[test]
    fn a_piece_that_was_put_back_comes_first_again() {
        let mut backlog = Backlog::new();
        backlog.push(b"first".to_vec());
        let Some(Piece::Whole { chunk, .. }) = backlog.take(&mut Vec::new(), &mut Vec::new())
        else {
            panic!("a single chunk comes whole");
        };
        backlog.push(b"second".to_vec());
        backlog.put_back(chunk, 2);
        assert_eq!(backlog.len(), 9);
        assert_eq!(drained(&mut backlog), [b"rst".to_vec(), b"second".to_vec()]);
    }

    #[test]
    fn pieces_keep_all_bytes_in_order_and_fill_records() {
        // Lengths that meet the border of a record from below, exactly and from above.
        let mut state = 7_usize;
        for round in 0..200 {
            let mut backlog = Backlog::new();
            let mut expected = Vec::new();
            for _ in 0..(round % 9) {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let length = 1 + (state >> 33) % (RECORD_SIZE + RECORD_SIZE / 4);
                let chunk: Vec<u8> = (0..length).map(|index| (index ^ state) as u8).collect();
                expected.extend_from_slice(&chunk);
                backlog.push(chunk);
            }
            assert_eq!(backlog.len(), expected.len());
            let pieces = drained(&mut backlog);
            assert_eq!(pieces.concat(), expected);
            assert_eq!(backlog.len(), 0);
            let small = pieces
                .iter()
                .rev()
                .skip(1)
                .filter(|piece| piece.len() < RECORD_SIZE);
            assert!(
                small.count() <= expected.len() / RECORD_SIZE,
                "records are filled"
            );
        }
    }

    #[test]
    fn clearing_gives_everything_back() {
        let mut backlog = Backlog::new();
        backlog.push(b"a".to_vec());
        backlog.push(b"b".to_vec());
        let mut dropped = Vec::new();
        backlog.clear_into(&mut dropped);
        assert_eq!(dropped.len(), 2);
        assert!(backlog.is_empty());
        assert!(backlog.take(&mut Vec::new(), &mut dropped).is_none());
    }
}
