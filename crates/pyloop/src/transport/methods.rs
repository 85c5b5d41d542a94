//! The Python methods of a stream transport.

use std::ffi::CStr;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::stream::{Delivery, set_kind, stream};
use super::{close, flow, flush, info, write};
use crate::py::fastcall::{Args, Getter, define, getter};
use crate::py::heap_type::Title;
use crate::py::payload::PayloadType;

macro_rules! methods {
    ($($kind:ident $name:literal $doc:literal |$object:ident, $args:ident| $body:block)*) => {
        $(
            $crate::py::fastcall::method!($kind $name, $doc, |$object, $args| $body);
        )*

        fn table() -> Vec<ffi::PyMethodDef> {
            vec![$(define::<$kind>()),*]
        }
    };
}
pub(crate) use methods;

pub(crate) fn none<'py>(args: Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    Ok(args.py().None().into_bound(args.py()))
}

pub(crate) fn boolean<'py>(args: Args<'_, 'py>, value: bool) -> PyResult<Bound<'py, PyAny>> {
    Ok(pyo3::types::PyBool::new(args.py(), value)
        .to_owned()
        .into_any())
}

methods! {
    Write c"write" c"write($self, data)\n--\n\nSends data (bytes, bytearray or memoryview), in order with all other writes; never blocks.\n\nWrites of one callback leave in one system call. Raises TypeError for other types, RuntimeError after write_eof()."
    |object, args| {
        let [data] = args.bind("write", ["data"], 1)?;
        write::write(object, &required(data))?;
        none(args)
    }

    Writelines c"writelines" c"writelines($self, list_of_data)\n--\n\nWrites every item of an iterable of bytes-like objects; none if one of them is not."
    |object, args| {
        let [lines] = args.bind("writelines", ["list_of_data"], 1)?;
        write::writelines(object, &required(lines))?;
        none(args)
    }

    WriteEof c"write_eof" c"write_eof($self, /)\n--\n\nCloses the sending half after what was written; receiving goes on."
    |object, args| {
        args.expect("write_eof", 0, 0)?;
        write::write_eof(object)?;
        none(args)
    }

    CanWriteEof c"can_write_eof" c"can_write_eof($self, /)\n--\n\nTrue: stream sockets can be half closed."
    |_object, args| {
        args.expect("can_write_eof", 0, 0)?;
        boolean(args, true)
    }

    Close c"close" c"close($self, /)\n--\n\nStops reading, sends what was written, then calls connection_lost(None)."
    |object, args| {
        args.expect("close", 0, 0)?;
        close::close(object)?;
        none(args)
    }

    Abort c"abort" c"abort($self, /)\n--\n\nCloses at once; what is not sent is lost."
    |object, args| {
        args.expect("abort", 0, 0)?;
        close::abort(object)?;
        none(args)
    }

    ForceClose c"_force_close" c"_force_close($self, exc)\n--\n\nCloses at once with connection_lost(exc); for asyncio's TLS protocol."
    |object, args| {
        let [exc] = args.bind("_force_close", ["exc"], 1)?;
        let error = required(exc);
        let error = if error.is_none() { None } else { Some(PyErr::from_value(error.to_owned())) };
        close::force_close(object, error)?;
        none(args)
    }

    IsClosing c"is_closing" c"is_closing($self, /)\n--\n\nWhether the transport is closing or closed."
    |object, args| {
        args.expect("is_closing", 0, 0)?;
        let closing = stream(object).with(args.py(), |state| state.ending.closing)?;
        boolean(args, closing)
    }

    IsReading c"is_reading" c"is_reading($self, /)\n--\n\nWhether the protocol may be handed data."
    |object, args| {
        args.expect("is_reading", 0, 0)?;
        let reading = stream(object)
            .with(args.py(), |state| !state.ending.closing && !state.input.paused)?;
        boolean(args, reading)
    }

    PauseReading c"pause_reading" c"pause_reading($self, /)\n--\n\nHands the protocol no data until resume_reading(). Does nothing if paused or closing."
    |object, args| {
        args.expect("pause_reading", 0, 0)?;
        let stream = stream(object);
        let change = stream.with(args.py(), |state| {
            let change = !state.ending.closing && !state.input.paused;
            state.input.paused |= change;
            change
        })?;
        if change {
            stream.update_interest(object)?;
            close::log_debug(object, "pauses reading")?;
        }
        none(args)
    }

    ResumeReading c"resume_reading" c"resume_reading($self, /)\n--\n\nEnds pause_reading(). Does nothing if not paused or closing."
    |object, args| {
        args.expect("resume_reading", 0, 0)?;
        let stream = stream(object);
        let change = stream.with(args.py(), |state| {
            let change = !state.ending.closing && state.input.paused;
            state.input.paused &= !change;
            change
        })?;
        if change {
            stream.update_interest(object)?;
            close::log_debug(object, "resumes reading")?;
        }
        none(args)
    }

    SetProtocol c"set_protocol" c"set_protocol($self, protocol)\n--\n\nHands everything that happens from now on to another protocol."
    |object, args| {
        let [protocol] = args.bind("set_protocol", ["protocol"], 1)?;
        let protocol = required(protocol);
        let stream = stream(object);
        let delivery = Delivery::to(&protocol, stream.medium)?;
        let kept = protocol.to_owned().unbind();
        let previous = stream.with(args.py(), |state| {
            state.input.delivery = delivery;
            state.protocol.replace(kept)
        })?;
        drop(previous);
        none(args)
    }

    GetProtocol c"get_protocol" c"get_protocol($self, /)\n--\n\nThe protocol; None after connection_lost()."
    |object, args| {
        args.expect("get_protocol", 0, 0)?;
        let protocol = stream(object).protocol(args.py())?;
        Ok(protocol.unwrap_or_else(|| args.py().None()).into_bound(args.py()))
    }

    GetExtraInfo c"get_extra_info" c"get_extra_info($self, name, default=None)\n--\n\nWhat is known about the connection: 'socket', 'sockname', 'peername'; default for anything else."
    |object, args| {
        let [name, default] = args.bind("get_extra_info", ["name", "default"], 1)?;
        let default = default.map_or_else(|| args.py().None().into_bound(args.py()), |given| given.to_owned());
        info::get_extra_info(object, &required(name), &default)
    }

    GetWriteBufferSize c"get_write_buffer_size" c"get_write_buffer_size($self, /)\n--\n\nBytes that were written and not sent yet."
    |object, args| {
        args.expect("get_write_buffer_size", 0, 0)?;
        let size = stream(object).with(args.py(), |state| state.output.buffer.len())?;
        Ok(size.into_pyobject(args.py())?.into_any())
    }

    GetWriteBufferLimits c"get_write_buffer_limits" c"get_write_buffer_limits($self, /)\n--\n\nThe marks as (low, high), in bytes."
    |object, args| {
        args.expect("get_write_buffer_limits", 0, 0)?;
        let limits = stream(object).with(args.py(), |state| state.output.flow.limits())?;
        Ok(limits.into_pyobject(args.py())?.into_any())
    }

    SetWriteBufferLimits c"set_write_buffer_limits" c"set_write_buffer_limits($self, high=None, low=None)\n--\n\nSets the marks in bytes: pause_writing() above high, resume_writing() at low or below.\n\nRaises ValueError unless high >= low >= 0."
    |object, args| {
        let [high, low] = args.bind("set_write_buffer_limits", ["high", "low"], 0)?;
        flow::set_limits(object, high.as_deref(), low.as_deref())?;
        none(args)
    }

    CallConnectionLost c"_call_connection_lost" c"_call_connection_lost($self, exc)\n--\n\nThe end of the transport; scheduled by it."
    |object, args| {
        let [exc] = args.bind("_call_connection_lost", ["exc"], 1)?;
        close::connection_lost(object, &required(exc))?;
        none(args)
    }

    Start c"_start" c"_start($self, waiter=None)\n--\n\nThe beginning of the transport; scheduled when it is made."
    |object, args| {
        let [waiter] = args.bind("_start", ["waiter"], 0)?;
        super::begin::start(object, waiter.as_deref())?;
        none(args)
    }

    MakeEmptyWaiter c"_make_empty_waiter" c"_make_empty_waiter($self, /)\n--\n\nA future for the moment when everything is sent; writing is refused until it is reset."
    |object, args| {
        args.expect("_make_empty_waiter", 0, 0)?;
        let py = args.py();
        let stream = stream(object);
        if stream.with(py, |state| state.output.empty_waiter.is_some())? {
            return Err(PyRuntimeError::new_err("Empty waiter is already set"));
        }
        if !stream.with(py, |state| state.output.blocked)? {
            flush::send(object, stream)?;
        }
        let waiter = stream.owner.bind(py).call_method0("create_future")?;
        let kept = waiter.clone().unbind();
        let empty = stream.with(py, |state| {
            state.output.empty_waiter = Some(kept);
            state.output.buffer.is_empty()
        })?;
        if empty {
            waiter.call_method1("set_result", (py.None(),))?;
        }
        Ok(waiter)
    }

    WhenWritable c"_when_writable" c"_when_writable($self, /)\n--\n\nA future for the moment when the socket has room; for sendfile, between _make_empty_waiter() and _reset_empty_waiter()."
    |object, args| {
        args.expect("_when_writable", 0, 0)?;
        write::when_writable(object)
    }

    ResetEmptyWaiter c"_reset_empty_waiter" c"_reset_empty_waiter($self, /)\n--\n\nAllows writing again."
    |object, args| {
        args.expect("_reset_empty_waiter", 0, 0)?;
        let dropped = stream(object).with(args.py(), |state| state.output.empty_waiter.take())?;
        drop(dropped);
        none(args)
    }
}

/// The methods of a pipe's reading end.
pub(super) fn reader_table() -> Vec<ffi::PyMethodDef> {
    let mut table = pipe_table();
    table.extend([
        define::<IsReading>(),
        define::<PauseReading>(),
        define::<ResumeReading>(),
    ]);
    table
}

/// The methods of a pipe's writing end.
pub(super) fn writer_table() -> Vec<ffi::PyMethodDef> {
    let mut table = pipe_table();
    table.extend([
        define::<Write>(),
        define::<WriteEof>(),
        define::<CanWriteEof>(),
        define::<Abort>(),
        define::<GetWriteBufferSize>(),
        define::<GetWriteBufferLimits>(),
        define::<SetWriteBufferLimits>(),
    ]);
    table
}

/// What both ends of a pipe have.
fn pipe_table() -> Vec<ffi::PyMethodDef> {
    vec![
        define::<Close>(),
        define::<IsClosing>(),
        define::<SetProtocol>(),
        define::<GetProtocol>(),
        define::<GetExtraInfo>(),
        define::<CallConnectionLost>(),
        define::<Start>(),
    ]
}

/// A parameter that `Args::bind` has seen to.
pub(crate) fn required<'a, 'py>(
    argument: Option<Borrowed<'a, 'py, PyAny>>,
) -> Borrowed<'a, 'py, PyAny> {
    argument.expect("bind refuses calls without it")
}

/// The loop, as asyncio's transports have it.
pub(super) struct TheLoop;
impl Getter for TheLoop {
    const NAME: &'static CStr = c"_loop";
    fn get<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        Ok(stream(object).owner.bind(object.py()).clone().into_any())
    }
}

/// The dictionary that asyncio keeps in its slot of this name.
pub(super) struct Extra;
impl Getter for Extra {
    const NAME: &'static CStr = c"_extra";
    fn get<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        Ok(info::extra(object, stream(object))?.into_any())
    }
}

/// Whether the protocol was told to pause; asyncio's fallback of `sendfile` reads it.
struct ProtocolPaused;
impl Getter for ProtocolPaused {
    const NAME: &'static CStr = c"_protocol_paused";
    fn get<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = object.py();
        let paused = stream(object).with(py, |state| state.output.flow.is_paused())?;
        Ok(pyo3::types::PyBool::new(py, paused).to_owned().into_any())
    }
}

const TITLE: Title = Title {
    name: c"pyloop.StreamTransport",
    doc: c"A connection over a TCP or Unix socket; an `asyncio.Transport`.\n\
        \n\
        Data written in one callback leaves in one system call after it. Only the loop's thread may use a transport.\n\
        Programs get theirs from `create_connection()`, `create_server()` and the like.",
};

/// Makes the transport type and adds it to the module.
///
/// Its base is the `asyncio.Transport` that asyncio's own transports with flow control derive from: the fallback of
/// `sendfile` takes no other.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let base = py
        .import("asyncio.transports")?
        .getattr("_FlowControlMixin")?
        .cast_into::<PyType>()?;
    let getters = vec![
        getter::<TheLoop>(),
        getter::<Extra>(),
        getter::<ProtocolPaused>(),
    ];
    let kind = PayloadType::build(py, TITLE, &base, table(), getters)?;
    super::pipe::register(module, &kind)?;
    let object = kind.object(py);
    object.setattr("_start_tls_compatible", true)?;
    let modes = py.import("asyncio.constants")?.getattr("_SendfileMode")?;
    object.setattr("_sendfile_compatible", modes.getattr("TRY_NATIVE")?)?;
    module.add("StreamTransport", object)?;
    set_kind(py, kind);
    Ok(())
}
