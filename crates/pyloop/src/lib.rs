//! `pyloop._pyloop`: the Python face of the engine.
//!
//! | module | owns |
//! |---|---|
//! | `core` | the loop: queues, iteration, scheduling, descriptors |
//! | `sockets` | the native half of `sock_*` |
//! | `transport` | stream and datagram transports, listeners |
//! | `tls` | TLS over them, or over any other transport |
//! | `py` | CPython underneath PyO3 |
//! | `sys` | socket system calls |
//! | `timers_api` | timer managers, and the driver for loops that are not ours |
//! | `clock` | seconds and nanoseconds |
//!
//! The algorithms are in the crates `engine`, `timers` and `reactor`, which do not know Python.

mod clock;
mod core;
mod py;
mod sockets;
mod sys;
mod timers_api;
mod tls;
mod transport;

use pyo3::prelude::*;

/// The native half of pyloop; import `pyloop` instead.
#[pymodule(gil_used = false)]
fn _pyloop(module: &Bound<'_, PyModule>) -> PyResult<()> {
    py::context::discover(module.py())?;
    py::handle_type::register(module)?;
    transport::register(module)?;
    timers_api::register(module)?;
    transport::datagram::register(module)?;
    tls::register(module)?;
    module.add_class::<core::LoopCore>()?;
    module.add_class::<core::VirtualTime>()?;
    module.add_function(wrap_pyfunction!(core::hold_loops, module)?)?;
    module.add_function(wrap_pyfunction!(core::add_fast_methods, module)?)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("_shares_contexts", py::context::is_shared(module.py()))?;
    let loops = module.py().get_type::<core::LoopCore>();
    sockets::register(&loops)?;
    core::register(&loops)
}
