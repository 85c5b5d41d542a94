//! Ending a wait from another thread or from a signal handler.

use std::{io, sync::Arc};

use crate::sys;

/// Ends the poll of one reactor, the current one or else the next.
///
/// Clones wake the same reactor. A waker owns its share of the descriptor that it writes, so it may
/// outlive the reactor: waking is then without effect, and never reaches an unrelated descriptor that
/// was given the same number.
#[derive(Clone, Debug)]
pub struct Waker {
    source: Arc<sys::WakeSource>,
}

impl Waker {
    pub(crate) fn new(source: Arc<sys::WakeSource>) -> Self {
        Self { source }
    }

    /// Makes the current or the next poll return. Any number of calls before it cause one return.
    ///
    /// Callable from every thread and from a signal handler: it neither allocates nor locks. On Linux
    /// it leaves `errno` alone too; elsewhere a handler saves and restores it.
    /// What this thread wrote before the call is visible to the polling thread once its poll returns
    /// only if both go through an atomic or a lock: a wake-up carries no data.
    ///
    /// # Errors
    /// Those of `write(2)`. That a wake-up is already pending is none of them.
    #[inline]
    pub fn wake(&self) -> io::Result<()> {
        self.source.wake()
    }
}
