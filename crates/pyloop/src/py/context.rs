//! Context variables: capture when a callback is scheduled, enter and leave around its run.

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;

/// A copy of the calling thread's current context, as `contextvars.copy_context()` makes it.
#[inline]
pub(crate) fn copy_current(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: attached; returns a new reference or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent()) }
}

/// A copy of `context`.
pub(crate) fn copy<'py>(context: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: `check` has seen that it is a context wherever one comes from outside; returns a new reference or null.
    unsafe { Bound::from_owned_ptr_or_err(context.py(), ffi::PyContext_Copy(context.as_ptr())) }
}

/// Refuses what is no `contextvars.Context`.
#[inline]
pub(crate) fn check(context: &Bound<'_, PyAny>) -> PyResult<()> {
    // SAFETY: a type comparison on a live object.
    if unsafe { ffi::PyContext_CheckExact(context.as_ptr()) } != 0 {
        return Ok(());
    }
    Err(PyTypeError::new_err(format!(
        "context must be a contextvars.Context or None, not {}",
        context.get_type().name()?
    )))
}

/// Makes `context` the thread's current one for the length of `body`.
///
/// # Errors
/// `RuntimeError` if the context is entered already; the error of `body`.
#[inline]
pub(crate) fn run<R>(
    context: &Bound<'_, PyAny>,
    body: impl FnOnce() -> PyResult<R>,
) -> PyResult<R> {
    let py = context.py();
    // SAFETY: a live context; a failure sets an exception.
    if unsafe { ffi::PyContext_Enter(context.as_ptr()) } != 0 {
        return Err(PyErr::fetch(py));
    }
    // An error is held as a `PyErr` here, so that no exception is set while the context is left.
    let result = body();
    // SAFETY: entered above by this thread, and every enter inside of `body` was left again.
    if unsafe { ffi::PyContext_Exit(context.as_ptr()) } != 0 {
        return Err(PyErr::fetch(py));
    }
    result
}
