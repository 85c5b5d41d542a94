//! From readiness to the protocol.
//!
//! A read asks the kernel once per readiness: after a short read there is nothing more, and the reactor is
//! level-triggered. Small reads go through one buffer per loop, so that an idle connection holds none; a peer that fills
//! it is read into `bytes` objects of [`LARGE_READ`] from then on, without a copy, until it goes quiet again.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::stream::{Delivery, Stream, stream};
use super::{close, write};
use crate::core::SCRATCH_SIZE;
use crate::py::bytes::{View, filled};
use crate::py::call;
use crate::py::context;
use crate::py::errors::os_error;
use crate::py::imports::imports;
use crate::sys::socket::{self, Attempt, bad_descriptor};
use crate::tls;

/// Bytes of a large read, and of every read of asyncio. Such an object comes from mmap, page by page; that pays only when a
/// read is likely to fill it.
const LARGE_READ: usize = 256 * 1024;

/// A read of a transport whose reads were large that comes to less goes back to the shared buffer.
const SMALL_AGAIN: usize = SCRATCH_SIZE / 2;

/// Serves a transport's readiness. Runs in the transport's context, as one callback.
///
/// # Errors
/// `KeyboardInterrupt` and `SystemExit` of the protocol; other failures end the transport and are reported.
pub(crate) fn serve(object: &Bound<'_, PyAny>, readable: bool, writable: bool) -> PyResult<()> {
    let stream = stream(object);
    let context = stream.context.bind(object.py()).clone();
    let result = context::run(&context, || {
        if readable {
            read(object, stream)?;
        }
        if writable {
            write::writable(object, stream)?;
        }
        Ok(())
    });
    close::contain(object, result)
}

fn read(object: &Bound<'_, PyAny>, stream: &Stream) -> PyResult<()> {
    let py = object.py();
    let (open, delivery, large) = stream.with(py, |state| {
        let open = state.ending.lost == 0 && !state.ending.closing && !state.input.paused;
        (
            open && !state.input.ended,
            state.input.delivery,
            state.input.large,
        )
    })?;
    if !open {
        return Ok(());
    }
    if !stream.owns_descriptor(py)? {
        return close::fatal_error(
            object,
            os_error(bad_descriptor()),
            "Fatal read error on socket transport",
        );
    }
    match delivery {
        Delivery::Data => {}
        Delivery::Buffer => return read_into_protocol(object, stream),
        Delivery::Records => return read_records(object, stream),
    }
    let received = if large {
        receive_large(py, stream)?
    } else {
        receive_small(py, stream)?
    };
    match received {
        Attempt::Done(data) if data.as_bytes().is_empty() => end_of_stream(object, stream),
        Attempt::Done(data) => deliver(object, stream, &data),
        Attempt::WouldBlock => Ok(()),
        Attempt::Failed(error) => close::fatal_error(
            object,
            os_error(error),
            "Fatal read error on socket transport",
        ),
    }
}

fn receive_small<'py>(py: Python<'py>, stream: &Stream) -> PyResult<Attempt<Bound<'py, PyBytes>>> {
    let core = stream.owner.get();
    let access = core.access(py)?;
    let mut scratch = core
        .scratch
        .with(&access, Option::take)
        .unwrap_or_else(|| vec![0; SCRATCH_SIZE].into_boxed_slice());
    let attempt = match socket::receive(stream.fd, &mut scratch) {
        Attempt::Done(count) => {
            if count == scratch.len() {
                stream.state.with(&access, |state| state.input.large = true);
            }
            Attempt::Done(PyBytes::new(py, &scratch[..count]))
        }
        Attempt::WouldBlock => Attempt::WouldBlock,
        Attempt::Failed(error) => Attempt::Failed(error),
    };
    core.scratch.with(&access, |place| *place = Some(scratch));
    Ok(attempt)
}

/// Receives for a TLS connection, whose pump takes the bytes from the shared buffer.
fn read_records(object: &Bound<'_, PyAny>, stream: &Stream) -> PyResult<()> {
    let py = object.py();
    let Some(protocol) = stream.protocol(py)? else {
        return Ok(());
    };
    let protocol = protocol.bind(py);
    let (attempt, fed) = stream.owner.get().with_scratch(py, |scratch| {
        let attempt = socket::receive(stream.fd, scratch);
        let fed = match attempt {
            Attempt::Done(count) if count > 0 => tls::feed(protocol, &scratch[..count]),
            _ => Ok(()),
        };
        (attempt, fed)
    })?;
    match attempt {
        Attempt::Done(0) => end_of_stream(object, stream),
        Attempt::Done(_) => settle(
            object,
            fed.and_then(|()| tls::serve(protocol)),
            "Fatal error: protocol.buffer_updated() call failed.",
        ),
        Attempt::WouldBlock => Ok(()),
        Attempt::Failed(error) => close::fatal_error(
            object,
            os_error(error),
            "Fatal read error on socket transport",
        ),
    }
}

fn receive_large<'py>(py: Python<'py>, stream: &Stream) -> PyResult<Attempt<Bound<'py, PyBytes>>> {
    let read = filled(py, LARGE_READ, |memory| {
        match socket::receive(stream.fd, memory) {
            Attempt::Done(count) => Ok(count),
            Attempt::WouldBlock => Err(Attempt::WouldBlock),
            Attempt::Failed(error) => Err(Attempt::Failed(error)),
        }
    })?;
    match read {
        Ok(data) => {
            if data.as_bytes().len() < SMALL_AGAIN {
                stream.with(py, |state| state.input.large = false)?;
            }
            Ok(Attempt::Done(data))
        }
        Err(attempt) => Ok(attempt),
    }
}

fn deliver(object: &Bound<'_, PyAny>, stream: &Stream, data: &Bound<'_, PyBytes>) -> PyResult<()> {
    let py = object.py();
    let Some(protocol) = stream.protocol(py)? else {
        return Ok(());
    };
    let result = call::method1(
        protocol.bind(py),
        &imports(py).names.data_received,
        data.as_any(),
    );
    settle(
        object,
        result.map(drop),
        "Fatal error: protocol.data_received() call failed.",
    )
}

/// A protocol's failure ends its transport; an interrupt leaves the run.
fn settle(object: &Bound<'_, PyAny>, result: PyResult<()>, message: &str) -> PyResult<()> {
    match result {
        Ok(()) => Ok(()),
        Err(error) if close::is_interrupt(object.py(), &error) => Err(error),
        Err(error) => close::fatal_error(object, error, message),
    }
}

fn read_into_protocol(object: &Bound<'_, PyAny>, stream: &Stream) -> PyResult<()> {
    let py = object.py();
    let Some(protocol) = stream.protocol(py)? else {
        return Ok(());
    };
    let protocol = protocol.bind(py);
    let hint = (-1_i32).into_pyobject(py)?;
    let buffer =
        call::method1(protocol, &imports(py).names.get_buffer, hint.as_any()).and_then(|buffer| {
            if buffer.len()? == 0 {
                return Err(PyRuntimeError::new_err(
                    "get_buffer() returned an empty buffer",
                ));
            }
            Ok(buffer)
        });
    let buffer = match buffer {
        Ok(buffer) => buffer,
        Err(error) => {
            return settle(
                object,
                Err(error),
                "Fatal error: protocol.get_buffer() call failed.",
            );
        }
    };
    let attempt = match View::write(&buffer) {
        Ok(mut view) => socket::receive(stream.fd, view.as_slice_mut()),
        Err(error) => {
            return settle(object, Err(error), "Fatal read error on socket transport");
        }
    };
    drop(buffer);
    match attempt {
        Attempt::Done(0) => end_of_stream(object, stream),
        Attempt::Done(count) => {
            let count = count.into_pyobject(py)?;
            let result = call::method1(protocol, &imports(py).names.buffer_updated, count.as_any());
            settle(
                object,
                result.map(drop),
                "Fatal error: protocol.buffer_updated() call failed.",
            )
        }
        Attempt::WouldBlock => Ok(()),
        Attempt::Failed(error) => close::fatal_error(
            object,
            os_error(error),
            "Fatal read error on socket transport",
        ),
    }
}

fn end_of_stream(object: &Bound<'_, PyAny>, stream: &Stream) -> PyResult<()> {
    let py = object.py();
    close::log_debug(object, "received EOF")?;
    let Some(protocol) = stream.protocol(py)? else {
        return Ok(());
    };
    let keep_open = call::method0(protocol.bind(py), &imports(py).names.eof_received)
        .and_then(|answer| answer.is_truthy());
    match keep_open {
        // The protocol may go on writing; there is nothing left to read.
        Ok(true) => {
            stream.with(py, |state| state.input.ended = true)?;
            stream.update_interest(object)
        }
        Ok(false) => close::close(object),
        Err(error) => settle(
            object,
            Err(error),
            "Fatal error: protocol.eof_received() call failed.",
        ),
    }
}
