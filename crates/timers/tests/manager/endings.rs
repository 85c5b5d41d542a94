use std::time::Duration;

use timers::{CommandError, TimerManager, TryRecvError};
use tokio_util::sync::CancellationToken;

use super::{HOUR, carried_out, drain, driver_has_passed, next, run, start};

#[test]
fn shutdown_leaves_pending_events_to_be_received() {
    run(async {
        let (handle, task) = start(1, 1);
        for name in ["a", "b", "c"] {
            handle.set_timer(name, Duration::ZERO).await.unwrap();
        }
        handle.set_timer("later", HOUR).await.unwrap();
        carried_out(&handle).await;
        driver_has_passed().await;
        handle.shutdown().await.unwrap();
        task.await.unwrap().unwrap();
        for name in ["a", "b", "c"] {
            assert_eq!(next(&handle).await, name);
        }
        assert_eq!(handle.recv_event().await, None);
        assert_eq!(handle.try_recv_event(), Err(TryRecvError::Closed));
        assert!(handle.is_empty() && handle.is_closed());
    });
}

#[test]
fn commands_before_a_shutdown_are_carried_out() {
    run(async {
        let token = CancellationToken::new();
        let (manager, handle) = TimerManager::new("test", Duration::ZERO, 8, 8, token);
        handle.try_set_timer("a", Duration::ZERO).unwrap();
        handle.try_set_timer("b", Duration::ZERO).unwrap();
        handle.try_cancel_timer("a").unwrap();
        handle.try_shutdown().unwrap();
        assert!(matches!(
            handle.try_set_timer("c", Duration::ZERO),
            Err(CommandError::Closed(_))
        ));
        manager.run().await.unwrap();
        assert_eq!(drain(&handle), ["b"]);
        assert_eq!(handle.recv_event().await, None);
    });
}

#[test]
fn token_ends_the_manager() {
    run(async {
        let token = CancellationToken::new();
        let (manager, handle) = TimerManager::new("test", Duration::ZERO, 1, 1, token.clone());
        let task = tokio::spawn(manager.run());
        handle.set_timer("a", Duration::ZERO).await.unwrap();
        handle.set_timer("later", HOUR).await.unwrap();
        carried_out(&handle).await;
        token.cancel();
        task.await.unwrap().unwrap();
        assert_eq!(next(&handle).await, "a");
        assert_eq!(handle.recv_event().await, None);
        assert!(matches!(
            handle.set_timer("b", HOUR).await,
            Err(CommandError::Closed(_))
        ));
    });
}

#[test]
fn commands_are_refused_from_the_cancellation_of_the_token_on() {
    run(async {
        let token = CancellationToken::new();
        let (manager, handle) = TimerManager::new("test", Duration::ZERO, 4, 4, token.clone());
        handle.try_set_timer("a", Duration::ZERO).unwrap();
        assert!(!handle.is_closed());
        // The manager does not run yet, and cannot have seen it.
        token.cancel();
        assert!(handle.is_closed());
        assert!(matches!(
            handle.try_set_timer("b", HOUR),
            Err(CommandError::Closed(_))
        ));
        assert!(matches!(
            handle.cancel_all_timers().await,
            Err(CommandError::Closed(_))
        ));
        manager.run().await.unwrap();
        // What was accepted before, and is due, is received.
        assert_eq!(next(&handle).await, "a");
        assert_eq!(handle.recv_event().await, None);
    });
}

#[test]
fn dropping_the_last_handle_ends_the_manager() {
    run(async {
        let (handle, task) = start(1, 1);
        let clone = handle.clone();
        handle.set_timer("later", HOUR).await.unwrap();
        drop(handle);
        carried_out(&clone).await;
        assert!(!task.is_finished());
        drop(clone);
        task.await.unwrap().unwrap();
    });
}

#[test]
fn receiver_that_waits_is_told_of_the_end() {
    run(async {
        let (handle, task) = start(1, 1);
        let receivers: Vec<_> = (0..3)
            .map(|_| {
                let handle = handle.clone();
                tokio::spawn(async move { handle.recv_event().await })
            })
            .collect();
        tokio::task::yield_now().await;
        handle.shutdown().await.unwrap();
        for receiver in receivers {
            assert_eq!(receiver.await.unwrap(), None);
        }
        task.await.unwrap().unwrap();
    });
}

#[test]
fn sender_that_waits_for_a_place_is_told_of_the_end() {
    run(async {
        let token = CancellationToken::new();
        let (manager, handle) = TimerManager::new("test", Duration::ZERO, 1, 1, token);
        handle.try_cancel_timer("nobody").unwrap();
        let waiting = {
            let handle = handle.clone();
            tokio::spawn(async move { handle.set_timer("a", HOUR).await })
        };
        tokio::task::yield_now().await;
        drop(manager);
        assert!(matches!(
            waiting.await.unwrap(),
            Err(CommandError::Closed(_))
        ));
        assert_eq!(handle.recv_event().await, None);
    });
}

#[test]
fn aborted_task_closes_the_manager() {
    run(async {
        let (handle, task) = start(1, 1);
        handle.set_timer("a", HOUR).await.unwrap();
        carried_out(&handle).await;
        task.abort();
        assert_eq!(handle.recv_event().await, None);
        assert!(handle.is_closed());
    });
}

#[test]
fn closed_manager_leaves_nothing_with_the_driver() {
    run(async {
        let (handle, task) = start(1, 1);
        handle.set_timer("a", HOUR).await.unwrap();
        carried_out(&handle).await;
        handle.shutdown().await.unwrap();
        task.await.unwrap().unwrap();
        assert!(handle.is_empty());
        assert_eq!(handle.recv_event().await, None);
    });
}
