//! Which process this is, for what must not be used by the child of a fork.
//!
//! The system's own answer, `getpid`, is a system call, 100 ns where a timer is set in 200. So the C library is asked to tell of
//! forks, by `pthread_atfork`. Children made past it are not told of: those of a bare `clone` or of `_Fork`, where little of the C
//! library may be used anyway, and those of `vfork`, which have their parent's memory and may only call `exec`.
#![expect(unsafe_code, reason = "pthread_atfork, which takes functions of C")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Forks between the process that counted first and this one.
static FORKS: AtomicU64 = AtomicU64::new(0);
/// The C library counts.
static WATCHED: AtomicBool = AtomicBool::new(false);
/// Set in identities that are the system's numbers, so that they are not taken for counts.
const NUMBERED: u64 = 1 << 63;

/// A number that is the same in all of a process, and another one in each child that is forked after the first call.
///
/// Takes no lock: a child can inherit one that nobody will release.
pub(crate) fn process() -> u64 {
    // A registration that this thread has made or sees came before any fork that it makes.
    if WATCHED.load(Ordering::Acquire) || watch() {
        FORKS.load(Ordering::Relaxed)
    } else {
        NUMBERED | u64::from(std::process::id())
    }
}

/// Has forks counted; false if the C library has no memory for that. Threads that come here at the same time count twice each.
#[cold]
fn watch() -> bool {
    extern "C" fn in_child() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: the function touches one atomic, which is all that a child of several threads may do.
    let registered = unsafe { libc::pthread_atfork(None, None, Some(in_child)) } == 0;
    if registered {
        WATCHED.store(true, Ordering::Release);
    }
    registered
}
