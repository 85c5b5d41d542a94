//! The native half of `pyloop.timers.TimerManager`.
//!
//! Commands and events change hands without waiting; the awaitables only tell when to try again. An awaitable that is cancelled
//! at the wrong moment so can lose nothing.

use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use timers::{CommandError, TimerEvent, TimerHandle, TimerManager, TryRecvError, driver};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::runtime::awaitable;
use crate::py::errors::os_error;

/// A manager of named timers whose task runs on the driver's thread.
#[pyclass(frozen, module = "pyloop._pyloop")]
pub(crate) struct ManagerHandle {
    handle: Arc<TimerHandle>,
    /// Ends the manager without a place in the command buffer, at the latest when this object is dropped.
    token: CancellationToken,
    _guard: DropGuard,
}

/// True for a command that was accepted, False if there is no place for it, None if the manager is closed.
fn outcome(result: Result<(), CommandError>) -> PyResult<Option<bool>> {
    match result {
        Ok(()) => Ok(Some(true)),
        Err(CommandError::Full(_)) => Ok(Some(false)),
        Err(CommandError::Closed(_)) => Ok(None),
        Err(error @ CommandError::EmptyName(_)) => Err(PyValueError::new_err(error.to_string())),
    }
}

/// # Errors
/// `ValueError` for what is negative or not a number.
fn duration(seconds: f64) -> PyResult<Duration> {
    if seconds.is_nan() || seconds < 0.0 {
        return Err(PyValueError::new_err(format!(
            "a duration must not be negative or NaN: {seconds}"
        )));
    }
    // What is too long for a duration does not end in any program's life.
    Ok(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

#[pymethods]
impl ManagerHandle {
    #[new]
    fn new(
        name: String,
        heartbeat_interval: f64,
        command_buffer_size: usize,
        event_buffer_size: usize,
    ) -> PyResult<Self> {
        let token = CancellationToken::new();
        let (manager, handle) = TimerManager::new(
            name,
            duration(heartbeat_interval)?,
            command_buffer_size,
            event_buffer_size,
            token.clone(),
        );
        driver::runtime().map_err(os_error)?.spawn(manager.run());
        Ok(Self {
            handle: Arc::new(handle),
            _guard: token.clone().drop_guard(),
            token,
        })
    }

    /// Sets or replaces a timer.
    fn try_set(&self, name: String, seconds: f64) -> PyResult<Option<bool>> {
        outcome(self.handle.try_set_timer(name, duration(seconds)?))
    }

    /// Cancels a timer.
    fn try_cancel(&self, name: String) -> PyResult<Option<bool>> {
        outcome(self.handle.try_cancel_timer(name))
    }

    /// Cancels all timers.
    fn try_cancel_all(&self) -> PyResult<Option<bool>> {
        outcome(self.handle.try_cancel_all_timers())
    }

    /// Ends the manager after the commands before.
    fn try_shutdown(&self) -> PyResult<Option<bool>> {
        outcome(self.handle.try_shutdown())
    }

    /// Ends the manager without waiting for a place.
    fn stop(&self) {
        self.token.cancel();
    }

    /// The name of a timer that has expired; None if there is none, False if there will be none.
    fn try_recv<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.handle.try_recv_event() {
            Ok(TimerEvent::TimerExpired { name }) => Ok(Some(name.into_pyobject(py)?.into_any())),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Closed) => {
                let closed = pyo3::types::PyBool::new(py, false);
                Ok(Some(closed.to_owned().into_any()))
            }
        }
    }

    /// Awaits an event, or the end.
    fn event_arrives<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let handle = Arc::clone(&self.handle);
        awaitable(py, async move { handle.event_arrives().await })
    }

    /// Has another receiver look, in place of one that has given up.
    fn tell_next_receiver(&self) {
        self.handle.tell_next_receiver();
    }

    /// Awaits a place in the command buffer, or the end.
    fn place_is_free<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let handle = Arc::clone(&self.handle);
        awaitable(py, async move { handle.place_is_free().await })
    }

    /// Whether commands are refused.
    fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    fn __len__(&self) -> usize {
        self.handle.len()
    }
}
