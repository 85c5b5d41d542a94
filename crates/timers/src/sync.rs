//! The one place from which this crate takes locks and atomics, so that loom can replace them.
//!
//! Build with `RUSTFLAGS="--cfg loom"` to have every schedule of the loom tests explored.

#[cfg(not(loom))]
pub(crate) use parking_lot::Mutex;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

#[cfg(loom)]
pub(crate) use self::explored::Mutex;
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

#[cfg(loom)]
mod explored {
    use loom::sync::{Mutex as LoomMutex, MutexGuard};

    /// Loom's mutex with the signature of `parking_lot`: nothing to unwrap at the places that lock.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(LoomMutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(LoomMutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0
                .lock()
                .expect("no thread of a loom model panics and goes on")
        }
    }
}
