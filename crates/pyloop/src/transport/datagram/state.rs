//! The state of a datagram transport.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::RawFd;

use engine::{DatagramQueue, FlowControl};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use reactor::Interest;

use super::super::address::Version;
use super::super::{info, stream};
use super::end;
use super::peers::Peers;
use crate::core::sources::Source;
use crate::core::{LoopCore, call_soon};
use crate::py::bytes::Chunk;
use crate::py::call;
use crate::py::cell::LoopCell;
use crate::py::imports::imports;
use crate::py::payload::{Payload, PayloadType, Visitor};
use crate::py::socket_object;
use crate::sys::datagram::Incoming;

/// What all datagram transports of a loop use, one at a time.
pub(crate) struct Shared {
    /// `None` before the first datagram, and while a transport receives.
    pub(super) incoming: LoopCell<Option<Box<Incoming>>>,
    pub(super) peers: LoopCell<Peers>,
}

impl Shared {
    pub(crate) const fn new() -> Self {
        Self {
            incoming: LoopCell::new(None),
            peers: LoopCell::new(Peers::new()),
        }
    }
}

/// A datagram transport; the Python object around it is an `asyncio.DatagramTransport`.
pub(crate) struct Datagram {
    pub(super) owner: Py<LoopCore>,
    /// The number stays known after the socket is closed, for messages.
    pub(super) fd: RawFd,
    /// The context that the protocol's methods run in.
    pub(super) context: Py<PyAny>,
    pub(super) way: Way,
    /// The socket is connected: datagrams go to its peer, whatever address they are given.
    pub(super) connected: bool,
    /// The only address that `sendto` allows, if the endpoint was made with one.
    pub(super) remote: Option<Py<PyAny>>,
    /// The same, understood.
    pub(super) remote_address: Option<SocketAddr>,
    pub(super) state: LoopCell<State>,
}

/// How a socket is read from and written to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// System calls of our own, Internet addresses.
    Internet(Version),
    /// System calls of our own for receiving and, if connected, for sending.
    Unix,
    /// The methods of the socket object: a family of whose addresses we know nothing, or a class with methods of its own.
    Python,
}

/// What changes during a transport's life. Only the loop's thread touches it.
pub(super) struct State {
    /// `None` once `connection_lost` was called.
    pub(super) protocol: Option<Py<PyAny>>,
    /// `None` once it is closed.
    pub(super) sock: Option<Py<PyAny>>,
    pub(super) input: Input,
    pub(super) output: Output,
    pub(super) ending: Ending,
    pub(super) extra: Option<Py<PyDict>>,
}

/// The receiving half.
pub(super) struct Input {
    /// `pause_reading()` is in force.
    pub(super) paused: bool,
    /// Reading has begun, after `connection_made`.
    pub(super) started: bool,
    /// The last datagram was answered before `datagram_received` returned.
    pub(super) answered: bool,
    /// Received, and not delivered: the protocol has paused, or interrupted the run, in the middle of a batch.
    pub(super) held: VecDeque<(Py<PyAny>, Py<PyAny>)>,
}

/// The sending half.
pub(super) struct Output {
    pub(super) queue: DatagramQueue<Waiting>,
    pub(super) flow: FlowControl,
    /// `datagram_received` runs, and its first answer is still to come: it leaves at once.
    pub(super) answering: bool,
    /// The loop flushes this transport after the running callback.
    pub(super) queued: bool,
    /// The socket was full: the reactor tells when it has room.
    pub(super) blocked: bool,
}

/// How far the transport's end has come.
pub(super) struct Ending {
    /// `close()` or `abort()` was called, or an error ended the transport.
    pub(super) closing: bool,
    /// Zero until `connection_lost` is scheduled; then counts the datagrams that came too late.
    pub(super) lost: u32,
}

/// A datagram that waits to be sent.
pub(super) struct Waiting {
    pub(super) data: Chunk,
    pub(super) to: To,
}

/// To whom a datagram goes.
pub(super) enum To {
    /// The peer of a connected socket.
    Peer,
    Address(SocketAddr),
    /// Through the socket object: to this address, or to the peer if it is `None`.
    Python(Option<Py<PyAny>>),
}

impl To {
    /// The address in the kernel's reach; `None` for the peer of a connected socket.
    #[inline]
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Address(address) => Some(*address),
            Self::Peer | Self::Python(_) => None,
        }
    }
}

impl AsRef<[u8]> for Waiting {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self.data.as_ref()
    }
}

static KIND: PyOnceLock<PayloadType<Datagram>> = PyOnceLock::new();

/// Keeps the type that `methods::register` has made.
pub(super) fn set_kind(py: Python<'_>, kind: PayloadType<Datagram>) {
    // A second import of the module keeps the first one's type.
    let _ = KIND.set(py, kind);
}

/// Whether an object is a datagram transport.
#[inline]
pub(crate) fn is_datagram(object: &Bound<'_, PyAny>) -> bool {
    let py = object.py();
    object
        .get_type_ptr()
        .cast::<pyo3::ffi::PyObject>()
        .eq(&Datagram::kind(py).object(py).as_ptr())
}

impl Payload for Datagram {
    fn kind(py: Python<'_>) -> &PayloadType<Self> {
        KIND.get(py).expect("the module's import makes the type")
    }

    fn visit(&self, visitor: &Visitor) {
        visitor.object(&self.owner);
        visitor.object(&self.context);
        visitor.maybe(self.remote.as_ref());
        let state = self.state.peek();
        visitor.maybe(state.protocol.as_ref());
        visitor.maybe(state.sock.as_ref());
        visitor.maybe(state.extra.as_ref());
        for (data, address) in &state.input.held {
            visitor.object(data);
            visitor.object(address);
        }
        for waiting in state.output.queue.iter() {
            if let To::Python(Some(address)) = &waiting.to {
                visitor.object(address);
            }
        }
    }

    fn clear(&self, py: Python<'_>) {
        // A transport that is garbage belongs to a loop that nobody runs.
        let Ok(access) = self.owner.get().access(py) else {
            return;
        };
        let mut unsent = Vec::new();
        let held = self.state.with(&access, |state| {
            state.output.queue.take_into(usize::MAX, &mut unsent);
            (
                state.protocol.take(),
                state.extra.take(),
                std::mem::take(&mut state.input.held),
            )
        });
        drop(access);
        drop((held, unsent));
    }

    fn repr(object: &Bound<'_, PyAny>) -> PyResult<String> {
        let this = datagram(object);
        let (closed, closing, bufsize) = this.with(object.py(), |state| {
            let bytes = state.output.queue.bytes();
            (state.sock.is_none(), state.ending.closing, bytes)
        })?;
        let shown = info::Shown {
            closed,
            closing,
            bufsize,
        };
        info::describe(object, this.owner.get(), this.fd, &shown)
    }

    fn finalize(object: &Bound<'_, PyAny>) -> PyResult<()> {
        end::finalize(object)
    }
}

/// The transport behind a Python object of the datagram transport type.
#[inline]
pub(super) fn datagram<'a>(object: &'a Bound<'_, PyAny>) -> &'a Datagram {
    Datagram::kind(object.py()).value(object)
}

impl Datagram {
    /// Lends the state to `body`, which must neither run Python code nor drop a reference.
    ///
    /// # Errors
    /// `RuntimeError` on a thread that the loop does not run on (free-threaded builds).
    #[inline]
    pub(super) fn with<R>(
        &self,
        py: Python<'_>,
        body: impl FnOnce(&mut State) -> R,
    ) -> PyResult<R> {
        let access = self.owner.get().access(py)?;
        Ok(self.state.with(&access, body))
    }

    /// The protocol, while there is one.
    #[inline]
    pub(super) fn protocol<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.with(py, |state| {
            state
                .protocol
                .as_ref()
                .map(|protocol| protocol.bind(py).clone())
        })
    }

    /// The socket object, while it is open.
    #[inline]
    pub(super) fn sock<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.with(py, |state| {
            state.sock.as_ref().map(|sock| sock.bind(py).clone())
        })
    }

    /// Whether the descriptor is still the transport's: the application may have closed its socket object, and the number
    /// may be somebody else's by now.
    ///
    /// # Errors
    /// What `fileno()` of an unusual socket object raises.
    #[inline]
    pub(super) fn owns_descriptor(&self, py: Python<'_>) -> PyResult<bool> {
        let Some(sock) = self.sock(py)? else {
            return Ok(false);
        };
        let number = match socket_object::descriptor(&sock) {
            Some(number) => number,
            None => call::method0(&sock, &imports(py).names.fileno)?.extract()?,
        };
        Ok(number == self.fd)
    }

    /// Tells the reactor what the transport waits for now.
    pub(super) fn update_interest(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let (wanted, gone) = self.with(object.py(), |state| {
            let reads = state.input.started
                && !state.input.paused
                && state.input.held.is_empty()
                && !state.ending.closing;
            let mut wanted = Interest::NONE;
            if reads {
                wanted |= Interest::READABLE;
            }
            if state.output.blocked {
                wanted |= Interest::WRITABLE;
            }
            (wanted, state.ending.lost > 0)
        })?;
        let wanted = if gone { None } else { Some(wanted) };
        stream::watch(self.owner.get(), object, self.fd, wanted, Source::Datagram)
    }

    /// Schedules a method of the transport's, in its context.
    pub(super) fn call_soon(
        &self,
        object: &Bound<'_, PyAny>,
        method: &str,
        arguments: &[&Bound<'_, PyAny>],
    ) -> PyResult<()> {
        let py = object.py();
        let method = object.getattr(method)?;
        let arguments: Vec<_> = arguments.iter().map(|argument| argument.as_ptr()).collect();
        let context = self.context.bind(py).clone();
        call_soon(self.owner.bind(py), &method, &arguments, context)
    }
}
