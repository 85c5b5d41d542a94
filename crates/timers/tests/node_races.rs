//! Cancelling, expiring and removing from several threads at once: every timer has exactly one fate.
#![cfg(not(loom))]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use support::{Dice, Held};
use timers::{Entry, Node, Shard};

#[test]
fn node_takes_eight_bytes() {
    assert_eq!(size_of::<Node>(), 8);
}

#[test]
fn first_cancel_wins_and_later_ones_lose() {
    let node = Node::new();
    assert!(node.is_pending() && !node.is_cancelled());
    assert!(node.cancel());
    assert!(!node.cancel());
    assert!(node.is_cancelled() && !node.is_pending());
}

#[test]
fn expired_timer_cannot_be_cancelled() {
    let (shard, timer) = (Shard::new(), Held::new(5, 0));
    shard.insert(timer.clone());
    let mut out = Vec::new();
    shard.expire(5, &mut out);
    assert_eq!(out.len(), 1);
    assert!(!timer.node().cancel());
    assert!(shard.remove(&timer).is_none());
}

#[test]
fn timer_cancelled_before_insertion_is_dropped_by_it() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let (shard, timer) = (Shard::new(), Held::counted(5, 0, &dropped));
    timer.node().cancel();
    assert!(!shard.insert(timer));
    assert!(shard.is_empty());
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
}

#[test]
fn entry_of_another_shard_is_not_removed() {
    let (shard, here, there) = (Shard::new(), Held::new(5, 0), Held::new(5, 1));
    shard.insert(here.clone());
    Shard::new().insert(there.clone());
    assert!(shard.remove(&there).is_none());
    assert_eq!(shard.len(), 1);
    assert!(shard.remove(&here).is_some());
}

#[test]
fn every_timer_is_either_cancelled_once_or_expired_once() {
    const TIMERS: usize = 20_000;
    let dropped = Arc::new(AtomicUsize::new(0));
    let shard = Arc::new(Shard::new());
    let mut dice = Dice::new(1);
    let timers: Arc<Vec<Held>> = Arc::new(
        (0..TIMERS)
            .map(|label| Held::counted(dice.roll(TIMERS as u64), label, &dropped))
            .collect(),
    );
    let start = Arc::new(Barrier::new(4));
    let cancellers: Vec<_> = (0..2)
        .map(|_| {
            let (shard, timers, start) =
                (Arc::clone(&shard), Arc::clone(&timers), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                let cancelled = timers
                    .iter()
                    .step_by(3)
                    .filter(|timer| timer.node().cancel());
                cancelled.map(|timer| drop(shard.remove(timer))).count()
            })
        })
        .collect();
    let inserter = {
        let (shard, timers, start) = (Arc::clone(&shard), Arc::clone(&timers), Arc::clone(&start));
        thread::spawn(move || {
            start.wait();
            for timer in timers.iter() {
                shard.insert(timer.clone());
            }
        })
    };
    start.wait();
    let mut out = Vec::new();
    for now in 0..TIMERS as u64 {
        shard.expire(now, &mut out);
    }
    inserter.join().expect("the inserter does not panic");
    let cancelled: usize = cancellers
        .into_iter()
        .map(|thread| thread.join().expect("no canceller panics"))
        .sum();
    shard.expire(TIMERS as u64, &mut out);
    assert_eq!(cancelled + out.len(), TIMERS);
    assert!(shard.is_empty());
    assert_eq!(shard.next_deadline(), None);
    out.clear();
    drop(timers);
    assert_eq!(
        dropped.load(Ordering::Relaxed),
        TIMERS,
        "the shard kept a payload"
    );
}
