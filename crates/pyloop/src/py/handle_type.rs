//! The two handle types as Python sees them.

use std::ffi::{CStr, c_void};
use std::ptr::null_mut;

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyFloat, PyType};

use super::fastcall::{Getter, define, getter, method};
use super::handle;
use super::handle_words::{self, RawHandle, RawRef, SLOTS};
use super::heap_type::{self, Blueprint, HeapType, Title, slot};
use super::storage::{self, Spare};
use super::timer::{self, TimerTail};

/// The handle types and what their instances need to know at run time.
pub(super) struct Types {
    pub(super) handle: HandleType,
    pub(super) timer: HandleType,
    /// Marks a handle whose first word is the tuple of its arguments; never seen by Python code.
    pub(super) extended: Py<PyAny>,
}

/// One of the two types, with the memory of its dead instances.
pub(super) struct HandleType {
    pub(super) object: Py<PyType>,
    /// Offset of the tail, and size of an instance, in bytes.
    pub(super) tail: usize,
    pub(super) size: usize,
    pub(super) spare: Spare,
}

impl HandleType {
    fn new(made: HeapType) -> Self {
        Self {
            object: made.object,
            tail: made.tail,
            size: made.size,
            spare: Spare::new(),
        }
    }
}

static TYPES: PyOnceLock<Types> = PyOnceLock::new();

/// The types; [`register`] has made them when the module was imported.
#[inline]
pub(super) fn types(py: Python<'_>) -> &Types {
    TYPES
        .get(py)
        .expect("the module's import makes the handle types before anything can use them")
}

/// A weak-reference list of one's own, where `asyncio.Handle` keeps its list outside of the instance (from 3.12 on, in a
/// header that only garbage-collected objects have).
#[repr(C)]
struct HandleTail {
    weaklist: *mut ffi::PyObject,
}

/// Makes the types and adds them to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let events = py.import("asyncio.events")?;
    let base = events.getattr("Handle")?.cast_into::<PyType>()?;
    let timer_base = events.getattr("TimerHandle")?.cast_into::<PyType>()?;
    check_slots(&base)?;
    let own_weaklist = cfg!(Py_3_12);
    let handle = heap_type::build(
        py,
        Blueprint {
            title: Title {
                name: c"pyloop.Handle",
                doc: c"A callback that was scheduled with `call_soon()`; an `asyncio.Handle`.\n\
                    \n\
                    It lets go of callback and arguments when it has run or was cancelled. Programs make none themselves.",
            },
            base: &base,
            least: 0,
            tail: if own_weaklist {
                size_of::<HandleTail>()
            } else {
                0
            },
            flags: ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION,
            weaklist: own_weaklist.then_some(std::mem::offset_of!(HandleTail, weaklist)),
            dict: None,
            methods: vec![
                define::<Cancel>(),
                define::<Cancelled>(),
                define::<GetContext>(),
            ],
            getset: word_getters(),
            slots: slots(),
        },
    )?;
    let mut timer_getters = word_getters();
    timer_getters.push(getter::<TheWhen>());
    timer_getters.push(getter::<TheScheduled>());
    let timer = heap_type::build(
        py,
        Blueprint {
            title: Title {
                name: c"pyloop.TimerHandle",
                doc: c"A callback that was scheduled with `call_later()` or `call_at()`; an `asyncio.TimerHandle`.\n\
                    \n\
                    Handles order by deadline. A cancelled one gives its memory back without waiting for the deadline.",
            },
            base: &timer_base,
            least: 0,
            tail: size_of::<TimerTail>(),
            flags: ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION,
            weaklist: TimerTail::WEAKLIST,
            dict: None,
            methods: vec![
                define::<CancelTimer>(),
                define::<Cancelled>(),
                define::<GetContext>(),
                define::<When>(),
            ],
            getset: timer_getters,
            slots: slots(),
        },
    )?;
    module.add("Handle", handle.object.bind(py))?;
    module.add("TimerHandle", timer.object.bind(py))?;
    let extended = py.get_type::<pyo3::types::PyAny>().call0()?.unbind();
    let made = Types {
        handle: HandleType::new(handle),
        timer: HandleType::new(timer),
        extended,
    };
    TYPES
        .set(py, made)
        .map_err(|_| PyImportError::new_err("pyloop._pyloop was initialised twice"))
}

/// The layout that `handle_words.rs` relies on, against the running interpreter's.
fn check_slots(base: &Bound<'_, PyType>) -> PyResult<()> {
    for (index, name) in SLOTS.iter().enumerate() {
        let expected = size_of::<ffi::PyObject>() + index * size_of::<*mut c_void>();
        let found = heap_type::slot_offset(base, name)?;
        if found != expected {
            return Err(PyImportError::new_err(format!(
                "asyncio.Handle.{name} lies at offset {found} on this interpreter, not at {expected}: \
                 this build of pyloop does not fit it"
            )));
        }
    }
    Ok(())
}

fn word_getters() -> Vec<ffi::PyGetSetDef> {
    vec![
        getter::<TheCallback>(),
        getter::<TheArguments>(),
        getter::<TheCancelled>(),
        getter::<TheContext>(),
        getter::<TheLoop>(),
        getter::<TheRepr>(),
        getter::<TheTraceback>(),
    ]
}

/// Defining `tp_traverse` keeps the type from inheriting its base's garbage-collector support; it is never called.
fn slots() -> Vec<ffi::PyType_Slot> {
    vec![
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_free, ffi::PyObject_Free as *mut c_void),
    ]
}

unsafe extern "C" fn traverse(
    _object: *mut ffi::PyObject,
    _visit: ffi::visitproc,
    _arg: *mut c_void,
) -> std::ffi::c_int {
    0
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: the interpreter deallocates with an attached thread.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: a live heap type's instance.
    let kind = unsafe { ffi::Py_TYPE(object) };
    // SAFETY: as above.
    let offset = unsafe { (*kind).tp_weaklistoffset };
    debug_assert!(
        offset > 0,
        "every handle type has a weak-reference list inside of its instances"
    );
    // SAFETY: the offset of the instance's weak-reference list.
    let weaklist = unsafe {
        *object
            .cast::<u8>()
            .offset(offset)
            .cast::<*mut ffi::PyObject>()
    };
    if !weaklist.is_null() {
        // SAFETY: the object is being deallocated, as that call demands.
        unsafe { ffi::PyObject_ClearWeakRefs(object) };
    }
    // SAFETY: the only reference is gone, so nobody sees the words any more.
    unsafe { handle_words::empty(RawRef(object.cast::<RawHandle>())) };
    let types = types(py);
    let kind = if kind.cast() == types.handle.object.as_ptr() {
        &types.handle
    } else {
        &types.timer
    };
    // SAFETY: as above; `Handle::build`, the only maker of instances, allocates from the same place.
    unsafe { storage::release(object, &kind.spare) };
}

macro_rules! getters {
    ($($kind:ident $name:literal |$object:ident, $raw:ident| $read:expr;)*) => {
        $(
            struct $kind;
            impl Getter for $kind {
                const NAME: &'static CStr = $name;
                fn get<'py>($object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
                    let $raw = RawRef($object.as_ptr().cast());
                    let found: Option<Bound<'py, PyAny>> = $read;
                    Ok(found.unwrap_or_else(|| $object.py().None().into_bound($object.py())))
                }
            }
        )*
    };
}

getters! {
    TheCallback c"_callback" |object, raw| handle::callback(object.py(), raw);
    TheArguments c"_args" |object, raw| handle::arguments(object.py(), raw)?;
    TheCancelled c"_cancelled" |object, raw| Some(boolean(object.py(), handle::is_cancelled(raw)));
    TheContext c"_context" |object, raw| handle::context(object.py(), raw)?;
    TheLoop c"_loop" |object, raw| handle::owner(object.py(), raw);
    TheRepr c"_repr" |object, raw| handle::kept_representation(object.py(), raw);
    TheTraceback c"_source_traceback" |object, raw| handle::traceback(object.py(), raw);
    TheWhen c"_when" |object, _raw| Some(PyFloat::new(object.py(), timer::when(object)).into_any());
    TheScheduled c"_scheduled" |object, _raw| Some(boolean(object.py(), timer::is_scheduled(object)));
}

fn boolean(py: Python<'_>, value: bool) -> Bound<'_, PyAny> {
    PyBool::new(py, value).to_owned().into_any()
}

method! {
    Cancel c"cancel", c"cancel($self, /)\n--\n\nCancels the callback and lets go of it and of its arguments at once.\n\nDoes nothing if it was cancelled before. Any thread may call it.",
    |slf, args| {
        args.expect("cancel", 0, 0)?;
        handle::cancel(slf)?;
        Ok(args.py().None().into_bound(args.py()))
    }
}

method! {
    CancelTimer Cancel::NAME, Cancel::DOC,
    |slf, args| {
        args.expect("cancel", 0, 0)?;
        timer::cancel(slf)?;
        Ok(args.py().None().into_bound(args.py()))
    }
}

method! {
    Cancelled c"cancelled", c"cancelled($self, /)\n--\n\nWhether the callback was cancelled.",
    |slf, args| {
        args.expect("cancelled", 0, 0)?;
        Ok(boolean(
            args.py(),
            handle::is_cancelled(RawRef(slf.as_ptr().cast())),
        ))
    }
}

method! {
    GetContext c"get_context", c"get_context($self, /)\n--\n\nThe contextvars.Context that the callback runs in; None once it was cancelled or has run.",
    |slf, args| {
        args.expect("get_context", 0, 0)?;
        slf.getattr("_context")
    }
}

method! {
    When c"when", c"when($self, /)\n--\n\nThe deadline in seconds, on the clock of loop.time().",
    |slf, args| {
        args.expect("when", 0, 0)?;
        Ok(PyFloat::new(args.py(), timer::when(slf)).into_any())
    }
}

/// The tail of a timer handle begins where its base's instances end.
#[inline]
pub(super) fn timer_tail(py: Python<'_>, object: *mut ffi::PyObject) -> *mut TimerTail {
    if object.is_null() {
        return null_mut();
    }
    // SAFETY: an instance of the timer type, which is its base followed by the tail.
    unsafe { object.cast::<u8>().add(types(py).timer.tail).cast() }
}
