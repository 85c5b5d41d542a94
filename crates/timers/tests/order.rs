//! The order of expiry, and deadlines at the ends of the range.
#![cfg(not(loom))]

mod support;

use support::{Dice, Held};
use timers::{NEVER, Shard};

fn expired(shard: &Shard<Held>, now: u64) -> Vec<usize> {
    let mut out = Vec::new();
    shard.expire(now, &mut out);
    out.iter().map(Held::label).collect()
}

#[test]
fn equal_deadlines_come_out_first_in_first_out() {
    let shard = Shard::new();
    for label in 0..10_000 {
        shard.insert(Held::new(7_000_000, label));
    }
    assert_eq!(expired(&shard, 7_000_000), (0..10_000).collect::<Vec<_>>());
}

#[test]
fn timer_never_comes_early() {
    let shard = Shard::new();
    shard.insert(Held::new(1_000, 0));
    assert!(expired(&shard, 999).is_empty());
    assert_eq!(expired(&shard, 1_000), [0]);
}

#[test]
fn expiry_in_steps_equals_a_stable_sort() {
    for (within, steps) in [
        (9_000_000_u64, 50_u64),
        (60_000_000_000, 50),
        (60_000_000_000, 3),
        (9_000_000, 1),
    ] {
        let (shard, mut dice) = (Shard::new(), Dice::new(within));
        let mut expected: Vec<(u64, usize)> = (0..20_000)
            .map(|label| (dice.roll(within), label))
            .collect();
        for &(deadline, label) in &expected {
            shard.insert(Held::new(deadline, label));
        }
        expected.sort();
        let expected: Vec<usize> = expected.into_iter().map(|(_, label)| label).collect();
        let came: Vec<usize> = (1..=steps)
            .flat_map(|step| expired(&shard, within / steps * step))
            .collect();
        assert_eq!(came, expected);
    }
}

#[test]
fn insert_reports_a_new_earliest_deadline_only() {
    let shard = Shard::new();
    assert!(shard.insert(Held::new(50, 0)));
    assert!(!shard.insert(Held::new(50, 1)));
    assert!(!shard.insert(Held::new(60, 2)));
    assert!(shard.insert(Held::new(0, 3)));
    assert_eq!(shard.next_deadline(), Some(0));
}

#[test]
fn infinite_timer_is_neither_reported_nor_expired() {
    let (shard, infinite) = (Shard::new(), Held::new(NEVER, 0));
    assert!(!shard.insert(infinite.clone()));
    assert_eq!((shard.next_deadline(), shard.len()), (None, 1));
    assert!(shard.insert(Held::new(NEVER - 1, 1)));
    assert_eq!(expired(&shard, NEVER), [1]);
    assert_eq!((shard.next_deadline(), shard.len()), (None, 1));
    assert!(shard.remove(&infinite).is_some());
    assert!(shard.is_empty());
}

#[test]
fn abandoned_cancellation_is_dropped_at_its_deadline() {
    let (shard, timer) = (Shard::new(), Held::new(5, 0));
    shard.insert(timer.clone());
    timers::Entry::node(&timer).cancel();
    assert_eq!((shard.next_deadline(), shard.len()), (Some(5), 1));
    assert!(expired(&shard, 5).is_empty());
    assert!(shard.is_empty());
}
