//! Calls into Python by vectorcall, without tuples or dictionaries of our own.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

/// `callable(*values)` where the last values are keyword arguments named by `keywords`. The values are live references.
#[inline]
pub(crate) fn with_keywords<'py>(
    py: Python<'py>,
    callable: &Py<PyAny>,
    values: &[*mut ffi::PyObject],
    keywords: &Py<PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    let named = keywords.bind(py).len();
    debug_assert!(named <= values.len(), "a value for each keyword");
    // SAFETY: live references, `named` of them named by the tuple; the result is a new reference or null.
    unsafe {
        Bound::from_owned_ptr_or_err(
            py,
            ffi::PyObject_Vectorcall(
                callable.as_ptr(),
                values.as_ptr(),
                values.len() - named,
                keywords.as_ptr(),
            ),
        )
    }
}

/// Calls `callable` with `count` positional arguments; the word before them is the callee's to use.
///
/// `PyObject_Vectorcall` without its look at the thread state and its check of the result, which is made by every
/// caller here anyway.
///
/// # Safety
/// * `callable` and the `count` values at `arguments` are live references.
/// * The word before `arguments` may be written to.
#[inline]
pub(super) unsafe fn vectorcall(
    callable: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: usize,
) -> *mut ffi::PyObject {
    let flags = count | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
    // SAFETY: a live object.
    match unsafe { ffi::PyVectorcall_Function(callable) } {
        // SAFETY: as the caller promises; the function is the callable's own.
        Some(function) => unsafe { function(callable, arguments, flags, std::ptr::null_mut()) },
        // SAFETY: as the caller promises.
        None => unsafe {
            ffi::PyObject_Vectorcall(callable, arguments, flags, std::ptr::null_mut())
        },
    }
}

/// `object.name(argument)`.
#[inline]
pub(crate) fn method1<'py>(
    object: &Bound<'py, PyAny>,
    name: &Py<PyString>,
    argument: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let stack = [object.as_ptr(), argument.as_ptr()];
    // SAFETY: live references: the object and one argument, as the call wants them.
    unsafe {
        Bound::from_owned_ptr_or_err(
            object.py(),
            ffi::PyObject_VectorcallMethod(
                name.as_ptr(),
                stack.as_ptr(),
                stack.len(),
                std::ptr::null_mut(),
            ),
        )
    }
}

/// `object.name(first, second)`.
#[inline]
pub(crate) fn method2<'py>(
    object: &Bound<'py, PyAny>,
    name: &Py<PyString>,
    first: &Bound<'py, PyAny>,
    second: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let stack = [object.as_ptr(), first.as_ptr(), second.as_ptr()];
    // SAFETY: live references: the object and two arguments, as the call wants them.
    unsafe {
        Bound::from_owned_ptr_or_err(
            object.py(),
            ffi::PyObject_VectorcallMethod(
                name.as_ptr(),
                stack.as_ptr(),
                stack.len(),
                std::ptr::null_mut(),
            ),
        )
    }
}

/// `object.name()`.
#[inline]
pub(crate) fn method0<'py>(
    object: &Bound<'py, PyAny>,
    name: &Py<PyString>,
) -> PyResult<Bound<'py, PyAny>> {
    let stack = [object.as_ptr()];
    // SAFETY: a live reference, as the call wants it.
    unsafe {
        Bound::from_owned_ptr_or_err(
            object.py(),
            ffi::PyObject_VectorcallMethod(
                name.as_ptr(),
                stack.as_ptr(),
                stack.len(),
                std::ptr::null_mut(),
            ),
        )
    }
}
