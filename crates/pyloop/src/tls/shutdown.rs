//! The ways a connection ends: `close`, `abort`, the peer's end, an error, the loss of the lower transport.
//!
//! A connection that closes sends what was written, announces its end and waits for the peer's announcement, for
//! `ssl_shutdown_timeout` seconds at most, until the lower transport is gone.

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

use super::imports::imports;
use super::pump::{Phase, Pump, Told, protocol_of, pump};
use super::session::Step;
use super::{handshake, read, write};
use crate::core::call_soon;
use crate::py::call;
use crate::py::context;
use crate::py::imports::imports as common;
use crate::transport::is_interrupt;

/// `transport.close()`.
pub(super) fn close(object: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = object.py();
    let pump = pump(object);
    pump.with(py, |state| state.ending.closed = true)?;
    start(object, pump, true)
}

/// Begins to close; `by_application` if nobody wants to read any more.
pub(super) fn start(object: &Bound<'_, PyAny>, pump: &Pump, by_application: bool) -> PyResult<()> {
    let py = object.py();
    let (phase, discarded) = pump.with(py, |state| {
        let phase = state.phase;
        if matches!(phase, Phase::Handshake | Phase::Wrapped) {
            state.ending.closed = true;
        }
        if phase == Phase::Wrapped {
            state.phase = Phase::Flushing;
        }
        let discarded = state.ending.discard;
        state.ending.discard |= by_application;
        (phase, discarded)
    })?;
    match phase {
        // Before the lower transport is there: its `connection_made` sees that it is not wanted any more.
        Phase::Unwrapped | Phase::Shutdown => Ok(()),
        Phase::Handshake => abort(object, pump, None),
        // The peer has closed, and what it sent waited for the application to resume reading.
        Phase::Flushing if by_application && !discarded => flush(object, pump),
        Phase::Flushing => Ok(()),
        Phase::Wrapped => {
            start_timer(object, pump)?;
            flush(object, pump)
        }
    }
}

fn start_timer(object: &Bound<'_, PyAny>, pump: &Pump) -> PyResult<()> {
    let py = object.py();
    if pump.with(py, |state| state.waits.shutdown.is_some())? {
        return Ok(());
    }
    let name = &imports(py).names._check_shutdown_timeout;
    let timer = handshake::start_timer(object, pump, &pump.shutdown_timeout, name)?;
    pump.with(py, |state| state.waits.shutdown = Some(timer))
}

/// Reads and writes what there is; announces the end when nothing is left to write.
pub(super) fn flush(object: &Bound<'_, PyAny>, pump: &Pump) -> PyResult<()> {
    let py = object.py();
    if !read::pull(object, pump)? {
        return Ok(()); // The read in progress goes on here when it is through.
    }
    // The peer's announcement, or its end, may be behind what nobody wants to read any more.
    read::control_lower(object, pump)?;
    write::push(object, pump)?;
    let (waits, written) = pump.with(py, |state| {
        // What has arrived before the peer's end waits for the application, for as long as it likes.
        let waits = state.phase != Phase::Flushing || (state.input.paused && !state.ending.discard);
        let written = !waits && state.output.backlog.is_empty();
        if written {
            state.phase = Phase::Shutdown;
        }
        (waits, written)
    })?;
    if waits {
        return Ok(());
    }
    start_timer(object, pump)?;
    if written {
        announce(object, pump)
    } else {
        Ok(())
    }
}

/// Announces the end, or takes note of the peer's announcement.
pub(super) fn announce(object: &Bound<'_, PyAny>, pump: &Pump) -> PyResult<()> {
    let py = object.py();
    // A peer that is gone will not answer.
    let ended = pump.with(py, |state| state.input.ended)?;
    if !ended {
        match pump.session.shutdown(py) {
            Ok(Step::Done) => {}
            Ok(Step::Again) => return write::send_records(py, pump),
            Err(error) if is_interrupt(py, &error) => return Err(error),
            Err(error) => return fatal_error(object, pump, error, "Fatal error on transport"),
        }
    }
    let lower = pump.lower(py)?;
    if let Some(lower) = &lower {
        // The lower transport is closed next and keeps what it was given: room or not, nothing may stay behind.
        write::send_all_records(py, pump, lower)?;
    }
    read::tell_end(object, pump)?;
    let Some(lower) = lower else {
        return Ok(());
    };
    // A peer that does not read would keep the lower transport from closing for ever.
    start_timer(object, pump)?;
    let close = lower.object().bind(py).getattr(&common(py).names.close)?;
    call_soon(pump.owner.bind(py), &close, &[], context::copy_current(py)?)
}

/// The timer of the shutdown has fired.
pub(super) fn check_timeout(object: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = object.py();
    let pump = pump(object);
    let (phase, lower) = pump.with(py, |state| {
        (
            state.phase,
            state.lower.as_ref().map(|lower| lower.clone_ref(py)),
        )
    })?;
    if !matches!(phase, Phase::Flushing | Phase::Shutdown) {
        return Ok(());
    }
    let Some(lower) = lower else {
        return Ok(());
    };
    let error = imports(py)
        .timeout_error
        .call1(py, ("SSL shutdown timed out",))?;
    let error = PyErr::from_value(error.into_bound(py));
    force_close(py, pump, &lower, Some(error))
}

/// `transport.abort()`, and `_force_close` with an error: ends the connection without an announcement.
pub(super) fn abort(object: &Bound<'_, PyAny>, pump: &Pump, error: Option<PyErr>) -> PyResult<()> {
    let py = object.py();
    let phase = pump.with(py, |state| {
        state.ending.closed = true;
        state.phase
    })?;
    if matches!(phase, Phase::Wrapped | Phase::Flushing) && error.is_none() {
        // asyncio would have sent it in `write()`: what the kernel takes leaves.
        write::push(object, pump)?;
    }
    let lower = pump.with(py, |state| {
        state.phase = Phase::Unwrapped;
        state.lower.as_ref().map(|lower| lower.clone_ref(py))
    })?;
    match lower {
        Some(lower) => force_close(py, pump, &lower, error),
        None => Ok(()),
    }
}

/// Ends the lower transport at once.
fn force_close(
    py: Python<'_>,
    pump: &Pump,
    lower: &super::lower::Lower,
    error: Option<PyErr>,
) -> PyResult<()> {
    let kept = error.as_ref().map(|error| error.clone_ref(py));
    let previous = pump.with(py, |state| std::mem::replace(&mut state.ending.error, kept))?;
    drop(previous);
    lower.force_close(py, error.as_ref())
}

/// Ends the connection with an error, and reports it unless it is of the everyday kind.
pub(super) fn fatal_error(
    object: &Bound<'_, PyAny>,
    pump: &Pump,
    error: PyErr,
    message: &str,
) -> PyResult<()> {
    let py = object.py();
    let lower = pump.with(py, |state| {
        // Nothing is read or written from here on. (A handshake that fails has yet to tell who waits for it.)
        if state.phase != Phase::Handshake {
            state.phase = Phase::Unwrapped;
        }
        state.lower.as_ref().map(|lower| lower.clone_ref(py))
    })?;
    if let Some(lower) = lower {
        force_close(py, pump, &lower, Some(error.clone_ref(py)))?;
    }
    if error.is_instance_of::<PyOSError>(py) {
        if pump.owner.get().is_debug() {
            imports(py)
                .log_error
                .call1(py, (object, message, error.value(py)))?;
        }
        return Ok(());
    }
    if error.is_instance(py, imports(py).cancelled_error.bind(py)) {
        return Ok(());
    }
    let lower = pump.with(py, |state| state.lower_object(py))?;
    report_with(object, pump, &error, message, lower)
}

/// Hands an error to the loop's exception handler.
pub(super) fn report(
    object: &Bound<'_, PyAny>,
    pump: &Pump,
    error: &PyErr,
    message: &str,
) -> PyResult<()> {
    let py = object.py();
    let transport = pump.with(py, |state| {
        state
            .app
            .transport
            .as_ref()
            .map(|transport| transport.clone_ref(py))
    })?;
    report_with(object, pump, error, message, transport)
}

fn report_with(
    object: &Bound<'_, PyAny>,
    pump: &Pump,
    error: &PyErr,
    message: &str,
    transport: Option<Py<PyAny>>,
) -> PyResult<()> {
    let py = object.py();
    let arguments = (&pump.owner, object, transport, error.value(py), message);
    imports(py).report.call1(py, arguments)?;
    Ok(())
}

/// The lower transport's `eof_received`; whether it is to stay open for writing.
pub(super) fn lower_ended(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = object.py();
    let pump = pump(object);
    if pump.owner.get().is_debug() {
        handshake::log(object, "received EOF")?;
    }
    let phase = pump.with(py, |state| {
        state.input.ended = true;
        if state.phase == Phase::Wrapped {
            state.phase = Phase::Flushing;
        }
        state.phase
    })?;
    match phase {
        Phase::Unwrapped => {}
        Phase::Handshake => handshake::peer_closed(object, pump)?,
        Phase::Wrapped | Phase::Flushing => flush(object, pump)?,
        Phase::Shutdown => announce(object, pump)?,
    }
    // What was written goes on to a peer that only does not send any more.
    pump.with(py, |state| state.phase == Phase::Flushing)
}

/// The lower transport is gone.
pub(super) fn lower_lost(object: &Bound<'_, PyAny>, error: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = object.py();
    let pump = pump(object);
    let mut dropped = Vec::new();
    let (held, told, timers, kept) = pump.with(py, |state| {
        state.output.backlog.clear_into(&mut dropped);
        state.ending.closed = true;
        state.ending.late_writes = state.ending.late_writes.saturating_add(1);
        let during_handshake = state.phase == Phase::Handshake;
        state.phase = Phase::Unwrapped;
        let tell = !during_handshake && matches!(state.told, Told::Made | Told::Eof);
        if tell {
            state.told = Told::Lost;
        }
        let protocol = state.app.protocol.take();
        let told = if tell {
            protocol.as_ref().map(|protocol| protocol.clone_ref(py))
        } else {
            None
        };
        let timers = (state.waits.handshake.take(), state.waits.shutdown.take());
        (
            (state.lower.take(), state.app.transport.take(), protocol),
            told,
            timers,
            state.ending.error.take(),
        )
    })?;
    drop(dropped);
    let error = match kept {
        Some(kept) if error.is_none() => kept.into_value(py).into_bound(py).into_any(),
        _ => error.clone(),
    };
    let mut outcome = Ok(());
    for timer in [timers.0, timers.1].into_iter().flatten() {
        outcome = outcome.and(call::method0(timer.bind(py), &imports(py).names.cancel).map(drop));
    }
    let reason = (!error.is_none()).then(|| PyErr::from_value(error.clone()));
    outcome = outcome.and(handshake::wake_waiter(py, pump, reason.as_ref()));
    // Records that nobody will send.
    outcome = outcome.and(pump.session.drop_outgoing(py));
    drop((held, reason));
    if let Some(protocol) = told {
        // Last: it may do anything.
        let name = &common(py).names.connection_lost;
        outcome = outcome.and(call::method1(protocol.bind(py), name, &error).map(drop));
    }
    outcome
}

/// `repr(transport)`.
pub(super) fn transport_repr(object: &Bound<'_, PyAny>) -> PyResult<String> {
    let py = object.py();
    let pump = pump(protocol_of(object));
    let (closed, lower) = pump.with(py, |state| (state.ending.closed, state.lower_object(py)))?;
    let word = match (&lower, closed) {
        (None, true) => " closed",
        (Some(_), true) => " closing",
        _ => "",
    };
    let over = match lower {
        Some(lower) => format!(" over {}", lower.bind(py).repr()?),
        None => String::new(),
    };
    Ok(format!("<{}{word}{over}>", object.get_type().name()?))
}

/// Warns about a transport that is dropped while open.
pub(super) fn finalize(object: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = object.py();
    let pump = pump(protocol_of(object));
    if pump.with(py, |state| {
        std::mem::replace(&mut state.ending.closed, true)
    })? {
        return Ok(());
    }
    imports(py).warn_unclosed.call1(py, (object,)).map(drop)
}
