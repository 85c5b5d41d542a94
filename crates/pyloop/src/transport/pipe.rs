//! What is different for pipes: their types, how they begin, and how each end hears that the other is gone.
//!
//! The reading end and the writing end are transports of their own, over whatever descriptor a file object of the
//! application's has: a pipe, a FIFO, a socket, a terminal. State, reading, writing and closing are those of every stream.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, RawFd};

use pyo3::exceptions::{PyAssertionError, PyBrokenPipeError, PyOSError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

use super::begin::{self, Beginning};
use super::close;
use super::methods::{Extra, TheLoop, reader_table, writer_table};
use super::stream::{About, Socket, Stream, stream};
use crate::core::{LoopCore, call_soon};
use crate::py::context;
use crate::py::errors::os_error;
use crate::py::fastcall::{Getter, Setter, getter, property};
use crate::py::heap_type::Title;
use crate::py::imports::imports;
use crate::py::payload::{Payload, PayloadType};
use crate::sys::pipe::{self, Kind};
use crate::sys::socket::{self, Attempt};

/// What a transport's descriptor is: decides the system calls, and what counts as an everyday error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Medium {
    Socket,
    /// The reading end of a pipe.
    Reader,
    /// The writing end of a pipe.
    Writer {
        /// The kernel tells when the reader is gone, as it does for pipes and sockets, not for terminals.
        watched: bool,
    },
}

/// The end of a pipe that a transport is for.
#[derive(Clone, Copy)]
pub(crate) enum End {
    Read,
    Write,
}

impl Medium {
    /// What a failed read is called.
    pub(super) const fn read_error(self) -> &'static str {
        match self {
            Self::Socket => "Fatal read error on socket transport",
            Self::Reader | Self::Writer { .. } => "Fatal read error on pipe transport",
        }
    }

    /// What a failed write is called.
    pub(super) const fn write_error(self) -> &'static str {
        match self {
            Self::Socket => "Fatal write error on socket transport",
            Self::Reader | Self::Writer { .. } => "Fatal write error on pipe transport",
        }
    }

    /// What is logged when a program goes on writing.
    pub(super) const fn late_write(self) -> &'static str {
        match self {
            Self::Socket => "socket.send() raised exception.",
            Self::Reader | Self::Writer { .. } => {
                "pipe closed by peer or os.write(pipe, data) raised exception."
            }
        }
    }

    /// Whether an error is part of a transport's life, and not reported.
    ///
    /// For the reading end of a pipe asyncio expects nothing but `EIO`, a terminal's way to say that its other side is
    /// closed.
    pub(super) fn expects(self, py: Python<'_>, error: &PyErr) -> bool {
        error.is_instance_of::<PyOSError>(py)
            && (self != Self::Reader
                || error
                    .value(py)
                    .getattr("errno")
                    .and_then(|number| number.extract::<i32>())
                    .is_ok_and(|number| number == libc::EIO))
    }
}

impl Stream {
    /// Takes what has arrived.
    #[inline]
    pub(super) fn receive(&self, buffer: &mut [u8]) -> Attempt<usize> {
        match self.medium {
            Medium::Socket => socket::receive(self.fd, buffer),
            Medium::Reader | Medium::Writer { .. } => pipe::read(self.fd, buffer),
        }
    }

    /// Sends from one buffer.
    #[inline]
    pub(super) fn send(&self, bytes: &[u8]) -> Attempt<usize> {
        match self.medium {
            Medium::Socket => socket::send(self.fd, bytes),
            Medium::Reader | Medium::Writer { .. } => pipe::write(self.fd, bytes),
        }
    }

    /// Sends from several buffers in one call.
    #[inline]
    pub(super) fn send_vectored(&self, slices: &[IoSlice<'_>]) -> Attempt<usize> {
        match self.medium {
            Medium::Socket => socket::send_vectored(self.fd, slices),
            Medium::Reader | Medium::Writer { .. } => pipe::write_vectored(self.fd, slices),
        }
    }
}

static READER: PyOnceLock<PayloadType<Stream>> = PyOnceLock::new();
static WRITER: PyOnceLock<PayloadType<Stream>> = PyOnceLock::new();

/// The type of the transports for a medium.
pub(super) fn kind(py: Python<'_>, medium: Medium) -> &PayloadType<Stream> {
    let kind = match medium {
        Medium::Socket => return Stream::kind(py),
        Medium::Reader => READER.get(py),
        Medium::Writer { .. } => WRITER.get(py),
    };
    kind.expect("the module's import makes the types")
}

/// The pipe object, as asyncio's transports have it. Assigning `None` lets go of it without closing it.
struct PipeObject;

impl Getter for PipeObject {
    const NAME: &'static std::ffi::CStr = c"_pipe";

    fn get<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = object.py();
        let pipe = stream(object).with(py, |state| match &state.socket {
            Socket::Python(pipe) | Socket::Shared(pipe, _) => Some(pipe.clone_ref(py)),
            Socket::Native(_) | Socket::Closed => None,
        })?;
        Ok(pipe.into_pyobject(py)?.into_any())
    }
}

impl Setter for PipeObject {
    fn set(object: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        if !value.is_none() {
            return Err(PyValueError::new_err("a transport keeps its pipe"));
        }
        let stream = stream(object);
        super::stream::forget(stream.owner.get(), object, stream.fd)?;
        let pipe = stream.with(object.py(), |state| {
            state.ending.closing = true;
            state.ending.lost = state.ending.lost.max(1);
            std::mem::replace(&mut state.socket, Socket::Closed)
        })?;
        drop(pipe);
        Ok(())
    }
}

const READER_TITLE: Title = Title {
    name: c"pyloop.ReadPipeTransport",
    doc: c"The reading end of a pipe, or a terminal; an `asyncio.ReadTransport`.\n\
        \n\
        Programs get theirs from `connect_read_pipe()` and from subprocesses. Only the loop's thread may use it.",
};

const WRITER_TITLE: Title = Title {
    name: c"pyloop.WritePipeTransport",
    doc: c"The writing end of a pipe, or a terminal; an `asyncio.WriteTransport`.\n\
        \n\
        Data leaves at once, as far as there is room. `connection_lost` is called when the reader is gone. Programs get\n\
        theirs from `connect_write_pipe()` and from subprocesses. Only the loop's thread may use it.",
};

/// Makes the two types and adds them to the module; `sockets` is the type of the other stream transports.
pub(super) fn register(
    module: &Bound<'_, PyModule>,
    sockets: &PayloadType<Stream>,
) -> PyResult<()> {
    let py = module.py();
    let transports = py.import("asyncio.transports")?;
    let base = |name: &str| -> PyResult<Bound<'_, PyType>> {
        Ok(transports.getattr(name)?.cast_into::<PyType>()?)
    };
    let getters = || {
        vec![
            getter::<TheLoop>(),
            getter::<Extra>(),
            property::<PipeObject>(),
        ]
    };
    let reader = sockets.sibling(
        py,
        READER_TITLE,
        &base("ReadTransport")?,
        reader_table(),
        getters(),
    )?;
    module.add("ReadPipeTransport", reader.object(py))?;
    let writer = sockets.sibling(
        py,
        WRITER_TITLE,
        // As asyncio's, which so is a transport of both directions.
        &base("_FlowControlMixin")?,
        writer_table(),
        getters(),
    )?;
    module.add("WritePipeTransport", writer.object(py))?;
    // A second import of the module keeps the first one's types.
    let _ = (READER.set(py, reader), WRITER.set(py, writer));
    Ok(())
}

/// What the transport of `end` over a descriptor is to be.
///
/// # Errors
/// `ValueError` for a regular file and whatever else is always ready; `OSError` for a descriptor that is closed.
fn medium(end: End, fd: RawFd) -> PyResult<Medium> {
    let kind = pipe::kind(fd).map_err(os_error)?;
    match end {
        _ if kind != Kind::Other => {}
        End::Read => {
            return Err(PyValueError::new_err(
                "Pipe transport is for pipes/sockets only.",
            ));
        }
        End::Write => {
            return Err(PyValueError::new_err(
                "Pipe transport is only for pipes, sockets and character devices",
            ));
        }
    }
    // There a FIFO's writing end is readable while it holds anything, and the end of its reader is not told.
    let silent = |named| named && cfg!(target_vendor = "apple");
    Ok(match (end, kind) {
        (End::Read, _) => Medium::Reader,
        (End::Write, Kind::Pipe { named }) => Medium::Writer {
            watched: !silent(named),
        },
        (End::Write, kind) => Medium::Writer {
            watched: kind == Kind::Socket,
        },
    })
}

/// Makes the transport of one end of a pipe; its protocol hears of it in the next iteration.
///
/// # Errors
/// What [`medium`] says; what `fileno()` of the pipe object raises; `RuntimeError` if the loop is closed. The pipe object is
/// then left open.
pub(crate) fn open_pipe<'py>(
    owner: &Bound<'py, LoopCore>,
    end: End,
    object: &Bound<'py, PyAny>,
    protocol: &Bound<'py, PyAny>,
    waiter: Option<&Bound<'py, PyAny>>,
    extra: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = owner.py();
    owner.get().check_open()?;
    let number: RawFd = object
        .call_method0(imports(py).names.fileno.bind(py))?
        .extract()?;
    let medium = medium(end, number)?;
    pipe::set_nonblocking(number).map_err(os_error)?;
    if let End::Read = end {
        // As with asyncio, what was read by a callback is read by the transport from now on.
        owner.call_method1("_remove_reader", (number,))?;
    }
    let kept = object.clone().unbind();
    let (fd, socket) = if is_taken(owner, number)? {
        // Both ends of a terminal under one number, say. The kernel keeps one registration per number: ours gets another.
        let twin = pipe::duplicate(number).map_err(os_error)?;
        (twin.as_raw_fd(), Socket::Shared(kept, twin))
    } else {
        (number, Socket::Python(kept))
    };
    let extra = match extra {
        Some(extra) => extra.copy()?,
        None => PyDict::new(py),
    };
    extra.set_item(intern!(py, "pipe"), object)?;
    let transport = begin::make(Beginning {
        owner,
        fd,
        medium,
        socket,
        protocol,
        context: context::copy_current(py)?,
        about: About {
            extra: Some(extra.unbind()),
            peer: None,
            server: None,
            names: None,
        },
    })?;
    // From now on the descriptor is known to be taken.
    stream(&transport).update_interest(&transport)?;
    begin::start_soon(owner, &transport, waiter)?;
    Ok(transport)
}

/// Whether a transport or a callback of the loop watches this descriptor.
fn is_taken(owner: &Bound<'_, LoopCore>, fd: RawFd) -> PyResult<bool> {
    let core = owner.get();
    let access = core.access(owner.py())?;
    Ok(core
        .sources
        .with(&access, |sources| sources.get(fd).is_some()))
}

/// The reading end: nobody can write any more.
pub(super) fn end_of_pipe(object: &Bound<'_, PyAny>, stream: &Stream) -> PyResult<()> {
    let py = object.py();
    close::log_debug(object, "was closed by peer")?;
    stream.with(py, |state| state.ending.closing = true)?;
    let told = match stream.protocol(py)? {
        Some(protocol) => protocol
            .bind(py)
            .getattr(&imports(py).names.eof_received)
            .and_then(|method| {
                let context = stream.context.bind(py).clone();
                call_soon(stream.owner.bind(py), &method, &[], context)
            }),
        None => Ok(()),
    };
    let lost = close::lose_soon(object, stream, None);
    match told {
        Err(error) => close::report(
            object,
            error,
            "Fatal error: protocol.eof_received() call failed.",
        ),
        Ok(()) => lost,
    }
}

/// The writing end: nobody can read any more.
pub(super) fn reader_gone(object: &Bound<'_, PyAny>, stream: &Stream) -> PyResult<()> {
    let py = object.py();
    close::log_debug(object, "was closed by peer")?;
    let unsent = stream.with(py, |state| !state.output.buffer.is_empty())?;
    close::force_close(object, unsent.then(|| PyBrokenPipeError::new_err(())))
}

/// The error for data that is not bytes-like: an assertion, as in asyncio's pipe transport.
pub(super) fn refused(data: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    Ok(PyAssertionError::new_err(data.repr()?.unbind()))
}

/// `repr(transport)`, from the type's name on, in the form of asyncio's own pipe transports.
pub(super) fn repr(
    stream: &Stream,
    begun: String,
    [closed, closing]: [bool; 2],
    unsent: usize,
) -> PyResult<String> {
    let mut text = begun;
    if closed {
        text += " closed";
    } else if closing {
        text += " closing";
    }
    text += &format!(" fd={}", stream.fd);
    if closed {
        text += " closed";
    } else if stream.owner.get().is_closed() {
        text += " open";
    } else {
        let interest =
            Python::attach(|py| super::info::interest(py, stream.owner.get(), stream.fd))?;
        let polling = match stream.medium {
            Medium::Writer { .. } => interest.is_writable(),
            Medium::Socket | Medium::Reader => interest.is_readable(),
        };
        text += if polling { " polling" } else { " idle" };
        if let Medium::Writer { .. } = stream.medium {
            text += &format!(" bufsize={unsent}");
        }
    }
    Ok(text + ">")
}
