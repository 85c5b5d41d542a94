//! [`LoopCell`]: state of one loop, touched by one thread at a time without a lock.
//!
//! Who may touch it is proven by a [`Access`]:
//!
//! * With a GIL, being attached to the interpreter is exclusive, so [`Owner::access`] always succeeds and costs nothing.
//! * On a free-threaded build the loop has an owner: the thread that runs it, for the length of the run; otherwise
//!   whoever gets hold of it first, for the length of one access. Everybody else is told no, and raises or queues.
//!
//! In both cases the closure given to [`LoopCell::with`] must not run Python code, nor drop a Python reference: either
//! could come back here for a second mutable borrow. Debug builds check that at run time.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::prelude::*;

/// The identity of the calling thread: the address of one of its thread-local variables, even and never zero.
pub(crate) fn thread_identity() -> usize {
    thread_local! { static MARK: u64 = const { 0 }; }
    MARK.with(|mark| std::ptr::from_ref(mark) as usize)
}

/// Set in [`Owner::thread`] while a thread has the loop for one access only.
#[cfg(Py_GIL_DISABLED)]
const BORROWED: usize = 1;

/// Which thread has a loop at the moment.
pub(crate) struct Owner {
    /// The identity of the thread that runs the loop; with the lowest bit set, of one that has it for an access; zero for none.
    /// Written by compare-exchange from zero (acquire, pairs with the release store that gives it up), read relaxed by the
    /// thread that compares it with itself.
    thread: AtomicUsize,
}

impl Owner {
    pub(crate) const fn new() -> Self {
        Self {
            thread: AtomicUsize::new(0),
        }
    }

    fn try_take(&self, value: usize) -> bool {
        self.thread
            .compare_exchange(0, value, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Takes the loop for a run. The caller has made sure that no other run is in progress: what may be in the way is
    /// another thread's access, which is over in a moment.
    pub(crate) fn acquire_for_run(&self, py: Python<'_>) {
        while !self.try_take(thread_identity()) {
            py.detach(std::thread::yield_now);
        }
    }

    /// Gives the loop up again at the end of a run.
    pub(crate) fn release(&self) {
        self.thread.store(0, Ordering::Release);
    }

    /// Whether the calling thread is the one that runs the loop.
    pub(crate) fn is_here(&self) -> bool {
        self.thread.load(Ordering::Relaxed) == thread_identity()
    }

    /// The right to touch the loop's cells now, or `None` if another thread runs the loop.
    #[cfg(not(Py_GIL_DISABLED))]
    #[inline]
    pub(crate) fn access<'a>(&'a self, _py: Python<'a>) -> Option<Access<'a>> {
        Some(Access {
            _owner: self,
            borrowed: false,
        })
    }

    /// The right to touch the loop's cells now, or `None` if another thread runs the loop.
    ///
    /// Waits, detached, for another thread's access to end: that thread may be stopped by the garbage collector, which
    /// would wait for this one.
    #[cfg(Py_GIL_DISABLED)]
    #[inline]
    pub(crate) fn access<'a>(&'a self, py: Python<'a>) -> Option<Access<'a>> {
        let here = thread_identity();
        loop {
            let holder = self.thread.load(Ordering::Relaxed);
            if holder & !BORROWED == here {
                return Some(Access {
                    _owner: self,
                    borrowed: false,
                });
            }
            if holder == 0 && self.try_take(here | BORROWED) {
                return Some(Access {
                    _owner: self,
                    borrowed: true,
                });
            }
            if holder != 0 && holder & BORROWED == 0 {
                return None;
            }
            py.detach(std::thread::yield_now);
        }
    }
}

/// Proof that the calling thread may touch the cells of one loop.
pub(crate) struct Access<'a> {
    _owner: &'a Owner,
    /// Whether ownership was taken for this access alone, and ends with it.
    borrowed: bool,
}

impl Drop for Access<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.borrowed {
            self._owner.release();
        }
    }
}

/// A value of one loop; see the module's rules.
pub(crate) struct LoopCell<T> {
    value: UnsafeCell<T>,
    #[cfg(debug_assertions)]
    busy: std::cell::Cell<bool>,
}

// SAFETY: the value is only reached through `with`, which asks for an `Access`, and there is at most one thread with an
// `Access` to a loop at any time (module header).
unsafe impl<T: Send> Sync for LoopCell<T> {}

impl<T> LoopCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self {
            value: UnsafeCell::new(value),
            #[cfg(debug_assertions)]
            busy: std::cell::Cell::new(false),
        }
    }

    /// Lends the value to `body`, which must neither run Python code nor drop a Python reference.
    #[inline]
    pub(crate) fn with<R>(&self, _access: &Access<'_>, body: impl FnOnce(&mut T) -> R) -> R {
        #[cfg(debug_assertions)]
        assert!(
            !self.busy.replace(true),
            "a loop's state was borrowed twice"
        );
        // SAFETY: one thread has access, and `body` cannot come back here, so this is the only borrow.
        let result = body(unsafe { &mut *self.value.get() });
        #[cfg(debug_assertions)]
        self.busy.set(false);
        result
    }

    /// The value of a cell whose owner is being dropped or traversed by the garbage collector, when nobody else runs.
    pub(crate) fn peek(&self) -> &T {
        // SAFETY: the collector runs attached and alone (with the world stopped on free-threaded builds), never inside
        // of `with`, because `body` allocates no Python object.
        unsafe { &*self.value.get() }
    }
}
