//! The objects that `call_soon`, `call_later` and their kin return, and how a callback is run.
//!
//! A handle *is* an `asyncio.Handle`, and costs no more memory than one: callback, context and up to three arguments
//! live in the words that asyncio's own `__slots__` reserve, so nothing is allocated beside it, no tuple either. The
//! inherited slot descriptors of those words are shadowed by getters in `handle_type.rs`.
//!
//! A handle is not tracked by the garbage collector, which would otherwise walk every pending callback: running it,
//! cancelling it, and closing or dropping its loop empty it, and a loop's own traversal looks into handles that only
//! the loop holds ([`Handle::visit`]).

use std::sync::atomic::Ordering;

use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit};
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::handle_type::{HandleType, types};
use super::handle_words::{
    CALLBACK, CONTEXT, FIRST, INLINE, LOOP, RawHandle, RawRef, SECOND, SLOTS, STATE, THIRD, Taken,
    counted, counted_singleton, ellipsis, no, none, queued, shared, yes,
};
use super::imports::imports;
use super::{context, storage};
use crate::core::LoopCore;

/// What a new handle holds.
pub(crate) struct Parts<'a, 'py> {
    pub(crate) callback: &'a Bound<'py, PyAny>,
    /// Borrowed references.
    pub(crate) arguments: &'a [*mut ffi::PyObject],
    pub(crate) context: Bound<'py, PyAny>,
    /// Whether the context is a loop's snapshot, to be copied before it is entered.
    pub(crate) shared: bool,
    pub(crate) owner: &'a Bound<'py, PyAny>,
    /// Where it was scheduled, in debug mode.
    pub(crate) traceback: Option<Bound<'py, PyAny>>,
    /// Whether it stays pending when it runs.
    pub(crate) persistent: bool,
}

/// A counted reference to a handle of either type.
#[derive(Debug)]
pub(crate) struct Handle(Py<PyAny>);

impl Handle {
    /// Makes a handle for `call_soon` and descriptor watchers.
    #[inline]
    pub(crate) fn new(py: Python<'_>, parts: Parts<'_, '_>) -> PyResult<Self> {
        Self::build(py, &types(py).handle, parts)
    }

    /// Allocates an instance of `kind` and fills it; a tail beyond the words is zeroed.
    #[inline]
    pub(super) fn build(py: Python<'_>, kind: &HandleType, parts: Parts<'_, '_>) -> PyResult<Self> {
        let tuple = if parts.arguments.len() > INLINE || parts.traceback.is_some() {
            Some(PyTuple::new(
                py,
                parts.arguments.iter().map(|&argument| {
                    // SAFETY: the caller's arguments are live references.
                    unsafe { Borrowed::from_ptr(py, argument) }
                }),
            )?)
        } else {
            None
        };
        let memory = storage::allocate(kind.object.bind(py), kind.size, &kind.spare)?;
        let raw: *mut RawHandle = memory.cast();
        let tail = raw.wrapping_add(1).cast::<u8>();
        let length = kind.size - size_of::<RawHandle>();
        if length == size_of::<usize>() {
            // The commonest tail, without a call of `memset`.
            // SAFETY: an instance that nobody else has seen; zeros are a valid tail.
            unsafe { tail.cast::<usize>().write(0) };
        } else {
            // SAFETY: as above.
            unsafe { std::ptr::write_bytes(tail, 0, length) };
        }
        // SAFETY: as above. The words are written, not assigned: what they held is undefined.
        unsafe { (&raw mut (*raw).words).write([std::ptr::null_mut(); SLOTS.len()]) };
        // SAFETY: as above.
        let words = unsafe { &mut (*raw).words };
        words[CALLBACK] = parts.callback.clone().into_ptr();
        words[CONTEXT] = parts.context.into_ptr();
        words[LOOP] = parts.owner.clone().into_ptr();
        debug_assert!(
            !(parts.persistent && parts.shared),
            "a watcher has a context of its own"
        );
        let state = match (parts.persistent, parts.shared) {
            (true, _) => ellipsis(),
            (false, true) => shared(),
            (false, false) => no(),
        };
        words[STATE] = counted_singleton(state);
        if let Some(tuple) = tuple {
            words[FIRST] = tuple.into_ptr();
            words[SECOND] = types(py).extended.clone_ref(py).into_ptr();
            words[THIRD] = parts
                .traceback
                .map_or(std::ptr::null_mut(), Bound::into_ptr);
        } else {
            for (place, &argument) in [FIRST, SECOND, THIRD].into_iter().zip(parts.arguments) {
                words[place] = counted(argument);
            }
        }
        // SAFETY: the reference that `PyObject_Init` made.
        Ok(Self(
            unsafe { Bound::from_owned_ptr(py, memory.cast()) }.unbind(),
        ))
    }

    /// Takes over a reference to an object known to be a handle.
    pub(super) fn from_object(object: Py<PyAny>) -> Self {
        Self(object)
    }

    #[inline]
    pub(crate) fn clone_ref(&self, py: Python<'_>) -> Self {
        Self(self.0.clone_ref(py))
    }

    #[inline]
    pub(crate) fn bind<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.0.bind(py)
    }

    #[inline]
    pub(crate) fn into_bound(self, py: Python<'_>) -> Bound<'_, PyAny> {
        self.0.into_bound(py)
    }

    #[inline]
    fn raw(&self) -> RawRef {
        RawRef(self.0.as_ptr().cast())
    }

    /// Cancels it, lets go of callback and arguments. Does nothing if it was cancelled before.
    pub(crate) fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        cancel(self.bind(py)).map(|_| ())
    }

    /// A watcher's handle for the ready queue; `None` if it is in there already, or cancelled.
    pub(crate) fn queue_watcher(&self, py: Python<'_>) -> Option<Self> {
        self.raw()
            .transition(ellipsis(), queued())
            .then(|| self.clone_ref(py))
    }

    /// Runs the callback in its context, unless it was cancelled. A failure goes to the loop's exception handler.
    ///
    /// # Errors
    /// `SystemExit` and `KeyboardInterrupt` of the callback, and what the exception handler raises.
    #[inline]
    pub(crate) fn run(self, py: Python<'_>, core: &LoopCore) -> PyResult<()> {
        let outcome = self.run_kept(py, core);
        self.finish(py);
        outcome
    }

    /// Lets go of a handle that was run: whoever still holds it shall not hold the callback.
    #[inline]
    pub(crate) fn finish(self, py: Python<'_>) {
        let raw = self.raw();
        let state = raw.state().load(Ordering::Relaxed);
        if state != ellipsis() && state != queued() && self.0.get_refcnt(py) > 1 {
            raw.clear(py);
        }
        drop(self.into_bound(py));
    }

    /// Runs the callback, and leaves the handle as it is for a look at it; `finish` must follow.
    ///
    /// # Errors
    /// As [`Handle::run`].
    #[inline]
    pub(crate) fn run_kept(&self, py: Python<'_>, core: &LoopCore) -> PyResult<()> {
        let raw = self.raw();
        match raw.take() {
            Taken::Once { shared } => match raw.call(py, shared.then_some(core)) {
                Ok(()) => Ok(()),
                Err(error) => {
                    core.leave_runner(py)?;
                    self.failed(py, error)
                }
            },
            Taken::Again => self.run_persistent(py),
            Taken::No => Ok(()),
        }
    }

    /// A watcher's callback may remove the watcher, which empties the handle, so what is called is held here.
    fn run_persistent(&self, py: Python<'_>) -> PyResult<()> {
        let raw = self.raw();
        let held: Vec<Option<Py<PyAny>>> = (0..SLOTS.len())
            .map(|index| raw.word(py, index).map(Bound::unbind))
            .collect();
        let result = raw.call(py, None);
        let outcome = match result {
            Ok(()) => Ok(()),
            Err(error) => self.failed(py, error),
        };
        drop(held);
        outcome
    }

    /// Reports what a callback raised.
    #[cold]
    fn failed(&self, py: Python<'_>, error: PyErr) -> PyResult<()> {
        if error.is_instance_of::<PySystemExit>(py)
            || error.is_instance_of::<PyKeyboardInterrupt>(py)
        {
            return Err(error);
        }
        let owner = self.raw().word(py, LOOP);
        imports(py)
            .callback_failed
            .call1(py, (owner, self.bind(py), error.into_value(py)))?;
        Ok(())
    }

    /// Shows the garbage collector what this handle holds, if the caller's reference is the only one.
    pub(crate) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit_object(&self.0, visit)
    }
}

/// Shows the garbage collector what a handle holds through `object`, if that reference is the only one. Otherwise it shows
/// the handle, which is not tracked: whoever else holds it keeps what it holds.
pub(super) fn visit_object(object: &Py<PyAny>, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
    // SAFETY: a live object; during a traversal no thread changes reference counts.
    if unsafe { ffi::Py_REFCNT(object.as_ptr()) } != 1 {
        return visit.call(object);
    }
    for index in [FIRST, CALLBACK, CONTEXT, LOOP, SECOND, THIRD] {
        let word = RawRef(object.as_ptr().cast()).load(index);
        if !word.is_null() {
            // SAFETY: `Py` is a non-null pointer to an object; this one is only lent to the visitor, not counted.
            let held = unsafe { &*(std::ptr::from_ref(&word).cast::<Py<PyAny>>()) };
            visit.call(held)?;
        }
    }
    Ok(())
}

/// Cancels a handle; `false` if it was cancelled before.
pub(super) fn cancel(handle: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = handle.py();
    let raw = RawRef(handle.as_ptr().cast());
    if [no(), shared(), ellipsis(), queued()]
        .into_iter()
        .any(|pending| raw.transition(pending, yes()))
    {
        // In debug mode a cancelled handle goes on to show what it was.
        let kept = if raw.is_extended(py) && raw.word(py, THIRD).is_some() {
            Some(handle.repr()?)
        } else {
            None
        };
        raw.clear(py);
        if let Some(kept) = kept {
            raw.store(SECOND, kept.into_ptr());
        }
        return Ok(true);
    }
    // Run, or running: it only says so from now on.
    Ok(raw.transition(none(), yes()))
}

// What Python sees of the words.

pub(super) fn is_cancelled(raw: RawRef) -> bool {
    raw.state().load(Ordering::Relaxed) == yes()
}

pub(super) fn callback(py: Python<'_>, raw: RawRef) -> Option<Bound<'_, PyAny>> {
    raw.word(py, CALLBACK)
}

/// The context, which the caller may change: a shared one is replaced by the handle's own copy first.
pub(super) fn context(py: Python<'_>, raw: RawRef) -> PyResult<Option<Bound<'_, PyAny>>> {
    let Some(current) = raw.word(py, CONTEXT) else {
        return Ok(None);
    };
    if raw.state().load(Ordering::Relaxed) != shared() {
        return Ok(Some(current));
    }
    let own = context::copy(&current)?;
    if raw.transition(shared(), no()) {
        let previous = raw.load(CONTEXT);
        raw.store(CONTEXT, own.clone().into_ptr());
        // SAFETY: the reference that the word held; dropped after the word has changed.
        drop(unsafe { Bound::from_owned_ptr(py, previous) });
    }
    Ok(Some(own))
}

pub(super) fn owner(py: Python<'_>, raw: RawRef) -> Option<Bound<'_, PyAny>> {
    raw.word(py, LOOP)
}

/// The arguments as a tuple; `None` for a handle that was emptied.
pub(super) fn arguments(py: Python<'_>, raw: RawRef) -> PyResult<Option<Bound<'_, PyAny>>> {
    if callback(py, raw).is_none() {
        return Ok(None);
    }
    if raw.is_extended(py) {
        return Ok(raw.word(py, FIRST));
    }
    let given = [FIRST, SECOND, THIRD]
        .into_iter()
        .map_while(|index| raw.word(py, index));
    Ok(Some(
        PyTuple::new(py, given.collect::<Vec<_>>())?.into_any(),
    ))
}

pub(super) fn traceback(py: Python<'_>, raw: RawRef) -> Option<Bound<'_, PyAny>> {
    if raw.is_extended(py) {
        raw.word(py, THIRD)
    } else {
        None
    }
}

/// The representation that a cancel in debug mode kept.
pub(super) fn kept_representation(py: Python<'_>, raw: RawRef) -> Option<Bound<'_, PyAny>> {
    if is_cancelled(raw) && callback(py, raw).is_none() {
        raw.word(py, SECOND)
    } else {
        None
    }
}
