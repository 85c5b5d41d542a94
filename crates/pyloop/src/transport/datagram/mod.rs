//! Datagram transports: UDP over IPv4 and IPv6, Unix datagrams, and whatever other sockets keep messages apart.
//!
//! | module | owns |
//! |---|---|
//! | `state` | the state of a transport |
//! | `begin` | how one is made and started |
//! | `peers` | addresses seen lately, in Rust's form and in Python's |
//! | `receive` | from readiness to `datagram_received` |
//! | `send` | from `sendto()` to the socket, flow control |
//! | `python` | the socket object's own methods, for what the fast ways do not know |
//! | `end` | the ways a transport ends |
//! | `methods` | the Python methods |

mod begin;
mod end;
mod methods;
mod peers;
mod python;
mod receive;
mod send;
mod state;

pub(crate) use begin::open;
pub(crate) use methods::register;
pub(crate) use receive::serve;
pub(crate) use send::flush;
pub(crate) use state::{Shared, is_datagram};
