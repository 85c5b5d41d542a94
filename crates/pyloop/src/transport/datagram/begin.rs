//! How a datagram transport begins.

use std::collections::VecDeque;
use std::os::fd::RawFd;

use engine::{DatagramQueue, FlowControl};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::super::address::{self, Version};
use super::super::begin::announce;
use super::super::info;
use super::state::{Datagram, Ending, Input, Output, State, Way, datagram};
use crate::core::LoopCore;
use crate::py::call;
use crate::py::cell::LoopCell;
use crate::py::context;
use crate::py::imports::imports;
use crate::py::payload::Payload;
use crate::py::socket_object;

/// How the socket object wants to be used.
fn way_of(sock: &Bound<'_, PyAny>) -> PyResult<Way> {
    let py = sock.py();
    let plain = py.import("_socket")?.getattr("socket")?;
    let class = sock.get_type();
    for name in ["recvfrom", "send", "sendto"] {
        if !class.getattr(name).is_ok_and(|method| {
            plain
                .getattr(name)
                .is_ok_and(|original| original.is(&method))
        }) {
            return Ok(Way::Python);
        }
    }
    Ok(match sock.getattr("family")?.extract()? {
        libc::AF_INET => Way::Internet(Version::V4),
        libc::AF_INET6 => Way::Internet(Version::V6),
        libc::AF_UNIX => Way::Unix,
        _ => Way::Python,
    })
}

/// Makes the transport of a datagram socket; its protocol hears of it in the next iteration.
pub(crate) fn open<'py>(
    owner: &Bound<'py, LoopCore>,
    sock: &Bound<'py, PyAny>,
    protocol: &Bound<'py, PyAny>,
    remote: Option<&Bound<'py, PyAny>>,
    waiter: Option<&Bound<'py, PyAny>>,
    extra: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = owner.py();
    owner.get().check_open()?;
    let fd: RawFd = call::method0(sock, &imports(py).names.fileno)?.extract()?;
    let extra = match extra {
        Some(extra) => extra.copy()?,
        None => PyDict::new(py),
    };
    info::remember_addresses(sock, &extra)?;
    let connected = match extra.get_item("peername")? {
        Some(name) => name.is_truthy()?,
        None => false,
    };
    let remote = match remote {
        Some(remote) if remote.is_truthy()? => Some(remote),
        _ => None,
    };
    socket_object::prepare(py)?;
    let way = way_of(sock)?;
    let remote_address = match (way, remote) {
        (Way::Internet(version), Some(remote)) => address::from_python(version, remote),
        _ => None,
    };
    let object = Datagram::kind(py).instance(
        py,
        Datagram {
            owner: owner.clone().unbind(),
            fd,
            context: context::copy_current(py)?.unbind(),
            way,
            connected,
            remote: remote.map(|remote| remote.clone().unbind()),
            remote_address,
            state: LoopCell::new(State::new(sock, protocol, &extra)),
        },
    )?;
    let shown = imports(py).datagram_socket.call1(py, (sock, &object))?;
    extra.set_item(intern!(py, "socket"), shown)?;
    let none = py.None().into_bound(py);
    datagram(&object).call_soon(&object, "_start", &[waiter.unwrap_or(&none)])?;
    Ok(object)
}

/// Bytes that a waiting datagram counts for beside its own, as in the running Python's asyncio.
const OVERHEAD: usize = if cfg!(Py_3_13) { 8 } else { 0 };

impl State {
    fn new(
        sock: &Bound<'_, PyAny>,
        protocol: &Bound<'_, PyAny>,
        extra: &Bound<'_, PyDict>,
    ) -> Self {
        Self {
            protocol: Some(protocol.clone().unbind()),
            sock: Some(sock.clone().unbind()),
            input: Input {
                paused: false,
                started: false,
                answered: false,
                held: VecDeque::new(),
            },
            output: Output {
                queue: DatagramQueue::new(OVERHEAD),
                flow: FlowControl::new(),
                queued: false,
                answering: false,
                blocked: false,
            },
            ending: Ending {
                closing: false,
                lost: 0,
            },
            extra: Some(extra.clone().unbind()),
        }
    }
}

/// Calls `connection_made`, begins to receive, resolves the waiter. Runs in the transport's context.
///
/// # Errors
/// As [`announce`].
pub(super) fn start(object: &Bound<'_, PyAny>, waiter: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    let py = object.py();
    let this = datagram(object);
    let protocol = this.protocol(py)?;
    let begin = || {
        let lost = this.with(py, |state| {
            state.input.started = true;
            state.ending.lost > 0
        })?;
        if lost {
            Ok(())
        } else {
            this.update_interest(object)
        }
    };
    announce(object, protocol.as_ref(), begin, waiter)
}
