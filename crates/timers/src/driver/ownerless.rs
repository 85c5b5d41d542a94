//! Timers that no loop owns: one shard for all of them, fired on the driver's thread.
//!
//! Any thread arms and disarms. The shard belongs to the process's wheel and is handed to the driver when it gets
//! its first timer.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use crate::attend::{Attendance, Attendant, Attended};
use crate::clock;
use crate::node::{Deadline, Entry, Node};
use crate::shard::Shard;
use crate::wheel::{Alarm, Wheel};

/// A timer that the driver fires.
///
/// [`Timer::node`] and [`Timer::deadline`] are called with the shard locked: they read a field, and always answer the same.
pub trait Timer: Send + Sync {
    /// The state embedded in the timer.
    fn node(&self) -> &Node;
    /// When the timer is due.
    fn deadline(&self) -> Deadline;
    /// Does what is due. Called once, on the driver's thread, with no lock held, never before the deadline.
    ///
    /// Must not block: all other timers wait meanwhile. A panic, here or in a timer's drop, is nothing to the others.
    fn fire(self: Arc<Self>);
}

/// What the shard keeps of a timer.
struct Armed(Arc<dyn Timer>);

impl Entry for Armed {
    fn node(&self) -> &Node {
        self.0.node()
    }

    fn deadline(&self) -> Deadline {
        self.0.deadline()
    }
}

/// The shard of the timers that no loop owns.
pub(super) struct Ownerless {
    shard: Shard<Armed>,
    attendance: Arc<Attendance>,
}

impl Ownerless {
    pub(super) fn new() -> Arc<Self> {
        Arc::new_cyclic(|this: &Weak<Self>| Self {
            shard: Shard::new(),
            attendance: Attendance::new(this.clone()),
        })
    }

    /// Files a timer, and tells the driver if it is the earliest.
    ///
    /// On an error the timer waits in the shard for a later call that succeeds.
    pub(super) fn arm<A: Alarm>(&self, wheel: &Wheel<A>, timer: Arc<dyn Timer>) -> io::Result<()> {
        let earliest = self.shard.insert(Armed(timer));
        let unattended = self.attendance.attendant() == Attendant::Loop;
        if unattended {
            // The driver is started before the shard is handed over, which cannot fail then: whoever finds the shard attended
            // relies on that.
            wheel.alarm().ring()?;
        }
        if earliest || unattended {
            wheel.hand_over(&self.attendance)?;
        }
        Ok(())
    }

    /// Cancels a timer; whether this call did it.
    pub(super) fn disarm(&self, timer: &Arc<dyn Timer>) -> bool {
        let won = timer.node().cancel();
        if won {
            drop(self.shard.remove_node(timer.node(), timer.deadline()));
        }
        won
    }

    pub(super) fn len(&self) -> usize {
        self.shard.len()
    }
}

impl Attended for Ownerless {
    fn next_deadline(&self) -> Option<Deadline> {
        self.shard.next_deadline()
    }

    fn due(&self, _deadline: Deadline) {
        let mut out = Vec::new();
        // The panic hook reports what panics; the other timers are due all the same. Here it is the drop of a cancelled timer,
        // which comes after all that is due is in `out`.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            self.shard.expire(clock::now(), &mut out);
        }));
        for Armed(timer) in out {
            let _ = catch_unwind(AssertUnwindSafe(|| timer.fire()));
        }
    }
}

impl std::fmt::Debug for Ownerless {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Ownerless")
            .field("timers", &self.shard.len())
            .finish_non_exhaustive()
    }
}
