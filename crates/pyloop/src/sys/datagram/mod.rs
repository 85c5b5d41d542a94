//! Datagrams in and out, several per system call where the kernel has one for that.

mod incoming;
mod outgoing;

use std::io;

pub(crate) use incoming::{Incoming, LARGE_SLOT, RECEIVE_BATCH, SLOT, Sender};
pub(crate) use outgoing::{Outgoing, SEND_BATCH, send, send_batch};

use super::socket::Attempt;

/// What a system call's answer means.
#[inline]
fn attempt(answer: isize) -> Attempt<usize> {
    if answer >= 0 {
        return Attempt::Done(answer as usize);
    }
    let error = io::Error::last_os_error();
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Attempt::WouldBlock,
        _ => Attempt::Failed(error),
    }
}
