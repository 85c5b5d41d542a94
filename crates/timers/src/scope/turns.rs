//! The timers of a scope and whose turn it is: the state behind the lock.
//!
//! Each time that a timer is put into the wheel or the ready queue is a *turn* with a number of its own. What the driver brings
//! counts only if the timer is still in that turn.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::registration::{Plan, TimerInfo};
use crate::driver::{self, Timer};
use crate::node::{Deadline, Node};

/// Where the driver reports what is due.
pub(super) trait Ring: Send + Sync {
    /// The timer `name` is due, in the turn `turn`.
    fn ring(&self, name: &Arc<str>, turn: u64);
}

/// One turn of a timer in the wheel.
struct Turn {
    node: Node,
    deadline: Deadline,
    number: u64,
    name: Arc<str>,
    scope: Weak<dyn Ring>,
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
    turn: u64,
    waits: Waits,
}

impl<D> Member<D> {
    /// Takes what the driver or the ready queue holds for the timer.
    fn end_turn(&self, ready: &mut Ready) {
        match &self.waits {
            Waits::Deadline(alarm) => {
                driver::disarm(alarm);
            }
            Waits::Owner(place) => {
                ready.remove(place);
            }
            Waits::Resume(_) => {}
        }
    }

    fn pause(&mut self, ready: &mut Ready, now: Deadline) {
        if !matches!(self.waits, Waits::Resume(_)) {
            self.end_turn(ready);
            self.waits = Waits::Resume(self.plan.next().saturating_sub(now));
        }
    }
}

/// Due timers by their places: a number that each draws when it becomes due. A tree, since any of them may leave.
type Ready = BTreeMap<u64, Arc<str>>;

/// What a timer waits for.
enum Waits {
    Deadline(Arc<dyn Timer>),
    /// To be received, in this place of the ready queue.
    Owner(u64),
    /// To be resumed, with so many nanoseconds remaining.
    Resume(u64),
}

/// The state of an attached scope.
pub(super) struct Turns<D> {
    members: HashMap<Arc<str>, Member<D>>,
    /// The ready queue.
    ready: Ready,
    /// The number of this attachment.
    attachment: u64,
    /// The next number: attachments, turns and places are counted in one.
    next: u64,
}

impl<D> Turns<D> {
    /// `next` carries on from an earlier attachment, whose turns may still be reported.
    pub(super) fn new(next: u64) -> Self {
        Self {
            members: HashMap::new(),
            ready: Ready::new(),
            attachment: next,
            next: next + 1,
        }
    }

    pub(super) fn attachment(&self) -> u64 {
        self.attachment
    }

    pub(super) fn next_number(&self) -> u64 {
        self.next
    }

    fn draw(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Adds a timer whose name is not in use. On an error nothing is added, and the caller drops what was refused with the
    /// state unlocked.
    pub(super) fn add(
        &mut self,
        name: Arc<str>,
        plan: Plan,
        data: Arc<D>,
        now: Deadline,
        scope: Weak<dyn Ring>,
    ) -> Result<(), (io::Error, Option<Member<D>>)> {
        let member = Member {
            plan,
            data,
            turn: 0,
            waits: Waits::Resume(0),
        };
        self.members.insert(Arc::clone(&name), member);
        self.begin(&name, now, scope)
            .map_err(|error| (error, self.remove(&name)))
    }

    /// Takes a timer out of everything; the caller drops what it held with the state unlocked.
    pub(super) fn remove(&mut self, name: &str) -> Option<Member<D>> {
        let member = self.members.remove(name)?;
        member.end_turn(&mut self.ready);
        Some(member)
    }

    /// Takes all timers out; the caller drops them with the state unlocked.
    pub(super) fn remove_all(&mut self) -> Vec<Member<D>> {
        self.ready.clear();
        let members: Vec<_> = self.members.drain().map(|(_, member)| member).collect();
        for member in &members {
            if let Waits::Deadline(alarm) = &member.waits {
                driver::disarm(alarm);
            }
        }
        members
    }

    /// Begins the next turn of a timer: in the wheel, or among the due if its time has come.
    pub(super) fn begin(
        &mut self,
        name: &Arc<str>,
        now: Deadline,
        scope: Weak<dyn Ring>,
    ) -> io::Result<()> {
        let number = self.draw();
        let Some(member) = self.members.get_mut(name) else {
            return Ok(());
        };
        member.turn = number;
        let deadline = member.plan.next();
        if deadline <= now {
            member.waits = Waits::Owner(number);
            self.ready.insert(number, Arc::clone(name));
            return Ok(());
        }
        let alarm: Arc<dyn Timer> = Arc::new(Turn {
            node: Node::new(),
            deadline,
            number,
            name: Arc::clone(name),
            scope,
        });
        member.waits = Waits::Deadline(Arc::clone(&alarm));
        driver::arm(alarm)
    }

    /// The driver has found a turn due; whether that is still its turn.
    pub(super) fn is_due(&mut self, name: &Arc<str>, turn: u64) -> bool {
        match self.members.get_mut(name) {
            Some(member) if member.turn == turn && matches!(member.waits, Waits::Deadline(_)) => {
                member.waits = Waits::Owner(self.next);
                self.ready.insert(self.next, Arc::clone(name));
                self.next += 1;
                true
            }
            _ => false,
        }
    }

    /// The timer that has been due longest.
    pub(super) fn pop_ready(&mut self) -> Option<Arc<str>> {
        self.ready.pop_first().map(|(_, name)| name)
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Member<D>> {
        self.members.get_mut(name)
    }

    pub(super) fn names(&self) -> Vec<Arc<str>> {
        self.members.keys().cloned().collect()
    }

    /// Stops a timer's time; false if there is none of this name. Once more changes nothing.
    pub(super) fn pause(&mut self, name: &str, now: Deadline) -> bool {
        let found = self.members.get_mut(name);
        found
            .map(|member| member.pause(&mut self.ready, now))
            .is_some()
    }

    /// Stops the time of all timers.
    pub(super) fn pause_all(&mut self, now: Deadline) {
        for member in self.members.values_mut() {
            member.pause(&mut self.ready, now);
        }
    }

    /// Lets a timer's time go on; does nothing to one that is not paused. False if there is none of this name.
    pub(super) fn resume(
        &mut self,
        name: &str,
        now: Deadline,
        scope: Weak<dyn Ring>,
    ) -> io::Result<bool> {
        let Some((name, member)) = self.members.get_key_value(name) else {
            return Ok(false);
        };
        let Waits::Resume(remaining) = member.waits else {
            return Ok(true);
        };
        let name = Arc::clone(name);
        if let Some(member) = self.members.get_mut(&name) {
            member.plan.move_to(now.saturating_add(remaining));
        }
        self.begin(&name, now, scope)?;
        Ok(true)
    }

    pub(super) fn list(&self, now: Deadline) -> Vec<TimerInfo> {
        let info = |(name, member): (&Arc<str>, &Member<D>)| {
            let (remaining, paused) = match member.waits {
                Waits::Resume(remaining) => (remaining, true),
                _ => (member.plan.next().saturating_sub(now), false),
            };
            TimerInfo {
                name: Arc::clone(name),
                interval: member.plan.interval(),
                sequence: member.plan.sequence(),
                remaining: Duration::from_nanos(remaining),
                paused,
            }
        };
        let mut infos: Vec<_> = self.members.iter().map(info).collect();
        infos.sort_by(|left, right| left.name.cmp(&right.name));
        infos
    }
}
