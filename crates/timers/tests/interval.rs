//! Intervals: tokio's is the oracle of the behaviours, a clock moved by hand the judge of drift; and some real time.
#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "a failed call fails the test")]

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use timers::{Interval, MissedTickBehavior, Schedule, TimerError, clock};

const BOUND: Duration = Duration::from_secs(60);
const MILLISECOND: u64 = 1_000_000;
const BEHAVIORS: [MissedTickBehavior; 3] = [
    MissedTickBehavior::Burst,
    MissedTickBehavior::Delay,
    MissedTickBehavior::Skip,
];

fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(BOUND, test)
            .await
            .expect("the test ends in time");
    });
}

/// Whether the future is ready at its first poll from here.
async fn is_ready(future: impl Future) -> bool {
    let mut future = pin!(future);
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await
}

fn oracle(behavior: MissedTickBehavior) -> tokio::time::MissedTickBehavior {
    match behavior {
        MissedTickBehavior::Burst => tokio::time::MissedTickBehavior::Burst,
        MissedTickBehavior::Delay => tokio::time::MissedTickBehavior::Delay,
        MissedTickBehavior::Skip => tokio::time::MissedTickBehavior::Skip,
    }
}

/// When tokio's interval ticks are scheduled, in milliseconds after the start, for an owner that is busy so long after each.
fn scheduled_by_tokio(period: u64, behavior: MissedTickBehavior, busy: &[u64]) -> Vec<(u64, u64)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let start = tokio::time::Instant::now();
        let mut interval = tokio::time::interval_at(start, Duration::from_millis(period));
        interval.set_missed_tick_behavior(oracle(behavior));
        let mut ticks = Vec::new();
        for &busy in busy {
            let scheduled = interval.tick().await;
            let taken = tokio::time::Instant::now();
            ticks.push((
                (scheduled - start).as_millis() as u64,
                (taken - start).as_millis() as u64,
            ));
            tokio::time::advance(Duration::from_millis(busy)).await;
        }
        ticks
    })
}

/// The same for a schedule with a clock moved by hand.
fn scheduled_by_us(period: u64, behavior: MissedTickBehavior, busy: &[u64]) -> Vec<(u64, u64)> {
    let start = 1_000_000 * MILLISECOND;
    let mut now = start;
    let period = Duration::from_millis(period);
    let mut schedule = Schedule::new(start, period, behavior).unwrap();
    let mut ticks = Vec::new();
    for &busy in busy {
        now = now.max(schedule.next_deadline());
        let tick = schedule.take(now).unwrap();
        ticks.push((
            (tick.scheduled - start) / MILLISECOND,
            (tick.actual - start) / MILLISECOND,
        ));
        now += busy * MILLISECOND;
    }
    ticks
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn late_ticks_are_followed_as_tokio_follows_them(
        period in 1_u64..60,
        behavior in 0_usize..3,
        busy in vec(prop_oneof![3 => 0_u64..10, 1 => 0_u64..300], 1..40),
    ) {
        let behavior = BEHAVIORS[behavior];
        prop_assert_eq!(
            scheduled_by_us(period, behavior, &busy),
            scheduled_by_tokio(period, behavior, &busy)
        );
    }

    #[test]
    fn sequence_numbers_count_skipped_ticks(busy in vec(0_u64..300, 1..60)) {
        let period = Duration::from_millis(20);
        let mut schedule = Schedule::new(0, period, MissedTickBehavior::Skip).unwrap();
        let mut now = 0;
        for busy in busy {
            now = schedule.next_deadline().max(now);
            let tick = schedule.take(now).unwrap();
            prop_assert_eq!(tick.scheduled, tick.sequence * 20 * MILLISECOND);
            prop_assert_eq!(tick.lateness(), Duration::from_nanos(now - tick.scheduled));
            now += busy * MILLISECOND;
        }
    }
}

#[test]
fn hundred_thousand_ticks_do_not_drift() {
    let start = 12_345_678_901;
    for behavior in BEHAVIORS {
        let mut schedule = Schedule::new(start, Duration::from_millis(1), behavior).unwrap();
        for sequence in 0..100_000 {
            // Each tick is taken a little late, as in life: up to the tolerated lateness.
            let now = schedule.next_deadline() + sequence * 7919 % (5 * MILLISECOND);
            let tick = schedule.take(now).unwrap();
            assert_eq!(tick.sequence, sequence);
            assert_eq!(tick.scheduled, start + sequence * MILLISECOND);
        }
    }
}

#[test]
fn tick_is_not_given_before_its_time() {
    let mut schedule =
        Schedule::new(100, Duration::from_nanos(10), MissedTickBehavior::Burst).unwrap();
    assert_eq!(schedule.take(99), None);
    assert_eq!(schedule.take(100).unwrap().sequence, 0);
    assert_eq!(schedule.take(109), None);
    assert_eq!(schedule.next_deadline(), 110);
}

#[test]
fn end_of_time_is_not_passed() {
    for behavior in BEHAVIORS {
        let mut schedule = Schedule::new(0, Duration::MAX, behavior).unwrap();
        assert!(schedule.take(u64::MAX - 1).is_some());
        assert_eq!(schedule.take(u64::MAX), None);
    }
}

#[test]
fn ticks_skipped_from_one_end_of_time_to_the_other_are_counted() {
    let nanosecond = Duration::from_nanos(1);
    let mut schedule = Schedule::new(0, nanosecond, MissedTickBehavior::Skip).unwrap();
    assert!(schedule.take(u64::MAX).is_some());
    assert_eq!(schedule.next_sequence(), u64::MAX);
}

#[test]
fn interval_of_no_length_is_refused() {
    assert!(matches!(
        Interval::new(Duration::ZERO),
        Err(TimerError::InvalidRegistration(_))
    ));
}

#[test]
fn ticks_are_exact_and_never_early() {
    run(async {
        let period = Duration::from_micros(300);
        let mut interval = Interval::new(period).unwrap();
        let first = interval.tick().await;
        for sequence in 1..300 {
            let tick = interval.tick().await;
            assert_eq!(tick.sequence, sequence);
            assert_eq!(tick.scheduled, first.scheduled + sequence * 300_000);
            assert!(tick.actual >= tick.scheduled);
            assert!(clock::now() >= tick.actual);
        }
    });
}

#[test]
fn interval_can_start_later() {
    run(async {
        let start = clock::now() + 3 * MILLISECOND;
        let mut interval = Interval::starting_at(start, Duration::from_millis(1)).unwrap();
        assert_eq!(interval.tick().await.scheduled, start);
        assert_eq!(interval.tick().await.scheduled, start + MILLISECOND);
    });
}

#[test]
fn tick_that_is_dropped_while_it_waits_is_not_lost() {
    run(async {
        let mut interval = Interval::new(Duration::from_millis(2)).unwrap();
        interval.tick().await;
        let next = interval.next_deadline();
        assert!(!is_ready(interval.tick()).await);
        assert_eq!(interval.tick().await.scheduled, next);
    });
}

#[test]
fn reset_moves_the_schedule() {
    run(async {
        let mut interval = Interval::new(Duration::from_millis(1)).unwrap();
        interval.tick().await;
        let before = clock::now();
        interval.reset();
        let tick = interval.tick().await;
        assert!(tick.scheduled >= before + MILLISECOND);
        assert_eq!(tick.sequence, 1);
        assert_eq!(interval.period(), Duration::from_millis(1));
    });
}

#[test]
fn task_that_waits_is_woken_at_the_deadline_that_another_sets() {
    run(async {
        let hour = Duration::from_secs(3600);
        let sleep = Arc::new(Mutex::new(timers::sleep(hour)));
        let sleeper = {
            let sleep = Arc::clone(&sleep);
            tokio::spawn(poll_fn(move |context| {
                Pin::new(&mut *sleep.lock().unwrap()).poll(context)
            }))
        };
        let start = clock::now() + hour.as_nanos() as u64;
        let interval = Interval::starting_at(start, Duration::from_millis(1)).unwrap();
        let interval = Arc::new(Mutex::new(interval));
        let ticker = {
            let interval = Arc::clone(&interval);
            tokio::spawn(poll_fn(move |context| {
                interval.lock().unwrap().poll_tick(context)
            }))
        };
        tokio::task::yield_now().await;
        let deadline = clock::now() + MILLISECOND;
        sleep.lock().unwrap().reset(deadline);
        interval.lock().unwrap().reset();
        sleeper.await.unwrap();
        assert!(clock::now() >= deadline);
        assert!(ticker.await.unwrap().scheduled >= deadline);
    });
}

#[test]
fn burst_lets_other_tasks_run() {
    run(async {
        // A thousand years of missed ticks: whoever takes them all at once never returns.
        let mut interval = Interval::starting_at(1, Duration::from_nanos(1))
            .unwrap()
            .with_missed_tick_behavior(MissedTickBehavior::Burst);
        let other = tokio::spawn(async {});
        while !other.is_finished() {
            interval.tick().await;
        }
    });
}

#[test]
fn sleeps_of_no_length_let_other_tasks_run() {
    run(async {
        let other = tokio::spawn(async {});
        let give_up = clock::now() + BOUND.as_nanos() as u64;
        while !other.is_finished() {
            timers::sleep(Duration::ZERO).await;
            assert!(clock::now() < give_up, "the other task has not run");
        }
    });
}

#[test]
fn dropped_sleep_leaves_nothing_armed() {
    run(async {
        let mut sleeps: Vec<_> = (0..100)
            .map(|_| Box::pin(timers::sleep(Duration::from_secs(3600))))
            .collect();
        for sleep in &mut sleeps {
            assert!(!is_ready(sleep).await);
        }
        assert!(timers::driver::armed() >= 100);
        drop(sleeps);
        // Other tests of this process have a few of their own.
        assert!(timers::driver::armed() < 100);
    });
}

#[test]
fn sleep_whose_deadline_has_passed_is_ready_at_once_and_no_other_is() {
    run(async {
        assert!(is_ready(timers::sleep(Duration::ZERO)).await);
        assert!(is_ready(timers::sleep_until(0)).await);
        assert!(!is_ready(timers::sleep_until(timers::NEVER)).await);
        // Around the clock of ticks, which lags behind, and what is taken for far from it.
        for microseconds in (0..40_000).step_by(250) {
            let deadline = clock::now() + microseconds * 1_000;
            let ready = is_ready(timers::sleep_until(deadline)).await;
            let after = clock::now();
            assert!(!ready || after >= deadline, "{microseconds} us early");
            while clock::now() < deadline {
                std::hint::spin_loop();
            }
            assert!(is_ready(timers::sleep_until(deadline)).await);
            // Or the budget of this task would end.
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn sleep_that_moves_to_another_task_wakes_that_task() {
    run(async {
        let mut sleep = Box::pin(timers::sleep(Duration::from_millis(5)));
        assert!(!is_ready(&mut sleep).await);
        let deadline = sleep.deadline();
        tokio::spawn(sleep).await.unwrap();
        assert!(clock::now() >= deadline);
    });
}
