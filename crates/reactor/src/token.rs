//! The number by which a registration is recognised in an event.

/// Names a registration; the reactor hands it back with every event and gives it no meaning.
///
/// The two greatest values, `u64::MAX` and `u64::MAX - 1`, belong to the reactor's own descriptors.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(pub u64);

impl Token {
    /// The waker's registration.
    pub(crate) const WAKER: Self = Self(u64::MAX);
    /// The precise timer's registration.
    pub(crate) const TIMER: Self = Self(u64::MAX - 1);

    /// Tells whether the token belongs to the reactor itself.
    #[must_use]
    pub const fn is_reserved(self) -> bool {
        self.0 >= Self::TIMER.0
    }
}
