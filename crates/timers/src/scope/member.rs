//! One timer of a scope, and what it waits for.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::registration::Plan;
use crate::driver::{self, Timer};
use crate::node::{Deadline, Node};

/// Where the driver reports what is due.
pub(super) trait Ring: Send + Sync {
    /// The timer `name` is due, in the turn `turn`.
    fn ring(&self, name: &Arc<str>, turn: u64);
}

/// One turn of a timer in the wheel.
pub(super) struct Turn {
    pub(super) node: Node,
    pub(super) deadline: Deadline,
    pub(super) number: u64,
    pub(super) name: Arc<str>,
    pub(super) scope: Weak<dyn Ring>,
}

impl Timer for Turn {
    fn node(&self) -> &Node {
        &self.node
    }

    fn deadline(&self) -> Deadline {
        self.deadline
    }

    fn fire(self: Arc<Self>) {
        if let Some(scope) = self.scope.upgrade() {
            scope.ring(&self.name, self.number);
        }
    }
}

/// A registered timer.
pub(super) struct Member<D> {
    pub(super) plan: Plan,
    pub(super) data: Arc<D>,
    /// The number of the present turn; that of the last one while paused.
    pub(super) turn: u64,
    pub(super) waits: Waits,
}

/// What a timer waits for.
pub(super) enum Waits {
    Deadline(Arc<dyn Timer>),
    /// To be received.
    Owner(Due),
    /// To be resumed.
    Resume(Left),
}

/// A firing that waits to be received.
#[derive(Clone, Copy)]
pub(super) struct Due {
    /// Its place in the ready queue, for good: pausing takes it out, resuming puts it back.
    pub(super) place: u64,
    /// When it was due. Resuming moves the plan.
    pub(super) since: Deadline,
}

/// What is left of a paused timer's present turn.
#[derive(Clone, Copy)]
pub(super) enum Left {
    /// Nanoseconds.
    Time(u64),
    Firing(Due),
}

impl Left {
    pub(super) fn remaining(self) -> u64 {
        match self {
            Self::Time(remaining) => remaining,
            Self::Firing(_) => 0,
        }
    }
}

impl<D> Member<D> {
    /// When the firing that waits to be received was due, or the next one is.
    pub(super) fn scheduled_at(&self) -> Deadline {
        match self.waits {
            Waits::Owner(due) => due.since,
            _ => self.plan.next(),
        }
    }

    /// Takes what the driver or the ready queue holds for the timer.
    pub(super) fn end_turn(&self, ready: &mut Ready) {
        match &self.waits {
            Waits::Deadline(alarm) => {
                driver::disarm(alarm);
            }
            Waits::Owner(due) => {
                ready.remove(&due.place);
            }
            Waits::Resume(_) => {}
        }
    }

    /// Stops the timer's time. If it is due and the driver has yet to tell, its firing gets `place`.
    pub(super) fn pause(&mut self, ready: &mut Ready, place: u64, now: Deadline) {
        self.end_turn(ready);
        let next = self.plan.next();
        self.waits = Waits::Resume(match self.waits {
            Waits::Deadline(_) if next > now => Left::Time(next - now),
            Waits::Deadline(_) => Left::Firing(Due { place, since: next }),
            Waits::Owner(due) => Left::Firing(due),
            Waits::Resume(left) => left,
        });
    }
}

/// Due timers by their places: a number that each draws when it becomes due. A tree, since any of them may leave.
pub(super) type Ready = BTreeMap<u64, Arc<str>>;
