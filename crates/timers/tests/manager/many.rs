use std::time::{Duration, Instant};

use super::{HOUR, drain, next, run_within, start};

/// Ten seconds without optimisation, on a machine with nothing else to do.
const BOUND: Duration = Duration::from_secs(300);
const MILLION: u64 = 1_000_000;

#[test]
fn a_million_timers_are_cancelled_in_milliseconds() {
    run_within(BOUND, async {
        let (handle, task) = start(4096, 64);
        for index in 0..MILLION {
            let duration = HOUR + Duration::from_micros(index * 7919 % MILLION * 3600);
            handle
                .set_timer(format!("session {index}"), duration)
                .await
                .unwrap();
        }
        assert_eq!(handle.len(), MILLION as usize);
        let start = Instant::now();
        handle.cancel_all_timers().await.unwrap();
        let took = start.elapsed();
        assert!(handle.is_empty());
        assert!(took < Duration::from_millis(50), "{took:?}");
        // And the manager goes on while it frees them.
        handle.set_timer("after", Duration::ZERO).await.unwrap();
        assert_eq!(next(&handle).await, "after");
        handle.shutdown().await.unwrap();
        task.await.unwrap().unwrap();
    });
}

#[test]
fn a_million_timers_all_expire() {
    run_within(BOUND, async {
        let (handle, _task) = start(4096, 1024);
        for index in 0..MILLION {
            let duration = Duration::from_nanos(index * 7919 % MILLION * 50);
            handle
                .set_timer(format!("session {index}"), duration)
                .await
                .unwrap();
        }
        for _ in 0..MILLION {
            next(&handle).await;
        }
        assert!(handle.is_empty() && drain(&handle).is_empty());
    });
}
