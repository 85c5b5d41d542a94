//! Heap types over classes that Python code defines: `asyncio.Handle`, `asyncio.TimerHandle`, `asyncio.Transport`.
//!
//! PyO3 derives from a native class, or, on some interpreters only, from a Python one. Programs test handles and
//! transports with `isinstance`, so these must be true subclasses of asyncio's on every interpreter we serve. A type
//! built here is its base's instance layout followed by a Rust struct, the *tail*; the offset of the tail is the base's
//! size as found at import, never a number written down here.

use std::ffi::{CStr, c_int, c_ulong, c_void};

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

/// What users see first of a type.
#[derive(Clone, Copy)]
pub(crate) struct Title {
    /// `package.module.Name`.
    pub(crate) name: &'static CStr,
    /// `__doc__`.
    pub(crate) doc: &'static CStr,
}

/// What a type is made of.
pub(crate) struct Blueprint<'a, 'py> {
    pub(crate) title: Title,
    pub(crate) base: &'a Bound<'py, PyType>,
    /// The tail begins here, if the base's instances are not longer than that.
    pub(crate) least: usize,
    /// Size of the tail in bytes; its alignment must not exceed that of a pointer.
    pub(crate) tail: usize,
    pub(crate) flags: c_ulong,
    /// Offset of a weak-reference list inside of the tail, if the type is to have one of its own.
    pub(crate) weaklist: Option<usize>,
    /// Offset of an instance dictionary inside of the tail.
    pub(crate) dict: Option<usize>,
    pub(crate) methods: Vec<ffi::PyMethodDef>,
    pub(crate) getset: Vec<ffi::PyGetSetDef>,
    /// Further slots; the table's end is added here.
    pub(crate) slots: Vec<ffi::PyType_Slot>,
}

/// A type made from a [`Blueprint`], and where its tail begins.
pub(crate) struct HeapType {
    pub(crate) object: Py<PyType>,
    pub(crate) tail: usize,
    /// Bytes of an instance.
    pub(crate) size: usize,
}

/// One getter (and perhaps setter) of a type.
pub(crate) const fn getset(
    name: &'static CStr,
    get: ffi::getter,
    set: Option<ffi::setter>,
) -> ffi::PyGetSetDef {
    ffi::PyGetSetDef {
        name: name.as_ptr(),
        get: Some(get),
        set,
        doc: std::ptr::null(),
        closure: std::ptr::null_mut(),
    }
}

/// One slot of a type.
pub(crate) fn slot(id: c_int, function: *mut c_void) -> ffi::PyType_Slot {
    ffi::PyType_Slot {
        slot: id,
        pfunc: function,
    }
}

/// A table that the interpreter reads for as long as the type lives: for ever.
fn leak<T>(table: Vec<T>) -> *mut c_void {
    Vec::leak(table).as_mut_ptr().cast()
}

/// Makes the type.
///
/// # Errors
/// `ImportError` if the base's layout does not allow it; what the interpreter raises otherwise.
pub(crate) fn build(py: Python<'_>, blueprint: Blueprint<'_, '_>) -> PyResult<HeapType> {
    let base = blueprint.base.as_type_ptr();
    // SAFETY: a live, ready type object.
    let (size, items) = unsafe { ((*base).tp_basicsize as usize, (*base).tp_itemsize) };
    if items != 0 || !size.is_multiple_of(align_of::<*mut c_void>()) {
        return Err(PyImportError::new_err(format!(
            "cannot derive from {}: its instances have no fixed, pointer-aligned size",
            blueprint.base.name()?
        )));
    }
    let size = size.max(blueprint.least);
    let mut members = Vec::new();
    let managed_weaklist = has_managed_weaklist(base);
    let declared_weaklist = if managed_weaklist {
        None
    } else {
        blueprint.weaklist
    };
    for (name, offset) in [
        (c"__weaklistoffset__", declared_weaklist),
        (c"__dictoffset__", blueprint.dict),
    ] {
        if let Some(offset) = offset {
            members.push(member(name, size + offset));
        }
    }
    members.push(ffi::PyMemberDef::default());
    let mut methods = blueprint.methods;
    methods.push(ffi::PyMethodDef::zeroed());
    let mut getset = blueprint.getset;
    getset.push(ffi::PyGetSetDef::default());
    let mut slots = blueprint.slots;
    let doc = blueprint.title.doc.as_ptr().cast_mut().cast();
    slots.push(slot(ffi::Py_tp_doc, doc));
    slots.push(slot(ffi::Py_tp_members, leak(members)));
    slots.push(slot(ffi::Py_tp_methods, leak(methods)));
    slots.push(slot(ffi::Py_tp_getset, leak(getset)));
    slots.push(slot(0, std::ptr::null_mut()));
    let mut spec = ffi::PyType_Spec {
        name: blueprint.title.name.as_ptr(),
        basicsize: (size + blueprint.tail) as c_int,
        itemsize: 0,
        flags: (ffi::Py_TPFLAGS_DEFAULT | blueprint.flags) as _,
        slots: leak(slots).cast(),
    };
    // SAFETY: the specification and all it points to are valid, and what outlives the call is leaked above; the base is
    // a live type; the result is a new reference or null.
    let object = unsafe {
        Bound::from_owned_ptr_or_err(
            py,
            ffi::PyType_FromSpecWithBases(&mut spec, blueprint.base.as_ptr()),
        )?
    };
    let object = object.cast_into::<PyType>()?;
    // SAFETY: a live type object.
    let made = unsafe { (*object.as_type_ptr()).tp_basicsize as usize };
    if made < size + blueprint.tail {
        return Err(PyImportError::new_err(format!(
            "{} came out at {made} bytes, too small for {} and {} of its own",
            object.name()?,
            size,
            blueprint.tail
        )));
    }
    if managed_weaklist {
        let offset = blueprint.weaklist.ok_or_else(|| {
            PyImportError::new_err(
                "a type over one with managed weak references needs a list of its own",
            )
        })?;
        move_weaklist(object.as_type_ptr(), size + offset);
    }
    Ok(HeapType {
        object: object.unbind(),
        tail: size,
        size: made,
    })
}

/// `Py_TPFLAGS_MANAGED_WEAKREF` of `Include/object.h`, from 3.12 on: the weak-reference list lies before the object, in a
/// header that only garbage-collected objects have.
const MANAGED_WEAKREF: c_ulong = 1 << 3;

fn has_managed_weaklist(kind: *mut ffi::PyTypeObject) -> bool {
    // SAFETY: a live type object.
    cfg!(Py_3_12) && unsafe { ffi::PyType_GetFlags(kind) } & MANAGED_WEAKREF != 0
}

/// Gives a type that inherited a managed weak-reference list one inside of its instances instead.
///
/// `PyType_FromSpec` refuses both at once, so this comes after it, and before there is an instance. The interpreter
/// finds a list by `tp_weaklistoffset` alone; the flag only makes its own allocator add the header.
fn move_weaklist(kind: *mut ffi::PyTypeObject, offset: usize) {
    // SAFETY: a live type that no other thread has seen yet.
    unsafe { (*kind).tp_weaklistoffset = offset as ffi::Py_ssize_t };
    #[cfg(not(Py_GIL_DISABLED))]
    // SAFETY: as above.
    unsafe {
        (*kind).tp_flags &= !MANAGED_WEAKREF;
    }
    #[cfg(Py_GIL_DISABLED)]
    // SAFETY: as above.
    unsafe {
        (*kind)
            .tp_flags
            .fetch_and(!MANAGED_WEAKREF, std::sync::atomic::Ordering::Relaxed);
    }
}

fn member(name: &'static CStr, offset: usize) -> ffi::PyMemberDef {
    ffi::PyMemberDef {
        name: name.as_ptr(),
        type_code: ffi::Py_T_PYSSIZET,
        offset: offset as ffi::Py_ssize_t,
        flags: ffi::Py_READONLY,
        doc: std::ptr::null(),
    }
}

/// The offset at which instances of `owner` keep the value of their slot `name` (`__slots__`).
///
/// # Errors
/// `ImportError` if there is no such slot.
pub(crate) fn slot_offset(owner: &Bound<'_, PyType>, name: &str) -> PyResult<usize> {
    /// The head of CPython's `PyMemberDescrObject` (`Include/cpython/descrobject.h`), the same since 3.0.
    #[repr(C)]
    struct MemberDescriptor {
        base: ffi::PyObject,
        owner: *mut ffi::PyTypeObject,
        name: *mut ffi::PyObject,
        qualname: *mut ffi::PyObject,
        member: *mut ffi::PyMemberDef,
    }
    let descriptor = owner.getattr("__dict__")?.get_item(name)?;
    let kind = descriptor.get_type();
    if kind.name()? != "member_descriptor" {
        return Err(PyImportError::new_err(format!(
            "{}.{name} is no slot but a {}",
            owner.name()?,
            kind.name()?
        )));
    }
    let descriptor: *const MemberDescriptor = descriptor.as_ptr().cast();
    // SAFETY: a live member descriptor, whose layout is the one above.
    let member = unsafe { (*descriptor).member };
    // SAFETY: a member descriptor always points to its definition.
    Ok(unsafe { (*member).offset } as usize)
}

/// Adds methods with the fast calling convention to a type that PyO3 made.
pub(crate) fn add_methods(
    kind: &Bound<'_, PyType>,
    methods: Vec<ffi::PyMethodDef>,
) -> PyResult<()> {
    let py = kind.py();
    for method in Vec::leak(methods) {
        // SAFETY: a live type, and a definition that lives for ever; the result is a new reference or null.
        let descriptor = unsafe {
            Bound::from_owned_ptr_or_err(py, ffi::PyDescr_NewMethod(kind.as_type_ptr(), method))?
        };
        // SAFETY: a definition made by `fastcall::define`, whose name is a C string.
        let name = unsafe { CStr::from_ptr(method.ml_name) };
        kind.setattr(name.to_str().expect("method names are ASCII"), descriptor)?;
    }
    Ok(())
}

/// `self` of a method that was added to PyO3's class `T`: the interpreter has checked its type.
#[inline]
pub(crate) fn own_instance<'a, 'py, T: pyo3::PyClass>(
    slf: &'a Bound<'py, PyAny>,
) -> &'a Bound<'py, T> {
    debug_assert!(
        slf.is_instance_of::<T>(),
        "a method descriptor checks its instance"
    );
    // SAFETY: the method was added to the type of `T` alone, and a method descriptor refuses other instances.
    unsafe { slf.cast_unchecked::<T>() }
}
