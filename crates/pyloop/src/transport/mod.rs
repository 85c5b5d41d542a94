//! Transports: streams, one implementation for TCP and Unix sockets, client and server side, and for pipes; datagrams;
//! listeners.
//!
//! | module | owns |
//! |---|---|
//! | `stream` | the state of a transport |
//! | `begin` | how one is made and started |
//! | `read` | from readiness to `data_received` and `buffer_updated` |
//! | `write` | from `write()` to the buffer |
//! | `flush` | from the buffer to the socket |
//! | `flow` | `pause_writing` and `resume_writing` |
//! | `close` | the ways a transport ends |
//! | `methods` | the Python methods |
//! | `pipe` | what is different for pipes |
//! | `info` | `get_extra_info`, `repr` |
//! | `listener` | accepting connections |
//! | `address` | Internet addresses, to and from Python |
//! | `datagram` | datagram transports |

mod address;
mod begin;
mod close;
pub(crate) mod datagram;
mod flow;
mod flush;
mod info;
mod listener;
mod methods;
mod pipe;
mod read;
mod stream;
mod write;

pub(crate) use begin::open;
pub(crate) use close::is_interrupt;
pub(crate) use flow::call_protocol;
pub(crate) use listener::{Listener, accept, listen, unlisten};
pub(crate) use methods::{boolean, methods, none, register, required};
pub(crate) use pipe::{End, open_pipe};
pub(crate) use read::serve;
pub(crate) use stream::is_stream;
pub(crate) use write::{request_flush, send_records};

use pyo3::prelude::*;

/// Sends what a transport was given since the last flush.
///
/// # Errors
/// `KeyboardInterrupt` and `SystemExit` of the protocol.
pub(crate) fn flush(object: &Bound<'_, PyAny>) -> PyResult<()> {
    if datagram::is_datagram(object) {
        datagram::flush(object)
    } else {
        flush::flush(object)
    }
}
