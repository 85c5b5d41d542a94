//! Time-outs: never early, hardly late, in either way of keeping them.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod common;

use std::{
    io::Write,
    os::{fd::AsRawFd, unix::net::UnixStream},
    time::{Duration, Instant},
};

use common::{BOUND, METHODS, poll_for, tokens, within_bound};
use reactor::{Interest, Reactor, Token};

/// Waits for nothing and returns how late the poll came back.
fn lateness(reactor: &Reactor, timeout: Duration) -> Duration {
    let start = Instant::now();
    let events = poll_for(reactor, Some(timeout)).unwrap();
    let elapsed = start.elapsed();
    assert!(events.is_empty());
    assert!(elapsed >= timeout, "back after {elapsed:?} of {timeout:?}");
    elapsed.checked_sub(timeout).unwrap()
}

#[test]
fn zero_time_out_never_blocks() {
    for method in METHODS {
        let reactor = Reactor::with_timeout_method(method).unwrap();
        within_bound(move || {
            for _ in 0..1000 {
                lateness(&reactor, Duration::ZERO);
            }
        });
    }
}

#[test]
fn poll_never_ends_before_its_time_out() {
    for method in METHODS {
        let reactor = Reactor::with_timeout_method(method).unwrap();
        within_bound(move || {
            for micros in [1, 20, 49, 51, 300, 999, 1_000, 5_500, 20_000] {
                for _ in 0..20 {
                    lateness(&reactor, Duration::from_micros(micros));
                }
            }
        });
    }
}

/// How late a quarter of `waits` comes back at most: a busy machine delays many waits, hardly all,
/// while what a wrong time-out adds, it adds to every one.
fn least_quarter(reactor: &Reactor, timeout: Duration, waits: usize) -> Duration {
    let mut late: Vec<_> = (0..waits).map(|_| lateness(reactor, timeout)).collect();
    late.sort_unstable();
    late[waits / 4]
}

#[test]
fn time_outs_are_not_rounded_to_milliseconds() {
    for method in METHODS {
        let reactor = Reactor::with_timeout_method(method).unwrap();
        let late = within_bound(move || least_quarter(&reactor, Duration::from_micros(300), 50));
        assert!(
            late < Duration::from_micros(350),
            "{method:?}: {late:?} late"
        );
    }
}

/// With a slack of 20 ms the kernel ends a wait at some interrupt within that time; a quarter of the
/// waits within a fiftieth of it is more than chance.
#[cfg(target_os = "linux")]
#[test]
fn time_outs_do_not_pay_the_timer_slack() {
    for method in METHODS {
        let reactor = Reactor::with_timeout_method(method).unwrap();
        // In the thread of this wait only, which ends with it.
        let late = within_bound(move || {
            let slack = std::num::NonZeroU64::new(20_000_000);
            rustix::thread::set_current_timer_slack(slack).unwrap();
            least_quarter(&reactor, Duration::from_millis(30), 24)
        });
        assert!(
            late < Duration::from_micros(400),
            "{method:?}: {late:?} late"
        );
    }
}

#[test]
fn changing_deadlines_leave_no_old_one_behind() {
    for method in METHODS {
        let reactor = Reactor::with_timeout_method(method).unwrap();
        let (here, mut there) = UnixStream::pair().unwrap();
        within_bound(move || {
            reactor
                .register(here.as_raw_fd(), Token(1), Interest::READABLE)
                .unwrap();
            there.write_all(b"x").unwrap();
            for timeout in [30, 2, 50, 1].map(Duration::from_millis) {
                // Ended by the event, so that whatever was armed for it is still running.
                assert_eq!(tokens(&poll_for(&reactor, Some(timeout)).unwrap()), [1]);
                reactor
                    .reregister(here.as_raw_fd(), Token(1), Interest::NONE)
                    .unwrap();
                lateness(&reactor, Duration::from_millis(10));
                reactor
                    .reregister(here.as_raw_fd(), Token(1), Interest::READABLE)
                    .unwrap();
            }
        });
    }
}

#[test]
fn poll_without_limit_outlasts_an_old_deadline() {
    for method in METHODS {
        let reactor = Reactor::with_timeout_method(method).unwrap();
        let (here, mut there) = UnixStream::pair().unwrap();
        reactor
            .register(here.as_raw_fd(), Token(1), Interest::READABLE)
            .unwrap();
        there.write_all(b"x").unwrap();
        let old = Duration::from_millis(20);
        let start = Instant::now();
        poll_for(&reactor, Some(old)).unwrap();
        reactor.deregister(here.as_raw_fd()).unwrap();

        let waker = reactor.waker();
        let worker = std::thread::spawn(move || {
            // A second reactor as the clock of the waking thread: wakes when the old deadline is past.
            lateness(&Reactor::new().unwrap(), 2 * old);
            waker.wake()
        });
        within_bound(move || poll_for(&reactor, None)).unwrap();
        assert!(
            start.elapsed() >= 2 * old,
            "the old deadline ended the poll"
        );
        worker.join().unwrap().unwrap();
    }
}

#[test]
fn same_deadline_polled_again_and_again_is_kept() {
    for method in METHODS {
        let reactor = Reactor::with_timeout_method(method).unwrap();
        let waker = reactor.waker();
        within_bound(move || {
            let start = Instant::now();
            let timeout = Duration::from_millis(5);
            let mut polls = 0;
            loop {
                let remaining = timeout.saturating_sub(start.elapsed());
                if remaining.is_zero() {
                    break;
                }
                if polls < 10 {
                    waker.wake().unwrap(); // ends this poll at once, with the deadline still ahead
                }
                poll_for(&reactor, Some(remaining)).unwrap();
                polls += 1;
            }
            assert!(
                polls <= 13,
                "{polls} polls: more than were woken and a few that ended a wait"
            );
        });
    }
}

#[test]
fn absurd_time_outs_wait_for_events() {
    for method in METHODS {
        for timeout in [
            Duration::MAX,
            Duration::from_secs(u64::from(u32::MAX)),
            1000 * BOUND,
        ] {
            let reactor = Reactor::with_timeout_method(method).unwrap();
            let waker = reactor.waker();
            let worker = std::thread::spawn(move || waker.wake());
            within_bound(move || poll_for(&reactor, Some(timeout))).unwrap();
            worker.join().unwrap().unwrap();
        }
    }
}
