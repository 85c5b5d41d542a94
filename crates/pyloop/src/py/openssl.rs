//! OpenSSL underneath Python's `ssl`: the very library that `_ssl` has loaded, called on the very objects that `ssl` has
//! made.
//!
//! An `ssl.SSLObject` owns an `SSL`, an `ssl.MemoryBIO` a `BIO`. Neither hands out its pointer, so it is read from where
//! CPython keeps it. [`discover`] makes sure of that place once per process, with objects of its own making, before
//! anything of the application's is touched; each connection is compared again ([`Connection::of`]). What cannot be
//! verified is not used, and the connection goes through Python's methods instead.
//!
//! A connection gets a `BIO` of ours in the place of the two in memory: they clear the memory that they grow by, and hand
//! out what they hold only as a copy.
//!
//! Only what moves data is called here. Handshake, shutdown and the making of exceptions stay with `_ssl`; a call that
//! fails is repeated there, where OpenSSL reports the same failure again.
//!
//! Callbacks of a context take the interpreter's lock by `PyGILState_Ensure`, which we hold: they may run inside of any
//! call.

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_void};
use std::sync::OnceLock;

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
    set_bio: unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_void),
    clear_errors: unsafe extern "C" fn(),
    bio_new: unsafe extern "C" fn(*const c_void) -> *mut c_void,
    bio_set_data: unsafe extern "C" fn(*mut c_void, *mut c_void),
    bio_set_init: unsafe extern "C" fn(*mut c_void, c_int),
    bio: BioApi,
    /// The `BIO_METHOD` of [`Pipes`].
    method: *const c_void,
}

/// The functions that a BIO's callbacks need, which are told nothing but the BIO.
#[derive(Clone, Copy)]
struct BioApi {
    data: unsafe extern "C" fn(*mut c_void) -> *mut c_void,
    set_flags: unsafe extern "C" fn(*mut c_void, c_int),
    clear_flags: unsafe extern "C" fn(*mut c_void, c_int),
}

// SAFETY: function pointers, and a pointer to a table that nobody writes to once it is made.
unsafe impl Send for Api {}
// SAFETY: as above.
unsafe impl Sync for Api {}

/// What waits on either side of a connection. Owned by the BIO, which frees it.
struct Pipes {
    bio: BioApi,
    incoming: Vec<u8>,
    /// Bytes of `incoming` that OpenSSL has taken.
    taken: usize,
    outgoing: Vec<u8>,
}

/// A pipe that has grown beyond this, in bytes, gives its memory back when it is empty.
const KEPT: usize = 320 * 1024;

/// `BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY` of `openssl/bio.h`: there will be more to read.
const RETRY_READ: c_int = 0x01 | 0x08;
/// `BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY`.
const RETRY: c_int = 0x07 | 0x08;
/// `BIO_CTRL_PENDING`, `BIO_CTRL_FLUSH`, `BIO_CTRL_DUP`, `BIO_CTRL_WPENDING`.
const PENDING: c_int = 10;
const FLUSH: c_int = 11;
const DUP: c_int = 12;
const WRITE_PENDING: c_int = 13;
/// `BIO_TYPE_SOURCE_SINK`, with an index that no type of the library's has.
const KIND: c_int = 0x0400 | 0x7f;

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
    /// The state of the SSL's BIO, which lives as long as the SSL.
    pipes: *mut Pipes,
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
    let raw = object.getattr("_sslobj")?;
    let Some(connection) = Connection::with(api, &raw, &context, &incoming, &outgoing) else {
        return Ok(None);
    };
    // A client's greeting, made by Python, arrives here; what is fed here, Python complains about.
    let waits = object.call_method0("do_handshake").is_err();
    let greeting = connection.outgoing();
    let greets = greeting.len() > 5 && greeting[..2] == [22, 3];
    connection.feed(b"this is no record at all");
    let refuses = object.call_method0("do_handshake").is_err();
    let usable = waits && greets && refuses && connection.incoming_size() < 24;
    Ok(usable.then_some(api))
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
    Ok(functions(find))
}

/// All functions, if all are there, and the table of our BIO.
fn functions(find: impl Fn(&CStr) -> Option<*mut c_void>) -> Option<Api> {
    // SAFETY: each name is that of a function of the signature in `Api`, by OpenSSL's manual, since 1.1.1.
    unsafe {
        let method_new: unsafe extern "C" fn(c_int, *const c_char) -> *mut c_void =
            std::mem::transmute(find(c"BIO_meth_new")?);
        let set_write: unsafe extern "C" fn(*mut c_void, BioWrite) -> c_int =
            std::mem::transmute(find(c"BIO_meth_set_write")?);
        let set_read: unsafe extern "C" fn(*mut c_void, BioRead) -> c_int =
            std::mem::transmute(find(c"BIO_meth_set_read")?);
        let set_ctrl: unsafe extern "C" fn(*mut c_void, BioCtrl) -> c_int =
            std::mem::transmute(find(c"BIO_meth_set_ctrl")?);
        let set_destroy: unsafe extern "C" fn(*mut c_void, BioDestroy) -> c_int =
            std::mem::transmute(find(c"BIO_meth_set_destroy")?);
        let mut api = Api {
            read: std::mem::transmute::<*mut c_void, _>(find(c"SSL_read_ex")?),
            write: std::mem::transmute::<*mut c_void, _>(find(c"SSL_write_ex")?),
            error: std::mem::transmute::<*mut c_void, _>(find(c"SSL_get_error")?),
            rbio: std::mem::transmute::<*mut c_void, _>(find(c"SSL_get_rbio")?),
            wbio: std::mem::transmute::<*mut c_void, _>(find(c"SSL_get_wbio")?),
            set_bio: std::mem::transmute::<*mut c_void, _>(find(c"SSL_set_bio")?),
            clear_errors: std::mem::transmute::<*mut c_void, _>(find(c"ERR_clear_error")?),
            bio_new: std::mem::transmute::<*mut c_void, _>(find(c"BIO_new")?),
            bio_set_data: std::mem::transmute::<*mut c_void, _>(find(c"BIO_set_data")?),
            bio_set_init: std::mem::transmute::<*mut c_void, _>(find(c"BIO_set_init")?),
            bio: BioApi {
                data: std::mem::transmute::<*mut c_void, _>(find(c"BIO_get_data")?),
                set_flags: std::mem::transmute::<*mut c_void, _>(find(c"BIO_set_flags")?),
                clear_flags: std::mem::transmute::<*mut c_void, _>(find(c"BIO_clear_flags")?),
            },
            method: std::ptr::null(),
        };
        DATA.get_or_init(|| api.bio.data);
        let method = method_new(KIND, c"pyloop".as_ptr());
        let set = !method.is_null()
            && set_write(method, bio_write) != 0
            && set_read(method, bio_read) != 0
            && set_ctrl(method, bio_ctrl) != 0
            && set_destroy(method, bio_destroy) != 0;
        api.method = method;
        set.then_some(api)
    }
}

type BioWrite = unsafe extern "C" fn(*mut c_void, *const c_char, c_int) -> c_int;
type BioRead = unsafe extern "C" fn(*mut c_void, *mut c_char, c_int) -> c_int;
type BioCtrl = unsafe extern "C" fn(*mut c_void, c_int, c_long, *mut c_void) -> c_long;
type BioDestroy = unsafe extern "C" fn(*mut c_void) -> c_int;

/// `BIO_get_data`, for callbacks.
static DATA: OnceLock<unsafe extern "C" fn(*mut c_void) -> *mut c_void> = OnceLock::new();

/// The pipes behind a BIO of ours.
///
/// # Safety
/// `bio` was made with our method, and the reference ends before the callback does.
unsafe fn pipes<'a>(bio: *mut c_void) -> Option<&'a mut Pipes> {
    // SAFETY: a live BIO; its data are null or `Pipes`, which nobody else refers to during a call into the library.
    unsafe { DATA.get()?(bio).cast::<Pipes>().as_mut() }
}

unsafe extern "C" fn bio_write(bio: *mut c_void, data: *const c_char, len: c_int) -> c_int {
    // SAFETY: called by the library with a BIO of ours.
    let Some(pipes) = (unsafe { pipes(bio) }) else {
        return -1;
    };
    // SAFETY: a live BIO.
    unsafe { (pipes.bio.clear_flags)(bio, RETRY) };
    let Ok(count) = usize::try_from(len) else {
        return -1;
    };
    if count > 0 {
        // SAFETY: the library hands over that much memory for the length of the call.
        let data = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), count) };
        pipes.outgoing.extend_from_slice(data);
    }
    len
}

unsafe extern "C" fn bio_read(bio: *mut c_void, data: *mut c_char, len: c_int) -> c_int {
    // SAFETY: called by the library with a BIO of ours.
    let Some(pipes) = (unsafe { pipes(bio) }) else {
        return -1;
    };
    // SAFETY: a live BIO.
    unsafe { (pipes.bio.clear_flags)(bio, RETRY) };
    let waiting = &pipes.incoming[pipes.taken..];
    let count = waiting.len().min(usize::try_from(len).unwrap_or(0));
    if count == 0 {
        // SAFETY: a live BIO.
        unsafe { (pipes.bio.set_flags)(bio, RETRY_READ) };
        return -1;
    }
    // SAFETY: the library hands over that much memory, none of which is ours.
    unsafe { std::ptr::copy_nonoverlapping(waiting.as_ptr(), data.cast::<u8>(), count) };
    pipes.taken += count;
    if pipes.taken == pipes.incoming.len() {
        pipes.taken = 0;
        empty(&mut pipes.incoming);
    }
    count as c_int // At most `len`.
}

unsafe extern "C" fn bio_ctrl(
    bio: *mut c_void,
    command: c_int,
    _: c_long,
    _: *mut c_void,
) -> c_long {
    // SAFETY: called by the library with a BIO of ours.
    let Some(pipes) = (unsafe { pipes(bio) }) else {
        return 0;
    };
    match command {
        FLUSH | DUP => 1,
        PENDING => (pipes.incoming.len() - pipes.taken) as c_long,
        WRITE_PENDING => pipes.outgoing.len() as c_long,
        _ => 0,
    }
}

unsafe extern "C" fn bio_destroy(bio: *mut c_void) -> c_int {
    let Some(data) = DATA.get() else {
        return 0;
    };
    // SAFETY: a BIO of ours, in its last moment.
    let pipes = unsafe { data(bio) }.cast::<Pipes>();
    if !pipes.is_null() {
        // SAFETY: made by `Box::into_raw`, and freed here only.
        drop(unsafe { Box::from_raw(pipes) });
    }
    1
}

/// Empties a pipe; one that has grown large gives its memory back.
fn empty(pipe: &mut Vec<u8>) {
    if pipe.capacity() > KEPT {
        *pipe = Vec::new();
    } else {
        pipe.clear();
    }
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
        if rbio != incoming || wbio != outgoing {
            return None;
        }
        // SAFETY: our own method.
        let bio = unsafe { (api.bio_new)(api.method) };
        if bio.is_null() {
            return None;
        }
        let pipes = Box::into_raw(Box::new(Pipes {
            bio: api.bio,
            incoming: Vec::new(),
            taken: 0,
            outgoing: Vec::new(),
        }));
        // SAFETY: a fresh BIO, which owns the pipes from here on.
        unsafe { (api.bio_set_data)(bio, pipes.cast()) };
        // SAFETY: as above.
        unsafe { (api.bio_set_init)(bio, 1) };
        // SAFETY: a live SSL, which takes our one reference for both directions, and gives up those to the old BIOs:
        // Python's objects have their own.
        unsafe { (api.set_bio)(ssl, bio, bio) };
        Some(Self { api, ssl, pipes })
    }

    /// The pipes, between two calls into the library.
    #[expect(
        clippy::mut_from_ref,
        reason = "used for one statement each, by the loop's thread alone"
    )]
    fn pipes(&self) -> &mut Pipes {
        // SAFETY: alive as long as the SSL; no callback is running, so this is the only reference.
        unsafe { &mut *self.pipes }
    }

    /// Takes in records.
    pub(crate) fn feed(&self, records: &[u8]) {
        let pipes = self.pipes();
        if pipes.taken > 0 {
            pipes.incoming.drain(..pipes.taken);
            pipes.taken = 0;
        }
        pipes.incoming.extend_from_slice(records);
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

    /// Takes out the records that are to be sent; [`reuse`](Self::reuse) takes the memory back.
    #[inline]
    pub(crate) fn outgoing(&self) -> Vec<u8> {
        std::mem::take(&mut self.pipes().outgoing)
    }

    /// Takes back the memory of records that were sent, for the next ones.
    pub(crate) fn reuse(&self, mut sent: Vec<u8>) {
        let pipes = self.pipes();
        if pipes.outgoing.capacity() == 0 {
            empty(&mut sent);
            pipes.outgoing = sent;
        }
    }

    /// Bytes of records that wait to be decrypted.
    pub(crate) fn incoming_size(&self) -> usize {
        let pipes = self.pipes();
        pipes.incoming.len() - pipes.taken
    }

    /// Bytes of records that wait to be sent.
    pub(crate) fn outgoing_size(&self) -> usize {
        self.pipes().outgoing.len()
    }
}
