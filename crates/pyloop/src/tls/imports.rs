//! What TLS needs of the standard library, looked up with the first connection: not every Python has `ssl`.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyTuple};

/// The objects, each named as it is used.
pub(super) struct Imports {
    pub(super) memory_bio: Py<PyAny>,
    /// The class whose methods only pass on to the object underneath; a class derived from it is asked itself.
    pub(super) ssl_object: Py<PyAny>,
    /// What means "not yet": more must arrive first.
    pub(super) again: Py<PyTuple>,
    pub(super) zero_return: Py<PyAny>,
    pub(super) certificate_error: Py<PyAny>,
    pub(super) timeout_error: Py<PyAny>,
    pub(super) cancelled_error: Py<PyAny>,
    /// Whether OpenSSL is called directly.
    pub(super) direct: bool,
    /// The rare turns, in Python.
    pub(super) log_debug: Py<PyAny>,
    pub(super) log_error: Py<PyAny>,
    pub(super) report: Py<PyAny>,
    pub(super) warn_kept_open: Py<PyAny>,
    pub(super) warn_lost_write: Py<PyAny>,
    pub(super) warn_unclosed: Py<PyAny>,
    pub(super) handshake_timed_out: Py<PyAny>,
    pub(super) flow_limits: Py<PyAny>,
    pub(super) accept_refused: Py<PyAny>,
    pub(super) names: Names,
}

macro_rules! names {
    ($($name:ident),* $(,)?) => {
        /// Interned names of methods and attributes.
        pub(super) struct Names { $(pub(super) $name: Py<PyString>,)* }

        impl Names {
            fn intern(py: Python<'_>) -> Self {
                Self { $($name: PyString::intern(py, stringify!($name)).unbind(),)* }
            }
        }
    };
}

names! {
    read, write, pending, do_handshake, unwrap,
    pause_reading, resume_reading, abort, _force_close, is_closing, get_extra_info,
    call_later, cancel, cancelled, set_result, set_exception,
    _resume, _check_handshake_timeout, _check_shutdown_timeout,
}

static IMPORTS: PyOnceLock<Imports> = PyOnceLock::new();

impl Imports {
    fn load(py: Python<'_>) -> PyResult<Self> {
        let ssl = py.import("ssl")?;
        let own = py.import("pyloop._tls")?;
        let exceptions = py.import("asyncio.exceptions")?;
        let get = |module: &Bound<'_, PyModule>, name: &str| {
            Ok::<_, PyErr>(module.getattr(name)?.unbind())
        };
        Ok(Self {
            memory_bio: get(&ssl, "MemoryBIO")?,
            ssl_object: get(&ssl, "SSLObject")?,
            again: PyTuple::new(
                py,
                [
                    get(&ssl, "SSLWantReadError")?,
                    get(&ssl, "SSLWantWriteError")?,
                    get(&ssl, "SSLSyscallError")?,
                ],
            )?
            .unbind(),
            zero_return: get(&ssl, "SSLZeroReturnError")?,
            certificate_error: get(&ssl, "CertificateError")?,
            timeout_error: get(&exceptions, "TimeoutError")?,
            cancelled_error: get(&exceptions, "CancelledError")?,
            direct: own.getattr("engine")?.call0()?.extract::<String>()? == "openssl",
            log_debug: get(&own, "log_debug")?,
            log_error: get(&own, "log_error")?,
            report: get(&own, "report")?,
            warn_kept_open: get(&own, "warn_kept_open")?,
            warn_lost_write: get(&own, "warn_lost_write")?,
            warn_unclosed: get(&own, "warn_unclosed")?,
            handshake_timed_out: get(&own, "handshake_timed_out")?,
            flow_limits: get(&own, "flow_limits")?,
            accept_refused: get(&py.import("pyloop._transports")?, "accept_refused")?,
            names: Names::intern(py),
        })
    }
}

/// Looks everything up, once.
///
/// # Errors
/// `ImportError` of a Python without `ssl`.
pub(super) fn load(py: Python<'_>) -> PyResult<&Imports> {
    IMPORTS.get_or_try_init(py, || Imports::load(py))
}

/// The objects.
#[inline]
pub(super) fn imports(py: Python<'_>) -> &Imports {
    IMPORTS
        .get(py)
        .expect("making a connection loads the imports")
}
