//! Nothing that has nothing to do wakes up. A program of its own: its only test has the process's driver to itself.
#![cfg(all(target_os = "linux", not(loom)))]

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use timers::{Interval, TimerManager, TimerScope};
use tokio_util::sync::CancellationToken;

/// Where the system tells about the driver's thread.
fn driver() -> Option<PathBuf> {
    fs::read_dir("/proc/self/task")
        .expect("Linux lists threads")
        .map(|task| task.expect("Linux lists threads").path())
        .find(|path| {
            fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "pyloop-driver")
        })
}

/// How often the driver's thread has gone to sleep so far.
fn sleeps(driver: &std::path::Path) -> u64 {
    let status = fs::read_to_string(driver.join("status")).expect("the driver does not end");
    status
        .lines()
        .find(|line| line.starts_with("voluntary_ctxt_switches"))
        .and_then(|line| line.split_whitespace().last())
        .and_then(|count| count.parse().ok())
        .expect("Linux counts context switches")
}

/// Returns once the driver has slept for so long in one go, and says for how often it had gone to sleep by then.
fn settled(driver: &std::path::Path, quiet: Duration) -> u64 {
    let bound = Instant::now() + Duration::from_secs(20);
    loop {
        let before = sleeps(driver);
        thread::sleep(quiet);
        if sleeps(driver) == before {
            return before;
        }
        assert!(Instant::now() < bound, "the driver does not come to rest");
    }
}

#[test]
fn far_timers_of_all_kinds_wake_nobody() {
    let (manager, handle) =
        TimerManager::new("idle", Duration::ZERO, 16, 16, CancellationToken::new());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .expect("the system gives threads");
    let hour = Duration::from_secs(3600);
    let running = runtime.spawn(manager.run());
    runtime.block_on(async {
        for number in 0..1000 {
            handle
                .set_timer(format!("{number}"), hour)
                .await
                .expect("it is open");
        }
    });
    let scope = TimerScope::new("idle");
    scope.attach();
    scope
        .register_periodic("periodic", hour, ())
        .expect("the name is new");
    let mut interval = Interval::new(hour).expect("an hour is not zero");
    runtime.block_on(interval.tick());
    let waiting = runtime.spawn(async move { interval.tick().await });

    let bound = Instant::now() + Duration::from_secs(20);
    let driver = loop {
        if let Some(found) = driver() {
            break found;
        }
        assert!(Instant::now() < bound, "the driver does not start");
        thread::yield_now();
    };
    // The thread has to come to rest within the bound, and then stays at rest, as long as the test likes to look.
    let before = settled(&driver, Duration::from_millis(100));
    thread::sleep(Duration::from_secs(1));
    assert_eq!(sleeps(&driver) - before, 0);
    waiting.abort();
    drop((scope, handle));
    runtime
        .block_on(running)
        .expect("it does not panic")
        .expect("the driver runs");
}
