//! A place for a value that is never dropped, read and exchanged without a lock.
#![expect(unsafe_code, reason = "what an atomic pointer points to")]

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Holds nothing, or a value that lives until the process ends: one that is replaced is leaked.
///
/// No method takes a lock: a child can inherit one that nobody will release.
#[derive(Debug)]
pub(crate) struct Leaked<T: Sync + 'static>(AtomicPtr<T>);

impl<T: Send + Sync> Leaked<T> {
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    pub(crate) fn get(&self) -> Option<&'static T> {
        // Acquire: what was written to the value before it came here is seen.
        // SAFETY: null, or from `Box::into_raw` in `replace` and never freed; given out as a shared reference only.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }

    /// Puts a value in the place of the one that was found there; does nothing if another thread was first.
    pub(crate) fn replace(&self, found: Option<&'static T>, value: Box<T>) {
        let found = found.map_or(ptr::null_mut(), |found| ptr::from_ref(found).cast_mut());
        let made = Box::into_raw(value);
        if self
            .0
            .compare_exchange(found, made, Ordering::AcqRel, Ordering::Relaxed)
            .is_err()
        {
            // SAFETY: from `Box::into_raw` above, and nobody else has seen it.
            drop(unsafe { Box::from_raw(made) });
        }
    }
}
