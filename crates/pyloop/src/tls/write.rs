//! From `write()` to records, and from records to the lower transport.
//!
//! A write joins the backlog. Over a stream transport of ours the loop encrypts the backlog when the callback that wrote
//! has returned, as it sends the buffer of a plain transport then: several writes share records and a system call. Over
//! other transports it is encrypted at once.

use std::sync::atomic::Ordering;

use engine::Piece;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView};

use super::imports::imports;
use super::lower::Lower;
use super::pump::{Phase, Pump, pump};
use super::session::{BATCH, Step};
use super::shutdown;
use crate::py::bytes::{Chunk, View};
use crate::transport;
use crate::transport::{call_protocol, is_interrupt};

/// Bytes that are not held back for later writes to join.
const SEAL_AT: usize = 64 * 1024;

/// Checks what is written, and takes a copy of what its owner may change.
///
/// # Errors
/// `TypeError` unless it is bytes, a bytearray or a memoryview.
pub(super) fn chunk(data: &Bound<'_, PyAny>) -> PyResult<Option<Chunk>> {
    let py = data.py();
    let bytes = if let Ok(bytes) = data.cast_exact::<PyBytes>() {
        bytes.clone()
    } else if data.is_instance_of::<PyBytes>()
        || data.is_instance_of::<PyByteArray>()
        || data.is_instance_of::<PyMemoryView>()
    {
        PyBytes::new(py, View::read(data)?.as_slice())
    } else {
        return Err(PyTypeError::new_err(format!(
            "data: expecting a bytes-like instance, got {}",
            data.get_type().name()?
        )));
    };
    Ok((!bytes.as_bytes().is_empty()).then(|| Chunk::new(bytes)))
}

/// `transport.write()` and `transport.writelines()`.
pub(super) fn write(
    object: &Bound<'_, PyAny>,
    chunks: impl IntoIterator<Item = Chunk>,
) -> PyResult<()> {
    let py = object.py();
    let pump = pump(object);
    let late = pump.with(py, |state| {
        let late = !matches!(state.phase, Phase::Handshake | Phase::Wrapped);
        late.then(|| {
            let count = state.ending.late_writes;
            state.ending.late_writes = count.saturating_add(1);
            count
        })
    })?;
    if let Some(count) = late {
        imports(py).warn_lost_write.call1(py, (count,))?;
        return Ok(());
    }
    let mut chunks = chunks.into_iter();
    let (wrapped, size, lower) = pump.with(py, |state| {
        for chunk in chunks.by_ref() {
            state.output.backlog.push(chunk);
        }
        let lower = state.lower.as_ref().map(|lower| lower.clone_ref(py));
        (
            state.phase == Phase::Wrapped,
            state.output.backlog.len(),
            lower,
        )
    })?;
    match lower {
        _ if !wrapped => Ok(()),
        Some(Lower::Stream(stream)) if size < SEAL_AT && is_running(py, pump) => {
            transport::request_flush(stream.bind(py))
        }
        _ => push(object, pump),
    }
}

/// Whether there is a callback after whose return the loop flushes.
fn is_running(py: Python<'_>, pump: &Pump) -> bool {
    pump.owner.bind(py).get().running.load(Ordering::Relaxed)
}

/// The loop flushes the stream transport underneath.
///
/// # Errors
/// Interrupts of callbacks.
pub(crate) fn flush(object: &Bound<'_, PyAny>) -> PyResult<()> {
    let pump = pump(object);
    match pump.with(object.py(), |state| (state.phase, state.input.reading))? {
        (Phase::Wrapped, _) => push(object, pump),
        // The read that is in progress goes on with it.
        (Phase::Flushing, false) => shutdown::flush(object, pump),
        _ => Ok(()),
    }
}

/// Encrypts the backlog and sends the records, as far as the lower transport has room.
///
/// # Errors
/// Interrupts; any other error ends the connection.
pub(super) fn push(object: &Bound<'_, PyAny>, pump: &Pump) -> PyResult<()> {
    let py = object.py();
    let begin = pump.with(py, |state| {
        if !matches!(state.phase, Phase::Wrapped | Phase::Flushing) {
            return false;
        }
        // The lower transport has called back: what is left is seen to further up.
        state.output.written_meanwhile = state.output.sealing;
        !std::mem::replace(&mut state.output.sealing, true)
    })?;
    if !begin {
        return Ok(());
    }
    let result = push_all(object, pump);
    pump.with(py, |state| state.output.sealing = false)?;
    match result.and_then(|()| control_app(object, pump)) {
        Err(error) if !is_interrupt(py, &error) => {
            shutdown::fatal_error(object, pump, error, "Fatal error on SSL protocol")
        }
        other => other,
    }
}

fn push_all(object: &Bound<'_, PyAny>, pump: &Pump) -> PyResult<()> {
    let py = object.py();
    loop {
        let more = seal(py, pump)?;
        send_records(py, pump)?;
        let again = pump.with(py, |state| {
            std::mem::take(&mut state.output.written_meanwhile)
        })?;
        if !more && !again {
            return Ok(());
        }
    }
}

/// Encrypts a batch; whether there is more to encrypt now.
fn seal(py: Python<'_>, pump: &Pump) -> PyResult<bool> {
    let mut sealed = 0;
    let mut joined = Vec::new();
    let mut finished = Vec::new();
    while sealed < BATCH {
        let piece = pump.with(py, |state| {
            let may =
                matches!(state.phase, Phase::Wrapped | Phase::Flushing) && !state.output.lower_full;
            if may {
                state.output.backlog.take(&mut joined, &mut finished)
            } else {
                None
            }
        })?;
        finished.clear();
        let (chunk, offset) = match piece {
            None => return Ok(false),
            Some(Piece::Whole { chunk, offset }) => (chunk, offset),
            Some(Piece::Joined) => match pump.session.write(py, &joined, None)? {
                Step::Done => {
                    sealed += joined.len();
                    continue;
                }
                // What is offered again has to be the same.
                Step::Again => {
                    let chunk = Chunk::new(PyBytes::new(py, &joined));
                    pump.with(py, |state| state.output.backlog.put_back(chunk, 0))?;
                    return Ok(false);
                }
            },
        };
        let len = chunk.as_ref().len();
        let end = len.min(offset + BATCH);
        let whole = (offset == 0 && end == len).then(|| chunk.object(py));
        let step = pump
            .session
            .write(py, &chunk.as_ref()[offset..end], whole)?;
        let rest = match step {
            Step::Done => {
                sealed += end - offset;
                end
            }
            // A renegotiation wants to read first.
            Step::Again => offset,
        };
        if rest < len {
            pump.with(py, |state| state.output.backlog.put_back(chunk, rest))?;
        }
        if step == Step::Again {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Hands the records that were made to the lower transport, if it has room.
pub(super) fn send_records(py: Python<'_>, pump: &Pump) -> PyResult<()> {
    let lower = pump.with(py, |state| {
        let lower = state.lower.as_ref().filter(|_| !state.output.lower_full);
        lower.map(|lower| lower.clone_ref(py))
    })?;
    match lower {
        Some(lower) => send_all_records(py, pump, &lower),
        None => Ok(()),
    }
}

/// Hands the records that were made to the lower transport, room or not.
pub(super) fn send_all_records(py: Python<'_>, pump: &Pump, lower: &Lower) -> PyResult<()> {
    pump.session.send(py, lower)
}

/// Calls `pause_writing` or `resume_writing`, if it is time to.
pub(super) fn control_app(object: &Bound<'_, PyAny>, pump: &Pump) -> PyResult<()> {
    let py = object.py();
    let change = pump.with(py, |state| {
        let size = state.output.backlog.len();
        if state.output.flow.grew(size) {
            Some(true)
        } else if state.output.flow.shrank(size) {
            Some(false)
        } else {
            None
        }
    })?;
    let (Some(pause), Some(protocol)) = (change, pump.app(py)?) else {
        return Ok(());
    };
    match call_protocol(protocol.bind(py), pause) {
        Ok(()) => Ok(()),
        Err((error, _)) if is_interrupt(py, &error) => Err(error),
        Err((error, message)) => shutdown::report(object, pump, &error, &message),
    }
}

/// The lower transport has no room.
pub(super) fn pause(object: &Bound<'_, PyAny>) -> PyResult<()> {
    pump(object).with(object.py(), |state| state.output.lower_full = true)
}

/// The lower transport has room again.
pub(super) fn resume(object: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = object.py();
    let pump = pump(object);
    let (phase, reading) = pump.with(py, |state| {
        state.output.lower_full = false;
        (state.phase, state.input.reading)
    })?;
    match phase {
        Phase::Flushing if !reading => shutdown::flush(object, pump),
        Phase::Wrapped | Phase::Flushing => push(object, pump),
        _ => send_records(py, pump),
    }
}
