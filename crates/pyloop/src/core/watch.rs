//! Descriptor watchers: `add_reader`, `remove_reader`, `add_writer`, `remove_writer`.

use std::os::fd::RawFd;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyWeakrefMethods};
use reactor::Interest;

use super::sources::Source;
use super::state::LoopCore;
use crate::py::context;
use crate::py::errors::os_error;
use crate::py::handle::{Handle, Parts};

/// The two directions that a descriptor can be watched in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Read,
    Write,
}

impl Direction {
    fn interest(self) -> Interest {
        match self {
            Self::Read => Interest::READABLE,
            Self::Write => Interest::WRITABLE,
        }
    }
}

/// The number of a descriptor or of an object with `fileno()`, by the rules of the `selectors` module.
///
/// # Errors
/// `ValueError` if it is neither, or negative.
pub(super) fn descriptor(object: &Bound<'_, PyAny>) -> PyResult<RawFd> {
    let py = object.py();
    let number = if object.is_instance_of::<pyo3::types::PyInt>() {
        object.extract::<i64>()
    } else {
        object.call_method0("fileno").and_then(|number| {
            py.get_type::<pyo3::types::PyInt>()
                .call1((number,))?
                .extract::<i64>()
        })
    };
    let number = match number {
        Ok(number) => number,
        Err(error) if error.is_instance_of::<pyo3::exceptions::PyOverflowError>(py) => {
            return Err(PyValueError::new_err(format!(
                "Invalid file descriptor: {}",
                object.repr()?
            )));
        }
        Err(_) => {
            return Err(PyValueError::new_err(format!(
                "Invalid file object: {}",
                object.repr()?
            )));
        }
    };
    match RawFd::try_from(number) {
        Ok(fd) if fd >= 0 => Ok(fd),
        _ => Err(PyValueError::new_err(format!(
            "Invalid file descriptor: {number}"
        ))),
    }
}

/// Refuses a descriptor that a transport uses, be it that it closes and has bytes to send still.
///
/// # Errors
/// `RuntimeError` naming the transport.
pub(super) fn ensure_no_transport(
    object: &Bound<'_, LoopCore>,
    given: &Bound<'_, PyAny>,
    fd: RawFd,
) -> PyResult<()> {
    let py = object.py();
    let core = object.get();
    let stream = {
        let access = core.access(py)?;
        core.sources.with(&access, |sources| match sources.get(fd) {
            Some(Source::Stream(stream) | Source::Datagram(stream)) => {
                (Some(stream.clone_ref(py)), None)
            }
            Some(Source::Idle { transport, .. }) => (None, Some(transport.clone_ref(py))),
            _ => (None, None),
        })
    };
    let stream = match stream {
        (None, Some(weak)) => weak.bind(py).upgrade().map(Bound::unbind),
        (stream, _) => stream,
    };
    let Some(stream) = stream else { return Ok(()) };
    Err(PyRuntimeError::new_err(format!(
        "File descriptor {} is used by transport {}",
        given.repr()?,
        stream.bind(py).repr()?
    )))
}

/// Watches `fd` in one direction; a callback that was there is cancelled.
pub(super) fn add<'py>(
    object: &Bound<'py, LoopCore>,
    fd: RawFd,
    direction: Direction,
    callback: &Bound<'py, PyAny>,
    arguments: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = object.py();
    let core = object.get();
    core.check_open()?;
    let arguments: Vec<_> = arguments
        .iter_borrowed()
        .map(|argument| argument.as_ptr())
        .collect();
    let traceback = if core.is_debug() {
        Some(
            crate::py::imports::imports(py)
                .creation_traceback
                .call0(py)?
                .into_bound(py),
        )
    } else {
        None
    };
    let handle = Handle::new(
        py,
        Parts {
            callback,
            arguments: &arguments,
            context: context::copy_current(py)?,
            shared: false,
            owner: object.as_any(),
            traceback,
            persistent: true,
        },
    )?;
    let result = handle.bind(py).clone();
    let access = core.access(py)?;
    // What is replaced leaves the table first and is dropped afterwards: dropping may run Python code.
    let mut displaced = None;
    let replaced = core.sources.with(&access, |sources| {
        let interest = sources.interest(fd) | direction.interest();
        if !matches!(sources.get(fd), Some(Source::Watcher { .. })) {
            let empty = Source::Watcher {
                reader: None,
                writer: None,
            };
            displaced = sources.insert(fd, direction.interest(), empty)?;
        } else {
            sources.set_interest(fd, interest)?;
        }
        Ok::<_, std::io::Error>(match sources.get_mut(fd) {
            Some(Source::Watcher { reader, writer }) => {
                let place = if direction == Direction::Read {
                    reader
                } else {
                    writer
                };
                place.replace(handle)
            }
            _ => None,
        })
    });
    drop(access);
    drop(displaced);
    let replaced = replaced.map_err(os_error)?;
    if let Some(replaced) = replaced {
        replaced.cancel(py)?;
    }
    Ok(result)
}

/// Stops watching `fd` in one direction; whether it was watched.
pub(super) fn remove(
    object: &Bound<'_, LoopCore>,
    fd: RawFd,
    direction: Direction,
) -> PyResult<bool> {
    let py = object.py();
    let core = object.get();
    if core.is_closed() {
        return Ok(false);
    }
    let access = core.access(py)?;
    let removed = core.sources.with(&access, |sources| {
        let Some(Source::Watcher { reader, writer }) = sources.get_mut(fd) else {
            return Ok(None);
        };
        let (place, other) = match direction {
            Direction::Read => (reader, writer),
            Direction::Write => (writer, reader),
        };
        let removed = place.take();
        if removed.is_none() {
            return Ok(None);
        }
        let rest = match (other.is_some(), direction) {
            (false, _) => Interest::NONE,
            (true, Direction::Read) => Interest::WRITABLE,
            (true, Direction::Write) => Interest::READABLE,
        };
        if rest.is_empty() {
            let _empty = sources.remove(fd);
        } else {
            sources.set_interest(fd, rest)?;
        }
        Ok::<_, std::io::Error>(removed)
    });
    drop(access);
    match removed.map_err(os_error)? {
        Some(handle) => handle.cancel(py).map(|()| true),
        None => Ok(false),
    }
}
