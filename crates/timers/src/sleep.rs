//! A future that is ready at a deadline, on the process's one wheel.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::coop;

use crate::clock;
use crate::driver::{self, Timer};
use crate::node::{Deadline, Node};
use crate::schedule::nanoseconds;

/// Waits for `duration`, exactly: tokio's own `sleep` counts in milliseconds.
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(clock::now().saturating_add(nanoseconds(duration)))
}

/// Waits until `deadline` on the clock of [`clock::now`]; [`NEVER`](crate::NEVER) waits for ever.
pub fn sleep_until(deadline: Deadline) -> Sleep {
    Sleep {
        deadline,
        alarm: None,
    }
}

/// The future of [`sleep`] and [`sleep_until`]. Any executor can poll it; dropping it frees the timer.
///
/// One that waits while the process forks wakes nobody in the child, where it has to be reset or made anew.
///
/// # Panics
/// When polled, if the driver is not running and the system refuses to start it.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is polled"]
pub struct Sleep {
    deadline: Deadline,
    /// None until the first poll that has to wait, and after the end.
    alarm: Option<Arc<Wake>>,
}

impl Sleep {
    /// When the future is ready.
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// Waits for another deadline instead. A task that waits already is woken at that one, whoever calls this.
    ///
    /// # Panics
    /// If a task waits, and the driver is not running and the system refuses to start it.
    pub fn reset(&mut self, deadline: Deadline) {
        // Gone if the alarm goes off just now: the task is woken, and polls.
        let waiting = self
            .alarm
            .as_ref()
            .and_then(|alarm| alarm.waker.lock().take());
        self.disarm();
        self.deadline = deadline;
        if let Some(waker) = waiting {
            self.arm(waker);
        }
    }

    /// Whether the deadline has come; if not, the waker is woken then.
    fn is_over(&mut self, waker: &Waker) -> bool {
        if clock::has_passed(self.deadline) {
            return true;
        }
        let Some(alarm) = &self.alarm else {
            self.arm(waker.clone());
            return false;
        };
        let replaced = alarm.replace_waker(waker);
        // After the waker is in place: an alarm that goes off from here on finds it.
        let pending = alarm.node.is_pending();
        drop(replaced);
        !pending
    }

    fn disarm(&mut self) {
        if let Some(alarm) = self.alarm.take() {
            let alarm: Arc<dyn Timer> = alarm;
            driver::disarm(&alarm);
        }
    }

    fn arm(&mut self, waker: Waker) {
        let alarm = Arc::new(Wake {
            node: Node::new(),
            deadline: self.deadline,
            waker: Mutex::new(Some(waker)),
        });
        self.alarm = Some(Arc::clone(&alarm));
        driver::arm(alarm).expect("the system lets the driver of the timers start");
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if !self.is_over(context.waker()) {
            return Poll::Pending;
        }
        // Sleeps of no length must not keep the task from yielding to its neighbours. Those that wait need no budget.
        ready!(coop::poll_proceed(context)).made_progress();
        self.disarm();
        Poll::Ready(())
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.disarm();
    }
}

/// Wakes a task at the deadline.
#[derive(Debug)]
struct Wake {
    node: Node,
    deadline: Deadline,
    /// The task that polled last. Locked for moving the waker only.
    waker: Mutex<Option<Waker>>,
}

impl Wake {
    /// Returns the old waker, whose drop may run an executor's code: let it happen with no lock held.
    fn replace_waker(&self, waker: &Waker) -> Option<Waker> {
        let mut current = self.waker.lock();
        if current.as_ref().is_some_and(|known| known.will_wake(waker)) {
            return None;
        }
        current.replace(waker.clone())
    }
}

impl Timer for Wake {
    fn node(&self) -> &Node {
        &self.node
    }

    fn deadline(&self) -> Deadline {
        self.deadline
    }

    fn fire(self: Arc<Self>) {
        let waker = self.waker.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
