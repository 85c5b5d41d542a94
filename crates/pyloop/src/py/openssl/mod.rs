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
//!
//! | module | owns |
//! |---|---|
//! | `functions` | the library's functions |
//! | `bio` | where records wait |

mod bio;
mod functions;

use std::ffi::{c_int, c_void};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use self::bio::{Pipes, empty};
use self::functions::Functions;

/// `SSL_ERROR_WANT_READ`, `SSL_ERROR_WANT_WRITE` and `SSL_ERROR_ZERO_RETURN` of `openssl/ssl.h`, the same since 0.9.
const WANT_READ: c_int = 2;
const WANT_WRITE: c_int = 3;
const ZERO_RETURN: c_int = 6;

/// Bytes of records that wait which are not copied to other memory any more: four records.
const MUCH: usize = 64 * 1024;

/// Words after the head of a `_ssl._SSLSocket`: the socket object (null between memory BIOs), the `SSL`, the context.
const SOCKET: usize = size_of::<ffi::PyObject>();
const SSL: usize = SOCKET + size_of::<usize>();
const CONTEXT: usize = SSL + size_of::<usize>();
/// Word after the head of a `_ssl.MemoryBIO`: the `BIO`.
const BIO: usize = size_of::<ffi::PyObject>();

/// The library, once it was found usable.
#[derive(Clone, Copy)]
struct Library {
    functions: &'static Functions,
    /// The method table of our BIO.
    method: *const c_void,
}

// SAFETY: a table that nobody writes to once it is made.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

static LIBRARY: PyOnceLock<Option<Library>> = PyOnceLock::new();

/// What a call came to.
pub(crate) enum Outcome {
    /// As much as was asked for.
    Done,
    /// More must arrive first.
    Again,
    /// The peer has announced its end.
    Closed,
    /// To be repeated through Python, which raises the exception.
    Failed,
}

/// The pointers of one connection. Valid for as long as the Python objects that they come from are held.
pub(crate) struct Connection {
    functions: &'static Functions,
    ssl: *mut c_void,
    /// The state of the SSL's BIO, which lives as long as the SSL.
    pipes: *mut Pipes,
}

// SAFETY: used by the thread that has the loop, attached to an interpreter with a lock (`discover` refuses others).
unsafe impl Send for Connection {}
// SAFETY: as above.
unsafe impl Sync for Connection {}

/// Finds the library, and makes sure of the places where CPython keeps its pointers.
fn discover(py: Python<'_>) -> PyResult<Option<Library>> {
    if cfg!(Py_GIL_DISABLED) {
        return Ok(None); // Nothing would keep another thread's call on the same object away.
    }
    let Some(functions) = functions::load(py)? else {
        return Ok(None);
    };
    let Some(method) = bio::method(functions) else {
        return Ok(None);
    };
    let library = Library { functions, method };
    let ssl = py.import("ssl")?;
    let context = ssl
        .getattr("SSLContext")?
        .call1((ssl.getattr("PROTOCOL_TLS_CLIENT")?,))?;
    context.setattr("check_hostname", false)?;
    let bio = ssl.getattr("MemoryBIO")?;
    let (incoming, outgoing) = (bio.call0()?, bio.call0()?);
    let object = context.call_method1("wrap_bio", (&incoming, &outgoing))?;
    let raw = object.getattr("_sslobj")?;
    let Some(connection) = Connection::with(library, &raw, &context, &incoming, &outgoing) else {
        return Ok(None);
    };
    // A client's greeting, made by Python, arrives here; what is fed here, Python complains about.
    let waits = object.call_method0("do_handshake").is_err();
    let greeting = connection.outgoing();
    let greets = greeting.len() > 5 && greeting[..2] == [22, 3];
    connection.feed(b"this is no record at all");
    let refuses = object.call_method0("do_handshake").is_err();
    let usable = waits && greets && refuses && connection.incoming_size() < 24;
    Ok(usable.then_some(library))
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
        let library = *LIBRARY.get_or_try_init(py, || discover(py))?;
        Ok(library.and_then(|library| Self::with(library, raw, context, incoming, outgoing)))
    }

    fn with(
        library: Library,
        raw: &Bound<'_, PyAny>,
        context: &Bound<'_, PyAny>,
        incoming: &Bound<'_, PyAny>,
        outgoing: &Bound<'_, PyAny>,
    ) -> Option<Self> {
        let functions = library.functions;
        let ssl = word(raw, SSL)?;
        // What surrounds the pointer is known, so the pointer is what we take it for.
        let placed = word(raw, SOCKET)?.is_null() && word(raw, CONTEXT)? == context.as_ptr().cast();
        let (incoming, outgoing) = (word(incoming, BIO)?, word(outgoing, BIO)?);
        if !placed || ssl.is_null() || incoming.is_null() || outgoing.is_null() {
            return None;
        }
        // SAFETY: an `SSL` by its place between two known words.
        let (rbio, wbio) = unsafe { ((functions.rbio)(ssl), (functions.wbio)(ssl)) };
        if rbio != incoming || wbio != outgoing {
            return None;
        }
        let (bio, pipes) = bio::make(functions, library.method)?;
        // SAFETY: a live SSL, which takes our one reference for both directions, and gives up those to the old BIOs:
        // Python's objects have their own.
        unsafe { (functions.set_bio)(ssl, bio, bio) };
        Some(Self {
            functions,
            ssl,
            pipes,
        })
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

    /// Has `receive` append records to what waits. They are received into `memory` itself, which is exchanged for the
    /// connection's own, unless much waits already.
    pub(crate) fn fill<R>(
        &self,
        memory: &mut Vec<u8>,
        receive: impl FnOnce(&mut Vec<u8>) -> R,
    ) -> R {
        let pipes = self.pipes();
        let waiting = &pipes.incoming[pipes.taken..];
        if waiting.len() > MUCH {
            let result = receive(memory);
            self.feed(memory);
            return result;
        }
        memory.extend_from_slice(waiting);
        pipes.taken = 0;
        std::mem::swap(&mut pipes.incoming, memory);
        receive(&mut pipes.incoming)
    }

    /// The last `count` bytes that have arrived.
    pub(crate) fn newest(&self, count: usize) -> &[u8] {
        let incoming = &self.pipes().incoming;
        &incoming[incoming.len() - count..]
    }

    /// Gives the memory of [`fill`](Self::fill) back, unless much waits in it; what waits is kept.
    pub(crate) fn give_back(&self) -> Option<Vec<u8>> {
        let pipes = self.pipes();
        let waiting = &pipes.incoming[pipes.taken..];
        if waiting.len() > MUCH || pipes.incoming.capacity() <= MUCH {
            return None;
        }
        let kept = waiting.to_vec();
        pipes.taken = 0;
        Some(std::mem::replace(&mut pipes.incoming, kept))
    }

    /// Decrypts into `buffer` until it is full or there is no more; how many bytes, and what the end of it was.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> (usize, Outcome) {
        let mut filled = 0;
        while filled < buffer.len() {
            // A callback inside of the last call may have left an error behind, which would pass for one of this call.
            // SAFETY: takes no arguments.
            unsafe { (self.functions.clear_errors)() };
            let rest = &mut buffer[filled..];
            let mut count = 0;
            // SAFETY: a live SSL, and memory that is written for the length of the call.
            let done = unsafe {
                (self.functions.read)(self.ssl, rest.as_mut_ptr().cast(), rest.len(), &mut count)
            };
            if done <= 0 {
                return (filled, self.outcome(done));
            }
            filled += count;
            if self.is_drained() {
                return (filled, Outcome::Again); // What another call would say, without its price.
            }
        }
        (filled, Outcome::Done)
    }

    /// Whether there is nothing left of what has arrived, neither here nor inside of the SSL.
    fn is_drained(&self) -> bool {
        // SAFETY: a live SSL.
        self.incoming_size() == 0 && unsafe { (self.functions.has_pending)(self.ssl) } == 0
    }

    /// Encrypts all of `bytes`, or nothing.
    #[inline]
    pub(crate) fn write(&self, bytes: &[u8]) -> Outcome {
        let mut count = 0;
        // SAFETY: takes no arguments.
        unsafe { (self.functions.clear_errors)() };
        // SAFETY: a live SSL, and memory that is read for the length of the call.
        let done = unsafe {
            (self.functions.write)(self.ssl, bytes.as_ptr().cast(), bytes.len(), &mut count)
        };
        self.outcome(done)
    }

    /// Leaves the library's queue of errors as it is: a repeated call through Python finds the error there.
    fn outcome(&self, done: c_int) -> Outcome {
        if done > 0 {
            return Outcome::Done;
        }
        // SAFETY: a live SSL, and the result of the last call on it.
        match unsafe { (self.functions.error)(self.ssl, done) } {
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
