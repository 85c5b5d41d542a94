//! Methods with CPython's fast calling convention, for the calls that run per callback, per timer or per write.
//!
//! A `#[pymethods]` method that takes `*args` builds a tuple for every call, a third of the cost of a whole `call_soon`
//! (134 ns against 91 ns per iteration, CPython 3.13, `docs/decisions/0003-raw-ffi.md`). Here the interpreter hands
//! over its own argument array (`METH_FASTCALL | METH_KEYWORDS`), and nothing is built.
//!
//! A method is a zero-sized type that implements [`Method`]; [`define`] makes the `PyMethodDef` for it. Panics become
//! Python exceptions in [`trampoline`].

use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::PyAttributeError;
use pyo3::ffi;
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::sync::critical_section::with_critical_section;
use pyo3::types::PyTuple;

/// The arguments of one call, borrowed from the interpreter for the length of the call.
#[derive(Clone, Copy)]
pub(crate) struct Args<'a, 'py> {
    py: Python<'py>,
    /// Positional arguments, then the values of the keyword arguments.
    values: &'a [*mut ffi::PyObject],
    positional: usize,
    /// Null, or a tuple of `str`.
    kwnames: *mut ffi::PyObject,
}

impl<'a, 'py> Args<'a, 'py> {
    #[inline]
    pub(crate) fn py(&self) -> Python<'py> {
        self.py
    }

    /// How many positional arguments there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.positional
    }

    /// The positional argument `index`, if it was given.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<Borrowed<'a, 'py, PyAny>> {
        if index < self.positional {
            Some(self.value(index))
        } else {
            None
        }
    }

    /// The positional arguments from `from` on, as raw borrowed pointers.
    #[inline]
    pub(crate) fn rest(&self, from: usize) -> &'a [*mut ffi::PyObject] {
        &self.values[from.min(self.positional)..self.positional]
    }

    /// The positional arguments from `from` on, as a new tuple.
    pub(crate) fn rest_tuple(&self, from: usize) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(
            self.py,
            (from..self.positional).map(|index| self.value(index)),
        )
    }

    #[inline]
    fn value(&self, index: usize) -> Borrowed<'a, 'py, PyAny> {
        // SAFETY: the interpreter's argument array holds live references for the length of the call.
        unsafe { Borrowed::from_ptr(self.py, self.values[index]) }
    }

    /// How many keyword arguments there are.
    #[inline]
    pub(crate) fn keyword_count(&self) -> usize {
        self.values.len() - self.positional
    }

    /// The name and value of keyword argument `index`.
    pub(crate) fn keyword(
        &self,
        index: usize,
    ) -> (Borrowed<'a, 'py, PyAny>, Borrowed<'a, 'py, PyAny>) {
        // SAFETY: `kwnames` is a tuple with one name for each of the trailing values, alive for the call.
        let name = unsafe {
            Borrowed::from_ptr(
                self.py,
                ffi::PyTuple_GET_ITEM(self.kwnames, index as ffi::Py_ssize_t),
            )
        };
        (name, self.value(self.positional + index))
    }

    /// Refuses keywords, and any number of positional arguments outside of `least..=most`.
    pub(crate) fn expect(&self, method: &str, least: usize, most: usize) -> PyResult<()> {
        if self.keyword_count() > 0 {
            let (name, _) = self.keyword(0);
            return Err(pyo3::exceptions::PyTypeError::new_err(format!(
                "{method}() got an unexpected keyword argument '{}'",
                name.str()?
            )));
        }
        if self.positional < least || self.positional > most {
            let wanted = if least == most {
                format!("{least}")
            } else {
                format!("{least} to {most}")
            };
            return Err(pyo3::exceptions::PyTypeError::new_err(format!(
                "{method}() takes {wanted} positional arguments but {} were given",
                self.positional
            )));
        }
        Ok(())
    }

    /// Binds positional and keyword arguments to `names`, like a Python signature of plain parameters.
    pub(crate) fn bind<const N: usize>(
        &self,
        method: &str,
        names: [&str; N],
        required: usize,
    ) -> PyResult<[Option<Borrowed<'a, 'py, PyAny>>; N]> {
        if self.positional > N {
            return Err(pyo3::exceptions::PyTypeError::new_err(format!(
                "{method}() takes at most {N} arguments ({} given)",
                self.positional
            )));
        }
        let mut bound = [None; N];
        for (index, place) in bound.iter_mut().enumerate() {
            *place = self.get(index);
        }
        for index in 0..self.keyword_count() {
            let (name, value) = self.keyword(index);
            let text = name.str()?;
            let text = text.to_str()?;
            let Some(position) = names.iter().position(|&known| known == text) else {
                return Err(pyo3::exceptions::PyTypeError::new_err(format!(
                    "{method}() got an unexpected keyword argument '{text}'"
                )));
            };
            if bound[position].replace(value).is_some() {
                return Err(pyo3::exceptions::PyTypeError::new_err(format!(
                    "{method}() got multiple values for argument '{text}'"
                )));
            }
        }
        for (index, name) in names.iter().enumerate().take(required) {
            if bound[index].is_none() {
                return Err(pyo3::exceptions::PyTypeError::new_err(format!(
                    "{method}() missing required argument: '{name}'"
                )));
            }
        }
        Ok(bound)
    }
}

/// One method of a type, called with CPython's fast calling convention.
pub(crate) trait Method {
    /// The name in Python.
    const NAME: &'static CStr;
    /// The docstring; a first line `name($self, ...)\n--\n\n` gives `inspect.signature` its text.
    const DOC: &'static CStr;

    fn call<'py>(slf: Borrowed<'_, 'py, PyAny>, args: Args<'_, 'py>)
    -> PyResult<Bound<'py, PyAny>>;
}

/// Declares a [`Method`]: the type, name and docstring in Python, and what is done with the object and the arguments.
macro_rules! method {
    ($visibility:vis $kind:ident $name:expr, $doc:expr, |$object:ident, $args:ident| $body:block) => {
        $visibility struct $kind;
        impl $crate::py::fastcall::Method for $kind {
            const NAME: &'static std::ffi::CStr = $name;
            const DOC: &'static std::ffi::CStr = $doc;
            #[inline]
            fn call<'py>(
                slf: pyo3::Borrowed<'_, 'py, pyo3::PyAny>,
                $args: $crate::py::fastcall::Args<'_, 'py>,
            ) -> pyo3::PyResult<pyo3::Bound<'py, pyo3::PyAny>> {
                let $object: &pyo3::Bound<'py, pyo3::PyAny> = &slf;
                $body
            }
        }
    };
}
pub(crate) use method;

/// The `PyMethodDef` of a method.
pub(crate) const fn define<M: Method>() -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: M::NAME.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunctionFastWithKeywords: trampoline::<M>,
        },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: M::DOC.as_ptr(),
    }
}

unsafe extern "C" fn trampoline<M: Method>(
    slf: *mut ffi::PyObject,
    values: *const *mut ffi::PyObject,
    positional: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls methods with an attached thread.
    let py = unsafe { Python::assume_attached() };
    let keywords = if kwnames.is_null() {
        0
    } else {
        // SAFETY: not null, so a tuple, by the calling convention.
        unsafe { ffi::PyTuple_GET_SIZE(kwnames) as usize }
    };
    let positional = positional as usize;
    let total = positional + keywords;
    let values = if total == 0 {
        &[]
    } else {
        // SAFETY: the calling convention gives an array of `positional` values and one for each keyword name.
        unsafe { std::slice::from_raw_parts(values, total) }
    };
    guard(py, || {
        // SAFETY: `slf` is alive for the call.
        let slf = unsafe { Borrowed::from_ptr(py, slf) };
        M::call(
            slf,
            Args {
                py,
                values,
                positional,
                kwnames,
            },
        )
    })
}

/// One computed attribute of a type.
pub(crate) trait Getter {
    /// The name in Python.
    const NAME: &'static CStr;

    fn get<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>;
}

/// The `PyGetSetDef` of a computed attribute.
pub(crate) const fn getter<G: Getter>() -> ffi::PyGetSetDef {
    super::heap_type::getset(G::NAME, get::<G>, None)
}

/// A computed attribute that can be assigned to.
pub(crate) trait Setter: Getter {
    fn set(object: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()>;
}

/// The `PyGetSetDef` of a computed attribute that can be assigned to.
pub(crate) const fn property<S: Setter>() -> ffi::PyGetSetDef {
    super::heap_type::getset(S::NAME, get::<S>, Some(set::<S>))
}

unsafe extern "C" fn set<S: Setter>(
    object: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    _: *mut std::ffi::c_void,
) -> std::ffi::c_int {
    // SAFETY: setters are called with an attached thread.
    let py = unsafe { Python::assume_attached() };
    let done = guard(py, || {
        // SAFETY: alive for the call.
        let object = unsafe { Borrowed::from_ptr(py, object) };
        // SAFETY: alive for the call, or null for `del`.
        let value = unsafe { Borrowed::from_ptr_or_opt(py, value) };
        let value = value.ok_or_else(|| PyAttributeError::new_err("cannot delete attribute"))?;
        S::set(&object, &value)?;
        Ok(py.None().into_bound(py))
    });
    if done.is_null() {
        return -1;
    }
    // SAFETY: a new reference to None.
    unsafe { ffi::Py_DECREF(done) };
    0
}

unsafe extern "C" fn get<G: Getter>(
    object: *mut ffi::PyObject,
    _: *mut std::ffi::c_void,
) -> *mut ffi::PyObject {
    // SAFETY: getters are called with an attached thread.
    let py = unsafe { Python::assume_attached() };
    guard(py, || {
        // SAFETY: alive for the call.
        let object = unsafe { Borrowed::from_ptr(py, object) };
        // Free-threaded builds: nobody empties the object while its words are read.
        with_critical_section(&object, || G::get(&object))
    })
}

/// Runs `body`; its result, its error or its panic becomes what C callers expect.
#[inline]
pub(crate) fn guard<'py>(
    py: Python<'py>,
    body: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
) -> *mut ffi::PyObject {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => value.into_ptr(),
        Ok(Err(error)) => {
            error.restore(py);
            std::ptr::null_mut()
        }
        Err(payload) => {
            panic_error(payload).restore(py);
            std::ptr::null_mut()
        }
    }
}

/// A panic's message as the exception that PyO3 itself raises for panics.
#[cold]
pub(crate) fn panic_error(payload: Box<dyn std::any::Any + Send>) -> PyErr {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic in the pyloop engine".to_owned());
    PanicException::new_err((text,))
}
