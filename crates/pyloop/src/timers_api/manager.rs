//! The native half of `pyloop.timers.TimerManager`.
//!
//! Commands and events change hands without waiting; a port only tells when to try again. Whoever is cancelled at the wrong
//! moment so can lose nothing.
//!
//! A forked child inherits the object, but neither the thread behind it nor the certainty that its locks are free: there it is
//! closed, and nothing of the manager is touched.

use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use timers::{CommandError, TimerEvent, TimerHandle, TimerManager, TryRecvError, driver};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::port::DriverPort;
use crate::py::errors::os_error;

/// A manager of named timers whose task runs on the driver's thread.
#[pyclass(frozen, module = "pyloop._pyloop")]
pub(crate) struct ManagerHandle {
    handle: Arc<TimerHandle>,
    /// Ends the manager without a place in the command buffer, at the latest when this object is dropped.
    token: CancellationToken,
    /// Taken when this object is dropped.
    guard: Option<DropGuard>,
    /// The process that made the manager.
    process: u32,
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
            guard: Some(token.clone().drop_guard()),
            token,
            process: std::process::id(),
        })
    }

    // Commands: True if it was accepted, False if there is no place for it, None if the manager is closed.

    /// Sets or replaces a timer.
    fn try_set(&self, name: String, seconds: f64) -> PyResult<Option<bool>> {
        let duration = duration(seconds)?;
        self.command(|handle| handle.try_set_timer(name, duration))
    }

    /// Cancels a timer.
    fn try_cancel(&self, name: String) -> PyResult<Option<bool>> {
        self.command(|handle| handle.try_cancel_timer(name))
    }

    /// Cancels all timers.
    fn try_cancel_all(&self) -> PyResult<Option<bool>> {
        self.command(|handle| handle.try_cancel_all_timers())
    }

    /// Ends the manager after the commands before.
    fn try_shutdown(&self) -> PyResult<Option<bool>> {
        self.command(|handle| handle.try_shutdown())
    }

    /// Ends the manager without waiting for a place.
    fn stop(&self) {
        if !self.is_inherited() {
            self.token.cancel();
        }
    }

    /// The name of a timer that has expired; None if there is none, False if there will be none.
    fn try_recv<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let received = if self.is_inherited() {
            Err(TryRecvError::Closed)
        } else {
            self.handle.try_recv_event()
        };
        match received {
            Ok(TimerEvent::TimerExpired { name }) => Ok(Some(name.into_pyobject(py)?.into_any())),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Closed) => {
                let closed = pyo3::types::PyBool::new(py, false);
                Ok(Some(closed.to_owned().into_any()))
            }
        }
    }

    /// Has a port tell of an event, or of the end. Not in a forked child.
    fn tell_of_event(&self, port: &Bound<'_, DriverPort>) -> PyResult<u64> {
        let handle = Arc::clone(&self.handle);
        port.get()
            .tell_after(async move { handle.event_arrives().await })
    }

    /// Has another receiver look, in place of one that has given up.
    fn tell_next_receiver(&self) {
        if !self.is_inherited() {
            self.handle.tell_next_receiver();
        }
    }

    /// Has a port tell of a place in the command buffer, or of the end. Not in a forked child.
    fn tell_of_place(&self, port: &Bound<'_, DriverPort>) -> PyResult<u64> {
        let handle = Arc::clone(&self.handle);
        port.get()
            .tell_after(async move { handle.place_is_free().await })
    }

    /// Whether commands are refused.
    fn is_closed(&self) -> bool {
        self.is_inherited() || self.handle.is_closed()
    }

    /// Whether this process is a forked child of the one that made the manager.
    fn is_inherited(&self) -> bool {
        self.process != std::process::id()
    }

    fn __len__(&self) -> usize {
        if self.is_inherited() {
            0
        } else {
            self.handle.len()
        }
    }
}

impl ManagerHandle {
    fn command(
        &self,
        send: impl FnOnce(&TimerHandle) -> Result<(), CommandError>,
    ) -> PyResult<Option<bool>> {
        if self.is_inherited() {
            return Ok(None);
        }
        match send(&self.handle) {
            Ok(()) => Ok(Some(true)),
            Err(CommandError::Full(_)) => Ok(Some(false)),
            Err(CommandError::Closed(_)) => Ok(None),
            Err(error @ CommandError::EmptyName(_)) => {
                Err(PyValueError::new_err(error.to_string()))
            }
        }
    }
}

impl Drop for ManagerHandle {
    fn drop(&mut self) {
        if self.is_inherited() {
            // Both would take locks that a thread of the parent may have held at the fork. A reference too many keeps the
            // handle for the life of the child.
            std::mem::forget(self.guard.take());
            std::mem::forget(Arc::clone(&self.handle));
        }
    }
}
