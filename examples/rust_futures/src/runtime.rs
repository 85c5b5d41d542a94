//! A tokio runtime that ends before the interpreter does.
//!
//! `pyo3_async_runtimes::tokio` keeps its runtime for ever. A thread of it that comes back to Python while the interpreter is
//! taken down kills the process (<https://github.com/PyO3/pyo3-async-runtimes/issues/40>), and one always may: the last thing a
//! future does, cancelled or not, is to look at its awaitable. So this module brings a runtime of its own to the generic half of
//! the crate, and an `atexit` function that waits for its threads.

use std::cell::OnceCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3_async_runtimes::{TaskLocals, generic};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// How long the end of the process waits for a call from Rust into Python that does not return.
const PATIENCE: Duration = Duration::from_secs(5);

/// For spawning: works from any thread, and spawns nothing once the runtime has ended.
static HANDLE: OnceLock<Handle> = OnceLock::new();
/// The runtime itself, until the interpreter is about to end, and the process whose threads it has.
static RUNTIME: Mutex<Option<(Runtime, u32)>> = Mutex::new(None);
/// The interpreter is about to end.
static ENDED: AtomicBool = AtomicBool::new(false);

tokio::task_local! {
    static LOCALS: OnceCell<TaskLocals>;
}

/// Our runtime, as the generic functions of `pyo3_async_runtimes` want it.
pub struct Tokio;

/// tokio's error of a task, behind a trait that is not ours either.
pub struct JoinError(tokio::task::JoinError);

impl generic::JoinError for JoinError {
    fn is_panic(&self) -> bool {
        self.0.is_panic()
    }

    fn into_panic(self) -> Box<dyn std::any::Any + Send + 'static> {
        self.0.into_panic()
    }
}

/// The end of a task, with its error wrapped.
type Join = Pin<Box<dyn Future<Output = Result<(), JoinError>> + Send>>;

fn joined(task: JoinHandle<()>) -> Join {
    Box::pin(async move { task.await.map_err(JoinError) })
}

fn owned() -> MutexGuard<'static, Option<(Runtime, u32)>> {
    RUNTIME.lock().expect("nothing panics under this lock")
}

/// Starts the runtime, once.
fn handle() -> &'static Handle {
    HANDLE.get_or_init(|| {
        let runtime = Builder::new_multi_thread()
            .enable_time()
            .build()
            .expect("tokio starts its threads");
        let handle = runtime.handle().clone();
        *owned() = Some((runtime, std::process::id()));
        handle
    })
}

impl generic::Runtime for Tokio {
    type JoinError = JoinError;
    type JoinHandle = Join;

    fn spawn<F: Future<Output = ()> + Send + 'static>(future: F) -> Join {
        joined(handle().spawn(future))
    }

    fn spawn_blocking<F: FnOnce() + Send + 'static>(work: F) -> Join {
        joined(handle().spawn_blocking(work))
    }
}

impl generic::ContextExt for Tokio {
    fn scope<F, R>(locals: TaskLocals, future: F) -> Pin<Box<dyn Future<Output = R> + Send>>
    where
        F: Future<Output = R> + Send + 'static,
    {
        Box::pin(LOCALS.scope(OnceCell::from(locals), future))
    }

    fn get_task_locals() -> Option<TaskLocals> {
        LOCALS
            .try_with(|locals| locals.get().cloned())
            .unwrap_or_default()
    }
}

/// Makes a Python awaitable of a Rust future.
///
/// # Errors
///
/// `RuntimeError` where no loop runs, in the child of a fork, and once the interpreter is about to end.
pub fn future_into_py<'py, F, T>(py: Python<'py>, future: F) -> PyResult<Bound<'py, PyAny>>
where
    F: Future<Output = PyResult<T>> + Send + 'static,
    T: for<'any> IntoPyObject<'any> + Send + 'static,
{
    if ENDED.load(Ordering::Acquire) {
        return Err(PyRuntimeError::new_err(
            "the interpreter is about to end, and tokio has ended already",
        ));
    }
    if owned()
        .as_ref()
        .is_some_and(|(_, process)| *process != std::process::id())
    {
        return Err(PyRuntimeError::new_err(
            "tokio was started before a fork, and its threads are not in this process",
        ));
    }
    generic::future_into_py::<Tokio, _, _>(py, future)
}

/// Makes a Rust future of a Python awaitable. To be called with the interpreter attached, and awaited detached.
///
/// # Errors
///
/// What making a task of the awaitable raises.
pub fn into_future(
    awaitable: Bound<'_, PyAny>,
) -> PyResult<impl Future<Output = PyResult<Py<PyAny>>> + Send + use<>> {
    generic::into_future::<Tokio>(awaitable)
}

/// Drops the futures that are left, and waits for the threads that are inside of Python. For `atexit`.
#[pyfunction]
pub fn end_runtime(py: Python<'_>) {
    ENDED.store(true, Ordering::Release);
    let Some((runtime, process)) = owned().take() else {
        return;
    };
    if process != std::process::id() {
        // The child of a fork: there are no threads to wait for, and locks that they held are held for ever.
        std::mem::forget(runtime);
        return;
    }
    // Detached: what the threads wait for is the interpreter.
    py.detach(|| runtime.shutdown_timeout(PATIENCE));
}
