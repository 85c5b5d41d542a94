//! Filing a timer and giving it up, without names: nanoseconds of each.
//!
//! Like stands beside like. Futures, which any task may make and the driver attends: `timers::sleep` and `tokio::time::sleep`, which
//! cannot move once it is polled and gets a box, the allocation that ours makes inside. What one owner attends itself: a [`Shard`] and
//! a `DelayQueue` of the same payload, its allocation counted; and a `DelayQueue` of nothing. Each reads its clock.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use timers::{Deadline, Entry, Node, Shard, clock};
use tokio::runtime::Builder;
use tokio_util::time::DelayQueue;

use crate::names::{ROUNDS, duration, median};

/// Timers that one round files, at least.
const OPERATIONS: usize = 100_000;

/// Nanoseconds per timer that is filed, and that is given up, with `count` of them at a time.
fn round<T>(
    count: usize,
    mut file: impl FnMut(Duration) -> T,
    mut give_up: impl FnMut(T),
) -> (f64, f64) {
    let repeats = OPERATIONS.div_ceil(count);
    let (mut filing, mut giving_up) = (Duration::ZERO, Duration::ZERO);
    let mut filed = Vec::with_capacity(count);
    for _ in 0..repeats {
        let start = Instant::now();
        filed.extend((0..count).map(|index| file(duration(index))));
        filing += start.elapsed();
        let start = Instant::now();
        filed.drain(..).for_each(&mut give_up);
        giving_up += start.elapsed();
    }
    let each = |total: Duration| total.as_nanos() as f64 / (count * repeats) as f64;
    (each(filing), each(giving_up))
}

/// The smallest payload of a shard.
struct Bare {
    node: Node,
    deadline: Deadline,
}

impl Bare {
    fn new(deadline: Deadline) -> Arc<Self> {
        Arc::new(Self {
            node: Node::new(),
            deadline,
        })
    }
}

struct Held(Arc<Bare>);

impl Entry for Held {
    fn node(&self) -> &Node {
        &self.0.node
    }

    fn deadline(&self) -> Deadline {
        self.0.deadline
    }
}

/// Files a future where its library keeps those that wait.
fn poll_once(future: Pin<&mut impl Future<Output = ()>>) {
    let polled = future.poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(polled, Poll::Pending, "an hour is not over");
}

pub(crate) fn report(filter: &str) {
    if !"inserts".contains(filter) {
        return;
    }
    println!(
        "{:<40} {:>10} {:>10}",
        "no names: median of 5, nanoseconds", "file", "give up"
    );
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the system gives a runtime");
    let _context = runtime.enter();
    for count in [100, 10_000, 1_000_000] {
        let mut figures: [Vec<(f64, f64)>; 6] = Default::default();
        for _ in 0..ROUNDS {
            figures[0].push(round(
                count,
                |delay| {
                    let mut sleep = timers::sleep(delay);
                    poll_once(Pin::new(&mut sleep));
                    sleep
                },
                drop,
            ));
            figures[1].push(round(
                count,
                |delay| {
                    let mut sleep = Box::pin(tokio::time::sleep(delay));
                    poll_once(sleep.as_mut());
                    sleep
                },
                drop,
            ));
            let shard = Shard::new();
            figures[2].push(round(
                count,
                |delay| {
                    let bare = Bare::new(clock::now() + delay.as_nanos() as Deadline);
                    shard.insert(Held(Arc::clone(&bare)));
                    bare
                },
                |bare| {
                    if bare.node.cancel() {
                        drop(shard.remove_node(&bare.node, bare.deadline));
                    }
                },
            ));
            let queue = std::sync::Mutex::new(DelayQueue::new());
            let locked = || queue.lock().expect("nobody panics with the lock");
            figures[3].push(round(
                count,
                |delay| {
                    let bare = Bare::new(0);
                    locked().insert(Arc::clone(&bare), delay)
                },
                |key| {
                    drop(locked().remove(&key));
                },
            ));
            let queue = std::cell::RefCell::new(DelayQueue::new());
            figures[4].push(round(
                count,
                |delay| queue.borrow_mut().insert(Bare::new(0), delay),
                |key| {
                    drop(queue.borrow_mut().remove(&key));
                },
            ));
            let queue = std::cell::RefCell::new(DelayQueue::new());
            figures[5].push(round(
                count,
                |delay| queue.borrow_mut().insert((), delay),
                |key| {
                    queue.borrow_mut().remove(&key);
                },
            ));
        }
        let names = [
            "timers::sleep",
            "tokio::time::sleep",
            "timers::Shard",
            "DelayQueue, same payload, locked",
            "DelayQueue, same payload",
            "DelayQueue of nothing",
        ];
        for (name, figures) in names.into_iter().zip(&figures) {
            let (file, give_up): (Vec<_>, Vec<_>) = figures.iter().copied().unzip();
            println!(
                "{:<40} {:>10.0} {:>10.0}",
                format!("{count:>8} {name}"),
                median(file),
                median(give_up)
            );
        }
    }
}
