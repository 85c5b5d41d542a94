//! The state of one loop.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use std::sync::{Arc, OnceLock};

use engine::{Inbox, Pacer, ParkState, ReadyQueue};
use parking_lot::Mutex;
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use reactor::{Reactor, Waker};
use timers::{Deadline, Shard};

use super::sources::Sources;
use super::virtual_time::VirtualTime;
use crate::clock;
use crate::py::cell::{Access, LoopCell, Owner};
use crate::py::context::{self, Snapshots};
use crate::py::errors::os_error;
use crate::py::handle::Handle;
use crate::py::read_buffer::ReadBuffer;
use crate::py::timer::TimerRef;
use crate::sys::socket::Attempt;
use crate::transport::datagram::Shared;

/// The loop is closed.
const CLOSED: u8 = 1;
/// Debug mode is on.
const DEBUG: u8 = 2;

/// The engine of one event loop. Python's `PyLoop` derives from it.
///
/// The loop belongs to the thread that runs it. `call_soon_threadsafe`, `cancel` of a handle and the parking state may
/// be used from any thread; everything else asks [`Owner`] first.
#[pyclass(subclass, frozen, module = "pyloop._pyloop")]
pub(crate) struct LoopCore {
    pub(crate) owner: Owner,
    /// `CLOSED` and `DEBUG`; relaxed, because every use is on the owner's thread or merely advisory.
    flags: AtomicU8,
    /// Set by `stop()`, cleared at the end of a run; relaxed: the stopping thread also wakes the loop, which orders it.
    pub(crate) stopping: AtomicBool,
    /// Whether a run is in progress; written by the running thread.
    pub(crate) running: AtomicBool,
    pub(crate) queue: LoopCell<Queue>,
    pub(crate) inbox: Inbox<Handle>,
    pub(crate) park: ParkState,
    /// `None` once the loop is closed. Locked for one write to the waker's descriptor at most.
    waker: Mutex<Option<Waker>>,
    pub(crate) timers: Shard<TimerRef>,
    /// The clock of `time()` and of the timers, if it is not the system's; set by `PyLoop.__init__` or never.
    virtual_time: OnceLock<Py<VirtualTime>>,
    pub(crate) sources: LoopCell<Sources>,
    pub(crate) snapshots: LoopCell<Snapshots>,
    /// Lent to one read at a time; `None` while it is, and before the first.
    pub(crate) read_buffer: LoopCell<Option<ReadBuffer>>,
    /// What TLS connections receive into: with one of them while it is served, empty then.
    pub(crate) records: LoopCell<Vec<u8>>,
    /// Receive buffers and known addresses of the loop's datagram transports.
    pub(crate) datagrams: Shared,
}

/// What changes with every callback.
pub(crate) struct Queue {
    pub(crate) ready: ReadyQueue<Handle>,
    pub(crate) pacer: Pacer,
    /// An earlier timer than all others was added: the next iteration reads the clock.
    pub(crate) timer_added: bool,
    /// Transports with bytes that were written since the last flush.
    pub(crate) unflushed: Vec<Py<PyAny>>,
}

impl LoopCore {
    pub(super) fn create() -> PyResult<Self> {
        let reactor = Reactor::new().map_err(os_error)?;
        let waker = reactor.waker();
        Ok(Self {
            owner: Owner::new(),
            flags: AtomicU8::new(0),
            stopping: AtomicBool::new(false),
            running: AtomicBool::new(false),
            queue: LoopCell::new(Queue {
                ready: ReadyQueue::new(),
                pacer: Pacer::new(clock::now()),
                timer_added: false,
                unflushed: Vec::new(),
            }),
            inbox: Inbox::new(),
            park: ParkState::new(),
            waker: Mutex::new(Some(waker)),
            timers: Shard::new(),
            virtual_time: OnceLock::new(),
            sources: LoopCell::new(Sources::new(Arc::new(reactor))),
            snapshots: LoopCell::new(Snapshots::new()),
            read_buffer: LoopCell::new(None),
            records: LoopCell::new(Vec::new()),
            datagrams: Shared::new(),
        })
    }

    /// The clock that tests move, if the loop has one.
    #[inline]
    pub(crate) fn virtual_time(&self) -> Option<&Py<VirtualTime>> {
        self.virtual_time.get()
    }

    /// Gives the loop a clock that tests move; false if it has one.
    pub(super) fn set_virtual_time(&self, time: Py<VirtualTime>) -> bool {
        self.virtual_time.set(time).is_ok()
    }

    /// The loop's clock, in nanoseconds.
    #[inline]
    pub(crate) fn now(&self) -> Deadline {
        match self.virtual_time() {
            None => clock::now(),
            Some(time) => time.get().now(),
        }
    }

    /// The loop's clock at the moment when the system's clock was read as `system`.
    #[inline]
    pub(super) fn time_at(&self, system: Deadline) -> Deadline {
        self.virtual_time().map_or(system, |time| time.get().now())
    }

    /// Whether neither closed nor in debug mode: the case that hot paths test with one load.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.flags.load(Ordering::Relaxed) == 0
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & CLOSED != 0
    }

    #[inline]
    pub(crate) fn is_debug(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & DEBUG != 0
    }

    pub(super) fn set_debug_flag(&self, on: bool) {
        if on {
            self.flags.fetch_or(DEBUG, Ordering::Relaxed);
        } else {
            self.flags.fetch_and(!DEBUG, Ordering::Relaxed);
        }
    }

    pub(super) fn set_closed(&self) {
        self.flags.fetch_or(CLOSED, Ordering::Relaxed);
    }

    /// # Errors
    /// `RuntimeError` if the loop is closed.
    #[inline]
    pub(crate) fn check_open(&self) -> PyResult<()> {
        if self.is_closed() {
            return Err(PyRuntimeError::new_err("Event loop is closed"));
        }
        Ok(())
    }

    /// The right to touch the loop's state.
    ///
    /// # Errors
    /// `RuntimeError` if another thread runs the loop (free-threaded builds only; see [`Owner::access`]).
    #[inline]
    pub(crate) fn access<'a>(&'a self, py: Python<'a>) -> PyResult<Access<'a>> {
        self.owner.access(py).ok_or_else(wrong_thread)
    }

    /// Puts a handle behind all that is ready; from a thread that does not have the loop, into the inbox.
    #[inline]
    pub(crate) fn enqueue(&self, py: Python<'_>, handle: Handle) -> PyResult<()> {
        let Some(access) = self.owner.access(py) else {
            return self.send(handle);
        };
        if !self.inbox.is_empty() {
            self.collect_inbox(&access); // What another thread handed in before this call runs before it.
        }
        self.queue.with(&access, |queue| queue.ready.push(handle));
        Ok(())
    }

    /// Gives the running thread its own context back, before anything but a callback of a handle runs.
    #[inline]
    pub(crate) fn leave_runner(&self, py: Python<'_>) -> PyResult<()> {
        context::leave_runner(py, &self.owner, &self.snapshots)
    }

    /// Puts a handle into the inbox and wakes the loop if it is parked. Any thread.
    pub(crate) fn send(&self, handle: Handle) -> PyResult<()> {
        // A closed inbox gives the handle back: the loop was closed between the caller's check and now.
        self.inbox
            .push(handle)
            .map_err(|_| PyRuntimeError::new_err("Event loop is closed"))?;
        self.wake();
        Ok(())
    }

    /// Makes a parked loop look at its inbox and flags. Any thread.
    pub(crate) fn wake(&self) {
        if self.park.notify()
            && let Some(waker) = &*self.waker.lock()
        {
            // A write to the loop's own eventfd fails only if its counter is full: then the loop is awake already.
            let _ = waker.wake();
        }
    }

    /// Reads into the loop's buffer with `fill`; gives what was read.
    ///
    /// # Errors
    /// As [`with_read_buffer`](Self::with_read_buffer).
    pub(crate) fn read_with<'py>(
        &self,
        py: Python<'py>,
        fill: impl FnOnce(&mut [u8]) -> Attempt<usize>,
    ) -> PyResult<Attempt<Bound<'py, PyBytes>>> {
        self.with_read_buffer(py, |buffer| {
            fill(buffer.memory(py)).map(|count| buffer.give(py, count))
        })
    }

    /// Lends the loop's read buffer, or another one while it is lent already.
    ///
    /// # Errors
    /// `MemoryError`; `RuntimeError` on a thread that the loop does not run on (free-threaded builds).
    pub(crate) fn with_read_buffer<R>(
        &self,
        py: Python<'_>,
        body: impl FnOnce(&mut ReadBuffer) -> R,
    ) -> PyResult<R> {
        let access = self.access(py)?;
        let kept = self.read_buffer.with(&access, Option::take);
        drop(access);
        let mut buffer = match kept {
            Some(kept) => kept.ready(py)?,
            None => ReadBuffer::new(py)?,
        };
        let result = body(&mut buffer);
        let replaced = self
            .read_buffer
            .with(&self.access(py)?, |place| place.replace(buffer));
        drop(replaced);
        Ok(result)
    }

    /// Moves the inbox to the end of the ready queue.
    pub(crate) fn collect_inbox(&self, access: &Access<'_>) {
        let mut arrived = Vec::new();
        self.inbox.drain_into(&mut arrived);
        self.queue
            .with(access, |queue| queue.ready.append_from(&mut arrived));
    }

    /// Shows the garbage collector everything that the loop holds.
    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        for handle in self.queue.peek().ready.iter() {
            handle.visit(visit)?;
        }
        for transport in &self.queue.peek().unflushed {
            visit.call(transport)?;
        }
        let mut outcome = Ok(());
        self.inbox.for_each(|handle| {
            if outcome.is_ok() {
                outcome = handle.visit(visit);
            }
        });
        self.timers.for_each(|timer| {
            if outcome.is_ok() {
                outcome = timer.visit(visit);
            }
        });
        outcome?;
        if let Some(time) = self.virtual_time() {
            visit.call(time)?;
        }
        self.sources.peek().visit(visit)
    }

    /// Lets go of every callback, watcher and transport, and of the memory that they read into.
    pub(super) fn clear(&self, py: Python<'_>) -> PyResult<()> {
        let (ready, unflushed, sources, _snapshots, _memory) = {
            let access = self.access(py)?;
            let (ready, unflushed) = self.queue.with(&access, |queue| {
                (queue.ready.take_all(), std::mem::take(&mut queue.unflushed))
            });
            let snapshots = self.snapshots.with(&access, Snapshots::take);
            // A closed loop may be kept for long.
            let memory = (
                self.read_buffer.with(&access, Option::take),
                self.records.with(&access, std::mem::take),
            );
            (
                ready,
                unflushed,
                self.sources.with(&access, Sources::take_all),
                snapshots,
                memory,
            )
        };
        *self.waker.lock() = None;
        let sent = self.inbox.close();
        let timers = self.timers.drain();
        // Everything is cancelled, whatever one of them raises (in debug mode a cancel calls `repr`).
        let mut outcome = Ok(());
        for handle in ready.into_iter().chain(sent) {
            outcome = outcome.and(handle.cancel(py));
        }
        for timer in timers {
            outcome = outcome.and(timer.into_handle().cancel(py));
        }
        drop(unflushed);
        for source in sources {
            outcome = outcome.and(source.cancel(py));
        }
        outcome
    }
}

/// The error for a thread that uses a loop which another thread runs.
#[cold]
pub(crate) fn wrong_thread() -> PyErr {
    PyRuntimeError::new_err(
        "Non-thread-safe operation invoked on an event loop other than the current one",
    )
}
