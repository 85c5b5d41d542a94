//! A loop of integers: the iteration rule, the queues and the pacer put together as the real loop puts them
//! together, with scripted callbacks, timers and readiness, and a clock moved by hand.
//!
//! Checks the promises about order (callbacks are first in, first out, and batches are snapshots that stopping does
//! not cut), about timers (never early, in deadline order) and about polls (a busy loop does not starve I/O).

#![cfg(not(loom))]

mod machine;

use std::collections::HashMap;

use engine::pacing::{MAX_CALLBACKS_BETWEEN_POLLS, MAX_NANOS_BETWEEN_POLLS, MAX_STRETCH};
use proptest::prelude::*;

use crate::machine::{Callback, Did, Name, POLL_COST, Simulation};

fn scheduling(schedules: impl Into<Vec<Name>>) -> Callback {
    Callback {
        schedules: schedules.into(),
        ..Callback::default()
    }
}

/// A callback that re-schedules itself for ever.
fn busy(name: Name, duration: u64) -> (Name, Callback) {
    (
        name,
        Callback {
            duration,
            ..scheduling([name])
        },
    )
}

#[test]
fn what_a_batch_schedules_runs_in_the_next() {
    let mut sim = Simulation::new([
        (1, scheduling([10, 11])),
        (2, scheduling([20])),
        (10, scheduling([100])),
    ]);
    [1, 2, 3].into_iter().for_each(|name| sim.ready.push(name));
    sim.run(usize::MAX);
    assert_eq!(sim.ran(), [1, 2, 3, 10, 11, 20, 100]);
    assert_eq!(sim.batches(), [3, 3, 1]);
}

#[test]
fn stop_does_not_cut_its_batch_and_leaves_the_next() {
    let stops = Callback {
        stops: true,
        ..scheduling([9])
    };
    let mut sim = Simulation::new([(1, stops)]);
    [1, 2, 3].into_iter().for_each(|name| sim.ready.push(name));
    sim.run(usize::MAX);
    assert_eq!(sim.ran(), [1, 2, 3]);
    sim.run(usize::MAX);
    assert_eq!(sim.ran(), [1, 2, 3, 9]);
}

#[test]
fn loop_that_was_stopped_before_it_ran_polls_once_and_runs_what_it_finds() {
    let mut sim = Simulation::new([(5, scheduling([6]))]);
    sim.readiness.insert(sim.now, vec![5]);
    sim.arm(sim.now + 1_000_000, 8);
    sim.ready.push(1);
    sim.stopping = true;
    sim.run(usize::MAX);
    assert_eq!(sim.ran(), [1, 5]);
    assert_eq!(sim.looks(), 1);
}

#[test]
fn every_run_of_a_busy_loop_starts_with_a_poll() {
    let mut sim = Simulation::new([(
        1,
        Callback {
            stops: true,
            ..scheduling([1])
        },
    )]);
    sim.ready.push(1);
    for run in 1..=5 {
        sim.run(usize::MAX);
        assert_eq!(sim.looks(), run);
    }
}

#[test]
fn timer_never_fires_early_and_equal_deadlines_keep_their_order() {
    let mut sim = Simulation::new([]);
    let start = sim.now;
    for (delay, name) in [(5_000, 1), (3_000, 2), (5_000, 3), (0, 4), (3_001, 5)] {
        sim.arm(start + delay, name);
    }
    sim.run(usize::MAX);
    assert_eq!(sim.ran(), [4, 2, 5, 1, 3]);
    assert!(sim.ran_at(1) >= start + 5_000);
}

#[test]
fn idle_loop_parks_until_its_deadline_and_not_beyond() {
    let mut sim = Simulation::new([]);
    let start = sim.now;
    sim.arm(start + 9_000_000, 1);
    sim.run(usize::MAX);
    let parks = sim
        .log
        .iter()
        .filter(|did| matches!(did, Did::Park { .. }))
        .count();
    assert_eq!(parks, 1);
    assert_eq!(
        sim.log[0],
        Did::Park {
            from: start,
            to: start + 9_000_000 + POLL_COST
        }
    );
}

#[test]
fn notification_during_a_batch_prevents_the_next_park_once() {
    let hands_in = Callback {
        handed_in: vec![7],
        ..Callback::default()
    };
    let mut sim = Simulation::new([(1, hands_in)]);
    sim.ready.push(1);
    sim.run(usize::MAX);
    assert_eq!(sim.ran(), [1, 7]);
    assert_eq!(
        sim.looks(),
        2,
        "the first of the run, and the park that was refused"
    );
}

/// A socket becomes readable while `name` keeps the loop busy: time until its callback runs.
fn delay_of_a_readable_socket(busy_callbacks: &[(Name, Callback)], warm_up: u64) -> u64 {
    const READ: Name = 1_000_000;
    let mut sim = Simulation::new(busy_callbacks.iter().cloned().chain([(
        READ,
        Callback {
            stops: true,
            ..Callback::default()
        },
    )]));
    let readable = sim.now + warm_up;
    sim.readiness.insert(readable, vec![READ]);
    busy_callbacks
        .iter()
        .for_each(|(name, _)| sim.ready.push(*name));
    sim.run(1_000_000);
    sim.ran_at(READ) - readable
}

#[test]
fn self_rescheduling_callback_does_not_delay_a_readable_socket_beyond_the_bound() {
    for duration in [20, 100, 900, 7_000, 60_000, 1_000_000] {
        // Odd offsets, so that readiness falls into every phase between two polls.
        for warm_up in (1_000_003..1_200_000).step_by(19_997) {
            let delay = delay_of_a_readable_socket(&[busy(1, duration)], warm_up);
            // One poll interval, the stretch that ends it, the poll, and the batch before the socket's callback.
            let stretch = if duration >= MAX_NANOS_BETWEEN_POLLS {
                1
            } else {
                u64::from(MAX_STRETCH)
            };
            let bound = MAX_NANOS_BETWEEN_POLLS + (stretch + 2) * duration + 2 * POLL_COST;
            assert!(
                delay <= bound,
                "{duration} ns: {delay} ns of delay, bound {bound}"
            );
        }
    }
}

#[test]
fn readable_socket_behind_a_huge_batch_is_noticed_within_the_batch() {
    // 20 000 callbacks that all re-schedule themselves: the poll is not left to the end of the batch.
    let mut sim = Simulation::new((0..20_000).map(|name| busy(name, 10)));
    (0..20_000).for_each(|name| sim.ready.push(name));
    sim.run(40_000);
    let mut since = 0;
    for did in &sim.log {
        match did {
            Did::Ran { .. } => since += 1,
            Did::Look { .. } | Did::Park { .. } => since = 0,
            Did::Batch { .. } => {}
        }
        assert!(since <= MAX_CALLBACKS_BETWEEN_POLLS);
    }
    assert_eq!(sim.batches(), [20_000, 20_000]);
}

#[test]
fn busy_loop_does_not_pay_a_poll_per_callback() {
    let mut sim = Simulation::new([busy(1, 20)]);
    sim.ready.push(1);
    sim.run(100_000);
    let per_poll = 100_000 / sim.looks();
    assert!(
        per_poll > MAX_CALLBACKS_BETWEEN_POLLS as usize - 10,
        "a poll per {per_poll} callbacks"
    );
}

#[test]
fn flood_from_other_threads_does_not_starve_sockets() {
    const READ: Name = 1_000_000;
    let flood = Callback {
        duration: 100,
        handed_in: vec![1],
        ..Callback::default()
    };
    let mut sim = Simulation::new([
        (1, flood),
        (
            READ,
            Callback {
                stops: true,
                ..Callback::default()
            },
        ),
    ]);
    sim.ready.push(1);
    let readable = sim.now + 1_000_000;
    sim.readiness.insert(readable, vec![READ]);
    sim.run(1_000_000);
    assert!(sim.ran_at(READ) - readable <= MAX_NANOS_BETWEEN_POLLS + 66 * 100 + 2 * POLL_COST);
}

/// Callbacks that schedule only names above their own, so that every script ends.
fn scripts() -> impl Strategy<Value = Vec<Callback>> {
    const NAMES: u32 = 40;
    let callback = |name: u32| {
        let later = name + 1..NAMES + 1;
        let duration = prop_oneof![4 => 10..500_u64, 1 => 1_000..200_000_u64];
        let schedules = prop::collection::vec(later.clone(), 0..3);
        let arms = prop::collection::vec((0..100_000_u64, later), 0..2);
        (duration, schedules, arms, prop::bool::weighted(0.1)).prop_map(
            |(duration, schedules, arms, stops)| Callback {
                duration,
                schedules,
                arms,
                stops,
                ..Callback::default()
            },
        )
    };
    (0..NAMES).map(callback).collect::<Vec<_>>()
}

proptest! {
    /// The order of callbacks equals that of the dullest loop there is, and stopping changes nothing about it:
    /// batches are vectors, and the next batch is what the last one scheduled.
    #[test]
    fn batches_equal_those_of_a_loop_of_vectors(script in scripts()) {
        let script: Vec<(Name, Callback)> = (0..).zip(script.into_iter().map(|callback| Callback { arms: Vec::new(), ..callback })).collect();
        let mut sim = Simulation::new(script.clone());
        let by_name: HashMap<Name, Callback> = script.into_iter().collect();
        let mut batch: Vec<Name> = vec![0, 1, 2];
        batch.iter().for_each(|name| sim.ready.push(*name));
        let mut expected = Vec::new();
        while !batch.is_empty() && expected.len() < 3_000 {
            let empty = Callback::default();
            let next = batch.iter().flat_map(|name| by_name.get(name).unwrap_or(&empty).schedules.clone()).collect();
            expected.extend(std::mem::replace(&mut batch, next));
        }
        while sim.count < expected.len() {
            let before = sim.count;
            sim.run(expected.len());
            prop_assert!(sim.count > before, "a run that has callbacks runs some");
        }
        prop_assert_eq!(&sim.ran()[..expected.len()], &expected[..]);
    }

    /// Timers fire at their deadlines or later, and one that is due earlier runs before one that is due later.
    #[test]
    fn timers_fire_in_deadline_order_and_never_early(delays in prop::collection::vec(0..50_000_u64, 1..60), duration in 1..30_000_u64) {
        let names: Vec<Name> = (0..).take(delays.len()).collect();
        let mut sim = Simulation::new(names.iter().map(|name| (*name, Callback { duration, ..Callback::default() })));
        let start = sim.now;
        delays.iter().zip(&names).for_each(|(delay, name)| sim.arm(start + delay, *name));
        sim.run(usize::MAX);
        let mut expected: Vec<(u64, Name)> = delays.iter().copied().zip(names).collect();
        expected.sort_unstable();
        prop_assert_eq!(sim.ran(), expected.iter().map(|(_, name)| *name).collect::<Vec<_>>());
        for (delay, name) in expected {
            prop_assert!(sim.ran_at(name) >= start + delay);
        }
    }

    /// No gap between polls holds more callbacks than the bound, nor, if callbacks keep their pace, more time
    /// than the bound and one stretch.
    #[test]
    fn polls_of_any_script_keep_their_bounds(script in scripts(), timers in prop::collection::vec((0..300_000_u64, 0..40_u32), 0..20)) {
        let longest = script.iter().map(|callback| callback.duration).max().expect("the script has callbacks");
        let mut sim = Simulation::new((0..).zip(script));
        let start = sim.now;
        timers.into_iter().for_each(|(delay, name)| sim.arm(start + delay, name));
        (0..5).for_each(|name| sim.ready.push(name));
        // A callback may stop a run: ten of them, each within the limit that they share.
        for _ in 0..10 {
            if sim.count < 2_000 {
                sim.run(2_000);
            }
        }
        let (mut callbacks, mut last_poll) = (0, start);
        for did in &sim.log {
            match *did {
                Did::Ran { .. } => callbacks += 1,
                Did::Look { at } | Did::Park { from: at, .. } => {
                    prop_assert!(at - last_poll <= MAX_NANOS_BETWEEN_POLLS + u64::from(MAX_STRETCH) * longest + POLL_COST);
                    callbacks = 0;
                    last_poll = if let Did::Park { to, .. } = *did { to } else { at };
                }
                Did::Batch { .. } => {}
            }
            prop_assert!(callbacks <= MAX_CALLBACKS_BETWEEN_POLLS);
        }
    }
}
