//! The end of the process while loops run in other threads.
//!
//! Until Python 3.13 the interpreter ends a thread that comes back to it during finalization by `pthread_exit`, whose forced
//! unwinding no Rust frame survives: the process would abort. So loops of other (daemon) threads are held before that: the
//! package registers [`hold_loops`] with `atexit` when it is imported, so that it runs after the application's own
//! `atexit` functions. A held thread sleeps, detached, until the process is gone; from 3.14 on the interpreter does the
//! same by itself. A callback that does not return in time is not waited for any longer than [`PATIENCE`].

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pyo3::prelude::*;
use reactor::Waker;

use crate::py::cell::thread_identity;

/// How long the exit of the process waits for callbacks of other threads to return.
const PATIENCE: Duration = Duration::from_millis(500);

/// The thread that ends the process, once it does so; zero before. Relaxed: the wake-ups that follow order it.
static ENDING: AtomicUsize = AtomicUsize::new(0);

/// Every loop that runs.
static RUNNING: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

/// A loop that runs.
struct Entry {
    /// A forked child inherits the entries, but not the threads.
    process: u32,
    thread: usize,
    waker: Waker,
}

/// Threads that are held.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// Counts a run among those that the end of the process has to see to, for as long as it lives.
pub(super) struct Running {
    thread: usize,
}

impl Running {
    pub(super) fn begin(waker: Waker) -> Self {
        let thread = thread_identity();
        RUNNING.lock().push(Entry {
            process: std::process::id(),
            thread,
            waker,
        });
        Self { thread }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = RUNNING.lock();
        if let Some(index) = running
            .iter()
            .rposition(|entry| entry.thread == self.thread)
        {
            running.swap_remove(index);
        }
    }
}

/// Whether the process ends on another thread than this one.
#[inline]
pub(super) fn is_held() -> bool {
    let ending = ENDING.load(Ordering::Relaxed);
    ending != 0 && ending != thread_identity()
}

/// Sleeps until the process is gone. Call it detached.
#[cold]
pub(super) fn hold() -> ! {
    HELD.fetch_add(1, Ordering::Release);
    loop {
        std::thread::park();
    }
}

/// Holds the loops of all other threads, for the rest of the process.
#[pyfunction(name = "_hold_loops")]
pub(crate) fn hold_loops(py: Python<'_>) {
    let here = thread_identity();
    ENDING.store(here, Ordering::Relaxed);
    let others = {
        let running = RUNNING.lock();
        let process = std::process::id();
        let others = running
            .iter()
            .filter(|entry| entry.process == process && entry.thread != here);
        others
            .map(|entry| {
                // A waker whose counter is full has woken its loop already.
                let _ = entry.waker.wake();
            })
            .count()
    };
    py.detach(|| {
        let deadline = Instant::now() + PATIENCE;
        while HELD.load(Ordering::Acquire) < others && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}
