//! Ending a poll from elsewhere.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod common;

use std::{
    io::{self, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use common::{BOUND, METHODS, look, poll_for, tokens, within_bound};
use reactor::{Events, Interest, Reactor, Token};

#[test]
fn wake_from_another_thread_ends_a_poll_without_limit() {
    for method in METHODS {
        let reactor = Reactor::with_timeout_method(method).unwrap();
        let waker = reactor.waker();
        let worker = thread::spawn(move || waker.wake());
        let events = within_bound(move || poll_for(&reactor, None)).unwrap();
        assert!(events.is_empty(), "the waker's own event is not reported");
        worker.join().unwrap().unwrap();
    }
}

#[test]
fn wake_ends_a_poll_long_before_its_time_out() {
    for method in METHODS {
        let reactor = Reactor::with_timeout_method(method).unwrap();
        let waker = reactor.waker();
        let worker = thread::spawn(move || waker.wake());
        let events = within_bound(move || poll_for(&reactor, Some(10 * BOUND))).unwrap();
        assert!(events.is_empty());
        worker.join().unwrap().unwrap();
    }
}

#[test]
fn wake_before_the_poll_is_not_lost() {
    let reactor = Reactor::new().unwrap();
    reactor.waker().wake().unwrap();
    within_bound(move || poll_for(&reactor, None)).unwrap();
}

#[test]
fn many_wakes_are_one_wake_up() {
    for method in METHODS {
        let reactor = Reactor::with_timeout_method(method).unwrap();
        let waker = reactor.waker();
        for _ in 0..1000 {
            waker.wake().unwrap();
        }
        let reactor = within_bound(move || {
            poll_for(&reactor, None).unwrap();
            reactor
        });
        let timeout = Duration::from_millis(5);
        let start = Instant::now();
        poll_for(&reactor, Some(timeout)).unwrap();
        assert!(
            start.elapsed() >= timeout,
            "nothing was left to wake the second poll"
        );
    }
}

#[test]
fn every_wake_after_a_poll_wakes_the_next() {
    let reactor = Reactor::new().unwrap();
    let waker = reactor.waker();
    within_bound(move || {
        for _ in 0..1000 {
            waker.wake().unwrap();
            poll_for(&reactor, None).unwrap();
        }
    });
}

/// Each side waits for the other's answer: a single lost wake-up blocks both.
#[test]
fn two_reactors_that_wake_each_other_never_stall() {
    let left = Reactor::new().unwrap();
    let right = Reactor::new().unwrap();
    let (wake_left, wake_right) = (left.waker(), right.waker());
    within_bound(move || {
        let other = thread::spawn(move || {
            for _ in 0..2000 {
                poll_for(&right, None).unwrap();
                wake_left.wake().unwrap();
            }
        });
        for _ in 0..2000 {
            wake_right.wake().unwrap();
            poll_for(&left, None).unwrap();
        }
        other.join().unwrap();
    });
}

#[test]
fn wake_does_not_hide_the_events_beside_it() {
    let reactor = Reactor::new().unwrap();
    let (here, mut there) = UnixStream::pair().unwrap();
    reactor
        .register(here.as_raw_fd(), Token(1), Interest::READABLE)
        .unwrap();
    there.write_all(b"x").unwrap();
    reactor.waker().wake().unwrap();
    assert_eq!(tokens(&look(&reactor)), [1]);
}

#[test]
fn buffer_of_one_event_still_sees_wake_and_readiness() {
    let reactor = Reactor::new().unwrap();
    let (here, mut there) = UnixStream::pair().unwrap();
    reactor
        .register(here.as_raw_fd(), Token(1), Interest::READABLE)
        .unwrap();
    there.write_all(b"x").unwrap();
    reactor.waker().wake().unwrap();
    let mut events = Events::with_capacity(0);
    let mut seen = Vec::new();
    for _ in 0..2 {
        reactor.poll(&mut events, Some(Duration::ZERO)).unwrap();
        seen.extend(events.iter().map(|event| event.token()));
    }
    assert_eq!(
        seen,
        [Token(1)],
        "one poll took the wake-up, the other the event"
    );
}

#[test]
fn waker_outlives_its_reactor() {
    let reactor = Reactor::new().unwrap();
    let waker = reactor.waker();
    let clone = waker.clone();
    drop(reactor);
    waker.wake().unwrap();
    drop(waker);
    // Were the descriptor closed by now, this one would probably get its number and the byte.
    let (here, _there) = UnixStream::pair().unwrap();
    here.set_nonblocking(true).unwrap();
    clone.wake().unwrap();
    let received = io::Read::read(&mut &here, &mut [0; 8]);
    assert_eq!(received.unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn second_poll_at_the_same_time_is_refused() {
    let reactor = Arc::new(Reactor::new().unwrap());
    let waker = reactor.waker();
    let polling = Arc::clone(&reactor);
    let worker = thread::spawn(move || poll_for(&polling, None));
    let refused = within_bound(move || {
        loop {
            // Until the other thread is inside its poll, looking succeeds.
            if let Err(error) = poll_for(&reactor, Some(Duration::ZERO)) {
                return error;
            }
            thread::yield_now();
        }
    });
    assert_eq!(refused.kind(), io::ErrorKind::ResourceBusy);
    waker.wake().unwrap();
    worker.join().unwrap().unwrap();
}
