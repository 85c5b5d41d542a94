//! From the lower transport's `connection_made` to the application's.

use pyo3::exceptions::PyConnectionResetError;
use pyo3::intern;
use pyo3::prelude::*;

use super::imports::imports;
use super::lower::Lower;
use super::pump::{Phase, Pump, Told, pump};
use super::session::Step;
use super::{read, shutdown, write};
use crate::clock;
use crate::py::call;
use crate::py::imports::imports as common;
use crate::transport::is_interrupt;

/// The lower transport is there: begins the handshake.
pub(super) fn begin(object: &Bound<'_, PyAny>, transport: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = object.py();
    let pump = pump(object);
    let lower = Lower::of(transport);
    let kept = lower.clone_ref(py);
    let closed = pump.with(py, |state| {
        state.lower = Some(kept);
        state.phase = Phase::Handshake;
        state.ending.closed
    })?;
    if closed {
        // The application has closed, or given up waiting, before there was anything to close.
        return shutdown::abort(object, pump, None);
    }
    let core = pump.owner.get();
    if core.is_debug() {
        log(object, "starts SSL handshake")?;
        pump.with(py, |state| {
            state.waits.began = Some(clock::seconds(clock::now()))
        })?;
    }
    let timer = start_timer(
        object,
        pump,
        &pump.handshake_timeout,
        &imports(py).names._check_handshake_timeout,
    )?;
    pump.with(py, |state| state.waits.handshake = Some(timer))?;
    if pump.server_side {
        return Ok(()); // The client speaks first.
    }
    advance(object, pump)
}

/// A timer that calls a method of the protocol object.
pub(super) fn start_timer(
    object: &Bound<'_, PyAny>,
    pump: &Pump,
    delay: &Py<PyAny>,
    method: &Py<pyo3::types::PyString>,
) -> PyResult<Py<PyAny>> {
    let py = object.py();
    let callback = object.getattr(method)?;
    let name = &imports(py).names.call_later;
    let timer = pump.owner.bind(py).call_method1(name, (delay, callback))?;
    Ok(timer.unbind())
}

/// Goes on with the handshake.
pub(super) fn advance(object: &Bound<'_, PyAny>, pump: &Pump) -> PyResult<()> {
    match pump.session.handshake(object.py()) {
        Ok(Step::Done) => succeed(object, pump),
        Ok(Step::Again) => write::send_records(object.py(), pump),
        Err(error) if is_interrupt(object.py(), &error) => Err(error),
        Err(error) => fail(object, pump, error),
    }
}

fn cancel_timer(py: Python<'_>, pump: &Pump) -> PyResult<()> {
    match pump.with(py, |state| state.waits.handshake.take())? {
        Some(timer) => call::method0(timer.bind(py), &imports(py).names.cancel).map(drop),
        None => Ok(()),
    }
}

fn succeed(object: &Bound<'_, PyAny>, pump: &Pump) -> PyResult<()> {
    let py = object.py();
    cancel_timer(py, pump)?;
    if let Err(error) = remember(py, pump) {
        return if is_interrupt(py, &error) {
            Err(error)
        } else {
            fail(object, pump, error)
        };
    }
    let (began, made) = pump.with(py, |state| {
        state.phase = Phase::Wrapped;
        let made = state.told == Told::Nothing;
        if made {
            state.told = Told::Made;
        }
        let made = made.then(|| {
            let transport = state
                .app
                .transport
                .as_ref()
                .map(|transport| transport.clone_ref(py));
            let protocol = state
                .app
                .protocol
                .as_ref()
                .map(|protocol| protocol.clone_ref(py));
            transport.zip(protocol)
        });
        (state.waits.began.take(), made.flatten())
    })?;
    if let Some(began) = began {
        let milliseconds = (clock::seconds(clock::now()) - began) * 1e3;
        log(object, &format!("SSL handshake took {milliseconds:.1} ms"))?;
    }
    if let Some((transport, protocol)) = made {
        let name = &common(py).names.connection_made;
        call::method1(protocol.bind(py), name, transport.bind(py))?;
    }
    wake_waiter(py, pump, None)?;
    read::read(object, pump)
}

/// Notes what is known from the handshake on.
fn remember(py: Python<'_>, pump: &Pump) -> PyResult<()> {
    let session = pump.session.object.bind(py);
    let extra = pump.extra.bind(py);
    for (key, method) in [
        (intern!(py, "peercert"), intern!(py, "getpeercert")),
        (intern!(py, "cipher"), intern!(py, "cipher")),
        (intern!(py, "compression"), intern!(py, "compression")),
    ] {
        extra.set_item(key, session.call_method0(method)?)?;
    }
    extra.set_item(intern!(py, "ssl_object"), session)
}

/// The handshake has failed.
pub(super) fn fail(object: &Bound<'_, PyAny>, pump: &Pump, error: PyErr) -> PyResult<()> {
    let py = object.py();
    cancel_timer(py, pump)?;
    pump.with(py, |state| state.phase = Phase::Unwrapped)?;
    let message = if error.is_instance(py, imports(py).certificate_error.bind(py)) {
        "SSL handshake failed on verifying the certificate"
    } else {
        "SSL handshake failed"
    };
    shutdown::fatal_error(object, pump, error.clone_ref(py), message)?;
    wake_waiter(py, pump, Some(&error))
}

/// The peer has closed during the handshake.
pub(super) fn peer_closed(object: &Bound<'_, PyAny>, pump: &Pump) -> PyResult<()> {
    fail(object, pump, PyConnectionResetError::new_err(()))
}

/// Resolves the future that waits for the handshake; of an accepted connection, debug mode reports a failure.
pub(super) fn wake_waiter(py: Python<'_>, pump: &Pump, error: Option<&PyErr>) -> PyResult<()> {
    let waiter = pump.with(py, |state| state.waits.waiter.take())?;
    let Some(waiter) = waiter else {
        return Ok(());
    };
    if pump.accepted {
        // What stands in the waiter's place is a mark: told once, and by nobody awaited.
        if let Some(error) = error {
            imports(py)
                .accept_refused
                .call1(py, (&pump.owner, error.value(py)))?;
        }
        return Ok(());
    }
    let names = &imports(py).names;
    let waiter = waiter.bind(py);
    if call::method0(waiter, &names.cancelled)?.is_truthy()? {
        return Ok(());
    }
    match error {
        Some(error) => call::method1(waiter, &names.set_exception, error.value(py).as_any())?,
        None => call::method1(waiter, &names.set_result, py.None().bind(py))?,
    };
    Ok(())
}

/// The timer of the handshake has fired.
pub(super) fn check_timeout(object: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = object.py();
    let pump = pump(object);
    if pump.with(py, |state| state.phase)? != Phase::Handshake {
        return Ok(());
    }
    let error = imports(py)
        .handshake_timed_out
        .call1(py, (&pump.handshake_timeout,))?;
    let error = PyErr::from_value(error.into_bound(py));
    shutdown::fatal_error(object, pump, error, "Fatal error on transport")
}

/// Logs an event in debug mode.
pub(super) fn log(object: &Bound<'_, PyAny>, event: &str) -> PyResult<()> {
    imports(object.py())
        .log_debug
        .call1(object.py(), (object, event))?;
    Ok(())
}
