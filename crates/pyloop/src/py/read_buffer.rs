//! [`ReadBuffer`]: the memory that the sockets of one loop are read into.
//!
//! It is the memory of a `bytes` object. A small read is copied out of it, at its exact length. A large one is not: the
//! object itself is cut to the length of what was read and handed to the protocol, and when the protocol has let go of it,
//! as most do before they return, the same memory takes the next read. Neither a copy nor an allocation is paid then, and
//! no page of fresh memory (`benchmarks/EXPERIMENTS.md`).
//!
//! A transport whose peer is slow keeps the object in its write buffer for a while. The next read takes other memory then, and
//! the object's is used again when it is back: up to [`LENT`] are remembered. What more than those are kept, or kept for longer,
//! is the protocol's; since it keeps all of the memory, what is lent is at least [`LEND_AT`] bytes long, and after such
//! a protocol the next large reads are copied, unless they fill the buffer. Free-threaded builds, where a count of one does not
//! prove that nobody else is looking, always copy.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Bytes of one read at most, as in asyncio. Pages that no read has reached cost nothing.
pub(crate) const READ_SIZE: usize = 256 * 1024;

/// Reads shorter than this are copied: up to here a copy costs less than a protocol that keeps the object can waste.
const LEND_AT: usize = READ_SIZE / 4;

/// Reads of this length are lent whatever happened before: hardly anything is wasted if they are kept.
const NEARLY_FULL: usize = READ_SIZE / 4 * 3;

/// Reads that are copied after a protocol has kept an object that is longer in memory than it says.
const COPIES_AFTER_KEPT: u32 = 64;

/// Objects that are remembered while they are lent. A message of 1 MiB is four reads, and with these not one of them pays for
/// fresh memory, whatever the kernel takes of the answer at once; they bound what a loop holds in buffers to 1.25 MiB.
const LENT: usize = 4;

/// See the module's header.
pub(crate) struct ReadBuffer {
    /// Its memory has room for [`READ_SIZE`] bytes whatever its length says.
    object: Py<PyBytes>,
    /// Objects of the same memory that were not back when the next read came, the oldest first.
    lent: Vec<Py<PyBytes>>,
    /// How many more reads between [`LEND_AT`] and [`NEARLY_FULL`] are copied.
    copies: u32,
}

impl ReadBuffer {
    /// # Errors
    /// `MemoryError`.
    pub(crate) fn new(py: Python<'_>) -> PyResult<Self> {
        Ok(Self {
            object: fresh(py)?,
            lent: Vec::new(),
            copies: 0,
        })
    }

    /// The same buffer, with an object that nobody else sees: the last one, one that is back, or another one.
    ///
    /// # Errors
    /// `MemoryError`.
    #[inline]
    pub(crate) fn ready(mut self, py: Python<'_>) -> PyResult<Self> {
        if self.object.get_refcnt(py) != 1 {
            self.exchange(py)?;
        }
        Ok(self)
    }

    #[cold]
    fn exchange(&mut self, py: Python<'_>) -> PyResult<()> {
        let back = self.lent.iter().position(|lent| lent.get_refcnt(py) == 1);
        let free = match back {
            Some(index) => self.lent.remove(index),
            None => fresh(py)?,
        };
        if self.lent.len() == LENT {
            let kept = self.lent.remove(0);
            if kept.bind(py).as_bytes().len() < NEARLY_FULL {
                self.copies = COPIES_AFTER_KEPT;
            }
        }
        self.lent.push(std::mem::replace(&mut self.object, free));
        Ok(())
    }

    /// The memory to read into. The buffer must be [`ready`](Self::ready): nobody else sees the object.
    #[inline]
    pub(crate) fn memory(&mut self, py: Python<'_>) -> &mut [u8] {
        debug_assert_eq!(self.object.get_refcnt(py), 1, "the object is lent");
        // SAFETY: the object was made with this much memory, which is ours alone.
        unsafe { std::slice::from_raw_parts_mut(self.start(), READ_SIZE) }
    }

    /// The first `count` bytes of the memory as an object for a protocol.
    pub(crate) fn give<'py>(&mut self, py: Python<'py>, count: usize) -> Bound<'py, PyBytes> {
        let copied = count < LEND_AT || cfg!(Py_GIL_DISABLED);
        if copied || (count < NEARLY_FULL && self.copies > 0) {
            if !copied {
                self.copies -= 1;
            }
            // SAFETY: `memory` was ready when these bytes were read into it.
            let read = unsafe { std::slice::from_raw_parts(self.start(), count) };
            return PyBytes::new(py, read);
        }
        self.cut(count);
        self.object.bind(py).clone()
    }

    #[inline]
    fn start(&self) -> *mut u8 {
        // SAFETY: a live bytes object.
        unsafe { ffi::PyBytes_AsString(self.object.as_ptr()).cast() }
    }

    /// Gives the object, which nobody else sees, another length and contents.
    fn cut(&mut self, length: usize) {
        assert!(
            length <= READ_SIZE,
            "{length} bytes in a buffer of {READ_SIZE}"
        );
        let start = self.start();
        // SAFETY: the object's memory has a byte beyond `READ_SIZE` for the end.
        unsafe { *start.add(length) = 0 };
        let object = self.object.as_ptr();
        // SAFETY: a live object of variable size that nobody else sees.
        unsafe { (*object.cast::<ffi::PyVarObject>()).ob_size = length as ffi::Py_ssize_t };
        // SAFETY: as above. The hash of what the object held before is not that of what it holds now.
        unsafe { forget_hash(object) };
    }
}

/// An object with room for a read, of uninitialised bytes.
fn fresh(py: Python<'_>) -> PyResult<Py<PyBytes>> {
    // SAFETY: attached; a new reference to uninitialised bytes, or null.
    let object = unsafe {
        Bound::from_owned_ptr_or_err(
            py,
            ffi::PyBytes_FromStringAndSize(std::ptr::null(), READ_SIZE as ffi::Py_ssize_t),
        )?
    };
    // SAFETY: a bytes object, as the call's name says.
    Ok(unsafe { object.cast_into_unchecked::<PyBytes>() }.unbind())
}

/// # Safety
/// * `object` is a live `bytes` object that nobody else sees.
unsafe fn forget_hash(object: *mut ffi::PyObject) {
    /// The head of CPython's `PyBytesObject` (`Include/cpython/bytesobject.h`), the same since 3.0; the name of the hash is
    /// deprecated for users of the header from 3.11 on, the field is there in every version that we serve.
    #[repr(C)]
    struct BytesHead {
        base: ffi::PyVarObject,
        hash: ffi::Py_hash_t,
    }
    // SAFETY: the layout above; -1 is what the interpreter itself writes for a hash that is not computed yet.
    unsafe { (*object.cast::<BytesHead>()).hash = -1 };
}
