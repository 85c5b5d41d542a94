//! The socket object's own methods, for what the fast ways do not know: host names, unusual address families and buffers,
//! and socket classes with methods of their own. Whatever these methods say is what asyncio would have heard.

use pyo3::exceptions::{PyBlockingIOError, PyInterruptedError, PyOSError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::super::close::is_interrupt;
use super::state::{Datagram, To, Waiting};
use super::{end, receive as delivery, send};
use crate::py::bytes::{Chunk, View};
use crate::sys::datagram::LARGE_SLOT;

/// What a method of the socket object came to.
pub(super) enum Outcome<T = ()> {
    Done(T),
    WouldBlock,
    /// `OSError`: for `error_received`.
    Refused(PyErr),
    /// Anything else: the end of the transport.
    Failed(PyErr),
}

impl<T> Outcome<T> {
    /// # Errors
    /// Interrupts.
    fn of(py: Python<'_>, result: PyResult<T>) -> PyResult<Self> {
        Ok(match result {
            Ok(value) => Self::Done(value),
            Err(error) if is_interrupt(py, &error) => return Err(error),
            Err(error)
                if error.is_instance_of::<PyBlockingIOError>(py)
                    || error.is_instance_of::<PyInterruptedError>(py) =>
            {
                Self::WouldBlock
            }
            Err(error) if error.is_instance_of::<PyOSError>(py) => Self::Refused(error),
            Err(error) => Self::Failed(error),
        })
    }
}

/// Receives one datagram and delivers it.
pub(super) fn receive(object: &Bound<'_, PyAny>, this: &Datagram) -> PyResult<()> {
    let py = object.py();
    let Some(sock) = this.sock(py)? else {
        return Ok(());
    };
    let received = sock
        .call_method1("recvfrom", (LARGE_SLOT,))
        .and_then(|pair| pair.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>());
    match Outcome::of(py, received)? {
        Outcome::Done((data, sender)) => delivery::deliver(object, this, &data, &sender, true),
        Outcome::WouldBlock => Ok(()),
        Outcome::Refused(error) => end::error_received(object, this, error),
        Outcome::Failed(error) => {
            end::fatal_error(object, error, "Fatal read error on datagram transport")
        }
    }
}

/// Sends `data` behind all that waits, at once if nothing does.
pub(super) fn sendto(
    object: &Bound<'_, PyAny>,
    this: &Datagram,
    data: &Bound<'_, PyAny>,
    to: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let py = object.py();
    let waits =
        |state: &mut super::state::State| (!state.output.queue.is_empty(), state.output.blocked);
    let (mut waiting, blocked) = this.with(py, waits)?;
    if waiting && !blocked {
        send::drain(object, this)?;
        (waiting, _) = this.with(py, waits)?;
    }
    if !waiting {
        match send_object(py, this, data, to)? {
            Outcome::Done(()) => return Ok(()),
            Outcome::WouldBlock => send::settle(object, this, true)?,
            Outcome::Refused(error) => return end::error_received(object, this, error),
            Outcome::Failed(error) => return end::fatal_write(object, error),
        }
    }
    let kept = match data.cast::<PyBytes>() {
        Ok(bytes) => bytes.clone(),
        Err(_) => copy(data)?,
    };
    let waiting = Waiting {
        data: Chunk::new(kept),
        to: To::Python(to.map(|to| to.clone().unbind())),
    };
    this.with(py, |state| state.output.queue.push(waiting))?;
    send::after_growth(object, this)
}

/// `bytes(data)`, which unlike a socket takes views that are not contiguous.
fn copy<'py>(data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let py = data.py();
    match View::read(data) {
        Ok(view) => Ok(PyBytes::new(py, view.as_slice())),
        Err(_) => Ok(py.get_type::<PyBytes>().call1((data,))?.cast_into()?),
    }
}

/// Sends the oldest datagram of the queue; it stays there if the socket is full.
pub(super) fn send_front(py: Python<'_>, this: &Datagram) -> PyResult<Outcome> {
    let Some(waiting) = this.with(py, |state| state.output.queue.pop())? else {
        return Ok(Outcome::Done(()));
    };
    let data = waiting.data.object(py);
    let to = match &waiting.to {
        To::Python(to) => to.as_ref().map(|to| to.bind(py).clone()),
        To::Peer | To::Address(_) => None,
    };
    let outcome = send_object(py, this, data.as_any(), to.as_ref())?;
    if matches!(outcome, Outcome::WouldBlock) {
        this.with(py, |state| state.output.queue.put_back(waiting))?;
    }
    Ok(outcome)
}

fn send_object(
    py: Python<'_>,
    this: &Datagram,
    data: &Bound<'_, PyAny>,
    to: Option<&Bound<'_, PyAny>>,
) -> PyResult<Outcome> {
    let Some(sock) = this.sock(py)? else {
        return Ok(Outcome::Done(()));
    };
    let result = if this.connected {
        sock.call_method1("send", (data,))
    } else {
        sock.call_method1("sendto", (data, to))
    };
    Outcome::of(py, result.map(drop))
}
