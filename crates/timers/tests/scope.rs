//! Scopes against real time: waiting for conditions, with a bound.
#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "a failed call fails the test")]

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use timers::{MissedTickBehavior, TimerError, TimerRegistration, TimerScope, clock};

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

fn attached() -> TimerScope<&'static str, u32> {
    let scope = TimerScope::new("owner");
    scope.attach();
    scope
}

/// Waits until what is due by now is known to be: the driver serves timers in the order of their deadlines.
async fn driver_has_passed() {
    timers::sleep(MILLISECOND).await;
}

#[test]
fn one_shot_fires_once_with_all_it_was_registered_with() {
    run(async {
        let scope = attached();
        let before = clock::now();
        scope.register_one_shot("once", MILLISECOND, 7).unwrap();
        let fired = scope.recv().await.unwrap();
        assert_eq!(fired.owner, "owner");
        assert_eq!(&*fired.timer_name, "once");
        assert_eq!((fired.sequence, fired.callback_data), (0, 7));
        assert!(fired.scheduled_at >= before + 1_000_000);
        assert!(fired.fired_at >= fired.scheduled_at);
        assert!(scope.is_empty());
        // The name is free again.
        scope.register_one_shot("once", Duration::ZERO, 8).unwrap();
        assert_eq!(scope.recv().await.unwrap().callback_data, 8);
    });
}

#[test]
fn periodic_fires_on_its_schedule() {
    run(async {
        let scope = attached();
        let tick = TimerRegistration::periodic("tick", MILLISECOND, 0).first(3 * MILLISECOND);
        scope.register_timer(tick).unwrap();
        let first = scope.recv().await.unwrap();
        for sequence in 1..20 {
            let fired = scope.recv().await.unwrap();
            assert_eq!(fired.sequence, sequence);
            assert_eq!(
                fired.scheduled_at,
                first.scheduled_at + sequence * 1_000_000
            );
        }
        assert_eq!(scope.len(), 1);
    });
}

#[test]
fn bad_registrations_are_refused() {
    let scope = attached();
    assert!(matches!(
        scope.register_one_shot("", MILLISECOND, 0),
        Err(TimerError::InvalidRegistration(_))
    ));
    assert!(matches!(
        scope.register_periodic("a", Duration::ZERO, 0),
        Err(TimerError::InvalidRegistration(_))
    ));
    scope.register_one_shot("a", HOUR, 0).unwrap();
    assert!(matches!(
        scope.register_periodic("a", HOUR, 0),
        Err(TimerError::TimerExists(name)) if name == "a"
    ));
    for outcome in [
        scope.unregister_timer("b"),
        scope.pause("b"),
        scope.resume("b"),
    ] {
        assert!(matches!(outcome, Err(TimerError::TimerNotFound(name)) if name == "b"));
    }
    assert_eq!(scope.len(), 1);
}

#[test]
fn detached_scope_refuses_everything_and_can_be_attached_again() {
    run(async {
        let scope = TimerScope::new("owner");
        let refused = |outcome: Result<(), TimerError>| {
            assert!(matches!(outcome, Err(TimerError::NotAttached)));
        };
        for _ in 0..2 {
            assert!(!scope.is_attached());
            refused(scope.register_one_shot("a", HOUR, 0));
            refused(scope.unregister_timer("a"));
            refused(scope.pause("a"));
            refused(scope.resume_all());
            refused(scope.cancel_all());
            assert!(scope.list_timers().is_empty());
            assert_eq!(scope.recv().await, None);
            scope.attach();
            scope.register_one_shot("a", Duration::ZERO, 1).unwrap();
            scope.register_one_shot("b", HOUR, 2).unwrap();
            assert_eq!(&*scope.recv().await.unwrap().timer_name, "a");
            scope.detach();
            scope.detach();
        }
    });
}

#[test]
fn nothing_arrives_after_unregistering_cancelling_or_detaching() {
    run(async {
        let scope = attached();
        scope.register_one_shot("a", Duration::ZERO, 0).unwrap();
        scope.register_periodic("b", MILLISECOND / 100, 0).unwrap();
        driver_has_passed().await;
        scope.unregister_timer("a").unwrap();
        scope.unregister_timer("b").unwrap();
        assert!(scope.try_recv().unwrap().is_none());
        scope.register_periodic("b", MILLISECOND / 100, 0).unwrap();
        driver_has_passed().await;
        scope.cancel_all().unwrap();
        assert!(scope.try_recv().unwrap().is_none());
        scope.register_periodic("b", MILLISECOND / 100, 0).unwrap();
        driver_has_passed().await;
        scope.detach();
        scope.attach();
        assert!(scope.try_recv().unwrap().is_none());
    });
}

#[test]
fn receiver_that_waits_is_told_of_the_detachment() {
    run(async {
        let scope = Arc::new(attached());
        let receiver = {
            let scope = Arc::clone(&scope);
            tokio::spawn(async move { scope.recv().await })
        };
        tokio::task::yield_now().await;
        scope.detach();
        assert_eq!(receiver.await.unwrap(), None);
    });
}

#[test]
fn dropped_scope_leaves_no_timer() {
    let scope = attached();
    for index in 0..1000 {
        scope
            .register_one_shot(format!("{index}"), HOUR, 0)
            .unwrap();
    }
    assert!(timers::driver::armed() >= 1000);
    drop(scope);
    // Other tests of this process have a few of their own.
    assert!(timers::driver::armed() < 1000);
}

/// Counts its drops.
#[derive(Clone)]
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn unregistered_timer_lets_go_of_its_data_at_once() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let scope = TimerScope::new(());
    scope.attach();
    for name in ["a", "b"] {
        scope
            .register_one_shot(name, HOUR, Counted(Arc::clone(&dropped)))
            .unwrap();
    }
    scope.unregister_timer("a").unwrap();
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
    scope.detach();
    assert_eq!(dropped.load(Ordering::Relaxed), 2);
}

#[test]
fn paused_timer_keeps_its_remaining_time() {
    run(async {
        let scope = attached();
        scope.register_periodic("a", 200 * MILLISECOND, 0).unwrap();
        scope.pause("a").unwrap();
        let info = &scope.list_timers()[0];
        assert!(info.paused);
        let remaining = info.remaining;
        assert!(remaining <= 200 * MILLISECOND && remaining > 100 * MILLISECOND);
        driver_has_passed().await;
        scope.pause("a").unwrap();
        assert_eq!(scope.list_timers()[0].remaining, remaining);
        let before = clock::now();
        scope.resume("a").unwrap();
        scope.resume("a").unwrap();
        let fired = scope.recv().await.unwrap();
        let waited = Duration::from_nanos(fired.scheduled_at - before);
        assert!(waited >= remaining, "{waited:?} of {remaining:?}");
        assert!(waited < remaining + 50 * MILLISECOND);
    });
}

#[test]
fn paused_timer_does_not_fire_even_if_it_was_due() {
    run(async {
        let scope = attached();
        scope.register_one_shot("due", Duration::ZERO, 1).unwrap();
        scope.register_one_shot("soon", MILLISECOND / 2, 2).unwrap();
        scope.pause_all().unwrap();
        driver_has_passed().await;
        assert!(scope.try_recv().unwrap().is_none());
        scope.resume_all().unwrap();
        assert_eq!(scope.recv().await.unwrap().callback_data, 1);
        assert_eq!(scope.recv().await.unwrap().callback_data, 2);
    });
}

/// What a slow owner receives of a timer of 10 ms after it slept through 55 ms: the sequence numbers until it has caught up.
async fn received_by_a_slow_owner(missed: MissedTickBehavior) -> Vec<u64> {
    let scope = attached();
    let tick = TimerRegistration::periodic("tick", 10 * MILLISECOND, 0)
        .first(Duration::ZERO)
        .missed(missed);
    scope.register_timer(tick).unwrap();
    let first = scope.recv().await.unwrap();
    timers::sleep_until(first.scheduled_at + 65_000_000).await;
    let mut sequences = Vec::new();
    loop {
        let fired = scope.recv().await.unwrap();
        sequences.push(fired.sequence);
        if fired.fired_at - fired.scheduled_at < 5_000_000 && fired.sequence > 0 {
            return sequences;
        }
    }
}

#[test]
fn slow_owner_gets_what_its_behavior_says() {
    run(async {
        let burst = received_by_a_slow_owner(MissedTickBehavior::Burst).await;
        assert!(
            burst.len() >= 7 && burst.iter().copied().eq(1..=burst.len() as u64),
            "{burst:?}"
        );
        let skip = received_by_a_slow_owner(MissedTickBehavior::Skip).await;
        assert!(skip[0] == 1 && skip[1] >= 7, "{skip:?}");
        let delay = received_by_a_slow_owner(MissedTickBehavior::Delay).await;
        assert_eq!(delay[..2], [1, 2], "{delay:?}");
    });
}

/// Threads register, unregister, pause and detach while another receives: what is received is registered.
#[test]
fn nothing_of_an_earlier_turn_arrives_under_stress() {
    run(async {
        const ROUNDS: u32 = 3000;
        let scope: Arc<TimerScope<(), u32>> = Arc::new(TimerScope::new(()));
        scope.attach();
        let done = Arc::new(AtomicBool::new(false));
        // Shared by receiving and looking; exclusive for changes. The value is the round that may be received.
        let allowed = Arc::new(std::sync::RwLock::new(None::<u32>));
        let receiver = {
            let (scope, done) = (Arc::clone(&scope), Arc::clone(&done));
            let allowed = Arc::clone(&allowed);
            std::thread::spawn(move || {
                let mut count = 0;
                while !done.load(Ordering::Acquire) {
                    let allowed = allowed.read().unwrap();
                    if let Ok(Some(fired)) = scope.try_recv() {
                        assert_eq!(Some(fired.callback_data), *allowed);
                        count += 1;
                    }
                    drop(allowed);
                    std::thread::yield_now();
                }
                count
            })
        };
        for round in 0..ROUNDS {
            *allowed.write().unwrap() = Some(round);
            let period = Duration::from_nanos(u64::from(round) * 7919 % 50_000 + 1);
            scope.register_periodic("a", period, round).unwrap();
            let until = clock::now() + u64::from(round) * 104_729 % 60_000;
            while clock::now() < until {
                tokio::task::yield_now().await;
            }
            match round % 3 {
                0 => scope.unregister_timer("a").unwrap(),
                1 => scope.pause("a").unwrap(),
                _ => scope.detach(),
            }
            *allowed.write().unwrap() = None;
            tokio::task::yield_now().await;
            match round % 3 {
                0 => {}
                1 => scope.unregister_timer("a").unwrap(),
                _ => scope.attach(),
            }
        }
        done.store(true, Ordering::Release);
        assert!(receiver.join().expect("nothing stale arrived") > 0);
    });
}
