//! The driver against real time: it waits for conditions, with a bound, and never for a fixed time.
#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "a failed call fails the test")]

mod support;

use std::sync::{Arc, Weak, mpsc};
use std::time::Duration;

use support::Held;
use timers::driver::{self, Timer};
use timers::{Attendance, Attendant, Attended, Deadline, Node, Shard, clock};

/// Longer than any scheduling delay of a machine that is still of use.
const BOUND: Duration = Duration::from_secs(60);
const MILLISECOND: u64 = 1_000_000;

/// Timers that nobody's loop owns: expired on the driver's thread, labels sent to the test.
struct Owner {
    shard: Shard<Held>,
    attendance: Arc<Attendance>,
    fired: mpsc::Sender<(usize, Deadline)>,
}

impl Attended for Owner {
    fn next_deadline(&self) -> Option<Deadline> {
        self.shard.next_deadline()
    }

    fn due(&self, _deadline: Deadline) {
        let now = clock::now();
        let mut out = Vec::new();
        self.shard.expire(now, &mut out);
        for timer in out {
            self.fired
                .send((timer.label(), now))
                .expect("the test listens to the end");
        }
    }
}

impl Owner {
    fn new() -> (Arc<Self>, mpsc::Receiver<(usize, Deadline)>) {
        let (fired, received) = mpsc::channel();
        let owner = Arc::new_cyclic(|owner: &Weak<Self>| Self {
            shard: Shard::new(),
            attendance: Attendance::new(owner.clone()),
            fired,
        });
        (owner, received)
    }

    fn insert(&self, deadline: Deadline, label: usize) {
        if self.shard.insert(Held::new(deadline, label)) {
            driver::announce(&self.attendance).unwrap();
        }
    }
}

fn hour() -> Deadline {
    clock::now() + 3_600_000 * MILLISECOND
}

#[test]
fn handed_over_shard_fires_on_time_and_in_order() {
    let (owner, received) = Owner::new();
    driver::hand_over(&owner.attendance).unwrap();
    // All are inserted before the first is due, on a busy machine too.
    let start = clock::now() + 200 * MILLISECOND;
    let deadlines: Vec<Deadline> = (0..50)
        .map(|index| start + (50 - index) * MILLISECOND / 3)
        .collect();
    for (label, &deadline) in deadlines.iter().enumerate() {
        owner.insert(deadline, label);
    }
    for label in (0..50).rev() {
        let (came, at) = received.recv_timeout(BOUND).unwrap();
        assert_eq!(came, label);
        assert!(at >= deadlines[label], "early by {}", deadlines[label] - at);
    }
}

#[test]
fn earlier_deadline_wakes_the_sleeping_driver() {
    let (owner, received) = Owner::new();
    owner.insert(hour(), 0);
    driver::hand_over(&owner.attendance).unwrap();
    owner.insert(clock::now() + MILLISECOND, 1);
    assert_eq!(received.recv_timeout(BOUND).unwrap().0, 1);
    owner.insert(clock::now(), 2);
    assert_eq!(received.recv_timeout(BOUND).unwrap().0, 2);
}

#[test]
fn deadline_that_passed_before_the_hand_over_is_found() {
    let (owner, received) = Owner::new();
    owner.insert(1, 7);
    assert_eq!(owner.attendance.attendant(), Attendant::Loop);
    driver::hand_over(&owner.attendance).unwrap();
    assert_eq!(received.recv_timeout(BOUND).unwrap().0, 7);
}

#[test]
fn shard_that_was_taken_back_is_left_alone() {
    let (owner, received) = Owner::new();
    driver::hand_over(&owner.attendance).unwrap();
    owner.insert(hour(), 0);
    assert_eq!(
        driver::take_back(&owner.attendance),
        owner.shard.next_deadline()
    );
    owner.insert(clock::now(), 1);
    // Another shard, due later, has its turn: had the first one still been attended, it would have come before.
    let (other, other_received) = Owner::new();
    driver::hand_over(&other.attendance).unwrap();
    other.insert(clock::now() + 3 * MILLISECOND, 2);
    assert_eq!(other_received.recv_timeout(BOUND).unwrap().0, 2);
    assert_eq!(received.try_recv(), Err(mpsc::TryRecvError::Empty));
}

#[test]
fn owner_can_be_dropped_while_it_is_attended() {
    let (owner, received) = Owner::new();
    driver::hand_over(&owner.attendance).unwrap();
    owner.insert(clock::now() + MILLISECOND, 0);
    let watched = Arc::downgrade(&owner);
    drop(owner);
    let (other, other_received) = Owner::new();
    driver::hand_over(&other.attendance).unwrap();
    other.insert(clock::now() + 2 * MILLISECOND, 1);
    assert_eq!(other_received.recv_timeout(BOUND).unwrap().0, 1);
    assert!(watched.upgrade().is_none());
    drop(received);
}

/// Panics each time.
struct Broken(Shard<Held>);

impl Attended for Broken {
    fn next_deadline(&self) -> Option<Deadline> {
        self.0.next_deadline()
    }

    fn due(&self, _deadline: Deadline) {
        panic!("an owner of the test panics on purpose");
    }
}

#[test]
fn panic_of_one_owner_does_not_stop_the_driver() {
    let broken: Arc<dyn Attended> = {
        let shard = Shard::new();
        shard.insert(Held::new(1, 0));
        Arc::new(Broken(shard))
    };
    let attendance = Attendance::new(Arc::downgrade(&broken));
    driver::hand_over(&attendance).unwrap();
    let (owner, received) = Owner::new();
    driver::hand_over(&owner.attendance).unwrap();
    owner.insert(clock::now() + MILLISECOND, 3);
    assert_eq!(received.recv_timeout(BOUND).unwrap().0, 3);
}

/// A timer that no loop owns. Without a channel it panics when it is dropped.
struct Ownerless {
    node: Node,
    deadline: Deadline,
    fired: Option<mpsc::Sender<()>>,
}

impl Timer for Ownerless {
    fn node(&self) -> &Node {
        &self.node
    }

    fn deadline(&self) -> Deadline {
        self.deadline
    }

    fn fire(self: Arc<Self>) {
        if let Some(fired) = &self.fired {
            let _ = fired.send(()); // The test may have given up.
        }
    }
}

impl Drop for Ownerless {
    fn drop(&mut self) {
        assert!(
            self.fired.is_some(),
            "a timer of the test panics on purpose"
        );
    }
}

#[test]
fn panic_of_one_drop_leaves_the_timers_that_are_due_with_it() {
    let (fired, received) = mpsc::channel();
    let deadline = clock::now() + 20 * MILLISECOND;
    let arm = |fired| {
        let timer = Arc::new(Ownerless {
            node: Node::new(),
            deadline,
            fired,
        });
        driver::arm(Arc::clone(&timer) as Arc<dyn Timer>).unwrap();
        timer
    };
    drop(arm(Some(fired.clone())));
    // Cancelled behind the driver's back: it holds the last reference.
    assert!(arm(None).node.cancel());
    drop(arm(Some(fired)));
    for _ in 0..2 {
        received.recv_timeout(BOUND).unwrap();
    }
}

#[test]
fn shards_of_many_threads_are_all_served() {
    let threads: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(|| {
                for round in 0..50 {
                    let (owner, received) = Owner::new();
                    driver::hand_over(&owner.attendance).unwrap();
                    owner.insert(hour(), 0);
                    owner.insert(clock::now() + round * 10_000, 1);
                    assert_eq!(received.recv_timeout(BOUND).unwrap().0, 1);
                    driver::take_back(&owner.attendance);
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}
