//! After a cancel, a replacement or a cancel of all nothing of an earlier incarnation is received.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use timers::{TimerEvent, clock};

use super::{HOUR, MILLISECOND, carried_out, drain, driver_has_passed, next, run, start};

#[test]
fn expired_timer_that_is_cancelled_is_not_received() {
    run(async {
        let (handle, _task) = start(1, 8);
        for name in ["a", "b", "c"] {
            handle.set_timer(name, Duration::ZERO).await.unwrap();
        }
        carried_out(&handle).await;
        driver_has_passed().await;
        handle.cancel_timer("b").await.unwrap();
        assert_eq!(drain(&handle), ["a", "c"]);
    });
}

#[test]
fn expired_timer_that_is_replaced_is_received_at_its_new_time_only() {
    run(async {
        let (handle, _task) = start(1, 8);
        handle.set_timer("a", Duration::ZERO).await.unwrap();
        carried_out(&handle).await;
        driver_has_passed().await;
        let before = clock::now();
        handle.set_timer("a", 20 * MILLISECOND).await.unwrap();
        assert_eq!(next(&handle).await, "a");
        assert!(clock::now() - before >= 20_000_000);
        driver_has_passed().await;
        assert!(drain(&handle).is_empty());
    });
}

#[test]
fn replaced_timer_does_not_expire_at_its_old_time() {
    run(async {
        let (handle, _task) = start(64, 8);
        for _ in 0..100 {
            handle.set_timer("a", MILLISECOND / 2).await.unwrap();
            let before = clock::now();
            handle.set_timer("a", MILLISECOND).await.unwrap();
            assert_eq!(next(&handle).await, "a");
            assert!(clock::now() - before >= 1_000_000);
        }
        assert!(drain(&handle).is_empty());
    });
}

#[test]
fn cancel_all_takes_back_what_had_expired() {
    run(async {
        let (handle, _task) = start(1, 2);
        // More than the event buffer holds: some are in the buffer, some in the wheel.
        for index in 0..6 {
            handle
                .set_timer(format!("{index}"), Duration::ZERO)
                .await
                .unwrap();
        }
        carried_out(&handle).await;
        driver_has_passed().await;
        handle.cancel_all_timers().await.unwrap();
        assert!(handle.is_empty());
        assert!(drain(&handle).is_empty());
        handle.set_timer("after", Duration::ZERO).await.unwrap();
        assert_eq!(next(&handle).await, "after");
        assert!(drain(&handle).is_empty());
    });
}

#[test]
fn timer_set_again_after_cancel_all_is_received() {
    run(async {
        let (handle, _task) = start(8, 8);
        for _ in 0..200 {
            handle.set_timer("a", HOUR).await.unwrap();
            handle.cancel_all_timers().await.unwrap();
            handle.set_timer("a", Duration::ZERO).await.unwrap();
            assert_eq!(next(&handle).await, "a");
        }
        assert!(drain(&handle).is_empty());
    });
}

/// Threads set, replace and cancel timers that are about to expire, while another receives: once a cancel has
/// returned, the name is not received until it is set again.
#[test]
fn cancelled_names_stay_silent_under_stress() {
    const THREADS: usize = 4;
    const ROUNDS: u64 = 4_000;
    run(async {
        let (handle, _task) = start(16, 3);
        // Shared by receiving and looking, exclusive for noting that a cancel has returned.
        let order = Arc::new(RwLock::new(()));
        let armed: Arc<Vec<AtomicBool>> =
            Arc::new((0..THREADS).map(|_| AtomicBool::new(false)).collect());
        let received = Arc::new(AtomicU64::new(0));
        let done = Arc::new(AtomicBool::new(false));
        let receiver = {
            let (handle, order, armed) = (handle.clone(), Arc::clone(&order), Arc::clone(&armed));
            let (received, done) = (Arc::clone(&received), Arc::clone(&done));
            std::thread::spawn(move || {
                while !done.load(Ordering::Acquire) {
                    let shared = order.read().unwrap();
                    if let Ok(TimerEvent::TimerExpired { name }) = handle.try_recv_event() {
                        let index: usize = name.parse().unwrap();
                        assert!(armed[index].load(Ordering::Acquire), "{name} was cancelled");
                        received.fetch_add(1, Ordering::Relaxed);
                    }
                    drop(shared);
                    std::thread::yield_now();
                }
            })
        };
        let setters: Vec<_> = (0..THREADS)
            .map(|index| {
                let (handle, order) = (handle.clone(), Arc::clone(&order));
                let armed = Arc::clone(&armed);
                tokio::spawn(async move {
                    let name = index.to_string();
                    for round in 0..ROUNDS {
                        armed[index].store(true, Ordering::Release);
                        let duration = Duration::from_nanos(round * 7919 % 60_000);
                        handle.set_timer(&name, duration).await.unwrap();
                        if round % 3 == 0 {
                            handle.set_timer(&name, duration / 2).await.unwrap();
                        }
                        let until = clock::now() + round * 104_729 % 80_000;
                        while clock::now() < until {
                            tokio::task::yield_now().await;
                        }
                        if round % 17 == 0 && index == 0 {
                            handle.cancel_all_timers().await.unwrap();
                        } else {
                            handle.cancel_timer(&name).await.unwrap();
                        }
                        let exclusive = order.write().unwrap();
                        armed[index].store(false, Ordering::Release);
                        drop(exclusive);
                    }
                })
            })
            .collect();
        for setter in setters {
            setter.await.unwrap();
        }
        done.store(true, Ordering::Release);
        receiver.join().expect("no cancelled name was received");
        assert!(handle.is_empty());
        assert!(received.load(Ordering::Relaxed) > 0, "nothing ever expired");
    });
}
