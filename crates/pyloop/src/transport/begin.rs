//! How a stream transport begins.

use std::os::fd::RawFd;

use engine::{FlowControl, WriteBuffer};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::pipe::{self, Medium};
use super::stream::{About, Delivery, Ending, Input, Output, Socket, State, Stream, stream};
use crate::core::{LoopCore, call_soon};
use crate::py::call;
use crate::py::cell::LoopCell;
use crate::py::context;
use crate::py::imports::imports;
use crate::sys::socket;

/// What a new transport is made of.
pub(super) struct Beginning<'a, 'py> {
    pub(super) owner: &'a Bound<'py, LoopCore>,
    pub(super) fd: RawFd,
    pub(super) medium: Medium,
    pub(super) socket: Socket,
    pub(super) protocol: &'a Bound<'py, PyAny>,
    pub(super) context: Bound<'py, PyAny>,
    pub(super) about: About,
}

/// Makes a transport that is not started yet, and attaches it to its server.
pub(super) fn make<'py>(beginning: Beginning<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let owner = beginning.owner;
    let py = owner.py();
    let delivery = Delivery::to(beginning.protocol, beginning.medium)?;
    let server = beginning
        .about
        .server
        .as_ref()
        .map(|server| server.clone_ref(py));
    let object = pipe::kind(py, beginning.medium).instance(
        py,
        Stream {
            owner: owner.clone().unbind(),
            fd: beginning.fd,
            medium: beginning.medium,
            context: beginning.context.unbind(),
            state: LoopCell::new(State {
                protocol: Some(beginning.protocol.clone().unbind()),
                socket: beginning.socket,
                input: Input {
                    delivery,
                    paused: false,
                    started: false,
                    ended: false,
                },
                output: Output {
                    buffer: WriteBuffer::new(),
                    flow: FlowControl::new(),
                    queued: false,
                    blocked: false,
                    ended: false,
                    empty_waiter: None,
                    room_waiter: None,
                },
                ending: Ending {
                    closing: false,
                    lost: 0,
                },
                about: beginning.about,
            }),
        },
    )?;
    if let Some(server) = server {
        imports(py).server_attach.call1(py, (server, &object))?;
    }
    Ok(object)
}

/// Makes the transport of a connected socket object; its protocol hears of it in the next iteration.
pub(crate) fn open<'py>(
    owner: &Bound<'py, LoopCore>,
    sock: &Bound<'py, PyAny>,
    protocol: &Bound<'py, PyAny>,
    waiter: Option<&Bound<'py, PyAny>>,
    extra: Option<&Bound<'py, PyDict>>,
    server: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = owner.py();
    owner.get().check_open()?;
    let fd: RawFd = sock
        .call_method0(imports(py).names.fileno.bind(py))?
        .extract()?;
    if socket::is_internet_stream(fd) {
        // Refused for a socket that is not connected any more; reading will tell.
        let _ = socket::disable_nagle(fd);
    }
    let extra = match extra {
        Some(extra) => extra.copy()?,
        None => PyDict::new(py),
    };
    super::info::remember_addresses(sock, &extra)?;
    let context = context::copy_current(py)?;
    let object = make(Beginning {
        owner,
        fd,
        medium: Medium::Socket,
        socket: Socket::Python(sock.clone().unbind()),
        protocol,
        context,
        about: About {
            extra: Some(extra.unbind()),
            peer: None,
            names: None,
            server: server.map(|server| server.clone().unbind()),
        },
    })?;
    start_soon(owner, &object, waiter)?;
    Ok(object)
}

/// Schedules the beginning of a transport.
pub(super) fn start_soon(
    owner: &Bound<'_, LoopCore>,
    object: &Bound<'_, PyAny>,
    waiter: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let py = owner.py();
    let start = object.getattr(&imports(py).names.start)?;
    let waiter = waiter.map_or_else(|| py.None().into_bound(py), Clone::clone);
    let context = stream(object).context.bind(py).clone();
    call_soon(owner, &start, &[waiter.as_ptr()], context)
}

/// Calls `connection_made`, begins to read, resolves the waiter. Runs in the transport's context.
///
/// # Errors
/// As [`announce`]; the same with a descriptor that cannot be waited for, such as `/dev/null`.
pub(super) fn start(object: &Bound<'_, PyAny>, waiter: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    let py = object.py();
    let stream = stream(object);
    let protocol = stream.protocol(py)?;
    let begin = || {
        let lost = stream.with(py, |state| {
            state.input.started = true;
            state.ending.lost > 0
        })?;
        if lost {
            Ok(())
        } else {
            stream.update_interest(object)
        }
    };
    announce(
        object,
        protocol.as_ref().map(|protocol| protocol.bind(py)),
        begin,
        waiter,
    )
}

/// The beginning of any transport: `connection_made`, then what makes it receive, then the waiter is resolved.
///
/// # Errors
/// What `connection_made` raises, after receiving has begun: asyncio reports it and goes on, too.
pub(super) fn announce(
    object: &Bound<'_, PyAny>,
    protocol: Option<&Bound<'_, PyAny>>,
    begin: impl FnOnce() -> PyResult<()>,
    waiter: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let py = object.py();
    let made = match protocol {
        Some(protocol) => {
            call::method1(protocol, &imports(py).names.connection_made, object).map(drop)
        }
        None => Ok(()),
    };
    let begun = begin();
    if let Some(waiter) = waiter.filter(|waiter| !waiter.is_none()) {
        imports(py)
            .set_result_unless_cancelled
            .call1(py, (waiter, py.None()))?;
    }
    made.and(begun)
}
