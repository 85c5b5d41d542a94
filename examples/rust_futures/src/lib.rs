//! Futures across the border: Python awaits Rust, and Rust awaits Python.
//!
//! Nothing here knows which event loop runs: `pyo3_async_runtimes` asks asyncio for the running one, and comes back to it with
//! `call_soon_threadsafe`. The Rust futures run on tokio's threads, which `runtime` starts when the first future needs them, and
//! ends before the interpreter.

mod runtime;

use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use runtime::{end_runtime, future_into_py, into_future};

/// A count of the futures that were dropped before their end.
static DROPPED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

/// Counts itself if it is dropped while armed.
struct Guard {
    armed: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.armed {
            DROPPED.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }
}

fn duration(seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// Returns `value` after a sleep of tokio's. Cancelling the awaitable drops the Rust future.
#[pyfunction]
fn delayed(py: Python<'_>, value: Py<PyAny>, seconds: f64) -> PyResult<Bound<'_, PyAny>> {
    let pause = duration(seconds)?;
    future_into_py(py, async move {
        let mut guard = Guard { armed: true };
        tokio::time::sleep(pause).await;
        guard.armed = false;
        Ok(value)
    })
}

/// Raises `RuntimeError(message)` from within a Rust future.
#[pyfunction]
fn failing(py: Python<'_>, message: String) -> PyResult<Bound<'_, PyAny>> {
    future_into_py(py, async move {
        tokio::task::yield_now().await;
        Err::<(), _>(PyRuntimeError::new_err(message))
    })
}

/// Calls the coroutine function `work` with 0 to `count - 1`, one after the other, and returns what it returned.
///
/// A Rust future that awaits Python coroutines, with a pause of tokio's in between; what a coroutine raises ends it.
#[pyfunction]
fn in_turns(py: Python<'_>, work: Py<PyAny>, count: usize) -> PyResult<Bound<'_, PyAny>> {
    future_into_py(py, async move {
        let mut results = Vec::with_capacity(count);
        for number in 0..count {
            // Attached to make the coroutine, detached to await it.
            let turn = Python::attach(|py| into_future(work.bind(py).call1((number,))?))?;
            results.push(turn.await?);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(results)
    })
}

/// How many futures of `delayed` were dropped before their end.
#[pyfunction]
fn dropped() -> usize {
    DROPPED.load(std::sync::atomic::Ordering::SeqCst)
}

/// Awaitables made of Rust futures, and the other way round.
#[pymodule(gil_used = false)]
fn rust_futures(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(delayed, module)?)?;
    module.add_function(wrap_pyfunction!(failing, module)?)?;
    module.add_function(wrap_pyfunction!(in_turns, module)?)?;
    module.add_function(wrap_pyfunction!(dropped, module)?)?;
    module
        .py()
        .import("atexit")?
        .call_method1("register", (wrap_pyfunction!(end_runtime, module)?,))?;
    Ok(())
}
