//! Stream transports: one implementation for TCP and Unix sockets, client and server side, and for pipes.
//!
//! | module | owns |
//! |---|---|
//! | `stream` | the state of a transport, how one is made and started |
//! | `read` | from readiness to `data_received` and `buffer_updated` |
//! | `write` | from `write()` to the socket, flow control |
//! | `close` | the ways a transport ends |
//! | `methods` | the Python methods |
//! | `pipe` | what is different for pipes |
//! | `info` | `get_extra_info`, `repr` |
//! | `listener` | accepting connections |

mod close;
mod info;
mod listener;
mod methods;
mod pipe;
mod read;
mod stream;
mod write;

pub(crate) use listener::{Listener, accept, listen, unlisten};
pub(crate) use methods::register;
pub(crate) use pipe::{End, open_pipe};
pub(crate) use read::serve;
pub(crate) use stream::open;
pub(crate) use write::flush;
