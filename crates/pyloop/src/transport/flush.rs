//! From a stream transport's write buffer to the socket.

use std::io::IoSlice;

use engine::MAX_SLICES;
use pyo3::prelude::*;

use super::stream::{Delivery, Stream, stream};
use super::{close, flow};
use crate::py::context;
use crate::py::errors::os_error;
use crate::py::imports::imports;
use crate::sys::socket::{Attempt, bad_descriptor};
use crate::tls;

/// What a flush came to.
pub(super) enum Sent {
    All,
    Some,
    Failed(std::io::Error),
}

/// Flushes a transport that was written to; the loop calls it when the callbacks that wrote have returned.
///
/// # Errors
/// `KeyboardInterrupt` and `SystemExit` of the protocol.
pub(crate) fn flush(object: &Bound<'_, PyAny>) -> PyResult<()> {
    let stream = stream(object);
    let result = flush_records(object, stream).and_then(|()| flush_buffer(object, stream));
    close::contain(object, result)
}

/// Has the pump of a TLS connection encrypt what was written.
fn flush_records(object: &Bound<'_, PyAny>, stream: &Stream) -> PyResult<()> {
    let py = object.py();
    let protocol = stream.with(py, |state| {
        state.output.queued = false;
        let records = state.input.delivery == Delivery::Records;
        let protocol = state.protocol.as_ref().filter(|_| records);
        protocol.map(|protocol| protocol.clone_ref(py))
    })?;
    match protocol {
        None => Ok(()),
        Some(protocol) => context::run(stream.context.bind(py), || tls::flush(protocol.bind(py))),
    }
}

fn flush_buffer(object: &Bound<'_, PyAny>, stream: &Stream) -> PyResult<()> {
    let py = object.py();
    let idle = stream.with(py, |state| {
        state.output.queued = false;
        state.output.buffer.is_empty() || state.output.blocked || state.ending.lost > 0
    })?;
    if idle {
        return Ok(());
    }
    let sent = send_buffered(py, stream)?;
    let calm = stream.with(py, |state| {
        matches!(sent, Sent::All)
            && !state.output.flow.is_paused()
            && !state.ending.closing
            && !state.output.ended
            && state.output.empty_waiter.is_none()
    })?;
    if calm {
        return Ok(()); // The common case: all is sent, and nobody waited for that.
    }
    let context = stream.context.bind(py).clone();
    context::run(&context, || {
        settle(object, stream, sent)?;
        flow::after_growth(object, stream)
    })
}

/// Sends the buffer now, before something that must come after it.
pub(super) fn send(object: &Bound<'_, PyAny>, stream: &Stream) -> PyResult<()> {
    let sent = send_buffered(object.py(), stream)?;
    settle(object, stream, sent)
}

/// The reactor says that the socket has room again.
pub(super) fn writable(object: &Bound<'_, PyAny>, stream: &Stream) -> PyResult<()> {
    let py = object.py();
    let (blocked, waiter) = stream.with(py, |state| {
        let blocked = state.output.blocked && state.ending.lost == 0;
        (blocked, state.output.room_waiter.take())
    })?;
    if let Some(waiter) = waiter {
        stream.update_interest(object)?;
        imports(py)
            .set_result_unless_cancelled
            .call1(py, (waiter, py.None()))?;
    }
    if blocked {
        send(object, stream)
    } else {
        Ok(())
    }
}

/// Sends what the buffer holds until it is empty or the kernel has no room.
pub(super) fn send_buffered(py: Python<'_>, stream: &Stream) -> PyResult<Sent> {
    if !stream.owns_descriptor(py)? {
        return Ok(Sent::Failed(bad_descriptor()));
    }
    let mut finished = Vec::new();
    let sent = stream.with(py, |state| {
        let buffer = &mut state.output.buffer;
        while !buffer.is_empty() {
            let attempt = if buffer.chunks() == 1 {
                stream.send(buffer.front().unwrap_or_default())
            } else {
                let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                let count = buffer.fill_slices(&mut slices);
                stream.send_vectored(&slices[..count])
            };
            match attempt {
                Attempt::Done(count) => buffer.advance(count, &mut finished),
                Attempt::WouldBlock => return Sent::Some,
                Attempt::Failed(error) => return Sent::Failed(error),
            }
        }
        Sent::All
    })?;
    drop(finished);
    Ok(sent)
}

/// What follows a flush: flow control, and the ends that waited for the buffer to be empty.
fn settle(object: &Bound<'_, PyAny>, stream: &Stream, sent: Sent) -> PyResult<()> {
    let py = object.py();
    if let Sent::Failed(error) = sent {
        return fail(object, stream, error);
    }
    let all = matches!(sent, Sent::All);
    let changed = stream.with(py, |state| {
        std::mem::replace(&mut state.output.blocked, !all) == all
    })?;
    if changed {
        stream.update_interest(object)?;
    }
    let resume = stream.with(py, |state| {
        let len = state.output.buffer.len();
        state.output.flow.shrank(len)
    })?;
    if resume {
        flow::tell(object, stream, false)?; // May write again.
    }
    let (empty, closing, ended, lost, waiter) = stream.with(py, |state| {
        let empty = state.output.buffer.is_empty();
        let waiter = state.output.empty_waiter.as_ref().filter(|_| empty);
        (
            empty,
            state.ending.closing,
            state.output.ended,
            state.ending.lost > 0,
            waiter.map(|waiter| waiter.clone_ref(py)),
        )
    })?;
    if let Some(waiter) = waiter {
        imports(py)
            .set_result_unless_cancelled
            .call1(py, (waiter, py.None()))?;
    }
    if empty && !lost {
        if closing {
            return close::lose_soon(object, stream, None);
        }
        if ended {
            return close::shut_down(object, stream);
        }
    }
    Ok(())
}

/// A failed send ends the transport; whoever waits for the buffer to be empty hears the same error.
fn fail(object: &Bound<'_, PyAny>, stream: &Stream, error: std::io::Error) -> PyResult<()> {
    let py = object.py();
    let error = os_error(error);
    let waiter = stream.with(py, |state| {
        state.output.blocked = false;
        state
            .output
            .empty_waiter
            .as_ref()
            .map(|waiter| waiter.clone_ref(py))
    })?;
    let for_waiter = error.clone_ref(py);
    close::fatal_error(object, error, stream.medium.write_error())?;
    if let Some(waiter) = waiter {
        close::fail_waiter(waiter.bind(py), for_waiter)?;
    }
    Ok(())
}
