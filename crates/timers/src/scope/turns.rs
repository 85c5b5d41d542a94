//! The timers of a scope and whose turn it is: the state behind the lock.
//!
//! Each time that a timer is put into the wheel or the ready queue is a *turn* with a number of its own. What the driver brings
//! counts only if the timer is still in that turn.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::member::{Due, Left, Member, Ready, Ring, Turn, Waits};
use super::registration::{Plan, TimerInfo};
use crate::driver::{self, Timer};
use crate::node::{Deadline, Node};

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
            waits: Waits::Resume(Left::Time(0)),
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

    /// Takes all timers out, and the room they had; the caller drops them with the state unlocked.
    pub(super) fn remove_all(&mut self) -> HashMap<Arc<str>, Member<D>> {
        self.ready.clear();
        let members = std::mem::take(&mut self.members);
        for member in members.values() {
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
            member.waits = Waits::Owner(Due {
                place: number,
                since: deadline,
            });
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
                member.waits = Waits::Owner(Due {
                    place: self.next,
                    since: member.plan.next(),
                });
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

    /// Stops a timer's time; false if there is none of this name. Once more changes nothing.
    pub(super) fn pause(&mut self, name: &str, now: Deadline) -> bool {
        let place = self.draw();
        let found = self.members.get_mut(name);
        found
            .map(|member| member.pause(&mut self.ready, place, now))
            .is_some()
    }

    /// Stops the time of all timers.
    pub(super) fn pause_all(&mut self, now: Deadline) {
        let mut members: Vec<_> = self.members.values_mut().collect();
        members.sort_unstable_by_key(|member| (member.plan.next(), member.turn));
        for (member, place) in members.into_iter().zip(self.next..) {
            member.pause(&mut self.ready, place, now);
        }
        self.next += self.members.len() as u64;
    }

    /// Lets a timer's time go on; does nothing to one that is not paused. False if there is none of this name.
    ///
    /// On an error it goes on all the same, armed.
    pub(super) fn resume(
        &mut self,
        name: &str,
        now: Deadline,
        scope: Weak<dyn Ring>,
    ) -> io::Result<bool> {
        let Some((name, _)) = self.members.get_key_value(name) else {
            return Ok(false);
        };
        let name = Arc::clone(name);
        if let Some(member) = self.members.get_mut(&name)
            && let Waits::Resume(left) = member.waits
        {
            member.plan.move_to(now.saturating_add(left.remaining()));
            match left {
                Left::Time(_) => self.begin(&name, now, scope)?,
                Left::Firing(due) => {
                    member.waits = Waits::Owner(due);
                    self.ready.insert(due.place, name);
                }
            }
        }
        Ok(true)
    }

    /// [`Turns::resume`] for all timers, in the order of what is left of their time.
    pub(super) fn resume_all(&mut self, now: Deadline, scope: &Weak<dyn Ring>) -> io::Result<()> {
        let left = |(name, member): (&Arc<str>, &Member<D>)| match member.waits {
            Waits::Resume(left) => Some((left.remaining(), member.turn, Arc::clone(name))),
            _ => None,
        };
        let mut paused: Vec<_> = self.members.iter().filter_map(left).collect();
        paused.sort_unstable();
        let mut outcome = Ok(());
        for (_, _, name) in paused {
            let resumed = self.resume(&name, now, Weak::clone(scope));
            outcome = outcome.and(resumed.map(drop));
        }
        outcome
    }

    pub(super) fn list(&self, now: Deadline) -> Vec<TimerInfo> {
        let info = |(name, member): (&Arc<str>, &Member<D>)| {
            let (remaining, paused) = match member.waits {
                Waits::Resume(left) => (left.remaining(), true),
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};

    use super::*;
    use crate::clock;

    const BOUND: Duration = Duration::from_secs(60);
    const HOUR: u64 = 3_600_000_000_000;

    impl Ring for Sender<Arc<str>> {
        fn ring(&self, name: &Arc<str>, _turn: u64) {
            let _ = self.send(Arc::clone(name)); // The test may have given up.
        }
    }

    fn bell() -> (Arc<dyn Ring>, Receiver<Arc<str>>) {
        let (bell, rung) = mpsc::channel();
        (Arc::new(bell), rung)
    }

    /// Names in another order than that of a map, one for each timer of a test.
    fn names() -> impl Iterator<Item = Arc<str>> {
        (0..30).map(|number: u32| number.to_string().into())
    }

    fn add(turns: &mut Turns<()>, name: Arc<str>, deadline: Deadline, bell: &Arc<dyn Ring>) {
        let (plan, now) = (Plan::Once(deadline), deadline - 1);
        let added = turns.add(name, plan, Arc::new(()), now, Arc::downgrade(bell));
        assert!(added.is_ok());
    }

    /// What is due, in the order of the ready queue.
    fn due(turns: &mut Turns<()>) -> Vec<(Arc<str>, Deadline)> {
        let pop = || {
            let name = turns.pop_ready()?;
            let scheduled_at = turns.get_mut(&name)?.scheduled_at();
            Some((name, scheduled_at))
        };
        std::iter::from_fn(pop).collect()
    }

    #[test]
    fn firings_that_waited_when_they_were_paused_come_in_their_order_with_their_times() {
        // Far ahead of the driver: what is due by a clock moved by hand, it has yet to tell.
        let start = clock::now() + HOUR;
        let (bell, _rung) = bell();
        let mut turns = Turns::new(1);
        let expected: Vec<_> = names().zip(start..).collect();
        let (told, untold) = expected.split_at(10);
        // Told of in the order of their deadlines, registered in the opposite one.
        for (name, deadline) in expected.iter().rev() {
            add(&mut turns, Arc::clone(name), *deadline, &bell);
        }
        for (name, _) in told {
            let turn = turns.get_mut(name).map_or(0, |member| member.turn);
            assert!(turns.is_due(name, turn));
        }
        let (later, last) = ("later".into(), start + 2 * HOUR);
        add(&mut turns, later, last, &bell);
        turns.pause_all(start + HOUR);
        assert!(due(&mut turns).is_empty());
        // One alone may come back early, and is then paused again.
        let again = &untold[0].0;
        let ring = Arc::downgrade(&bell);
        assert!(matches!(
            turns.resume(again, last, Weak::clone(&ring)),
            Ok(true)
        ));
        turns.pause_all(last + 1);
        assert!(turns.resume_all(last + HOUR, &ring).is_ok());
        assert_eq!(due(&mut turns), expected);
        let left = turns.get_mut("later").map(|member| member.plan.next());
        assert_eq!(left, Some(last + 2 * HOUR));
    }

    #[test]
    fn timers_that_are_all_cancelled_leave_no_room() {
        let (bell, _rung) = bell();
        let mut turns = Turns::new(1);
        for name in names() {
            add(&mut turns, name, clock::now() + HOUR, &bell);
        }
        drop(turns.remove_all());
        assert_eq!(turns.members.capacity(), 0);
    }

    #[test]
    fn timers_with_the_same_left_come_in_the_order_of_their_registration() {
        let (bell, rung) = bell();
        let mut turns = Turns::new(1);
        let deadline = clock::now() + HOUR;
        for name in names() {
            add(&mut turns, name, deadline, &bell);
        }
        turns.pause_all(deadline - 1_000_000);
        let resumed = turns.resume_all(clock::now(), &Arc::downgrade(&bell));
        assert!(resumed.is_ok());
        for name in names() {
            assert_eq!(rung.recv_timeout(BOUND), Ok(name));
        }
    }
}
