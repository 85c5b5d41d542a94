//! The manager's task: carries out commands, and ends the manager.

use std::collections::{VecDeque, hash_set};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use std::vec;

use tokio::task;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::handle::TimerHandle;
use super::living::{ByName, Living};
use super::shared::{Shared, Step};
use super::timer::Held;
use crate::driver;

/// So many cancelled timers are freed before the task looks at its commands again: some 100 us.
const FREED_AT_ONCE: usize = 1024;
/// So many timers are set or cancelled before the driver, and whoever receives, can have the shard: some 5 us.
const CHANGED_AT_ONCE: usize = 32;

/// A service of named timers; see the [module](super).
///
/// The slots of its timers take 32 KiB from the first one on: one manager for many timers, not one for each. Timers that are
/// cancelled one by one leave their room in the map of names, 35 bytes of each, for the next; cancelling all gives it back.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// use timers::{TimerEvent, TimerManager};
/// use tokio_util::sync::CancellationToken;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let (manager, timers) =
///     TimerManager::new("sessions", Duration::ZERO, 64, 64, CancellationToken::new());
/// let task = tokio::spawn(manager.run());
/// timers.set_timer("a", Duration::from_millis(2)).await?;
/// timers.set_timer("b", Duration::from_millis(1)).await?;
/// for expected in ["b", "a"] {
///     let event = timers.recv_event().await;
///     assert_eq!(event, Some(TimerEvent::TimerExpired { name: expected.into() }));
/// }
/// timers.shutdown().await?;
/// assert_eq!(timers.recv_event().await, None);
/// task.await??;
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(example()).unwrap();
/// ```
#[must_use = "a manager does nothing unless it is run"]
pub struct TimerManager {
    shared: Arc<Shared>,
}

/// Why a manager has ended.
#[derive(Clone, Copy, Debug)]
enum End {
    Shutdown,
    NoHandles,
    Token,
    /// The manager was dropped, or its task aborted.
    Dropped,
}

impl TimerManager {
    /// A manager, to be run, and a handle for its timers.
    ///
    /// `heartbeat_interval` is a tolerance: zero expires each timer exactly; otherwise those that are due within one such time
    /// expire together at its end, never early and that much late at most. The buffers hold at least one command and one event;
    /// `command_buffer_size` bounds what is accepted and not yet carried out, `event_buffer_size` what has expired and is not
    /// yet received: further expiries wait in the wheel. Cancelling the token ends the manager as a shutdown does, without
    /// waiting for a place in the command buffer; commands are refused at once.
    pub fn new(
        name: impl Into<String>,
        heartbeat_interval: Duration,
        command_buffer_size: usize,
        event_buffer_size: usize,
        cancellation_token: CancellationToken,
    ) -> (Self, TimerHandle) {
        let shared = Shared::new(
            name.into(),
            heartbeat_interval,
            command_buffer_size,
            event_buffer_size,
            cancellation_token,
        );
        let manager = Self {
            shared: Arc::clone(&shared),
        };
        (manager, TimerHandle::new(shared))
    }

    /// The manager's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Carries commands out until the manager is shut down, the token is cancelled or no handle is left.
    ///
    /// To be spawned as one task. If it is dropped before its end, the manager is closed in the same way.
    ///
    /// # Errors
    /// If the driver had to be started and the system refused the thread or a descriptor. The manager is closed then.
    pub async fn run(self) -> io::Result<()> {
        let span = self.shared.span.clone();
        self.work().instrument(span).await
    }

    async fn work(self) -> io::Result<()> {
        tracing::debug!("started");
        let token = &self.shared.token;
        let end = token.run_until_cancelled(self.carry_out()).await;
        self.close(match end {
            None => End::Token,
            Some(end) => end?,
        });
        Ok(())
    }

    async fn carry_out(&self) -> io::Result<End> {
        let mut steps = Vec::new();
        let mut debris = Debris::default();
        loop {
            // Senders that never pause must not keep the task from yielding.
            task::consume_budget().await;
            let closing = self.shared.take_steps(&mut steps);
            if steps.is_empty() {
                if closing {
                    return Ok(End::NoHandles);
                }
                if debris.free_some() {
                    task::yield_now().await;
                } else {
                    self.shared.work.notified().await;
                }
                continue;
            }
            if self.shared.apply(&mut steps, &mut debris)? {
                return Ok(End::Shutdown);
            }
        }
    }

    fn close(&self, end: End) {
        if self.shared.close() {
            tracing::debug!(parent: &self.shared.span, ?end, "stopped");
        }
    }
}

impl Drop for TimerManager {
    fn drop(&mut self) {
        self.close(End::Dropped);
    }
}

impl std::fmt::Debug for TimerManager {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("TimerManager")
            .field("name", &self.shared.name)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Takes all that is in the command buffer, and frees its places; whether no more will come.
    fn take_steps(&self, steps: &mut Vec<Step>) -> bool {
        let mut state = self.state.lock();
        std::mem::swap(&mut state.steps, steps);
        let closing = state.closing;
        drop(state);
        self.places.add_permits(steps.len());
        closing
    }

    /// Carries out the steps in order, up to a shutdown; whether there was one.
    fn apply(&self, steps: &mut Vec<Step>, debris: &mut Debris) -> io::Result<bool> {
        let mut earliest = false;
        let mut shutdown = false;
        let mut left = Vec::new();
        let mut steps = steps.drain(..);
        while !steps.as_slice().is_empty() {
            let mut other = None;
            earliest |= self.shard.change(&mut left, |shard| {
                for step in steps.by_ref().take(CHANGED_AT_ONCE) {
                    match step {
                        Step::Set(timer, replaced) => {
                            if let Some(replaced) = replaced {
                                shard.remove(Held(replaced));
                            }
                            shard.insert(Held(timer));
                        }
                        Step::Remove(Some(found)) => shard.remove(Held(found)),
                        Step::Remove(None) => {}
                        Step::Clear(_) | Step::Shutdown => {
                            other = Some(step);
                            break;
                        }
                    }
                }
            });
            left.clear();
            match other {
                // All that was set before this step is in the shard by now, and nothing else.
                Some(Step::Clear(living)) => debris.add(living, self.shard.drain()),
                // The last step: nothing is accepted after it.
                Some(_) => shutdown = true,
                None => {}
            }
        }
        if earliest && !shutdown {
            driver::hand_over(&self.attendance)?;
        }
        Ok(shutdown)
    }

    /// Ends the manager: no command, no expiry after this one. False if it had ended.
    fn close(&self) -> bool {
        self.places.close();
        let mut steps = Vec::new();
        let mut debris = Debris::default();
        let mut state = self.state.lock();
        if state.closed {
            return false;
        }
        state.closing = true;
        std::mem::swap(&mut state.steps, &mut steps);
        drop(state);
        // What was accepted and is due already counts as expired. A shutdown among the steps asks for no driver.
        steps.push(Step::Shutdown);
        let _ = self.apply(&mut steps, &mut debris); // Does not fail without the driver.
        driver::take_back(&self.attendance);
        let mut state = self.state.lock();
        let unfinished = self.close_events(&mut state);
        drop(state);
        drop(unfinished);
        drop(self.shard.drain());
        self.arrivals.notify_waiters();
        true
    }
}

/// Cancelled timers that wait to be freed: freeing a million takes a tenth of a second.
#[derive(Default)]
struct Debris {
    names: VecDeque<hash_set::IntoIter<ByName>>,
    entries: VecDeque<vec::IntoIter<Held>>,
}

impl Debris {
    fn add(&mut self, living: Living, entries: Vec<Held>) {
        self.names.push_back(living.into_iter());
        self.entries.push_back(entries.into_iter());
    }

    /// Frees some of them; false if there were none.
    fn free_some(&mut self) -> bool {
        fn some<T, I: Iterator<Item = T>>(queue: &mut VecDeque<I>) -> bool {
            let Some(first) = queue.front_mut() else {
                return false;
            };
            if first.by_ref().take(FREED_AT_ONCE).count() == 0 {
                queue.pop_front();
            }
            true
        }
        some(&mut self.names) || some(&mut self.entries)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use super::*;
    use crate::manager::timer::Timer;

    const HOUR: Duration = Duration::from_secs(3600);

    /// The timers that live, not held.
    fn living(shared: &Shared) -> Vec<Weak<Timer>> {
        let steps = &shared.state.lock().steps;
        steps
            .iter()
            .filter_map(|step| match step {
                Step::Set(timer, _) => Some(Arc::downgrade(timer)),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn timers_that_are_replaced_or_cancelled_leave_the_wheel_and_are_freed() {
        let (manager, handle) =
            TimerManager::new("test", Duration::ZERO, 1024, 1, CancellationToken::new());
        let shared = &manager.shared;
        let carry_out = || {
            let mut steps = Vec::new();
            shared.take_steps(&mut steps);
            let outcome = shared.apply(&mut steps, &mut Debris::default());
            assert!(matches!(outcome, Ok(false)));
        };
        let set_all = || {
            for number in 0..100 {
                let set = handle.try_set_timer(format!("{number}"), HOUR);
                assert!(set.is_ok());
            }
        };
        set_all();
        let first = living(shared);
        carry_out();
        assert_eq!((first.len(), shared.shard.len()), (100, 100));
        set_all();
        let second = living(shared);
        // Before they get into the wheel, and after.
        for (cancelled, left) in [(0..40, 60), (40..70, 30)] {
            for number in cancelled {
                assert!(handle.try_cancel_timer(format!("{number}")).is_ok());
            }
            carry_out();
            assert_eq!(shared.shard.len(), left);
            let held = second.iter().filter(|timer| timer.strong_count() > 0);
            assert_eq!(held.count(), left);
        }
        assert!(first.iter().all(|timer| timer.strong_count() == 0));
    }
}
