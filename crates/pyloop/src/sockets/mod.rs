//! The native half of `sock_*`: one attempt each, and the wait between two of them.
//!
//! | module | owns |
//! |---|---|
//! | `plain` | which sockets the engine may read and write by itself |
//! | `attempt` | the attempts |
//! | `wait` | futures for a socket's readiness |
//!
//! The coroutines around them are in `_sockets.py`. An attempt is made by the task itself, before it waits and after: a
//! task that is cancelled while it waits has taken nothing from the socket, so nothing is lost.

mod attempt;
mod plain;
mod wait;

use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::py::fastcall::define;
use crate::py::heap_type::add_methods;

/// Adds the methods to `LoopCore`.
pub(crate) fn register(kind: &Bound<'_, PyType>) -> PyResult<()> {
    add_methods(
        kind,
        vec![
            define::<attempt::TryRecv>(),
            define::<attempt::TryRecvInto>(),
            define::<attempt::TryRecvfrom>(),
            define::<attempt::TryRecvfromInto>(),
            define::<attempt::TryAccept>(),
            define::<attempt::TrySend>(),
            define::<wait::WhenReadable>(),
            define::<wait::WhenWritable>(),
            define::<wait::Forget>(),
        ],
    )
}
