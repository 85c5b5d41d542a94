//! Addresses seen lately: the tuple that Python knows one by, found from the kernel's form, and back.
//!
//! A server hears from the same peers again and again, and answers with the very tuple that it was given. Making such a tuple
//! takes four allocations and the formatting of the host.

use std::net::SocketAddr;

use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// How many addresses are kept; a power of two. Each place holds one, and a newcomer takes the place of whom it meets
/// there: of 64 peers some two pairs then share a place.
const PLACES: usize = 1024;

struct Peer {
    address: SocketAddr,
    /// Strings and numbers only, so it is not shown to the garbage collector.
    tuple: Py<PyTuple>,
}

/// The addresses of one loop. Allocates nothing before the first.
pub(crate) struct Peers {
    places: Vec<Option<Peer>>,
    /// By the place of a tuple's address in memory: where in `places` it may be.
    hints: Vec<u16>,
}

impl Peers {
    pub(super) const fn new() -> Self {
        Self {
            places: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// The tuple of an address, if it was seen lately.
    #[inline]
    pub(super) fn tuple(&self, py: Python<'_>, address: &SocketAddr) -> Option<Py<PyTuple>> {
        let peer = self.places.get(place(address))?.as_ref()?;
        (peer.address == *address).then(|| peer.tuple.clone_ref(py))
    }

    /// The address of a tuple that came from here.
    #[inline]
    pub(super) fn address(&self, tuple: &Bound<'_, PyAny>) -> Option<SocketAddr> {
        let hint = *self.hints.get(hint(tuple.as_ptr() as usize))?;
        let peer = self.places[usize::from(hint)].as_ref()?;
        peer.tuple.is(tuple).then_some(peer.address)
    }

    /// Keeps an address; the one that it displaces is the caller's to drop.
    #[must_use = "is dropped when no state is lent"]
    pub(super) fn insert(
        &mut self,
        address: SocketAddr,
        tuple: Py<PyTuple>,
    ) -> Option<Py<PyTuple>> {
        if self.places.is_empty() {
            self.places.resize_with(PLACES, || None);
            self.hints.resize(PLACES, 0);
        }
        let place = place(&address);
        self.hints[hint(tuple.as_ptr() as usize)] = place as u16;
        self.places[place]
            .replace(Peer { address, tuple })
            .map(|displaced| displaced.tuple)
    }
}

/// Objects lie at multiples of 16 bytes.
#[inline]
fn hint(address: usize) -> usize {
    (address >> 4) % PLACES
}

#[inline]
fn place(address: &SocketAddr) -> usize {
    let hash = match address {
        SocketAddr::V4(address) => {
            mix(u64::from(u32::from(*address.ip())) << 16 | u64::from(address.port()))
        }
        SocketAddr::V6(address) => {
            let ip = u128::from(*address.ip());
            mix(mix((ip >> 64) as u64 ^ u64::from(address.port())) ^ ip as u64)
        }
    };
    (hash >> (u64::BITS - PLACES.ilog2())) as usize
}

/// Spreads every bit of a number over the high ones (the golden ratio's multiplicative hash).
#[inline]
fn mix(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
