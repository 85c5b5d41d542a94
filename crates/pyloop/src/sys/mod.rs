//! System calls on sockets and pipes, by descriptor number: asyncio's users hand over integers and sockets that Python owns.

pub(crate) mod datagram;
pub(crate) mod pipe;
mod platform;
pub(crate) mod socket;
