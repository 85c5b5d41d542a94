//! TLS: a pump that moves records between a lower transport and an `ssl.SSLObject`, and plaintext between that and the
//! application's protocol.
//!
//! Settings are the user's own `ssl.SSLContext`. Which engine encrypts is the session's business; the pump holds the
//! state machine: handshake, reading, writing, flow control, shutdown. Over a stream transport of ours records come straight from the
//! socket and go straight to it; over any other transport they pass through its Python methods.
//!
//! | module | owns |
//! |---|---|
//! | `pump` | the state of a connection, and its two Python objects |
//! | `begin` | what a connection is made of, and its making |
//! | `session` | one `ssl.SSLObject` and its two `ssl.MemoryBIO`s: records that arrive, handshake, records that leave |
//! | `plaintext` | the reading half of a session |
//! | `handshake` | from `connection_made` of the lower transport to that of the application |
//! | `read` | from records to `data_received` and `buffer_updated` |
//! | `write` | from `write()` to records, flow control |
//! | `shutdown` | `close`, `abort`, errors, the end of the lower transport |
//! | `lower` | the transport underneath |
//! | `protocol_methods`, `transport_methods` | the Python methods |
//! | `imports` | what is needed of `ssl` |

mod begin;
mod handshake;
mod imports;
mod lower;
mod plaintext;
mod protocol_methods;
mod pump;
mod read;
mod session;
mod shutdown;
mod transport_methods;
mod write;

pub(crate) use begin::{Beginning, Role, make};
pub(crate) use pump::is_protocol;
pub(crate) use read::{receive, serve};
pub(crate) use write::flush;

use pyo3::prelude::*;

/// Makes the two types and adds them to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    protocol_methods::register(module)?;
    transport_methods::register(module)
}
