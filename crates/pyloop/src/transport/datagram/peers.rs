//! Addresses seen lately: the tuple that Python knows one by, found from the kernel's form, and back.
//!
//! A server hears from the same peers again and again, and answers with the very tuple that it was given. Making such a tuple
//! takes four allocations and the formatting of the host.

use std::net::SocketAddr;

use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// How many addresses are kept; a power of two. There are two places for an address, and a newcomer to a pair that is
/// taken displaces now one and now the other: with one place each, two pairs of 64 peers kept displacing one another.
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
    /// Where the tuple is that was given last: an answer goes there most of the time.
    latest: u16,
    /// Which place of a pair the next newcomer takes.
    turn: bool,
}

impl Peers {
    pub(super) const fn new() -> Self {
        Self {
            places: Vec::new(),
            hints: Vec::new(),
            latest: 0,
            turn: false,
        }
    }

    /// The tuple of an address, if it was seen lately.
    #[inline]
    pub(super) fn tuple(&mut self, py: Python<'_>, address: &SocketAddr) -> Option<Py<PyTuple>> {
        let pair = pair(address);
        let places = self.places.get(pair..pair + 2)?;
        let (index, peer) = (pair..).zip(places).find_map(|(index, place)| {
            let peer = place.as_ref()?;
            (peer.address == *address).then_some((index, peer))
        })?;
        self.latest = index as u16;
        Some(peer.tuple.clone_ref(py))
    }

    /// The address of a tuple that came from here.
    #[inline]
    pub(super) fn address(&self, tuple: &Bound<'_, PyAny>) -> Option<SocketAddr> {
        self.address_at(self.latest, tuple).or_else(|| {
            let hint = *self.hints.get(hint(tuple.as_ptr() as usize))?;
            self.address_at(hint, tuple)
        })
    }

    #[inline]
    fn address_at(&self, index: u16, tuple: &Bound<'_, PyAny>) -> Option<SocketAddr> {
        let peer = self.places.get(usize::from(index))?.as_ref()?;
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
        let pair = pair(&address);
        let index = match self.places[pair..pair + 2].iter().position(Option::is_none) {
            Some(free) => pair + free,
            None => {
                self.turn = !self.turn;
                pair + usize::from(self.turn)
            }
        };
        self.latest = index as u16;
        self.hints[hint(tuple.as_ptr() as usize)] = self.latest;
        self.places[index]
            .replace(Peer { address, tuple })
            .map(|displaced| displaced.tuple)
    }
}

/// Objects lie at multiples of 16 bytes.
#[inline]
fn hint(address: usize) -> usize {
    (address >> 4) % PLACES
}

/// The first of the two places of an address.
#[inline]
fn pair(address: &SocketAddr) -> usize {
    let hash = match address {
        SocketAddr::V4(address) => {
            mix(u64::from(u32::from(*address.ip())) << 16 | u64::from(address.port()))
        }
        SocketAddr::V6(address) => {
            let ip = u128::from(*address.ip());
            mix(mix((ip >> 64) as u64 ^ u64::from(address.port())) ^ ip as u64)
        }
    };
    (hash >> (u64::BITS - PLACES.ilog2())) as usize & !1
}

/// Spreads every bit of a number over the high ones (the golden ratio's multiplicative hash).
#[inline]
fn mix(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
