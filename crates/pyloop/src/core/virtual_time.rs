//! [`VirtualTime`]: the clock of a loop under test. `pyloop.testing.VirtualClock` derives from it.
//!
//! The loop reads it in place of the system's clock, and moves it when it has nothing to do. The rule is
//! [`engine::plan_jump`]; what belongs to Python is here. Reading it, holding it and letting it go is for any thread,
//! moving it for the loop's.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use engine::{JumpInputs, Step, plan_jump};
use parking_lot::Mutex;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyWeakrefMethods, PyWeakrefReference};
use timers::{Deadline, NEVER};

use super::schedule::check_thread;
use super::state::LoopCore;
use super::watch;
use crate::clock;
use crate::py::call;
use crate::py::imports::imports;

/// A clock that stands still until its loop, or the test, moves it.
#[pyclass(frozen, subclass, module = "pyloop._pyloop")]
pub(crate) struct VirtualTime {
    /// Nanoseconds since the clock's zero. Written by the loop's thread, never backwards; read by any, relaxed, because
    /// it orders nothing.
    now: AtomicU64,
    /// Whether an idle loop moves the clock to its next deadline. Relaxed: whoever sets it wakes the loop, which orders it.
    autojump: AtomicBool,
    /// Pieces of work in flight that the loop cannot see. Counted down with release, read with acquire before a jump: what
    /// the work has handed to the loop's inbox by then is seen before the time moves.
    holds: AtomicUsize,
    /// For so long nothing may happen, in real time, before the clock moves.
    grace: Duration,
    /// Weak: the loop holds its clock.
    owner: PyOnceLock<Py<PyWeakrefReference>>,
    /// Locked for moving values only.
    advances: Mutex<Vec<Advance>>,
}

/// A move of the clock that was asked for, and the future that is resolved when it is over.
struct Advance {
    target: Deadline,
    future: Py<PyAny>,
}

#[pymethods]
impl VirtualTime {
    #[new]
    #[pyo3(signature = (start=0.0, *, autojump=true, grace=0.0))]
    fn new(start: f64, autojump: bool, grace: f64) -> PyResult<Self> {
        Ok(Self {
            now: AtomicU64::new(point("start", start)?),
            autojump: AtomicBool::new(autojump),
            holds: AtomicUsize::new(0),
            grace: Duration::from_nanos(point("grace", grace)?),
            owner: PyOnceLock::new(),
            advances: Mutex::new(Vec::new()),
        })
    }

    fn time(&self) -> f64 {
        clock::seconds(self.now())
    }

    /// Moves the clock at once. What has become due runs in the next iteration, and sees the new time.
    fn jump(&self, py: Python<'_>, seconds: f64) -> PyResult<()> {
        let target = self.after(seconds)?;
        let object = self.usable_loop(py)?;
        self.move_to(target);
        let core = object.get();
        let access = core.access(py)?;
        core.queue.with(&access, |queue| queue.timer_added = true);
        Ok(())
    }

    /// Moves the clock from deadline to deadline, whenever the loop is idle; the future is resolved at the end.
    fn advance<'py>(&self, py: Python<'py>, seconds: f64) -> PyResult<Bound<'py, PyAny>> {
        let target = self.after(seconds)?;
        let future = self.usable_loop(py)?.call_method0("create_future")?;
        self.advances.lock().push(Advance {
            target,
            future: future.clone().unbind(),
        });
        Ok(future)
    }

    #[getter]
    fn autojump(&self) -> bool {
        self.autojump.load(Ordering::Relaxed)
    }

    #[setter(autojump)]
    fn set_autojump(&self, py: Python<'_>, on: bool) {
        self.autojump.store(on, Ordering::Relaxed);
        self.wake(py);
    }

    /// Seconds of real time.
    #[getter(grace)]
    fn grace_seconds(&self) -> f64 {
        self.grace.as_secs_f64()
    }

    /// Counts a piece of work in that the loop cannot see. Any thread.
    fn _hold(&self) {
        self.holds.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts it out; the argument is not looked at, so that this may be a future's callback. Any thread.
    #[pyo3(signature = (_done=None))]
    fn _release(&self, py: Python<'_>, _done: Option<&Bound<'_, PyAny>>) {
        if self.holds.fetch_sub(1, Ordering::Release) == 1 {
            self.wake(py);
        }
    }

    /// How many pieces of work hold the clock.
    #[getter]
    fn _holds(&self) -> usize {
        self.holds.load(Ordering::Relaxed)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // The collector may not wait for a lock: who holds this one is stopped, and shows its references itself.
        if let Some(advances) = self.advances.try_lock() {
            for advance in advances.iter() {
                visit.call(&advance.future)?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        let advances = std::mem::take(&mut *self.advances.lock());
        drop(advances);
    }
}

impl VirtualTime {
    /// The clock in nanoseconds.
    #[inline]
    pub(crate) fn now(&self) -> Deadline {
        self.now.load(Ordering::Relaxed)
    }

    pub(super) fn grace(&self) -> Duration {
        self.grace
    }

    /// Makes it the clock of a loop, for good.
    ///
    /// # Errors
    /// `RuntimeError` if it is a loop's already.
    pub(super) fn attach(&self, object: &Bound<'_, LoopCore>) -> PyResult<()> {
        let reference = PyWeakrefReference::new(object)?.unbind();
        self.owner.set(object.py(), reference).map_err(|_| {
            PyRuntimeError::new_err("the virtual clock belongs to another loop: each needs its own")
        })
    }

    /// What the idle loop is to do about the time. Advances whose futures were cancelled are forgotten here.
    pub(super) fn plan(&self, py: Python<'_>, next_deadline: Option<Deadline>) -> PyResult<Step> {
        let wanted = std::mem::take(&mut *self.advances.lock());
        let mut kept = Vec::with_capacity(wanted.len());
        let mut outcome = Ok(());
        for advance in wanted {
            match call::method0(advance.future.bind(py), &imports(py).names.done)
                .and_then(|done| done.is_truthy())
            {
                Ok(true) => {}
                Ok(false) => kept.push(advance),
                Err(error) => outcome = Err(error),
            }
        }
        let mut advances = self.advances.lock();
        kept.append(&mut advances); // Asked for meanwhile.
        *advances = kept;
        let target = advances.iter().map(|advance| advance.target).min();
        drop(advances);
        outcome?;
        Ok(plan_jump(&JumpInputs {
            held: self.holds.load(Ordering::Acquire) > 0,
            autojump: self.autojump(),
            next_deadline,
            target,
        }))
    }

    /// Takes a step that was planned: moves the clock, and resolves the advances that end there.
    pub(super) fn take(&self, py: Python<'_>, step: Step) -> PyResult<()> {
        match step {
            Step::Wait => Ok(()),
            Step::Jump(deadline) => {
                self.move_to(deadline);
                Ok(())
            }
            Step::Arrive(target) => {
                self.move_to(target);
                let mut advances = self.advances.lock();
                let (over, left) = std::mem::take(&mut *advances)
                    .into_iter()
                    .partition::<Vec<_>, _>(|advance| advance.target <= target);
                *advances = left;
                drop(advances);
                let mut outcome = Ok(());
                for advance in over {
                    outcome = outcome.and(watch::resolve(py, &advance.future));
                }
                outcome
            }
        }
    }

    fn move_to(&self, target: Deadline) {
        self.now.fetch_max(target, Ordering::Relaxed);
    }

    /// The point that many seconds from now, on or after it by `time()`.
    fn after(&self, seconds: f64) -> PyResult<Deadline> {
        if seconds.is_nan() || seconds < 0.0 {
            return Err(PyValueError::new_err(format!(
                "a clock cannot be moved by {seconds} seconds"
            )));
        }
        point("seconds", self.time() + seconds)
    }

    fn loop_of<'py>(&self, py: Python<'py>) -> Option<Bound<'py, LoopCore>> {
        self.owner
            .get(py)?
            .bind(py)
            .upgrade_as::<LoopCore>()
            .ok()
            .flatten()
    }

    /// The loop, for a thread that may move its clock.
    ///
    /// # Errors
    /// `RuntimeError` if there is none, it is closed, or another thread runs it.
    fn usable_loop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, LoopCore>> {
        let object = self.loop_of(py).ok_or_else(|| {
            PyRuntimeError::new_err(
                "the virtual clock has no loop: make one with PyLoop(clock=...)",
            )
        })?;
        object.get().check_open()?;
        check_thread(object.get())?;
        Ok(object)
    }

    /// Makes a parked loop plan anew.
    fn wake(&self, py: Python<'_>) {
        if let Some(object) = self.loop_of(py) {
            object.get().wake();
        }
    }
}

/// A point on the clock, or a span of it, from seconds.
///
/// # Errors
/// `ValueError` for what is negative, NaN or beyond the clock's range.
fn point(name: &str, seconds: f64) -> PyResult<Deadline> {
    let nanos = clock::deadline(seconds);
    // NaN becomes zero there.
    if seconds.is_nan() || seconds < 0.0 || nanos >= NEVER - 1 {
        return Err(PyValueError::new_err(format!(
            "{name} must be a number of seconds from 0 to 584 years, not {seconds}"
        )));
    }
    Ok(nanos)
}
