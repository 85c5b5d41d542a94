//! The ways a transport ends: `close`, `abort`, an error, or being forgotten.

use pyo3::exceptions::{PyConnectionError, PyKeyboardInterrupt, PySystemExit};
use pyo3::prelude::*;

use super::flush;
use super::stream::{Socket, Stream, stream};
use crate::core::{LoopCore, call_soon};
use crate::py::call;
use crate::py::errors::os_error;
use crate::py::imports::imports;
use crate::sys::socket;

/// Whether an exception leaves the run instead of being reported.
pub(crate) fn is_interrupt(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PySystemExit>(py) || error.is_instance_of::<PyKeyboardInterrupt>(py)
}

/// Lets only interrupts through to the run; any other failure ends the transport and is reported.
pub(super) fn contain(object: &Bound<'_, PyAny>, result: PyResult<()>) -> PyResult<()> {
    match result {
        Err(error) if !is_interrupt(object.py(), &error) => {
            fatal_error(object, error, "Fatal error on transport")
        }
        other => other,
    }
}

/// `transport.close()`: no more reading; `connection_lost(None)` once everything is sent.
pub(super) fn close(object: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = object.py();
    let stream = stream(object);
    let (already, pending) = stream.with(py, |state| {
        let already = std::mem::replace(&mut state.ending.closing, true);
        (
            already,
            !state.output.buffer.is_empty() && !state.output.blocked,
        )
    })?;
    if already {
        return Ok(());
    }
    if pending {
        // Sends, and loses the connection if that emptied the buffer or failed.
        return flush::send(object, stream);
    }
    if stream.with(py, |state| state.output.buffer.is_empty())? {
        lose_soon(object, stream, None)
    } else {
        stream.update_interest(object)
    }
}

/// `transport.abort()`: drops what is not sent.
///
/// Bytes that the last callback wrote are offered to the kernel first: asyncio would have sent them in `write()`.
pub(super) fn abort(object: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = object.py();
    let stream = stream(object);
    let unsent = stream.with(py, |state| {
        state.ending.lost == 0 && !state.output.blocked && !state.output.buffer.is_empty()
    })?;
    if unsent {
        let _whatever_came_of_it = flush::send_buffered(py, stream)?;
    }
    force_close(object, None)
}

/// Ends the transport at once, with `connection_lost(error)` in the next iteration.
pub(super) fn force_close(object: &Bound<'_, PyAny>, error: Option<PyErr>) -> PyResult<()> {
    let py = object.py();
    let stream = stream(object);
    let mut dropped = Vec::new();
    let lost = stream.with(py, |state| {
        if state.ending.lost > 0 {
            return true;
        }
        state.output.buffer.clear_into(&mut dropped);
        state.output.blocked = false;
        state.ending.closing = true;
        false
    })?;
    drop(dropped);
    if lost {
        Ok(())
    } else {
        lose_soon(object, stream, error)
    }
}

/// Reports an error that the transport cannot survive, unless it is of the everyday kind ([`super::pipe::Medium::expects`]),
/// and ends it.
pub(super) fn fatal_error(object: &Bound<'_, PyAny>, error: PyErr, message: &str) -> PyResult<()> {
    let py = object.py();
    if stream(object).medium.expects(py, &error) {
        if stream(object).owner.get().is_debug() {
            imports(py)
                .transport_debug
                .call1(py, (object, message, error.value(py)))?;
        }
    } else {
        report(object, error.clone_ref(py), message)?;
    }
    force_close(object, Some(error))
}

/// Hands an error to the loop's exception handler.
///
/// # Errors
/// An interrupt, instead of being reported.
pub(super) fn report(object: &Bound<'_, PyAny>, error: PyErr, message: &str) -> PyResult<()> {
    let py = object.py();
    if is_interrupt(py, &error) {
        return Err(error);
    }
    let stream = stream(object);
    let protocol = stream.protocol(py)?;
    let arguments = (
        &stream.owner,
        object,
        protocol,
        error.into_value(py),
        message,
    );
    imports(py).transport_failed.call1(py, arguments)?;
    Ok(())
}

/// Logs an event of the transport in debug mode.
pub(super) fn log_debug(object: &Bound<'_, PyAny>, message: &str) -> PyResult<()> {
    log_debug_of(stream(object).owner.get(), object, message)
}

/// The same for a transport of any kind.
pub(super) fn log_debug_of(
    core: &LoopCore,
    object: &Bound<'_, PyAny>,
    message: &str,
) -> PyResult<()> {
    let py = object.py();
    if core.is_debug() {
        imports(py)
            .transport_debug
            .call1(py, (object, message, py.None()))?;
    }
    Ok(())
}

/// Stops watching the descriptor and schedules `connection_lost(error)`.
pub(super) fn lose_soon(
    object: &Bound<'_, PyAny>,
    stream: &Stream,
    error: Option<PyErr>,
) -> PyResult<()> {
    let py = object.py();
    stream.with(py, |state| state.ending.lost += 1)?;
    stream.update_interest(object)?;
    let lose = object.getattr(&imports(py).names.lose)?;
    let error = error.map_or_else(|| py.None(), |error| error.into_value(py).into_any());
    let context = stream.context.bind(py).clone();
    call_soon(stream.owner.bind(py), &lose, &[error.as_ptr()], context)
}

/// Calls `connection_lost(error)` and lets go of socket, protocol and server.
pub(super) fn connection_lost(object: &Bound<'_, PyAny>, error: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = object.py();
    let stream = stream(object);
    let told = match stream.protocol(py)? {
        Some(protocol) => {
            call::method1(protocol.bind(py), &imports(py).names.connection_lost, error).map(drop)
        }
        None => Ok(()),
    };
    let closed = release(object, stream);
    told.and(closed)
}

/// Closes the socket and empties the transport.
fn release(object: &Bound<'_, PyAny>, stream: &Stream) -> PyResult<()> {
    let py = object.py();
    super::info::keep_names(py, stream)?;
    let mut dropped = Vec::new();
    let (socket, protocol, waiters, server) = stream.with(py, |state| {
        state.output.buffer.clear_into(&mut dropped);
        // A finalized transport may still be written to; its descriptor's number belongs to somebody else then.
        state.ending.closing = true;
        state.ending.lost = state.ending.lost.max(1);
        (
            std::mem::replace(&mut state.socket, Socket::Closed),
            state.protocol.take(),
            [
                state.output.empty_waiter.take(),
                state.output.room_waiter.take(),
            ],
            state.about.server.take(),
        )
    })?;
    let closed = match socket {
        Socket::Python(socket) => {
            call::method0(socket.bind(py), &imports(py).names.close).map(drop)
        }
        Socket::Native(descriptor) => {
            drop(descriptor);
            Ok(())
        }
        Socket::Shared(object, _twin) => {
            call::method0(object.bind(py), &imports(py).names.close).map(drop)
        }
        Socket::Closed => Ok(()),
    };
    drop((dropped, protocol));
    for waiter in waiters.into_iter().flatten() {
        fail_waiter(waiter.bind(py), closed_by_peer())?;
    }
    if let Some(server) = server {
        imports(py).server_detach.call1(py, (server, object))?;
    }
    closed
}

/// What whoever waits for a transport hears when its connection is lost.
pub(super) fn closed_by_peer() -> PyErr {
    PyConnectionError::new_err("Connection is closed by peer")
}

/// Fails a future, unless it is done.
pub(super) fn fail_waiter(waiter: &Bound<'_, PyAny>, error: PyErr) -> PyResult<()> {
    if !waiter.call_method0("done")?.is_truthy()? {
        waiter.call_method1("set_exception", (error.into_value(waiter.py()),))?;
    }
    Ok(())
}

/// Tells the peer that nothing more will be sent.
pub(super) fn shut_down(object: &Bound<'_, PyAny>, stream: &Stream) -> PyResult<()> {
    match socket::shut_down_writing(stream.fd) {
        // The peer is gone already: reading tells the protocol.
        Err(error) if error.kind() == std::io::ErrorKind::NotConnected => Ok(()),
        Err(error) => fatal_error(
            object,
            os_error(error),
            "Fatal write error on socket transport",
        ),
        Ok(()) => Ok(()),
    }
}

/// Warns about a transport that is dropped while open, and closes its socket.
pub(super) fn finalize(object: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = object.py();
    let stream = stream(object);
    if stream.with(py, |state| matches!(state.socket, Socket::Closed))? {
        return Ok(());
    }
    let warned = imports(py)
        .transport_unclosed
        .call1(py, (object,))
        .map(drop);
    super::stream::forget(stream.owner.get(), object, stream.fd)?;
    let released = release(object, stream);
    warned.and(released)
}
