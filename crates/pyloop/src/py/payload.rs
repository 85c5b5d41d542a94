//! Garbage-collected heap types that carry a Rust value, such as the stream transport over `asyncio.Transport`.

use std::ffi::{c_int, c_void};
use std::marker::PhantomData;

use pyo3::exceptions::{PyImportError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::fastcall::{define, guard, method};
use super::heap_type::{self, Blueprint, HeapType, Title, getset, slot};

/// A value that lives in the tail of an instance.
pub(crate) trait Payload: Sized + Send + Sync + 'static {
    /// The type, made by [`PayloadType::build`] and kept for the life of the process.
    fn kind(py: Python<'_>) -> &PayloadType<Self>;
    /// Shows the garbage collector every object held.
    fn visit(&self, visitor: &Visitor);
    /// Lets go of what can be part of a cycle.
    fn clear(&self, py: Python<'_>);
    /// `__repr__`.
    fn repr(object: &Bound<'_, PyAny>) -> PyResult<String>;
    /// `__del__`: runs once, before the instance dies.
    fn finalize(object: &Bound<'_, PyAny>) -> PyResult<()>;
}

/// The garbage collector's visitor.
pub(crate) struct Visitor {
    visit: ffi::visitproc,
    arg: *mut c_void,
    /// The visitor's first answer that was not zero.
    outcome: std::cell::Cell<c_int>,
}

impl Visitor {
    /// Shows one reference that the payload holds.
    pub(crate) fn object<T>(&self, object: &Py<T>) {
        if self.outcome.get() == 0 {
            // SAFETY: a live object, shown to the visitor that the collector has handed over.
            self.outcome
                .set(unsafe { (self.visit)(object.as_ptr(), self.arg) });
        }
    }

    /// Shows a reference that may be absent.
    pub(crate) fn maybe<T>(&self, object: Option<&Py<T>>) {
        if let Some(object) = object {
            self.object(object);
        }
    }
}

/// The tail of an instance.
#[repr(C)]
struct Tail<T> {
    weaklist: *mut ffi::PyObject,
    dict: *mut ffi::PyObject,
    /// `None` only before construction has ended.
    value: Option<T>,
}

method! {
    pub(super) ReduceEx c"__reduce_ex__", c"__reduce_ex__($self, protocol, /)\n--\n\nRaises TypeError: what the object stands for is of this process.",
    |object, _args| {
        // CPython 3.10 would pickle the instance dictionary alone.
        let name = object.get_type().name()?;
        Err(PyTypeError::new_err(format!("cannot pickle '{name}' object")))
    }
}

/// A type whose instances carry a `T`.
pub(crate) struct PayloadType<T> {
    made: HeapType,
    _payload: PhantomData<fn() -> T>,
}

impl<T: Payload> PayloadType<T> {
    /// Makes the type over `base`.
    pub(crate) fn build(
        py: Python<'_>,
        title: Title,
        base: &Bound<'_, PyType>,
        methods: Vec<ffi::PyMethodDef>,
        getters: Vec<ffi::PyGetSetDef>,
    ) -> PyResult<Self> {
        Self::build_at(py, (title, 0), base, methods, getters)
    }

    /// Makes the type, whose payload does not begin before `least`.
    fn build_at(
        py: Python<'_>,
        (title, least): (Title, usize),
        base: &Bound<'_, PyType>,
        mut methods: Vec<ffi::PyMethodDef>,
        mut getters: Vec<ffi::PyGetSetDef>,
    ) -> PyResult<Self> {
        methods.push(define::<ReduceEx>());
        getters.push(getset(
            c"__dict__",
            ffi::PyObject_GenericGetDict,
            Some(ffi::PyObject_GenericSetDict),
        ));
        let made = heap_type::build(
            py,
            Blueprint {
                title,
                base,
                least,
                tail: size_of::<Tail<T>>(),
                flags: ffi::Py_TPFLAGS_HAVE_GC | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION,
                weaklist: Some(std::mem::offset_of!(Tail<T>, weaklist)),
                dict: Some(std::mem::offset_of!(Tail<T>, dict)),
                methods,
                getset: getters,
                slots: vec![
                    slot(ffi::Py_tp_dealloc, dealloc::<T> as *mut c_void),
                    slot(ffi::Py_tp_traverse, traverse::<T> as *mut c_void),
                    slot(ffi::Py_tp_clear, clear::<T> as *mut c_void),
                    slot(ffi::Py_tp_repr, repr::<T> as *mut c_void),
                    slot(ffi::Py_tp_finalize, finalize::<T> as *mut c_void),
                ],
            },
        )?;
        Ok(Self {
            made,
            _payload: PhantomData,
        })
    }

    /// Makes another type, over another `base`, whose instances carry a `T` in the same place.
    ///
    /// # Errors
    /// `ImportError` if instances of the base are too large for that.
    pub(crate) fn sibling(
        &self,
        py: Python<'_>,
        title: Title,
        base: &Bound<'_, PyType>,
        methods: Vec<ffi::PyMethodDef>,
        getters: Vec<ffi::PyGetSetDef>,
    ) -> PyResult<Self> {
        let sibling = Self::build_at(py, (title, self.made.tail), base, methods, getters)?;
        if (sibling.made.tail, sibling.made.size) != (self.made.tail, self.made.size) {
            return Err(PyImportError::new_err(format!(
                "instances of {} and {} differ in size",
                self.object(py).name()?,
                sibling.object(py).name()?
            )));
        }
        Ok(sibling)
    }

    /// The type object.
    pub(crate) fn object<'py>(&self, py: Python<'py>) -> &Bound<'py, PyType> {
        self.made.object.bind(py)
    }

    /// A new instance that carries `value`.
    pub(crate) fn instance<'py>(&self, py: Python<'py>, value: T) -> PyResult<Bound<'py, PyAny>> {
        // SAFETY: a live, ready type; the result is a new, zeroed reference or null.
        let object = unsafe {
            Bound::from_owned_ptr_or_err(
                py,
                ffi::PyType_GenericAlloc(self.made.object.as_ptr().cast(), 0),
            )?
        };
        let tail: *mut Tail<T> = self.tail(object.as_ptr());
        // SAFETY: inside of the instance; the place holds zeros so far, nothing to drop.
        unsafe { std::ptr::write(&raw mut (*tail).value, Some(value)) };
        Ok(object)
    }

    /// The payload of an instance.
    #[inline]
    pub(crate) fn value<'a>(&self, object: &'a Bound<'_, PyAny>) -> &'a T {
        debug_assert_eq!(
            // SAFETY: a live object, whose type is alive with it.
            unsafe { (*ffi::Py_TYPE(object.as_ptr())).tp_basicsize } as usize,
            self.made.size,
            "an instance of the type or of a sibling"
        );
        // SAFETY: an instance of this type or of a sibling, which has its tail in the same place: their methods and their
        // makers are the only callers.
        unsafe { (*self.tail(object.as_ptr())).value.as_ref() }
            .expect("construction ends before anybody sees the instance")
    }

    #[inline]
    fn tail(&self, object: *mut ffi::PyObject) -> *mut Tail<T> {
        // SAFETY: the tail follows the base's part of the instance.
        unsafe { object.cast::<u8>().add(self.made.tail).cast() }
    }
}

fn tail_of<T: Payload>(py: Python<'_>, object: *mut ffi::PyObject) -> *mut Tail<T> {
    T::kind(py).tail(object)
}

unsafe extern "C" fn traverse<T: Payload>(
    object: *mut ffi::PyObject,
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: the collector runs attached; nothing below touches the interpreter's state.
    let py = unsafe { Python::assume_attached() };
    let tail = tail_of::<T>(py, object);
    let visitor = Visitor {
        visit,
        arg,
        outcome: std::cell::Cell::new(0),
    };
    // SAFETY: a live instance of a heap type.
    visitor
        .outcome
        .set(unsafe { visit(ffi::Py_TYPE(object).cast(), arg) });
    // SAFETY: the instance's dictionary or null.
    let dict = unsafe { (*tail).dict };
    if visitor.outcome.get() == 0 && !dict.is_null() {
        // SAFETY: a live object that this instance holds.
        visitor.outcome.set(unsafe { visit(dict, arg) });
    }
    // SAFETY: zero (`None`) before construction has ended, a value afterwards.
    if let Some(value) = unsafe { &(*tail).value } {
        value.visit(&visitor);
    }
    visitor.outcome.get()
}

unsafe extern "C" fn clear<T: Payload>(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: called by the collector, attached.
    let py = unsafe { Python::assume_attached() };
    let tail = tail_of::<T>(py, object);
    // SAFETY: the instance's dictionary or null; taken out before it is dropped.
    let dict = unsafe { std::mem::replace(&mut (*tail).dict, std::ptr::null_mut()) };
    // SAFETY: the reference that the instance held, or null.
    drop(unsafe { Bound::from_owned_ptr_or_opt(py, dict) });
    // SAFETY: as in `traverse`.
    if let Some(value) = unsafe { &(*tail).value } {
        // Attached as PyO3 counts it: see `dealloc`.
        if Python::try_attach(|py| value.clear(py)).is_none() {
            value.clear(py);
        }
    }
    0
}

unsafe extern "C" fn repr<T: Payload>(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called attached.
    let py = unsafe { Python::assume_attached() };
    guard(py, || {
        // SAFETY: alive for the call.
        let object = unsafe { Borrowed::from_ptr(py, object) };
        Ok(T::repr(&object)?.into_pyobject(py)?.into_any())
    })
}

unsafe extern "C" fn finalize<T: Payload>(object: *mut ffi::PyObject) {
    // SAFETY: called attached.
    let py = unsafe { Python::assume_attached() };
    // A finalizer may run while an exception is on its way, and must leave it as it was.
    let pending = PyErr::take(py);
    let result = guard(py, || {
        // SAFETY: alive for the call: the interpreter holds a temporary reference.
        let object = unsafe { Borrowed::from_ptr(py, object) };
        T::finalize(&object)?;
        Ok(py.None().into_bound(py))
    });
    if result.is_null() {
        // SAFETY: attached; reports and clears the exception that `guard` has set.
        unsafe { ffi::PyErr_WriteUnraisable(object) };
    } else {
        // SAFETY: a new reference to None.
        unsafe { ffi::Py_DECREF(result) };
    }
    if let Some(pending) = pending {
        pending.restore(py);
    }
}

unsafe extern "C" fn dealloc<T: Payload>(object: *mut ffi::PyObject) {
    // SAFETY: deallocation happens attached.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: a live object, still tracked: the finalizer may bring it back to life.
    if unsafe { ffi::PyObject_CallFinalizerFromDealloc(object) } < 0 {
        return;
    }
    // SAFETY: a garbage-collected object.
    unsafe { ffi::PyObject_GC_UnTrack(object.cast()) };
    let tail = tail_of::<T>(py, object);
    // SAFETY: the instance's own list or null.
    if !unsafe { (*tail).weaklist }.is_null() {
        // SAFETY: the object is being deallocated, as that call demands.
        unsafe { ffi::PyObject_ClearWeakRefs(object) };
    }
    // SAFETY: taken out before it is dropped, and never used again.
    let mut value = unsafe { std::mem::take(&mut (*tail).value) };
    // PyO3 puts off the drop of a reference unless it knows that the thread is attached, and called by the interpreter
    // outside of a run it does not: what the instance held would live on until the next one. At the end of the process
    // there is no attaching any more, and putting off is all that is left.
    let _finalizing = Python::try_attach(|_| value = None);
    drop(value);
    // SAFETY: as above.
    let dict = unsafe { std::mem::replace(&mut (*tail).dict, std::ptr::null_mut()) };
    // SAFETY: the reference that the instance held, or null.
    drop(unsafe { Bound::from_owned_ptr_or_opt(py, dict) });
    // SAFETY: a live heap type.
    let kind = unsafe { ffi::Py_TYPE(object) };
    // SAFETY: allocated by `PyType_GenericAlloc` for a garbage-collected type.
    unsafe { ffi::PyObject_GC_Del(object.cast()) };
    // SAFETY: every instance of a heap type counts as a reference to it.
    unsafe { ffi::Py_DECREF(kind.cast()) };
}
