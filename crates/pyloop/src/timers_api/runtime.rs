//! Rust futures as awaitables: they run on the driver's runtime, beside the one task that attends the timers.
//!
//! What enters the interpreter (setting the result of the awaitable) goes to a thread of the runtime's blocking pool.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pyo3::prelude::*;
use pyo3_async_runtimes::TaskLocals;
use pyo3_async_runtimes::generic::{self, ContextExt, JoinError, Runtime};
use timers::driver;
use tokio::runtime::Handle;
use tokio::task;

use crate::py::errors::os_error;

/// An awaitable for the running loop that is done when `future` is. Cancelling it drops the future.
///
/// # Errors
/// `RuntimeError` without a running loop, `OSError` if the system refuses the driver's thread.
pub(super) fn awaitable(
    py: Python<'_>,
    future: impl Future<Output = ()> + Send + 'static,
) -> PyResult<Bound<'_, PyAny>> {
    driver::runtime().map_err(os_error)?;
    generic::future_into_py::<DriverRuntime, _, _>(py, async move {
        future.await;
        Ok(())
    })
}

struct DriverRuntime;

fn runtime() -> Handle {
    driver::runtime().expect("`awaitable` has started the driver")
}

/// How a task of the driver's runtime ended.
struct Ended(task::JoinError);

impl JoinError for Ended {
    fn is_panic(&self) -> bool {
        self.0.is_panic()
    }

    fn into_panic(self) -> Box<dyn Any + Send + 'static> {
        self.0.into_panic()
    }
}

struct Joined(task::JoinHandle<()>);

impl Future for Joined {
    type Output = Result<(), Ended>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|outcome| outcome.map_err(Ended))
    }
}

impl Runtime for DriverRuntime {
    type JoinError = Ended;
    type JoinHandle = Joined;

    fn spawn<F>(future: F) -> Joined
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Joined(runtime().spawn(future))
    }

    fn spawn_blocking<F>(work: F) -> Joined
    where
        F: FnOnce() + Send + 'static,
    {
        Joined(runtime().spawn_blocking(work))
    }
}

/// The futures of this crate call no Python: no loop and no context goes with them.
impl ContextExt for DriverRuntime {
    fn scope<F, R>(_: TaskLocals, future: F) -> Pin<Box<dyn Future<Output = R> + Send>>
    where
        F: Future<Output = R> + Send + 'static,
    {
        Box::pin(future)
    }

    fn get_task_locals() -> Option<TaskLocals> {
        None
    }
}
