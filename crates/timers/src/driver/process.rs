//! The driver of the current process, replaced in a child after a fork.

use std::io;
use std::sync::{Arc, OnceLock, Weak};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::ownerless::Ownerless;
use super::task;
use crate::sys::fork;
use crate::wheel::{Alarm, Wheel};

/// The driver of the process that used one last: of this process, or of an ancestor before a fork.
/// Reading and replacing it takes no lock, since a child could inherit a lock that nobody will release.
static CURRENT: ArcSwapOption<Process> = ArcSwapOption::const_empty();

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
pub(super) fn current() -> Arc<Process> {
    let id = fork::process();
    loop {
        let found = CURRENT.load_full();
        match found {
            Some(process) if process.id == id => return process,
            stale => {
                let made = Arc::new_cyclic(|process| Process {
                    id,
                    wheel: Wheel::new(Starter::new(process.clone())),
                    ownerless: Ownerless::new(),
                });
                CURRENT.compare_and_swap(&stale, Some(made));
                // An ancestor's driver may hold locks for ever, and its thread is not here: it is never torn down.
                std::mem::forget(stale);
            }
        }
    }
}

/// Rings the driver's thread, which it starts first if need be.
#[derive(Debug)]
pub(super) struct Starter {
    process: Weak<Process>,
    notify: Arc<Notify>,
    /// The thread's runtime, from when it runs on. Written under `starting`.
    runtime: OnceLock<Handle>,
    /// Held while the thread is being started, so that there is one.
    starting: Mutex<()>,
}

impl Starter {
    fn new(process: Weak<Process>) -> Self {
        Self {
            process,
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
        let process = self
            .process
            .upgrade()
            .expect("a wheel is called through its process");
        let runtime = task::spawn(process, Arc::clone(&self.notify))?;
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
