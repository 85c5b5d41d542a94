use std::time::Duration;

use timers::{CommandError, TimerCommand, TimerManager};
use tokio_util::sync::CancellationToken;

use super::{
    HOUR, MILLISECOND, assert_in_order, carried_out, drain, driver_has_passed, next, run,
    set_noting, start,
};

#[test]
fn full_event_buffer_loses_nothing_and_keeps_the_order() {
    run(async {
        const COUNT: u64 = 10_000;
        let (handle, _task) = start(1, 4);
        // Set in reverse, and all due long before the first is received.
        let reversed = (0..COUNT).map(|index| {
            let duration = Duration::from_micros((COUNT - index) * 50);
            (format!("{index}"), duration)
        });
        let deadlines = set_noting(&handle, reversed).await;
        carried_out(&handle).await;
        timers::sleep(Duration::from_micros(COUNT * 50)).await;
        driver_has_passed().await;
        assert_in_order(&drain(&handle), &deadlines);
        assert!(handle.is_empty());
    });
}

#[test]
fn full_event_buffer_blocks_neither_wheel_nor_commands() {
    run(async {
        let (full, _task) = start(1, 1);
        let (other, _other_task) = start(1, 1);
        for index in 0..50 {
            full.set_timer(format!("{index:02}"), Duration::ZERO)
                .await
                .unwrap();
        }
        carried_out(&full).await;
        driver_has_passed().await;
        // The wheel turns for others.
        other.set_timer("other", MILLISECOND).await.unwrap();
        assert_eq!(next(&other).await, "other");
        // What waits in the wheel can be cancelled and replaced.
        for index in 0..50 {
            match index % 3 {
                0 => full.cancel_timer(format!("{index:02}")).await.unwrap(),
                1 => full.set_timer(format!("{index:02}"), HOUR).await.unwrap(),
                _ => {}
            }
        }
        carried_out(&full).await;
        let expected: Vec<_> = (0..50)
            .filter(|index| index % 3 == 2)
            .map(|index| format!("{index:02}"))
            .collect();
        assert_eq!(drain(&full), expected);
        assert_eq!(full.len(), 17);
    });
}

#[test]
fn receiver_that_waits_is_served_through_a_full_buffer() {
    run(async {
        let (handle, _task) = start(16, 1);
        let receiver = {
            let handle = handle.clone();
            tokio::spawn(async move {
                for _ in 0..3000 {
                    next(&handle).await;
                }
            })
        };
        for index in 0..3000_u64 {
            let duration = Duration::from_micros(index % 97);
            handle
                .set_timer(format!("{index}"), duration)
                .await
                .unwrap();
        }
        receiver.await.unwrap();
        assert!(handle.is_empty());
    });
}

#[test]
fn full_command_buffer_gives_the_command_back() {
    run(async {
        let token = CancellationToken::new();
        let (manager, handle) = TimerManager::new("test", Duration::ZERO, 2, 8, token);
        handle.try_set_timer("a", Duration::ZERO).unwrap();
        handle.try_cancel_timer("nobody").unwrap();
        let refused = handle.try_set_timer("b", MILLISECOND).unwrap_err();
        let set = TimerCommand::Set {
            name: "b".into(),
            duration: MILLISECOND,
        };
        assert_eq!(refused, CommandError::Full(set.clone()));
        assert_eq!(
            handle.try_cancel_all_timers(),
            Err(CommandError::Full(TimerCommand::CancelAll))
        );
        assert_eq!(
            handle.try_shutdown(),
            Err(CommandError::Full(TimerCommand::Shutdown))
        );
        // The awaiting forms wait for the manager to run.
        let waiting = {
            let handle = handle.clone();
            tokio::spawn(async move { handle.send(refused.into_command()).await })
        };
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        let task = tokio::spawn(manager.run());
        waiting.await.unwrap().unwrap();
        assert_eq!(next(&handle).await, "a");
        assert_eq!(next(&handle).await, "b");
        handle.shutdown().await.unwrap();
        task.await.unwrap().unwrap();
        assert_eq!(handle.try_send(set.clone()), Err(CommandError::Closed(set)));
    });
}

#[test]
fn send_that_is_dropped_while_it_waits_has_sent_nothing() {
    run(async {
        let token = CancellationToken::new();
        let (manager, handle) = TimerManager::new("test", Duration::ZERO, 1, 1, token);
        handle.try_cancel_timer("nobody").unwrap();
        let waiting = {
            let handle = handle.clone();
            tokio::spawn(async move { handle.set_timer("late", Duration::ZERO).await })
        };
        tokio::task::yield_now().await;
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        let _task = tokio::spawn(manager.run());
        handle.set_timer("after", Duration::ZERO).await.unwrap();
        assert_eq!(next(&handle).await, "after");
        assert!(drain(&handle).is_empty() && handle.is_empty());
    });
}

#[test]
fn buffers_of_no_size_hold_one() {
    run(async {
        let (handle, _task) = start(0, 0);
        handle.set_timer("a", Duration::ZERO).await.unwrap();
        assert_eq!(next(&handle).await, "a");
    });
}
