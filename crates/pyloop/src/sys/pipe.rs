//! Non-blocking reads and writes of whatever is no socket: pipes, FIFOs, terminals and other character devices.

use std::io::{self, IoSlice};
use std::os::fd::{OwnedFd, RawFd};

use rustix::fs::{FileType, OFlags};
use rustix::io::FdFlags;

use super::socket::{Attempt, borrowed};

/// What a descriptor is, as far as a pipe transport cares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Pipe {
        /// It has a place in the file system.
        named: bool,
    },
    Socket,
    Device,
    /// A regular file, a directory: nothing that can be waited for.
    Other,
}

/// What a descriptor is.
pub(crate) fn kind(fd: RawFd) -> io::Result<Kind> {
    let status = rustix::fs::fstat(borrowed(fd))?;
    Ok(match FileType::from_raw_mode(status.st_mode) {
        FileType::Fifo => Kind::Pipe {
            named: status.st_nlink > 0,
        },
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice => Kind::Device,
        _ => Kind::Other,
    })
}

/// Makes reads and writes of everybody who shares the open file return instead of wait.
pub(crate) fn set_nonblocking(fd: RawFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(borrowed(fd))?;
    Ok(rustix::fs::fcntl_setfl(
        borrowed(fd),
        flags | OFlags::NONBLOCK,
    )?)
}

/// A second number, close-on-exec, for the same open file.
pub(crate) fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    let twin = rustix::io::fcntl_dupfd_cloexec(borrowed(fd), 0)?;
    debug_assert!(
        rustix::io::fcntl_getfd(&twin).is_ok_and(|flags| flags.contains(FdFlags::CLOEXEC))
    );
    Ok(twin)
}

/// Reads into `buffer`; zero bytes mean that nobody can write any more.
#[inline]
pub(crate) fn read(fd: RawFd, buffer: &mut [u8]) -> Attempt<usize> {
    Attempt::of(rustix::io::read(borrowed(fd), buffer))
}

/// Writes from one buffer. A reader that is gone is an error, and a SIGPIPE, which Python ignores.
#[inline]
pub(crate) fn write(fd: RawFd, bytes: &[u8]) -> Attempt<usize> {
    Attempt::of(rustix::io::write(borrowed(fd), bytes))
}

/// Writes from several buffers in one call.
pub(crate) fn write_vectored(fd: RawFd, slices: &[IoSlice<'_>]) -> Attempt<usize> {
    Attempt::of(rustix::io::writev(borrowed(fd), slices))
}
