//! The loop of integers itself: a scripted world, and the steps of an iteration as the real loop takes them.

use std::collections::{BTreeMap, HashMap};

use engine::{Batch, Inbox, Pacer, ParkState, Poll, PollInputs, ReadyQueue, plan_poll};

pub(crate) type Name = u32;

/// Nanoseconds that a zero-time-out poll takes in the simulation.
pub(crate) const POLL_COST: u64 = 700;

/// What a callback does, after its duration has passed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Callback {
    /// Nanoseconds that it takes.
    pub(crate) duration: u64,
    /// What it schedules, in this order, by name.
    pub(crate) schedules: Vec<Name>,
    /// Timers that it arms: delay and name.
    pub(crate) arms: Vec<(u64, Name)>,
    /// What another thread hands in meanwhile.
    pub(crate) handed_in: Vec<Name>,
    /// Whether it stops the loop.
    pub(crate) stops: bool,
}

/// One thing that the loop did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Did {
    Batch { len: usize },
    Ran { name: Name, at: u64 },
    Look { at: u64 },
    Park { from: u64, to: u64 },
}

#[derive(Default)]
pub(crate) struct Simulation {
    script: HashMap<Name, Callback>,
    /// When sockets become readable, and what that queues.
    pub(crate) readiness: BTreeMap<u64, Vec<Name>>,
    timers: BTreeMap<(u64, usize), Name>,
    armed: usize,
    pub(crate) ready: ReadyQueue<Name>,
    inbox: Inbox<Name>,
    parking: ParkState,
    pub(crate) stopping: bool,
    pub(crate) now: u64,
    /// Callbacks that have run.
    pub(crate) count: usize,
    pub(crate) log: Vec<Did>,
}

impl Simulation {
    pub(crate) fn new(script: impl IntoIterator<Item = (Name, Callback)>) -> Self {
        Self {
            script: script.into_iter().collect(),
            now: 1_000_000,
            ..Self::default()
        }
    }

    pub(crate) fn arm(&mut self, deadline: u64, name: Name) {
        self.timers.insert((deadline, self.armed), name);
        self.armed += 1;
    }

    fn next_deadline(&self) -> Option<u64> {
        self.timers
            .first_key_value()
            .map(|((deadline, _), _)| *deadline)
    }

    /// Runs until the loop is stopped, has nothing left to wait for, or has run `limit` callbacks in all its runs.
    pub(crate) fn run(&mut self, limit: usize) {
        let mut pacer = Pacer::new(self.now);
        let (mut first_of_run, mut poll_due, mut carrier) = (true, false, Vec::new());
        loop {
            let plan = plan_poll(&PollInputs {
                ready_len: self.ready.len(),
                inbox_empty: self.inbox.is_empty(),
                stopping: self.stopping,
                first_of_run,
                poll_due,
                next_deadline: self.next_deadline(),
                now: self.now,
            });
            match plan {
                Poll::Skip => {}
                Poll::Look => self.look(),
                Poll::Park(deadline) if self.parking.begin_park() => {
                    let woken = self.park(deadline);
                    self.parking.end_park();
                    if !woken {
                        return;
                    }
                }
                Poll::Park(_) => self.look(),
            }
            if plan != Poll::Skip {
                (first_of_run, poll_due) = (false, false);
                pacer.polled(self.now);
            }
            self.inbox.drain_into(&mut carrier);
            self.ready.append_from(&mut carrier);
            self.expire();
            poll_due |= self.run_batch(&mut pacer);
            if self.stopping || self.count >= limit {
                self.stopping = false;
                return;
            }
        }
    }

    fn look(&mut self) {
        self.log.push(Did::Look { at: self.now });
        self.now += POLL_COST;
        self.take_readiness();
    }

    /// False if nothing will ever end the park.
    fn park(&mut self, deadline: Option<u64>) -> bool {
        let from = self.now;
        let readable = self.readiness.first_key_value().map(|(at, _)| *at);
        let Some(until) = [deadline, readable].into_iter().flatten().min() else {
            return false;
        };
        self.now = until.max(from) + POLL_COST;
        self.log.push(Did::Park { from, to: self.now });
        self.take_readiness();
        true
    }

    fn take_readiness(&mut self) {
        let later = self.readiness.split_off(&(self.now + 1));
        for name in std::mem::replace(&mut self.readiness, later)
            .into_values()
            .flatten()
        {
            self.ready.push(name);
        }
    }

    fn expire(&mut self) {
        while let Some(entry) = self
            .timers
            .first_entry()
            .filter(|entry| entry.key().0 <= self.now)
        {
            self.ready.push(entry.remove());
        }
    }

    /// Returns whether a poll is due that the batch has not made.
    fn run_batch(&mut self, pacer: &mut Pacer) -> bool {
        let mut batch = Batch::of(&self.ready);
        self.log.push(Did::Batch { len: batch.left() });
        let mut due = false;
        while let Some(name) = batch.next(&mut self.ready) {
            self.call(name);
            due = pacer.ran(1) && pacer.checked(self.now);
            if due && batch.left() > 0 {
                self.look();
                pacer.polled(self.now);
                due = false;
            }
        }
        due
    }

    fn call(&mut self, name: Name) {
        let callback = self.script.get(&name).cloned().unwrap_or_default();
        self.log.push(Did::Ran { name, at: self.now });
        self.count += 1;
        self.now += callback.duration;
        callback
            .schedules
            .into_iter()
            .for_each(|name| self.ready.push(name));
        for (delay, name) in callback.arms {
            self.arm(self.now + delay, name);
        }
        for name in callback.handed_in {
            self.inbox
                .push(name)
                .expect("the simulation does not close");
            assert!(!self.parking.notify(), "a running loop needs no waker");
        }
        self.stopping |= callback.stops;
    }

    pub(crate) fn ran(&self) -> Vec<Name> {
        self.log
            .iter()
            .filter_map(|did| {
                if let Did::Ran { name, .. } = did {
                    Some(*name)
                } else {
                    None
                }
            })
            .collect()
    }

    pub(crate) fn batches(&self) -> Vec<usize> {
        self.log
            .iter()
            .filter_map(|did| {
                if let Did::Batch { len } = did {
                    Some(*len)
                } else {
                    None
                }
            })
            .collect()
    }

    pub(crate) fn looks(&self) -> usize {
        self.log
            .iter()
            .filter(|did| matches!(did, Did::Look { .. }))
            .count()
    }

    pub(crate) fn ran_at(&self, wanted: Name) -> u64 {
        let found = self.log.iter().find_map(|did| match did {
            Did::Ran { name, at } if *name == wanted => Some(*at),
            _ => None,
        });
        found.expect("the callback ran")
    }
}
