//! What a shard holds on to: memory per entry, memory after use, and payloads.
#![cfg(not(loom))]

mod support;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::{Dice, Held};
use timers::{Deadline, Entry, Node, Shard};

const HOUR: u64 = 3_600_000_000_000;
/// What an empty shard may keep: 1024 slots of 32 bytes, and buffers for 1024 entries of 24, and less than one slot's more.
const KEPT: usize = 64 * 1024;

#[test]
fn million_entries_cost_at_most_forty_bytes_each() {
    for within in [1, 1_000_000, 60_000_000_000, HOUR] {
        let (shard, mut dice) = (Shard::new(), Dice::new(within));
        for label in 0..1_000_000 {
            shard.insert(Held::new(HOUR + dice.roll(within), label));
        }
        let each = shard.allocated() / shard.len();
        assert!(
            (24..=40).contains(&each),
            "{each} bytes each within {within} ns"
        );
    }
}

#[test]
fn armed_and_cancelled_timers_leave_nothing_behind() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let (shard, mut dice) = (Shard::new(), Dice::new(3));
    for label in 0..500_000 {
        let timer = Held::counted(HOUR + dice.roll(HOUR), label, &dropped);
        shard.insert(timer.clone());
        assert!(timer.node().cancel());
        assert!(shard.remove(&timer).is_some());
        drop(timer);
        assert_eq!(dropped.load(Ordering::Relaxed), label + 1);
    }
    assert!(shard.allocated() < KEPT, "{} bytes left", shard.allocated());
}

#[test]
fn memory_is_given_back_when_many_timers_leave() {
    for cancel in [true, false] {
        for within in [1, 10_000_000, HOUR, 1_000 * HOUR] {
            let (shard, mut dice) = (Shard::new(), Dice::new(5));
            let timers: Vec<Held> = (0..200_000)
                .map(|label| Held::new(dice.roll(within), label))
                .collect();
            for timer in &timers {
                shard.insert(timer.clone());
            }
            if cancel {
                timers.iter().for_each(|timer| drop(shard.remove(timer)));
            } else {
                (1..=1_000)
                    .for_each(|step| shard.expire(within.div_ceil(1_000) * step, &mut Vec::new()));
            }
            assert!(shard.is_empty());
            assert!(
                shard.allocated() < KEPT,
                "{} left of {within} ns",
                shard.allocated()
            );
        }
    }
}

#[test]
fn buffers_of_empty_slots_are_given_back_when_the_others_leave() {
    // Slots by their numbers; the many are in the ring, or beyond it.
    for many_in in [1_001_u64, 5_000] {
        for cancel in [true, false] {
            let shard = Shard::new();
            let few: Vec<Held> = (1..1_000).map(|slot| Held::new(slot << 32, 0)).collect();
            let many: Vec<Held> = (0..40_000)
                .map(|label| Held::new(many_in << 32, label))
                .collect();
            for timer in few.iter().chain(&many) {
                shard.insert(timer.clone());
            }
            few.iter().for_each(|timer| drop(shard.remove(timer)));
            if cancel {
                many.iter().for_each(|timer| drop(shard.remove(timer)));
            } else {
                shard.expire(6_000 << 32, &mut Vec::new());
            }
            assert!(shard.is_empty());
            assert!(shard.allocated() < KEPT, "{} bytes left", shard.allocated());
        }
    }
}

#[test]
fn a_slot_takes_the_buffer_of_the_one_that_ran_empty_last_and_the_next_as_much_room() {
    let shard = Shard::new();
    let file = |slot: u64, label: usize| {
        let timer = Held::new(slot << 32, label);
        let before = shard.allocated();
        shard.insert(timer.clone());
        (timer, shard.allocated() - before)
    };
    file(1, 0); // The ring, too.
    let (lone, sparse) = file(2, 0);
    let crowd: Vec<Held> = (0..12).map(|label| file(3, label).0).collect();
    crowd.iter().for_each(|timer| drop(shard.remove(timer)));
    assert_eq!(file(4, 0).1, 0);
    assert_eq!(file(5, 0).1, 2 * sparse);
    drop(shard.remove(&lone));
    assert_eq!(file(6, 0).1, 0);
    assert_eq!(file(7, 0).1, sparse);
}

#[test]
fn empty_shard_allocates_nothing() {
    assert_eq!(Shard::<Held>::new().allocated(), 0);
}

#[test]
fn drained_shard_is_empty_and_can_be_used_again() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let shard = Shard::new();
    for label in 0..1_000 {
        shard.insert(Held::counted(label as u64 * 100_000_000, label, &dropped));
    }
    let drained = shard.drain();
    assert_eq!(
        (drained.len(), shard.len(), shard.next_deadline()),
        (1_000, 0, None)
    );
    assert_eq!(dropped.load(Ordering::Relaxed), 0);
    drop(drained);
    assert_eq!(dropped.load(Ordering::Relaxed), 1_000);
    assert!(shard.insert(Held::new(9, 0)));
}

/// A payload whose last drop uses the shard it came from, as a Python finalizer may.
struct Reentrant {
    node: Node,
    deadline: Deadline,
    shard: Arc<Shard<Rerun>>,
}

struct Rerun(Option<Arc<Reentrant>>);

thread_local! {
    static SEEN: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

impl Drop for Rerun {
    fn drop(&mut self) {
        if let Some(payload) = self.0.take().and_then(Arc::into_inner) {
            // Would hang if the lock were held. The new entry has the deadline of an infinite timer: it stays.
            payload
                .shard
                .insert(Rerun::new(timers::NEVER, &payload.shard));
            SEEN.with_borrow_mut(|seen| seen.push(payload.shard.len()));
        }
    }
}

impl Rerun {
    fn new(deadline: Deadline, shard: &Arc<Shard<Rerun>>) -> Self {
        Self(Some(Arc::new(Reentrant {
            node: Node::new(),
            deadline,
            shard: Arc::clone(shard),
        })))
    }

    fn payload(&self) -> &Reentrant {
        self.0.as_ref().expect("only a drop takes the payload")
    }
}

impl Entry for Rerun {
    fn node(&self) -> &Node {
        &self.payload().node
    }

    fn deadline(&self) -> Deadline {
        self.payload().deadline
    }
}

#[test]
fn payload_that_reenters_the_shard_when_dropped_does_not_hang() {
    let shard = Arc::new(Shard::new());
    for deadline in [1, 2, 3, 4 << 40] {
        let timer = Rerun::new(deadline, &shard);
        timer.node().cancel();
        shard.insert(timer); // Dropped by the insertion, and replaced by an infinite one.
    }
    assert_eq!(SEEN.with_borrow(Vec::len), 4);
    for deadline in [1, 2, 3, 4 << 40] {
        let timer = Rerun::new(deadline, &shard);
        let alias = Rerun(timer.0.clone());
        shard.insert(timer);
        alias.node().cancel();
    }
    shard.expire(8 << 40, &mut Vec::new()); // Drops the four cancelled ones.
    assert_eq!(SEEN.with_borrow(Vec::len), 8);
    assert_eq!((shard.len(), shard.next_deadline()), (8, None));
    // Every payload knows its shard: undo the circle, whose drops would insert for ever otherwise.
    shard.drain().into_iter().for_each(std::mem::forget);
}
