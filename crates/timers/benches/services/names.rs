//! Setting, replacing, cancelling and receiving named timers: nanoseconds per operation.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use timers::{TimerEvent, TimerHandle, TimerManager};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

pub(crate) const ROUNDS: usize = 5;
/// Operations that one round times, at least; with few names they go round.
const OPERATIONS: usize = 100_000;

/// A contestant: named timers, far in the future.
trait Named {
    fn set(&mut self, name: &str, duration: Duration) -> impl Future<Output = ()>;
    fn cancel(&mut self, name: &str) -> impl Future<Output = ()>;
    fn cancel_all(&mut self) -> impl Future<Output = ()>;
    /// Returns when all of the above has been carried out.
    fn settle(&mut self) -> impl Future<Output = ()>;
}

struct Manager(TimerHandle);

impl Manager {
    fn start() -> Self {
        let token = CancellationToken::new();
        let (manager, handle) = TimerManager::new("bench", Duration::ZERO, 1024, 1024, token);
        tokio::spawn(manager.run());
        Self(handle)
    }
}

impl Named for Manager {
    async fn set(&mut self, name: &str, duration: Duration) {
        let _ = self.0.set_timer(name, duration).await; // Open to the end.
    }

    async fn cancel(&mut self, name: &str) {
        let _ = self.0.cancel_timer(name).await; // As above.
    }

    async fn cancel_all(&mut self) {
        let _ = self.0.cancel_all_timers().await; // As above.
    }

    async fn settle(&mut self) {
        // Its task is the only other one of the runtime.
        tokio::task::yield_now().await;
    }
}

#[derive(Default)]
struct Queue {
    queue: DelayQueue<String>,
    keys: HashMap<String, Key>,
}

impl Named for Queue {
    async fn set(&mut self, name: &str, duration: Duration) {
        match self.keys.get(name) {
            Some(key) => self.queue.reset(key, duration),
            None => {
                let key = self.queue.insert(name.to_owned(), duration);
                self.keys.insert(name.to_owned(), key);
            }
        }
    }

    async fn cancel(&mut self, name: &str) {
        if let Some(key) = self.keys.remove(name) {
            self.queue.remove(&key);
        }
    }

    async fn cancel_all(&mut self) {
        self.keys.clear();
        self.queue.clear();
    }

    async fn settle(&mut self) {}
}

#[derive(Default)]
struct Sleeps(HashMap<String, Pin<Box<tokio::time::Sleep>>>);

impl Named for Sleeps {
    async fn set(&mut self, name: &str, duration: Duration) {
        let mut sleep = Box::pin(tokio::time::sleep(duration));
        // The first poll files it in the wheel.
        let _ = sleep.as_mut().poll(&mut Context::from_waker(Waker::noop())); // An hour away.
        self.0.insert(name.to_owned(), sleep);
    }

    async fn cancel(&mut self, name: &str) {
        self.0.remove(name);
    }

    async fn cancel_all(&mut self) {
        self.0.clear();
    }

    async fn settle(&mut self) {}
}

/// A queue as a service, which is what a manager is: commands of handles on any thread through a bounded channel.
struct Service(mpsc::Sender<Command>);

enum Command {
    Set(String, Duration),
    Cancel(String),
    CancelAll,
}

impl Service {
    fn start() -> Self {
        let (sender, mut receiver) = mpsc::channel(1024);
        tokio::spawn(async move {
            let mut queue = Queue::default();
            while let Some(command) = receiver.recv().await {
                match command {
                    Command::Set(name, duration) => queue.set(&name, duration).await,
                    Command::Cancel(name) => queue.cancel(&name).await,
                    Command::CancelAll => queue.cancel_all().await,
                }
            }
        });
        Self(sender)
    }
}

impl Named for Service {
    async fn set(&mut self, name: &str, duration: Duration) {
        let _ = self.0.send(Command::Set(name.to_owned(), duration)).await; // Open to the end.
    }

    async fn cancel(&mut self, name: &str) {
        let _ = self.0.send(Command::Cancel(name.to_owned())).await; // As above.
    }

    async fn cancel_all(&mut self) {
        let _ = self.0.send(Command::CancelAll).await; // As above.
    }

    async fn settle(&mut self) {
        while self.0.capacity() < self.0.max_capacity() {
            tokio::task::yield_now().await;
        }
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the system gives a runtime")
}

pub(crate) fn duration(index: usize) -> Duration {
    Duration::from_secs(3600) + Duration::from_micros((index * 7919 % 1_000_003) as u64 * 3600)
}

/// Nanoseconds per operation: set all, replace, cancel; and of one cancel all.
///
/// Few names are set, and cancelled, many times over, so that no first time is measured.
async fn round(contestant: &mut impl Named, names: &[String]) -> [f64; 4] {
    let count = names.len();
    let half = count / 2;
    let mut set = Stretch::default();
    let mut cancel = Stretch::default();
    let mut cancel_all = Stretch::default();
    for _ in 0..OPERATIONS.div_ceil(count) {
        set.begin();
        for (index, name) in names.iter().enumerate() {
            contestant.set(name, duration(index)).await;
        }
        contestant.settle().await;
        set.end(count);
        cancel.begin();
        for name in &names[..half] {
            contestant.cancel(name).await;
        }
        contestant.settle().await;
        cancel.end(half);
        cancel_all.begin();
        contestant.cancel_all().await;
        cancel_all.end(1);
        contestant.settle().await;
    }
    for (index, name) in names.iter().enumerate() {
        contestant.set(name, duration(index)).await;
    }
    contestant.settle().await;
    let operations = OPERATIONS.max(count);
    let mut replace = Stretch::default();
    replace.begin();
    for index in 0..operations {
        let name = &names[index * 104_729 % count];
        contestant.set(name, duration(index + 1)).await;
    }
    contestant.settle().await;
    replace.end(operations);
    [set, replace, cancel, cancel_all].map(|stretch| stretch.each())
}

/// The time that operations of one kind take, in pieces.
#[derive(Default)]
struct Stretch {
    start: Option<Instant>,
    total: Duration,
    operations: usize,
}

impl Stretch {
    fn begin(&mut self) {
        self.start = Some(Instant::now());
    }

    fn end(&mut self, operations: usize) {
        let start = self.start.take().expect("a stretch ends once it has begun");
        self.total += start.elapsed();
        self.operations += operations;
    }

    /// Nanoseconds per operation.
    fn each(&self) -> f64 {
        self.total.as_nanos() as f64 / self.operations as f64
    }
}

/// Events received per second of timers that are due at once.
async fn events(count: usize) -> f64 {
    let manager = Manager::start();
    let handle = manager.0.clone();
    let start = Instant::now();
    let receiver = tokio::spawn(async move {
        for _ in 0..count {
            let Some(TimerEvent::TimerExpired { .. }) = handle.recv_event().await else {
                return;
            };
        }
    });
    for index in 0..count {
        let _ = manager
            .0
            .set_timer(format!("{index}"), Duration::ZERO)
            .await; // Open to the end.
    }
    let _ = receiver.await; // It does not panic.
    count as f64 / start.elapsed().as_secs_f64()
}

pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

pub(crate) fn report(filter: &str) {
    if !"names".contains(filter) {
        return;
    }
    println!(
        "{:<40} {:>10} {:>10} {:>10} {:>14}",
        "names: median of 5, nanoseconds", "set", "replace", "cancel", "cancel all"
    );
    for count in [100, 10_000, 1_000_000] {
        let names: Vec<String> = (0..count).map(|index| format!("session {index}")).collect();
        let mut figures: [Vec<[f64; 4]>; 4] = Default::default();
        for _ in 0..ROUNDS {
            figures[0]
                .push(runtime().block_on(async { round(&mut Manager::start(), &names).await }));
            figures[1]
                .push(runtime().block_on(async { round(&mut Service::start(), &names).await }));
            figures[2]
                .push(runtime().block_on(async { round(&mut Queue::default(), &names).await }));
            figures[3]
                .push(runtime().block_on(async { round(&mut Sleeps::default(), &names).await }));
        }
        for (name, figures) in [
            "TimerManager",
            "DelayQueue behind a channel",
            "DelayQueue and a map, no handles",
            "Sleep and a map, no handles",
        ]
        .into_iter()
        .zip(&figures)
        {
            let column =
                |index: usize| median(figures.iter().map(|figure| figure[index]).collect());
            println!(
                "{:<40} {:>10.0} {:>10.0} {:>10.0} {:>14.0}",
                format!("{count:>8} {name}"),
                column(0),
                column(1),
                column(2),
                column(3)
            );
        }
    }
    let rates = (0..ROUNDS)
        .map(|_| runtime().block_on(events(200_000)))
        .collect();
    println!(
        "{:<40} {:>10.0} per second",
        "TimerManager: set, expired, received",
        median(rates)
    );
}
