//! The Python methods of a datagram transport.

use std::ffi::CStr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};

use super::super::close::log_debug_of;
use super::super::flow::set_marks;
use super::super::methods::{boolean, methods, none, required};
use super::begin::start;
use super::state::{datagram, set_kind};
use super::{end, receive, send};
use crate::py::fastcall::{Getter, define, getter};
use crate::py::heap_type::Title;
use crate::py::payload::PayloadType;

methods! {
    SendTo c"sendto" c"sendto($self, data, addr=None)\n--\n\nSends a datagram (bytes, bytearray or memoryview) to an address, or to the endpoint's own; never blocks.\n\nDatagrams of one callback leave together after it; the first answer inside of datagram_received leaves at once. Raises TypeError for other data, ValueError for another address than that of a connected endpoint."
    |object, args| {
        let [data, to] = args.bind("sendto", ["data", "addr"], 1)?;
        send::sendto(object, &required(data), to.as_deref())?;
        none(args)
    }

    Close c"close" c"close($self, /)\n--\n\nStops receiving, sends what waits, then calls connection_lost(None)."
    |object, args| {
        args.expect("close", 0, 0)?;
        end::close(object)?;
        none(args)
    }

    Abort c"abort" c"abort($self, /)\n--\n\nCloses at once; what is not sent is lost."
    |object, args| {
        args.expect("abort", 0, 0)?;
        end::abort(object)?;
        none(args)
    }

    IsClosing c"is_closing" c"is_closing($self, /)\n--\n\nWhether the transport is closing or closed."
    |object, args| {
        args.expect("is_closing", 0, 0)?;
        let closing = datagram(object).with(args.py(), |state| state.ending.closing)?;
        boolean(args, closing)
    }

    IsReading c"is_reading" c"is_reading($self, /)\n--\n\nWhether the protocol may be handed datagrams."
    |object, args| {
        args.expect("is_reading", 0, 0)?;
        let reading = datagram(object)
            .with(args.py(), |state| !state.ending.closing && !state.input.paused)?;
        boolean(args, reading)
    }

    PauseReading c"pause_reading" c"pause_reading($self, /)\n--\n\nHands the protocol no datagram until resume_reading(). Does nothing if paused or closing."
    |object, args| {
        args.expect("pause_reading", 0, 0)?;
        let this = datagram(object);
        let change = this.with(args.py(), |state| {
            let change = !state.ending.closing && !state.input.paused;
            state.input.paused |= change;
            change
        })?;
        if change {
            this.update_interest(object)?;
            log_debug_of(this.owner.get(), object, "pauses reading")?;
        }
        none(args)
    }

    ResumeReading c"resume_reading" c"resume_reading($self, /)\n--\n\nEnds pause_reading(). Does nothing if not paused or closing."
    |object, args| {
        args.expect("resume_reading", 0, 0)?;
        let this = datagram(object);
        let (change, held) = this.with(args.py(), |state| {
            let change = !state.ending.closing && state.input.paused;
            state.input.paused &= !change;
            (change, !state.input.held.is_empty())
        })?;
        if change {
            if held {
                this.call_soon(object, "_deliver", &[])?;
            }
            this.update_interest(object)?;
            log_debug_of(this.owner.get(), object, "resumes reading")?;
        }
        none(args)
    }

    SetProtocol c"set_protocol" c"set_protocol($self, protocol)\n--\n\nHands everything that happens from now on to another protocol."
    |object, args| {
        let [protocol] = args.bind("set_protocol", ["protocol"], 1)?;
        let kept = required(protocol).to_owned().unbind();
        let previous = datagram(object).with(args.py(), |state| state.protocol.replace(kept))?;
        drop(previous);
        none(args)
    }

    GetProtocol c"get_protocol" c"get_protocol($self, /)\n--\n\nThe protocol; None after connection_lost()."
    |object, args| {
        args.expect("get_protocol", 0, 0)?;
        let protocol = datagram(object).protocol(args.py())?;
        Ok(protocol.unwrap_or_else(|| args.py().None().into_bound(args.py())))
    }

    GetExtraInfo c"get_extra_info" c"get_extra_info($self, name, default=None)\n--\n\nWhat is known about the endpoint: 'socket', 'sockname', 'peername'; default for anything else."
    |object, args| {
        let [name, default] = args.bind("get_extra_info", ["name", "default"], 1)?;
        match extra(object)?.get_item(required(name))? {
            Some(value) => Ok(value),
            None => Ok(default.map_or_else(|| args.py().None().into_bound(args.py()), |given| given.to_owned())),
        }
    }

    GetWriteBufferSize c"get_write_buffer_size" c"get_write_buffer_size($self, /)\n--\n\nBytes of the datagrams that were not sent yet; from Python 3.13 on with 8 for each datagram."
    |object, args| {
        args.expect("get_write_buffer_size", 0, 0)?;
        let size = datagram(object).with(args.py(), |state| state.output.queue.bytes())?;
        Ok(size.into_pyobject(args.py())?.into_any())
    }

    GetWriteBufferLimits c"get_write_buffer_limits" c"get_write_buffer_limits($self, /)\n--\n\nThe marks as (low, high), in bytes."
    |object, args| {
        args.expect("get_write_buffer_limits", 0, 0)?;
        let limits = datagram(object).with(args.py(), |state| state.output.flow.limits())?;
        Ok(limits.into_pyobject(args.py())?.into_any())
    }

    SetWriteBufferLimits c"set_write_buffer_limits" c"set_write_buffer_limits($self, high=None, low=None)\n--\n\nSets the marks in bytes: pause_writing() above high, resume_writing() at low or below.\n\nRaises ValueError unless high >= low >= 0."
    |object, args| {
        let [high, low] = args.bind("set_write_buffer_limits", ["high", "low"], 0)?;
        let this = datagram(object);
        set_marks(high.as_deref(), low.as_deref(), |high, low| {
            this.with(args.py(), |state| state.output.flow.set_limits(high, low))
        })?;
        send::after_growth(object, this)?;
        none(args)
    }

    CallConnectionLost c"_call_connection_lost" c"_call_connection_lost($self, exc, /)\n--\n\nThe end of the transport; scheduled by it."
    |object, args| {
        let [exc] = args.bind("_call_connection_lost", ["exc"], 1)?;
        end::connection_lost(object, &required(exc))?;
        none(args)
    }

    Start c"_start" c"_start($self, waiter=None, /)\n--\n\nThe beginning of the transport; scheduled when it is made."
    |object, args| {
        let [waiter] = args.bind("_start", ["waiter"], 0)?;
        start(object, waiter.as_deref())?;
        none(args)
    }

    Deliver c"_deliver" c"_deliver($self, /)\n--\n\nDelivers datagrams that were received before reading paused; scheduled by the transport."
    |object, args| {
        args.expect("_deliver", 0, 0)?;
        receive::deliver_held(object)?;
        none(args)
    }

    Flush c"_flush" c"_flush($self, /)\n--\n\nSends what waits, before a socket option changes how it would be sent."
    |object, args| {
        args.expect("_flush", 0, 0)?;
        send::flush(object)?;
        none(args)
    }
}

/// The dictionary behind `get_extra_info`.
fn extra<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    let py = object.py();
    let known = datagram(object).with(py, |state| {
        state.extra.as_ref().map(|extra| extra.bind(py).clone())
    })?;
    // The garbage collector alone takes it away.
    Ok(known.unwrap_or_else(|| PyDict::new(py)))
}

/// The loop, as asyncio's transports have it.
struct TheLoop;
impl Getter for TheLoop {
    const NAME: &'static CStr = c"_loop";
    fn get<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        Ok(datagram(object).owner.bind(object.py()).clone().into_any())
    }
}

/// The dictionary that asyncio keeps in its slot of this name.
struct Extra;
impl Getter for Extra {
    const NAME: &'static CStr = c"_extra";
    fn get<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        Ok(extra(object)?.into_any())
    }
}

/// The socket object, under the name that programs find it by in asyncio's transports; None once it is closed.
struct Sock;
impl Getter for Sock {
    const NAME: &'static CStr = c"_sock";
    fn get<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = object.py();
        let sock = datagram(object).sock(py)?;
        Ok(sock.unwrap_or_else(|| py.None().into_bound(py)))
    }
}

const TITLE: Title = Title {
    name: c"pyloop.DatagramTransport",
    doc: c"An endpoint for datagrams, such as UDP; an `asyncio.DatagramTransport`.\n\
        \n\
        Datagrams sent in one callback leave together after it; a first answer inside of `datagram_received` leaves at\n\
        once. Only the loop's thread may use a transport. Programs get theirs from `create_datagram_endpoint()`.",
};

/// Makes the transport type and adds it to the module.
///
/// asyncio's datagram transports are instances of `Transport`, too, and programs have come to test for that.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let transports = py.import("asyncio.transports")?;
    let bases = PyTuple::new(
        py,
        [
            transports.getattr("Transport")?,
            transports.getattr("DatagramTransport")?,
        ],
    )?;
    let body = PyDict::new(py);
    body.set_item("__slots__", PyTuple::empty(py))?;
    body.set_item("__module__", "pyloop")?;
    let base = py
        .get_type::<PyType>()
        .call1(("BaseDatagramTransport", bases, body))?
        .cast_into::<PyType>()?;
    let getters = vec![getter::<TheLoop>(), getter::<Extra>(), getter::<Sock>()];
    let kind = PayloadType::build(py, TITLE, &base, table(), getters)?;
    module.add("DatagramTransport", kind.object(py))?;
    set_kind(py, kind);
    Ok(())
}
