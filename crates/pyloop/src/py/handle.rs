//! The objects that `call_soon`, `call_later` and their kin return, and how a callback is run.
//!
//! A handle *is* an `asyncio.Handle`, and costs no more memory than one: callback, context and up to three arguments
//! live in the words that asyncio's own `__slots__` reserve, so nothing is allocated beside it, no tuple either. The
//! inherited slot descriptors of those words are shadowed by getters in `handle_type.rs`.
//!
//! A handle is not tracked by the garbage collector, which would otherwise walk every pending callback: running it,
//! cancelling it, and closing or dropping its loop empty it, and a loop's own traversal looks into handles that only
//! the loop holds ([`Handle::visit`]).
//!
//! The state word is the handle's `_cancelled` slot and takes one of six singletons: `False` pending, `NotImplemented`
//! pending with a context that other handles share (`context.rs`), `None` taken by a run, `True` cancelled. Descriptor
//! watchers run again and again: they are `Ellipsis` while armed and `object` while in the ready queue. Whoever moves
//! the word away from pending owns the rest of the words. With a GIL that move is a plain store; free-threaded builds
//! compare and exchange.

use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit};
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::critical_section::with_critical_section;
use pyo3::types::PyTuple;

use super::handle_type::{HandleType, types};
use super::imports::imports;
use super::storage;
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
const FIRST: usize = 0;
const CALLBACK: usize = 1;
const STATE: usize = 2;
const CONTEXT: usize = 3;
const LOOP: usize = 4;
/// Second argument; the marker of the extended form; the representation kept by a cancel in debug mode.
const SECOND: usize = 5;
/// Third argument, or the creation traceback in the extended form.
const THIRD: usize = 6;
/// Arguments that fit without a tuple.
const INLINE: usize = 3;

/// The instance layout, up to the tail of the type.
#[repr(C)]
pub(super) struct RawHandle {
    pub(super) base: ffi::PyObject,
    words: [*mut ffi::PyObject; SLOTS.len()],
}

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

/// What a run found.
enum Taken {
    Once { shared: bool },
    Again,
    No,
}

/// A handle whose life the caller sees to.
#[derive(Clone, Copy)]
pub(super) struct RawRef(pub(super) *mut RawHandle);

impl RawRef {
    #[inline]
    fn state(&self) -> &AtomicPtr<ffi::PyObject> {
        // SAFETY: a live handle; the state word is only ever used through this atomic.
        unsafe { AtomicPtr::from_ptr(&raw mut (*self.0).words[STATE]) }
    }

    #[inline]
    fn load(&self, index: usize) -> *mut ffi::PyObject {
        // SAFETY: a live handle.
        unsafe { (*self.0).words[index] }
    }

    #[inline]
    fn store(&self, index: usize, object: *mut ffi::PyObject) {
        // SAFETY: a live handle whose payload the caller owns; what the word held has moved out.
        unsafe { (*self.0).words[index] = object };
    }

    /// Moves the state from `from` to `to`; `false` if it was not `from` any more.
    #[inline]
    fn transition(&self, from: *mut ffi::PyObject, to: *mut ffi::PyObject) -> bool {
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
    fn take(&self) -> Taken {
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
    fn call(&self, py: Python<'_>, sharing: Option<&LoopCore>) -> PyResult<()> {
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
    fn invoke(&self, py: Python<'_>, callback: *mut ffi::PyObject) -> PyResult<()> {
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
    fn is_extended(&self, py: Python<'_>) -> bool {
        self.load(SECOND) == types(py).extended.as_ptr()
    }

    /// A word as an object, if it holds one.
    fn word<'py>(&self, py: Python<'py>, index: usize) -> Option<Bound<'py, PyAny>> {
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
fn counted_singleton(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    if cfg!(Py_3_12) {
        object
    } else {
        counted(object)
    }
}

#[inline]
fn release_singleton(object: *mut ffi::PyObject) {
    if cfg!(not(Py_3_12)) {
        // SAFETY: a reference made by `counted_singleton`.
        unsafe { ffi::Py_XDECREF(object) };
    }
}

#[inline]
fn counted(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: a live object.
    unsafe { ffi::Py_INCREF(object) };
    object
}

#[inline]
fn no() -> *mut ffi::PyObject {
    // SAFETY: a singleton of the interpreter.
    unsafe { ffi::Py_False() }
}

#[inline]
fn queued() -> *mut ffi::PyObject {
    // A static of the interpreter; only its address is taken here.
    (&raw mut ffi::PyBaseObject_Type).cast()
}

#[inline]
fn shared() -> *mut ffi::PyObject {
    // SAFETY: a singleton of the interpreter.
    unsafe { ffi::Py_NotImplemented() }
}

#[inline]
fn yes() -> *mut ffi::PyObject {
    // SAFETY: a singleton of the interpreter.
    unsafe { ffi::Py_True() }
}

#[inline]
fn none() -> *mut ffi::PyObject {
    // SAFETY: a singleton of the interpreter.
    unsafe { ffi::Py_None() }
}

#[inline]
fn ellipsis() -> *mut ffi::PyObject {
    // SAFETY: a singleton of the interpreter.
    unsafe { ffi::Py_Ellipsis() }
}
