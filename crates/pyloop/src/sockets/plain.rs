//! Which sockets the engine may read and write by itself.
//!
//! A socket object may be anything that looks like one: a subclass with methods of its own, the stand-in of a test, a
//! green socket. Its methods are part of its behaviour. The engine goes past them only where they are known to do no
//! more than the system call: on instances of `socket.socket` itself, as long as nobody has replaced the method, and
//! non-blocking ones, for a system call on another would hold up the interpreter.

use std::os::fd::RawFd;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyTuple};

use crate::py::call;
use crate::py::imports::imports;

/// A method of sockets that the engine knows.
pub(super) struct Native {
    pub(super) name: Py<PyString>,
    /// What `socket.socket` has under this name as long as nobody replaces it.
    original: Py<PyAny>,
}

/// The classes and methods that plain sockets are told by.
pub(super) struct Natives {
    class: Py<PyAny>,
    /// `attempt(loop, sock, method, *arguments)` of `_sockets.py`, for all other sockets.
    attempt: Py<PyAny>,
    /// `attempt_send(loop, sock, data, rest)` likewise.
    attempt_send: Py<PyAny>,
    pub(super) recv: Native,
    pub(super) recv_into: Native,
    pub(super) recvfrom: Native,
    pub(super) recvfrom_into: Native,
    pub(super) accept: Native,
    pub(super) send: Native,
}

static NATIVES: PyOnceLock<Natives> = PyOnceLock::new();

impl Natives {
    fn load(py: Python<'_>) -> PyResult<Self> {
        let package = py.import("pyloop._sockets")?;
        // The functions of the C module cannot be replaced; `accept` is Python code, and taken as it is now.
        let base = py.import("_socket")?.getattr("socket")?;
        let class = py.import("socket")?.getattr("socket")?;
        let native = |owner: &Bound<'_, PyAny>, name: &str| {
            Ok::<_, PyErr>(Native {
                name: PyString::intern(py, name).unbind(),
                original: owner.getattr(name)?.unbind(),
            })
        };
        Ok(Self {
            attempt: package.getattr("attempt")?.unbind(),
            attempt_send: package.getattr("attempt_send")?.unbind(),
            recv: native(&base, "recv")?,
            recv_into: native(&base, "recv_into")?,
            recvfrom: native(&base, "recvfrom")?,
            recvfrom_into: native(&base, "recvfrom_into")?,
            accept: native(&class, "accept")?,
            send: native(&base, "send")?,
            class: class.unbind(),
        })
    }
}

/// The methods, looked up once.
pub(super) fn natives(py: Python<'_>) -> PyResult<&Natives> {
    NATIVES.get_or_try_init(py, || Natives::load(py))
}

/// The descriptor of a plain, open, non-blocking socket; `None` for any other object.
#[inline]
pub(super) fn descriptor(
    sock: &Bound<'_, PyAny>,
    natives: &Natives,
    method: &Native,
) -> PyResult<Option<RawFd>> {
    let py = sock.py();
    let class = sock.get_type();
    if !class.is(&natives.class) || !class.getattr(&method.name)?.is(&method.original) {
        return Ok(None);
    }
    let names = &imports(py).names;
    let timeout = call::method0(sock, &names.gettimeout)?;
    if !timeout.extract::<f64>().is_ok_and(|seconds| seconds == 0.0) {
        return Ok(None);
    }
    let fd: RawFd = call::method0(sock, &names.fileno)?.extract()?;
    Ok((fd >= 0).then_some(fd))
}

/// One attempt by the object's own method, after asyncio's checks; `None` if it would block.
pub(super) fn own<'py>(
    owner: &Bound<'py, PyAny>,
    sock: &Bound<'py, PyAny>,
    method: &Native,
    arguments: &[&Bound<'py, PyAny>],
) -> PyResult<Bound<'py, PyAny>> {
    let py = sock.py();
    let name = method.name.bind(py).as_any();
    let all = [&[owner, sock, name], arguments].concat();
    natives(py)?.attempt.bind(py).call1(PyTuple::new(py, all)?)
}

/// One `send` by the object's own method, after asyncio's checks; what is left to send.
pub(super) fn own_send<'py>(
    owner: &Bound<'py, PyAny>,
    sock: &Bound<'py, PyAny>,
    data: &Bound<'py, PyAny>,
    rest: Option<usize>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = sock.py();
    natives(py)?
        .attempt_send
        .bind(py)
        .call1((owner, sock, data, rest))
}
