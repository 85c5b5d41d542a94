//! What an owner asks of its scope, and what it gets.

use std::sync::Arc;
use std::time::Duration;

use crate::error::TimerError;
use crate::node::Deadline;
use crate::schedule::{MissedTickBehavior, Schedule, nanoseconds};

/// A timer to be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerRegistration<D> {
    /// Unique in the scope; not empty.
    pub name: String,
    /// How long after the registration the timer fires first.
    pub due_time: Duration,
    /// The time between two firings; None for a timer that fires once. Not zero.
    pub interval: Option<Duration>,
    /// What becomes of firings that the owner was too slow for.
    pub missed: MissedTickBehavior,
    /// Comes with each firing.
    pub callback_data: D,
}

impl<D> TimerRegistration<D> {
    /// A timer that fires once, after `due_time`.
    pub fn one_shot(name: impl Into<String>, due_time: Duration, callback_data: D) -> Self {
        Self {
            name: name.into(),
            due_time,
            interval: None,
            missed: MissedTickBehavior::default(),
            callback_data,
        }
    }

    /// A timer that fires every `interval`, first after one of them.
    pub fn periodic(name: impl Into<String>, interval: Duration, callback_data: D) -> Self {
        Self {
            interval: Some(interval),
            ..Self::one_shot(name, interval, callback_data)
        }
    }

    /// The same with another time until the first firing.
    #[must_use]
    pub fn first(mut self, due_time: Duration) -> Self {
        self.due_time = due_time;
        self
    }

    /// The same with another behaviour after missed firings; the default is [`MissedTickBehavior::Burst`].
    #[must_use]
    pub fn missed(mut self, behavior: MissedTickBehavior) -> Self {
        self.missed = behavior;
        self
    }

    /// # Errors
    /// [`TimerError::InvalidRegistration`].
    pub(super) fn plan(&self, now: Deadline) -> Result<Plan, TimerError> {
        if self.name.is_empty() {
            return Err(TimerError::InvalidRegistration("the name is empty"));
        }
        let start = now.saturating_add(nanoseconds(self.due_time));
        match self.interval {
            None => Ok(Plan::Once(start)),
            Some(interval) => Schedule::new(start, interval, self.missed)
                .map(Plan::Every)
                .ok_or(TimerError::InvalidRegistration("the interval is zero")),
        }
    }
}

/// When a timer fires.
#[derive(Clone, Debug)]
pub(super) enum Plan {
    Once(Deadline),
    Every(Schedule),
}

impl Plan {
    pub(super) fn next(&self) -> Deadline {
        match self {
            Self::Once(deadline) => *deadline,
            Self::Every(schedule) => schedule.next_deadline(),
        }
    }

    pub(super) fn move_to(&mut self, next: Deadline) {
        match self {
            Self::Once(deadline) => *deadline = next,
            Self::Every(schedule) => schedule.move_to(next),
        }
    }

    pub(super) fn sequence(&self) -> u64 {
        match self {
            Self::Once(_) => 0,
            Self::Every(schedule) => schedule.next_sequence(),
        }
    }

    pub(super) fn interval(&self) -> Option<Duration> {
        match self {
            Self::Once(_) => None,
            Self::Every(schedule) => Some(schedule.period()),
        }
    }
}

/// A timer of a scope has fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerFired<O, D> {
    /// Whose timer it is.
    pub owner: O,
    /// The name it was registered under.
    pub timer_name: Arc<str>,
    /// When it was due, on the clock of [`clock::now`](crate::clock::now).
    pub scheduled_at: Deadline,
    /// When it was received.
    pub fired_at: Deadline,
    /// The number of the firing, from zero; a gap tells how many were left out.
    pub sequence: u64,
    /// What was registered with it.
    pub callback_data: D,
}

/// A timer as [`TimerScope::list_timers`](super::TimerScope::list_timers) shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerInfo {
    /// The name it was registered under.
    pub name: Arc<str>,
    /// None for a timer that fires once.
    pub interval: Option<Duration>,
    /// The number of the next firing.
    pub sequence: u64,
    /// The time until the next firing; zero if it waits to be received. Stands still while the timer is paused.
    pub remaining: Duration,
    /// Whether the timer is paused.
    pub paused: bool,
}
