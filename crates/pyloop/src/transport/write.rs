//! From `write()` to the write buffer; what is sent at once.
//!
//! A write joins the transport's buffer; the loop sends the buffer when the callback that wrote has returned (after an
//! I/O event) or when its batch has ended (after `call_soon` callbacks), so that several writes leave in one system
//! call. A buffer that would exceed [`SEND_AT`] or the high-water mark is sent at once: a protocol is told to pause only
//! when the kernel has no room. Pipes are written to at once.

use std::sync::atomic::Ordering;

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::pipe::{self, Medium};
use super::stream::{State, Stream, stream};
use super::{close, flow, flush};
use crate::py::bytes::{Chunk, Written};
use crate::py::errors::os_error;
use crate::py::imports::imports;
use crate::sys::socket::{Attempt, bad_descriptor};

/// Bytes that are not held back for later writes to join: one system call for more saves nothing worth the wait.
const SEND_AT: usize = 64 * 1024;

/// What `write()` takes, in asyncio's words: those for streams have changed, those for datagrams have not.
const WANTED: &str = if cfg!(Py_3_14) {
    "a bytes, bytearray, or memoryview object"
} else {
    "a bytes-like object"
};

/// What the state says to a write.
enum Admission {
    /// Append; flush now if `true`.
    Accepted(bool),
    /// The connection is lost; asyncio warns from a certain number of such writes on.
    Lost(u32),
    /// A pipe that is being closed takes nothing more, and says nothing.
    Closing,
    Ended,
    SendfileInProgress,
}

/// `transport.write(data)`.
pub(super) fn write(object: &Bound<'_, PyAny>, data: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = object.py();
    let stream = stream(object);
    let written = match Written::from(data, WANTED) {
        Err(_) if stream.medium != Medium::Socket => return Err(pipe::refused(data)?),
        written => written?,
    };
    let size = written.as_slice().len();
    match stream.with(py, |state| admit(stream, state, size))? {
        Admission::Ended => Err(PyRuntimeError::new_err(
            "Cannot call write() after write_eof()",
        )),
        Admission::SendfileInProgress => Err(PyRuntimeError::new_err(
            "unable to write; sendfile is in progress",
        )),
        Admission::Closing => Ok(()),
        _ if size == 0 => Ok(()),
        Admission::Lost(count) => count_lost_write(py, stream, count),
        Admission::Accepted(false) => {
            let (chunk, _) = written.keep(py, 0);
            append(object, stream, chunk)
        }
        Admission::Accepted(true) => write_now(object, stream, &written),
    }
}

fn admit(stream: &Stream, state: &State, size: usize) -> Admission {
    if state.output.ended {
        Admission::Ended
    } else if state.output.empty_waiter.is_some() {
        Admission::SendfileInProgress
    } else if state.ending.lost > 0 {
        Admission::Lost(state.ending.lost)
    } else {
        let (_, high) = state.output.flow.limits();
        match stream.medium {
            Medium::Writer { .. } if state.ending.closing => Admission::Closing,
            // At once, as asyncio has it: programs print to the same terminal, and read the other end themselves.
            Medium::Writer { .. } => Admission::Accepted(true),
            // Nor is there anything to wait for while the loop does not run: no callback will return.
            _ => Admission::Accepted(
                state.output.buffer.len() + size > high.min(SEND_AT)
                    || !stream.owner.get().running.load(Ordering::Relaxed),
            ),
        }
    }
}

#[cold]
fn count_lost_write(py: Python<'_>, stream: &Stream, count: u32) -> PyResult<()> {
    imports(py)
        .write_after_loss
        .call1(py, (count, stream.medium.late_write()))?;
    stream.with(py, |state| {
        state.ending.lost = state.ending.lost.saturating_add(1)
    })
}

/// Adds a chunk and has the loop flush the transport.
fn append(object: &Bound<'_, PyAny>, stream: &Stream, chunk: Chunk) -> PyResult<()> {
    let py = object.py();
    let core = stream.owner.get();
    let access = core.access(py)?;
    let schedule = stream.state.with(&access, |state| {
        state.output.buffer.push(chunk);
        // A blocked transport is flushed when the reactor says that there is room.
        let schedule = !state.output.queued && !state.output.blocked;
        state.output.queued |= schedule;
        schedule
    });
    if schedule {
        let reference = object.clone().unbind();
        core.queue
            .with(&access, |queue| queue.unflushed.push(reference));
        drop(access);
        if !core.owner.is_here() {
            core.wake(); // A write from another thread than the run's is a mistake, and leaves all the same.
        }
    }
    Ok(())
}

/// Has the loop flush a transport whose TLS pump has something to encrypt.
pub(crate) fn request_flush(object: &Bound<'_, PyAny>) -> PyResult<()> {
    let stream = stream(object);
    let core = stream.owner.get();
    let access = core.access(object.py())?;
    let queued = stream.state.with(&access, |state| {
        std::mem::replace(&mut state.output.queued, true)
    });
    if !queued {
        let reference = object.clone().unbind();
        core.queue
            .with(&access, |queue| queue.unflushed.push(reference));
        drop(access);
        if !core.owner.is_here() {
            core.wake();
        }
    }
    Ok(())
}

/// Sends the records of a TLS connection at once, as far as the kernel takes them.
pub(crate) fn send_records(object: &Bound<'_, PyAny>, records: &Written<'_, '_>) -> PyResult<()> {
    let stream = stream(object);
    if stream.with(object.py(), |state| state.ending.lost > 0)? {
        return Ok(()); // Nobody is there to read them.
    }
    write_now(object, stream, records)
}

/// Sends at once as much as the kernel takes, and keeps the rest.
fn write_now(
    object: &Bound<'_, PyAny>,
    stream: &Stream,
    written: &Written<'_, '_>,
) -> PyResult<()> {
    let py = object.py();
    let (empty, blocked) = stream.with(py, |state| {
        (state.output.buffer.is_empty(), state.output.blocked)
    })?;
    let mut sent = 0;
    if empty && !blocked {
        // Nothing is ahead of it: what the kernel takes needs no copy.
        let attempt = if stream.owns_descriptor(py)? {
            stream.send(written.as_slice())
        } else {
            Attempt::Failed(bad_descriptor())
        };
        match attempt {
            Attempt::Done(count) if count == written.as_slice().len() => return Ok(()),
            Attempt::Done(count) => sent = count,
            Attempt::WouldBlock => {}
            Attempt::Failed(error) => {
                return close::fatal_error(object, os_error(error), stream.medium.write_error());
            }
        }
        let (chunk, offset) = written.keep(py, sent);
        stream.with(py, |state| {
            state.output.buffer.push(chunk);
            state.output.buffer.advance(offset, &mut Vec::new());
            state.output.blocked = true;
        })?;
        stream.update_interest(object)?;
        return flow::after_growth(object, stream);
    }
    let (chunk, _) = written.keep(py, 0);
    stream.with(py, |state| state.output.buffer.push(chunk))?;
    if blocked {
        return flow::after_growth(object, stream);
    }
    flush::send(object, stream)?;
    flow::after_growth(object, stream)
}

/// `transport.writelines(list_of_data)`.
pub(super) fn writelines(object: &Bound<'_, PyAny>, lines: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = object.py();
    let stream = stream(object);
    // Everything is looked at before anything is written: a wrong item leaves nothing half done.
    let mut chunks = Vec::new();
    for item in lines.try_iter()? {
        let item = item?;
        let chunk = match item.cast::<PyBytes>() {
            Ok(bytes) => Chunk::new(bytes.clone()),
            Err(_) => {
                let view = crate::py::bytes::View::read(&item).map_err(|_| {
                    PyTypeError::new_err(format!(
                        "a bytes-like object is required, not '{}'",
                        item.get_type()
                            .name()
                            .map_or_else(|_| "?".to_owned(), |name| name.to_string())
                    ))
                })?;
                Chunk::new(PyBytes::new(py, view.as_slice()))
            }
        };
        if !chunk.as_ref().is_empty() {
            chunks.push(chunk);
        }
    }
    let size = chunks.iter().map(|chunk| chunk.as_ref().len()).sum();
    match stream.with(py, |state| admit(stream, state, size))? {
        // Until 3.11 asyncio's calls its own write().
        Admission::Ended => Err(PyRuntimeError::new_err(if cfg!(Py_3_12) {
            "Cannot call writelines() after write_eof()"
        } else {
            "Cannot call write() after write_eof()"
        })),
        Admission::SendfileInProgress => Err(PyRuntimeError::new_err(
            "unable to writelines; sendfile is in progress",
        )),
        Admission::Closing => Ok(()),
        _ if size == 0 => Ok(()),
        Admission::Lost(count) => count_lost_write(py, stream, count),
        Admission::Accepted(now) => {
            for chunk in chunks {
                append(object, stream, chunk)?;
            }
            if !now {
                return Ok(());
            }
            if !stream.with(py, |state| state.output.blocked)? {
                flush::send(object, stream)?;
            }
            flow::after_growth(object, stream)
        }
    }
}

/// A future for the moment when the socket has room: what `sendfile` waits for between two of its system calls.
///
/// # Errors
/// `ConnectionError` if the connection is lost, as the future has then, too.
pub(super) fn when_writable<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = object.py();
    let stream = stream(object);
    let waiter = stream.owner.bind(py).call_method0("create_future")?;
    let kept = waiter.clone().unbind();
    let (lost, previous) = stream.with(py, |state| {
        if state.ending.lost > 0 {
            return (true, Some(kept));
        }
        (false, state.output.room_waiter.replace(kept))
    })?;
    drop(previous);
    if lost {
        return Err(close::closed_by_peer());
    }
    stream.update_interest(object)?;
    Ok(waiter)
}

/// `transport.write_eof()`: half a close, after what was written.
pub(super) fn write_eof(object: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = object.py();
    let stream = stream(object);
    if stream.medium != Medium::Socket {
        return close::close(object); // A pipe has no other half to keep open.
    }
    let (begin, blocked) = stream.with(py, |state| {
        let begin = !state.ending.closing && !state.output.ended;
        state.output.ended |= begin;
        (begin, state.output.blocked)
    })?;
    if !begin || blocked {
        return Ok(());
    }
    flush::send(object, stream)
}
