//! Thousands of ready descriptors against a small buffer.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod common;

use std::{
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

use reactor::{Events, Interest, Reactor, Token};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const WANTED: u64 = 10_000;

/// As many descriptors as the process may have, at most `WANTED`, all of them readable.
///
/// Every one is a registration of its own, although all are duplicates of one pipe's reading end.
fn readable_descriptors() -> Vec<OwnedFd> {
    let limit = getrlimit(Resource::Nofile);
    let enough = limit
        .maximum
        .map_or(2 * WANTED, |maximum| maximum.min(2 * WANTED));
    if limit.current.is_some_and(|current| current < enough) {
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(enough),
                ..limit
            },
        )
        .unwrap();
    }
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    rustix::io::write(&writer, b"x").unwrap();
    let count = (enough - 100).min(WANTED);
    (0..count)
        .map(|_| rustix::io::fcntl_dupfd_cloexec(&reader, 0).unwrap())
        .collect()
}

#[test]
fn small_buffer_starves_nobody() {
    let reactor = Reactor::new().unwrap();
    let descriptors = readable_descriptors();
    assert!(
        descriptors.len() >= 500,
        "this machine allows too few descriptors for the test"
    );
    for (index, fd) in descriptors.iter().enumerate() {
        reactor
            .register(fd.as_raw_fd(), Token(index as u64), Interest::READABLE)
            .unwrap();
    }
    let waker = reactor.waker();
    waker.wake().unwrap();

    // Nothing is read, so that all stay ready: one turn of a fair reactor reports each of them.
    let mut events = Events::with_capacity(64);
    let mut reported = vec![0_u32; descriptors.len()];
    let turn = descriptors.len().div_ceil(64) + 1; // the wake-up takes a place, too
    for _ in 0..turn {
        reactor.poll(&mut events, Some(Duration::ZERO)).unwrap();
        for event in &events {
            reported[usize::try_from(event.token().0).unwrap()] += 1;
        }
    }
    let starved = reported.iter().filter(|&&times| times == 0).count();
    assert_eq!(starved, 0, "of {} within {turn} polls", descriptors.len());
    assert!(
        reported.iter().all(|&times| times <= 2),
        "and none is served at another's cost"
    );
}
