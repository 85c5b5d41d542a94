//! Bytes that go into and out of sockets.

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView};

/// Bytes that wait to be sent: a `bytes` object, and where its data lies.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// Keeps `data` alive. Not shown to the garbage collector: bytes refer to nothing.
    object: Py<PyBytes>,
    data: *const u8,
    len: usize,
}

// SAFETY: a `bytes` object is immutable, so its data may be read from any thread for as long as it is held.
unsafe impl Send for Chunk {}
// SAFETY: as above.
unsafe impl Sync for Chunk {}

impl Chunk {
    pub(crate) fn new(bytes: Bound<'_, PyBytes>) -> Self {
        let data = bytes.as_bytes();
        Self {
            data: data.as_ptr(),
            len: data.len(),
            object: bytes.unbind(),
        }
    }

    /// The object that holds the bytes.
    pub(crate) fn object<'py>(&self, py: Python<'py>) -> &Bound<'py, PyBytes> {
        self.object.bind(py)
    }
}

impl AsRef<[u8]> for Chunk {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `object` keeps the data where it is.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }
}

/// What `write()` was given.
pub(crate) enum Written<'a, 'py> {
    Bytes(&'a Bound<'py, PyBytes>),
    /// A buffer that the caller may change after the call.
    Borrowed(View<'py>),
    /// Memory of ours, used again after the call.
    Slice(&'a [u8]),
}

impl<'a, 'py> Written<'a, 'py> {
    /// `wanted` is what the error calls the types that are taken.
    ///
    /// # Errors
    /// `TypeError` unless `data` is bytes, a bytearray or a memoryview; `BufferError` for one that is not contiguous.
    #[inline]
    pub(crate) fn from(data: &'a Bound<'py, PyAny>, wanted: &str) -> PyResult<Self> {
        if let Ok(bytes) = data.cast::<PyBytes>() {
            return Ok(Self::Bytes(bytes));
        }
        if data.is_instance_of::<PyByteArray>() || data.is_instance_of::<PyMemoryView>() {
            return Ok(Self::Borrowed(View::read(data)?));
        }
        Err(PyTypeError::new_err(format!(
            "data argument must be {wanted}, not '{}'",
            data.get_type().name()?
        )))
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes.as_bytes(),
            Self::Borrowed(view) => view.as_slice(),
            Self::Slice(bytes) => bytes,
        }
    }

    /// What is left after `sent` bytes, in a form that can be kept, and how much of that chunk is sent already.
    pub(crate) fn keep(&self, py: Python<'py>, sent: usize) -> (Chunk, usize) {
        match self {
            Self::Bytes(bytes) => (Chunk::new((*bytes).clone()), sent),
            Self::Borrowed(_) | Self::Slice(_) => {
                (Chunk::new(PyBytes::new(py, &self.as_slice()[sent..])), 0)
            }
        }
    }
}

/// An export of an object's buffer, released when dropped.
pub(crate) struct View<'py> {
    raw: Box<ffi::Py_buffer>,
    _py: Python<'py>,
}

impl<'py> View<'py> {
    fn get(object: &Bound<'py, PyAny>, flags: std::ffi::c_int) -> PyResult<Self> {
        let mut raw = Box::new(ffi::Py_buffer::new());
        // SAFETY: a live object and a place for the export.
        if unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), &mut *raw, flags) } != 0 {
            return Err(PyErr::fetch(object.py()));
        }
        Ok(Self {
            raw,
            _py: object.py(),
        })
    }

    /// A contiguous view for reading.
    pub(crate) fn read(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        Self::get(object, ffi::PyBUF_SIMPLE)
    }

    /// A contiguous view for writing.
    pub(crate) fn write(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        Self::get(object, ffi::PyBUF_WRITABLE)
    }

    pub(crate) fn len(&self) -> usize {
        self.raw.len as usize
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        if self.raw.len == 0 {
            return &[];
        }
        // SAFETY: the export's memory, which the exporter keeps in place until it is released. Python code that changes
        // it meanwhile does so attached, and we do not detach while we read.
        unsafe { std::slice::from_raw_parts(self.raw.buf.cast(), self.len()) }
    }

    /// The memory of a view made by [`View::write`].
    pub(crate) fn as_slice_mut(&mut self) -> &mut [u8] {
        if self.raw.len == 0 {
            return &mut [];
        }
        // SAFETY: as in `as_slice`; exported writable.
        unsafe { std::slice::from_raw_parts_mut(self.raw.buf.cast(), self.len()) }
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        // SAFETY: exported in `get`, released once.
        unsafe { ffi::PyBuffer_Release(&mut *self.raw) };
    }
}

/// Makes a `bytes` of at most `capacity` bytes by letting `fill` write into it; `fill` says how many it wrote.
///
/// The memory is the object's own from the start, so nothing is copied. What `fill` returns beside the count is passed on
/// when it wrote nothing.
pub(crate) fn filled<'py, R>(
    py: Python<'py>,
    capacity: usize,
    fill: impl FnOnce(&mut [u8]) -> Result<usize, R>,
) -> PyResult<Result<Bound<'py, PyBytes>, R>> {
    // SAFETY: attached; a new reference to uninitialised bytes, or null.
    let object = unsafe {
        Bound::from_owned_ptr_or_err(
            py,
            ffi::PyBytes_FromStringAndSize(std::ptr::null(), capacity as ffi::Py_ssize_t),
        )?
    };
    // SAFETY: a bytes object of `capacity` bytes that nobody else has seen.
    let memory = unsafe {
        std::slice::from_raw_parts_mut(
            ffi::PyBytes_AsString(object.as_ptr()).cast::<u8>(),
            capacity,
        )
    };
    let count = match fill(memory) {
        Ok(count) => count,
        Err(rest) => return Ok(Err(rest)),
    };
    let mut raw = object.into_ptr();
    // SAFETY: the only reference to a bytes object; the call replaces it, or frees it and sets an exception.
    if unsafe { ffi::_PyBytes_Resize(&mut raw, count as ffi::Py_ssize_t) } != 0 {
        return Err(PyErr::fetch(py));
    }
    // SAFETY: the reference that `_PyBytes_Resize` left, a bytes object.
    Ok(Ok(unsafe {
        Bound::from_owned_ptr(py, raw).cast_into_unchecked()
    }))
}
