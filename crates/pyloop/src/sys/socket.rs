//! Non-blocking reads, writes and accepts.
#![expect(
    unsafe_code,
    reason = "descriptors arrive as the integers that Python code passes around"
)]

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::{self, RecvFlags, SendFlags, Shutdown, SocketFlags};

/// A descriptor for the length of one call.
pub(super) fn borrowed<'a>(fd: RawFd) -> BorrowedFd<'a> {
    debug_assert!(fd >= 0, "closed sockets are not read from or written to");
    // SAFETY: used for one system call, which answers EBADF should the number have been closed behind our back.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// What a read or write on a non-blocking socket came to.
#[derive(Debug)]
pub(crate) enum Attempt<T> {
    Done(T),
    /// The kernel has nothing to give or no room: wait for readiness.
    WouldBlock,
    Failed(io::Error),
}

impl<T> Attempt<T> {
    pub(super) fn of(result: Result<T, Errno>) -> Self {
        match result {
            Ok(value) => Self::Done(value),
            Err(Errno::AGAIN | Errno::INTR) => Self::WouldBlock,
            Err(error) => Self::Failed(error.into()),
        }
    }
}

/// Receives into `buffer`; zero bytes mean the end of the stream.
#[inline]
pub(crate) fn receive(fd: RawFd, buffer: &mut [u8]) -> Attempt<usize> {
    Attempt::of(net::recv(borrowed(fd), buffer, RecvFlags::empty()).map(|(received, _)| received))
}

/// Sends from one buffer. A peer that is gone is an error, never a SIGPIPE.
#[inline]
pub(crate) fn send(fd: RawFd, bytes: &[u8]) -> Attempt<usize> {
    Attempt::of(net::send(borrowed(fd), bytes, SendFlags::NOSIGNAL))
}

/// Sends from several buffers in one call.
pub(crate) fn send_vectored(fd: RawFd, slices: &[IoSlice<'_>]) -> Attempt<usize> {
    let mut control = net::SendAncillaryBuffer::default();
    Attempt::of(net::sendmsg(
        borrowed(fd),
        slices,
        &mut control,
        SendFlags::NOSIGNAL,
    ))
}

/// Tells the peer that nothing more will be sent.
pub(crate) fn shut_down_writing(fd: RawFd) -> io::Result<()> {
    Ok(net::shutdown(borrowed(fd), Shutdown::Write)?)
}

/// A connection from a listener's queue, non-blocking and close-on-exec, with the peer's address if it is an Internet one.
pub(crate) fn accept(listener: RawFd) -> Attempt<(OwnedFd, Option<SocketAddr>)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Attempt::of(
        net::acceptfrom_with(borrowed(listener), flags).map(|(fd, address)| {
            (
                fd,
                address.and_then(|address| SocketAddr::try_from(address).ok()),
            )
        }),
    )
}

/// Small writes leave without waiting for the acknowledgement of earlier ones, as asyncio has it for every TCP transport.
pub(crate) fn disable_nagle(fd: RawFd) -> io::Result<()> {
    Ok(net::sockopt::set_tcp_nodelay(borrowed(fd), true)?)
}

/// Whether a descriptor is a TCP socket: an Internet stream.
pub(crate) fn is_internet_stream(fd: RawFd) -> bool {
    let family = net::sockopt::socket_domain(borrowed(fd));
    matches!(
        family,
        Ok(net::AddressFamily::INET | net::AddressFamily::INET6)
    ) && matches!(
        net::sockopt::socket_type(borrowed(fd)),
        Ok(net::SocketType::STREAM)
    )
}

/// The error for a descriptor that was closed.
pub(crate) fn bad_descriptor() -> io::Error {
    io::Error::from_raw_os_error(libc::EBADF)
}
