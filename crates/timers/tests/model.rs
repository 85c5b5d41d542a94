//! The shard against a sorted vector: random operations, everything observable compared after every step.
#![cfg(not(loom))]

mod support;

use proptest::collection::vec;
use proptest::prelude::*;
use support::Held;
use timers::{Deadline, Entry, NEVER, Shard};

#[derive(Clone, Debug)]
enum Operation {
    Insert(Deadline),
    /// Cancels and removes the nth timer that was ever made.
    Cancel(usize),
    /// Cancels it and leaves it in the shard.
    Abandon(usize),
    CancelFirst,
    Expire(Deadline),
    /// Expires at most so many.
    ExpireSome(Deadline, usize),
    Drain,
}

/// Deadlines that collide, share a slot, are neighbours of a slot's edge, are far, or never come.
fn deadlines() -> impl Strategy<Value = Deadline> {
    prop_oneof![
        4 => Just(5_000_000_u64),
        4 => 0..50_u64,
        6 => 0..9_000_000_u64,
        4 => 0..3_000_000_000_u64,
        2 => (0..64_u64, 0..3_u64).prop_map(|(slot, offset)| ((slot << 32) + offset).saturating_sub(1)),
        2 => 0..3_600_000_000_000_u64,
        // Hours: some turns of the ring of slots.
        3 => (0..5_000_u64, 0..3_u64).prop_map(|(slot, offset)| ((slot << 32) + offset).saturating_sub(1)),
        2 => 0..20_000_000_000_000_u64,
        1 => Just(NEVER),
        1 => NEVER - 3..NEVER,
    ]
}

fn operations() -> impl Strategy<Value = Operation> {
    prop_oneof![
        24 => deadlines().prop_map(Operation::Insert),
        8 => any::<usize>().prop_map(Operation::Cancel),
        2 => any::<usize>().prop_map(Operation::Abandon),
        4 => Just(Operation::CancelFirst),
        3 => deadlines().prop_map(Operation::Expire),
        3 => (deadlines(), 0..9_usize).prop_map(|(now, limit)| Operation::ExpireSome(now, limit)),
        1 => Just(Operation::Drain),
    ]
}

/// The dull twin: (deadline, label, cancelled), sorted. Labels count up, so that they are the sequence too.
#[derive(Default)]
struct Model(Vec<(Deadline, usize, bool)>);

impl Model {
    fn next_deadline(&self) -> Option<Deadline> {
        self.0
            .first()
            .map(|entry| entry.0)
            .filter(|&deadline| deadline != NEVER)
    }

    fn insert(&mut self, deadline: Deadline, label: usize) -> bool {
        let earlier = self.0.iter().all(|entry| deadline < entry.0) && deadline != NEVER;
        self.0.push((deadline, label, false));
        self.0.sort();
        earlier
    }

    fn remove(&mut self, label: usize) -> bool {
        let before = self.0.len();
        self.0.retain(|entry| entry.1 != label);
        self.0.len() < before
    }

    fn expire(&mut self, now: Deadline) -> Vec<usize> {
        self.expire_some(now, usize::MAX)
    }

    /// Cancelled entries do not count, but leave with those after which they come.
    fn expire_some(&mut self, now: Deadline, limit: usize) -> Vec<usize> {
        let mut labels = Vec::new();
        // Where all fit, all that is due leaves, cancelled or not.
        let all = self.0.len() <= limit;
        while let Some(&(deadline, label, cancelled)) = self.0.first()
            && deadline <= now
            && deadline != NEVER
            && (all || labels.len() < limit)
        {
            self.0.remove(0);
            if !cancelled {
                labels.push(label);
            }
        }
        labels
    }
}

fn cancel(shard: &Shard<Held>, timer: &Held, model: &mut Model, pending: bool) {
    let present = model.remove(timer.label());
    assert_eq!(timer.node().cancel(), pending && present);
    assert_eq!(
        shard.remove(timer).map(|removed| removed.label()),
        present.then_some(timer.label())
    );
}

fn check_expired(out: &[Held], expected: &[usize]) {
    let labels: Vec<usize> = out.iter().map(Held::label).collect();
    assert_eq!(labels, expected);
    assert!(
        out.iter()
            .all(|timer| !timer.node().is_pending() && !timer.node().is_cancelled())
    );
}

fn step(shard: &Shard<Held>, model: &mut Model, made: &mut Vec<Held>, operation: &Operation) {
    match *operation {
        Operation::Insert(deadline) => {
            let timer = Held::new(deadline, made.len());
            made.push(timer.clone());
            assert_eq!(shard.insert(timer), model.insert(deadline, made.len() - 1));
        }
        Operation::Cancel(which) if !made.is_empty() => {
            let timer = &made[which % made.len()];
            let pending = timer.node().is_pending();
            cancel(shard, timer, model, pending);
        }
        Operation::Abandon(which) if !made.is_empty() => {
            let timer = &made[which % made.len()];
            if let Some(entry) = model.0.iter_mut().find(|entry| entry.1 == timer.label()) {
                entry.2 = true;
                timer.node().cancel();
            }
        }
        Operation::CancelFirst if !model.0.is_empty() => {
            let timer = &made[model.0[0].1];
            cancel(shard, timer, model, timer.node().is_pending());
        }
        Operation::Expire(now) => {
            let mut out = Vec::new();
            shard.expire(now, &mut out);
            check_expired(&out, &model.expire(now));
        }
        Operation::ExpireSome(now, limit) => {
            let mut out = Vec::new();
            shard.expire_some(now, limit, &mut out);
            check_expired(&out, &model.expire_some(now, limit));
        }
        Operation::Drain => {
            let mut labels: Vec<usize> = shard.drain().iter().map(Held::label).collect();
            labels.sort_unstable();
            let mut expected: Vec<usize> = model.0.drain(..).map(|entry| entry.1).collect();
            expected.sort_unstable();
            assert_eq!(labels, expected);
            // A drained timer is in no shard: whoever drains decides what becomes of it.
            for label in labels {
                made[label].node().cancel();
            }
        }
        _ => {}
    }
}

fn compare(shard: &Shard<Held>, model: &Model) {
    assert_eq!(shard.len(), model.0.len());
    assert_eq!(shard.is_empty(), model.0.is_empty());
    assert_eq!(shard.next_deadline(), model.next_deadline());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn shard_equals_a_sorted_vector(script in vec(operations(), 1..400)) {
        let (shard, mut model, mut made) = (Shard::new(), Model::default(), Vec::new());
        for operation in &script {
            step(&shard, &mut model, &mut made, operation);
            compare(&shard, &model);
        }
    }

    /// Time goes on, as it does for a loop, by minutes and sometimes hours; deadlines are near or hours away.
    #[test]
    fn a_loop_of_hours_equals_a_sorted_vector(
        begin in 0..100_000_u64,
        script in vec((
            prop_oneof![4 => 0..1_u64, 4 => 0..40_u64, 1 => 0..2_500_u64],
            vec(prop_oneof![
                5 => prop_oneof![0..20_u64, 0..1_100_u64, 1_000..4_000_u64].prop_map(Operation::Insert),
                2 => any::<usize>().prop_map(Operation::Cancel),
                2 => Just(Operation::CancelFirst),
            ], 0..12),
        ), 1..80),
    ) {
        let (shard, mut model, mut made) = (Shard::new(), Model::default(), Vec::new());
        let mut now = begin << 32;
        for (slots, operations) in &script {
            now += (slots << 32) + 7;
            step(&shard, &mut model, &mut made, &Operation::Expire(now));
            for operation in operations {
                let operation = match *operation {
                    Operation::Insert(after) => Operation::Insert(now + (after << 32)),
                    ref other => other.clone(),
                };
                step(&shard, &mut model, &mut made, &operation);
                compare(&shard, &model);
            }
        }
    }

    #[test]
    fn many_in_one_slot_equal_a_sorted_vector(
        script in vec(prop_oneof![
            30 => (0..2_000_000_u64).prop_map(Operation::Insert),
            3 => any::<usize>().prop_map(Operation::Cancel),
            1 => (0..2_000_000_u64).prop_map(Operation::Expire),
            1 => (0..2_000_000_u64, 0..60_usize)
                .prop_map(|(now, limit)| Operation::ExpireSome(now, limit)),
        ], 200..900),
    ) {
        let (shard, mut model, mut made) = (Shard::new(), Model::default(), Vec::new());
        for operation in &script {
            step(&shard, &mut model, &mut made, operation);
            compare(&shard, &model);
        }
    }
}
