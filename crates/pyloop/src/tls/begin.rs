//! A connection before its handshake: what it is made of, and its two Python objects.

use engine::{Backlog, FlowControl};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::pump::{
    App, Ending, Face, Input, Output, Phase, Pump, State, Told, Waits, is_buffered, pump,
};
use super::session::Session;
use crate::core::LoopCore;
use crate::py::cell::LoopCell;
use crate::py::payload::Payload;

/// Marks of plaintext that waits to be encrypted, in bytes: asyncio's for TLS.
const WRITE_HIGH: usize = 512 * 1024;
/// Marks of records that wait for an application that has paused reading, in bytes: asyncio's for TLS.
const READ_HIGH: usize = 256 * 1024;

/// What a connection is made of.
pub(crate) struct Beginning<'a, 'py> {
    pub(crate) owner: &'a Bound<'py, LoopCore>,
    pub(crate) protocol: &'a Bound<'py, PyAny>,
    pub(crate) context: &'a Bound<'py, PyAny>,
    pub(crate) waiter: Option<Bound<'py, PyAny>>,
    pub(crate) role: Role,
    pub(crate) server_hostname: Option<Bound<'py, PyAny>>,
    pub(crate) handshake_timeout: Bound<'py, PyAny>,
    pub(crate) shutdown_timeout: Bound<'py, PyAny>,
}

/// Which side of a connection it is, and who waits for it.
#[derive(Clone, Copy)]
pub(crate) struct Role {
    pub(crate) server_side: bool,
    /// The application's protocol knows nothing yet.
    pub(crate) call_connection_made: bool,
    pub(crate) accepted: bool,
}

/// Makes the protocol object of a connection, and with it the transport object.
///
/// # Errors
/// What `SSLContext.wrap_bio` raises.
pub(crate) fn make<'py>(beginning: Beginning<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let py = beginning.owner.py();
    let role = beginning.role;
    let session = Session::new(
        beginning.context,
        role.server_side,
        beginning.server_hostname.as_ref(),
    )?;
    let extra = PyDict::new(py);
    extra.set_item(intern!(py, "sslcontext"), beginning.context)?;
    let mut flow = FlowControl::new();
    flow.set_limits(Some(WRITE_HIGH), None)
        .expect("the low mark follows the high one");
    let buffered = is_buffered(beginning.protocol)?;
    let told = if role.call_connection_made {
        Told::Nothing
    } else {
        Told::Made
    };
    let state = State {
        phase: Phase::Unwrapped,
        told,
        app: App {
            protocol: Some(beginning.protocol.clone().unbind()),
            buffered,
            transport: None,
        },
        lower: None,
        waits: Waits {
            // Nobody awaits an accepted connection: None marks that its failure is to be reported.
            waiter: if role.accepted {
                Some(py.None())
            } else {
                beginning.waiter.map(Bound::unbind)
            },
            handshake: None,
            shutdown: None,
            began: None,
        },
        input: Input {
            reading: false,
            paused: false,
            lower_paused: false,
            high: READ_HIGH,
            low: READ_HIGH / 4,
            ended: false,
        },
        output: Output {
            backlog: Backlog::new(),
            flow,
            lower_full: false,
            sealing: false,
            written_meanwhile: false,
        },
        ending: Ending {
            closed: false,
            discard: false,
            late_writes: 0,
            error: None,
        },
    };
    let protocol = Pump::kind(py).instance(
        py,
        Pump {
            owner: beginning.owner.clone().unbind(),
            session,
            extra: extra.unbind(),
            handshake_timeout: beginning.handshake_timeout.unbind(),
            shutdown_timeout: beginning.shutdown_timeout.unbind(),
            server_side: role.server_side,
            accepted: role.accepted,
            state: LoopCell::new(state),
        },
    )?;
    let face = Face {
        protocol: protocol.clone().unbind(),
    };
    let transport = Face::kind(py).instance(py, face)?.unbind();
    pump(&protocol).with(py, |state| state.app.transport = Some(transport))?;
    Ok(protocol)
}
