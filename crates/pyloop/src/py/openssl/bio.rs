//! A `BIO` of ours: what arrived waits in one vector, what is to be sent in another.

use std::ffi::{c_char, c_int, c_long, c_void};

use super::functions::{Functions, loaded};

/// What waits on either side of a connection. Owned by the BIO, which frees it.
pub(super) struct Pipes {
    pub(super) incoming: Vec<u8>,
    /// Bytes of `incoming` that OpenSSL has taken.
    pub(super) taken: usize,
    pub(super) outgoing: Vec<u8>,
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

/// The method table of our BIO; `None` if the library has no memory for it.
pub(super) fn method(functions: &Functions) -> Option<*mut c_void> {
    // SAFETY: a C string; the table lives for ever.
    let method = unsafe { (functions.method_new)(KIND, c"pyloop".as_ptr()) };
    if method.is_null() {
        return None;
    }
    // SAFETY: a fresh table, and callbacks of the signatures that it wants.
    let set = unsafe {
        (functions.method_set_write)(method, bio_write) != 0
            && (functions.method_set_read)(method, bio_read) != 0
            && (functions.method_set_control)(method, bio_control) != 0
            && (functions.method_set_destroy)(method, bio_destroy) != 0
    };
    set.then_some(method)
}

/// A new BIO with one reference, and its pipes; `None` if the library has no memory for it.
pub(super) fn make(
    functions: &Functions,
    method: *const c_void,
) -> Option<(*mut c_void, *mut Pipes)> {
    // SAFETY: our own table.
    let bio = unsafe { (functions.bio_new)(method) };
    if bio.is_null() {
        return None;
    }
    let pipes = Box::into_raw(Box::new(Pipes {
        incoming: Vec::new(),
        taken: 0,
        outgoing: Vec::new(),
    }));
    // SAFETY: a fresh BIO, which owns the pipes from here on.
    unsafe { (functions.bio_set_data)(bio, pipes.cast()) };
    // SAFETY: as above.
    unsafe { (functions.bio_set_init)(bio, 1) };
    Some((bio, pipes))
}

/// The pipes behind a BIO of ours.
///
/// # Safety
/// `bio` was made with our method, and the reference ends before the callback does.
unsafe fn pipes<'a>(bio: *mut c_void) -> Option<(&'a mut Pipes, &'static Functions)> {
    let functions = loaded()?;
    // SAFETY: a live BIO; its data are null or `Pipes`, which nobody else refers to during a call into the library.
    let pipes = unsafe { (functions.bio_get_data)(bio).cast::<Pipes>().as_mut() }?;
    Some((pipes, functions))
}

unsafe extern "C" fn bio_write(bio: *mut c_void, data: *const c_char, len: c_int) -> c_int {
    // SAFETY: called by the library with a BIO of ours.
    let Some((pipes, functions)) = (unsafe { pipes(bio) }) else {
        return -1;
    };
    // SAFETY: a live BIO.
    unsafe { (functions.bio_clear_flags)(bio, RETRY) };
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
    let Some((pipes, functions)) = (unsafe { pipes(bio) }) else {
        return -1;
    };
    // SAFETY: a live BIO.
    unsafe { (functions.bio_clear_flags)(bio, RETRY) };
    let waiting = &pipes.incoming[pipes.taken..];
    let count = waiting.len().min(usize::try_from(len).unwrap_or(0));
    if count == 0 {
        // SAFETY: a live BIO.
        unsafe { (functions.bio_set_flags)(bio, RETRY_READ) };
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

unsafe extern "C" fn bio_control(
    bio: *mut c_void,
    command: c_int,
    _: c_long,
    _: *mut c_void,
) -> c_long {
    // SAFETY: called by the library with a BIO of ours.
    let Some((pipes, _)) = (unsafe { pipes(bio) }) else {
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
    let Some(functions) = loaded() else {
        return 0;
    };
    // SAFETY: a BIO of ours, in its last moment.
    let pipes = unsafe { (functions.bio_get_data)(bio) }.cast::<Pipes>();
    if !pipes.is_null() {
        // SAFETY: made by `Box::into_raw`, and freed here only.
        drop(unsafe { Box::from_raw(pipes) });
    }
    1
}

/// Empties a pipe; one that has grown large gives its memory back.
pub(super) fn empty(pipe: &mut Vec<u8>) {
    if pipe.capacity() > KEPT {
        *pipe = Vec::new();
    } else {
        pipe.clear();
    }
}
