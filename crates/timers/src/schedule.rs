//! When a periodic timer is due: arithmetic alone, without a clock and without waiting.

use std::time::Duration;

use crate::node::{Deadline, NEVER};

/// A tick that is taken at most this late is on time: tokio's own limit, below which a late tick changes nothing.
///
/// Without it [`MissedTickBehavior::Delay`] would drift by the few microseconds that every timer is late.
pub const TOLERATED_LATENESS: Duration = Duration::from_millis(5);

/// What follows a tick that was taken late, by more than [`TOLERATED_LATENESS`]; as `tokio::time` defines it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MissedTickBehavior {
    /// The missed ticks follow at once, one after the other, until the schedule is caught up with.
    #[default]
    Burst,
    /// The next tick comes a whole period after the late one was taken; the schedule moves.
    Delay,
    /// The missed ticks are left out; the next one comes where the schedule has its next tick.
    Skip,
}

/// One tick of a periodic timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tick {
    /// The number of the tick, from zero. Ticks that were left out have numbers too: a gap tells how many there were.
    pub sequence: u64,
    /// When the tick was due, in nanoseconds of [`clock::now`](crate::clock::now).
    ///
    /// Unless the schedule was moved, this is exactly start + `sequence` * period.
    pub scheduled: Deadline,
    /// When the tick was taken. Never before `scheduled`.
    pub actual: Deadline,
}

impl Tick {
    /// How long after its time the tick was taken.
    pub fn lateness(&self) -> Duration {
        Duration::from_nanos(self.actual.saturating_sub(self.scheduled))
    }
}

/// The deadlines of a periodic timer, one after the other.
///
/// Counts in whole nanoseconds, so that nothing is rounded and nothing drifts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// When the next tick is due.
    next: Deadline,
    /// The number of the next tick.
    sequence: u64,
    /// Nanoseconds; not zero.
    period: u64,
    behavior: MissedTickBehavior,
}

impl Schedule {
    /// A schedule whose tick 0 is due at `start`; None if the period is zero.
    ///
    /// Periods of more than 584 years count as that.
    pub fn new(start: Deadline, period: Duration, behavior: MissedTickBehavior) -> Option<Self> {
        let period = nanoseconds(period);
        (period > 0).then_some(Self {
            next: start,
            sequence: 0,
            period,
            behavior,
        })
    }

    /// When the next tick is due.
    pub fn next_deadline(&self) -> Deadline {
        self.next
    }

    /// The number of the next tick.
    pub fn next_sequence(&self) -> u64 {
        self.sequence
    }

    /// The time between two ticks.
    pub fn period(&self) -> Duration {
        Duration::from_nanos(self.period)
    }

    /// What follows a late tick.
    pub fn behavior(&self) -> MissedTickBehavior {
        self.behavior
    }

    /// Changes what follows a late tick.
    pub fn set_behavior(&mut self, behavior: MissedTickBehavior) {
        self.behavior = behavior;
    }

    /// Takes the tick that is due at `now`, and moves on to the next; None if none is due yet.
    pub fn take(&mut self, now: Deadline) -> Option<Tick> {
        if now < self.next || self.next == NEVER {
            return None;
        }
        let tick = Tick {
            sequence: self.sequence,
            scheduled: self.next,
            actual: now,
        };
        let late = now - self.next;
        let mut steps: u64 = 1;
        self.next = if late <= nanoseconds(TOLERATED_LATENESS) {
            self.next.saturating_add(self.period)
        } else {
            match self.behavior {
                MissedTickBehavior::Burst => self.next.saturating_add(self.period),
                MissedTickBehavior::Delay => now.saturating_add(self.period),
                MissedTickBehavior::Skip => {
                    steps = steps.saturating_add(late / self.period);
                    now.saturating_add(self.period - late % self.period)
                }
            }
        };
        self.sequence = self.sequence.saturating_add(steps);
        Some(tick)
    }

    /// Moves the schedule so that its next tick is due at `deadline`; the later ones follow from there.
    pub fn move_to(&mut self, deadline: Deadline) {
        self.next = deadline;
    }
}

/// A duration on the clock of deadlines, cut where that ends.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER)
}
