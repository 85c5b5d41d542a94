//! The Python methods of the transport object: what the application calls.

use std::ffi::CStr;

use pyo3::exceptions::{PyNotImplementedError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::imports::imports;
use super::pump::{Face, Phase, is_buffered, protocol_of, pump, set_transport_kind};
use super::{read, shutdown, write};
use crate::core::call_soon;
use crate::py::call;
use crate::py::context;
use crate::py::fastcall::{Args, Getter, define, getter};
use crate::py::heap_type::Title;
use crate::py::payload::PayloadType;
use crate::transport::{boolean, methods, none, required};

methods! {
    Write c"write" c"write($self, data)\n--\n\nEncrypts and sends data (bytes, bytearray or memoryview), in order with all other writes; never blocks.\n\nWrites of one callback share records and a system call. Raises TypeError for other types."
    |object, args| {
        let [data] = args.bind("write", ["data"], 1)?;
        if let Some(chunk) = write::chunk(&required(data))? {
            write::write(protocol_of(object), [chunk])?;
        }
        none(args)
    }

    Writelines c"writelines" c"writelines($self, list_of_data)\n--\n\nWrites every item of an iterable of bytes-like objects; none if one of them is not."
    |object, args| {
        let [lines] = args.bind("writelines", ["list_of_data"], 1)?;
        let chunks = lines_of(&required(lines))?;
        if !chunks.is_empty() {
            write::write(protocol_of(object), chunks)?;
        }
        none(args)
    }

    WriteEof c"write_eof" c"write_eof($self, /)\n--\n\nRaises NotImplementedError: TLS knows no half close."
    |_object, args| {
        args.expect("write_eof", 0, 0)?;
        Err(PyNotImplementedError::new_err(()))
    }

    CanWriteEof c"can_write_eof" c"can_write_eof($self, /)\n--\n\nFalse: TLS knows no half close."
    |_object, args| {
        args.expect("can_write_eof", 0, 0)?;
        boolean(args, false)
    }

    Close c"close" c"close($self, /)\n--\n\nSends what was written, announces the end, then calls connection_lost(None)."
    |object, args| {
        args.expect("close", 0, 0)?;
        shutdown::close(protocol_of(object))?;
        none(args)
    }

    Abort c"abort" c"abort($self, /)\n--\n\nCloses at once, without an announcement; what is not sent is lost."
    |object, args| {
        args.expect("abort", 0, 0)?;
        let protocol = protocol_of(object);
        shutdown::abort(protocol, pump(protocol), None)?;
        none(args)
    }

    ForceClose c"_force_close" c"_force_close($self, exc)\n--\n\nCloses at once with connection_lost(exc); for TLS on top of this."
    |object, args| {
        let [exc] = args.bind("_force_close", ["exc"], 1)?;
        let error = required(exc);
        let error = if error.is_none() { None } else { Some(PyErr::from_value(error.to_owned())) };
        let protocol = protocol_of(object);
        shutdown::abort(protocol, pump(protocol), error)?;
        none(args)
    }

    IsClosing c"is_closing" c"is_closing($self, /)\n--\n\nWhether the transport is closing or closed."
    |object, args| {
        args.expect("is_closing", 0, 0)?;
        let py = args.py();
        let pump = pump(protocol_of(object));
        let (closed, lower) = pump.with(py, |state| (state.ending.closed, state.lower_object(py)))?;
        match lower {
            Some(lower) if !closed => call::method0(lower.bind(py), &imports(py).names.is_closing),
            _ => boolean(args, closed),
        }
    }

    IsReading c"is_reading" c"is_reading($self, /)\n--\n\nWhether the protocol may be handed data."
    |object, args| {
        args.expect("is_reading", 0, 0)?;
        let reading = pump(protocol_of(object)).with(args.py(), |state| !state.input.paused)?;
        boolean(args, reading)
    }

    PauseReading c"pause_reading" c"pause_reading($self, /)\n--\n\nHands the protocol no data until resume_reading()."
    |object, args| {
        args.expect("pause_reading", 0, 0)?;
        pump(protocol_of(object)).with(args.py(), |state| state.input.paused = true)?;
        none(args)
    }

    ResumeReading c"resume_reading" c"resume_reading($self, /)\n--\n\nEnds pause_reading(). Does nothing if not paused."
    |object, args| {
        args.expect("resume_reading", 0, 0)?;
        let py = args.py();
        let protocol = protocol_of(object);
        let pump = pump(protocol);
        if pump.with(py, |state| std::mem::replace(&mut state.input.paused, false))? {
            let resume = protocol.getattr(&imports(py).names._resume)?;
            call_soon(pump.owner.bind(py), &resume, &[], context::copy_current(py)?)?;
        }
        none(args)
    }

    SetProtocol c"set_protocol" c"set_protocol($self, protocol)\n--\n\nHands everything that happens from now on to another protocol."
    |object, args| {
        let [protocol] = args.bind("set_protocol", ["protocol"], 1)?;
        let protocol = required(protocol);
        let buffered = is_buffered(&protocol)?;
        let kept = protocol.to_owned().unbind();
        let previous = pump(protocol_of(object)).with(args.py(), |state| {
            state.app.buffered = buffered;
            state.app.protocol.replace(kept)
        })?;
        drop(previous);
        none(args)
    }

    GetProtocol c"get_protocol" c"get_protocol($self, /)\n--\n\nThe protocol; None after connection_lost()."
    |object, args| {
        args.expect("get_protocol", 0, 0)?;
        let protocol = pump(protocol_of(object)).app(args.py())?;
        Ok(protocol.unwrap_or_else(|| args.py().None()).into_bound(args.py()))
    }

    GetExtraInfo c"get_extra_info" c"get_extra_info($self, name, default=None)\n--\n\nWhat is known about the connection: 'sslcontext', and after the handshake 'ssl_object', 'peercert', 'cipher', 'compression'; what the transport underneath knows."
    |object, args| {
        let [name, default] = args.bind("get_extra_info", ["name", "default"], 1)?;
        let py = args.py();
        let name = required(name);
        let default = default.map_or_else(|| py.None().into_bound(py), |given| given.to_owned());
        let pump = pump(protocol_of(object));
        if let Some(known) = pump.extra.bind(py).get_item(&*name)? {
            return Ok(known);
        }
        match pump.with(py, |state| state.lower_object(py))? {
            Some(lower) => lower.bind(py).call_method1(&imports(py).names.get_extra_info, (&*name, default)),
            None => Ok(default),
        }
    }

    GetWriteBufferSize c"get_write_buffer_size" c"get_write_buffer_size($self, /)\n--\n\nBytes that were written and not handed to the transport underneath."
    |object, args| {
        args.expect("get_write_buffer_size", 0, 0)?;
        let py = args.py();
        let pump = pump(protocol_of(object));
        let size = pump.with(py, |state| state.output.backlog.len())? + pump.session.outgoing_size(py)?;
        Ok(size.into_pyobject(py)?.into_any())
    }

    GetWriteBufferLimits c"get_write_buffer_limits" c"get_write_buffer_limits($self, /)\n--\n\nThe marks as (low, high), in bytes."
    |object, args| {
        args.expect("get_write_buffer_limits", 0, 0)?;
        let limits = pump(protocol_of(object)).with(args.py(), |state| state.output.flow.limits())?;
        Ok(limits.into_pyobject(args.py())?.into_any())
    }

    SetWriteBufferLimits c"set_write_buffer_limits" c"set_write_buffer_limits($self, high=None, low=None)\n--\n\nSets the marks in bytes: pause_writing() above high, resume_writing() at low or below.\n\nRaises ValueError unless high >= low >= 0."
    |object, args| {
        let (high, low) = limits(args, "set_write_buffer_limits", 512)?;
        let protocol = protocol_of(object);
        let pump = pump(protocol);
        pump.with(args.py(), |state| state.output.flow.set_limits(Some(high), Some(low)))?
            .expect("flow_limits() has compared them");
        write::control_app(protocol, pump)?;
        none(args)
    }

    GetReadBufferSize c"get_read_buffer_size" c"get_read_buffer_size($self, /)\n--\n\nBytes of records that have arrived and are not decrypted."
    |object, args| {
        args.expect("get_read_buffer_size", 0, 0)?;
        let size = pump(protocol_of(object)).session.incoming_size(args.py())?;
        Ok(size.into_pyobject(args.py())?.into_any())
    }

    GetReadBufferLimits c"get_read_buffer_limits" c"get_read_buffer_limits($self, /)\n--\n\nThe marks of set_read_buffer_limits() as (low, high), in bytes."
    |object, args| {
        args.expect("get_read_buffer_limits", 0, 0)?;
        let limits = pump(protocol_of(object)).with(args.py(), |state| (state.input.low, state.input.high))?;
        Ok(limits.into_pyobject(args.py())?.into_any())
    }

    SetReadBufferLimits c"set_read_buffer_limits" c"set_read_buffer_limits($self, high=None, low=None)\n--\n\nSets the marks in bytes: while reading is paused, the transport underneath is paused from high on, and resumed at low.\n\nRaises ValueError unless high >= low >= 0."
    |object, args| {
        let (high, low) = limits(args, "set_read_buffer_limits", 256)?;
        let protocol = protocol_of(object);
        let pump = pump(protocol);
        pump.with(args.py(), |state| (state.input.high, state.input.low) = (high, low))?;
        read::control_lower(protocol, pump)?;
        none(args)
    }

    AppendBacklog c"_test__append_write_backlog" c"_test__append_write_backlog($self, data)\n--\n\nWrites without encrypting yet: CPython's own tests fill the backlog so."
    |object, args| {
        let [data] = args.bind("_test__append_write_backlog", ["data"], 1)?;
        if let Some(chunk) = write::chunk(&required(data))? {
            pump(protocol_of(object)).with(args.py(), |state| state.output.backlog.push(chunk))?;
        }
        none(args)
    }
}

/// What `writelines` is to write.
fn lines_of(lines: &Bound<'_, PyAny>) -> PyResult<Vec<crate::py::bytes::Chunk>> {
    let mut chunks = Vec::new();
    for item in lines.try_iter()? {
        let item = item?;
        let chunk = write::chunk(&item).map_err(|error| {
            if !error.is_instance_of::<PyTypeError>(item.py()) {
                return error;
            }
            let kind = item
                .get_type()
                .name()
                .map_or_else(|_| "?".to_owned(), |name| name.to_string());
            PyTypeError::new_err(format!("a bytes-like object is required, not '{kind}'"))
        })?;
        chunks.extend(chunk);
    }
    Ok(chunks)
}

/// Water marks as (high, low); what is not given follows from the other, or from the default in kibibytes.
fn limits(args: Args<'_, '_>, method: &str, default: usize) -> PyResult<(usize, usize)> {
    let [high, low] = args.bind(method, ["high", "low"], 0)?;
    let limits = imports(args.py())
        .flow_limits
        .call1(args.py(), (high.as_deref(), low.as_deref(), default))?;
    limits.extract(args.py())
}

/// The loop, as asyncio's transports have it.
struct TheLoop;
impl Getter for TheLoop {
    const NAME: &'static CStr = c"_loop";
    fn get<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let protocol = protocol_of(object);
        Ok(pump(protocol).owner.bind(object.py()).clone().into_any())
    }
}

/// The protocol object, under asyncio's name.
struct TheProtocol;
impl Getter for TheProtocol {
    const NAME: &'static CStr = c"_ssl_protocol";
    fn get<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        Ok(protocol_of(object).clone())
    }
}

/// What `get_extra_info` knows of TLS, under asyncio's name.
struct Extra;
impl Getter for Extra {
    const NAME: &'static CStr = c"_extra";
    fn get<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        Ok(pump(protocol_of(object))
            .extra
            .bind(object.py())
            .clone()
            .into_any())
    }
}

/// Whether the application's protocol was told to pause, which asyncio's `sendfile` asks.
struct ProtocolPaused;
impl Getter for ProtocolPaused {
    const NAME: &'static CStr = c"_protocol_paused";
    fn get<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let paused = pump(protocol_of(object)).with(object.py(), |state| {
            // Once everything is lost nobody will be resumed.
            state.output.flow.is_paused() && state.phase != Phase::Unwrapped
        })?;
        Ok(pyo3::types::PyBool::new(object.py(), paused)
            .to_owned()
            .into_any())
    }
}

const TITLE: Title = Title {
    name: c"pyloop.SSLTransport",
    doc: c"A TLS connection over another transport; an `asyncio.Transport`.\n\
        \n\
        Data written in one callback share records, and over a stream transport a system call. Only the loop's thread may\n\
        use a transport. Programs get theirs from `create_connection(ssl=...)`, `create_server(ssl=...)` and `start_tls()`.",
};

/// Makes the transport type over asyncio's flow-controlled transport and adds it to the module.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let base = py
        .import("asyncio.transports")?
        .getattr("_FlowControlMixin")?
        .cast_into::<PyType>()?;
    let getters = vec![
        getter::<TheLoop>(),
        getter::<TheProtocol>(),
        getter::<Extra>(),
        getter::<ProtocolPaused>(),
    ];
    let kind: PayloadType<Face> = PayloadType::build(py, TITLE, &base, table(), getters)?;
    let object = kind.object(py);
    object.setattr("_start_tls_compatible", true)?;
    let fallback = py
        .import("asyncio.constants")?
        .getattr("_SendfileMode")?
        .getattr("FALLBACK")?;
    object.setattr("_sendfile_compatible", fallback)?;
    module.add("SSLTransport", object)?;
    set_transport_kind(py, kind);
    Ok(())
}
