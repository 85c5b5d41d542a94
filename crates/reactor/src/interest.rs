//! The directions in which a registration wants to hear of readiness.

use std::ops::{BitOr, BitOrAssign};

/// A set of directions: reading, writing, both, or none.
///
/// Errors and hang-ups are reported whatever the interest. With [`Interest::NONE`] they are all that
/// epoll reports; kqueue, which has no registration without a filter, then reports nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Interest(u8);

impl Interest {
    /// Neither direction.
    pub const NONE: Self = Self(0);
    /// Reading will not block: data, an end of file, or a connection to accept.
    pub const READABLE: Self = Self(1);
    /// Writing will not block, or a pending connect has been decided.
    pub const WRITABLE: Self = Self(2);

    /// Tells whether the set holds neither direction.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Tells whether the set holds reading.
    #[must_use]
    pub const fn is_readable(self) -> bool {
        self.0 & Self::READABLE.0 != 0
    }

    /// Tells whether the set holds writing.
    #[must_use]
    pub const fn is_writable(self) -> bool {
        self.0 & Self::WRITABLE.0 != 0
    }

    /// Returns the directions that are in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns the directions of this set that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for Interest {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl BitOrAssign for Interest {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.union(other);
    }
}
