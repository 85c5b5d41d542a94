//! How a run looks at I/O, and how it lets time pass when nothing is ready.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use engine::Step;
use pyo3::prelude::*;

use super::exit;
use super::run::Run;
use crate::clock;
use crate::py::errors::os_error;

impl Run<'_, '_> {
    pub(super) fn look(&mut self) -> PyResult<()> {
        match self.reactor.poll(&mut self.events, Some(Duration::ZERO)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.object.py().check_signals()
            }
            other => other.map_err(os_error),
        }
    }

    /// Lets the time until the deadline pass, or something happen: waits for it, or moves a virtual clock there.
    pub(super) fn rest(&mut self, deadline: Option<u64>) -> PyResult<()> {
        let Some(time) = self.core.virtual_time() else {
            return self.park(
                deadline
                    .map(|deadline| Duration::from_nanos(deadline.saturating_sub(clock::now()))),
            );
        };
        let (py, time) = (self.object.py(), time.get());
        if time.plan(py, deadline)? == Step::Wait {
            return self.park(None);
        }
        // What has happened already comes before the jump: the kernel is asked, and given the grace that the test wants.
        match time.grace() {
            Duration::ZERO => self.look()?,
            grace => {
                let over = clock::now().saturating_add(grace.as_nanos() as u64);
                self.park(Some(grace))?;
                if clock::now() < over {
                    return Ok(()); // Something woke the loop: the grace begins anew.
                }
            }
        }
        if self.is_idle()? {
            // Planned anew: a signal's handler may have run, or a thread may have let go of the clock or taken hold of it.
            let step = time.plan(py, self.core.timers.next_deadline())?;
            time.take(py, step)?;
        }
        Ok(())
    }

    /// Whether the last poll, and what ran because of it, left nothing to do.
    fn is_idle(&self) -> PyResult<bool> {
        let access = self.core.access(self.object.py())?;
        let nothing_ready = self.core.queue.with(&access, |queue| {
            queue.ready.is_empty() && queue.unflushed.is_empty()
        });
        Ok(nothing_ready
            && self.events.is_empty()
            && self.core.inbox.is_empty()
            && !self.core.stopping.load(Ordering::Relaxed))
    }

    /// Blocks, detached from the interpreter, until something happens or the time-out is over.
    fn park(&mut self, timeout: Option<Duration>) -> PyResult<()> {
        if !self.core.park.begin_park() {
            return self.look();
        }
        let (reactor, events) = (self.reactor, &mut self.events);
        let result = self.object.py().detach(|| {
            let result = reactor.poll(events, timeout);
            if exit::is_held() {
                exit::hold();
            }
            result
        });
        self.core.park.end_park();
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => other.map_err(os_error)?,
        }
        // A signal may have come before the poll, between the interpreter's last look and the wait.
        self.object.py().check_signals()
    }
}
