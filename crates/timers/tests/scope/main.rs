//! Scopes against real time: waiting for conditions, with a bound.
#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "a failed call fails the test")]

mod basics;
mod many;
mod pausing;
mod receiving;

use std::future::Future;
use std::sync::mpsc;
use std::time::Duration;

use timers::TimerScope;

const BOUND: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const MILLISECOND: Duration = Duration::from_millis(1);

fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(BOUND, test)
            .await
            .expect("the test ends in time");
    });
}

/// Runs a test that would not return if a lock were held.
fn returns(test: impl FnOnce() + Send + 'static) {
    let (done, returned) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        test();
        let _ = done.send(()); // The test may have given up.
    });
    let outcome = returned.recv_timeout(BOUND);
    assert_ne!(outcome, Err(mpsc::RecvTimeoutError::Timeout), "it hangs");
    thread.join().expect("the test passes");
}

fn attached() -> TimerScope<&'static str, u32> {
    let scope = TimerScope::new("owner");
    scope.attach();
    scope
}

/// Waits until what is due by now is known to be: the driver serves timers in the order of their deadlines.
async fn driver_has_passed() {
    timers::sleep(MILLISECOND).await;
}
