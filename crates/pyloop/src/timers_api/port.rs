//! What the driver tells a loop, through a socket that the loop watches: deadlines of loops that are not ours, and for any loop
//! that a Rust future is done.
//!
//! The driver's thread puts the number of what is due into a queue and writes a byte; it never enters the interpreter. The
//! callbacks are kept by Python code, under these numbers. No thread of ours so can be met by the end of the interpreter, which
//! until Python 3.13 unwinds the threads that come back to it; and nothing here calls Python code or holds a reference to it.

use std::collections::HashMap;
use std::future::Future;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use pyo3::prelude::*;
use timers::driver::{self, Timer};
use timers::{Deadline, Node};
use tokio::task::AbortHandle;

use crate::clock;
use crate::py::errors::os_error;

/// What one loop is to be told.
#[pyclass(frozen, module = "pyloop._pyloop")]
pub(crate) struct DriverPort {
    queue: Arc<Queue>,
    /// Read by the loop, until it is empty.
    readable: UnixStream,
    armed: Mutex<Armed>,
    /// The process that made the port.
    process: u32,
}

struct Armed {
    waits: HashMap<u64, Wait>,
    next: u64,
}

impl Armed {
    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }
}

/// Something that the driver has not told yet, or that the loop has not taken.
enum Wait {
    Deadline(Arc<dyn Timer>),
    /// A task on the driver's runtime.
    Future(AbortHandle),
}

impl Wait {
    /// `inherited`: in a forked child.
    fn give_up(self, inherited: bool) {
        match self {
            Self::Deadline(alarm) => {
                driver::disarm(&alarm);
            }
            // Its runtime is the parent's, and its locks may be held for ever.
            Self::Future(task) if inherited => std::mem::forget(task),
            Self::Future(task) => task.abort(),
        }
    }
}

/// What is due. Filled by the driver's thread, emptied by the loop's.
struct Queue {
    due: Mutex<Vec<u64>>,
    /// Does not block: a full socket wakes the loop as well.
    writable: UnixStream,
}

impl Queue {
    fn tell(&self, number: u64) {
        let mut due = self.due.lock();
        due.push(number);
        let first = due.len() == 1;
        drop(due);
        if first {
            // Fails if the socket is full, which is as good, or if the loop closes its end right now.
            let _ = (&self.writable).write(&[0]);
        }
    }
}

/// One deadline.
struct Alarm {
    node: Node,
    deadline: Deadline,
    number: u64,
    queue: Weak<Queue>,
}

impl Timer for Alarm {
    fn node(&self) -> &Node {
        &self.node
    }

    fn deadline(&self) -> Deadline {
        self.deadline
    }

    fn fire(self: Arc<Self>) {
        if let Some(queue) = self.queue.upgrade() {
            queue.tell(self.number);
        }
    }
}

impl DriverPort {
    fn is_inherited(&self) -> bool {
        self.process != std::process::id()
    }

    /// Has the driver tell once `future` is done, on whose runtime it runs; returns the number under which it will.
    ///
    /// # Errors
    /// `OSError` if the system refuses the driver's thread.
    pub(super) fn tell_after(
        &self,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> PyResult<u64> {
        let runtime = driver::runtime().map_err(os_error)?;
        let mut armed = self.armed.lock();
        let number = armed.number();
        let queue = Arc::downgrade(&self.queue);
        let task = runtime.spawn(async move {
            future.await;
            if let Some(queue) = queue.upgrade() {
                queue.tell(number);
            }
        });
        armed
            .waits
            .insert(number, Wait::Future(task.abort_handle()));
        Ok(number)
    }
}

#[pymethods]
impl DriverPort {
    #[new]
    fn new() -> PyResult<Self> {
        let make = || -> io::Result<(UnixStream, UnixStream)> {
            let (readable, writable) = UnixStream::pair()?;
            readable.set_nonblocking(true)?;
            writable.set_nonblocking(true)?;
            Ok((readable, writable))
        };
        let (readable, writable) = make().map_err(os_error)?;
        Ok(Self {
            queue: Arc::new(Queue {
                due: Mutex::new(Vec::new()),
                writable,
            }),
            readable,
            armed: Mutex::new(Armed {
                waits: HashMap::new(),
                next: 0,
            }),
            process: std::process::id(),
        })
    }

    /// The descriptor that is readable when something is due.
    fn fileno(&self) -> i32 {
        self.readable.as_raw_fd()
    }

    /// Has the driver tell once the monotonic clock has reached `when`; returns the number under which it will.
    fn arm(&self, when: f64) -> PyResult<u64> {
        let mut armed = self.armed.lock();
        let number = armed.number();
        let alarm: Arc<dyn Timer> = Arc::new(Alarm {
            node: Node::new(),
            deadline: clock::deadline(when),
            number,
            queue: Arc::downgrade(&self.queue),
        });
        armed
            .waits
            .insert(number, Wait::Deadline(Arc::clone(&alarm)));
        drop(armed);
        driver::arm(alarm).map_err(|error| {
            self.disarm(number);
            os_error(error)
        })?;
        Ok(number)
    }

    /// Lets go of a deadline or a future; it may have been told already.
    fn disarm(&self, number: u64) {
        let wait = self.armed.lock().waits.remove(&number);
        if let Some(wait) = wait {
            wait.give_up(self.is_inherited());
        }
    }

    /// The numbers of what is due, in the order of the deadlines.
    fn take_due(&self) -> Vec<u64> {
        // Before the queue: what comes in between is told again.
        let mut told = [0_u8; 64];
        while (&self.readable)
            .read(&mut told)
            .is_ok_and(|count| count == told.len())
        {}
        let due = std::mem::take(&mut *self.queue.due.lock());
        let mut armed = self.armed.lock();
        for number in &due {
            armed.waits.remove(number);
        }
        due
    }
}

impl Drop for DriverPort {
    /// Lets go of all that it was to tell: the loop is closed.
    fn drop(&mut self) {
        let inherited = self.is_inherited();
        for (_, wait) in self.armed.get_mut().waits.drain() {
            wait.give_up(inherited);
        }
    }
}
