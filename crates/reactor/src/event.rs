//! What a wait reports, and the buffer that it reports into.

use crate::{sys, token::Token};

/// Readiness of one registration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    pub(crate) token: Token,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) error: bool,
    pub(crate) hangup: bool,
}

impl Event {
    /// The token given at registration.
    #[must_use]
    pub const fn token(&self) -> Token {
        self.token
    }

    /// Whether a read should be tried.
    ///
    /// An error or a hang-up counts as readiness of both directions, as in asyncio's selectors: whoever
    /// waits for either must try and see the error. It can therefore be true without such an interest;
    /// a caller with separate callbacks per direction masks it with what it registered.
    #[must_use]
    pub const fn readable(&self) -> bool {
        self.readable
    }

    /// Whether a write should be tried; see [`Event::readable`] for errors and hang-ups.
    #[must_use]
    pub const fn writable(&self) -> bool {
        self.writable
    }

    /// Whether the descriptor has an error pending.
    #[must_use]
    pub const fn error(&self) -> bool {
        self.error
    }

    /// Whether the other side is gone in both directions (on kqueue: in the direction reported).
    #[must_use]
    pub const fn hangup(&self) -> bool {
        self.hangup
    }
}

/// A reusable buffer of events; its capacity bounds how many one poll reports.
///
/// A small buffer starves nobody: what did not fit is reported by the following polls, in turn.
pub struct Events {
    pub(crate) buffer: sys::EventBuffer,
}

impl Events {
    /// Creates a buffer for at most `capacity` events per poll; zero is taken as one.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            buffer: sys::EventBuffer::with_capacity(capacity.max(1)),
        }
    }

    /// The number of events that one poll can report.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// The number of events that the last poll reported.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether the last poll reported nothing.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the event at `index`, in the order reported.
    #[must_use]
    #[inline]
    pub fn get(&self, index: usize) -> Option<Event> {
        self.buffer.get(index)
    }

    /// Iterates over the events of the last poll.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter {
            events: self,
            next: 0,
        }
    }

    /// Forgets the events of the last poll.
    pub fn clear(&mut self) {
        self.buffer.clear();
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> IntoIterator for &'a Events {
    type Item = Event;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Iterates over an [`Events`] buffer.
#[derive(Debug)]
pub struct Iter<'a> {
    events: &'a Events,
    next: usize,
}

impl Iterator for Iter<'_> {
    type Item = Event;

    #[inline]
    fn next(&mut self) -> Option<Event> {
        let event = self.events.get(self.next)?;
        self.next += 1;
        Some(event)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.events.len() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Iter<'_> {}
