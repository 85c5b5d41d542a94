//! The ways a datagram transport ends, and the errors that it outlives.

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

use super::super::close::is_interrupt;
use super::super::stream;
use super::send;
use super::state::{Datagram, datagram};
use crate::py::call;
use crate::py::imports::imports;

/// Tells the protocol of an error that concerns a datagram, not the transport.
///
/// # Errors
/// Interrupts; what else the protocol raises is reported.
#[cold]
pub(super) fn error_received(
    object: &Bound<'_, PyAny>,
    this: &Datagram,
    error: PyErr,
) -> PyResult<()> {
    let py = object.py();
    let Some(protocol) = this.protocol(py)? else {
        return Ok(());
    };
    let error = error.into_value(py).into_bound(py).into_any();
    match call::method1(&protocol, &imports(py).names.error_received, &error) {
        Ok(_) => Ok(()),
        Err(raised) => report(object, raised, "Exception in protocol.error_received()"),
    }
}

/// Lets only interrupts through to the run; any other failure ends the transport and is reported.
#[inline]
pub(super) fn contain(
    object: &Bound<'_, PyAny>,
    result: PyResult<()>,
    message: &str,
) -> PyResult<()> {
    match result {
        Ok(()) => Ok(()),
        Err(error) if is_interrupt(object.py(), &error) => Err(error),
        Err(error) => fatal_error(object, error, message),
    }
}

/// `transport.close()`: nothing more is received; `connection_lost(None)` once everything is sent.
pub(super) fn close(object: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = object.py();
    let this = datagram(object);
    let (already, unsent) = this.with(py, |state| {
        let already = std::mem::replace(&mut state.ending.closing, true);
        (
            already,
            !state.output.queue.is_empty() && !state.output.blocked,
        )
    })?;
    if already {
        return Ok(());
    }
    if unsent {
        send::drain(object, this)?; // Loses the connection if that emptied the queue.
    }
    let (lost, empty) = this.with(py, |state| {
        (state.ending.lost > 0, state.output.queue.is_empty())
    })?;
    match (lost, empty) {
        (true, _) => Ok(()),
        (false, true) => lose_soon(object, this, None),
        (false, false) => this.update_interest(object),
    }
}

/// `transport.abort()`: drops what is not sent.
///
/// Datagrams of the last callback are offered to the kernel first: asyncio would have sent them in `sendto()`.
pub(super) fn abort(object: &Bound<'_, PyAny>) -> PyResult<()> {
    let this = datagram(object);
    let unsent = this.with(object.py(), |state| {
        state.ending.lost == 0 && !state.output.blocked && !state.output.queue.is_empty()
    })?;
    if unsent {
        send::drain(object, this)?;
    }
    force_close(object, None)
}

/// Ends the transport at once, with `connection_lost(error)` in the next iteration.
pub(super) fn force_close(object: &Bound<'_, PyAny>, error: Option<PyErr>) -> PyResult<()> {
    let this = datagram(object);
    let mut dropped = Vec::new();
    let lost = this.with(object.py(), |state| {
        if state.ending.lost > 0 {
            return true;
        }
        state.output.queue.take_into(usize::MAX, &mut dropped);
        state.output.blocked = false;
        state.ending.closing = true;
        false
    })?;
    drop(dropped);
    if lost {
        Ok(())
    } else {
        lose_soon(object, this, error)
    }
}

/// Reports an error that the transport cannot survive, unless it is of the system's everyday kind, and ends it.
#[cold]
pub(super) fn fatal_error(object: &Bound<'_, PyAny>, error: PyErr, message: &str) -> PyResult<()> {
    let py = object.py();
    if error.is_instance_of::<PyOSError>(py) {
        if datagram(object).owner.get().is_debug() {
            imports(py)
                .transport_debug
                .call1(py, (object, message, error.value(py)))?;
        }
    } else {
        report(object, error.clone_ref(py), message)?;
    }
    force_close(object, Some(error))
}

/// The same for a send.
pub(super) fn fatal_write(object: &Bound<'_, PyAny>, error: PyErr) -> PyResult<()> {
    fatal_error(object, error, "Fatal write error on datagram transport")
}

/// Hands an error to the loop's exception handler.
///
/// # Errors
/// An interrupt, instead of being reported.
#[cold]
pub(super) fn report(object: &Bound<'_, PyAny>, error: PyErr, message: &str) -> PyResult<()> {
    let py = object.py();
    if is_interrupt(py, &error) {
        return Err(error);
    }
    let this = datagram(object);
    let protocol = this.protocol(py)?;
    let arguments = (&this.owner, object, protocol, error.into_value(py), message);
    imports(py).transport_failed.call1(py, arguments)?;
    Ok(())
}

/// Stops watching the descriptor and schedules `connection_lost(error)`.
pub(super) fn lose_soon(
    object: &Bound<'_, PyAny>,
    this: &Datagram,
    error: Option<PyErr>,
) -> PyResult<()> {
    let py = object.py();
    this.with(py, |state| state.ending.lost += 1)?;
    this.update_interest(object)?;
    let error = error.map_or_else(|| py.None(), |error| error.into_value(py).into_any());
    this.call_soon(object, "_call_connection_lost", &[error.bind(py)])
}

/// Calls `connection_lost(error)` and lets go of socket and protocol.
pub(super) fn connection_lost(object: &Bound<'_, PyAny>, error: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = object.py();
    let this = datagram(object);
    let told = match this.protocol(py)? {
        Some(protocol) => {
            call::method1(&protocol, &imports(py).names.connection_lost, error).map(drop)
        }
        None => Ok(()),
    };
    let closed = release(py, this);
    told.and(closed)
}

/// Closes the socket and empties the transport.
fn release(py: Python<'_>, this: &Datagram) -> PyResult<()> {
    let mut dropped = Vec::new();
    let (sock, protocol, held) = this.with(py, |state| {
        state.output.queue.take_into(usize::MAX, &mut dropped);
        // A finalized transport may still be sent to; its descriptor's number belongs to somebody else then.
        state.ending.closing = true;
        state.ending.lost = state.ending.lost.max(1);
        (
            state.sock.take(),
            state.protocol.take(),
            std::mem::take(&mut state.input.held),
        )
    })?;
    let closed = match sock {
        Some(sock) => call::method0(sock.bind(py), &imports(py).names.close).map(drop),
        None => Ok(()),
    };
    drop((dropped, protocol, held));
    closed
}

/// Warns about a transport that is dropped while open, and closes its socket.
pub(super) fn finalize(object: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = object.py();
    let this = datagram(object);
    if this.with(py, |state| state.sock.is_none())? {
        return Ok(());
    }
    let warned = imports(py)
        .transport_unclosed
        .call1(py, (object,))
        .map(drop);
    stream::forget(this.owner.get(), object, this.fd)?;
    let released = release(py, this);
    warned.and(released)
}
