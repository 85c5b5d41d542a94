//! Registering, firing, and ending.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use timers::{TimerError, TimerRegistration, TimerScope, clock};

use super::{HOUR, MILLISECOND, attached, driver_has_passed, run};

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
