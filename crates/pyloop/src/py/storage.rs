//! Memory of handles: a block serves one handle after another instead of going through the interpreter's allocator.
//!
//! A handle lives for one callback, so a handful of blocks serves a busy loop, warm in the cache. Each thread keeps its
//! own, so no lock is needed on any build.

use std::cell::RefCell;

use pyo3::exceptions::PyMemoryError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

/// Blocks kept per size and thread: enough for a busy iteration, 30 KiB at most.
const KEPT: usize = 128;

/// Size in words of the largest handle: a timer on a free-threaded build.
const LARGEST: usize = 17;

thread_local! {
    /// Spare blocks by their size in words. A thread that ends leaves its few to the process: it may be detached then,
    /// and must not free them.
    static SPARE: RefCell<[Vec<*mut u8>; LARGEST + 1]> =
        const { RefCell::new([const { Vec::new() }; LARGEST + 1]) };
}

/// A new instance of `kind`, `size` bytes with zeros behind its head, and one reference to it.
///
/// # Errors
/// `MemoryError`.
#[inline]
pub(super) fn allocate(kind: &Bound<'_, PyType>, size: usize) -> PyResult<*mut ffi::PyObject> {
    let words = size / size_of::<usize>();
    let spare = SPARE.try_with(|spare| spare.borrow_mut().get_mut(words).and_then(Vec::pop)).ok().flatten();
    let memory = match spare {
        Some(memory) => memory,
        // SAFETY: attached, as the bound type shows.
        None => unsafe { ffi::PyObject_Malloc(size) }.cast(),
    };
    if memory.is_null() {
        return Err(PyMemoryError::new_err("no memory for a handle"));
    }
    // SAFETY: a block of `size` bytes that nobody uses.
    unsafe { std::ptr::write_bytes(memory, 0, size) };
    // SAFETY: large enough for an instance of the type.
    Ok(unsafe { ffi::PyObject_Init(memory.cast(), kind.as_ptr().cast()) })
}

/// Takes back the memory of an instance that has died.
///
/// # Safety
/// * `object` came from [`allocate`] with the same `size`, and nobody refers to it any more.
/// * The caller is attached.
#[inline]
pub(super) unsafe fn release(object: *mut ffi::PyObject, size: usize) {
    let words = size / size_of::<usize>();
    let kept = SPARE.try_with(|spare| match spare.borrow_mut().get_mut(words) {
        Some(blocks) if blocks.len() < KEPT => {
            blocks.push(object.cast());
            true
        }
        _ => false,
    });
    if kept != Ok(true) {
        // SAFETY: allocated by `PyObject_Malloc`, as the caller promises.
        unsafe { ffi::PyObject_Free(object.cast()) };
    }
}
