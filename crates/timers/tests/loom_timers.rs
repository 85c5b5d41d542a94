//! Every schedule of the two races of this crate, explored by loom.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release -p pyloop-timers --test loom_timers`
#![cfg(loom)]

use std::io;
use std::sync::atomic::{AtomicUsize as Counter, Ordering as CounterOrdering};
use std::sync::{Arc, Weak};

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use timers::{Alarm, Attendance, Attendant, Attended, Deadline, Entry, Node, Shard, Wheel};

struct Timer {
    node: Node,
    deadline: Deadline,
}

#[derive(Clone)]
struct Held(Arc<Timer>);

impl Held {
    fn new(deadline: Deadline) -> Self {
        Self(Arc::new(Timer {
            node: Node::new(),
            deadline,
        }))
    }
}

impl Entry for Held {
    fn node(&self) -> &Node {
        &self.0.node
    }

    fn deadline(&self) -> Deadline {
        self.0.deadline
    }
}

/// Thread A cancels and removes a timer while thread B expires the shard, in which it is due: one of them
/// gets the timer, never both and never neither, and nothing of it stays in the shard.
#[test]
fn cancel_races_expiry() {
    loom::model(|| {
        let shard = Arc::new(Shard::new());
        let timer = Held::new(1);
        shard.insert(timer.clone());
        shard.insert(Held::new(1));
        let canceller = {
            let (shard, timer) = (Arc::clone(&shard), timer.clone());
            thread::spawn(move || {
                let won = timer.node().cancel();
                if won {
                    drop(shard.remove(&timer));
                }
                won
            })
        };
        let mut out = Vec::new();
        shard.expire(1, &mut out);
        let cancelled = canceller.join().unwrap();
        assert_eq!(out.len(), if cancelled { 1 } else { 2 });
        assert!(shard.is_empty() && shard.next_deadline().is_none());
        drop(out);
        assert_eq!(Arc::strong_count(&timer.0), 1, "the shard kept the timer");
    });
}

/// Thread A inserts a timer while thread B, to which the handle was published beforehand, cancels and
/// removes it: whichever comes first, the shard does not keep a cancelled timer.
#[test]
fn cancel_races_insert() {
    loom::model(|| {
        let shard = Arc::new(Shard::new());
        let timer = Held::new(1);
        let canceller = {
            let (shard, timer) = (Arc::clone(&shard), timer.clone());
            thread::spawn(move || {
                assert!(timer.node().cancel());
                drop(shard.remove(&timer));
            })
        };
        shard.insert(timer.clone());
        canceller.join().unwrap();
        assert!(shard.is_empty() && shard.next_deadline().is_none());
        assert_eq!(Arc::strong_count(&timer.0), 1, "the shard kept the timer");
    });
}

/// Counts rings; a real driver would wake up and look.
#[derive(Default)]
struct Bell(Counter);

impl Alarm for Bell {
    fn ring(&self) -> io::Result<()> {
        self.0.fetch_add(1, CounterOrdering::Relaxed);
        Ok(())
    }
}

struct Owner {
    shard: Shard<Held>,
    attendance: Arc<Attendance>,
    /// The loop's waker: counts wake-ups.
    woken: AtomicUsize,
    /// Deadlines that the driver told.
    told: AtomicUsize,
}

impl Attended for Owner {
    fn next_deadline(&self) -> Option<Deadline> {
        self.shard.next_deadline()
    }

    fn due(&self, _deadline: Deadline) {
        self.told.fetch_add(1, Ordering::SeqCst);
    }
}

impl Owner {
    fn new() -> Arc<Self> {
        Arc::new_cyclic(|owner: &Weak<Self>| Self {
            shard: Shard::new(),
            attendance: Attendance::new(owner.clone()),
            woken: AtomicUsize::new(0),
            told: AtomicUsize::new(0),
        })
    }

    /// What any thread does that arms a timer.
    fn insert(&self, wheel: &Wheel<Bell>, deadline: Deadline) {
        if self.shard.insert(Held::new(deadline))
            && wheel.announce(&self.attendance).unwrap() == Attendant::Loop
        {
            self.woken.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Thread A inserts an earlier deadline while thread B hands the shard to the driver: A may find the
/// loop still responsible and wake that (in vain, since it no longer waits), but then B's hand-over must
/// have seen the deadline, and the driver has to be scheduled for it.
#[test]
fn insert_races_hand_over_to_the_driver() {
    loom::model(|| {
        let (wheel, owner) = (Arc::new(Wheel::new(Bell::default())), Owner::new());
        owner.shard.insert(Held::new(50));
        let inserter = {
            let (wheel, owner) = (Arc::clone(&wheel), Arc::clone(&owner));
            thread::spawn(move || owner.insert(&wheel, 10))
        };
        wheel.hand_over(&owner.attendance).unwrap();
        inserter.join().unwrap();
        assert_eq!(owner.attendance.attendant(), Attendant::Driver);
        assert!(wheel.alarm().0.load(CounterOrdering::Relaxed) > 0);
        wheel.fire_due(10);
        assert_eq!(
            owner.told.load(Ordering::SeqCst),
            1,
            "the driver lost the deadline"
        );
    });
}

/// Thread A inserts an earlier deadline while thread B takes the shard back for its loop: the time-out
/// that B computes covers the deadline, or A wakes the loop; the driver keeps nothing of the shard.
#[test]
fn insert_races_taking_back() {
    loom::model(|| {
        let (wheel, owner) = (Arc::new(Wheel::new(Bell::default())), Owner::new());
        owner.shard.insert(Held::new(50));
        wheel.hand_over(&owner.attendance).unwrap();
        let inserter = {
            let (wheel, owner) = (Arc::clone(&wheel), Arc::clone(&owner));
            thread::spawn(move || owner.insert(&wheel, 10))
        };
        let time_out = wheel.take_back(&owner.attendance);
        inserter.join().unwrap();
        let woken = owner.woken.load(Ordering::SeqCst) == 1;
        assert!(
            time_out == Some(10) || woken,
            "the loop would sleep until {time_out:?}"
        );
        assert_eq!(wheel.scheduled(), 0);
    });
}

/// Thread A inserts an earlier deadline while the driver fires and computes its next sleep: the sleep ends
/// in time, or the driver is rung.
#[test]
fn insert_races_the_drivers_next_sleep() {
    loom::model(|| {
        let (wheel, owner) = (Arc::new(Wheel::new(Bell::default())), Owner::new());
        owner.shard.insert(Held::new(50));
        wheel.hand_over(&owner.attendance).unwrap();
        let rings = wheel.alarm().0.load(CounterOrdering::Relaxed);
        let inserter = {
            let (wheel, owner) = (Arc::clone(&wheel), Arc::clone(&owner));
            thread::spawn(move || owner.insert(&wheel, 10))
        };
        let until = wheel.fire_due(5);
        inserter.join().unwrap();
        let rung = wheel.alarm().0.load(CounterOrdering::Relaxed) > rings;
        assert!(
            until == Some(10) || rung,
            "the driver would sleep until {until:?}"
        );
    });
}
