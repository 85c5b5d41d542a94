//! Memory of handles: a block serves one handle after another instead of going through the interpreter's allocator.
//!
//! A handle lives for one callback, so a handful of blocks serves a busy loop, warm in the cache and with its type already
//! in place. The GIL guards the spare blocks; free-threaded builds have none, and a faster allocator.

use pyo3::exceptions::PyMemoryError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

/// The spare blocks of one handle type, each an instance that has died: its type is set and still counted.
#[cfg(not(Py_GIL_DISABLED))]
mod spare {
    use pyo3::ffi;

    /// Blocks kept per type: enough for a busy iteration, 14 KiB at most.
    const KEPT: usize = 128;

    pub(crate) struct Spare(std::cell::UnsafeCell<Vec<*mut ffi::PyObject>>);

    // SAFETY: only used attached, and the GIL lets one thread be attached at a time.
    unsafe impl Sync for Spare {}
    // SAFETY: as above.
    unsafe impl Send for Spare {}

    impl Spare {
        pub(crate) const fn new() -> Self {
            Self(std::cell::UnsafeCell::new(Vec::new()))
        }

        #[inline]
        pub(super) fn take(&self) -> Option<*mut ffi::PyObject> {
            // SAFETY: attached, and nothing in here runs other code.
            unsafe { (*self.0.get()).pop() }
        }

        /// Whether the block was kept.
        #[inline]
        pub(super) fn keep(&self, object: *mut ffi::PyObject) -> bool {
            // SAFETY: as above.
            let blocks = unsafe { &mut *self.0.get() };
            let room = blocks.len() < KEPT;
            if room {
                blocks.push(object);
            }
            room
        }
    }
}

#[cfg(Py_GIL_DISABLED)]
mod spare {
    use pyo3::ffi;

    pub(crate) struct Spare;

    impl Spare {
        pub(crate) const fn new() -> Self {
            Self
        }

        pub(super) fn take(&self) -> Option<*mut ffi::PyObject> {
            None
        }

        pub(super) fn keep(&self, _object: *mut ffi::PyObject) -> bool {
            false
        }
    }
}

pub(super) use spare::Spare;

unsafe extern "C" {
    /// Makes the reference count one and tells the interpreter's tracers: `PyObject_Init` for memory whose type is set.
    /// Exported for extensions since 3.0 (`Include/object.h`); not among PyO3's declarations.
    fn _Py_NewReference(object: *mut ffi::PyObject);
}

/// An instance of `kind`, `size` bytes, with one reference to it; what follows its head is undefined.
///
/// # Errors
/// `MemoryError`.
#[inline]
pub(super) fn allocate(
    kind: &Bound<'_, PyType>,
    size: usize,
    spare: &Spare,
) -> PyResult<*mut ffi::PyObject> {
    if let Some(object) = spare.take() {
        // SAFETY: a dead instance of the type that nobody refers to.
        unsafe { _Py_NewReference(object) };
        return Ok(object);
    }
    // SAFETY: attached, as the bound type shows.
    let memory = unsafe { ffi::PyObject_Malloc(size) };
    if memory.is_null() {
        return Err(PyMemoryError::new_err("no memory for a handle"));
    }
    // SAFETY: large enough for an instance of the type.
    Ok(unsafe { ffi::PyObject_Init(memory.cast(), kind.as_ptr().cast()) })
}

/// Takes back the memory of an instance that has died.
///
/// # Safety
/// * `object` came from [`allocate`] with the same `spare`, and nobody refers to it any more.
/// * The caller is attached.
#[inline]
pub(super) unsafe fn release(object: *mut ffi::PyObject, spare: &Spare) {
    if spare.keep(object) {
        return;
    }
    // SAFETY: a live heap type's instance.
    let kind = unsafe { ffi::Py_TYPE(object) };
    // SAFETY: allocated by `PyObject_Malloc`.
    unsafe { ffi::PyObject_Free(object.cast()) };
    // SAFETY: every instance of a heap type counts as a reference to it.
    unsafe { ffi::Py_DECREF(kind.cast()) };
}
