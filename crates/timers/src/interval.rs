//! A periodic timer as a stream of ticks, on the process's one wheel.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::clock;
use crate::error::TimerError;
use crate::node::Deadline;
use crate::schedule::{MissedTickBehavior, Schedule, Tick, nanoseconds};
use crate::sleep::{Sleep, sleep_until};

/// Ticks at start, start + period, start + 2 * period, ... without drift.
///
/// A tick waits in the wheel from when somebody waits for it, and to its time if they give up: an interval that nobody polls
/// costs nothing. What becomes of ticks that were missed meanwhile is the [`MissedTickBehavior`].
///
/// # Examples
/// ```
/// # async fn example() -> Result<(), timers::TimerError> {
/// use std::time::Duration;
///
/// let mut interval = timers::Interval::new(Duration::from_micros(500))?;
/// let first = interval.tick().await;
/// let second = interval.tick().await;
/// assert_eq!(second.scheduled, first.scheduled + 500_000);
/// assert!(second.actual >= second.scheduled);
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(example()).unwrap();
/// ```
#[derive(Debug)]
pub struct Interval {
    schedule: Schedule,
    sleep: Sleep,
}

impl Interval {
    /// An interval whose first tick is due now.
    ///
    /// # Errors
    /// [`TimerError::InvalidRegistration`] if the period is zero.
    pub fn new(period: Duration) -> Result<Self, TimerError> {
        Self::starting_at(clock::now(), period)
    }

    /// An interval whose first tick is due at `start`, on the clock of [`clock::now`].
    ///
    /// # Errors
    /// [`TimerError::InvalidRegistration`] if the period is zero.
    pub fn starting_at(start: Deadline, period: Duration) -> Result<Self, TimerError> {
        let schedule = Schedule::new(start, period, MissedTickBehavior::default())
            .ok_or(TimerError::InvalidRegistration("the interval is zero"))?;
        Ok(Self {
            schedule,
            sleep: sleep_until(start),
        })
    }

    /// The same interval with another behaviour after missed ticks; the default is [`MissedTickBehavior::Burst`].
    #[must_use]
    pub fn with_missed_tick_behavior(mut self, behavior: MissedTickBehavior) -> Self {
        self.schedule.set_behavior(behavior);
        self
    }

    /// The time between two ticks.
    pub fn period(&self) -> Duration {
        self.schedule.period()
    }

    /// What follows a tick that was taken late.
    pub fn missed_tick_behavior(&self) -> MissedTickBehavior {
        self.schedule.behavior()
    }

    /// When the next tick is due.
    pub fn next_deadline(&self) -> Deadline {
        self.schedule.next_deadline()
    }

    /// Has the next tick come one period from now, and the later ones from there; also for a task that waits already.
    ///
    /// # Panics
    /// As [`Sleep::reset`].
    pub fn reset(&mut self) {
        let next = clock::now().saturating_add(nanoseconds(self.period()));
        self.schedule.move_to(next);
        self.sleep.reset(next);
    }

    /// Waits for the next tick. A call that is dropped while it waits takes no tick.
    ///
    /// # Panics
    /// As [`Sleep`].
    pub async fn tick(&mut self) -> Tick {
        poll_fn(|context| self.poll_tick(context)).await
    }

    /// Polls for the next tick: what [`Interval::tick`] does, for futures and streams written by hand.
    ///
    /// # Panics
    /// As [`Sleep`].
    pub fn poll_tick(&mut self, context: &mut Context<'_>) -> Poll<Tick> {
        loop {
            // Spends of the task's budget, so that a burst of missed ticks does not keep it from yielding.
            ready!(Pin::new(&mut self.sleep).poll(context));
            if let Some(tick) = self.schedule.take(clock::now()) {
                self.sleep.reset(self.schedule.next_deadline());
                return Poll::Ready(tick);
            }
            // The clock and the wheel are the same; this is for a schedule that was moved.
            self.sleep.reset(self.schedule.next_deadline());
        }
    }
}
