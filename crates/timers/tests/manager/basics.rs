use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use timers::{CommandError, TimerCommand, TimerManager, TryRecvError, clock};
use tokio_util::sync::CancellationToken;

use super::{
    BOUND, HOUR, MILLISECOND, assert_in_order, carried_out, drain, driver_has_passed, next, run,
    set_noting, start,
};

#[test]
fn no_timer_expires_early() {
    run(async {
        let (handle, _task) = start(64, 64);
        for step in 0..300_u64 {
            let duration = Duration::from_micros(step * 37 % 3000);
            let before = clock::now();
            handle.set_timer("probe", duration).await.unwrap();
            assert_eq!(next(&handle).await, "probe");
            let waited = clock::now() - before;
            assert!(waited >= duration.as_nanos() as u64, "early by {waited}");
        }
    });
}

#[test]
fn timers_expire_in_the_order_of_their_deadlines() {
    run(async {
        let (handle, _task) = start(64, 1000);
        let reversed = (0..500).map(|index| {
            let duration = Duration::from_micros(20_000 + (499 - index) * 100);
            (format!("{index}"), duration)
        });
        let deadlines = set_noting(&handle, reversed).await;
        let mut names = Vec::new();
        for _ in 0..500 {
            names.push(next(&handle).await);
        }
        assert_in_order(&names, &deadlines);
    });
}

#[test]
fn timer_of_no_duration_expires_at_once() {
    run(async {
        let (handle, _task) = start(1, 1);
        handle.set_timer("now", Duration::ZERO).await.unwrap();
        assert_eq!(next(&handle).await, "now");
        assert!(handle.is_empty());
    });
}

#[test]
fn longest_duration_never_expires_and_can_be_cancelled() {
    run(async {
        let (handle, _task) = start(1, 1);
        handle.set_timer("never", Duration::MAX).await.unwrap();
        handle.set_timer("soon", MILLISECOND).await.unwrap();
        assert_eq!(next(&handle).await, "soon");
        assert_eq!(handle.len(), 1);
        handle.cancel_timer("never").await.unwrap();
        assert!(handle.is_empty());
    });
}

#[test]
fn empty_name_is_refused_with_its_command() {
    run(async {
        let (handle, _task) = start(1, 1);
        let set = TimerCommand::Set {
            name: String::new(),
            duration: HOUR,
        };
        assert_eq!(
            handle.set_timer("", HOUR).await,
            Err(CommandError::EmptyName(set.clone()))
        );
        assert_eq!(handle.try_send(set.clone()).unwrap_err().command(), &set);
        assert!(matches!(
            handle.try_cancel_timer(""),
            Err(CommandError::EmptyName(TimerCommand::Cancel { .. }))
        ));
        assert!(handle.is_empty());
    });
}

#[test]
fn cancelling_an_unknown_timer_is_harmless() {
    run(async {
        let (handle, _task) = start(1, 1);
        handle.cancel_timer("nobody").await.unwrap();
        handle.cancel_all_timers().await.unwrap();
        handle.set_timer("somebody", MILLISECOND).await.unwrap();
        assert_eq!(next(&handle).await, "somebody");
    });
}

#[test]
fn tolerance_delivers_together_and_never_early() {
    run(async {
        let tolerance = 40 * MILLISECOND;
        let (manager, handle) =
            TimerManager::new("test", tolerance, 8, 8, CancellationToken::new());
        let task = tokio::spawn(manager.run());
        let start = Instant::now();
        for (name, delay) in [("c", 30), ("a", 10), ("b", 20)] {
            handle.set_timer(name, delay * MILLISECOND).await.unwrap();
        }
        let first = next(&handle).await;
        let waited = start.elapsed();
        let rest = drain(&handle);
        assert_eq!((first.as_str(), rest.len()), ("a", 2), "{rest:?}");
        assert_eq!(rest, ["b", "c"]);
        // At the end of the first one's tolerance.
        assert!(waited >= 50 * MILLISECOND, "{waited:?}");
        handle.shutdown().await.unwrap();
        task.await.unwrap().unwrap();
    });
}

#[test]
fn event_is_received_by_one_of_the_handles() {
    run(async {
        let (handle, _task) = start(64, 8);
        let receivers: Vec<_> = (0..4)
            .map(|_| {
                let handle = handle.clone();
                tokio::spawn(async move {
                    let mut names = Vec::new();
                    while let Some(timers::TimerEvent::TimerExpired { name }) =
                        handle.recv_event().await
                    {
                        names.push(name);
                    }
                    names
                })
            })
            .collect();
        for index in 0..2000_u64 {
            let duration = Duration::from_micros(index % 700);
            handle
                .set_timer(format!("{index:04}"), duration)
                .await
                .unwrap();
        }
        while !handle.is_empty() {
            tokio::task::yield_now().await;
        }
        handle.shutdown().await.unwrap();
        let mut names = Vec::new();
        for receiver in receivers {
            names.extend(receiver.await.unwrap());
        }
        names.sort();
        let expected: Vec<_> = (0..2000).map(|index| format!("{index:04}")).collect();
        assert_eq!(names, expected);
    });
}

#[test]
fn nothing_to_receive_is_told() {
    run(async {
        let (handle, _task) = start(1, 1);
        assert_eq!(handle.try_recv_event(), Err(TryRecvError::Empty));
        handle.set_timer("later", HOUR).await.unwrap();
        carried_out(&handle).await;
        driver_has_passed().await;
        assert_eq!(handle.try_recv_event(), Err(TryRecvError::Empty));
    });
}

/// Unparks a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// An executor that is not tokio's.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park_timeout(BOUND),
        }
    }
}

#[test]
fn manager_runs_without_a_tokio_runtime() {
    let token = CancellationToken::new();
    let (manager, handle) = TimerManager::new("plain", Duration::ZERO, 2, 2, token);
    let worker = thread::spawn(move || block_on(manager.run()));
    let names = block_on(async {
        let mut names = Vec::new();
        for index in 0..20 {
            handle
                .set_timer(format!("{index}"), MILLISECOND)
                .await
                .unwrap();
        }
        for _ in 0..20 {
            names.push(next(&handle).await);
        }
        handle.shutdown().await.unwrap();
        names
    });
    assert_eq!(names.len(), 20);
    worker.join().unwrap().unwrap();
}
