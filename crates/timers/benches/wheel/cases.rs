//! The shard alone, on one thread, with a payload of the size of a timer handle.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use timers::{Deadline, Entry, Node, Shard};

const MILLISECOND: u64 = 1_000_000;
const HOUR: u64 = 3_600_000 * MILLISECOND;
/// Operations that one round times.
const OPERATIONS: usize = 100_000;

struct Payload {
    node: Node,
    deadline: Deadline,
    /// Callback, arguments, context: what a handle holds beside its timer.
    _rest: [usize; 6],
}

#[derive(Clone)]
struct Held(Arc<Payload>);

impl Held {
    fn new(deadline: Deadline) -> Self {
        Self(Arc::new(Payload {
            node: Node::new(),
            deadline,
            _rest: [0; 6],
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

pub(crate) struct Case {
    pub(crate) name: String,
    /// Nanoseconds per operation.
    pub(crate) run: Box<dyn Fn() -> f64>,
}

pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, run: Box<dyn Fn() -> f64>| cases.push(Case { name, run });
    for count in [100, 10_000, 1_000_000] {
        add(
            format!("insert, {count} pending, random in an hour"),
            Box::new(move || insert(&spread(count, HOUR), HOUR)),
        );
        add(
            format!("churn, {count} pending, random in an hour"),
            Box::new(churn(spread(count, HOUR), |random| random % HOUR)),
        );
        add(
            format!("churn, {count} pending, all equal"),
            Box::new(churn(equal(count), |_| HOUR)),
        );
        add(format!("churn, {count} pending, random in 9 ms"), {
            Box::new(churn(spread(count, 9 * MILLISECOND), |random| {
                random % (9 * MILLISECOND)
            }))
        });
        add(
            format!("churn of the earliest, {count} pending in an hour"),
            Box::new(churn(spread(count, HOUR), |_| 0)),
        );
        add(
            format!("cancel the earliest until empty, {count} equal"),
            Box::new(move || cancel_first(count, |_| HOUR)),
        );
        add(
            format!("cancel the earliest until empty, {count} descending"),
            Box::new(move || cancel_first(count, |index| HOUR - index as u64)),
        );
        add(
            format!("expire at once, {count} over 9 ms"),
            Box::new(move || expire(count, 9 * MILLISECOND, 1)),
        );
        add(
            format!("expire in 100 steps, {count} over 9 ms"),
            Box::new(move || expire(count, 9 * MILLISECOND, 100)),
        );
        add(
            format!("expire in 10000 steps, {count} over an hour"),
            Box::new(move || expire(count, HOUR, 10_000)),
        );
    }
    cases
}

/// A multiplicative walk over all of `u64`: random enough for deadlines, and the same in every run.
fn randoms() -> impl Iterator<Item = u64> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state >> 16
    })
}

fn filled(deadlines: impl Iterator<Item = Deadline>) -> Shard<Held> {
    let shard = Shard::new();
    for deadline in deadlines {
        shard.insert(Held::new(deadline));
    }
    shard
}

fn spread(count: usize, within: Deadline) -> Shard<Held> {
    filled(randoms().skip(7).take(count).map(|random| random % within))
}

fn equal(count: usize) -> Shard<Held> {
    filled(std::iter::repeat_n(HOUR, count))
}

fn timed(operations: usize, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64 / operations as f64
}

fn insert(shard: &Shard<Held>, within: Deadline) -> f64 {
    let fresh: Vec<Held> = randoms()
        .take(OPERATIONS)
        .map(|random| Held::new(random % within))
        .collect();
    timed(OPERATIONS, || {
        for timer in fresh {
            black_box(shard.insert(timer));
        }
    })
}

/// Arms a timer, cancels it and takes it out, over and over; payloads are allocated beforehand.
fn churn(shard: Shard<Held>, deadline: impl Fn(u64) -> Deadline) -> impl Fn() -> f64 {
    move || {
        let fresh: Vec<Held> = randoms()
            .take(OPERATIONS)
            .map(|random| Held::new(deadline(random)))
            .collect();
        timed(OPERATIONS, || {
            for timer in &fresh {
                shard.insert(timer.clone());
                timer.node().cancel();
                black_box(shard.remove(timer));
            }
        })
    }
}

fn cancel_first(count: usize, deadline: impl Fn(usize) -> Deadline) -> f64 {
    let mut timers: Vec<Held> = (0..count).map(|index| Held::new(deadline(index))).collect();
    let shard = Shard::new();
    for timer in &timers {
        shard.insert(timer.clone());
    }
    timers.sort_by_key(Entry::deadline);
    timed(count, || {
        for timer in &timers {
            timer.node().cancel();
            black_box(shard.remove(timer));
            black_box(shard.next_deadline());
        }
    })
}

fn expire(count: usize, within: Deadline, steps: u64) -> f64 {
    let shard = spread(count, within);
    let mut out = Vec::new();
    let mut expired = 0;
    let figure = timed(count, || {
        for step in 1..=steps {
            shard.expire(within / steps * step, &mut out);
            expired += out.len();
            // The loop moves each entry on to its ready queue; forgetting stands for that.
            out.drain(..).for_each(std::mem::forget);
        }
    });
    black_box(expired);
    figure
}

/// Makes a deadline of a random number.
type Shape = fn(u64) -> Deadline;

pub(crate) fn report_memory(filter: &str) {
    let shapes: [(&str, Shape); 4] = [
        ("memory, 1000000 random in an hour", |random| random % HOUR),
        ("memory, 1000000 random in a day", |random| {
            random % (24 * HOUR)
        }),
        ("memory, 1000000 equal", |_| HOUR),
        ("memory, 10000 random in an hour", |random| random % HOUR),
    ];
    for (name, deadline) in shapes.into_iter().filter(|shape| shape.0.contains(filter)) {
        let count = if name.contains("10000 r") && !name.contains("1000000") {
            10_000
        } else {
            1_000_000
        };
        let shard = filled(randoms().take(count).map(deadline));
        println!(
            "{name:<58} {:>9.1} bytes each",
            shard.allocated() as f64 / count as f64
        );
    }
}
