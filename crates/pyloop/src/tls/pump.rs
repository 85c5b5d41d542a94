//! The state of one TLS connection, and the two Python objects that stand for it: the protocol, which the lower transport
//! calls, and the transport, which the application calls.
//!
//! The protocol object carries the state. It holds the transport object until the connection is lost, and the other way
//! round for as long as the application keeps the transport.

use engine::{Backlog, FlowControl};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use super::lower::Lower;
use super::session::Session;
use crate::core::LoopCore;
use crate::py::bytes::Chunk;
use crate::py::cell::LoopCell;
use crate::py::imports::imports;
use crate::py::payload::{Payload, PayloadType, Visitor};

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Before the handshake, and after everything.
    Unwrapped,
    Handshake,
    Wrapped,
    /// Closing: what the application has written goes out.
    Flushing,
    /// Closing: both sides announce their end.
    Shutdown,
}

/// What the application's protocol was told so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Nothing,
    Made,
    Eof,
    Lost,
}

/// The state machine of a connection; carried by the protocol object.
pub(crate) struct Pump {
    pub(super) owner: Py<LoopCore>,
    pub(super) session: Session,
    /// What `get_extra_info` knows of TLS.
    pub(super) extra: Py<PyDict>,
    /// Seconds, as they were given.
    pub(super) handshake_timeout: Py<PyAny>,
    pub(super) shutdown_timeout: Py<PyAny>,
    pub(super) server_side: bool,
    /// A connection of a server of ours: nobody waits for its handshake.
    pub(super) accepted: bool,
    pub(super) state: LoopCell<State>,
}

/// What changes during a connection's life. Only the loop's thread touches it.
pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) told: Told,
    pub(super) app: App,
    /// The transport underneath, from its `connection_made` to its `connection_lost`.
    pub(super) lower: Option<Lower>,
    pub(super) waits: Waits,
    pub(super) input: Input,
    pub(super) output: Output,
    pub(super) ending: Ending,
}

/// The application's side.
pub(super) struct App {
    /// `None` once the connection is lost.
    pub(super) protocol: Option<Py<PyAny>>,
    /// Whether it is an `asyncio.BufferedProtocol`.
    pub(super) buffered: bool,
    /// `None` once the connection is lost.
    pub(super) transport: Option<Py<PyAny>>,
}

/// What somebody waits for.
pub(super) struct Waits {
    /// Resolved at the end of the handshake.
    pub(super) waiter: Option<Py<PyAny>>,
    /// Timer handles.
    pub(super) handshake: Option<Py<PyAny>>,
    pub(super) shutdown: Option<Py<PyAny>>,
    /// When the handshake began, in seconds of the loop's clock; in debug mode.
    pub(super) began: Option<f64>,
}

/// The receiving half.
pub(super) struct Input {
    /// A read is in progress further up the stack; it sees to what happens meanwhile.
    pub(super) reading: bool,
    /// The application has paused reading.
    pub(super) paused: bool,
    /// The lower transport was told to pause.
    pub(super) lower_paused: bool,
    /// Bytes of records from which the lower transport is paused, and down to which it is resumed.
    pub(super) high: usize,
    pub(super) low: usize,
    /// The lower transport has come to its end.
    pub(super) ended: bool,
}

/// The sending half.
pub(super) struct Output {
    pub(super) backlog: Backlog<Chunk>,
    pub(super) flow: FlowControl,
    /// The lower transport has no room: nothing is encrypted meanwhile.
    pub(super) lower_full: bool,
    /// Records are being made further up the stack.
    pub(super) sealing: bool,
    /// Something was written while the backlog was being encrypted and sent.
    pub(super) written_meanwhile: bool,
}

/// How far the connection's end has come.
pub(super) struct Ending {
    /// The application's transport is closing or closed.
    pub(super) closed: bool,
    /// The application has closed it: what arrives is for nobody.
    pub(super) discard: bool,
    /// Writes that came too late.
    pub(super) late_writes: u32,
    /// Why the lower transport is being aborted, should it not say so itself.
    pub(super) error: Option<PyErr>,
}

static PROTOCOL: PyOnceLock<PayloadType<Pump>> = PyOnceLock::new();
static TRANSPORT: PyOnceLock<PayloadType<Face>> = PyOnceLock::new();

pub(super) fn set_protocol_kind(py: Python<'_>, kind: PayloadType<Pump>) {
    // A second import of the module keeps the first one's type.
    let _ = PROTOCOL.set(py, kind);
}

pub(super) fn set_transport_kind(py: Python<'_>, kind: PayloadType<Face>) {
    // As above.
    let _ = TRANSPORT.set(py, kind);
}

impl Payload for Pump {
    fn kind(py: Python<'_>) -> &PayloadType<Self> {
        PROTOCOL
            .get(py)
            .expect("the module's import makes the type")
    }

    fn visit(&self, visitor: &Visitor) {
        visitor.object(&self.owner);
        visitor.object(&self.extra);
        visitor.object(&self.handshake_timeout);
        visitor.object(&self.shutdown_timeout);
        self.session.visit(visitor);
        let state = self.state.peek();
        visitor.maybe(state.app.protocol.as_ref());
        visitor.maybe(state.app.transport.as_ref());
        visitor.maybe(state.lower.as_ref().map(Lower::object));
        visitor.maybe(state.waits.waiter.as_ref());
        visitor.maybe(state.waits.handshake.as_ref());
        visitor.maybe(state.waits.shutdown.as_ref());
    }

    fn clear(&self, py: Python<'_>) {
        // A connection that is garbage belongs to a loop that nobody runs.
        let Ok(access) = self.owner.get().access(py) else {
            return;
        };
        let held = self.state.with(&access, |state| {
            (
                state.app.protocol.take(),
                state.app.transport.take(),
                state.lower.take(),
                std::mem::replace(
                    &mut state.waits,
                    Waits {
                        waiter: None,
                        handshake: None,
                        shutdown: None,
                        began: None,
                    },
                ),
                state.ending.error.take(),
            )
        });
        drop(access);
        drop(held);
    }

    fn repr(object: &Bound<'_, PyAny>) -> PyResult<String> {
        let pump = pump(object);
        let (phase, lower) = pump.with(object.py(), |state| {
            (state.phase, state.lower_object(object.py()))
        })?;
        let over = match lower {
            Some(lower) => lower.bind(object.py()).repr()?.to_string(),
            None => "no transport".to_owned(),
        };
        Ok(format!("<SSLProtocol {phase:?} over {over}>").replace("Unwrapped", "idle"))
    }

    fn finalize(_object: &Bound<'_, PyAny>) -> PyResult<()> {
        Ok(()) // The two transports warn for themselves.
    }
}

/// What the transport object carries.
pub(crate) struct Face {
    pub(super) protocol: Py<PyAny>,
}

impl Payload for Face {
    fn kind(py: Python<'_>) -> &PayloadType<Self> {
        TRANSPORT
            .get(py)
            .expect("the module's import makes the type")
    }

    fn visit(&self, visitor: &Visitor) {
        visitor.object(&self.protocol);
    }

    fn clear(&self, _py: Python<'_>) {
        // The protocol object gives up the transport object: that breaks the cycle.
    }

    fn repr(object: &Bound<'_, PyAny>) -> PyResult<String> {
        super::shutdown::transport_repr(object)
    }

    fn finalize(object: &Bound<'_, PyAny>) -> PyResult<()> {
        super::shutdown::finalize(object)
    }
}

/// Whether a protocol is the upper end of a stream transport's records.
#[inline]
pub(crate) fn is_protocol(protocol: &Bound<'_, PyAny>) -> bool {
    protocol
        .get_type()
        .is(Pump::kind(protocol.py()).object(protocol.py()))
}

/// The state machine behind a protocol object.
#[inline]
pub(super) fn pump<'a>(protocol: &'a Bound<'_, PyAny>) -> &'a Pump {
    Pump::kind(protocol.py()).value(protocol)
}

/// The protocol object behind a transport object.
#[inline]
pub(super) fn protocol_of<'a, 'py>(transport: &'a Bound<'py, PyAny>) -> &'a Bound<'py, PyAny> {
    Face::kind(transport.py())
        .value(transport)
        .protocol
        .bind(transport.py())
}

impl Pump {
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

    /// The transport underneath, while there is one.
    pub(super) fn lower(&self, py: Python<'_>) -> PyResult<Option<Lower>> {
        self.with(py, |state| {
            state.lower.as_ref().map(|lower| lower.clone_ref(py))
        })
    }

    /// The application's protocol, while there is one.
    pub(super) fn app(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.with(py, |state| {
            state
                .app
                .protocol
                .as_ref()
                .map(|protocol| protocol.clone_ref(py))
        })
    }
}

impl State {
    pub(super) fn lower_object(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.lower
            .as_ref()
            .map(|lower| lower.object().clone_ref(py))
    }
}

/// Whether a protocol takes its data through buffers of its own.
pub(super) fn is_buffered(protocol: &Bound<'_, PyAny>) -> PyResult<bool> {
    protocol.is_instance(imports(protocol.py()).buffered_protocol.bind(protocol.py()))
}
