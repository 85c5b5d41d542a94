//! What a manager tells, and the way from the shard through the event buffer to the receiver.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::living::Living;
use super::shared::{Shared, State};
use crate::attend::Attended;
use crate::node::{Deadline, NEVER};
use crate::{clock, driver};

/// What happened to a timer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimerEvent {
    /// The time of a timer has come. The manager has forgotten it when this is received.
    TimerExpired {
        /// The timer's name.
        name: String,
    },
}

/// Why [`TimerHandle::try_recv_event`](super::TimerHandle::try_recv_event) had nothing to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryRecvError {
    /// No timer has expired.
    Empty,
    /// The manager is closed and all events are received.
    Closed,
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Empty => "no timer has expired",
            Self::Closed => "the timer manager is closed",
        })
    }
}

impl std::error::Error for TryRecvError {}

/// A round of expiry later than this is worth a warning: two scheduling periods of a busy machine.
const LATE: u64 = 50_000_000;

/// What one fill of the event buffer did, to be logged once the state is unlocked.
#[derive(Debug, Default)]
struct Filled {
    expired: usize,
    /// Nanoseconds after the deadline of the earliest of them.
    lateness: u64,
    /// More is due than the buffer has room for.
    waiting: bool,
}

impl Shared {
    /// Takes the next event that is still valid.
    ///
    /// Takes what is due out of the shard as the buffer empties.
    pub(super) fn take_event(&self) -> Result<TimerEvent, TryRecvError> {
        let mut stale = Vec::new();
        let mut state = self.state.lock();
        let found = loop {
            let Some(timer) = state.buffer.pop_front() else {
                if self.full.load(Ordering::Relaxed) && self.fill(&mut state).expired > 0 {
                    continue;
                }
                break None;
            };
            match state.living.take(&timer.name) {
                Some(living) if Arc::ptr_eq(&living, &timer) => break Some((timer, living)),
                Some(newer) => {
                    // The event is of an earlier incarnation: the newer one stays.
                    state.living.replace(newer);
                    stale.push(timer);
                }
                None => stale.push(timer),
            }
        };
        let resumed = self.refill(&mut state);
        let more = !state.buffer.is_empty();
        let closed = state.closed;
        drop(state);
        drop(stale);
        if more {
            // One receiver was told of several events: it tells the next.
            self.arrivals.notify_one();
        }
        if resumed {
            self.resume();
        }
        match found {
            Some((timer, living)) => {
                drop(living);
                // The last reference as a rule: the shard has let go of it, and so has the set.
                let name = Arc::try_unwrap(timer)
                    .map_or_else(|shared| shared.name.clone(), |timer| timer.name);
                Ok(TimerEvent::TimerExpired { name })
            }
            None if closed => Err(TryRecvError::Closed),
            None => Err(TryRecvError::Empty),
        }
    }

    /// Whether there is something in the event buffer, valid or not, or nothing will come any more.
    pub(super) fn has_arrivals(&self) -> bool {
        let state = self.state.lock();
        state.closed || !state.buffer.is_empty()
    }

    /// Fills a buffer again that was full and is half empty; whether the driver is to attend the shard again.
    ///
    /// Half, so that a receiver that follows closely neither locks the shard nor rings the driver for each event.
    fn refill(&self, state: &mut State) -> bool {
        if !self.full.load(Ordering::Relaxed) || state.buffer.len() > self.event_capacity / 2 {
            return false;
        }
        self.fill(state);
        let room = state.buffer.len() < self.event_capacity;
        if room {
            self.full.store(false, Ordering::Release);
        }
        room
    }

    /// Moves what is due from the shard into the buffer, as far as there is room. The caller decides about `full`.
    fn fill(&self, state: &mut State) -> Filled {
        let now = clock::now();
        let room = self.event_capacity.saturating_sub(state.buffer.len());
        let mut out = std::mem::take(&mut state.scratch);
        self.shard.expire_some(now, room, &mut out);
        let filled = Filled {
            expired: out.len(),
            lateness: out.first().map_or(0, |first| now - first.0.deadline),
            waiting: self.shard.next_deadline().is_some_and(|next| next <= now),
        };
        state.buffer.extend(out.drain(..).map(|held| held.0));
        state.scratch = out;
        filled
    }

    /// Has the driver attend the shard again after the buffer was full.
    fn resume(&self) {
        tracing::debug!(parent: &self.span, "event buffer has room for all that was due");
        if let Err(error) = driver::hand_over(&self.attendance) {
            // Only if a fork has taken the driver away and the system refuses another.
            tracing::error!(parent: &self.span, %error, "timers are not attended");
        }
    }

    /// Closes the event buffer behind what is due now, whether there is room for it or not.
    ///
    /// Returns what has lived so far, to be dropped with the state unlocked.
    pub(super) fn close_events(&self, state: &mut State) -> Living {
        let mut out = Vec::new();
        self.shard.expire(clock::now(), &mut out);
        let living = std::mem::take(&mut state.living);
        let buffer = std::mem::take(&mut state.buffer);
        state.buffer = buffer
            .into_iter()
            .chain(out.into_iter().map(|held| held.0))
            .filter(|timer| living.has(timer))
            .collect();
        state.living = state.buffer.iter().collect();
        state.closed = true;
        self.full.store(false, Ordering::Release);
        living
    }
}

impl Attended for Shared {
    fn next_deadline(&self) -> Option<Deadline> {
        // A full buffer has nothing fetched: whoever makes room hands the shard over again.
        if self.full.load(Ordering::Acquire) {
            return None;
        }
        let next = self.shard.next_deadline()?;
        Some(next.saturating_add(self.tolerance).min(NEVER - 1))
    }

    fn due(&self, _deadline: Deadline) {
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        let filled = self.fill(&mut state);
        if state.buffer.len() >= self.event_capacity {
            self.full.store(true, Ordering::Release);
        }
        drop(state);
        if filled.expired > 0 {
            self.arrivals.notify_one();
        }
        self.report(&filled);
    }
}

impl Shared {
    fn report(&self, filled: &Filled) {
        let Filled {
            expired, lateness, ..
        } = *filled;
        let lateness_us = lateness / 1_000;
        if lateness > LATE.saturating_add(self.tolerance) {
            tracing::warn!(parent: &self.span, expired, lateness_us, "timers expired late");
        } else if expired > 0 {
            tracing::trace!(parent: &self.span, expired, lateness_us, "timers expired");
        }
        if filled.waiting {
            let capacity = self.event_capacity;
            tracing::warn!(parent: &self.span, capacity, "event buffer is full, expiries wait");
        }
    }
}
