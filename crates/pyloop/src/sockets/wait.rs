//! Futures for a socket's readiness, which the loop resolves without a callback in between.

use pyo3::prelude::*;

use crate::core::LoopCore;
use crate::core::watch::{self, Direction, descriptor, ensure_no_transport};
use crate::py::fastcall::{Args, method};
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

method! {
    pub(super) WhenReadable c"_when_readable", c"_when_readable($self, fd, /)\n--\n\nA future that is resolved when fd can be read.",
    |slf, args| {
        when(slf, "_when_readable", &args, Direction::Read)
    }
}

method! {
    pub(super) WhenWritable c"_when_writable", c"_when_writable($self, fd, /)\n--\n\nA future that is resolved when fd can be written.",
    |slf, args| {
        when(slf, "_when_writable", &args, Direction::Write)
    }
}

method! {
    pub(super) Forget c"_forget_wait", c"_forget_wait($self, fd, future, /)\n--\n\nStops watching fd for a future of _when_readable or _when_writable.",
    |slf, args| {
        let [fd, future] = args.bind("_forget_wait", ["fd", "future"], 2)?;
        let fd = fd.expect("bind refuses calls without it").extract()?;
        let future = future.expect("bind refuses calls without it");
        let owner: &Bound<'py, LoopCore> = own_instance(slf);
        watch::forget(owner, fd, &future)?;
        Ok(args.py().None().into_bound(args.py()))
    }
}
