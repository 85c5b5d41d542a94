//! One attempt to receive, to accept or to send.
//!
//! Receiving and accepting answer `None` if the socket would block; `None` is nothing that a socket's method returns.
//! Nothing here raises where asyncio's own loop raises and catches: the exception of a socket that would block costs
//! about as much as the system call.

use pyo3::prelude::*;
use pyo3::types::PyInt;

use super::plain::{self, Native, Natives, natives};
use crate::core::LoopCore;
use crate::py::bytes::{View, filled};
use crate::py::errors::os_error;
use crate::py::fastcall::{Args, method};
use crate::py::heap_type::own_instance;
use crate::py::read_buffer::READ_SIZE;
use crate::sys::socket::{self, Attempt};

/// The answer of an attempt that would block.
fn would_block(py: Python<'_>) -> Bound<'_, PyAny> {
    py.None().into_bound(py)
}

fn answer<'py>(
    py: Python<'py>,
    attempt: Attempt<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    match attempt {
        Attempt::Done(value) => Ok(value),
        Attempt::WouldBlock => Ok(would_block(py)),
        Attempt::Failed(error) => Err(os_error(error)),
    }
}

fn integer(py: Python<'_>, value: usize) -> PyResult<Bound<'_, PyAny>> {
    Ok(value.into_pyobject(py)?.into_any())
}

/// A size that sockets' methods take: positive, and of `int` itself. They refuse others in their own words.
fn size(value: &Bound<'_, PyAny>) -> Option<usize> {
    value
        .cast_exact::<PyInt>()
        .ok()?
        .extract()
        .ok()
        .filter(|&size| size > 0)
}

/// Receives up to `size` bytes: through the loop's own buffer if that is large enough, for an object of `size` bytes that shrinks afterwards costs an allocation of that size every time.
fn receive<'py>(
    py: Python<'py>,
    core: &LoopCore,
    fd: i32,
    size: usize,
) -> PyResult<Attempt<Bound<'py, PyAny>>> {
    if size <= READ_SIZE {
        let attempt = core.read_with(py, |memory| socket::receive(fd, &mut memory[..size]))?;
        return Ok(attempt.map(Bound::into_any));
    }
    let received = filled(py, size, |memory| match socket::receive(fd, memory) {
        Attempt::Done(count) => Ok(count),
        Attempt::WouldBlock => Err(Attempt::WouldBlock),
        Attempt::Failed(error) => Err(Attempt::Failed(error)),
    })?;
    Ok(match received {
        Ok(data) => Attempt::Done(data.into_any()),
        Err(attempt) => attempt,
    })
}

method! {
    pub(super) TryRecv c"_try_recv", c"_try_recv($self, sock, nbytes, /)\n--\n\nOne attempt of sock.recv(nbytes); None if it would block.",
    |slf, args| {
        let py = args.py();
        let [sock, wanted] = two("_try_recv", &args)?;
        let natives = natives(py)?;
        if let Some(fd) = plain::descriptor(&sock, natives, &natives.recv)?
            && let Some(size) = size(&wanted)
        {
            let core: &Bound<'py, LoopCore> = own_instance(slf);
            return answer(py, receive(py, core.get(), fd, size)?);
        }
        plain::own(slf, &sock, &natives.recv, &[&wanted])
    }
}

method! {
    pub(super) TryRecvInto c"_try_recv_into", c"_try_recv_into($self, sock, buf, /)\n--\n\nOne attempt of sock.recv_into(buf); None if it would block.",
    |slf, args| {
        let py = args.py();
        let [sock, buffer] = two("_try_recv_into", &args)?;
        let natives = natives(py)?;
        if let Some(fd) = plain::descriptor(&sock, natives, &natives.recv_into)?
            // What is no writable buffer is refused by the socket's method, in its own words.
            && let Ok(mut view) = View::write(&buffer)
            && view.len() > 0
        {
            return match socket::receive(fd, view.as_slice_mut()) {
                Attempt::Done(count) => integer(py, count),
                Attempt::WouldBlock => Ok(would_block(py)),
                Attempt::Failed(error) => Err(os_error(error)),
            };
        }
        plain::own(slf, &sock, &natives.recv_into, &[&buffer])
    }
}

/// An attempt whose answer the socket's own method makes, with its addresses and new sockets in Python's form. `glance`
/// at the socket comes first: it costs less than the exception of a method that would block.
fn glance_first<'py>(
    slf: &Bound<'py, PyAny>,
    sock: &Bound<'py, PyAny>,
    method: impl Fn(&Natives) -> &Native,
    glance: impl FnOnce(i32) -> Attempt<()>,
    arguments: &[&Bound<'py, PyAny>],
) -> PyResult<Bound<'py, PyAny>> {
    let py = sock.py();
    let natives = natives(py)?;
    let method = method(natives);
    if let Some(fd) = plain::descriptor(sock, natives, method)? {
        match glance(fd) {
            Attempt::Done(()) => {}
            Attempt::WouldBlock => return Ok(would_block(py)),
            Attempt::Failed(error) => return Err(os_error(error)),
        }
    }
    plain::own(slf, sock, method, arguments)
}

/// A look for a datagram, unless the socket's method refuses its arguments anyway.
fn peek_for(size: Option<usize>) -> impl FnOnce(i32) -> Attempt<()> {
    move |fd| match size {
        Some(_) => socket::peek(fd),
        None => Attempt::Done(()),
    }
}

method! {
    pub(super) TryRecvfrom c"_try_recvfrom", c"_try_recvfrom($self, sock, bufsize, /)\n--\n\nOne attempt of sock.recvfrom(bufsize); None if it would block.",
    |slf, args| {
        let [sock, wanted] = two("_try_recvfrom", &args)?;
        glance_first(
            slf,
            &sock,
            |natives| &natives.recvfrom,
            peek_for(size(&wanted)),
            &[&wanted],
        )
    }
}

method! {
    pub(super) TryRecvfromInto c"_try_recvfrom_into", c"_try_recvfrom_into($self, sock, buf, nbytes, /)\n--\n\nOne attempt of sock.recvfrom_into(buf, nbytes); None if it would block.",
    |slf, args| {
        let [sock, buffer, wanted] = args
            .bind("_try_recvfrom_into", ["sock", "buf", "nbytes"], 3)?
            .map(given);
        let room = View::write(&buffer).map_or(0, |view| view.len());
        glance_first(
            slf,
            &sock,
            |natives| &natives.recvfrom_into,
            peek_for(size(&wanted).filter(|&size| size <= room)),
            &[&buffer, &wanted],
        )
    }
}

method! {
    pub(super) TryAccept c"_try_accept", c"_try_accept($self, sock, /)\n--\n\nOne attempt of sock.accept(); None if it would block.",
    |slf, args| {
        let [sock] = args.bind("_try_accept", ["sock"], 1)?.map(given);
        glance_first(
            slf,
            &sock,
            |natives| &natives.accept,
            |fd| {
                if socket::accept_would_block(fd) {
                    Attempt::WouldBlock
                } else {
                    Attempt::Done(())
                }
            },
            &[],
        )
    }
}

method! {
    pub(super) TrySend c"_try_send", c"_try_send($self, sock, data, rest=None, /)\n--\n\nOne attempt to send the last rest bytes of data, or all of it; returns how many are left.",
    |slf, args| {
        let py = args.py();
        let [sock, data, rest] = args.bind("_try_send", ["sock", "data", "rest"], 2)?;
        let (sock, data) = (given(sock), given(data));
        let rest: Option<usize> = rest.map(|rest| rest.extract()).transpose()?;
        let natives = natives(py)?;
        if let Some(fd) = plain::descriptor(&sock, natives, &natives.send)?
            // What is no contiguous buffer is refused by the socket's method, in its own words.
            && let Ok(view) = View::read(&data)
        {
            let bytes = view.as_slice();
            let unsent = &bytes[bytes.len().saturating_sub(rest.unwrap_or(bytes.len()))..];
            return match socket::send(fd, unsent) {
                Attempt::Done(count) => integer(py, unsent.len() - count),
                // Nothing to send, and no room for it: done.
                Attempt::WouldBlock => integer(py, unsent.len()),
                Attempt::Failed(error) => Err(os_error(error)),
            };
        }
        plain::own_send(slf, &sock, &data, rest)
    }
}

fn two<'a, 'py>(method: &str, args: &Args<'a, 'py>) -> PyResult<[Borrowed<'a, 'py, PyAny>; 2]> {
    args.expect(method, 2, 2)?;
    Ok([given(args.get(0)), given(args.get(1))])
}

/// An argument whose presence was checked.
fn given<'a, 'py>(argument: Option<Borrowed<'a, 'py, PyAny>>) -> Borrowed<'a, 'py, PyAny> {
    argument.expect("the arguments were counted")
}
