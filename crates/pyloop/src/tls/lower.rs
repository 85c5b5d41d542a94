//! The transport underneath a TLS connection: a stream transport of ours, or any other.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::imports::imports;
use crate::py::bytes::Written;
use crate::py::call;
use crate::transport;

/// The transport that carries the records.
pub(super) enum Lower {
    /// A stream transport of ours, whose socket is read and written without detours.
    Stream(Py<PyAny>),
    /// Anything with asyncio's methods: another loop's transport, TLS underneath TLS, a tunnel of the application's.
    Foreign(Py<PyAny>),
}

impl Lower {
    pub(super) fn of(transport: &Bound<'_, PyAny>) -> Self {
        if transport::is_stream(transport) {
            Self::Stream(transport.clone().unbind())
        } else {
            Self::Foreign(transport.clone().unbind())
        }
    }

    pub(super) fn object(&self) -> &Py<PyAny> {
        match self {
            Self::Stream(object) | Self::Foreign(object) => object,
        }
    }

    pub(super) fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Stream(object) => Self::Stream(object.clone_ref(py)),
            Self::Foreign(object) => Self::Foreign(object.clone_ref(py)),
        }
    }

    /// Sends records.
    pub(super) fn send(&self, py: Python<'_>, records: &Written<'_, '_>) -> PyResult<()> {
        match self {
            Self::Stream(stream) => transport::send_records(stream.bind(py), records),
            Self::Foreign(foreign) => {
                let name = &imports(py).names.write;
                let records = match records {
                    Written::Bytes(records) => (*records).clone(),
                    other => PyBytes::new(py, other.as_slice()),
                };
                call::method1(foreign.bind(py), name, records.as_any()).map(drop)
            }
        }
    }

    /// Calls a method without arguments.
    pub(super) fn call(&self, py: Python<'_>, name: &Py<PyString>) -> PyResult<()> {
        call::method0(self.object().bind(py), name).map(drop)
    }

    /// Ends the transport at once.
    ///
    /// Transports that are not asyncio's own may know `abort()` only, and tell no reason to `connection_lost`.
    pub(super) fn force_close(&self, py: Python<'_>, error: Option<&PyErr>) -> PyResult<()> {
        let object = self.object().bind(py);
        let names = &imports(py).names;
        if let Some(force_close) = object.getattr_opt(&names._force_close)? {
            let error = error.map_or_else(
                || py.None(),
                |error| error.value(py).clone().into_any().unbind(),
            );
            force_close.call1((error,))?;
            return Ok(());
        }
        self.call(py, &names.abort)
    }
}
