//! The manager against real time, and against itself: it waits for conditions, with a bound, and never for a fixed time.
#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "a failed call fails the test")]

mod back_pressure;
mod basics;
mod endings;
mod finality;
mod many;

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use timers::{TimerEvent, TimerHandle, TimerManager, TryRecvError, clock};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than any scheduling delay of a machine that is still of use.
const BOUND: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Runs a test on two threads, with a bound.
fn run<F: Future<Output = ()>>(test: F) {
    run_within(BOUND, test);
}

fn run_within<F: Future<Output = ()>>(bound: Duration, test: F) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(bound, test)
            .await
            .expect("the test ends in time");
    });
}

/// A manager that runs, with exact expiry.
fn start(commands: usize, events: usize) -> (TimerHandle, JoinHandle<std::io::Result<()>>) {
    let token = CancellationToken::new();
    let (manager, handle) = TimerManager::new("test", Duration::ZERO, commands, events, token);
    (handle, tokio::spawn(manager.run()))
}

/// Waits until the commands that were sent before are carried out, of a manager with a command buffer of one.
async fn carried_out(handle: &TimerHandle) {
    // The second of these has a place only when the task has come back for the first.
    for _ in 0..2 {
        handle.cancel_timer("nobody").await.unwrap();
    }
}

/// Waits until what is due by now has expired: the driver serves earlier deadlines first.
async fn driver_has_passed() {
    timers::sleep(MILLISECOND).await;
}

/// Sets timers one after the other; returns between which two points in time the deadline of each must lie.
async fn set_noting(
    handle: &TimerHandle,
    timers: impl Iterator<Item = (String, Duration)>,
) -> HashMap<String, (u64, u64)> {
    let mut deadlines = HashMap::new();
    for (name, duration) in timers {
        let nanoseconds = duration.as_nanos() as u64;
        let before = clock::now();
        handle.set_timer(&name, duration).await.unwrap();
        deadlines.insert(name, (before + nanoseconds, clock::now() + nanoseconds));
    }
    deadlines
}

/// Fails if the names cannot be in the order of their deadlines.
fn assert_in_order(names: &[String], deadlines: &HashMap<String, (u64, u64)>) {
    assert_eq!(names.len(), deadlines.len());
    for pair in names.windows(2) {
        let (earliest, latest) = (deadlines[&pair[0]].0, deadlines[&pair[1]].1);
        assert!(earliest <= latest, "{} came before {}", pair[0], pair[1]);
    }
}

async fn next(handle: &TimerHandle) -> String {
    let Some(TimerEvent::TimerExpired { name }) = handle.recv_event().await else {
        panic!("the manager is closed");
    };
    name
}

/// All names that can be received without waiting.
fn drain(handle: &TimerHandle) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        match handle.try_recv_event() {
            Ok(TimerEvent::TimerExpired { name }) => names.push(name),
            Err(TryRecvError::Empty | TryRecvError::Closed) => return names,
        }
    }
}
