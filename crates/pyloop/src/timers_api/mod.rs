//! What `pyloop.timers` needs of the wheel and its driver.
//!
//! | module | owns |
//! |---|---|
//! | `manager` | `TimerManager`'s handle |
//! | `port` | deadlines that the driver attends for a loop that is not ours |
//! | `runtime` | Rust futures as awaitables, on the driver's runtime |
//!
//! The driver's thread never attaches to the interpreter: a program that holds the GIL makes no other timer late.

mod manager;
mod port;
mod runtime;

use pyo3::prelude::*;

/// Adds the types to the extension module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<manager::ManagerHandle>()?;
    module.add_class::<port::DriverPort>()
}
