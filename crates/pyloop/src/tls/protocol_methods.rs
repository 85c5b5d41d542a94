//! The Python methods of the protocol object: what the lower transport calls, and the loop.

use std::ffi::CStr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::pump::{Pump, pump, set_protocol_kind};
use super::{handshake, read, shutdown, write};
use crate::py::bytes::View;
use crate::py::fastcall::{Getter, define, getter};
use crate::py::heap_type::Title;
use crate::py::payload::PayloadType;
use crate::transport::{boolean, methods, none, required};

methods! {
    ConnectionMade c"connection_made" c"connection_made($self, transport, /)\n--\n\nBegins the handshake."
    |object, args| {
        let [transport] = args.bind("connection_made", ["transport"], 1)?;
        handshake::begin(object, &required(transport))?;
        none(args)
    }

    DataReceived c"data_received" c"data_received($self, data)\n--\n\nTakes in records."
    |object, args| {
        let [data] = args.bind("data_received", ["data"], 1)?;
        let view = View::read(&required(data))?;
        read::feed(object, view.as_slice())?;
        drop(view);
        read::serve(object)?;
        none(args)
    }

    EofReceived c"eof_received" c"eof_received($self, /)\n--\n\nThe peer sends no more records; whether the transport is to stay open for writing."
    |object, args| {
        args.expect("eof_received", 0, 0)?;
        let keep_open = shutdown::lower_ended(object)?;
        boolean(args, keep_open)
    }

    ConnectionLost c"connection_lost" c"connection_lost($self, exc)\n--\n\nThe transport underneath is gone."
    |object, args| {
        let [error] = args.bind("connection_lost", ["exc"], 1)?;
        shutdown::lower_lost(object, &required(error))?;
        none(args)
    }

    PauseWriting c"pause_writing" c"pause_writing($self, /)\n--\n\nThe transport underneath has no room."
    |object, args| {
        args.expect("pause_writing", 0, 0)?;
        write::pause(object)?;
        none(args)
    }

    ResumeWriting c"resume_writing" c"resume_writing($self, /)\n--\n\nThe transport underneath has room again."
    |object, args| {
        args.expect("resume_writing", 0, 0)?;
        write::resume(object)?;
        none(args)
    }

    Resume c"_resume" c"_resume($self, /)\n--\n\nReads on; scheduled by resume_reading()."
    |object, args| {
        args.expect("_resume", 0, 0)?;
        read::resume(object)?;
        none(args)
    }

    CheckHandshakeTimeout c"_check_handshake_timeout" c"_check_handshake_timeout($self, /)\n--\n\nThe handshake has had its time."
    |object, args| {
        args.expect("_check_handshake_timeout", 0, 0)?;
        handshake::check_timeout(object)?;
        none(args)
    }

    CheckShutdownTimeout c"_check_shutdown_timeout" c"_check_shutdown_timeout($self, /)\n--\n\nThe end has had its time."
    |object, args| {
        args.expect("_check_shutdown_timeout", 0, 0)?;
        shutdown::check_timeout(object)?;
        none(args)
    }
}

/// The application's side, as asyncio's protocol has it.
struct AppTransport;
impl Getter for AppTransport {
    const NAME: &'static CStr = c"_app_transport";
    fn get<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = object.py();
        let transport = pump(object).with(py, |state| {
            state
                .app
                .transport
                .as_ref()
                .map(|transport| transport.clone_ref(py))
        })?;
        Ok(transport.unwrap_or_else(|| py.None()).into_bound(py))
    }
}

/// What moves the data, for tests.
struct Engine;
impl Getter for Engine {
    const NAME: &'static CStr = c"_engine";
    fn get<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let name = pump(object).session.engine();
        Ok(name.into_pyobject(object.py())?.into_any())
    }
}

const TITLE: Title = Title {
    name: c"pyloop.SSLProtocol",
    doc: c"The protocol between a transport and its `SSLTransport`. Programs make none themselves.",
};

/// Makes the protocol type over `asyncio.Protocol` and adds it to the module.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let base = py
        .import("asyncio.protocols")?
        .getattr("Protocol")?
        .cast_into::<PyType>()?;
    let getters = vec![getter::<AppTransport>(), getter::<Engine>()];
    let kind: PayloadType<Pump> = PayloadType::build(py, TITLE, &base, table(), getters)?;
    module.add("SSLProtocol", kind.object(py))?;
    set_protocol_kind(py, kind);
    Ok(())
}
