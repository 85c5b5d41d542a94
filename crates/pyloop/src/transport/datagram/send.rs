//! From `sendto()` to the socket.
//!
//! The first answer that a protocol gives while it is handed a datagram leaves at once, if nothing waits. Any other datagram
//! joins the transport's queue; the loop sends the queue when the callback that sent has returned (after an I/O
//! event) or when its batch has ended (after `call_soon` callbacks), so that several datagrams leave in one system call. A
//! queue that would exceed [`SEND_AT`] or the high-water mark is sent at once, as is everything while the loop does not run.

use std::sync::atomic::Ordering;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use super::super::address::{self, Version};
use super::super::flow::call_protocol;
use super::python::Outcome;
use super::state::{Datagram, To, Waiting, Way, datagram};
use super::{end, python};
use crate::py::bytes::Written;
use crate::py::context;
use crate::py::errors::os_error;
use crate::py::imports::imports;
use crate::sys::datagram as system;
use crate::sys::socket::{Attempt, bad_descriptor};

/// Bytes that are not held back for later datagrams to join.
const SEND_AT: usize = 64 * 1024;

/// asyncio sends empty datagrams from 3.13 on, and ignores them before.
const SENDS_EMPTY: bool = cfg!(Py_3_13);

/// What `sendto()` takes, in asyncio's words.
const WANTED: &str = "a bytes-like object";

/// What a flush came to.
pub(super) enum Sent {
    All,
    /// The kernel has no room.
    Blocked,
    /// A datagram was refused, and left the queue.
    Refused(std::io::Error),
    /// The next one is the socket object's to send.
    Odd,
}

/// `transport.sendto(data, addr)`.
///
/// # Errors
/// `TypeError` for what is no bytes, bytearray or memoryview; `ValueError` for another address than the endpoint's own.
pub(super) fn sendto(
    object: &Bound<'_, PyAny>,
    data: &Bound<'_, PyAny>,
    to: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let py = object.py();
    let this = datagram(object);
    let written = match Written::from(data, WANTED) {
        Ok(written) => Some(written),
        Err(error) if error.is_instance_of::<PyTypeError>(py) => return Err(error),
        Err(_) => None, // A view that cannot be sent: the socket object knows why.
    };
    if !SENDS_EMPTY
        && written
            .as_ref()
            .is_some_and(|written| written.as_slice().is_empty())
    {
        return Ok(());
    }
    let to = to.filter(|to| !to.is_none());
    let to = match &this.remote {
        Some(remote) => {
            check_remote(remote.bind(py), to)?;
            Some(remote.bind(py))
        }
        None => to,
    };
    let (lost, closed) = this.with(py, |state| (state.ending.lost, state.sock.is_none()))?;
    if lost > 0 && (this.remote.is_some() || closed) {
        return count_lost(py, this, lost);
    }
    match (written, receiver(py, this, to)?) {
        (Some(written), to @ (To::Peer | To::Address(_))) => {
            match answer(py, this, (written.as_slice(), to.address()))? {
                Attempt::Done(()) => return Ok(()),
                Attempt::WouldBlock => {}
                Attempt::Failed(error) => {
                    drop(written); // The protocol may change a bytearray again.
                    return end::error_received(object, this, os_error(error));
                }
            }
            let (data, _) = written.keep(py, 0);
            enqueue(object, this, Waiting { data, to })
        }
        (written, _) => {
            drop(written); // The socket object takes its own view.
            python::sendto(object, this, data, to)
        }
    }
}

#[inline]
fn check_remote(remote: &Bound<'_, PyAny>, to: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    match to {
        Some(to) if !to.is(remote) && !to.eq(remote)? => Err(PyValueError::new_err(format!(
            "Invalid address: must be None or {}",
            remote.str()?
        ))),
        _ => Ok(()),
    }
}

#[cold]
fn count_lost(py: Python<'_>, this: &Datagram, lost: u32) -> PyResult<()> {
    imports(py)
        .write_after_loss
        .call1(py, (lost, "socket.send() raised exception."))?;
    this.with(py, |state| {
        state.ending.lost = state.ending.lost.saturating_add(1);
    })
}

/// Who is meant by an address, in the form that is quickest to use.
#[inline]
fn receiver(py: Python<'_>, this: &Datagram, to: Option<&Bound<'_, PyAny>>) -> PyResult<To> {
    if this.connected && this.way != Way::Python {
        return Ok(To::Peer);
    }
    let known = match (this.way, to) {
        (Way::Internet(_), Some(_)) if this.remote.is_some() => this.remote_address,
        (Way::Internet(version), Some(to)) => {
            let core = this.owner.get();
            let access = core.access(py)?;
            let seen = core
                .datagrams
                .peers
                .with(&access, |peers| peers.address(to));
            drop(access);
            // A loop may serve sockets of both versions: the cache does not know whose tuple it was.
            seen.filter(|address| address.is_ipv4() == (version == Version::V4))
                .or_else(|| address::from_python(version, to))
        }
        _ => None,
    };
    Ok(known.map_or_else(|| To::Python(to.map(|to| to.clone().unbind())), To::Address))
}

/// Sends the first answer to the datagram that the protocol is being handed; any other would block: it has to queue.
#[inline]
fn answer(
    py: Python<'_>,
    this: &Datagram,
    outgoing: system::Outgoing<'_>,
) -> PyResult<Attempt<()>> {
    let first = this.with(py, |state| {
        let output = &mut state.output;
        let idle = output.queue.is_empty() && !output.blocked && !state.ending.closing;
        idle && std::mem::take(&mut output.answering)
    })?;
    if first && this.owns_descriptor(py)? {
        Ok(system::send(this.fd, outgoing))
    } else {
        Ok(Attempt::WouldBlock)
    }
}

/// Adds a datagram to the queue, and sees to it that the queue is sent.
#[inline]
fn enqueue(object: &Bound<'_, PyAny>, this: &Datagram, waiting: Waiting) -> PyResult<()> {
    let py = object.py();
    let core = this.owner.get();
    let access = core.access(py)?;
    let (blocked, full, schedule) = this.state.with(&access, |state| {
        let output = &mut state.output;
        output.queue.push(waiting);
        let (_, high) = output.flow.limits();
        let full = output.queue.bytes() > high.min(SEND_AT);
        let schedule = !full && !output.queued && !output.blocked;
        output.queued |= schedule;
        (output.blocked, full, schedule)
    });
    if schedule {
        let reference = object.clone().unbind();
        core.queue
            .with(&access, |queue| queue.unflushed.push(reference));
    }
    drop(access);
    // Nobody may come to flush it: as with asyncio, a datagram sent while the loop rests leaves at once.
    if !blocked && (full || !core.running.load(Ordering::Relaxed)) {
        drain(object, this)?;
    }
    if full {
        after_growth(object, this)
    } else {
        Ok(())
    }
}

/// Sends what waits; the loop calls it when the callbacks that sent have returned.
///
/// # Errors
/// `KeyboardInterrupt` and `SystemExit` of the protocol.
pub(crate) fn flush(object: &Bound<'_, PyAny>) -> PyResult<()> {
    let this = datagram(object);
    let result = flush_queue(object, this);
    end::contain(object, result, "Fatal write error on datagram transport")
}

fn flush_queue(object: &Bound<'_, PyAny>, this: &Datagram) -> PyResult<()> {
    let py = object.py();
    let idle = this.with(py, |state| {
        state.output.queued = false;
        state.output.queue.is_empty() || state.output.blocked || state.sock.is_none()
    })?;
    if idle {
        return Ok(());
    }
    let sent = send_queued(py, this)?;
    let calm = this.with(py, |state| {
        matches!(sent, Sent::All) && !state.output.flow.is_paused() && !state.ending.closing
    })?;
    if calm {
        return Ok(()); // The common case: all is sent, and nobody waited for that.
    }
    let context = this.context.bind(py).clone();
    context::run(&context, || {
        follow(object, this, sent)?;
        after_growth(object, this)
    })
}

/// Sends what waits, now.
pub(super) fn drain(object: &Bound<'_, PyAny>, this: &Datagram) -> PyResult<()> {
    let sent = send_queued(object.py(), this)?;
    follow(object, this, sent)
}

/// The reactor says that the socket has room again.
pub(super) fn writable(object: &Bound<'_, PyAny>, this: &Datagram) -> PyResult<()> {
    let blocked = this.with(object.py(), |state| {
        state.output.blocked && state.sock.is_some()
    })?;
    if blocked { drain(object, this) } else { Ok(()) }
}

/// Sends the queue until it is empty, or something has to be done about a datagram.
fn send_queued(py: Python<'_>, this: &Datagram) -> PyResult<Sent> {
    let owned = this.owns_descriptor(py)?;
    // What is sent is dropped out here. The usual one datagram needs no memory for that.
    let (mut last, mut finished) = (None, Vec::new());
    let sent = this.with(py, |state| {
        let queue = &mut state.output.queue;
        loop {
            let ours = queue
                .iter()
                .take(system::SEND_BATCH)
                .take_while(|waiting| !matches!(waiting.to, To::Python(_)));
            let attempt = match ours.count() {
                0 if queue.is_empty() => return Sent::All,
                0 => return Sent::Odd,
                _ if !owned => Attempt::Failed(bad_descriptor()),
                1 => match system::send(this.fd, outgoing(queue.front())) {
                    Attempt::Done(()) => Attempt::Done(1),
                    Attempt::WouldBlock => Attempt::WouldBlock,
                    Attempt::Failed(error) => Attempt::Failed(error),
                },
                count => {
                    let batch = queue
                        .iter()
                        .take(count)
                        .map(|waiting| outgoing(Some(waiting)));
                    system::send_batch(this.fd, batch)
                }
            };
            match attempt {
                Attempt::Done(1) if last.is_none() => last = queue.pop(),
                Attempt::Done(count) => queue.take_into(count, &mut finished),
                Attempt::WouldBlock => return Sent::Blocked,
                Attempt::Failed(error) => {
                    queue.take_into(1, &mut finished);
                    return Sent::Refused(error);
                }
            }
        }
    })?;
    drop((last, finished));
    Ok(sent)
}

#[inline]
fn outgoing(waiting: Option<&Waiting>) -> system::Outgoing<'_> {
    waiting.map_or((&[], None), |waiting| {
        (waiting.data.as_ref(), waiting.to.address())
    })
}

/// What follows a flush: errors to the protocol, odd datagrams to the socket object, then flow control and the end that
/// waited for the queue to be empty.
fn follow(object: &Bound<'_, PyAny>, this: &Datagram, first: Sent) -> PyResult<()> {
    let py = object.py();
    let mut sent = first;
    // `error_received` may send again: what it adds is for the next flush, or a peer that refuses would hold the loop.
    let mut budget = this.with(py, |state| state.output.queue.len())?;
    let blocked = loop {
        match sent {
            Sent::All => break false,
            Sent::Blocked => break true,
            Sent::Refused(error) => end::error_received(object, this, os_error(error))?,
            Sent::Odd => match python::send_front(py, this)? {
                Outcome::Done(()) => {}
                Outcome::WouldBlock => break true,
                Outcome::Refused(error) => end::error_received(object, this, error)?,
                Outcome::Failed(error) => return end::fatal_write(object, error),
            },
        }
        if budget == 0 {
            schedule_flush(object, this)?;
            break false;
        }
        budget -= 1;
        sent = send_queued(py, this)?;
    };
    settle(object, this, blocked)
}

/// Leaves what waits to the next flush.
#[cold]
fn schedule_flush(object: &Bound<'_, PyAny>, this: &Datagram) -> PyResult<()> {
    let py = object.py();
    let core = this.owner.get();
    let access = core.access(py)?;
    let schedule = this.state.with(&access, |state| {
        !state.output.queue.is_empty() && !std::mem::replace(&mut state.output.queued, true)
    });
    if schedule {
        let reference = object.clone().unbind();
        core.queue
            .with(&access, |queue| queue.unflushed.push(reference));
    }
    Ok(())
}

/// Notes whether the socket is full, and acts on what has left the queue.
pub(super) fn settle(object: &Bound<'_, PyAny>, this: &Datagram, blocked: bool) -> PyResult<()> {
    let py = object.py();
    let changed = this.with(py, |state| {
        let blocked = blocked && state.ending.lost == 0;
        std::mem::replace(&mut state.output.blocked, blocked) != blocked
    })?;
    if changed {
        this.update_interest(object)?;
    }
    let resume = this.with(py, |state| {
        let bytes = state.output.queue.bytes();
        state.output.flow.shrank(bytes)
    })?;
    if resume {
        tell_protocol(object, this, false)?; // May send again.
    }
    let over = this.with(py, |state| {
        state.output.queue.is_empty() && state.ending.closing && state.ending.lost == 0
    })?;
    if over {
        end::lose_soon(object, this, None)
    } else {
        Ok(())
    }
}

/// Tells the protocol to pause if the queue has grown beyond the high-water mark.
pub(super) fn after_growth(object: &Bound<'_, PyAny>, this: &Datagram) -> PyResult<()> {
    let pause = this.with(object.py(), |state| {
        let bytes = state.output.queue.bytes();
        state.output.flow.grew(bytes)
    })?;
    if pause {
        tell_protocol(object, this, true)
    } else {
        Ok(())
    }
}

/// Tells the protocol that there is no room, or room again; a failure is reported and changes nothing.
fn tell_protocol(object: &Bound<'_, PyAny>, this: &Datagram, pause: bool) -> PyResult<()> {
    let Some(protocol) = this.protocol(object.py())? else {
        return Ok(());
    };
    call_protocol(&protocol, pause).or_else(|(error, message)| end::report(object, error, &message))
}
