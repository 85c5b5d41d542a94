//! System calls on sockets, by descriptor number: asyncio's users hand over integers and sockets that Python owns.

pub(crate) mod datagram;
pub(crate) mod socket;
