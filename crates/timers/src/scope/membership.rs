//! A scope as its owner sees it.

use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::task;

use super::member::Ring;
use super::registration::{Plan, TimerFired, TimerInfo, TimerRegistration};
use super::turns::Turns;
use crate::clock;
use crate::error::TimerError;

/// The timers of one owner; see the [module](super).
///
/// A new scope is detached. Attached, it takes timers; detaching or dropping it cancels them all, and nothing of them is
/// received any more. It can then be attached again. All methods may be called from any thread.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// use timers::TimerScope;
///
/// # async fn example() -> Result<(), timers::TimerError> {
/// let scope = TimerScope::new("session 7");
/// scope.attach();
/// scope.register_periodic("ping", Duration::from_millis(1), 42)?;
/// let fired = scope.recv().await.expect("the scope is attached");
/// assert_eq!((fired.owner, &*fired.timer_name, fired.callback_data), ("session 7", "ping", 42));
/// scope.detach();
/// assert_eq!(scope.recv().await, None);
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(example()).unwrap();
/// ```
pub struct TimerScope<O, D> {
    owner: O,
    shared: Arc<Shared<D>>,
}

struct Shared<D> {
    state: Mutex<State<D>>,
    /// Tells receivers that something is due, or that the scope was detached.
    arrivals: Notify,
}

/// Attached or not; a detached scope remembers the next number only.
enum State<D> {
    Attached(Turns<D>),
    Detached(u64),
}

impl<D> State<D> {
    /// # Errors
    /// [`TimerError::NotAttached`].
    fn attached(&mut self) -> Result<&mut Turns<D>, TimerError> {
        match self {
            Self::Attached(turns) => Ok(turns),
            Self::Detached(_) => Err(TimerError::NotAttached),
        }
    }
}

impl<O: Clone, D: Clone + Send + Sync + 'static> TimerScope<O, D> {
    /// The scope of `owner`, not attached yet.
    pub fn new(owner: O) -> Self {
        Self {
            owner,
            shared: Arc::new(Shared {
                state: Mutex::new(State::Detached(1)),
                arrivals: Notify::new(),
            }),
        }
    }

    /// Whose timers they are.
    pub fn owner(&self) -> &O {
        &self.owner
    }

    /// Lets the scope take timers. Does nothing if it is attached already.
    pub fn attach(&self) {
        let mut state = self.shared.state.lock();
        if let State::Detached(next) = *state {
            *state = State::Attached(Turns::new(next));
        }
    }

    /// Whether the scope takes timers.
    pub fn is_attached(&self) -> bool {
        matches!(*self.shared.state.lock(), State::Attached(_))
    }

    /// Registers a timer that fires once, after `due_time`.
    ///
    /// # Errors
    /// As [`TimerScope::register_timer`].
    pub fn register_one_shot(
        &self,
        name: impl Into<String>,
        due_time: Duration,
        callback_data: D,
    ) -> Result<(), TimerError> {
        self.register_timer(TimerRegistration::one_shot(name, due_time, callback_data))
    }

    /// Registers a timer that fires every `interval`, first after one of them.
    ///
    /// # Errors
    /// As [`TimerScope::register_timer`].
    pub fn register_periodic(
        &self,
        name: impl Into<String>,
        interval: Duration,
        callback_data: D,
    ) -> Result<(), TimerError> {
        self.register_timer(TimerRegistration::periodic(name, interval, callback_data))
    }

    /// Registers a timer.
    ///
    /// A name is in use until the timer is unregistered or, if it fires once, its firing is received.
    ///
    /// # Errors
    /// [`TimerError::InvalidRegistration`], [`TimerError::NotAttached`], [`TimerError::TimerExists`], [`TimerError::Driver`].
    pub fn register_timer(&self, registration: TimerRegistration<D>) -> Result<(), TimerError> {
        let now = clock::now();
        let plan = registration.plan(now)?;
        let data = Arc::new(registration.callback_data);
        let mut state = self.shared.state.lock();
        let turns = state.attached()?;
        if turns.contains(&registration.name) {
            return Err(TimerError::TimerExists(registration.name));
        }
        let added = turns.add(registration.name.into(), plan, data, now, self.ring());
        self.tell(state);
        // What was refused is dropped here, with the state unlocked.
        added.map_err(|(error, _refused)| error.into())
    }

    /// Cancels a timer: nothing of it is received any more.
    ///
    /// # Errors
    /// [`TimerError::NotAttached`], [`TimerError::TimerNotFound`].
    pub fn unregister_timer(&self, name: &str) -> Result<(), TimerError> {
        let removed = self.shared.state.lock().attached()?.remove(name);
        // Dropped here, with the state unlocked.
        removed.map(drop).ok_or_else(|| not_found(name))
    }

    /// Stops a timer's time, with what remains of it kept. A firing that waits to be received waits until it is resumed.
    ///
    /// # Errors
    /// [`TimerError::NotAttached`], [`TimerError::TimerNotFound`].
    pub fn pause(&self, name: &str) -> Result<(), TimerError> {
        let mut state = self.shared.state.lock();
        let found = state.attached()?.pause(name, clock::now());
        found.then_some(()).ok_or_else(|| not_found(name))
    }

    /// Lets a paused timer's time go on. Does nothing to one that is not paused.
    ///
    /// A firing that was due when the timer was paused comes at once, as if it had waited in its place all the time: with the
    /// [`scheduled_at`](TimerFired::scheduled_at) that it had. Ticks that a periodic timer had missed beside it are gone, and
    /// have no numbers; its schedule goes on from now.
    ///
    /// # Errors
    /// [`TimerError::NotAttached`], [`TimerError::TimerNotFound`]. [`TimerError::Driver`]: the timer is resumed, and comes when
    /// the driver can be started for another one.
    pub fn resume(&self, name: &str) -> Result<(), TimerError> {
        let mut state = self.shared.state.lock();
        let found = state.attached()?.resume(name, clock::now(), self.ring())?;
        self.tell(state);
        found.then_some(()).ok_or_else(|| not_found(name))
    }

    /// [`TimerScope::pause`] for all timers.
    ///
    /// # Errors
    /// [`TimerError::NotAttached`].
    pub fn pause_all(&self) -> Result<(), TimerError> {
        let mut state = self.shared.state.lock();
        state.attached()?.pause_all(clock::now());
        Ok(())
    }

    /// [`TimerScope::resume`] for all timers.
    ///
    /// What was due comes in the order in which it became due; then the others by what remains of their time, and those with
    /// the same left in the order in which that began.
    ///
    /// # Errors
    /// [`TimerError::NotAttached`]. [`TimerError::Driver`]: all timers are resumed, as with [`TimerScope::resume`].
    pub fn resume_all(&self) -> Result<(), TimerError> {
        let mut state = self.shared.state.lock();
        let resumed = state.attached()?.resume_all(clock::now(), &self.ring());
        self.tell(state);
        Ok(resumed?)
    }

    /// The timers, by name. Empty for a scope that is not attached.
    pub fn list_timers(&self) -> Vec<TimerInfo> {
        let mut state = self.shared.state.lock();
        let now = clock::now();
        state
            .attached()
            .map_or_else(|_| Vec::new(), |turns| turns.list(now))
    }

    /// The number of timers.
    pub fn len(&self) -> usize {
        let mut state = self.shared.state.lock();
        state.attached().map_or(0, |turns| turns.len())
    }

    /// Whether there are no timers.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Cancels all timers, and gives back the room that they, and those before them, had; the scope stays attached.
    ///
    /// # Errors
    /// [`TimerError::NotAttached`].
    pub fn cancel_all(&self) -> Result<(), TimerError> {
        let removed = self.shared.state.lock().attached()?.remove_all();
        drop(removed);
        Ok(())
    }

    /// Cancels all timers and takes no more. Does nothing if the scope is not attached.
    pub fn detach(&self) {
        self.shared.detach();
    }

    /// Waits for the next firing; None if the scope is, or gets, detached (also if it is attached again at once).
    ///
    /// Firings come in the order in which they became due. A call that is dropped while it waits has taken nothing.
    pub async fn recv(&self) -> Option<TimerFired<O, D>> {
        // Missed ticks that follow at once must not keep the task from yielding.
        task::consume_budget().await;
        let attachment = self.shared.state.lock().attached().ok()?.attachment();
        let take = || {
            let mut state = self.shared.state.lock();
            if state.attached()?.attachment() == attachment {
                self.take(state)
            } else {
                Err(TimerError::NotAttached)
            }
        };
        loop {
            if let Ok(Some(fired)) = take() {
                return Some(fired);
            }
            let mut arrival = pin!(self.shared.arrivals.notified());
            arrival.as_mut().enable();
            // What came before the line above has told nobody.
            match take() {
                Ok(Some(fired)) => return Some(fired),
                Ok(None) => arrival.await,
                Err(_detached) => return None,
            }
        }
    }

    /// Takes the next firing without waiting; None if nothing is due.
    ///
    /// # Errors
    /// [`TimerError::NotAttached`].
    pub fn try_recv(&self) -> Result<Option<TimerFired<O, D>>, TimerError> {
        self.take(self.shared.state.lock())
    }

    fn take(
        &self,
        mut state: MutexGuard<'_, State<D>>,
    ) -> Result<Option<TimerFired<O, D>>, TimerError> {
        let turns = state.attached()?;
        let Some(name) = turns.pop_ready() else {
            return Ok(None);
        };
        let now = clock::now();
        let member = turns.get_mut(&name).expect("what is ready is registered");
        let (scheduled_at, sequence) = (member.scheduled_at(), member.plan.sequence());
        let data = Arc::clone(&member.data);
        let (ended, begun) = match &mut member.plan {
            Plan::Once(_) => (turns.remove(&name), Ok(())),
            Plan::Every(schedule) => {
                // Due, as it was in the ready queue.
                let _tick = schedule.take(now);
                (None, turns.begin(&name, now, self.ring()))
            }
        };
        self.tell(state);
        drop(ended);
        if let Err(error) = begun {
            // Only if a fork has taken the driver away and the system refuses another.
            tracing::error!(%error, timer = &*name, "the timer is not attended");
        }
        Ok(Some(TimerFired {
            owner: self.owner.clone(),
            timer_name: name,
            scheduled_at,
            fired_at: now,
            sequence,
            callback_data: D::clone(&data),
        }))
    }

    fn ring(&self) -> Weak<dyn Ring> {
        let shared: Weak<Shared<D>> = Arc::downgrade(&self.shared);
        shared
    }

    /// Unlocks the state, and tells a receiver if something is due: its waker may call into the scope.
    fn tell(&self, state: MutexGuard<'_, State<D>>) {
        let due = matches!(&*state, State::Attached(turns) if turns.has_ready());
        drop(state);
        if due {
            self.shared.arrivals.notify_one();
        }
    }
}

impl<D> Shared<D> {
    fn detach(&self) {
        let mut state = self.state.lock();
        let removed = match &mut *state {
            State::Detached(_) => return,
            State::Attached(turns) => {
                let removed = turns.remove_all();
                *state = State::Detached(turns.next_number());
                removed
            }
        };
        drop(state);
        drop(removed);
        self.arrivals.notify_waiters();
    }
}

impl<D: Send + Sync> Ring for Shared<D> {
    fn ring(&self, name: &Arc<str>, turn: u64) {
        let mut state = self.state.lock();
        let due = match &mut *state {
            State::Attached(turns) => turns.is_due(name, turn),
            State::Detached(_) => false,
        };
        drop(state);
        if due {
            self.arrivals.notify_one();
        }
    }
}

impl<O, D> Drop for TimerScope<O, D> {
    fn drop(&mut self) {
        self.shared.detach();
    }
}

impl<O: std::fmt::Debug, D> std::fmt::Debug for TimerScope<O, D> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("TimerScope")
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

fn not_found(name: &str) -> TimerError {
    TimerError::TimerNotFound(name.to_owned())
}
