//! Timer handles: a handle with a deadline and the wheel's node in its tail.

#[cfg(Py_3_12)]
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use timers::{Deadline, Entry, Node};

use super::handle::{self, Handle, Parts};
use super::handle_type::{timer_tail, types};
use super::handle_words::RawRef;
use crate::clock;
use crate::core::LoopCore;

/// What a timer handle has beyond a handle. All zeros is a valid, pending timer at time zero.
#[repr(C)]
pub(super) struct TimerTail {
    /// The deadline exactly as it was asked for, in seconds of the loop's clock.
    when: f64,
    /// The wheel's state of this timer.
    node: Node,
    #[cfg(Py_3_12)]
    weaklist: *mut ffi::PyObject,
}

impl TimerTail {
    /// Offset of the type's own weak-reference list; before 3.12 the base's lies inside of the instance already.
    #[cfg(Py_3_12)]
    pub(super) const WEAKLIST: Option<usize> = Some(std::mem::offset_of!(TimerTail, weaklist));
    /// Offset of the type's own weak-reference list; before 3.12 the base's lies inside of the instance already.
    #[cfg(not(Py_3_12))]
    pub(super) const WEAKLIST: Option<usize> = None;
}

/// A counted reference to a timer handle, as the wheel holds it.
#[derive(Debug)]
pub(crate) struct TimerRef {
    object: Py<PyAny>,
    /// Where the tail lies; valid as long as `object` is held.
    tail: *const TimerTail,
}

// SAFETY: the tail is read only: `when` never changes after construction, and the node is made of atomics.
unsafe impl Send for TimerRef {}
// SAFETY: as above.
unsafe impl Sync for TimerRef {}

impl TimerRef {
    /// Makes a timer handle due at `when` seconds.
    #[inline]
    pub(crate) fn new(py: Python<'_>, when: f64, parts: Parts<'_, '_>) -> PyResult<Self> {
        let handle = Handle::build(py, &types(py).timer, parts)?;
        let object = handle.into_bound(py);
        let tail = timer_tail(py, object.as_ptr());
        // SAFETY: a fresh instance of the timer type, shared with nobody yet.
        unsafe { (*tail).when = when };
        Ok(Self {
            tail,
            object: object.unbind(),
        })
    }

    #[inline]
    fn of(object: &Bound<'_, PyAny>) -> Self {
        Self {
            tail: timer_tail(object.py(), object.as_ptr()),
            object: object.clone().unbind(),
        }
    }

    #[inline]
    pub(crate) fn bind<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.object.bind(py)
    }

    /// Shows the garbage collector what the timer holds.
    pub(crate) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        handle::visit_object(&self.object, visit)
    }

    /// The deadline in seconds.
    pub(crate) fn when(&self) -> f64 {
        // SAFETY: `object` keeps the tail alive.
        unsafe { (*self.tail).when }
    }

    /// The same reference as a handle that can be run.
    #[inline]
    pub(crate) fn into_handle(self) -> Handle {
        Handle::from_object(self.object)
    }
}

impl Entry for TimerRef {
    #[inline]
    fn node(&self) -> &Node {
        // SAFETY: `object` keeps the tail alive.
        unsafe { &(*self.tail).node }
    }

    #[inline]
    fn deadline(&self) -> Deadline {
        clock::deadline(self.when())
    }
}

/// The deadline in seconds.
pub(super) fn when(object: &Bound<'_, PyAny>) -> f64 {
    // SAFETY: only called on instances of the timer type.
    unsafe { (*timer_tail(object.py(), object.as_ptr())).when }
}

/// Whether the wheel still holds it.
pub(super) fn is_scheduled(object: &Bound<'_, PyAny>) -> bool {
    TimerRef::of(object).node().is_pending()
}

/// Cancels the timer and takes it out of the wheel.
#[inline]
pub(super) fn cancel(object: &Bound<'_, PyAny>) -> PyResult<()> {
    let timer = TimerRef::of(object);
    if timer.node().cancel()
        && let Some(owner) = handle::owner(object.py(), RawRef(object.as_ptr().cast()))
    {
        // Looked at, not assumed: asyncio's own slot descriptors can put anything into the word.
        let core = owner.cast::<LoopCore>()?;
        // The removed reference is dropped here, with the shard's lock released.
        drop(core.get().timers.remove(&timer));
    }
    handle::cancel(object)?;
    Ok(())
}
