//! Datagrams that leave, one by one or a batch of them.
#![expect(
    unsafe_code,
    reason = "sendmmsg takes an array of raw pointers, and rustix does not have it"
)]

#[cfg(any(target_os = "linux", target_os = "android"))]
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::RawFd;

use super::attempt;
use crate::sys::platform::NO_SIGNAL_BITS;
use crate::sys::socket::Attempt;

/// Datagrams handed to one `sendmmsg`; the arrays for so many take 7 KiB of stack.
pub(crate) const SEND_BATCH: usize = 64;

/// A datagram to send, and to whom; `None` for the peer of a connected socket.
pub(crate) type Outgoing<'a> = (&'a [u8], Option<SocketAddr>);

/// Sends one datagram, whole.
#[inline]
pub(crate) fn send(fd: RawFd, (bytes, to): Outgoing<'_>) -> Attempt<()> {
    let name = to.map(RawName::of);
    let (name, length) = name.as_ref().map_or((std::ptr::null(), 0), RawName::parts);
    // SAFETY: bytes and an address that live for the call.
    let sent = unsafe {
        libc::sendto(
            fd,
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_DONTWAIT | NO_SIGNAL_BITS,
            name,
            length,
        )
    };
    match attempt(sent) {
        Attempt::Done(_) => Attempt::Done(()),
        Attempt::WouldBlock => Attempt::WouldBlock,
        Attempt::Failed(error) => Attempt::Failed(error),
    }
}

/// Sends datagrams in order, up to [`SEND_BATCH`]; says how many the kernel took.
///
/// The first that fails ends it. If it is the very first, its error is reported; otherwise the next call finds it again.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn send_batch<'a>(
    fd: RawFd,
    datagrams: impl Iterator<Item = Outgoing<'a>>,
) -> Attempt<usize> {
    let mut slices = [const { MaybeUninit::<libc::iovec>::uninit() }; SEND_BATCH];
    let mut names = [const { MaybeUninit::<RawName>::uninit() }; SEND_BATCH];
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; SEND_BATCH];
    let places = slices.iter_mut().zip(&mut names).zip(&mut headers);
    let mut count = 0;
    for (((slice, name), header), (bytes, to)) in places.zip(datagrams) {
        let slice = slice.write(libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        });
        // SAFETY: a header without name, data or control; null pointers and zeros are valid.
        let header = header.write(unsafe { std::mem::zeroed() });
        if let Some(to) = to {
            let (name, length) = name.write(RawName::of(to)).parts();
            header.msg_hdr.msg_name = name.cast_mut().cast();
            header.msg_hdr.msg_namelen = length;
        }
        header.msg_hdr.msg_iov = slice;
        header.msg_hdr.msg_iovlen = 1;
        count += 1;
    }
    // SAFETY: `count` headers that point to bytes and addresses that live for the call, and that the kernel only reads.
    let sent = unsafe {
        libc::sendmmsg(
            fd,
            headers.as_mut_ptr().cast(),
            count,
            (libc::MSG_DONTWAIT | NO_SIGNAL_BITS) as _,
        )
    };
    attempt(sent as isize)
}

/// As on Linux, with a system call for each datagram.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn send_batch<'a>(
    fd: RawFd,
    datagrams: impl Iterator<Item = Outgoing<'a>>,
) -> Attempt<usize> {
    let mut count = 0;
    for datagram in datagrams.take(SEND_BATCH) {
        match send(fd, datagram) {
            Attempt::Done(()) => count += 1,
            _ if count > 0 => break,
            Attempt::WouldBlock => return Attempt::WouldBlock,
            Attempt::Failed(error) => return Attempt::Failed(error),
        }
    }
    Attempt::Done(count)
}

/// An Internet address in the kernel's form.
#[derive(Clone, Copy)]
#[repr(C)]
union RawName {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl RawName {
    fn of(address: SocketAddr) -> Self {
        // SAFETY: all bytes zero are valid for both forms.
        let mut name: Self = unsafe { std::mem::zeroed() };
        match address {
            SocketAddr::V4(address) => {
                name.v4.sin_family = libc::AF_INET as libc::sa_family_t;
                name.v4.sin_port = address.port().to_be();
                name.v4.sin_addr.s_addr = u32::from(*address.ip()).to_be();
            }
            SocketAddr::V6(address) => {
                name.v6.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                name.v6.sin6_port = address.port().to_be();
                name.v6.sin6_flowinfo = address.flowinfo().to_be();
                name.v6.sin6_addr.s6_addr = address.ip().octets();
                name.v6.sin6_scope_id = address.scope_id();
            }
        }
        name
    }

    fn parts(&self) -> (*const libc::sockaddr, libc::socklen_t) {
        // SAFETY: the family lies at the same place in both forms, and is always initialised.
        let family = libc::c_int::from(unsafe { self.v4.sin_family });
        let length = if family == libc::AF_INET {
            size_of::<libc::sockaddr_in>()
        } else {
            size_of::<libc::sockaddr_in6>()
        };
        (std::ptr::from_ref(self).cast(), length as libc::socklen_t)
    }
}
