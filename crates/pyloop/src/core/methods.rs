//! What Python calls once in a while: lifecycle, debug flag, watchers, servers.

use std::sync::atomic::Ordering;

use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::state::LoopCore;
use super::virtual_time::VirtualTime;
use super::watch::{self, Direction, descriptor, ensure_no_transport};
use super::{run, schedule};
use crate::py::imports;
use crate::tls;
use crate::transport;

#[pymethods]
impl LoopCore {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(
        py: Python<'_>,
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        imports::load(py)?;
        Self::create()
    }

    /// Runs the engine until `stop()`; `PyLoop.run_forever` has prepared the thread.
    fn _run(slf: &Bound<'_, Self>) -> PyResult<()> {
        run::run(slf)
    }

    /// Stops the loop after the batch that is running, or after the first one of the next run.
    fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// Whether the loop is running.
    fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }

    /// Whether the loop was closed.
    #[pyo3(name = "is_closed")]
    fn is_closed_py(&self) -> bool {
        self.is_closed()
    }

    fn _check_closed(&self) -> PyResult<()> {
        self.check_open()
    }

    fn _check_thread(&self) -> PyResult<()> {
        schedule::check_thread(self)
    }

    /// Gives a new loop a clock that tests move; see `VirtualTime::attach` for what it refuses.
    fn _use_clock(slf: &Bound<'_, Self>, clock: &Bound<'_, VirtualTime>) -> PyResult<()> {
        clock.get().attach(slf)?;
        if !slf.get().set_virtual_time(clock.clone().unbind()) {
            return Err(PyRuntimeError::new_err("the loop has a clock already"));
        }
        Ok(())
    }

    /// The virtual clock that the loop was made with, or None: it goes by the system's.
    #[getter]
    fn clock(&self, py: Python<'_>) -> Option<Py<VirtualTime>> {
        self.virtual_time().map(|time| time.clone_ref(py))
    }

    /// Closes the engine: lets go of all callbacks, timers, watchers and transports, and of the descriptors.
    fn _close(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_running() {
            return Err(PyRuntimeError::new_err("Cannot close a running event loop"));
        }
        self.set_closed();
        self.clear(py)
    }

    /// Whether debug mode is on.
    fn get_debug(&self) -> bool {
        self.is_debug()
    }

    /// The flag behind is_closed(), which inherited methods read and close() sets.
    #[getter(_closed)]
    fn closed_flag(&self) -> bool {
        self.is_closed()
    }

    #[setter(_closed)]
    fn assign_closed_flag(&self, closed: bool) {
        if closed {
            self.set_closed();
        }
    }

    /// The flag behind get_debug(), which inherited methods read.
    #[getter(_debug)]
    fn debug_flag(&self) -> bool {
        self.is_debug()
    }

    #[setter(_debug)]
    fn assign_debug_flag(&self, on: bool) {
        self.set_debug_flag(on);
    }

    /// Makes a parked loop go round once more. Any thread.
    fn _write_to_self(&self) {
        self.wake();
    }

    #[pyo3(signature = (fd, callback, *args))]
    fn _add_reader<'py>(
        slf: &Bound<'py, Self>,
        fd: &Bound<'py, PyAny>,
        callback: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        watch::add(slf, descriptor(fd)?, Direction::Read, callback, args)
    }

    #[pyo3(signature = (fd, callback, *args))]
    fn _add_writer<'py>(
        slf: &Bound<'py, Self>,
        fd: &Bound<'py, PyAny>,
        callback: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        watch::add(slf, descriptor(fd)?, Direction::Write, callback, args)
    }

    fn _remove_reader(slf: &Bound<'_, Self>, fd: &Bound<'_, PyAny>) -> PyResult<bool> {
        watch::remove(slf, descriptor(fd)?, Direction::Read)
    }

    fn _remove_writer(slf: &Bound<'_, Self>, fd: &Bound<'_, PyAny>) -> PyResult<bool> {
        watch::remove(slf, descriptor(fd)?, Direction::Write)
    }

    /// Calls callback(*args) whenever fd (an integer or an object with fileno()) can be read.
    ///
    /// Raises ValueError for what is no descriptor, RuntimeError for a transport's, OSError if the system refuses it.
    #[pyo3(signature = (fd, callback, *args))]
    fn add_reader<'py>(
        slf: &Bound<'py, Self>,
        fd: &Bound<'py, PyAny>,
        callback: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
    ) -> PyResult<()> {
        let number = descriptor(fd)?;
        ensure_no_transport(slf, fd, number)?;
        watch::add(slf, number, Direction::Read, callback, args).map(drop)
    }

    /// Calls callback(*args) whenever fd (an integer or an object with fileno()) can be written.
    ///
    /// Raises what add_reader raises.
    #[pyo3(signature = (fd, callback, *args))]
    fn add_writer<'py>(
        slf: &Bound<'py, Self>,
        fd: &Bound<'py, PyAny>,
        callback: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
    ) -> PyResult<()> {
        let number = descriptor(fd)?;
        ensure_no_transport(slf, fd, number)?;
        watch::add(slf, number, Direction::Write, callback, args).map(drop)
    }

    /// Stops watching fd for reading; whether it was watched.
    fn remove_reader(slf: &Bound<'_, Self>, fd: &Bound<'_, PyAny>) -> PyResult<bool> {
        let number = descriptor(fd)?;
        ensure_no_transport(slf, fd, number)?;
        watch::remove(slf, number, Direction::Read)
    }

    /// Stops watching fd for writing; whether it was watched.
    fn remove_writer(slf: &Bound<'_, Self>, fd: &Bound<'_, PyAny>) -> PyResult<bool> {
        let number = descriptor(fd)?;
        ensure_no_transport(slf, fd, number)?;
        watch::remove(slf, number, Direction::Write)
    }

    /// Raises RuntimeError if an open transport uses fd.
    fn _ensure_fd_no_transport(slf: &Bound<'_, Self>, fd: &Bound<'_, PyAny>) -> PyResult<()> {
        ensure_no_transport(slf, fd, descriptor(fd)?)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one Python caller, `_tls.make_protocol`, which has put them in order"
    )]
    /// Makes the protocol of a TLS connection; timeouts are (handshake, shutdown) in seconds.
    fn _make_tls_protocol<'py>(
        slf: &Bound<'py, Self>,
        protocol: &Bound<'py, PyAny>,
        sslcontext: &Bound<'py, PyAny>,
        waiter: Option<Bound<'py, PyAny>>,
        server_side: bool,
        server_hostname: Option<Bound<'py, PyAny>>,
        call_connection_made: bool,
        accepted: bool,
        timeouts: (Bound<'py, PyAny>, Bound<'py, PyAny>),
    ) -> PyResult<Bound<'py, PyAny>> {
        tls::make(tls::Beginning {
            owner: slf,
            protocol,
            context: sslcontext,
            waiter,
            role: tls::Role {
                server_side,
                call_connection_made,
                accepted,
            },
            server_hostname,
            handshake_timeout: timeouts.0,
            shutdown_timeout: timeouts.1,
        })
    }

    /// Makes the transport of a connected stream socket and starts it.
    #[pyo3(signature = (sock, protocol, waiter=None, *, extra=None, server=None))]
    fn _make_socket_transport<'py>(
        slf: &Bound<'py, Self>,
        sock: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        waiter: Option<&Bound<'py, PyAny>>,
        extra: Option<&Bound<'py, PyDict>>,
        server: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        ensure_no_transport(slf, sock, descriptor(sock)?)?;
        transport::open(slf, sock, protocol, waiter, extra, server)
    }

    /// Makes the transport of a datagram socket and starts it.
    #[pyo3(signature = (sock, protocol, address=None, waiter=None, extra=None))]
    fn _make_datagram_transport<'py>(
        slf: &Bound<'py, Self>,
        sock: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        address: Option<&Bound<'py, PyAny>>,
        waiter: Option<&Bound<'py, PyAny>>,
        extra: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        ensure_no_transport(slf, sock, descriptor(sock)?)?;
        transport::datagram::open(slf, sock, protocol, address, waiter, extra)
    }

    /// Makes the transport of a pipe's reading end and starts it.
    #[pyo3(signature = (pipe, protocol, waiter=None, extra=None))]
    fn _make_read_pipe_transport<'py>(
        slf: &Bound<'py, Self>,
        pipe: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        waiter: Option<&Bound<'py, PyAny>>,
        extra: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        transport::open_pipe(slf, transport::End::Read, pipe, protocol, waiter, extra)
    }

    /// Makes the transport of a pipe's writing end and starts it.
    #[pyo3(signature = (pipe, protocol, waiter=None, extra=None))]
    fn _make_write_pipe_transport<'py>(
        slf: &Bound<'py, Self>,
        pipe: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        waiter: Option<&Bound<'py, PyAny>>,
        extra: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        transport::open_pipe(slf, transport::End::Write, pipe, protocol, waiter, extra)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "asyncio.Server calls it with these, in this order"
    )]
    /// Accepts connections from a listening socket until `_stop_serving` (a `transport::Listener` keeps the arguments).
    #[pyo3(signature = (protocol_factory, sock, sslcontext=None, server=None, backlog=100, *tls))]
    fn _start_serving<'py>(
        slf: &Bound<'py, Self>,
        protocol_factory: &Bound<'py, PyAny>,
        sock: &Bound<'py, PyAny>,
        sslcontext: Option<&Bound<'py, PyAny>>,
        server: Option<&Bound<'py, PyAny>>,
        backlog: usize,
        tls: &Bound<'py, PyTuple>,
    ) -> PyResult<()> {
        slf.get().check_open()?;
        let listener =
            transport::Listener::new(protocol_factory, sock, sslcontext, server, backlog, tls)?;
        transport::listen(slf, listener)
    }

    /// Stops accepting on a listening socket; leaves it open.
    fn _pause_serving(slf: &Bound<'_, Self>, sock: &Bound<'_, PyAny>) -> PyResult<()> {
        transport::unlisten(slf, descriptor(sock)?)
    }

    /// Stops accepting on a listening socket and closes it.
    fn _stop_serving(slf: &Bound<'_, Self>, sock: &Bound<'_, PyAny>) -> PyResult<()> {
        let fd: i32 = sock.call_method0("fileno")?.extract()?;
        if fd >= 0 {
            transport::unlisten(slf, fd)?;
        }
        sock.call_method0("close")?;
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.visit(&visit)
    }

    fn __clear__(slf: &Bound<'_, Self>) -> PyResult<()> {
        slf.get().clear(slf.py())
    }
}
