//! OpenSSL underneath Python's `ssl`: the very library that `_ssl` has loaded, called on the very objects that `ssl` has
//! made.
//!
//! An `ssl.SSLObject` owns an `SSL`, an `ssl.MemoryBIO` a `BIO`. Neither hands out its pointer, so it is read from where
//! CPython keeps it. [`discover`] makes sure of that place once per process, with objects of its own making, before
//! anything of the application's is touched; each connection is compared again ([`Connection::of`]). What cannot be
//! verified is not used, and the connection goes through Python's methods instead.
//!
//! Only what moves data is called here. Handshake, shutdown and the making of exceptions stay with `_ssl`; a call that
//! fails is repeated there, where OpenSSL reports the same failure again.
//!
//! Callbacks of a context take the interpreter's lock by `PyGILState_Ensure`, which we hold: they may run inside of any
//! call.

use std::ffi::{CStr, CString, c_char, c_int, c_void};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// The functions, found by name in the library that `_ssl` is linked against.
#[derive(Clone, Copy)]
struct Api {
    read: unsafe extern "C" fn(*mut c_void, *mut c_void, usize, *mut usize) -> c_int,
    write: unsafe extern "C" fn(*mut c_void, *const c_void, usize, *mut usize) -> c_int,
    error: unsafe extern "C" fn(*const c_void, c_int) -> c_int,
    rbio: unsafe extern "C" fn(*const c_void) -> *mut c_void,
    wbio: unsafe extern "C" fn(*const c_void) -> *mut c_void,
    clear_errors: unsafe extern "C" fn(),
    bio_read: unsafe extern "C" fn(*mut c_void, *mut c_void, c_int) -> c_int,
    bio_write: unsafe extern "C" fn(*mut c_void, *const c_void, c_int) -> c_int,
    bio_pending: unsafe extern "C" fn(*mut c_void) -> usize,
}

/// `SSL_ERROR_WANT_READ`, `SSL_ERROR_WANT_WRITE` and `SSL_ERROR_ZERO_RETURN` of `openssl/ssl.h`, the same since 0.9.
const WANT_READ: c_int = 2;
const WANT_WRITE: c_int = 3;
const ZERO_RETURN: c_int = 6;

/// Words after the head of a `_ssl._SSLSocket`: the socket object (null between memory BIOs), the `SSL`, the context.
const SOCKET: usize = size_of::<ffi::PyObject>();
const SSL: usize = SOCKET + size_of::<usize>();
const CONTEXT: usize = SSL + size_of::<usize>();
/// Word after the head of a `_ssl.MemoryBIO`: the `BIO`.
const BIO: usize = size_of::<ffi::PyObject>();

static API: PyOnceLock<Option<Api>> = PyOnceLock::new();

/// What a call came to.
pub(crate) enum Outcome {
    /// So many bytes.
    Done(usize),
    /// More must arrive first.
    Again,
    /// The peer has announced its end.
    Closed,
    /// To be repeated through Python, which raises the exception.
    Failed,
}

/// The pointers of one connection. Valid for as long as the Python objects that they come from are held.
pub(crate) struct Connection {
    api: Api,
    ssl: *mut c_void,
    incoming: *mut c_void,
    outgoing: *mut c_void,
}

// SAFETY: used by the thread that has the loop, attached to an interpreter with a lock (`discover` refuses others).
unsafe impl Send for Connection {}
// SAFETY: as above.
unsafe impl Sync for Connection {}

/// Finds the library, and makes sure of the places where CPython keeps its pointers.
fn discover(py: Python<'_>) -> PyResult<Option<Api>> {
    if cfg!(Py_GIL_DISABLED) {
        return Ok(None); // Nothing would keep another thread's call on the same object away.
    }
    let Some(api) = load(py)? else {
        return Ok(None);
    };
    let ssl = py.import("ssl")?;
    let context = ssl
        .getattr("SSLContext")?
        .call1((ssl.getattr("PROTOCOL_TLS_CLIENT")?,))?;
    context.setattr("check_hostname", false)?;
    let bio = ssl.getattr("MemoryBIO")?;
    let (incoming, outgoing) = (bio.call0()?, bio.call0()?);
    let object = context.call_method1("wrap_bio", (&incoming, &outgoing))?;
    let Some(connection) = Connection::with(
        api,
        &object.getattr("_sslobj")?,
        &context,
        &incoming,
        &outgoing,
    ) else {
        return Ok(None);
    };
    // The same bytes must be seen from both sides.
    incoming.call_method1("write", (pyo3::types::PyBytes::new(py, b"abc"),))?;
    let seen = connection.incoming_size() == 3;
    let fed = connection.feed(b"de") && incoming.getattr("pending")?.extract::<usize>()? == 5;
    // A client's greeting, made by Python, is read by us.
    incoming.call_method1("read", (5,))?;
    let _wants_read = object.call_method0("do_handshake");
    let size = outgoing.getattr("pending")?.extract::<usize>()?;
    let mut greeting = [0; 5];
    let read = connection.take(&mut greeting) == 5 && greeting[..2] == [22, 3];
    let same = seen && fed && read && size > 5 && connection.outgoing_size() == size - 5;
    Ok(same.then_some(api))
}

/// Looks the functions up in the library that `_ssl` has loaded; `None` if there is no such library or it lacks one.
fn load(py: Python<'_>) -> PyResult<Option<Api>> {
    let module = py.import("_ssl")?;
    let Some(path) = module.getattr_opt("__file__")? else {
        return Ok(None); // Part of the interpreter itself, which exports nothing of it.
    };
    let Ok(path) = CString::new(path.extract::<String>()?) else {
        return Ok(None);
    };
    // SAFETY: a C string; the library is loaded already, and `RTLD_NOLOAD` only asks for another handle on it.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD) };
    if handle.is_null() {
        return Ok(None);
    }
    // The handle is kept: the functions are in use from now on.
    let find = |name: &CStr| {
        // SAFETY: a live handle and a C string.
        let found = unsafe { libc::dlsym(handle, name.as_ptr()) };
        (!found.is_null()).then_some(found)
    };
    let version: Option<unsafe extern "C" fn(c_int) -> *const c_char> =
        // SAFETY: `const char *OpenSSL_version(int)`, since 1.1.0.
        find(c"OpenSSL_version").map(|found| unsafe { std::mem::transmute(found) });
    let Some(version) = version else {
        return Ok(None);
    };
    // SAFETY: returns a static C string.
    let version = unsafe { CStr::from_ptr(version(0)) }
        .to_string_lossy()
        .into_owned();
    if version
        != py
            .import("ssl")?
            .getattr("OPENSSL_VERSION")?
            .extract::<String>()?
    {
        return Ok(None); // Another copy of the library.
    }
    let api = (|| {
        // SAFETY: each name is that of a function of the signature in `Api`, by OpenSSL's manual, since 1.1.1.
        unsafe {
            Some(Api {
                read: std::mem::transmute::<*mut c_void, _>(find(c"SSL_read_ex")?),
                write: std::mem::transmute::<*mut c_void, _>(find(c"SSL_write_ex")?),
                error: std::mem::transmute::<*mut c_void, _>(find(c"SSL_get_error")?),
                rbio: std::mem::transmute::<*mut c_void, _>(find(c"SSL_get_rbio")?),
                wbio: std::mem::transmute::<*mut c_void, _>(find(c"SSL_get_wbio")?),
                clear_errors: std::mem::transmute::<*mut c_void, _>(find(c"ERR_clear_error")?),
                bio_read: std::mem::transmute::<*mut c_void, _>(find(c"BIO_read")?),
                bio_write: std::mem::transmute::<*mut c_void, _>(find(c"BIO_write")?),
                bio_pending: std::mem::transmute::<*mut c_void, _>(find(c"BIO_ctrl_pending")?),
            })
        }
    })();
    Ok(api)
}

/// The word at `offset` of an object, if its type says that instances are large enough to have one there.
fn word(object: &Bound<'_, PyAny>, offset: usize) -> Option<*mut c_void> {
    let kind = object.get_type();
    // SAFETY: a live type object.
    let size = unsafe { (*kind.as_type_ptr()).tp_basicsize } as usize;
    if offset + size_of::<*mut c_void>() > size {
        return None;
    }
    // SAFETY: an aligned word inside of a live object.
    Some(unsafe { *object.as_ptr().cast::<u8>().add(offset).cast() })
}

impl Connection {
    /// The pointers of a connection between memory BIOs; `None` if anything is not as it should be.
    ///
    /// `raw` is the `_ssl._SSLSocket` of an `ssl.SSLObject`.
    pub(crate) fn of(
        raw: &Bound<'_, PyAny>,
        context: &Bound<'_, PyAny>,
        incoming: &Bound<'_, PyAny>,
        outgoing: &Bound<'_, PyAny>,
    ) -> PyResult<Option<Self>> {
        let py = raw.py();
        let api = *API.get_or_try_init(py, || discover(py))?;
        Ok(api.and_then(|api| Self::with(api, raw, context, incoming, outgoing)))
    }

    fn with(
        api: Api,
        raw: &Bound<'_, PyAny>,
        context: &Bound<'_, PyAny>,
        incoming: &Bound<'_, PyAny>,
        outgoing: &Bound<'_, PyAny>,
    ) -> Option<Self> {
        let ssl = word(raw, SSL)?;
        // What surrounds the pointer is known, so the pointer is what we take it for.
        let placed = word(raw, SOCKET)?.is_null() && word(raw, CONTEXT)? == context.as_ptr().cast();
        let (incoming, outgoing) = (word(incoming, BIO)?, word(outgoing, BIO)?);
        if !placed || ssl.is_null() || incoming.is_null() || outgoing.is_null() {
            return None;
        }
        // SAFETY: an `SSL` by its place between two known words.
        let (rbio, wbio) = unsafe { ((api.rbio)(ssl), (api.wbio)(ssl)) };
        (rbio == incoming && wbio == outgoing).then_some(Self {
            api,
            ssl,
            incoming,
            outgoing,
        })
    }

    /// Takes in records; whether there was memory for them.
    pub(crate) fn feed(&self, records: &[u8]) -> bool {
        let Ok(len) = c_int::try_from(records.len()) else {
            return false;
        };
        // SAFETY: a live BIO, and memory that is read for the length of the call.
        unsafe { (self.api.bio_write)(self.incoming, records.as_ptr().cast(), len) == len }
    }

    /// Decrypts into `buffer`: one record, or as much of it as there is room for.
    #[inline]
    pub(crate) fn read(&self, buffer: &mut [u8]) -> Outcome {
        let mut count = 0;
        // SAFETY: takes no arguments.
        unsafe { (self.api.clear_errors)() };
        // SAFETY: a live SSL, and memory that is written for the length of the call.
        let done = unsafe {
            (self.api.read)(
                self.ssl,
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                &mut count,
            )
        };
        self.outcome(done, count)
    }

    /// Encrypts all of `bytes`, or nothing.
    #[inline]
    pub(crate) fn write(&self, bytes: &[u8]) -> Outcome {
        let mut count = 0;
        // SAFETY: takes no arguments.
        unsafe { (self.api.clear_errors)() };
        // SAFETY: a live SSL, and memory that is read for the length of the call.
        let done =
            unsafe { (self.api.write)(self.ssl, bytes.as_ptr().cast(), bytes.len(), &mut count) };
        self.outcome(done, count)
    }

    /// Leaves the library's queue of errors as it is: a repeated call through Python finds the error there.
    fn outcome(&self, done: c_int, count: usize) -> Outcome {
        if done > 0 {
            return Outcome::Done(count);
        }
        // SAFETY: a live SSL, and the result of the last call on it.
        match unsafe { (self.api.error)(self.ssl, done) } {
            WANT_READ | WANT_WRITE => Outcome::Again,
            ZERO_RETURN => Outcome::Closed,
            _ => Outcome::Failed,
        }
    }

    /// Moves records that are to be sent into `buffer`; how many bytes.
    #[inline]
    pub(crate) fn take(&self, buffer: &mut [u8]) -> usize {
        let len = c_int::try_from(buffer.len()).unwrap_or(c_int::MAX);
        // SAFETY: a live BIO, and memory that is written for the length of the call.
        let count = unsafe { (self.api.bio_read)(self.outgoing, buffer.as_mut_ptr().cast(), len) };
        usize::try_from(count).unwrap_or(0) // Negative: there is nothing.
    }

    /// Bytes of records that wait to be decrypted.
    pub(crate) fn incoming_size(&self) -> usize {
        // SAFETY: a live BIO.
        unsafe { (self.api.bio_pending)(self.incoming) }
    }

    /// Bytes of records that wait to be sent.
    pub(crate) fn outgoing_size(&self) -> usize {
        // SAFETY: a live BIO.
        unsafe { (self.api.bio_pending)(self.outgoing) }
    }
}
