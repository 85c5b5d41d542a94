//! What `pyloop.timers` needs of the wheel and its driver.
//!
//! | module | owns |
//! |---|---|
//! | `manager` | `TimerManager`'s handle |
//! | `port` | what the driver tells a loop: deadlines, and Rust futures that are done |
//!
//! The driver's thread never attaches to the interpreter: a program that holds the GIL makes no other timer late. There is no
//! other thread.

mod manager;
mod port;

use pyo3::prelude::*;

/// Adds the types to the extension module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<manager::ManagerHandle>()?;
    module.add_class::<port::DriverPort>()
}
