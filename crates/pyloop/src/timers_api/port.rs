//! Deadlines that the driver attends for a loop that is not ours: it tells the loop through a socket that the loop watches.
//!
//! The driver's thread puts the number of what is due into a queue and writes a byte; it never enters the interpreter. The
//! callbacks are kept by Python code, under these numbers.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use pyo3::prelude::*;
use timers::driver::{self, Timer};
use timers::{Deadline, Node};

use crate::clock;
use crate::py::errors::os_error;

/// The deadlines of one loop.
#[pyclass(frozen, module = "pyloop._pyloop")]
pub(crate) struct DriverPort {
    queue: Arc<Queue>,
    /// Read by the loop, until it is empty.
    readable: UnixStream,
    armed: Mutex<Armed>,
}

struct Armed {
    alarms: HashMap<u64, Arc<dyn Timer>>,
    next: u64,
}

/// What is due. Filled by the driver's thread, emptied by the loop's.
struct Queue {
    due: Mutex<Vec<u64>>,
    /// Does not block: a full socket wakes the loop as well.
    writable: UnixStream,
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
        let Some(queue) = self.queue.upgrade() else {
            return; // The loop is gone.
        };
        let mut due = queue.due.lock();
        due.push(self.number);
        let first = due.len() == 1;
        drop(due);
        if first {
            // Fails if the socket is full, which is as good, or if the loop closes its end right now.
            let _ = (&queue.writable).write(&[0]);
        }
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
                alarms: HashMap::new(),
                next: 0,
            }),
        })
    }

    /// The descriptor that is readable when something is due.
    fn fileno(&self) -> i32 {
        self.readable.as_raw_fd()
    }

    /// Has the driver tell in so many seconds, and not before; returns the number under which it will.
    fn arm(&self, seconds: f64) -> PyResult<u64> {
        let deadline = clock::deadline(clock::seconds(clock::now()) + seconds);
        let mut armed = self.armed.lock();
        let number = armed.next;
        armed.next += 1;
        let alarm: Arc<dyn Timer> = Arc::new(Alarm {
            node: Node::new(),
            deadline,
            number,
            queue: Arc::downgrade(&self.queue),
        });
        armed.alarms.insert(number, Arc::clone(&alarm));
        drop(armed);
        driver::arm(alarm).map_err(|error| {
            self.disarm(number);
            os_error(error)
        })?;
        Ok(number)
    }

    /// Lets go of a deadline; it may have been told already.
    fn disarm(&self, number: u64) {
        let alarm = self.armed.lock().alarms.remove(&number);
        if let Some(alarm) = alarm {
            driver::disarm(&alarm);
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
            armed.alarms.remove(number);
        }
        due
    }
}

impl Drop for DriverPort {
    fn drop(&mut self) {
        for (_, alarm) in self.armed.get_mut().alarms.drain() {
            driver::disarm(&alarm);
        }
    }
}
