//! The run: iterations of poll, expire, batch and flush, until `stop()`.

use std::sync::atomic::Ordering;

use engine::{Poll, PollInputs, plan_poll};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use reactor::{Event, Events, Reactor};
use timers::Entry;

use super::exit;
use super::sources::Source;
use super::state::LoopCore;
use super::watch::{self, Due};
use crate::clock;
use crate::py::errors::os_error;
use crate::py::handle::Handle;
use crate::py::imports::imports;
use crate::transport;

/// Events taken from the kernel by one poll; more wait for the next, which comes after one batch.
const EVENTS_PER_POLL: usize = 256;

/// What one run carries from iteration to iteration, on the running thread's stack.
pub(super) struct Run<'a, 'py> {
    pub(super) core: &'a LoopCore,
    pub(super) object: &'a Bound<'py, LoopCore>,
    pub(super) reactor: &'a Reactor,
    pub(super) events: Events,
    /// Timers that have just expired; empty between uses.
    expired: Vec<crate::py::timer::TimerRef>,
    first: bool,
    /// The pacer asked for a poll.
    poll_due: bool,
    /// The next iteration reads the clock for its timers: time has passed unobserved.
    check_timers: bool,
}

/// Serves the readiness of one kind of transport: whether it can be read, whether it can be written.
type Serve = fn(&Bound<'_, PyAny>, bool, bool) -> PyResult<()>;

/// What an event asks for, with the references to do it.
enum Ready {
    Watcher([Option<Due>; 2]),
    Transport(Py<PyAny>, Serve),
    Listener(Py<transport::Listener>),
}

/// Runs the loop until it is stopped. The caller has set up the thread for it (`PyLoop.run_forever`).
///
/// # Errors
/// `RuntimeError` if it runs already; `KeyboardInterrupt` and `SystemExit` of a callback; what a signal handler raises;
/// `OSError` if the reactor fails.
pub(super) fn run(object: &Bound<'_, LoopCore>) -> PyResult<()> {
    let core = object.get();
    core.check_open()?;
    if core.running.swap(true, Ordering::Relaxed) {
        return Err(PyRuntimeError::new_err(
            "This event loop is already running",
        ));
    }
    core.owner.acquire_for_run(object.py());
    let outcome = run_owned(object);
    core.stopping.store(false, Ordering::Relaxed);
    core.running.store(false, Ordering::Relaxed);
    core.owner.release();
    outcome
}

fn run_owned(object: &Bound<'_, LoopCore>) -> PyResult<()> {
    let core = object.get();
    let reactor = {
        let access = core.access(object.py())?;
        core.sources
            .with(&access, |sources| sources.reactor())
            .map_err(os_error)?
    };
    let _running = exit::Running::begin(reactor.waker());
    let mut run = Run {
        core,
        object,
        reactor: &reactor,
        events: Events::with_capacity(EVENTS_PER_POLL),
        expired: Vec::new(),
        first: true,
        poll_due: false,
        check_timers: true,
    };
    let result = loop {
        match run.iterate() {
            Ok(()) if core.stopping.load(Ordering::Relaxed) => break Ok(()),
            Ok(()) => {}
            Err(error) => break Err(error),
        }
    };
    let left = core.leave_runner(object.py());
    // Bytes written by the last batch leave even if that batch ended the run.
    result.and(left).and(run.flush())
}

impl Run<'_, '_> {
    /// One pass: poll if it is time, expire timers, run what was ready at the start of the batch, flush.
    fn iterate(&mut self) -> PyResult<()> {
        if exit::is_held() {
            self.object.py().detach(|| exit::hold());
        }
        let access = self.core.access(self.object.py())?;
        if !self.core.inbox.is_empty() {
            self.core.collect_inbox(&access);
        }
        let ready_len = self.core.queue.with(&access, |queue| {
            self.check_timers |= std::mem::take(&mut queue.timer_added);
            // A transport that was written to during the last flush is work, too: the loop must not park on it.
            queue.ready.len() + queue.unflushed.len()
        });
        drop(access);
        let mut ahead = None;
        if ready_len == 0 || self.first || self.poll_due {
            ahead = self.poll(ready_len)?;
        } else if self.check_timers && self.core.timers.next_deadline().is_some() {
            self.expire(self.core.now())?;
        }
        self.check_timers = false;
        self.run_batch(ahead)?;
        self.flush()
    }

    /// Looks at I/O, or parks. The number of callbacks that run before the events found are served, if there are such.
    fn poll(&mut self, ready_len: usize) -> PyResult<Option<usize>> {
        let next_deadline = self.core.timers.next_deadline();
        let plan = plan_poll(&PollInputs {
            ready_len,
            inbox_empty: self.core.inbox.is_empty(),
            stopping: self.core.stopping.load(Ordering::Relaxed),
            first_of_run: self.first,
            poll_due: self.poll_due,
            next_deadline,
            now: if next_deadline.is_some() {
                self.core.now()
            } else {
                0
            },
        });
        self.first = false;
        self.poll_due = false;
        if plan != Poll::Skip {
            self.core.leave_runner(self.object.py())?;
        }
        match plan {
            Poll::Skip => return Ok(None),
            Poll::Look => self.look()?,
            Poll::Park(deadline) => self.rest(deadline)?,
        }
        self.polled()
    }

    /// After a poll: serves its events, takes in what other threads sent meanwhile, expires timers.
    ///
    /// Events that were found while callbacks are ready wait for these, as they do with asyncio: the task that awaits a
    /// connection sets its protocol up before the first bytes are delivered.
    fn polled(&mut self) -> PyResult<Option<usize>> {
        let now = clock::now();
        let access = self.core.access(self.object.py())?;
        let ready_len = self.core.queue.with(&access, |queue| {
            queue.pacer.polled(now);
            queue.ready.len()
        });
        drop(access);
        let ahead = (ready_len > 0 && !self.events.is_empty()).then_some(ready_len);
        if ahead.is_none() {
            self.dispatch(false)?;
        }
        if !self.core.inbox.is_empty() {
            let access = self.core.access(self.object.py())?;
            self.core.collect_inbox(&access);
        }
        self.expire(self.core.time_at(now))?;
        Ok(ahead)
    }

    /// Serves the events of the last poll: transports and listeners at once, watchers through the ready queue, or at once
    /// in the midst of a batch, whose end of the queue belongs to the next.
    fn dispatch(&mut self, in_batch: bool) -> PyResult<()> {
        for index in 0..self.events.len() {
            let Some(event) = self.events.get(index) else {
                break;
            };
            let Some(ready) = self.find(event)? else {
                continue;
            };
            let py = self.object.py();
            match ready {
                Ready::Watcher(found) => {
                    for due in found.into_iter().flatten() {
                        match due {
                            Due::Run(handle) if in_batch => self.run_one(handle)?,
                            Due::Run(handle) => self.core.enqueue(py, handle)?,
                            Due::Resolve(future) => watch::resolve(py, &future)?,
                        }
                    }
                }
                Ready::Transport(transport, serve) => {
                    let transport = transport.into_bound(py);
                    let started = self.core.is_debug().then(clock::now);
                    serve(&transport, event.readable(), event.writable())?;
                    if let Some(started) = started {
                        let elapsed = clock::seconds(clock::now() - started);
                        imports(py)
                            .report_slow
                            .call1(py, (self.object, &transport, elapsed))?;
                    }
                    self.flush()?;
                }
                Ready::Listener(listener) => {
                    transport::accept(self.object, listener.bind(py))?;
                    self.flush()?;
                }
            }
        }
        Ok(())
    }

    fn find(&self, event: Event) -> PyResult<Option<Ready>> {
        let py = self.object.py();
        let access = self.core.access(py)?;
        Ok(self.core.sources.with(&access, |sources| {
            let (fd, source) = sources.resolve(event.token())?;
            Some(match source {
                Source::Watcher { .. } => Ready::Watcher(watch::due(py, sources, fd, event)),
                Source::Stream(stream) => Ready::Transport(stream.clone_ref(py), transport::serve),
                Source::Datagram(datagram) => {
                    Ready::Transport(datagram.clone_ref(py), transport::datagram::serve)
                }
                Source::Idle { .. } => return None, // Watched for nothing since the poll.
                Source::Listener(listener) => Ready::Listener(listener.clone_ref(py)),
            })
        }))
    }

    /// Makes due timers ready, in the order of their deadlines.
    fn expire(&mut self, now: u64) -> PyResult<()> {
        self.core.timers.expire(now, &mut self.expired);
        if self.expired.is_empty() {
            return Ok(());
        }
        if self.expired[0].deadline() == 0 {
            // The wheel knows no time before the clock's beginning: deadlines there are put in order here.
            self.expired
                .sort_by(|one, other| one.when().total_cmp(&other.when()));
        }
        let py = self.object.py();
        for timer in self.expired.drain(..) {
            self.core.enqueue(py, timer.into_handle())?;
        }
        Ok(())
    }

    /// Runs what was ready when the batch began; what the callbacks schedule waits for the next. The events of the poll are
    /// served when the callbacks ahead of them have run.
    fn run_batch(&mut self, ahead: Option<usize>) -> PyResult<()> {
        let access = self.core.access(self.object.py())?;
        let count = self.core.queue.with(&access, |queue| queue.ready.len());
        drop(access);
        let Some(ahead) = ahead else {
            return self.run_ready(count);
        };
        self.run_ready(ahead)?;
        self.core.leave_runner(self.object.py())?;
        self.dispatch(true)?;
        self.run_ready(count - ahead)
    }

    fn run_ready(&mut self, count: usize) -> PyResult<()> {
        for _ in 0..count {
            let (handle, read_clock) = {
                let access = self.core.access(self.object.py())?;
                self.core
                    .queue
                    .with(&access, |queue| (queue.ready.pop(), queue.pacer.ran(1)))
            };
            let Some(handle) = handle else { break };
            let result = self.run_one(handle);
            if read_clock {
                self.check_pace()?;
            }
            result?;
        }
        Ok(())
    }

    #[inline(always)] // Two callers, one of them the loop's innermost.
    fn run_one(&self, handle: Handle) -> PyResult<()> {
        if self.core.is_debug() {
            return self.run_watched(handle);
        }
        handle.run(self.object.py(), self.core)
    }

    /// Reads the clock for the pacer and, in the next iteration, for the timers.
    #[cold]
    fn check_pace(&mut self) -> PyResult<()> {
        let access = self.core.access(self.object.py())?;
        let due = self
            .core
            .queue
            .with(&access, |queue| queue.pacer.checked(clock::now()));
        self.poll_due |= due;
        self.check_timers = true;
        Ok(())
    }

    /// Debug mode: the handle is known to the exception handler, and slow callbacks are reported.
    #[cold]
    fn run_watched(&self, handle: Handle) -> PyResult<()> {
        let py = self.object.py();
        let run = PendingRun {
            handle: handle.clone_ref(py),
            owner: self.object.clone().unbind(),
        };
        let outcome = imports(py)
            .run_watched
            .call1(py, (self.object, handle.bind(py), Py::new(py, run)?));
        handle.finish(py);
        outcome.map(drop)
    }

    /// Sends what transports were given since the last flush.
    fn flush(&self) -> PyResult<()> {
        let py = self.object.py();
        let access = self.core.access(py)?;
        if self
            .core
            .queue
            .with(&access, |queue| queue.unflushed.is_empty())
        {
            return Ok(());
        }
        let mut waiting = self
            .core
            .queue
            .with(&access, |queue| std::mem::take(&mut queue.unflushed));
        drop(access);
        let mut outcome = self.core.leave_runner(py);
        for stream in waiting.drain(..) {
            // Every transport is flushed, whatever one of them raises.
            outcome = outcome.and(transport::flush(&stream.into_bound(py)));
        }
        // The vector's memory serves the next flush, unless a protocol has written meanwhile.
        let access = self.core.access(py)?;
        self.core.queue.with(&access, |queue| {
            if queue.unflushed.is_empty() {
                queue.unflushed = waiting;
            }
        });
        outcome
    }
}

/// Runs one handle when called: what `run_watched` is given to call.
#[pyclass(frozen, module = "pyloop._pyloop")]
struct PendingRun {
    handle: Handle,
    owner: Py<LoopCore>,
}

#[pymethods]
impl PendingRun {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        let core = self.owner.get();
        let outcome = self.handle.run_kept(py, core);
        // The caller is no callback.
        outcome.and(core.leave_runner(py))
    }
}
