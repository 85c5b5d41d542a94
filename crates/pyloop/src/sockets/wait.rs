//! Futures for a socket's readiness, which the loop resolves without a callback in between.

use std::ffi::CStr;

use pyo3::prelude::*;

use crate::core::LoopCore;
use crate::core::watch::{self, Direction, descriptor, ensure_no_transport};
use crate::py::fastcall::{Args, Method};
use crate::py::heap_type::own_instance;

fn when<'py>(
    slf: &Bound<'py, PyAny>,
    method: &str,
    args: &Args<'_, 'py>,
    direction: Direction,
) -> PyResult<Bound<'py, PyAny>> {
    let [fd] = args.bind(method, ["fd"], 1)?;
    let fd = fd.expect("bind refuses calls without it");
    let owner: &Bound<'py, LoopCore> = own_instance(slf);
    let number = descriptor(&fd)?;
    ensure_no_transport(owner, &fd, number)?;
    watch::once(owner, number, direction)
}

pub(super) struct WhenReadable;
impl Method for WhenReadable {
    const NAME: &'static CStr = c"_when_readable";
    const DOC: &'static CStr =
        c"_when_readable($self, fd, /)\n--\n\nA future that is resolved when fd can be read.";
    fn call<'py>(
        slf: Borrowed<'_, 'py, PyAny>,
        args: Args<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        when(&slf, "_when_readable", &args, Direction::Read)
    }
}

pub(super) struct WhenWritable;
impl Method for WhenWritable {
    const NAME: &'static CStr = c"_when_writable";
    const DOC: &'static CStr =
        c"_when_writable($self, fd, /)\n--\n\nA future that is resolved when fd can be written.";
    fn call<'py>(
        slf: Borrowed<'_, 'py, PyAny>,
        args: Args<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        when(&slf, "_when_writable", &args, Direction::Write)
    }
}

pub(super) struct Forget;
impl Method for Forget {
    const NAME: &'static CStr = c"_forget_wait";
    const DOC: &'static CStr = c"_forget_wait($self, fd, future, /)\n--\n\nStops watching fd for a future of _when_readable or _when_writable.";
    fn call<'py>(
        slf: Borrowed<'_, 'py, PyAny>,
        args: Args<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let [fd, future] = args.bind("_forget_wait", ["fd", "future"], 2)?;
        let fd = fd.expect("bind refuses calls without it").extract()?;
        let future = future.expect("bind refuses calls without it");
        let owner: &Bound<'py, LoopCore> = own_instance(&slf);
        watch::forget(owner, fd, &future)?;
        Ok(args.py().None().into_bound(args.py()))
    }
}
