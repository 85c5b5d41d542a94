//! Non-blocking reads, writes and accepts.
#![expect(
    unsafe_code,
    reason = "descriptors arrive as the integers that Python code passes around"
)]

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use rustix::event;
use rustix::io::Errno;
use rustix::net::{self, RecvFlags, Shutdown, SocketAddrAny, SocketAddrUnix};

use super::platform::{self, NO_SIGNAL};

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

    /// What was done, in another form.
    #[inline]
    pub(crate) fn map<U>(self, form: impl FnOnce(T) -> U) -> Attempt<U> {
        match self {
            Self::Done(value) => Attempt::Done(form(value)),
            Self::WouldBlock => Attempt::WouldBlock,
            Self::Failed(error) => Attempt::Failed(error),
        }
    }
}

/// Whether an accept would have to wait. A socket that does not listen is refused at once, by the accept itself.
pub(crate) fn accept_would_block(fd: RawFd) -> bool {
    let socket = borrowed(fd);
    let mut watched = [event::PollFd::new(&socket, event::PollFlags::IN)];
    // Of a poll that fails the accept itself tells more.
    let idle = event::poll(&mut watched, Some(&event::Timespec::default())) == Ok(0);
    idle && platform::listens(socket)
}

/// Looks for something to receive and leaves it there. An error is taken, as by any system call.
pub(crate) fn peek(fd: RawFd) -> Attempt<()> {
    let mut first = [0_u8];
    Attempt::of(net::recv(borrowed(fd), &mut first, RecvFlags::PEEK).map(drop))
}

/// Receives into `buffer`; zero bytes mean the end of the stream.
#[inline]
pub(crate) fn receive(fd: RawFd, buffer: &mut [u8]) -> Attempt<usize> {
    Attempt::of(net::recv(borrowed(fd), buffer, RecvFlags::empty()).map(|(received, _)| received))
}

/// Receives into the spare capacity of `memory`, of which there must be some; zero bytes mean the end of the stream.
pub(crate) fn append(fd: RawFd, memory: &mut Vec<u8>) -> Attempt<usize> {
    debug_assert!(memory.capacity() > memory.len(), "no room is no end");
    let spare = rustix::buffer::spare_capacity(memory);
    Attempt::of(net::recv(borrowed(fd), spare, RecvFlags::empty()).map(|(received, _)| received))
}

/// Sends from one buffer. A peer that is gone is an error, never a SIGPIPE.
#[inline]
pub(crate) fn send(fd: RawFd, bytes: &[u8]) -> Attempt<usize> {
    Attempt::of(net::send(borrowed(fd), bytes, NO_SIGNAL))
}

/// Sends from several buffers in one call.
pub(crate) fn send_vectored(fd: RawFd, slices: &[IoSlice<'_>]) -> Attempt<usize> {
    let mut control = net::SendAncillaryBuffer::default();
    Attempt::of(net::sendmsg(borrowed(fd), slices, &mut control, NO_SIGNAL))
}

/// Tells the peer that nothing more will be sent.
pub(crate) fn shut_down_writing(fd: RawFd) -> io::Result<()> {
    Ok(net::shutdown(borrowed(fd), Shutdown::Write)?)
}

/// A connection from a listener's queue, non-blocking and close-on-exec, with the peer's address if it is an Internet one.
pub(crate) fn accept(listener: RawFd) -> Attempt<(OwnedFd, Option<SocketAddr>)> {
    Attempt::of(platform::accept(borrowed(listener)).map(|(fd, address)| {
        (
            fd,
            address.and_then(|address| SocketAddr::try_from(address).ok()),
        )
    }))
}

/// What a socket is called at one of its ends.
#[derive(Debug)]
pub(crate) enum Name {
    Internet(SocketAddr),
    /// A Unix socket's: a path, a NUL and an abstract name, or nothing.
    Unix(Vec<u8>),
}

impl Name {
    fn of(address: &SocketAddrAny) -> Option<Self> {
        if let Ok(internet) = SocketAddr::try_from(address.clone()) {
            return Some(Self::Internet(internet));
        }
        let unix = SocketAddrUnix::try_from(address.clone()).ok()?;
        Some(Self::Unix(
            match (platform::abstract_name(&unix), unix.path()) {
                (Some(name), _) if !name.is_empty() => [b"\0", name].concat(),
                (_, path) => path.map_or_else(Vec::new, |path| path.to_bytes().to_vec()),
            },
        ))
    }
}

/// What a connected socket is called on this side; `None` for what is neither an Internet nor a Unix socket.
pub(crate) fn local_name(fd: RawFd) -> Option<Name> {
    Name::of(&net::getsockname(borrowed(fd)).ok()?)
}

/// What it is called on the other side; `None` also if there is no other side any more.
pub(crate) fn peer_name(fd: RawFd) -> Option<Name> {
    Name::of(&net::getpeername(borrowed(fd)).ok()??)
}

/// Small writes leave without waiting for the acknowledgement of earlier ones, as asyncio has it for every TCP transport.
pub(crate) fn disable_nagle(fd: RawFd) -> io::Result<()> {
    Ok(net::sockopt::set_tcp_nodelay(borrowed(fd), true)?)
}

/// Whether a descriptor is a TCP socket: an Internet stream.
pub(crate) fn is_internet_stream(fd: RawFd) -> bool {
    let name = net::getsockname(borrowed(fd));
    name.is_ok_and(|name| SocketAddr::try_from(name).is_ok())
        && matches!(
            net::sockopt::socket_type(borrowed(fd)),
            Ok(net::SocketType::STREAM)
        )
}

/// The error for a descriptor that was closed.
pub(crate) fn bad_descriptor() -> io::Error {
    io::Error::from_raw_os_error(libc::EBADF)
}
