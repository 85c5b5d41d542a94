//! From records to the application's protocol.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::imports::imports;
use super::plaintext::Plain;
use super::pump::{Phase, Pump, Told, pump};
use super::{handshake, shutdown, write};
use crate::py::call;
use crate::py::imports::imports as common;
use crate::py::read_buffer::READ_SIZE;
use crate::sys::socket::Attempt;
use crate::transport::is_interrupt;

/// Has `receive` receive records into a vector's spare capacity, and takes them in; [`serve`] comes next.
pub(crate) fn receive(
    object: &Bound<'_, PyAny>,
    receive: impl FnOnce(&mut Vec<u8>) -> Attempt<usize>,
) -> PyResult<Attempt<usize>> {
    let py = object.py();
    let pump = pump(object);
    if pump.with(py, |state| state.phase)? == Phase::Unwrapped {
        return Ok(receive(&mut Vec::with_capacity(READ_SIZE))); // For nobody.
    }
    pump.session.receive(py, pump.owner.get(), receive)
}

/// Takes in records that have arrived; [`go_on`] comes next.
pub(super) fn feed(object: &Bound<'_, PyAny>, records: &[u8]) -> PyResult<()> {
    let py = object.py();
    let pump = pump(object);
    if pump.with(py, |state| state.phase)? == Phase::Unwrapped {
        return Ok(());
    }
    pump.session.feed(py, pump.owner.get(), records)
}

/// Makes use of the records that were received.
///
/// # Errors
/// Interrupts, and what `connection_made` raises; the lower transport ends with them.
pub(crate) fn serve(object: &Bound<'_, PyAny>) -> PyResult<()> {
    let pump = pump(object);
    let result = go_on(object, pump);
    pump.session.give_back(object.py(), pump.owner.get())?;
    result
}

/// Does what the connection's phase asks for, after something has arrived or may be read again.
pub(super) fn go_on(object: &Bound<'_, PyAny>, pump: &Pump) -> PyResult<()> {
    match pump.with(object.py(), |state| state.phase)? {
        Phase::Unwrapped => Ok(()),
        Phase::Handshake => handshake::advance(object, pump),
        Phase::Wrapped => read(object, pump),
        Phase::Flushing => shutdown::flush(object, pump),
        Phase::Shutdown => shutdown::announce(object, pump),
    }
}

/// Reads what there is, then sends what the reading and the application have to send.
pub(super) fn read(object: &Bound<'_, PyAny>, pump: &Pump) -> PyResult<()> {
    let py = object.py();
    if !pull(object, pump)? {
        return Ok(());
    }
    match pump.with(py, |state| state.phase)? {
        Phase::Wrapped => {
            write::push(object, pump)?;
            control_lower(object, pump)
        }
        // The protocol, or the peer, has closed meanwhile.
        Phase::Flushing => shutdown::flush(object, pump),
        _ => Ok(()),
    }
}

/// Hands everything readable to the protocol; `false` if that is being done further up the stack.
pub(super) fn pull(object: &Bound<'_, PyAny>, pump: &Pump) -> PyResult<bool> {
    let py = object.py();
    if pump.with(py, |state| {
        std::mem::replace(&mut state.input.reading, true)
    })? {
        return Ok(false);
    }
    let result = pull_all(object, pump);
    pump.with(py, |state| state.input.reading = false)?;
    match result {
        Err(error) if is_interrupt(py, &error) => Err(error),
        Err(error) => {
            shutdown::fatal_error(object, pump, error, "Fatal error on SSL protocol")?;
            Ok(true)
        }
        Ok(()) => Ok(true),
    }
}

/// To whom plaintext goes.
enum Taker {
    /// Nobody takes any now.
    None,
    /// The application has closed.
    Nobody,
    Protocol(Py<PyAny>),
    Buffered(Py<PyAny>),
}

fn taker(py: Python<'_>, pump: &Pump) -> PyResult<Taker> {
    pump.with(py, |state| {
        if !matches!(state.phase, Phase::Wrapped | Phase::Flushing) {
            return Taker::None;
        }
        if state.ending.discard {
            return Taker::Nobody;
        }
        match &state.app.protocol {
            Some(protocol) if !state.input.paused => {
                let protocol = protocol.clone_ref(py);
                if state.app.buffered {
                    Taker::Buffered(protocol)
                } else {
                    Taker::Protocol(protocol)
                }
            }
            _ => Taker::None,
        }
    })
}

fn pull_all(object: &Bound<'_, PyAny>, pump: &Pump) -> PyResult<()> {
    let py = object.py();
    let core = pump.owner.get();
    loop {
        let plain = match taker(py, pump)? {
            Taker::None => return Ok(()),
            Taker::Buffered(protocol) => fill(py, pump, protocol.bind(py))?,
            Taker::Nobody => pump.session.read(py, core)?.map(drop),
            Taker::Protocol(protocol) => match pump.session.read(py, core)? {
                Plain::Data(data) => {
                    let name = &common(py).names.data_received;
                    call::method1(protocol.bind(py), name, data.as_any())?;
                    Plain::Data(())
                }
                Plain::Again => Plain::Again,
                Plain::Closed => Plain::Closed,
            },
        };
        match plain {
            Plain::Data(()) => {}
            Plain::Again => return Ok(()),
            Plain::Closed => {
                tell_end(object, pump)?;
                return shutdown::start(object, pump, false);
            }
        }
    }
}

/// Reads into the protocol's own buffer.
fn fill(py: Python<'_>, pump: &Pump, protocol: &Bound<'_, PyAny>) -> PyResult<Plain<()>> {
    let core = pump.owner.get();
    if let Some(nothing) = pump.session.nothing_to_read(py, core)? {
        return Ok(nothing);
    }
    let hint = pump.session.incoming_size(py)?.into_pyobject(py)?;
    let buffer = call::method1(protocol, &common(py).names.get_buffer, hint.as_any())?;
    if buffer.len()? == 0 {
        return Err(PyRuntimeError::new_err(
            "get_buffer() returned an empty buffer",
        ));
    }
    let plain = pump.session.read_into(py, core, &buffer)?;
    drop(buffer);
    Ok(match plain {
        Plain::Data(count) => {
            let count = count.into_pyobject(py)?;
            call::method1(protocol, &common(py).names.buffer_updated, count.as_any())?;
            Plain::Data(())
        }
        Plain::Again => Plain::Again,
        Plain::Closed => Plain::Closed,
    })
}

/// Calls `eof_received`, once.
pub(super) fn tell_end(object: &Bound<'_, PyAny>, pump: &Pump) -> PyResult<()> {
    let py = object.py();
    let protocol = pump.with(py, |state| {
        if state.told != Told::Made {
            return None;
        }
        state.told = Told::Eof;
        state
            .app
            .protocol
            .as_ref()
            .map(|protocol| protocol.clone_ref(py))
    })?;
    let Some(protocol) = protocol else {
        return Ok(());
    };
    let answer = call::method0(protocol.bind(py), &common(py).names.eof_received)
        .and_then(|answer| answer.is_truthy());
    match answer {
        Ok(false) => Ok(()),
        Ok(true) => imports(py).warn_kept_open.call0(py).map(drop),
        Err(error) if is_interrupt(py, &error) => Err(error),
        Err(error) => shutdown::fatal_error(object, pump, error, "Error calling eof_received()"),
    }
}

/// Pauses the lower transport when too many records wait for the application, and resumes it when they are few, or when nothing
/// waits for the application any more: then what is left is the beginning of a record, of whatever length.
pub(super) fn control_lower(object: &Bound<'_, PyAny>, pump: &Pump) -> PyResult<()> {
    let py = object.py();
    let (lower, waits, paused, high, low) = pump.with(py, |state| {
        let input = &state.input;
        // While the application reads, nothing is left lying: only a pause asks for a look.
        let asks = input.paused || input.lower_paused;
        let lower = state
            .lower
            .as_ref()
            .filter(|_| asks)
            .map(|lower| lower.clone_ref(py));
        let waits = input.paused && !state.ending.discard;
        (lower, waits, input.lower_paused, input.high, input.low)
    })?;
    let Some(lower) = lower else {
        return Ok(());
    };
    let size = pump.session.incoming_size(py)?;
    let pause = if waits && size >= high && !paused {
        true
    } else if paused && (!waits || size <= low) {
        false
    } else {
        return Ok(());
    };
    pump.with(py, |state| state.input.lower_paused = pause)?;
    let names = &imports(py).names;
    lower.call(
        py,
        if pause {
            &names.pause_reading
        } else {
            &names.resume_reading
        },
    )
}

/// `transport.resume_reading()` takes effect in the next iteration.
pub(super) fn resume(object: &Bound<'_, PyAny>) -> PyResult<()> {
    let pump = pump(object);
    match pump.with(object.py(), |state| state.phase)? {
        Phase::Unwrapped | Phase::Handshake => Ok(()),
        _ => go_on(object, pump),
    }
}
