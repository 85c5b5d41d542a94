//! What the handles, the manager's task and the driver share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use tracing::Span;

use super::command::{CommandError, TimerCommand};
use super::living::Living;
use super::timer::{Held, Timer};
use crate::attend::Attendance;
use crate::clock;
use crate::node::Node;
use crate::schedule::nanoseconds;
use crate::shard::Shard;

/// One manager. Locks are taken in the order state, shard, wheel.
pub(super) struct Shared {
    pub(super) name: String,
    /// Nanoseconds that an expiry may wait for others.
    pub(super) tolerance: u64,
    pub(super) event_capacity: usize,
    /// Everything that is logged is logged in it.
    pub(super) span: Span,
    /// Ends the manager. From its cancellation on no command is accepted, though the manager's task has yet to see it.
    pub(super) token: CancellationToken,
    pub(super) state: Mutex<State>,
    /// The timers. Filled by the manager's task, emptied by it and by whoever fills the event buffer.
    pub(super) shard: Shard<Held>,
    pub(super) attendance: Arc<Attendance>,
    /// The event buffer is full: the driver has nothing to do here. Written under the lock of `state`.
    pub(super) full: AtomicBool,
    /// A permit for each place in the command buffer that is free.
    pub(super) places: Semaphore,
    /// Tells the manager's task that there are steps, or that nobody will send any.
    pub(super) work: Notify,
    /// Tells receivers that there are events, or that there will be none.
    pub(super) arrivals: Notify,
    /// Handles. At zero the manager ends.
    handles: AtomicUsize,
}

#[derive(Default)]
pub(super) struct State {
    /// The timers that commands have set and not cancelled, until their event is received.
    pub(super) living: Living,
    /// The command buffer.
    pub(super) steps: Vec<Step>,
    /// The event buffer, in the order of expiry. An event is valid if its timer is still among the living.
    pub(super) buffer: VecDeque<Arc<Timer>>,
    /// No command is accepted any more.
    pub(super) closing: bool,
    /// Nothing will come into the event buffer any more.
    pub(super) closed: bool,
    /// An empty vector, kept for its memory.
    pub(super) scratch: Vec<Held>,
}

/// What is left of a command for the manager's task.
#[derive(Debug)]
pub(super) enum Step {
    /// A timer for the shard, and the one to take out for it.
    Set(Arc<Timer>, Option<Arc<Timer>>),
    /// A timer to take out, if there was one.
    Remove(Option<Arc<Timer>>),
    /// All timers that have been set so far.
    Clear(Living),
    Shutdown,
}

impl Shared {
    pub(super) fn new(
        name: String,
        tolerance: Duration,
        command_capacity: usize,
        event_capacity: usize,
        token: CancellationToken,
    ) -> Arc<Self> {
        let span = tracing::info_span!("timer_manager", name = name.as_str());
        Arc::new_cyclic(|this: &Weak<Self>| Self {
            name,
            tolerance: nanoseconds(tolerance),
            event_capacity: event_capacity.max(1),
            span,
            token,
            state: Mutex::default(),
            shard: Shard::new(),
            attendance: Attendance::new(this.clone()),
            full: AtomicBool::new(false),
            places: Semaphore::new(command_capacity.clamp(1, Semaphore::MAX_PERMITS)),
            work: Notify::new(),
            arrivals: Notify::new(),
            handles: AtomicUsize::new(1),
        })
    }

    /// Accepts a command: from here on its effect on what can be received is decided.
    ///
    /// # Errors
    /// [`CommandError::Closed`].
    pub(super) fn accept(
        &self,
        place: SemaphorePermit<'_>,
        command: TimerCommand,
    ) -> Result<(), CommandError> {
        match command {
            TimerCommand::Set { name, duration } => self.accept_set(place, name, duration),
            TimerCommand::Cancel { name } => self
                .with_open(place, name, |state, name| {
                    let found = state.living.take(&name);
                    if let Some(timer) = &found {
                        timer.node.cancel();
                    }
                    Step::Remove(found)
                })
                .map_err(|name| CommandError::Closed(TimerCommand::Cancel { name })),
            TimerCommand::CancelAll => self
                // No node is touched: without their place among the living none of them is received.
                .with_open(place, (), |state, ()| {
                    Step::Clear(std::mem::take(&mut state.living))
                })
                .map_err(|()| CommandError::Closed(TimerCommand::CancelAll)),
            TimerCommand::Shutdown => self
                .with_open(place, (), |state, ()| {
                    state.closing = true;
                    Step::Shutdown
                })
                .map_err(|()| CommandError::Closed(TimerCommand::Shutdown)),
        }
    }

    fn accept_set(
        &self,
        place: SemaphorePermit<'_>,
        name: String,
        duration: Duration,
    ) -> Result<(), CommandError> {
        let timer = Arc::new(Timer {
            node: Node::new(),
            deadline: clock::now().saturating_add(nanoseconds(duration)),
            name,
        });
        self.with_open(place, timer, |state, timer| {
            let replaced = state.living.replace(Arc::clone(&timer));
            if let Some(old) = &replaced {
                old.node.cancel();
            }
            Step::Set(timer, replaced)
        })
        .map_err(|timer| {
            let name = timer.name.clone();
            CommandError::Closed(TimerCommand::Set { name, duration })
        })
    }

    /// Puts what `step` makes of `given` and an open state into the command buffer; gives it back if the manager is closed.
    fn with_open<T>(
        &self,
        place: SemaphorePermit<'_>,
        given: T,
        step: impl FnOnce(&mut State, T) -> Step,
    ) -> Result<(), T> {
        let mut state = self.state.lock();
        if state.closing || self.token.is_cancelled() {
            return Err(given);
        }
        place.forget();
        let first = state.steps.is_empty();
        let step = step(&mut state, given);
        state.steps.push(step);
        drop(state);
        if first {
            self.work.notify_one();
        }
        Ok(())
    }

    /// Whether commands are refused.
    pub(super) fn is_closing(&self) -> bool {
        self.token.is_cancelled() || self.state.lock().closing
    }

    pub(super) fn add_handle(&self) {
        // As with a counted pointer: a new handle is made from one that is there.
        self.handles.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn remove_handle(&self) {
        // The lock below orders what other handles did before the end.
        if self.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.state.lock().closing = true;
            self.work.notify_one();
        }
    }
}
