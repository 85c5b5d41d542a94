//! Descriptor watchers: `add_reader`, `remove_reader`, `add_writer`, `remove_writer`; and waiting for a descriptor once.

use std::os::fd::RawFd;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyWeakrefMethods};
use reactor::{Event, Interest};

use super::sources::{Source, Sources, Watch};
use super::state::LoopCore;
use crate::py::call;
use crate::py::context;
use crate::py::errors::os_error;
use crate::py::handle::{Handle, Parts};
use crate::py::imports::imports;

/// The two directions that a descriptor can be watched in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
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
pub(crate) fn descriptor(object: &Bound<'_, PyAny>) -> PyResult<RawFd> {
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
pub(crate) fn ensure_no_transport(
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
    place(object, fd, direction, Watch::Callback(handle))?;
    Ok(result)
}

/// A future that is resolved when `fd` is ready in one direction. What watched that direction before is cancelled.
///
/// Whoever stops waiting for it calls [`forget`].
///
/// # Errors
/// `RuntimeError` if the loop is closed; what the reactor says to the descriptor.
pub(crate) fn once<'py>(
    object: &Bound<'py, LoopCore>,
    fd: RawFd,
    direction: Direction,
) -> PyResult<Bound<'py, PyAny>> {
    let py = object.py();
    object.get().check_open()?;
    let imports = imports(py);
    let future = call::with_keywords(
        py,
        &imports.future,
        &[object.as_ptr()],
        &imports.loop_keyword,
    )?;
    place(object, fd, direction, Watch::Once(future.clone().unbind()))?;
    Ok(future)
}

/// Stops watching `fd` for a future of [`once`], unless that has ended already.
pub(crate) fn forget(
    object: &Bound<'_, LoopCore>,
    fd: RawFd,
    future: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let core = object.get();
    if core.is_closed() {
        return Ok(());
    }
    let access = core.access(object.py())?;
    let dropped = core.sources.with(&access, |sources| {
        let waits = |watch: &Option<Watch>| matches!(watch, Some(Watch::Once(waiting)) if waiting.is(future));
        let direction = match sources.get(fd) {
            Some(Source::Watcher { reader, .. }) if waits(reader) => Direction::Read,
            Some(Source::Watcher { writer, .. }) if waits(writer) => Direction::Write,
            _ => return None,
        };
        // A descriptor that was closed meanwhile is gone from the kernel's set already.
        let (watch, _) = take(sources, fd, direction);
        watch
    });
    drop(access);
    drop(dropped);
    Ok(())
}

/// Puts a watch into its row, and cancels the one that was there.
fn place(
    object: &Bound<'_, LoopCore>,
    fd: RawFd,
    direction: Direction,
    watch: Watch,
) -> PyResult<()> {
    let py = object.py();
    let core = object.get();
    let access = core.access(py)?;
    // What is replaced or refused leaves the table first and is dropped afterwards: dropping may run Python code.
    let mut displaced = None;
    let mut refused = None;
    let replaced = core.sources.with(&access, |sources| {
        let interest = sources.interest(fd) | direction.interest();
        let outcome = if matches!(sources.get(fd), Some(Source::Watcher { .. })) {
            sources.set_interest(fd, interest)
        } else {
            let empty = Source::Watcher {
                reader: None,
                writer: None,
            };
            sources
                .insert(fd, direction.interest(), empty)
                .map(|previous| displaced = previous)
        };
        match sources.get_mut(fd) {
            Some(Source::Watcher { reader, writer }) if outcome.is_ok() => {
                let place = match direction {
                    Direction::Read => reader,
                    Direction::Write => writer,
                };
                Ok(place.replace(watch))
            }
            _ => {
                refused = Some(watch);
                outcome.map(|()| None)
            }
        }
    });
    drop(access);
    drop((displaced, refused));
    match replaced.map_err(os_error)? {
        Some(replaced) => replaced.cancel(py),
        None => Ok(()),
    }
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
    let (removed, outcome) = core
        .sources
        .with(&access, |sources| take(sources, fd, direction));
    drop(access);
    let watched = removed.is_some();
    let cancelled = removed.map_or(Ok(()), |watch| watch.cancel(py));
    outcome.map_err(os_error).and(cancelled).map(|()| watched)
}

/// Takes the watch of one direction out of its row; the reactor goes on to watch for the other one, if it can.
fn take(
    sources: &mut Sources,
    fd: RawFd,
    direction: Direction,
) -> (Option<Watch>, std::io::Result<()>) {
    let Some(Source::Watcher { reader, writer }) = sources.get_mut(fd) else {
        return (None, Ok(()));
    };
    let (place, other) = match direction {
        Direction::Read => (reader, writer),
        Direction::Write => (writer, reader),
    };
    let taken = place.take();
    let rest = match (other.is_some(), direction) {
        (false, _) => Interest::NONE,
        (true, Direction::Read) => Interest::WRITABLE,
        (true, Direction::Write) => Interest::READABLE,
    };
    let outcome = if taken.is_none() {
        Ok(())
    } else if rest.is_empty() {
        let _empty = sources.remove(fd);
        Ok(())
    } else {
        sources.set_interest(fd, rest)
    };
    (taken, outcome)
}

/// What an event of a watched descriptor asks for.
pub(super) enum Due {
    /// A callback to queue.
    Run(Handle),
    /// A future to resolve; nobody waits for that direction any more.
    Resolve(Py<PyAny>),
}

/// What the watches of `fd` come to at an event, the reader's first.
pub(super) fn due(
    py: Python<'_>,
    sources: &mut Sources,
    fd: RawFd,
    event: Event,
) -> [Option<Due>; 2] {
    let mut found = [None, None];
    let directions = [
        (Direction::Read, event.readable()),
        (Direction::Write, event.writable()),
    ];
    for (place, (direction, ready)) in found.iter_mut().zip(directions) {
        let Some(Source::Watcher { reader, writer }) = sources.get(fd) else {
            break;
        };
        let watch = match direction {
            Direction::Read => reader,
            Direction::Write => writer,
        };
        match watch {
            Some(Watch::Callback(handle)) if ready => {
                *place = handle.queue_watcher(py).map(Due::Run);
            }
            Some(Watch::Once(_)) if ready => {
                // A descriptor that was closed since the poll is gone from the kernel's set already.
                if let (Some(Watch::Once(future)), _) = take(sources, fd, direction) {
                    *place = Some(Due::Resolve(future));
                }
            }
            _ => {}
        }
    }
    found
}

/// Resolves a future of [`once`], unless it was cancelled.
pub(super) fn resolve(py: Python<'_>, future: &Py<PyAny>) -> PyResult<()> {
    let names = &imports(py).names;
    let future = future.bind(py);
    if call::method0(future, &names.done)?.is_truthy()? {
        return Ok(());
    }
    call::method1(future, &names.set_result, py.None().bind(py)).map(drop)
}
