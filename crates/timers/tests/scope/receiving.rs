//! Who waits for firings, and what the slow get.

use std::sync::Arc;
use std::time::Duration;

use timers::{MissedTickBehavior, TimerRegistration};

use super::{MILLISECOND, attached, run};

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
