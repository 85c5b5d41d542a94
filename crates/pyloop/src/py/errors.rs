//! From the system's errors to Python's.

use std::io;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

/// The `OSError` for a failed system call, with `errno` and the system's text: `BrokenPipeError` and the like by number.
#[cold]
pub(crate) fn os_error(error: io::Error) -> PyErr {
    match error.raw_os_error() {
        // Made of number and text by the interpreter itself, which picks the subclass.
        Some(number) => Python::attach(|py| {
            match py
                .import("os")
                .and_then(|os| os.getattr("strerror")?.call1((number,)))
            {
                Ok(text) => PyOSError::new_err((number, text.unbind())),
                Err(failed) => failed,
            }
        }),
        None => error.into(),
    }
}
