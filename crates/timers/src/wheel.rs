//! The shards that the driver attends, in order of their earliest deadlines.
//!
//! Pure bookkeeping, free of clocks and threads: the driver asks [`Wheel::fire_due`] what is due and how
//! long it may sleep, and is rung through [`Alarm`] if that answer became wrong. Any thread may call any
//! method. No [`Attended::due`], no alarm and no drop of an attended object happens under the lock.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::attend::{Attendance, Attendant, Attended};
use crate::node::{Deadline, NEVER};
use crate::sync::Mutex;

/// Whoever sleeps until the earliest deadline of a wheel.
pub trait Alarm: Send + Sync {
    /// Ends the sleep early: the earliest deadline is earlier now. Called with no lock held.
    ///
    /// # Errors
    /// If the sleeper had to be started first and could not be.
    fn ring(&self) -> io::Result<()>;
}

/// The process-wide registry of shards for the driver.
#[derive(Debug)]
pub struct Wheel<A> {
    schedule: Mutex<Schedule>,
    alarm: A,
}

/// What the lock protects. Each shard appears once in each of the two maps, or in neither.
#[derive(Debug)]
struct Schedule {
    /// By deadline, then by shard.
    order: BTreeMap<(Deadline, u64), Arc<Attendance>>,
    /// The deadline under which a shard is in `order`.
    deadlines: HashMap<u64, Deadline>,
    /// Until when the sleeper sleeps if nobody rings; `NEVER` before its first sleep. Rung for anything earlier.
    sleeping_until: Deadline,
}

impl Schedule {
    fn put(&mut self, attendance: &Arc<Attendance>, deadline: Deadline) {
        self.take(attendance);
        self.order
            .insert((deadline, attendance.id()), Arc::clone(attendance));
        self.deadlines.insert(attendance.id(), deadline);
    }

    fn take(&mut self, attendance: &Attendance) {
        if let Some(deadline) = self.deadlines.remove(&attendance.id()) {
            // Drops a counted `Weak`, which runs nobody's code.
            self.order.remove(&(deadline, attendance.id()));
        }
    }

    fn earliest(&self) -> Option<Deadline> {
        self.order
            .first_key_value()
            .map(|(&(deadline, _), _)| deadline)
    }

    /// Whether the sleeper has to be rung; assumes that it then is.
    fn must_ring(&mut self) -> bool {
        match self.earliest() {
            Some(deadline) if deadline < self.sleeping_until => {
                self.sleeping_until = deadline;
                true
            }
            _ => false,
        }
    }
}

impl<A: Alarm> Wheel<A> {
    /// A wheel that attends nothing; `alarm` is rung when there is a deadline to sleep for.
    pub fn new(alarm: A) -> Self {
        let schedule = Schedule {
            order: BTreeMap::new(),
            deadlines: HashMap::new(),
            sleeping_until: NEVER,
        };
        Self {
            schedule: Mutex::new(schedule),
            alarm,
        }
    }

    /// The sleeper.
    pub fn alarm(&self) -> &A {
        &self.alarm
    }

    /// Makes the driver answer for a shard, from its present earliest deadline on.
    ///
    /// # Errors
    /// Those of [`Alarm::ring`]. The loop answers for its shard then, as before.
    pub fn hand_over(&self, attendance: &Arc<Attendance>) -> io::Result<()> {
        self.update(attendance, Some(Attendant::Driver))
            .inspect_err(|_| {
                self.take_back(attendance);
            })?;
        Ok(())
    }

    /// Makes the loop answer for its shard again, and returns the earliest deadline for its time-out.
    ///
    /// A call of [`Attended::due`] that has begun may still arrive afterwards.
    pub fn take_back(&self, attendance: &Attendance) -> Option<Deadline> {
        let attended = attendance.attended();
        let mut schedule = self.schedule.lock();
        schedule.take(attendance);
        attendance.set(Attendant::Loop);
        let next = attended
            .as_ref()
            .and_then(|attended| attended.next_deadline());
        drop(schedule);
        drop(attended);
        next
    }

    /// Brings the driver up to date with the earliest deadline of a shard, and says who answers for it.
    ///
    /// To be called after an insertion that returned true while the driver attends, and by an owner that has
    /// expired its shard after [`Attended::due`]. If the answer is `Loop`, the shard changed hands meanwhile
    /// and the loop may need to be woken instead.
    ///
    /// # Errors
    /// Those of [`Alarm::ring`].
    pub fn announce(&self, attendance: &Arc<Attendance>) -> io::Result<Attendant> {
        match attendance.responsible() {
            Attendant::Loop => Ok(Attendant::Loop),
            Attendant::Driver => self.update(attendance, None),
        }
    }

    /// The number of shards with a deadline that the driver sleeps for.
    pub fn scheduled(&self) -> usize {
        self.schedule.lock().order.len()
    }

    /// Calls [`Attended::due`] for every shard due at `now`; returns the next deadline to sleep for.
    ///
    /// For the one sleeper only. The caller must look again when rung, even if the ring came before the
    /// sleep began. A shard that turns out to be due later (its first timer was cancelled) is not told.
    pub fn fire_due(&self, now: Deadline) -> Option<Deadline> {
        let fired = self.take_due(now);
        for (attendance, attended) in &fired {
            if let Some(deadline) = attended.next_deadline().filter(|&deadline| deadline <= now)
                && attendance.attendant() == Attendant::Driver
            {
                // One owner's panic must not end the timers of all others; the panic hook has reported it.
                let _ = catch_unwind(AssertUnwindSafe(|| attended.due(deadline)));
            }
        }
        let mut schedule = self.schedule.lock();
        for (attendance, attended) in &fired {
            // What is still due waits for its owner's `announce`, or this would spin; and what was announced
            // meanwhile stands.
            if let Some(deadline) = attended.next_deadline().filter(|&deadline| deadline > now)
                && attendance.attendant() == Attendant::Driver
            {
                schedule.put(attendance, deadline);
            }
        }
        let next = schedule.earliest();
        schedule.sleeping_until = next.unwrap_or(NEVER);
        drop(schedule);
        // May be the last references to their owners.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(fired)));
        next
    }

    fn take_due(&self, now: Deadline) -> Vec<(Arc<Attendance>, Arc<dyn Attended>)> {
        let mut taken = Vec::new();
        let mut schedule = self.schedule.lock();
        while let Some(first) = schedule.order.first_entry()
            && first.key().0 <= now
        {
            let attendance = first.remove();
            schedule.deadlines.remove(&attendance.id());
            taken.push(attendance);
        }
        // Whatever is announced from here on is found by the look at the schedule after the firing.
        schedule.sleeping_until = 0;
        drop(schedule);
        taken
            .into_iter()
            .filter_map(|attendance| attendance.attended().map(|attended| (attendance, attended)))
            .collect()
    }

    /// Schedules the shard under its present deadline, after a change of hands if one is given.
    fn update(
        &self,
        attendance: &Arc<Attendance>,
        change: Option<Attendant>,
    ) -> io::Result<Attendant> {
        let attended = attendance.attended();
        let mut schedule = self.schedule.lock();
        if let Some(attendant) = change {
            attendance.set(attendant);
        }
        let attendant = attendance.attendant();
        let mut ring = false;
        if attendant == Attendant::Driver {
            // Read under the lock: of two announcements the later one must schedule the later state.
            match attended
                .as_ref()
                .and_then(|attended| attended.next_deadline())
            {
                Some(deadline) => schedule.put(attendance, deadline),
                None => schedule.take(attendance),
            }
            ring = schedule.must_ring();
        }
        drop(schedule);
        drop(attended);
        if ring && let Err(error) = self.alarm.ring() {
            // Nobody sleeps: let the next announcement ring again.
            self.schedule.lock().sleeping_until = NEVER;
            return Err(error);
        }
        Ok(attendant)
    }
}
