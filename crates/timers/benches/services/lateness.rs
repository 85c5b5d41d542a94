//! How late timers are, and how often the driver wakes up for nothing.

use std::future::poll_fn;
use std::time::{Duration, Instant};

use timers::TimerManager;
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;
use tokio_util::time::DelayQueue;

const SAMPLES: usize = 1000;

/// Between one and three milliseconds, never a whole number of them.
fn delay(index: usize) -> Duration {
    Duration::from_nanos(1_000_000 + (index as u64 * 7_919_331) % 2_000_000)
}

async fn late(wait: impl AsyncFn(Duration)) -> Vec<Duration> {
    let mut late = Vec::with_capacity(SAMPLES);
    for index in 0..SAMPLES {
        let delay = delay(index);
        let start = Instant::now();
        wait(delay).await;
        late.push(start.elapsed().saturating_sub(delay));
    }
    late.sort_unstable();
    late
}

pub(crate) fn report(filter: &str) {
    if !"lateness".contains(filter) {
        return;
    }
    println!(
        "{:<40} {:>10} {:>10}",
        "lateness of 1 to 3 ms, microseconds", "p50", "p99"
    );
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the system gives a runtime");
    let figures = runtime.block_on(async {
        let token = CancellationToken::new();
        let (manager, handle) = TimerManager::new("bench", Duration::ZERO, 16, 16, token);
        tokio::spawn(manager.run());
        [
            (
                "timers::sleep",
                late(async |delay| timers::sleep(delay).await).await,
            ),
            (
                "TimerManager, set to received",
                late(async |delay| {
                    let _ = handle.set_timer("probe", delay).await; // Open to the end.
                    handle.recv_event().await;
                })
                .await,
            ),
            (
                "tokio::time::sleep",
                late(async |delay| tokio::time::sleep(delay).await).await,
            ),
            (
                "DelayQueue",
                late(async |delay| {
                    let mut queue = DelayQueue::new();
                    queue.insert((), delay);
                    poll_fn(|context| queue.poll_expired(context)).await;
                })
                .await,
            ),
        ]
    });
    for (name, late) in figures {
        println!(
            "{:<40} {:>10.1} {:>10.1}",
            name,
            late[SAMPLES / 2].as_nanos() as f64 / 1e3,
            late[SAMPLES * 99 / 100].as_nanos() as f64 / 1e3
        );
    }
    report_wake_ups();
}

/// Linux counts how often a thread has gone to sleep.
fn sleeps_of_the_driver() -> Option<u64> {
    for task in std::fs::read_dir("/proc/self/task").ok()? {
        let path = task.ok()?.path();
        if std::fs::read_to_string(path.join("comm")).ok()?.trim() == "pyloop-driver" {
            let status = std::fs::read_to_string(path.join("status")).ok()?;
            let line = status
                .lines()
                .find(|line| line.starts_with("voluntary_ctxt"))?;
            return line.split_whitespace().last()?.parse().ok();
        }
    }
    None
}

fn report_wake_ups() {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the system gives a runtime");
    let count = runtime.block_on(async {
        let token = CancellationToken::new();
        let (manager, handle) = TimerManager::new("bench", Duration::ZERO, 16, 16, token);
        tokio::spawn(manager.run());
        let _ = handle.set_timer("later", Duration::from_secs(3600)).await; // Open to the end.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let before = sleeps_of_the_driver()?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        Some(sleeps_of_the_driver()? - before)
    });
    if let Some(count) = count {
        println!(
            "{:<40} {:>10}",
            "driver, idle with timers: wake-ups in 2 s", count
        );
    }
}
