//! Listening sockets: accepting connections and making their transports.

use std::os::fd::{AsRawFd, RawFd};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use reactor::Interest;

use super::begin::{self, Beginning};
use super::close::is_interrupt;
use super::pipe::Medium;
use super::stream::{About, Socket};
use crate::core::LoopCore;
use crate::core::sources::Source;
use crate::py::context;
use crate::py::errors::os_error;
use crate::py::imports::imports;
use crate::sys::socket::{self, Attempt};

/// One listening socket of a server.
#[pyclass(frozen, module = "pyloop._pyloop")]
#[derive(Debug)]
pub(crate) struct Listener {
    factory: Py<PyAny>,
    sock: Py<PyAny>,
    fd: RawFd,
    /// An `ssl.SSLContext`, if the server speaks TLS.
    tls: Option<Py<PyAny>>,
    /// Time-outs of TLS, passed on as they came.
    tls_options: Py<PyTuple>,
    server: Option<Py<PyAny>>,
    /// Connections accepted per readiness at most; asyncio's rule.
    backlog: usize,
    /// What `create_server` was called in; each connection gets a copy.
    context: Py<PyAny>,
    /// TCP, where small writes are not to wait.
    internet: bool,
}

#[pymethods]
impl Listener {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.factory)?;
        visit.call(&self.sock)?;
        visit.call(&self.tls)?;
        visit.call(&self.server)?;
        visit.call(&self.context)
    }
}

impl Listener {
    pub(crate) fn new<'py>(
        factory: &Bound<'py, PyAny>,
        sock: &Bound<'py, PyAny>,
        tls: Option<&Bound<'py, PyAny>>,
        server: Option<&Bound<'py, PyAny>>,
        backlog: usize,
        tls_options: &Bound<'py, PyTuple>,
    ) -> PyResult<Self> {
        let py = factory.py();
        let fd = sock.call_method0("fileno")?.extract()?;
        Ok(Self {
            factory: factory.clone().unbind(),
            sock: sock.clone().unbind(),
            fd,
            tls: tls
                .filter(|tls| !tls.is_none())
                .map(|tls| tls.clone().unbind()),
            tls_options: tls_options.clone().unbind(),
            server: server
                .filter(|server| !server.is_none())
                .map(|server| server.clone().unbind()),
            backlog,
            context: context::copy_current(py)?.unbind(),
            internet: socket::is_internet_stream(fd),
        })
    }
}

/// Begins to accept.
pub(crate) fn listen(owner: &Bound<'_, LoopCore>, listener: Listener) -> PyResult<()> {
    let py = owner.py();
    let fd = listener.fd;
    let listener = Py::new(py, listener)?;
    let core = owner.get();
    let access = core.access(py)?;
    // Should the reactor refuse it, the last reference is dropped out here, where Python code may run.
    let kept = listener.clone_ref(py);
    let replaced = core.sources.with(&access, |sources| {
        sources.insert(fd, Interest::READABLE, Source::Listener(listener))
    });
    drop(access);
    drop(kept);
    drop(replaced.map_err(os_error)?);
    Ok(())
}

/// Stops accepting on `fd`, if it is a listener.
pub(crate) fn unlisten(owner: &Bound<'_, LoopCore>, fd: RawFd) -> PyResult<()> {
    let core = owner.get();
    let access = core.access(owner.py())?;
    let removed = core.sources.with(&access, |sources| match sources.get(fd) {
        Some(Source::Listener(_)) => sources.remove(fd),
        _ => None,
    });
    drop(access);
    drop(removed);
    Ok(())
}

/// Accepts what waits in a listener's queue, at most its backlog.
///
/// # Errors
/// Interrupts of protocol code; everything else is reported, and the listener goes on.
pub(crate) fn accept(owner: &Bound<'_, LoopCore>, listener: &Bound<'_, Listener>) -> PyResult<()> {
    let py = owner.py();
    let this = listener.get();
    for _ in 0..this.backlog.max(1) {
        match socket::accept(this.fd) {
            Attempt::Done((descriptor, peer)) => {
                let result = welcome(owner, this, descriptor, peer);
                if let Err(error) = result {
                    if is_interrupt(py, &error) {
                        return Err(error);
                    }
                    imports(py)
                        .accept_refused
                        .call1(py, (owner, error.into_value(py)))?;
                }
            }
            Attempt::WouldBlock => return Ok(()),
            Attempt::Failed(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {
                return Ok(());
            }
            Attempt::Failed(error) => {
                let restart = (
                    &this.factory,
                    &this.sock,
                    &this.tls,
                    &this.server,
                    this.backlog,
                    &this.tls_options,
                );
                imports(py)
                    .accept_failed
                    .call1(py, (owner, os_error(error).into_value(py), restart))?;
                return Ok(());
            }
        }
        // The callbacks of a new connection may have closed the server.
        let core = owner.get();
        let access = core.access(py)?;
        let listening = core.sources.with(&access, |sources| {
            matches!(sources.get(this.fd), Some(Source::Listener(current)) if current.is(listener))
        });
        if !listening {
            return Ok(());
        }
    }
    Ok(())
}

/// Makes the protocol and the transport of one accepted connection.
fn welcome(
    owner: &Bound<'_, LoopCore>,
    listener: &Listener,
    descriptor: std::os::fd::OwnedFd,
    peer: Option<std::net::SocketAddr>,
) -> PyResult<()> {
    let py = owner.py();
    if listener.internet {
        // A peer that has gone already makes this fail; reading will tell.
        let _ = socket::disable_nagle(descriptor.as_raw_fd());
    }
    let own_context = context::copy(listener.context.bind(py))?;
    let inner = own_context.clone();
    context::run(&own_context, || {
        let protocol = match &listener.tls {
            None => listener.factory.bind(py).call0()?,
            Some(tls) => {
                let arguments = (owner, &listener.factory, tls, &listener.tls_options);
                imports(py).accept_tls.bind(py).call1(arguments)?
            }
        };
        let fd = descriptor.as_raw_fd();
        let transport = begin::make(Beginning {
            owner,
            fd,
            medium: Medium::Socket,
            socket: Socket::Native(descriptor),
            protocol: &protocol,
            context: inner,
            about: About {
                extra: None,
                peer,
                names: None,
                server: listener.server.as_ref().map(|server| server.clone_ref(py)),
            },
        })?;
        match begin::start(&transport, None) {
            Err(error) if !is_interrupt(py, &error) => {
                // asyncio reports what `connection_made` raises, and keeps the connection.
                super::close::report(&transport, error, "Exception in protocol.connection_made()")
            }
            other => other,
        }
    })
}
