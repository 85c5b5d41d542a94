//! Flow control of what is written: the marks, and the protocol's part in it.

use engine::LimitsError;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::close;
use super::stream::{Stream, stream};
use crate::py::call;
use crate::py::imports::imports;

/// Tells the protocol to pause if the buffer has grown beyond the high-water mark.
pub(super) fn after_growth(object: &Bound<'_, PyAny>, stream: &Stream) -> PyResult<()> {
    let py = object.py();
    let pause = stream.with(py, |state| {
        let len = state.output.buffer.len();
        state.output.flow.grew(len)
    })?;
    if pause {
        tell(object, stream, true)
    } else {
        Ok(())
    }
}

/// Tells the protocol that there is no room, or room again; a failure is reported and changes nothing.
pub(super) fn tell(object: &Bound<'_, PyAny>, stream: &Stream, pause: bool) -> PyResult<()> {
    let Some(protocol) = stream.protocol(object.py())? else {
        return Ok(());
    };
    call_protocol(protocol.bind(object.py()), pause)
        .or_else(|(error, message)| close::report(object, error, &message))
}

/// Calls `pause_writing` or `resume_writing`.
///
/// # Errors
/// What the protocol raises, with the words for a report of it.
pub(crate) fn call_protocol(
    protocol: &Bound<'_, PyAny>,
    pause: bool,
) -> Result<(), (PyErr, String)> {
    let names = &imports(protocol.py()).names;
    let name = if pause {
        &names.pause_writing
    } else {
        &names.resume_writing
    };
    match call::method0(protocol, name) {
        Ok(_) => Ok(()),
        Err(error) => Err((error, format!("protocol.{name}() failed"))),
    }
}

/// `transport.set_write_buffer_limits(high, low)`.
///
/// # Errors
/// `ValueError` unless `high >= low >= 0`; `TypeError` for what is no integer.
pub(super) fn set_limits(
    object: &Bound<'_, PyAny>,
    high: Option<&Bound<'_, PyAny>>,
    low: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let stream = stream(object);
    set_marks(high, low, |high, low| {
        stream.with(object.py(), |state| state.output.flow.set_limits(high, low))
    })?;
    after_growth(object, stream)
}

/// Reads the marks of `set_write_buffer_limits` and has `apply` set them.
pub(super) fn set_marks(
    high: Option<&Bound<'_, PyAny>>,
    low: Option<&Bound<'_, PyAny>>,
    apply: impl FnOnce(Option<usize>, Option<usize>) -> PyResult<Result<(), LimitsError>>,
) -> PyResult<()> {
    let given = |mark: Option<&Bound<'_, PyAny>>| match mark {
        Some(mark) if !mark.is_none() => mark.extract::<i64>().map(Some),
        _ => Ok(None),
    };
    let (high, low) = (given(high)?, given(low)?);
    let refused = |high: &dyn std::fmt::Display, low: &dyn std::fmt::Display| {
        PyValueError::new_err(format!("high ({high}) must be >= low ({low}) must be >= 0"))
    };
    if let Some(low) = low.filter(|&low| low < 0) {
        return Err(refused(&high.unwrap_or(4 * low), &low));
    }
    if let Some(high) = high.filter(|&high| high < 0) {
        return Err(refused(&high, &low.unwrap_or(high / 4)));
    }
    // Both are zero or more here.
    let (high, low) = (high.map(|high| high as usize), low.map(|low| low as usize));
    apply(high, low)?.map_err(|error| {
        let LimitsError::HighBelowLow { high, low } = error;
        refused(&high, &low)
    })
}
