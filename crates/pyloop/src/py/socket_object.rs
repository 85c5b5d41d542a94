//! The descriptor of a `socket.socket`, read without a call.
//!
//! A transport asks before every system call whether its socket object is still open: the application may have closed it,
//! and the number may be another file's by now. Calling `fileno()` twice per datagram took a fifth of all instructions that
//! an echo of one datagram spends outside of the kernel (CPython 3.13).

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

/// The head of CPython's `PySocketSockObject` (`Modules/socketmodule.h`), the same since 2.0.
#[repr(C)]
struct SocketObject {
    base: ffi::PyObject,
    descriptor: AtomicI32,
}

/// `_socket.socket`, if its instances were found to begin as [`SocketObject`] does.
static KIND: PyOnceLock<Option<Py<PyType>>> = PyOnceLock::new();

/// Looks at a socket of its own, open and closed.
fn discover(py: Python<'_>) -> PyResult<Option<Py<PyType>>> {
    let kind = py
        .import("_socket")?
        .getattr("socket")?
        .cast_into::<PyType>()?;
    if kind.getattr("__basicsize__")?.extract::<usize>()? < size_of::<SocketObject>() {
        return Ok(None);
    }
    let probe = kind.call0()?;
    let open = probe.call_method0("fileno")?.extract::<RawFd>()?;
    let seen_open = read(&probe);
    probe.call_method0("close")?;
    let fits = seen_open == open && read(&probe) == -1;
    Ok(fits.then(|| kind.unbind()))
}

/// The field of an object that is large enough.
fn read(object: &Bound<'_, PyAny>) -> RawFd {
    let object: *const SocketObject = object.as_ptr().cast();
    // SAFETY: a live object of at least this size: the callers have made sure. An atomic, because on free-threaded builds
    // another thread may close the socket meanwhile.
    unsafe { &(*object).descriptor }.load(Ordering::Relaxed)
}

/// The descriptor of a socket object, -1 once it is closed; `None` for an object that has to be asked with `fileno()`.
#[inline]
pub(crate) fn descriptor(object: &Bound<'_, PyAny>) -> Option<RawFd> {
    let kind = KIND.get(object.py())?.as_ref()?;
    // SAFETY: two live type objects.
    let fits =
        unsafe { ffi::PyType_IsSubtype(ffi::Py_TYPE(object.as_ptr()), kind.as_ptr().cast()) };
    (fits != 0).then(|| read(object))
}

/// Finds out whether [`descriptor`] can work; until then, and if not, it says `None`.
pub(crate) fn prepare(py: Python<'_>) -> PyResult<()> {
    KIND.get_or_try_init(py, || discover(py))?;
    Ok(())
}
