//! Pausing and resuming.

use std::time::Duration;

use timers::{TimerRegistration, clock};

use super::{MILLISECOND, attached, driver_has_passed, run};

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

#[test]
fn firing_that_waited_comes_with_its_time_and_missed_ticks_beside_it_are_gone() {
    run(async {
        let scope = attached();
        let before = clock::now();
        let tick = TimerRegistration::periodic("tick", 10 * MILLISECOND, 0).first(Duration::ZERO);
        scope.register_timer(tick).unwrap();
        let registered = before..=clock::now();
        timers::sleep(35 * MILLISECOND).await;
        scope.pause("tick").unwrap();
        let before = clock::now();
        scope.resume("tick").unwrap();
        let resumed = before..=clock::now();
        let first = scope.recv().await.unwrap();
        assert_eq!(first.sequence, 0);
        assert!(registered.contains(&first.scheduled_at));
        for sequence in 1..4 {
            let fired = scope.recv().await.unwrap();
            assert_eq!(fired.sequence, sequence);
            let due = fired.scheduled_at - sequence * 10_000_000;
            assert!(resumed.contains(&due));
        }
    });
}
