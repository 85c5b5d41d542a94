//! What a transport tells about itself: `get_extra_info` and `repr`.
//!
//! For accepted connections nothing of this is made in advance: most programs never ask.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::fd::{IntoRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use reactor::Interest;

use super::address::to_python;
use super::pipe::Medium;
use super::stream::{Names, Socket, Stream, stream};
use crate::core::LoopCore;
use crate::py::imports::imports;
use crate::sys::socket::{self, Name};

/// Notes the socket and its addresses, as far as `extra` does not have them.
pub(super) fn remember_addresses(
    sock: &Bound<'_, PyAny>,
    extra: &Bound<'_, PyDict>,
) -> PyResult<()> {
    let py = sock.py();
    let shown = imports(py).transport_socket.call1(py, (sock,))?;
    extra.set_item(intern!(py, "socket"), shown)?;
    let peername = intern!(py, "peername");
    for (key, method) in [
        (intern!(py, "sockname"), intern!(py, "getsockname")),
        (peername, intern!(py, "getpeername")),
    ] {
        if key.is(peername) && extra.contains(key)? {
            continue;
        }
        // A socket that is not connected (any more) has no such name.
        extra.set_item(key, sock.call_method0(method).ok())?;
    }
    Ok(())
}

/// `transport.get_extra_info(name, default)`.
pub(super) fn get_extra_info<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyAny>,
    default: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let stream = stream(object);
    if let Ok(text) = name.cast::<PyString>()
        && ["socket", "sockname", "peername"].contains(&text.to_str()?)
    {
        materialise(object, stream)?;
    }
    let extra = extra(object, stream)?;
    Ok(extra.get_item(name)?.unwrap_or_else(|| default.clone()))
}

/// The dictionary behind `get_extra_info`.
pub(super) fn extra<'py>(
    object: &Bound<'py, PyAny>,
    stream: &Stream,
) -> PyResult<Bound<'py, PyDict>> {
    let py = object.py();
    let known = stream.with(py, |state| {
        state.about.extra.as_ref().map(|extra| extra.clone_ref(py))
    })?;
    if let Some(known) = known {
        return Ok(known.into_bound(py));
    }
    let fresh = PyDict::new(py);
    let kept = fresh.clone().unbind();
    stream.with(py, |state| state.about.extra = Some(kept))?;
    Ok(fresh)
}

/// Makes the socket object of an accepted connection, and notes its addresses.
fn materialise(object: &Bound<'_, PyAny>, stream: &Stream) -> PyResult<()> {
    let py = object.py();
    let (native, peer, names) = stream.with(py, |state| {
        let native = matches!(state.socket, Socket::Native(_));
        (native, state.about.peer, state.about.names.take())
    })?;
    if let Some(names) = names {
        return recall(&extra(object, stream)?, &names);
    }
    if !native {
        return Ok(());
    }
    let extra = extra(object, stream)?;
    if let Some(peer) = peer {
        extra.set_item(intern!(py, "peername"), to_python(py, peer)?)?;
    }
    // The socket object takes the descriptor over: for a moment nobody owns it, with nothing that can fail in between.
    let sock = imports(py).socket_from_descriptor.bind(py);
    let fd = stream.fd;
    let sock = sock.call1((fd,))?;
    let kept = sock.clone().unbind();
    let previous = stream.with(py, |state| {
        std::mem::replace(&mut state.socket, Socket::Python(kept))
    })?;
    if let Socket::Native(descriptor) = previous {
        let released = descriptor.into_raw_fd();
        debug_assert_eq!(released, sock.call_method0("fileno")?.extract::<i32>()?);
    }
    remember_addresses(&sock, &extra)
}

/// Before an accepted descriptor is closed: what the connection was called, as asyncio's transports still know it
/// afterwards. One system call and no Python object, since hardly anybody asks.
pub(super) fn keep_names(py: Python<'_>, stream: &Stream) -> PyResult<()> {
    stream.with(py, |state| {
        if matches!(state.socket, Socket::Native(_)) {
            let accepted = state.about.peer.map(Name::Internet);
            state.about.names = Some(Box::new(Names {
                local: socket::local_name(stream.fd),
                peer: accepted.or_else(|| socket::peer_name(stream.fd)),
            }));
        }
    })
}

/// Notes the addresses of a connection that is over, and a socket object as closed as its descriptor.
fn recall(extra: &Bound<'_, PyDict>, names: &Names) -> PyResult<()> {
    let py = extra.py();
    for (key, end) in [
        (intern!(py, "sockname"), &names.local),
        (intern!(py, "peername"), &names.peer),
    ] {
        let value = end.as_ref().map(|end| name(py, end)).transpose()?;
        extra.set_item(key, value)?;
    }
    let family = match &names.local {
        Some(Name::Internet(SocketAddr::V4(_))) => libc::AF_INET,
        Some(Name::Internet(SocketAddr::V6(_))) => libc::AF_INET6,
        Some(Name::Unix(_)) => libc::AF_UNIX,
        None => return Ok(()),
    };
    let shown = imports(py).closed_socket.call1(py, (family,))?;
    extra.set_item(intern!(py, "socket"), shown)
}

/// One end of a connection as Python's `socket` module writes it.
fn name<'py>(py: Python<'py>, name: &Name) -> PyResult<Bound<'py, PyAny>> {
    match name {
        Name::Internet(internet) => Ok(to_python(py, *internet)?.into_any()),
        Name::Unix(bytes) if bytes.first() == Some(&0) => Ok(PyBytes::new(py, bytes).into_any()),
        Name::Unix(path) => Ok(OsStr::from_bytes(path).into_pyobject(py)?.into_any()),
    }
}

/// What the reactor watches a transport's descriptor for.
pub(super) fn interest(py: Python<'_>, core: &LoopCore, fd: RawFd) -> PyResult<Interest> {
    let access = core.access(py)?;
    Ok(core.sources.with(&access, |sources| match sources.get(fd) {
        Some(_) => sources.interest(fd),
        None => Interest::NONE,
    }))
}

/// `repr(transport)`, in the form of asyncio's own transports.
pub(super) fn repr(object: &Bound<'_, PyAny>) -> PyResult<String> {
    let stream = stream(object);
    let shown = stream.with(object.py(), |state| Shown {
        closed: matches!(state.socket, Socket::Closed),
        closing: state.ending.closing,
        bufsize: state.output.buffer.len(),
    })?;
    if stream.medium != Medium::Socket {
        let text = format!("<{}", object.get_type().name()?);
        return super::pipe::repr(stream, text, [shown.closed, shown.closing], shown.bufsize);
    }
    describe(object, stream.owner.get(), stream.fd, &shown)
}

/// What `repr` shows of a transport's own state.
pub(super) struct Shown {
    pub(super) closed: bool,
    pub(super) closing: bool,
    pub(super) bufsize: usize,
}

/// The text of `repr` for a transport of any kind.
pub(super) fn describe(
    object: &Bound<'_, PyAny>,
    core: &LoopCore,
    fd: RawFd,
    shown: &Shown,
) -> PyResult<String> {
    let py = object.py();
    let &Shown {
        closed,
        closing,
        bufsize,
    } = shown;
    let mut text = format!("<{}", object.get_type().name()?);
    if closed {
        text += " closed";
    } else if closing {
        text += " closing";
    }
    text += &format!(" fd={fd}");
    if !closed && !core.is_closed() {
        let interest = interest(py, core, fd)?;
        let word = |polling| if polling { "polling" } else { "idle" };
        text += &format!(
            " read={} write=<{}, bufsize={bufsize}>",
            word(interest.is_readable()),
            word(interest.is_writable())
        );
    }
    Ok(text + ">")
}
