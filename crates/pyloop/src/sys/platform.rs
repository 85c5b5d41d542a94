//! What systems offer differently, in one form. Apple's have been compiled, never run.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Result;
use rustix::net::{self, SendFlags, SocketAddrAny, SocketAddrUnix};

/// Asks for `EPIPE` without a `SIGPIPE`. Apple's systems have no such flag; there it takes CPython's own setting, which
/// ignores the signal.
#[cfg(not(target_vendor = "apple"))]
pub(super) const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
pub(super) const NO_SIGNAL: SendFlags = SendFlags::empty();

/// The same as a number.
pub(super) const NO_SIGNAL_BITS: libc::c_int = NO_SIGNAL.bits() as libc::c_int;

/// Accepts a connection, which does not block and is closed on exec.
pub(super) fn accept(listener: BorrowedFd<'_>) -> Result<(OwnedFd, Option<SocketAddrAny>)> {
    #[cfg(not(target_vendor = "apple"))]
    {
        use rustix::net::SocketFlags;
        net::acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)
    }
    #[cfg(target_vendor = "apple")]
    {
        use rustix::io::{FdFlags, fcntl_setfd, ioctl_fionbio};
        let (fd, address) = net::acceptfrom(listener)?;
        fcntl_setfd(&fd, FdFlags::CLOEXEC)?;
        ioctl_fionbio(&fd, true)?;
        Ok((fd, address))
    }
}

/// Whether a socket is known to listen. Apple's systems do not say.
pub(super) fn listens(socket: BorrowedFd<'_>) -> bool {
    #[cfg(not(target_vendor = "apple"))]
    return net::sockopt::socket_acceptconn(socket) == Ok(true);
    #[cfg(target_vendor = "apple")]
    {
        let _ = socket;
        false
    }
}

/// A Unix socket's name in the namespace that only Linux has.
pub(super) fn abstract_name(address: &SocketAddrUnix) -> Option<&[u8]> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return address.abstract_name();
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = address;
        None
    }
}
