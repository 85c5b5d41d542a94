//! Internet addresses as Python's `socket` module writes them, and as programs write them for us.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use pyo3::prelude::*;
use pyo3::types::{PyInt, PyString, PyTuple};

/// The tuple that `socket.recvfrom` and its kin give for an address.
pub(super) fn to_python(py: Python<'_>, address: SocketAddr) -> PyResult<Bound<'_, PyTuple>> {
    match address {
        SocketAddr::V4(address) => (address.ip().to_string(), address.port()).into_pyobject(py),
        SocketAddr::V6(address) => (
            text(*address.ip()),
            address.port(),
            address.flowinfo(),
            address.scope_id(),
        )
            .into_pyobject(py),
    }
}

/// The text of an IPv6 address in the words of `inet_ntop`, which writes the end of an IPv4-compatible one in decimals.
fn text(address: Ipv6Addr) -> String {
    let [zeros @ .., high, low] = address.segments();
    if zeros == [0; 6] && high != 0 {
        let octets = (u32::from(high) << 16) | u32::from(low);
        return format!("::{}", Ipv4Addr::from(octets));
    }
    address.to_string()
}

/// The families whose addresses are understood here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Version {
    V4,
    V6,
}

/// The address of a tuple that needs no lookup and no conversion: `(literal, port)`, for IPv6 also with flow and scope.
///
/// `None` for everything else, which is the `socket` module's to understand or to refuse.
pub(super) fn from_python(version: Version, object: &Bound<'_, PyAny>) -> Option<SocketAddr> {
    let tuple = object.cast_exact::<PyTuple>().ok()?;
    let size = tuple.len();
    let number = |index: usize| {
        let item = tuple.get_borrowed_item(index).ok()?;
        item.cast_exact::<PyInt>().ok()?.extract::<u32>().ok()
    };
    let host = tuple.get_borrowed_item(0).ok()?;
    let host = host.cast_exact::<PyString>().ok()?;
    let host = host.to_str().ok()?;
    let port = |index| number(index).and_then(|port| u16::try_from(port).ok());
    match version {
        Version::V4 if size == 2 => {
            let host: Ipv4Addr = host.parse().ok()?;
            Some(SocketAddr::V4(SocketAddrV4::new(host, port(1)?)))
        }
        Version::V6 if (2..=4).contains(&size) => {
            let host: Ipv6Addr = host.parse().ok()?;
            let flow = if size > 2 { number(2)? } else { 0 };
            let scope = if size > 3 { number(3)? } else { 0 };
            // The socket module refuses larger ones.
            (flow <= 0xf_ffff).then_some(())?;
            Some(SocketAddr::V6(SocketAddrV6::new(
                host,
                port(1)?,
                flow,
                scope,
            )))
        }
        _ => None,
    }
}
