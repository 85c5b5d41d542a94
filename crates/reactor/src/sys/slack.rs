//! How much later than asked the kernel may end an epoll time-out.
//!
//! Linux lets a time-out of `epoll_wait` and its kin slip, so that wake-ups can be merged: by the
//! thread's timer slack (50 us unless somebody changed it), or, if that is more, by a thousandth of the
//! time-out (a two-hundredth in a niced thread), up to 100 ms. An idle processor always uses the whole
//! allowance. So 20 ms come about 50 us late, and 1.5 s come 1.5 ms late, niced 7 ms.

use std::{cell::Cell, time::Duration};

/// The kernel's bound on the share of the time-out.
const MAX_SHARE: Duration = Duration::from_millis(100);

/// How often a thread uses what it read of itself before it reads again.
///
/// Slack and niceness hardly ever change in a running thread, but they can; a wrong value costs
/// precision (too small) or one more wait (too large), never correctness. Two system calls (0.2 us) in
/// 256 time-outs do not show.
const USES: u32 = 256;

/// What the kernel's allowance depends on, as last read by this thread.
#[derive(Clone, Copy)]
struct Allowance {
    /// The thread's timer slack.
    slack: Duration,
    /// The time-out is divided by this to get the share.
    divisor: u32,
    /// Uses left before it is read again.
    uses: u32,
}

thread_local! {
    // Per thread, not per reactor: both properties are the polling thread's.
    static ALLOWANCE: Cell<Option<Allowance>> = const { Cell::new(None) };
}

/// Returns how much a wait of the calling thread with this time-out may come late.
pub(super) fn of(timeout: Duration) -> Duration {
    let mut allowance = match ALLOWANCE.get() {
        Some(known) if known.uses > 0 => known,
        _ => read(),
    };
    allowance.uses -= 1;
    ALLOWANCE.set(Some(allowance));
    let share = (timeout / allowance.divisor).min(MAX_SHARE);
    share.max(allowance.slack)
}

fn read() -> Allowance {
    // A sandbox may forbid either call: then the defaults of an ordinary thread are the best guess.
    let slack = rustix::thread::current_timer_slack().unwrap_or(50_000);
    let nice = rustix::process::getpriority_process(None).unwrap_or(0);
    Allowance {
        slack: Duration::from_nanos(slack),
        divisor: if nice > 0 { 200 } else { 1000 },
        uses: USES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs in a thread of its own, whose slack may be changed without disturbing other tests.
    fn in_own_thread(slack: u64, body: impl FnOnce() + Send) {
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let slack = std::num::NonZeroU64::new(slack);
                rustix::thread::set_current_timer_slack(slack)
                    .expect("a thread may change its slack");
                body();
            });
        });
    }

    #[test]
    fn short_time_out_may_slip_by_the_slack_of_the_thread() {
        in_own_thread(123_456, || {
            assert_eq!(of(Duration::from_millis(1)), Duration::from_nanos(123_456))
        });
    }

    #[test]
    fn long_time_out_may_slip_by_its_share_up_to_a_bound() {
        in_own_thread(1, || {
            let share = of(Duration::from_secs(2)).as_micros();
            assert!(
                share == 2_000 || share == 10_000,
                "a thousandth, or a two-hundredth if niced: {share}"
            );
            assert_eq!(of(Duration::from_secs(100_000)), MAX_SHARE);
        });
    }

    #[test]
    fn changed_slack_is_noticed() {
        in_own_thread(1_000_000, || {
            let timeout = Duration::from_micros(10);
            assert_eq!(of(timeout), Duration::from_millis(1));
            let changed = std::num::NonZeroU64::new(2_000_000);
            rustix::thread::set_current_timer_slack(changed)
                .expect("a thread may change its slack");
            assert!((0..=USES).any(|_| of(timeout) == Duration::from_millis(2)));
        });
    }
}
