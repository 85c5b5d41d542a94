//! The driver of the current process, replaced in a child after a fork.

use std::io;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::ownerless::Ownerless;
use super::task;
use crate::sys::fork;
use crate::sys::leaked::Leaked;
use crate::wheel::{Alarm, Wheel};

/// The driver of the process that used one last: of this process, or of an ancestor before a fork.
/// An ancestor's driver may hold locks for ever, and its thread is not here: it is never torn down.
static CURRENT: Leaked<Process> = Leaked::new();

/// One process and its wheel.
#[derive(Debug)]
pub(super) struct Process {
    /// Of [`fork::process`].
    id: u64,
    wheel: Wheel<Starter>,
    ownerless: Arc<Ownerless>,
}

impl Process {
    /// The timers that no loop owns.
    pub(super) fn ownerless(&self) -> &Arc<Ownerless> {
        &self.ownerless
    }

    pub(super) fn wheel(&self) -> &Wheel<Starter> {
        &self.wheel
    }
}

/// The driver of this process; made now if there is none yet.
pub(super) fn current() -> &'static Process {
    let id = fork::process();
    loop {
        match CURRENT.get() {
            Some(process) if process.id == id => return process,
            stale => replace(stale, id),
        }
    }
}

#[cold]
fn replace(stale: Option<&'static Process>, id: u64) {
    let made = Process {
        id,
        wheel: Wheel::new(Starter::new()),
        ownerless: Ownerless::new(),
    };
    CURRENT.replace(stale, Box::new(made));
}

/// Rings the driver's thread, which it starts first if need be.
#[derive(Debug)]
pub(super) struct Starter {
    notify: Arc<Notify>,
    /// The thread's runtime, from when it runs on. Written under `starting`.
    runtime: OnceLock<Handle>,
    /// Held while the thread is being started, so that there is one.
    starting: Mutex<()>,
}

impl Starter {
    fn new() -> Self {
        Self {
            notify: Arc::new(Notify::new()),
            runtime: OnceLock::new(),
            starting: Mutex::new(()),
        }
    }

    pub(super) fn is_started(&self) -> bool {
        self.runtime.get().is_some()
    }

    /// The runtime of the driver's thread, which is started first if need be.
    pub(super) fn runtime(&self) -> io::Result<&Handle> {
        if let Some(runtime) = self.runtime.get() {
            return Ok(runtime);
        }
        let _guard = self.starting.lock();
        if let Some(runtime) = self.runtime.get() {
            return Ok(runtime);
        }
        // The present process is the one of this wheel: no other's calls reach it. (But if the C library had no memory for
        // counting forks and now has some, the identity changes once; then this wheel rings for the new one.)
        let runtime = task::spawn(current(), Arc::clone(&self.notify))?;
        Ok(self.runtime.get_or_init(|| runtime))
    }
}

impl Alarm for Starter {
    fn ring(&self) -> io::Result<()> {
        self.runtime()?;
        // Kept as a permit if the task is not waiting yet.
        self.notify.notify_one();
        Ok(())
    }
}
