//! The state of a stream transport.

use std::net::SocketAddr;
use std::os::fd::{OwnedFd, RawFd};

use engine::{FlowControl, WriteBuffer};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use reactor::Interest;

use super::close;
use super::pipe::Medium;
use crate::core::LoopCore;
use crate::core::sources::Source;
use crate::py::bytes::Chunk;
use crate::py::call;
use crate::py::cell::LoopCell;
use crate::py::errors::os_error;
use crate::py::imports::imports;
use crate::py::payload::{Payload, PayloadType, Visitor};
use crate::sys::socket::Name;
use crate::tls;

/// A stream transport; the Python object around it is an `asyncio.Transport`.
pub(crate) struct Stream {
    pub(super) owner: Py<LoopCore>,
    /// The number stays known after the socket is closed, for messages.
    pub(super) fd: RawFd,
    pub(super) medium: Medium,
    /// The context that the protocol's methods run in.
    pub(super) context: Py<PyAny>,
    pub(super) state: LoopCell<State>,
}

/// What changes during a transport's life. Only the loop's thread touches it.
pub(super) struct State {
    /// `None` once `connection_lost` was called.
    pub(super) protocol: Option<Py<PyAny>>,
    pub(super) socket: Socket,
    pub(super) input: Input,
    pub(super) output: Output,
    pub(super) ending: Ending,
    pub(super) about: About,
}

/// Who closes the descriptor.
pub(super) enum Socket {
    /// A `socket.socket`, from the application or made for `get_extra_info("socket")`.
    Python(Py<PyAny>),
    /// Accepted by us and not asked for yet: no Python object is made for it.
    Native(OwnedFd),
    /// A pipe object of the application's whose descriptor another transport uses: this one has a duplicate.
    Shared(Py<PyAny>, OwnedFd),
    Closed,
}

/// The receiving half.
pub(super) struct Input {
    pub(super) delivery: Delivery,
    /// `pause_reading()` is in force.
    pub(super) paused: bool,
    /// Reading has begun, after `connection_made`.
    pub(super) started: bool,
    /// The peer has sent its end, and the protocol wants to go on writing.
    pub(super) ended: bool,
}

/// How the protocol takes what is received.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// `data_received`.
    Data,
    /// Through its own buffer, as an `asyncio.BufferedProtocol`.
    Buffer,
    /// As TLS records, for the pump that the protocol stands for.
    Records,
}

impl Delivery {
    pub(super) fn to(protocol: &Bound<'_, PyAny>, medium: Medium) -> PyResult<Self> {
        if medium != Medium::Socket {
            return Ok(Self::Data); // asyncio's pipe transports know plain protocols only.
        }
        if tls::is_protocol(protocol) {
            return Ok(Self::Records);
        }
        let buffered = imports(protocol.py()).buffered_protocol.bind(protocol.py());
        Ok(if protocol.is_instance(buffered)? {
            Self::Buffer
        } else {
            Self::Data
        })
    }
}

/// The sending half.
pub(super) struct Output {
    pub(super) buffer: WriteBuffer<Chunk>,
    pub(super) flow: FlowControl,
    /// The loop flushes this transport after the running callback.
    pub(super) queued: bool,
    /// The socket was full: the reactor tells when it has room.
    pub(super) blocked: bool,
    /// `write_eof()` was called.
    pub(super) ended: bool,
    /// Resolved when the buffer is empty (`sendfile` waits for that).
    pub(super) empty_waiter: Option<Py<PyAny>>,
    /// Resolved when the socket has room (`sendfile` waits for that, with the buffer empty).
    pub(super) room_waiter: Option<Py<PyAny>>,
}

/// How far the transport's end has come.
pub(super) struct Ending {
    /// `close()` or `abort()` was called, or an error ended the transport.
    pub(super) closing: bool,
    /// Zero until `connection_lost` is scheduled; then counts the writes that came too late.
    pub(super) lost: u32,
}

/// What is known about the connection.
pub(super) struct About {
    pub(super) extra: Option<Py<PyDict>>,
    /// The peer's address as `accept` gave it.
    pub(super) peer: Option<SocketAddr>,
    /// What an accepted connection was called that is over, and never had a socket object.
    pub(super) names: Option<Box<Names>>,
    pub(super) server: Option<Py<PyAny>>,
}

/// The two ends of a connection.
pub(super) struct Names {
    pub(super) local: Option<Name>,
    pub(super) peer: Option<Name>,
}

static KIND: PyOnceLock<PayloadType<Stream>> = PyOnceLock::new();

/// Keeps the type that `methods::register` has made.
pub(super) fn set_kind(py: Python<'_>, kind: PayloadType<Stream>) {
    // A second import of the module keeps the first one's type.
    let _ = KIND.set(py, kind);
}

impl Payload for Stream {
    fn kind(py: Python<'_>) -> &PayloadType<Self> {
        KIND.get(py).expect("the module's import makes the type")
    }

    fn visit(&self, visitor: &Visitor) {
        visitor.object(&self.owner);
        visitor.object(&self.context);
        let state = self.state.peek();
        visitor.maybe(state.protocol.as_ref());
        if let Socket::Python(object) | Socket::Shared(object, _) = &state.socket {
            visitor.object(object);
        }
        visitor.maybe(state.output.empty_waiter.as_ref());
        visitor.maybe(state.output.room_waiter.as_ref());
        visitor.maybe(state.about.extra.as_ref());
        visitor.maybe(state.about.server.as_ref());
    }

    fn clear(&self, py: Python<'_>) {
        // A transport that is garbage belongs to a loop that nobody runs.
        let Ok(access) = self.owner.get().access(py) else {
            return;
        };
        let held = self.state.with(&access, |state| {
            (
                state.protocol.take(),
                state.output.empty_waiter.take(),
                state.output.room_waiter.take(),
                state.about.extra.take(),
                state.about.server.take(),
            )
        });
        drop(access);
        drop(held);
    }

    fn repr(object: &Bound<'_, PyAny>) -> PyResult<String> {
        super::info::repr(object)
    }

    fn finalize(object: &Bound<'_, PyAny>) -> PyResult<()> {
        close::finalize(object)
    }
}

/// Whether a transport is a stream transport of ours.
pub(crate) fn is_stream(transport: &Bound<'_, PyAny>) -> bool {
    transport
        .get_type()
        .is(Stream::kind(transport.py()).object(transport.py()))
}

/// The transport behind a Python object of the transport type.
#[inline]
pub(super) fn stream<'a>(object: &'a Bound<'_, PyAny>) -> &'a Stream {
    Stream::kind(object.py()).value(object)
}

impl Stream {
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
    pub(super) fn protocol(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.with(py, |state| {
            state
                .protocol
                .as_ref()
                .map(|protocol| protocol.clone_ref(py))
        })
    }

    /// Tells the reactor what the transport waits for now.
    pub(super) fn update_interest(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        let core = self.owner.get();
        let access = core.access(py)?;
        let (wanted, gone) = self.state.with(&access, |state| {
            let reads = state.input.started
                && match self.medium {
                    // Readable is what a pipe becomes when its reader is gone, also while the rest is being sent.
                    Medium::Writer { watched } => watched && state.ending.lost == 0,
                    Medium::Socket | Medium::Reader => {
                        !state.input.paused && !state.input.ended && !state.ending.closing
                    }
                };
            let mut wanted = Interest::NONE;
            if reads {
                wanted |= Interest::READABLE;
            }
            if state.output.blocked || state.output.room_waiter.is_some() {
                wanted |= Interest::WRITABLE;
            }
            (wanted, state.ending.lost > 0)
        });
        drop(access);
        let wanted = if gone { None } else { Some(wanted) };
        watch(core, object, self.fd, wanted, Source::Stream)
    }
}

/// Watches a transport's descriptor for what it waits for, or for nothing more if `wanted` is `None`.
///
/// `source` makes the table's entry of a transport that waits for something.
pub(super) fn watch(
    core: &LoopCore,
    object: &Bound<'_, PyAny>,
    fd: RawFd,
    wanted: Option<Interest>,
    source: fn(Py<PyAny>) -> Source,
) -> PyResult<()> {
    let py = object.py();
    // An idle transport is the application's to keep: the loop holds those that something can happen to.
    let source = if wanted.is_some_and(|wanted| wanted.is_empty()) {
        Source::idle(object)?
    } else {
        source(object.clone().unbind())
    };
    let access = core.access(py)?;
    let replaced = core.sources.with(&access, |sources| {
        let ours = sources
            .get(fd)
            .is_some_and(|source| source.is_stream(object));
        let Some(wanted) = wanted else {
            return Ok((if ours { sources.remove(fd) } else { None }, Some(source)));
        };
        let taken = !matches!(sources.get(fd), None | Some(Source::Watcher { .. }));
        // A descriptor that was closed behind the transport may be another transport's by now.
        if core.is_closed() || (taken && !ours) {
            return Ok((None, Some(source)));
        }
        if ours {
            sources.set_interest(fd, wanted)?;
            return Ok((sources.replace(fd, source), None));
        }
        Ok::<_, std::io::Error>((sources.insert(fd, wanted, source)?, None))
    });
    drop(access);
    drop(replaced.map_err(os_error)?);
    Ok(())
}

/// Takes a transport out of the loop's table, if it is there still.
pub(super) fn forget(core: &LoopCore, object: &Bound<'_, PyAny>, fd: RawFd) -> PyResult<()> {
    let access = core.access(object.py())?;
    let removed = core.sources.with(&access, |sources| {
        let ours = sources
            .get(fd)
            .is_some_and(|source| source.is_stream(object));
        if ours { sources.remove(fd) } else { None }
    });
    drop(access);
    drop(removed);
    Ok(())
}

impl Stream {
    /// Whether the descriptor is still the transport's.
    ///
    /// A socket object of the application's can be closed behind the transport. Its number may then be somebody else's,
    /// who must not get the transport's bytes.
    ///
    /// # Errors
    /// What `fileno()` of an unusual socket object raises.
    #[inline]
    pub(super) fn owns_descriptor(&self, py: Python<'_>) -> PyResult<bool> {
        let object = self.with(py, |state| match &state.socket {
            Socket::Python(object) => Some(object.clone_ref(py)),
            Socket::Native(_) | Socket::Shared(..) | Socket::Closed => None,
        })?;
        match object {
            Some(object) => match call::method0(object.bind(py), &imports(py).names.fileno) {
                Ok(number) => Ok(number.extract::<RawFd>()? == self.fd),
                // A closed socket has the number -1; a closed file object has none.
                Err(error) if error.is_instance_of::<PyValueError>(py) => Ok(false),
                Err(error) => Err(error),
            },
            None => Ok(true),
        }
    }
}
