//! What the engine needs of the standard library and of the package, looked up once.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyTuple};

macro_rules! imports {
    ($($(#[$meta:meta])* $field:ident = $module:literal . $name:literal),* $(,)? ; $($text:ident = $text_name:literal),* $(,)?) => {
        /// The objects, each named as it is used.
        pub(crate) struct Imports {
            $($(#[$meta])* pub(crate) $field: Py<PyAny>,)*
            pub(crate) names: Names,
            /// `("loop",)`, the keyword of futures and tasks.
            pub(crate) loop_keyword: Py<PyTuple>,
        }

        /// Interned names of attributes and keywords.
        pub(crate) struct Names {
            $(pub(crate) $text: Py<PyString>,)*
        }

        impl Imports {
            fn load(py: Python<'_>) -> PyResult<Self> {
                Ok(Self {
                    $($field: py.import($module)?.getattr($name)?.unbind(),)*
                    loop_keyword: PyTuple::new(py, [PyString::intern(py, "loop")])?.unbind(),
                    names: Names { $($text: PyString::intern(py, $text_name).unbind(),)* },
                })
            }
        }
    };
}

imports! {
    /// Reports what a callback raised to the loop's exception handler.
    callback_failed = "pyloop._callbacks"."callback_failed",
    /// Runs one handle with the clock watched, for debug mode.
    run_watched = "pyloop._callbacks"."run_watched",
    /// Logs what has taken long, for debug mode.
    report_slow = "pyloop._callbacks"."report_slow",
    /// Refuses callbacks that cannot be called, for debug mode.
    check_callback = "pyloop._callbacks"."check_callback",
    /// Where a callback is being scheduled from, for debug mode.
    creation_traceback = "pyloop._callbacks"."creation_traceback",
    set_result_unless_cancelled = "asyncio.futures"."_set_result_unless_cancelled",
    future = "asyncio.futures"."Future",
    task = "asyncio.tasks"."Task",
    base_loop = "asyncio.base_events"."BaseEventLoop",
    buffered_protocol = "asyncio.protocols"."BufferedProtocol",
    transport_socket = "asyncio.trsock"."TransportSocket",
    /// A socket object that takes over an accepted, non-blocking descriptor.
    socket_from_descriptor = "pyloop._transports"."socket_from_descriptor",
    /// The closed socket that `get_extra_info` shows of a connection that is over.
    closed_socket = "pyloop._transports"."closed_socket",
    /// Reports an error that ends a transport.
    transport_failed = "pyloop._transports"."transport_failed",
    /// Logs a transport's event in debug mode.
    transport_debug = "pyloop._transports"."transport_debug",
    /// Warns about a transport that was dropped while open.
    transport_unclosed = "pyloop._transports"."transport_unclosed",
    /// Warns that writes go on after the connection was lost.
    write_after_loss = "pyloop._transports"."write_after_loss",
    /// What `get_extra_info("socket")` of a datagram transport gives.
    datagram_socket = "pyloop._transports"."DatagramSocket",
    /// Attaches a transport to its server, as the running Python's `Server` wants it.
    server_attach = "pyloop._compat"."server_attach",
    /// Detaches it again.
    server_detach = "pyloop._compat"."server_detach",
    /// Reports a failed `accept()` and tries again later.
    accept_failed = "pyloop._transports"."accept_failed",
    /// Makes the protocol of an accepted connection whose server speaks TLS.
    accept_tls = "pyloop._tls"."accept",
    /// Reports a protocol factory that raised for an accepted connection.
    accept_refused = "pyloop._transports"."accept_refused",
    ;
    data_received = "data_received",
    datagram_received = "datagram_received",
    error_received = "error_received",
    eof_received = "eof_received",
    connection_made = "connection_made",
    connection_lost = "connection_lost",
    get_buffer = "get_buffer",
    buffer_updated = "buffer_updated",
    pause_writing = "pause_writing",
    resume_writing = "resume_writing",
    close = "close",
    fileno = "fileno",
    gettimeout = "gettimeout",
    done = "done",
    set_result = "set_result",
    lose = "_call_connection_lost",
    start = "_start",
    task_factory = "_task_factory",
    r#loop = "loop",
}

static IMPORTS: PyOnceLock<Imports> = PyOnceLock::new();

/// Looks everything up, once; each loop does so when it is made.
pub(crate) fn load(py: Python<'_>) -> PyResult<()> {
    IMPORTS.get_or_try_init(py, || Imports::load(py))?;
    Ok(())
}

/// The objects.
#[inline]
pub(crate) fn imports(py: Python<'_>) -> &Imports {
    IMPORTS
        .get(py)
        .expect("making a loop loads the imports, and nothing is used before there is a loop")
}
