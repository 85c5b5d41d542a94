//! The words that a handle consists of: where each thing is, and who may touch it when.
//!
//! The state word is the handle's `_cancelled` slot and takes one of six singletons: `False` pending, `NotImplemented`
//! pending with a context that other handles share (`context.rs`), `None` taken by a run, `True` cancelled. Descriptor
//! watchers run again and again: they are `Ellipsis` while armed and `object` while in the ready queue. Whoever moves
//! the word away from pending owns the rest of the words. With a GIL that move is a plain store; free-threaded builds
//! compare and exchange.

use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::critical_section::with_critical_section;
use pyo3::types::PyTuple;

use super::handle_type::types;
use super::{call, context};
use crate::core::LoopCore;

/// Words of an `asyncio.Handle` in the order of its (sorted) slots; checked at import.
pub(super) const SLOTS: [&str; 7] = [
    "_args",
    "_callback",
    "_cancelled",
    "_context",
    "_loop",
    "_repr",
    "_source_traceback",
];
/// First argument, or the tuple of all in the extended form.
pub(super) const FIRST: usize = 0;
pub(super) const CALLBACK: usize = 1;
pub(super) const STATE: usize = 2;
pub(super) const CONTEXT: usize = 3;
pub(super) const LOOP: usize = 4;
/// Second argument; the marker of the extended form; the representation kept by a cancel in debug mode.
pub(super) const SECOND: usize = 5;
/// Third argument, or the creation traceback in the extended form.
pub(super) const THIRD: usize = 6;
/// Arguments that fit without a tuple.
pub(super) const INLINE: usize = 3;

/// The instance layout, up to the tail of the type.
#[repr(C)]
pub(super) struct RawHandle {
    pub(super) base: ffi::PyObject,
    pub(super) words: [*mut ffi::PyObject; SLOTS.len()],
}

/// What a run found.
pub(super) enum Taken {
    Once { shared: bool },
    Again,
    No,
}

/// A handle whose life the caller sees to.
#[derive(Clone, Copy)]
pub(super) struct RawRef(pub(super) *mut RawHandle);

impl RawRef {
    #[inline]
    pub(super) fn state(&self) -> &AtomicPtr<ffi::PyObject> {
        // SAFETY: a live handle; the state word is only ever used through this atomic.
        unsafe { AtomicPtr::from_ptr(&raw mut (*self.0).words[STATE]) }
    }

    #[inline]
    pub(super) fn load(&self, index: usize) -> *mut ffi::PyObject {
        // SAFETY: a live handle.
        unsafe { (*self.0).words[index] }
    }

    #[inline]
    pub(super) fn store(&self, index: usize, object: *mut ffi::PyObject) {
        // SAFETY: a live handle whose payload the caller owns; what the word held has moved out.
        unsafe { (*self.0).words[index] = object };
    }

    /// Moves the state from `from` to `to`; `false` if it was not `from` any more.
    #[inline]
    pub(super) fn transition(&self, from: *mut ffi::PyObject, to: *mut ffi::PyObject) -> bool {
        let state = self.state();
        #[cfg(not(Py_GIL_DISABLED))]
        {
            // The GIL makes load and store one step.
            if state.load(Ordering::Relaxed) != from {
                return false;
            }
            state.store(counted_singleton(to), Ordering::Relaxed);
        }
        #[cfg(Py_GIL_DISABLED)]
        if state
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .is_err()
        {
            return false;
        }
        release_singleton(from);
        true
    }

    #[inline]
    pub(super) fn take(&self) -> Taken {
        if self.transition(shared(), none()) {
            Taken::Once { shared: true }
        } else if self.transition(no(), none()) {
            Taken::Once { shared: false }
        } else if self.transition(queued(), ellipsis()) {
            Taken::Again
        } else {
            Taken::No
        }
    }

    /// Calls the callback in the context; in a copy of it, which stays entered, if it is a snapshot of `sharing`. The
    /// caller has taken the handle, so the words stay as they are.
    #[inline]
    pub(super) fn call(&self, py: Python<'_>, sharing: Option<&LoopCore>) -> PyResult<()> {
        let callback = self.load(CALLBACK);
        let context = self.load(CONTEXT);
        if callback.is_null() || context.is_null() {
            return Ok(()); // Emptied by `clear`, which a cancelled watcher that is still queued has been through.
        }
        if let Some(core) = sharing {
            // SAFETY: the word's reference, which moves out: the runner takes the place.
            let snapshot = unsafe { Bound::from_owned_ptr(py, context) };
            self.store(CONTEXT, std::ptr::null_mut());
            let runner = context::enter_runner(&snapshot, &core.owner, &core.snapshots)?;
            // The exception handler runs in the handle's context: it sees what the callback has set.
            self.store(CONTEXT, runner.into_ptr());
            return self.invoke(py, callback);
        }
        // SAFETY: the handle holds the context.
        let context = unsafe { Borrowed::from_ptr(py, context) };
        context::run(&context, || self.invoke(py, callback))
    }

    /// Calls the callback with the arguments.
    #[inline]
    pub(super) fn invoke(&self, py: Python<'_>, callback: *mut ffi::PyObject) -> PyResult<()> {
        let result = if self.is_extended(py) {
            // Looked at, not assumed: asyncio's own slot descriptors can put anything into the word.
            let arguments = self
                .word(py, FIRST)
                .unwrap_or_else(|| py.None().into_bound(py));
            let arguments = arguments.cast_into::<PyTuple>()?;
            // SAFETY: a callable (or not, which raises) and a tuple, both alive for the call.
            unsafe { ffi::PyObject_Call(callback, arguments.as_ptr(), std::ptr::null_mut()) }
        } else {
            // The word before the arguments is the callee's to use (`PY_VECTORCALL_ARGUMENTS_OFFSET`).
            let stack = [
                std::ptr::null_mut(),
                self.load(FIRST),
                self.load(SECOND),
                self.load(THIRD),
            ];
            let count = stack[1..]
                .iter()
                .take_while(|argument| !argument.is_null())
                .count();
            // SAFETY: `count` live references follow the scratch word.
            unsafe { call::vectorcall(callback, stack.as_ptr().add(1), count) }
        };
        if result.is_null() {
            return Err(PyErr::fetch(py));
        }
        // SAFETY: a new reference that nobody wants.
        unsafe { ffi::Py_DECREF(result) };
        Ok(())
    }

    #[inline]
    pub(super) fn is_extended(&self, py: Python<'_>) -> bool {
        self.load(SECOND) == types(py).extended.as_ptr()
    }

    /// A word as an object, if it holds one.
    pub(super) fn word<'py>(&self, py: Python<'py>, index: usize) -> Option<Bound<'py, PyAny>> {
        // SAFETY: null, or a reference that the handle holds.
        unsafe { Bound::from_borrowed_ptr_or_opt(py, self.load(index)) }
    }

    /// Lets go of everything but the state. The objects are dropped after the words are null: they may look back.
    pub(super) fn clear(&self, py: Python<'_>) {
        let mut held = [std::ptr::null_mut(); SLOTS.len()];
        // SAFETY: alive for the call.
        let object = unsafe { Borrowed::from_ptr(py, self.0.cast()) };
        // Free-threaded builds: a getter on another thread may be looking at the words.
        with_critical_section(&object, || {
            for index in [FIRST, CALLBACK, CONTEXT, LOOP, SECOND, THIRD] {
                held[index] = self.load(index);
                self.store(index, std::ptr::null_mut());
            }
        });
        for object in held {
            // SAFETY: null, or the reference that the word held.
            drop(unsafe { Bound::from_owned_ptr_or_opt(py, object) });
        }
    }
}

/// Gives up the references of a handle that has died.
///
/// # Safety
/// * Nobody refers to the handle any more, and it is not used again.
/// * The caller is attached.
pub(super) unsafe fn empty(raw: RawRef) {
    for index in [FIRST, CALLBACK, CONTEXT, LOOP, SECOND, THIRD] {
        // SAFETY: null, or the reference that the word held.
        unsafe { ffi::Py_XDECREF(raw.load(index)) };
    }
    release_singleton(raw.load(STATE));
}

/// A reference to one of the state singletons; from 3.12 on they are immortal and not counted.
#[inline]
pub(super) fn counted_singleton(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    if cfg!(Py_3_12) {
        object
    } else {
        counted(object)
    }
}

#[inline]
pub(super) fn release_singleton(object: *mut ffi::PyObject) {
    if cfg!(not(Py_3_12)) {
        // SAFETY: a reference made by `counted_singleton`.
        unsafe { ffi::Py_XDECREF(object) };
    }
}

#[inline]
pub(super) fn counted(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: a live object.
    unsafe { ffi::Py_INCREF(object) };
    object
}

#[inline]
pub(super) fn no() -> *mut ffi::PyObject {
    // SAFETY: a singleton of the interpreter.
    unsafe { ffi::Py_False() }
}

#[inline]
pub(super) fn queued() -> *mut ffi::PyObject {
    // A static of the interpreter; only its address is taken here.
    (&raw mut ffi::PyBaseObject_Type).cast()
}

#[inline]
pub(super) fn shared() -> *mut ffi::PyObject {
    // SAFETY: a singleton of the interpreter.
    unsafe { ffi::Py_NotImplemented() }
}

#[inline]
pub(super) fn yes() -> *mut ffi::PyObject {
    // SAFETY: a singleton of the interpreter.
    unsafe { ffi::Py_True() }
}

#[inline]
pub(super) fn none() -> *mut ffi::PyObject {
    // SAFETY: a singleton of the interpreter.
    unsafe { ffi::Py_None() }
}

#[inline]
pub(super) fn ellipsis() -> *mut ffi::PyObject {
    // SAFETY: a singleton of the interpreter.
    unsafe { ffi::Py_Ellipsis() }
}
