//! Who waits for firings, and what the slow get.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use timers::{MissedTickBehavior, TimerRegistration, TimerScope};

use super::{MILLISECOND, attached, returns, run};

#[test]
fn receiver_that_waits_is_told_of_the_detachment() {
    run(async {
        let scope = attached();
        for again in [true, false] {
            let mut receiver = pin!(scope.recv());
            let mut context = Context::from_waker(Waker::noop());
            assert!(receiver.as_mut().poll(&mut context).is_pending());
            scope.detach();
            if again {
                // What fires from here on is another receiver's.
                scope.attach();
                scope.register_one_shot("a", Duration::ZERO, 0).unwrap();
            }
            assert_eq!(receiver.await, None);
            assert_eq!(scope.len(), usize::from(again));
            let _ = scope.try_recv();
        }
    });
}

/// Looks at the scope when it is woken, as an executor may that runs tasks where they are woken.
struct Looks {
    scope: Arc<TimerScope<&'static str, u32>>,
    woken: AtomicUsize,
}

impl Wake for Looks {
    fn wake(self: Arc<Self>) {
        let _ = self.scope.len();
        self.woken.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn receiver_is_woken_with_the_scope_unlocked() {
    returns(|| {
        let scope = Arc::new(attached());
        let looks = Arc::new(Looks {
            scope: Arc::clone(&scope),
            woken: AtomicUsize::new(0),
        });
        let waker = Waker::from(Arc::clone(&looks));
        let mut context = Context::from_waker(&waker);
        let register = |name| scope.register_one_shot(name, Duration::ZERO, 0).unwrap();
        let woken = || looks.woken.load(Ordering::Relaxed);

        let mut receiver = pin!(scope.recv());
        assert!(receiver.as_mut().poll(&mut context).is_pending());
        register("a");
        assert_eq!(woken(), 1);
        assert!(receiver.poll(&mut context).is_ready());

        register("a");
        scope.pause("a").unwrap();
        let mut receiver = pin!(scope.recv());
        assert!(receiver.as_mut().poll(&mut context).is_pending());
        scope.resume("a").unwrap();
        assert_eq!(woken(), 2);
        assert!(receiver.poll(&mut context).is_ready());

        register("a");
        register("b");
        scope.pause_all().unwrap();
        let (mut receiver, mut other) = (pin!(scope.recv()), pin!(scope.recv()));
        assert!(receiver.as_mut().poll(&mut context).is_pending());
        assert!(other.as_mut().poll(&mut context).is_pending());
        scope.resume_all().unwrap();
        assert_eq!(woken(), 3);
        // Who receives tells the next.
        assert!(receiver.poll(&mut context).is_ready());
        assert_eq!(woken(), 4);
        assert!(other.poll(&mut context).is_ready());
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
