//! `call_soon`, `call_soon_threadsafe`, `call_later`, `call_at`.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyString, PyType};

use super::state::LoopCore;
use super::tasks::{CreateFuture, CreateTask};
use crate::clock;
use crate::py::context;
use crate::py::fastcall::{Args, define, method};
use crate::py::handle::{Handle, Parts};
use crate::py::heap_type::add_methods;
use crate::py::imports::imports;
use crate::py::timer::TimerRef;

/// Adds the fast methods to `LoopCore`.
pub(crate) fn register(kind: &Bound<'_, PyType>) -> PyResult<()> {
    add_methods(
        kind,
        vec![
            define::<CallSoon>(),
            define::<CallSoonThreadsafe>(),
            define::<CallLater>(),
            define::<CallAt>(),
            define::<Time>(),
            define::<CreateFuture>(),
            define::<CreateTask>(),
        ],
    )
}

/// Adds the fast methods to a class derived from `LoopCore`, too.
///
/// From 3.12 on the interpreter calls a method of a native type straight from the bytecode, without looking its type check
/// up, if the instance is of the very class that the method was made for.
///
/// # Errors
/// `TypeError` for a class that is not derived from `LoopCore`.
#[pyfunction(name = "_add_fast_methods")]
pub(crate) fn add_fast_methods(kind: &Bound<'_, PyType>) -> PyResult<()> {
    if !kind.is_subclass_of::<LoopCore>()? {
        return Err(PyTypeError::new_err(format!(
            "{} is not derived from LoopCore",
            kind.name()?
        )));
    }
    register(kind)
}

/// The loop that a method was called on.
#[inline]
pub(super) fn core<'a, 'py>(slf: &'a Bound<'py, PyAny>) -> &'a Bound<'py, LoopCore> {
    // The interpreter checks `self` of a method descriptor against the type that owns it.
    crate::py::heap_type::own_instance(slf)
}

/// What a scheduling method was called with, besides its times.
struct Call<'a, 'py> {
    callback: Borrowed<'a, 'py, PyAny>,
    arguments: &'a [*mut ffi::PyObject],
    /// The context that was given; `None` captures the current one.
    context: Option<Borrowed<'a, 'py, PyAny>>,
}

impl<'a, 'py> Call<'a, 'py> {
    /// Reads the callback and what follows it, and the keywords; `time` names a parameter that comes before.
    #[inline(always)] // Four callers, each of which then knows `time` and keeps the parts in registers.
    fn read(method: &str, args: &Args<'a, 'py>, time: Option<&str>) -> PyResult<Self> {
        let first = usize::from(time.is_some());
        if args.keyword_count() > 0 {
            return Self::read_keywords(method, args, time);
        }
        let callback = args.get(first).ok_or_else(|| missing(method, "callback"))?;
        Ok(Self {
            callback,
            arguments: args.rest(first + 1),
            context: None,
        })
    }

    fn read_keywords(method: &str, args: &Args<'a, 'py>, time: Option<&str>) -> PyResult<Self> {
        let first = usize::from(time.is_some());
        let mut callback = args.get(first);
        let mut context = None;
        for index in 0..args.keyword_count() {
            let (name, value) = args.keyword(index);
            // By their text: the name that CPython's own Task passes is not interned.
            let text = name.cast::<PyString>()?;
            let text = text.to_str()?;
            // All but `context` stand for positions, as in a Python signature.
            let position = match text {
                "context" => {
                    context = Some(value);
                    continue;
                }
                "callback" => first,
                given if time == Some(given) => 0,
                other => return Err(unexpected(method, "an unexpected keyword", other)),
            };
            if args.get(position).is_some() {
                return Err(unexpected(method, "multiple values for", text));
            }
            if position == first {
                callback = Some(value);
            }
        }
        let context = context.filter(|given| !given.is_none());
        if let Some(given) = &context {
            context::check(given)?;
        }
        let callback = callback.ok_or_else(|| missing(method, "callback"))?;
        Ok(Self {
            callback,
            arguments: args.rest(first + 1),
            context,
        })
    }

    /// What a handle for this call is made of.
    #[inline(always)] // As `read`.
    fn parts<'b>(
        &'b self,
        object: &'b Bound<'py, LoopCore>,
        traceback: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Parts<'b, 'py>> {
        let core = object.get();
        let (context, shared) = match self.context {
            Some(given) => (given.to_owned(), false),
            None => match core.owner.access(object.py()) {
                Some(access) => context::capture(object.py(), &access, &core.snapshots)?,
                None => (context::copy_current(object.py())?, false),
            },
        };
        Ok(Parts {
            callback: &self.callback,
            arguments: self.arguments,
            context,
            shared,
            owner: object.as_any(),
            traceback,
            persistent: false,
        })
    }
}

/// What debug mode asks of a callback; the traceback of the caller.
#[cold]
fn debug_checks<'py>(
    object: &Bound<'py, LoopCore>,
    method: &str,
    callback: &Bound<'py, PyAny>,
    same_thread: bool,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let core = object.get();
    core.check_open()?;
    if !core.is_debug() {
        return Ok(None);
    }
    let py = object.py();
    if same_thread {
        check_thread(core)?;
    }
    imports(py).check_callback.call1(py, (callback, method))?;
    Ok(Some(
        imports(py).creation_traceback.call0(py)?.into_bound(py),
    ))
}

/// # Errors
/// `RuntimeError` if another thread than the caller's runs the loop.
pub(super) fn check_thread(core: &LoopCore) -> PyResult<()> {
    if core.running.load(std::sync::atomic::Ordering::Relaxed) && !core.owner.is_here() {
        return Err(super::state::wrong_thread());
    }
    Ok(())
}

#[cold]
fn unexpected(method: &str, what: &str, name: &str) -> PyErr {
    PyTypeError::new_err(format!("{method}() got {what} argument '{name}'"))
}

#[cold]
fn missing(method: &str, what: &str) -> PyErr {
    PyTypeError::new_err(format!("{method}() missing required argument: '{what}'"))
}

/// Makes the handle of a callback that runs as soon as it can.
#[inline(always)] // As `Call::read`.
fn soon_handle<'py>(
    object: &Bound<'py, LoopCore>,
    method: &str,
    args: Args<'_, 'py>,
    same_thread: bool,
) -> PyResult<Handle> {
    let py = args.py();
    let call = Call::read(method, &args, None)?;
    let traceback = if object.get().is_plain() {
        None
    } else {
        debug_checks(object, method, &call.callback, same_thread)?
    };
    Handle::new(py, call.parts(object, traceback)?)
}

/// Schedules `callback(*arguments)` from Rust code, in `context`.
pub(crate) fn call_soon(
    object: &Bound<'_, LoopCore>,
    callback: &Bound<'_, PyAny>,
    arguments: &[*mut ffi::PyObject],
    context: Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = object.py();
    object.get().check_open()?;
    let parts = Parts {
        callback,
        arguments,
        context,
        shared: false,
        owner: object.as_any(),
        traceback: None,
        persistent: false,
    };
    object.get().enqueue(py, Handle::new(py, parts)?)
}

method! {
    CallSoon c"call_soon", c"call_soon($self, callback, *args, context=None)\n--\n\nArranges for callback(*args) to run in the next iteration, after what was scheduled before.",
    |slf, args| {
        let object = core(slf);
        let handle = soon_handle(object, "call_soon", args, true)?;
        let result = handle.clone_ref(args.py()).into_bound(args.py());
        object.get().enqueue(args.py(), handle)?;
        Ok(result)
    }
}

method! {
    CallSoonThreadsafe c"call_soon_threadsafe", c"call_soon_threadsafe($self, callback, *args, context=None)\n--\n\nLike call_soon, from any thread: wakes the loop if it waits for I/O.",
    |slf, args| {
        let object = core(slf);
        let handle = soon_handle(object, "call_soon_threadsafe", args, false)?;
        let result = handle.clone_ref(args.py()).into_bound(args.py());
        let core = object.get();
        if core.owner.is_here() {
            core.enqueue(args.py(), handle)?;
        } else {
            core.send(handle)?;
        }
        Ok(result)
    }
}

/// The delay or deadline, which comes first or by name.
#[inline]
fn time_argument<'a, 'py>(
    method: &str,
    name: &str,
    args: &Args<'a, 'py>,
) -> PyResult<Borrowed<'a, 'py, PyAny>> {
    if let Some(given) = args.get(0) {
        return Ok(given);
    }
    for index in 0..args.keyword_count() {
        let (keyword, value) = args.keyword(index);
        if keyword.eq(name)? {
            return Ok(value);
        }
    }
    Err(missing(method, name))
}

/// A number of seconds.
#[inline]
fn seconds(value: &Bound<'_, PyAny>) -> PyResult<f64> {
    if let Ok(exact) = value.cast_exact::<PyFloat>() {
        return Ok(exact.value());
    }
    value.extract::<f64>()
}

/// Makes a timer of `args` (a deadline or delay called `time`, a callback, its arguments) and puts it into the wheel.
#[inline]
fn add_timer<'py>(
    object: &Bound<'py, LoopCore>,
    method: &str,
    time: &str,
    when: f64,
    args: Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = args.py();
    if when.is_nan() {
        return Err(PyValueError::new_err(format!(
            "{method}(): the time must not be NaN"
        )));
    }
    let call = Call::read(method, &args, Some(time))?;
    let core = object.get();
    let traceback = if core.is_plain() {
        None
    } else {
        debug_checks(object, method, &call.callback, true)?
    };
    let timer = TimerRef::new(py, when, call.parts(object, traceback)?)?;
    let result = timer.bind(py).clone();
    if core.timers.insert(timer) {
        match core.owner.access(py) {
            Some(access) => core.queue.with(&access, |queue| queue.timer_added = true),
            // Not asked for, but harmless: the wheel has its own lock, and a parked loop looks at it anew.
            None => core.wake(),
        }
    }
    Ok(result)
}

method! {
    CallLater c"call_later", c"call_later($self, delay, callback, *args, context=None)\n--\n\nArranges for callback(*args) to run once, at least delay seconds from now.\n\nTimers that are due run in the order of their deadlines, equal ones in the order they were made.\nRaises ValueError if delay is NaN; with infinity the callback never runs.",
    |slf, args| {
        let delay = time_argument("call_later", "delay", &args)?;
        if delay.is_none() {
            return Err(PyTypeError::new_err("delay must not be None"));
        }
        let object = core(slf);
        let when = clock::seconds(object.get().now()) + seconds(&delay)?;
        add_timer(object, "call_later", "delay", when, args)
    }
}

method! {
    CallAt c"call_at", c"call_at($self, when, callback, *args, context=None)\n--\n\nLike call_later, with a deadline on the clock of loop.time() in seconds.",
    |slf, args| {
        let when = time_argument("call_at", "when", &args)?;
        if when.is_none() {
            return Err(PyTypeError::new_err("when cannot be None"));
        }
        add_timer(core(slf), "call_at", "when", seconds(&when)?, args)
    }
}

method! {
    Time c"time", c"time($self, /)\n--\n\nThe loop's clock in seconds: time.monotonic(), unless a test has given it another one.",
    |slf, args| {
        args.expect("time", 0, 0)?;
        let now = core(slf).get().now();
        Ok(PyFloat::new(args.py(), clock::seconds(now)).into_any())
    }
}
