//! From readiness to `datagram_received`.
//!
//! A readiness takes a batch of datagrams, as [`Incoming`] bounds it, into memory that all datagram transports of the loop
//! share, and hands them to the protocol one by one. Should the protocol close the transport in between, the rest is
//! dropped, as it would be in the socket; should it pause, the rest waits here.
//!
//! To a protocol that answers inside of `datagram_received` each datagram is handed as it is taken from the socket, and its
//! answer leaves at once: peers that work while the next datagram is served spare both sides many a sleep. Where datagrams
//! wait in number anyway, batches both ways are cheaper.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::super::address;
use super::state::{Datagram, Way, datagram};
use super::{end, python, send};
use crate::core::LoopCore;
use crate::py::call;
use crate::py::context;
use crate::py::errors::os_error;
use crate::py::imports::imports;
use crate::sys::datagram::{Incoming, LARGE_SLOT, RECEIVE_BATCH, SLOT, Sender};
use crate::sys::socket::{Attempt, bad_descriptor};

/// Serves a transport's readiness. Runs in the transport's context, as one callback.
///
/// # Errors
/// `KeyboardInterrupt` and `SystemExit` of the protocol; what else the protocol raises is reported, and the transport
/// goes on.
pub(crate) fn serve(object: &Bound<'_, PyAny>, readable: bool, writable: bool) -> PyResult<()> {
    let context = datagram(object).context.bind(object.py()).clone();
    context::run(&context, || serve_in_context(object, readable, writable))
}

fn serve_in_context(object: &Bound<'_, PyAny>, readable: bool, writable: bool) -> PyResult<()> {
    let this = datagram(object);
    if readable {
        let received = receive(object, this);
        end::contain(object, received, "Fatal read error on datagram transport")?;
    }
    if writable {
        let sent = send::writable(object, this);
        end::contain(object, sent, "Fatal write error on datagram transport")?;
    }
    Ok(())
}

/// What the protocol may be handed now.
enum Appetite {
    Hungry,
    /// What comes must wait.
    Paused,
    /// What comes is not wanted any more.
    Gone,
}

#[inline]
fn appetite(py: Python<'_>, this: &Datagram) -> PyResult<Appetite> {
    this.with(py, |state| {
        if state.ending.closing || state.ending.lost > 0 {
            Appetite::Gone
        } else if state.input.paused {
            Appetite::Paused
        } else {
            Appetite::Hungry
        }
    })
}

fn receive(object: &Bound<'_, PyAny>, this: &Datagram) -> PyResult<()> {
    let py = object.py();
    if !matches!(appetite(py, this)?, Appetite::Hungry) {
        return Ok(());
    }
    let slot = match this.way {
        Way::Internet(_) => SLOT,
        Way::Unix => LARGE_SLOT,
        Way::Python => return python::receive(object, this),
    };
    let core = this.owner.get();
    let access = core.access(py)?;
    let mut incoming = core
        .datagrams
        .incoming
        .with(&access, Option::take)
        .unwrap_or_else(Incoming::new);
    drop(access);
    let outcome = take(object, this, &mut incoming, slot);
    let access = core.access(py)?;
    core.datagrams
        .incoming
        .with(&access, |place| *place = Some(incoming));
    outcome
}

/// Takes datagrams one by one as long as each is answered at once, [`RECEIVE_BATCH`] of them at most; otherwise, and when the
/// first remains without an answer, a batch.
fn take(
    object: &Bound<'_, PyAny>,
    this: &Datagram,
    incoming: &mut Incoming,
    slot: usize,
) -> PyResult<()> {
    let py = object.py();
    let looks_again = incoming.expects_more();
    let mut served = 0;
    while served < RECEIVE_BATCH {
        let singly = !incoming.has_backlog() && this.with(py, |state| state.input.answered)?;
        if !this.owns_descriptor(py)? {
            return end::error_received(object, this, os_error(bad_descriptor()));
        }
        let received = if singly {
            incoming.receive_one(this.fd, slot)
        } else {
            incoming.receive(this.fd, slot)
        };
        match received {
            Attempt::Done(count) => deliver_batch(object, this, incoming, count)?,
            Attempt::WouldBlock => break,
            Attempt::Failed(error) => return end::error_received(object, this, os_error(error)),
        }
        if !singly {
            return Ok(());
        }
        served += 1;
        if !looks_again || !matches!(appetite(py, this)?, Appetite::Hungry) {
            break;
        }
    }
    incoming.note(served);
    Ok(())
}

/// Hands the protocol what has come; keeps what it does not take now.
fn deliver_batch(
    object: &Bound<'_, PyAny>,
    this: &Datagram,
    incoming: &mut Incoming,
    count: usize,
) -> PyResult<()> {
    let py = object.py();
    let core = this.owner.get();
    let at_once = !incoming.has_backlog();
    for index in 0..count {
        match appetite(py, this)? {
            Appetite::Hungry => {}
            Appetite::Paused => return hold(py, this, incoming, index..count),
            Appetite::Gone => return Ok(()),
        }
        let data = PyBytes::new(py, incoming.data(index));
        let sender = sender(py, core, incoming.sender(index))?;
        if let Err(interrupt) = deliver(object, this, data.as_any(), &sender, at_once) {
            hold(py, this, incoming, index + 1..count)?;
            this.update_interest(object)?;
            this.call_soon(object, "_deliver", &[])?;
            return Err(interrupt);
        }
    }
    match incoming.late_error() {
        Some(error) => end::error_received(object, this, os_error(error)),
        None => Ok(()),
    }
}

/// Calls `datagram_received`; if `at_once`, lets its first answer leave, and notes whether there was one.
///
/// # Errors
/// Interrupts. Anything else is reported and changes nothing, as with asyncio.
#[inline]
pub(super) fn deliver(
    object: &Bound<'_, PyAny>,
    this: &Datagram,
    data: &Bound<'_, PyAny>,
    sender: &Bound<'_, PyAny>,
    at_once: bool,
) -> PyResult<()> {
    let py = object.py();
    let protocol = this.with(py, |state| {
        let protocol = state.protocol.as_ref()?.bind(py).clone();
        state.output.answering = at_once;
        Some(protocol)
    })?;
    let Some(protocol) = protocol else {
        return Ok(());
    };
    let name = &imports(py).names.datagram_received;
    let received = call::method2(&protocol, name, data, sender);
    if at_once {
        this.with(py, |state| {
            state.input.answered = !std::mem::take(&mut state.output.answering);
        })?;
    }
    match received {
        Ok(_) => Ok(()),
        Err(error) => end::report(object, error, "Exception in protocol.datagram_received()"),
    }
}

/// Keeps datagrams of a batch for later.
#[cold]
fn hold(
    py: Python<'_>,
    this: &Datagram,
    incoming: &Incoming,
    rest: std::ops::Range<usize>,
) -> PyResult<()> {
    let core = this.owner.get();
    for index in rest {
        let data = PyBytes::new(py, incoming.data(index)).into_any().unbind();
        let sender = sender(py, core, incoming.sender(index))?.unbind();
        this.with(py, |state| state.input.held.push_back((data, sender)))?;
    }
    Ok(())
}

/// Delivers what was kept, and goes on receiving. Runs in the transport's context, as a callback.
pub(super) fn deliver_held(object: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = object.py();
    let this = datagram(object);
    loop {
        let next = match appetite(py, this)? {
            Appetite::Hungry => this.with(py, |state| state.input.held.pop_front())?,
            Appetite::Paused => return Ok(()),
            Appetite::Gone => {
                let unwanted = this.with(py, |state| std::mem::take(&mut state.input.held))?;
                drop(unwanted);
                return Ok(());
            }
        };
        let Some((data, sender)) = next else {
            return this.update_interest(object);
        };
        if let Err(interrupt) = deliver(object, this, data.bind(py), sender.bind(py), true) {
            this.call_soon(object, "_deliver", &[])?;
            return Err(interrupt);
        }
    }
}

/// A datagram's sender as `socket.recvfrom` gives it.
#[inline]
fn sender<'py>(
    py: Python<'py>,
    core: &LoopCore,
    sender: Sender<'_>,
) -> PyResult<Bound<'py, PyAny>> {
    match sender {
        Sender::Internet(address) => {
            let access = core.access(py)?;
            let known = core
                .datagrams
                .peers
                .with(&access, |peers| peers.tuple(py, &address));
            drop(access);
            if let Some(known) = known {
                return Ok(known.into_bound(py).into_any());
            }
            let tuple = address::to_python(py, address)?;
            let kept = tuple.clone().unbind();
            let access = core.access(py)?;
            let displaced = core
                .datagrams
                .peers
                .with(&access, |peers| peers.insert(address, kept));
            drop(access);
            drop(displaced);
            Ok(tuple.into_any())
        }
        Sender::Unix(path) => unix_path(py, path),
        Sender::Unnamed | Sender::Unknown => Ok(py.None().into_bound(py)),
    }
}

/// A Unix address: the path as text; a name of Linux's abstract namespace, which begins with a zero, as bytes.
fn unix_path<'py>(py: Python<'py>, path: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    if cfg!(target_os = "linux") && path.first() == Some(&0) {
        return Ok(PyBytes::new(py, path).into_any());
    }
    let text = path.split(|&byte| byte == 0).next().unwrap_or_default();
    let text: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(text);
    Ok(text.into_pyobject(py)?.into_any())
}
