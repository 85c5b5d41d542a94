//! From readiness to the protocol.
//!
//! After a small read there is nothing more to ask the kernel for, and the reactor is level-triggered. After a large one there
//! often is: it is continued into the rest of the buffer, and a peer that fills the buffer is read again at once, a
//! bounded number of times. The memory is one buffer per loop (`py/read_buffer.rs`), so that an idle connection holds none.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::pipe::{self, Medium};
use super::stream::{Delivery, Stream, stream};
use super::{close, flush};
use crate::py::bytes::View;
use crate::py::call;
use crate::py::context;
use crate::py::errors::os_error;
use crate::py::imports::imports;
use crate::py::read_buffer::READ_SIZE;
use crate::sys::socket::{self, Attempt, bad_descriptor};
use crate::tls;

/// A read of at least this length is probably a part of something larger, whose rest arrives while the first part is looked
/// at: the kernel is asked once more before the protocol is called. A large message so comes in one piece where it
/// came in two, which saved a quarter of an echo's time at 100 KiB (`benchmarks/EXPERIMENTS.md`).
const PIECE: usize = 16 * 1024;

/// Reads of one transport in a row, at most, while each fills the buffer: 1 MiB, some 300 us of echoing, before the loop turns
/// to others.
const READS_IN_A_ROW: usize = 4;

/// Serves a transport's readiness. Runs in the transport's context, as one callback.
///
/// # Errors
/// `KeyboardInterrupt` and `SystemExit` of the protocol; other failures end the transport and are reported.
pub(crate) fn serve(object: &Bound<'_, PyAny>, readable: bool, writable: bool) -> PyResult<()> {
    let stream = stream(object);
    let context = stream.context.bind(object.py()).clone();
    let result = context::run(&context, || {
        match stream.medium {
            Medium::Writer { watched } if readable && watched => pipe::reader_gone(object, stream)?,
            Medium::Socket | Medium::Reader if readable => read_in_a_row(object, stream)?,
            _ => {}
        }
        if writable {
            flush::writable(object, stream)?;
        }
        Ok(())
    });
    close::contain(object, result)
}

fn read_in_a_row(object: &Bound<'_, PyAny>, stream: &Stream) -> PyResult<()> {
    for _ in 0..READS_IN_A_ROW {
        if !read(object, stream)? {
            break;
        }
    }
    Ok(())
}

/// Reads once; whether there is likely to be more.
fn read(object: &Bound<'_, PyAny>, stream: &Stream) -> PyResult<bool> {
    let py = object.py();
    let (open, delivery) = stream.with(py, |state| {
        let open = state.ending.lost == 0 && !state.ending.closing && !state.input.paused;
        (open && !state.input.ended, state.input.delivery)
    })?;
    if !open {
        return Ok(false);
    }
    if !stream.owns_descriptor(py)? {
        close::fatal_error(
            object,
            os_error(bad_descriptor()),
            stream.medium.read_error(),
        )?;
        return Ok(false);
    }
    match delivery {
        Delivery::Data => {}
        Delivery::Buffer => {
            read_into_protocol(object, stream)?;
            return Ok(false);
        }
        Delivery::Records => return read_records(object, stream),
    }
    match receive(py, stream)? {
        Attempt::Done(data) if data.as_bytes().is_empty() => {
            end_of_stream(object, stream)?;
            Ok(false)
        }
        Attempt::Done(data) => {
            let filled = data.as_bytes().len() == READ_SIZE;
            deliver(object, stream, data)?;
            Ok(filled)
        }
        Attempt::WouldBlock => Ok(false),
        Attempt::Failed(error) => {
            close::fatal_error(object, os_error(error), stream.medium.read_error())?;
            Ok(false)
        }
    }
}

fn receive<'py>(py: Python<'py>, stream: &Stream) -> PyResult<Attempt<Bound<'py, PyBytes>>> {
    let core = stream.owner.get();
    core.read_with(py, |memory| receive_all(stream, memory))
}

/// Receives until the kernel has no more, if what comes first is a large piece.
fn receive_all(stream: &Stream, memory: &mut [u8]) -> Attempt<usize> {
    let first = stream.receive(memory);
    let Attempt::Done(mut count) = first else {
        return first;
    };
    while count >= PIECE && count < memory.len() {
        match stream.receive(&mut memory[count..]) {
            Attempt::Done(0) | Attempt::WouldBlock | Attempt::Failed(_) => break,
            Attempt::Done(more) => count += more,
        }
    }
    Attempt::Done(count)
}

/// What asyncio says of its own TLS protocol.
const RECORDS_FAILED: &str = "Fatal error: protocol.buffer_updated() call failed.";

/// Reads once for a TLS connection, into memory that its pump decrypts from.
fn read_records(object: &Bound<'_, PyAny>, stream: &Stream) -> PyResult<bool> {
    let py = object.py();
    let Some(protocol) = stream.protocol(py)? else {
        return Ok(false);
    };
    let protocol = protocol.bind(py);
    let attempt = match tls::receive(protocol, |memory| socket::append(stream.fd, memory)) {
        Ok(attempt) => attempt,
        Err(error) => {
            settle(object, Err(error), RECORDS_FAILED)?;
            return Ok(false);
        }
    };
    match attempt {
        Attempt::Done(0) => end_of_stream(object, stream)?,
        Attempt::Done(_) => settle(object, tls::serve(protocol), RECORDS_FAILED)?,
        Attempt::WouldBlock => {}
        Attempt::Failed(error) => {
            close::fatal_error(object, os_error(error), stream.medium.read_error())?;
        }
    }
    Ok(false)
}

fn deliver(object: &Bound<'_, PyAny>, stream: &Stream, data: Bound<'_, PyBytes>) -> PyResult<()> {
    let py = object.py();
    let Some(protocol) = stream.protocol(py)? else {
        return Ok(());
    };
    let result = call::method1(
        protocol.bind(py),
        &imports(py).names.data_received,
        data.as_any(),
    );
    // The read buffer wants it back.
    drop(data);
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
        // asyncio reports it as any callback's failure, and the pipe stays.
        Err(error) if stream(object).medium == Medium::Reader => {
            close::report(object, error, message)
        }
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
        Ok(mut view) => stream.receive(view.as_slice_mut()),
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
        Attempt::Failed(error) => {
            close::fatal_error(object, os_error(error), stream.medium.read_error())
        }
    }
}

fn end_of_stream(object: &Bound<'_, PyAny>, stream: &Stream) -> PyResult<()> {
    if stream.medium == Medium::Reader {
        return pipe::end_of_pipe(object, stream);
    }
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
