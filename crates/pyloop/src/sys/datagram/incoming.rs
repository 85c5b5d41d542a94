//! Datagrams that arrive: up to a batch of them per readiness, into memory that is used again.
#![expect(
    unsafe_code,
    reason = "recvmmsg takes an array of raw pointers, and rustix does not have it"
)]

use std::io;
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::RawFd;

use super::attempt;
use crate::sys::socket::Attempt;

/// Datagrams taken by one readiness at most. Enough that the system call's cost hardly shows, and so few that the other
/// sockets of the loop wait for no more than 32 calls of a protocol.
pub(crate) const RECEIVE_BATCH: usize = 32;

/// How many the first call of a readiness asks for as long as bursts are rare: preparing the call for 32 costs as much as
/// a tenth of a small echo.
const FIRST_LOOK: usize = 4;

/// After so many readinesses in a row that brought one datagram each, only every eighth looks whether there is a second: a
/// look in vain costs a good part of a system call. A burst that begins in between costs a few more polls.
const CALM: u32 = 8;

/// From so many datagrams per batch on, on average, more wait than a server has answered while it looked.
const BACKLOG: usize = 3;

/// How many batches that average looks back on, roughly.
const MEMORY: usize = 8;

/// Room for one datagram over IP: its length is a number of 16 bits.
pub(crate) const SLOT: usize = 64 * 1024;

/// Room for one datagram of a Unix socket, which may be larger: what asyncio takes at most.
pub(crate) const LARGE_SLOT: usize = 256 * 1024;

/// Bytes between the slots, 25 cache lines. Without them all slots would begin in the same set of every cache, and a batch of
/// small datagrams would push its own out before they are read.
const SPREAD: usize = 1600;

const NAME_SIZE: libc::socklen_t = size_of::<libc::sockaddr_storage>() as libc::socklen_t;

/// Who sent a datagram.
#[derive(Debug)]
pub(crate) enum Sender<'a> {
    /// The kernel gave no address: the other end of a pair, or an unnamed Unix socket.
    Unnamed,
    Internet(SocketAddr),
    /// `sun_path` of a Unix socket, as long as the kernel said.
    Unix(&'a [u8]),
    /// An address of a family that the transport does not expect.
    Unknown,
}

/// Where datagrams are received into: one such buffer serves a whole loop.
///
/// Pages that no datagram has reached cost no memory.
pub(crate) struct Incoming {
    memory: Box<[u8]>,
    names: [libc::sockaddr_storage; RECEIVE_BATCH],
    /// Of each datagram received: its length, and that of its sender's address.
    lengths: [(usize, libc::socklen_t); RECEIVE_BATCH],
    /// Room for each datagram, in bytes.
    slot: usize,
    /// The last readiness brought more than [`FIRST_LOOK`].
    bursts: bool,
    /// [`MEMORY`] times the moving average of what batches have brought.
    depth: usize,
    /// How many readinesses in a row have brought a single datagram.
    singles: u32,
    /// The error that a system call reported after datagrams had come from an earlier one.
    late: Option<io::Error>,
}

impl Incoming {
    pub(crate) fn new() -> Box<Self> {
        Box::new(Self {
            memory: vec![0; RECEIVE_BATCH * (SLOT + SPREAD)].into_boxed_slice(),
            // SAFETY: addresses of no family; all bytes zero is a valid value.
            names: unsafe { std::mem::zeroed() },
            lengths: [(0, 0); RECEIVE_BATCH],
            slot: SLOT,
            bursts: false,
            depth: 0,
            singles: 0,
            late: None,
        })
    }

    /// Receives what waits, up to [`RECEIVE_BATCH`] datagrams of `slot` bytes (fewer if they are large); says how many.
    ///
    /// An error that comes after datagrams is kept for [`late_error`](Self::late_error), or by the kernel for the next call.
    #[inline]
    pub(crate) fn receive(&mut self, fd: RawFd, slot: usize) -> Attempt<usize> {
        if !self.expects_more() {
            self.note_batch(1);
            return self.receive_one(fd, slot);
        }
        self.slot = slot;
        let most = (self.memory.len() / self.stride()).min(RECEIVE_BATCH);
        let look = if self.bursts {
            most
        } else {
            most.min(FIRST_LOOK)
        };
        let mut count = match self.receive_some(fd, 0, look) {
            Attempt::Done(count) => count,
            other => return other,
        };
        if count == look && look < most {
            match self.receive_some(fd, look, most - look) {
                Attempt::Done(more) => count += more,
                Attempt::WouldBlock => {}
                Attempt::Failed(error) => self.late = Some(error),
            }
        }
        self.bursts = count > FIRST_LOOK;
        self.note_batch(count);
        Attempt::Done(count)
    }

    /// Receives one datagram of up to `slot` bytes. The caller says by [`note`](Self::note) how many a readiness brought.
    #[inline]
    pub(crate) fn receive_one(&mut self, fd: RawFd, slot: usize) -> Attempt<usize> {
        self.slot = slot;
        self.receive_into(fd, 0)
    }

    /// Whether datagrams wait in number, so that batches of them are cheapest: since [`note`](Self::note) was told of as many
    /// as a readiness may bring, and until batches are small.
    #[inline]
    pub(crate) fn has_backlog(&self) -> bool {
        self.depth >= MEMORY * BACKLOG
    }

    /// Whether a second look is worth its price in this readiness, as [`CALM`] has it.
    #[inline]
    pub(crate) fn expects_more(&self) -> bool {
        self.singles < CALM || self.singles.is_multiple_of(CALM)
    }

    #[inline]
    fn note_batch(&mut self, count: usize) {
        self.depth = self.depth - self.depth / MEMORY + count;
        self.note(count);
    }

    /// Remembers how many datagrams a readiness has brought.
    #[inline]
    pub(crate) fn note(&mut self, count: usize) {
        if count == RECEIVE_BATCH {
            self.depth = MEMORY * RECEIVE_BATCH;
        }
        self.singles = if count == 1 {
            self.singles.wrapping_add(1)
        } else {
            0
        };
    }

    /// What went wrong after the datagrams of the last `receive`; says it once.
    #[inline]
    pub(crate) fn late_error(&mut self) -> Option<io::Error> {
        self.late.take()
    }

    /// Bytes from one slot to the next.
    #[inline]
    fn stride(&self) -> usize {
        self.slot + SPREAD
    }

    /// Datagram `index` of the last `receive`.
    #[inline]
    pub(crate) fn data(&self, index: usize) -> &[u8] {
        let start = index * self.stride();
        &self.memory[start..start + self.lengths[index].0]
    }

    /// The sender of datagram `index`.
    #[inline]
    pub(crate) fn sender(&self, index: usize) -> Sender<'_> {
        let name = &self.names[index];
        let length = self.lengths[index].1 as usize;
        if length == 0 {
            return Sender::Unnamed;
        }
        match libc::c_int::from(name.ss_family) {
            libc::AF_INET if length >= size_of::<libc::sockaddr_in>() => {
                // SAFETY: the storage is larger and at least as aligned, and the kernel has filled in this family.
                let name: &libc::sockaddr_in = unsafe { &*(&raw const *name).cast() };
                Sender::Internet(SocketAddr::V4(SocketAddrV4::new(
                    Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr)),
                    u16::from_be(name.sin_port),
                )))
            }
            libc::AF_INET6 if length >= size_of::<libc::sockaddr_in6>() => {
                // SAFETY: as above.
                let name: &libc::sockaddr_in6 = unsafe { &*(&raw const *name).cast() };
                Sender::Internet(SocketAddr::V6(SocketAddrV6::new(
                    Ipv6Addr::from(name.sin6_addr.s6_addr),
                    u16::from_be(name.sin6_port),
                    u32::from_be(name.sin6_flowinfo),
                    name.sin6_scope_id,
                )))
            }
            libc::AF_UNIX => {
                let start = std::mem::offset_of!(libc::sockaddr_un, sun_path);
                let length = length.clamp(start, size_of::<libc::sockaddr_storage>());
                // SAFETY: inside of the storage, every byte of which is initialised.
                Sender::Unix(unsafe {
                    std::slice::from_raw_parts(
                        (&raw const *name).cast::<u8>().add(start),
                        length - start,
                    )
                })
            }
            _ => Sender::Unknown,
        }
    }

    /// One system call for up to `count` datagrams, into the slots from `first` on.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[inline]
    fn receive_some(&mut self, fd: RawFd, first: usize, count: usize) -> Attempt<usize> {
        assert!(
            first + count <= RECEIVE_BATCH && (first + count) * self.stride() <= self.memory.len()
        );
        let mut slices = [const { MaybeUninit::<libc::iovec>::uninit() }; RECEIVE_BATCH];
        let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; RECEIVE_BATCH];
        let memory = self.memory.as_mut_ptr();
        let names = self.names.as_mut_ptr();
        for (index, (slice, header)) in slices.iter_mut().zip(&mut headers).take(count).enumerate()
        {
            let slice = slice.write(libc::iovec {
                // SAFETY: inside of the memory, as asserted above.
                iov_base: unsafe { memory.add((first + index) * self.stride()) }.cast(),
                iov_len: self.slot,
            });
            // SAFETY: a header without name, data or control; null pointers and zeros are valid.
            let header = header.write(unsafe { std::mem::zeroed() });
            // SAFETY: inside of the array, as asserted above.
            header.msg_hdr.msg_name = unsafe { names.add(first + index) }.cast();
            header.msg_hdr.msg_namelen = NAME_SIZE;
            header.msg_hdr.msg_iov = slice;
            header.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: `count` headers that point to memory of ours, which nobody else uses during the call.
        let received = unsafe {
            libc::recvmmsg(
                fd,
                headers.as_mut_ptr().cast(),
                count as _,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        let received = match attempt(received as isize) {
            Attempt::Done(received) => received,
            other => return other,
        };
        for (header, lengths) in headers[..received].iter().zip(&mut self.lengths[first..]) {
            // SAFETY: written above, and filled in by the kernel.
            let header = unsafe { header.assume_init_ref() };
            *lengths = (header.msg_len as usize, header.msg_hdr.msg_namelen);
        }
        Attempt::Done(received)
    }

    /// As on Linux, with a system call for each datagram.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn receive_some(&mut self, fd: RawFd, first: usize, count: usize) -> Attempt<usize> {
        for index in first..first + count {
            match self.receive_into(fd, index) {
                Attempt::Done(_) => {}
                other if index == first => return other,
                Attempt::WouldBlock => return Attempt::Done(index - first),
                Attempt::Failed(error) => {
                    self.late = Some(error);
                    return Attempt::Done(index - first);
                }
            }
        }
        Attempt::Done(count)
    }

    /// One datagram, into slot `index`.
    #[inline]
    fn receive_into(&mut self, fd: RawFd, index: usize) -> Attempt<usize> {
        let start = index * self.stride();
        let memory = &mut self.memory[start..start + self.slot];
        let mut length = NAME_SIZE;
        // SAFETY: a buffer and an address of ours, with their lengths.
        let received = unsafe {
            libc::recvfrom(
                fd,
                memory.as_mut_ptr().cast(),
                memory.len(),
                libc::MSG_DONTWAIT,
                (&raw mut self.names[index]).cast(),
                &mut length,
            )
        };
        match attempt(received) {
            Attempt::Done(received) => {
                self.lengths[index] = (received, length);
                Attempt::Done(1)
            }
            other => other,
        }
    }
}
