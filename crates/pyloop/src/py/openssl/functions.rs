//! OpenSSL's functions, found by name in the library that `_ssl` is linked against.

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_void};
use std::sync::OnceLock;

use pyo3::prelude::*;

pub(super) type BioWrite = unsafe extern "C" fn(*mut c_void, *const c_char, c_int) -> c_int;
pub(super) type BioRead = unsafe extern "C" fn(*mut c_void, *mut c_char, c_int) -> c_int;
pub(super) type BioControl =
    unsafe extern "C" fn(*mut c_void, c_int, c_long, *mut c_void) -> c_long;
pub(super) type BioDestroy = unsafe extern "C" fn(*mut c_void) -> c_int;

macro_rules! functions {
    ($($field:ident = $name:literal : $kind:ty;)*) => {
        /// The functions that are called, each of the signature that OpenSSL's manual gives it since 1.1.1.
        pub(super) struct Functions {
            $(pub(super) $field: $kind,)*
        }

        impl Functions {
            /// `None` if one of them is missing.
            fn find(find: impl Fn(&CStr) -> Option<*mut c_void>) -> Option<Self> {
                Some(Self {
                    // SAFETY: the address of a function of that name, which has that signature.
                    $($field: unsafe { std::mem::transmute::<*mut c_void, $kind>(find($name)?) },)*
                })
            }
        }
    };
}

functions! {
    version = c"OpenSSL_version": unsafe extern "C" fn(c_int) -> *const c_char;
    read = c"SSL_read_ex": unsafe extern "C" fn(*mut c_void, *mut c_void, usize, *mut usize) -> c_int;
    write = c"SSL_write_ex": unsafe extern "C" fn(*mut c_void, *const c_void, usize, *mut usize) -> c_int;
    has_pending = c"SSL_has_pending": unsafe extern "C" fn(*const c_void) -> c_int;
    error = c"SSL_get_error": unsafe extern "C" fn(*const c_void, c_int) -> c_int;
    rbio = c"SSL_get_rbio": unsafe extern "C" fn(*const c_void) -> *mut c_void;
    wbio = c"SSL_get_wbio": unsafe extern "C" fn(*const c_void) -> *mut c_void;
    set_bio = c"SSL_set_bio": unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_void);
    clear_errors = c"ERR_clear_error": unsafe extern "C" fn();
    bio_new = c"BIO_new": unsafe extern "C" fn(*const c_void) -> *mut c_void;
    bio_set_data = c"BIO_set_data": unsafe extern "C" fn(*mut c_void, *mut c_void);
    bio_get_data = c"BIO_get_data": unsafe extern "C" fn(*mut c_void) -> *mut c_void;
    bio_set_init = c"BIO_set_init": unsafe extern "C" fn(*mut c_void, c_int);
    bio_set_flags = c"BIO_set_flags": unsafe extern "C" fn(*mut c_void, c_int);
    bio_clear_flags = c"BIO_clear_flags": unsafe extern "C" fn(*mut c_void, c_int);
    method_new = c"BIO_meth_new": unsafe extern "C" fn(c_int, *const c_char) -> *mut c_void;
    method_set_write = c"BIO_meth_set_write": unsafe extern "C" fn(*mut c_void, BioWrite) -> c_int;
    method_set_read = c"BIO_meth_set_read": unsafe extern "C" fn(*mut c_void, BioRead) -> c_int;
    method_set_control = c"BIO_meth_set_ctrl": unsafe extern "C" fn(*mut c_void, BioControl) -> c_int;
    method_set_destroy = c"BIO_meth_set_destroy": unsafe extern "C" fn(*mut c_void, BioDestroy) -> c_int;
}

/// Kept for ever: callbacks of the library use it for as long as there is a connection.
static FUNCTIONS: OnceLock<Functions> = OnceLock::new();

/// The functions, once [`load`] has found them.
#[inline]
pub(super) fn loaded() -> Option<&'static Functions> {
    FUNCTIONS.get()
}

/// Finds the functions in the library that `_ssl` has loaded; `None` if that cannot be told, or it lacks one.
///
/// # Errors
/// What looking at the module raises.
pub(super) fn load(py: Python<'_>) -> PyResult<Option<&'static Functions>> {
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
    let found = Functions::find(|name| {
        // SAFETY: a live handle and a C string.
        let address = unsafe { libc::dlsym(handle, name.as_ptr()) };
        (!address.is_null()).then_some(address)
    });
    let Some(found) = found else {
        return Ok(None);
    };
    // SAFETY: returns a static C string.
    let version = unsafe { CStr::from_ptr((found.version)(0)) };
    let expected = py.import("ssl")?.getattr("OPENSSL_VERSION")?;
    if version.to_string_lossy() != expected.extract::<String>()? {
        return Ok(None); // Another copy of the library.
    }
    Ok(Some(FUNCTIONS.get_or_init(|| found)))
}
