//! Stream transports: one implementation for TCP and Unix sockets, client and server side.
//!
//! | module | owns |
//! |---|---|
//! | `stream` | the state of a transport, how one is made and started |
//! | `read` | from readiness to `data_received` and `buffer_updated` |
//! | `write` | from `write()` to the socket, flow control |
//! | `close` | the ways a transport ends |
//! | `methods` | the Python methods |
//! | `info` | `get_extra_info`, `repr` |
//! | `listener` | accepting connections |

mod close;
mod info;
mod listener;
mod methods;
mod read;
mod stream;
mod write;

pub(crate) use close::is_interrupt;
pub(crate) use listener::{Listener, accept, listen, unlisten};
pub(crate) use methods::{boolean, methods, none, register, required};
pub(crate) use read::serve;
pub(crate) use stream::{is_stream, open};
pub(crate) use write::{flush, request_flush, send_records};
