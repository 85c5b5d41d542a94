//! Changing and ending registrations, and what is refused.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod common;

use std::{
    io::{self, Write},
    os::{
        fd::{AsRawFd, IntoRawFd},
        unix::net::UnixStream,
    },
};

use common::{look, poll, tokens, within_bound};
use reactor::{Interest, Reactor, Token};
use rustix::io::Errno;

fn errno(result: io::Result<()>) -> Option<Errno> {
    result
        .unwrap_err()
        .raw_os_error()
        .map(Errno::from_raw_os_error)
}

/// A pair whose first end is both readable and writable.
fn busy_pair() -> (UnixStream, UnixStream) {
    let (here, mut there) = UnixStream::pair().unwrap();
    there.write_all(b"x").unwrap();
    (here, there)
}

#[test]
fn reregistering_replaces_interest_and_token() {
    let reactor = Reactor::new().unwrap();
    let (here, _there) = busy_pair();
    reactor
        .register(here.as_raw_fd(), Token(1), Interest::READABLE)
        .unwrap();
    assert!(look(&reactor)[0].readable());

    reactor
        .reregister(here.as_raw_fd(), Token(2), Interest::WRITABLE)
        .unwrap();
    let events = look(&reactor);
    assert_eq!(tokens(&events), [2]);
    assert!(events[0].writable() && !events[0].readable());

    reactor
        .reregister(here.as_raw_fd(), Token(3), Interest::NONE)
        .unwrap();
    assert!(look(&reactor).is_empty());
}

#[test]
fn deregistered_descriptor_is_not_reported() {
    let reactor = Reactor::new().unwrap();
    let (here, _there) = busy_pair();
    reactor
        .register(here.as_raw_fd(), Token(1), Interest::READABLE)
        .unwrap();
    reactor.deregister(here.as_raw_fd()).unwrap();
    assert!(look(&reactor).is_empty());
    assert_eq!(
        errno(reactor.deregister(here.as_raw_fd())),
        Some(Errno::NOENT)
    );
}

#[test]
fn descriptor_can_be_registered_again_after_deregistering() {
    let reactor = Reactor::new().unwrap();
    let (here, _there) = busy_pair();
    for token in 0..3 {
        reactor
            .register(here.as_raw_fd(), Token(token), Interest::READABLE)
            .unwrap();
        assert_eq!(tokens(&look(&reactor)), [token]);
        reactor.deregister(here.as_raw_fd()).unwrap();
    }
}

#[test]
fn closed_descriptor_vanishes() {
    let reactor = Reactor::new().unwrap();
    let (here, _there) = busy_pair();
    reactor
        .register(here.as_raw_fd(), Token(1), Interest::READABLE)
        .unwrap();
    assert_eq!(tokens(&look(&reactor)), [1]);
    drop(here);
    assert!(look(&reactor).is_empty());
}

#[test]
fn descriptors_that_are_not_open_are_refused() {
    let reactor = Reactor::new().unwrap();
    // The greatest number is beyond every limit on open descriptors: nobody can be given it meanwhile.
    for fd in [-1, i32::MIN, i32::MAX] {
        assert_eq!(
            errno(reactor.register(fd, Token(1), Interest::READABLE)),
            Some(Errno::BADF)
        );
        assert_eq!(
            errno(reactor.reregister(fd, Token(1), Interest::READABLE)),
            Some(Errno::BADF)
        );
        assert_eq!(errno(reactor.deregister(fd)), Some(Errno::BADF));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn epoll_refuses_regular_files_duplicates_and_strangers() {
    let reactor = Reactor::new().unwrap();
    let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
    let refused = reactor.register(file.as_raw_fd(), Token(1), Interest::READABLE);
    assert_eq!(errno(refused), Some(Errno::PERM));

    let (here, _there) = busy_pair();
    let stranger = reactor.reregister(here.as_raw_fd(), Token(1), Interest::READABLE);
    assert_eq!(errno(stranger), Some(Errno::NOENT));
    reactor
        .register(here.as_raw_fd(), Token(1), Interest::READABLE)
        .unwrap();
    let duplicate = reactor.register(here.as_raw_fd(), Token(2), Interest::READABLE);
    assert_eq!(errno(duplicate), Some(Errno::EXIST));
    assert_eq!(
        tokens(&look(&reactor)),
        [1],
        "a refused change changes nothing"
    );
}

#[test]
fn reserved_tokens_are_refused_and_their_neighbour_is_not() {
    let reactor = Reactor::new().unwrap();
    let (here, _there) = busy_pair();
    let fd = here.as_raw_fd();
    for token in [Token(u64::MAX), Token(u64::MAX - 1)] {
        let refused = reactor.register(fd, token, Interest::READABLE).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    }
    reactor
        .register(fd, Token(u64::MAX - 2), Interest::READABLE)
        .unwrap();
    let refused = reactor
        .reregister(fd, Token(u64::MAX), Interest::READABLE)
        .unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    assert_eq!(tokens(&look(&reactor)), [u64::MAX - 2]);
}

#[test]
fn registration_from_another_thread_reaches_a_poll_under_way() {
    let reactor = std::sync::Arc::new(Reactor::new().unwrap());
    let (here, _there) = busy_pair();
    let fd = here.into_raw_fd(); // stays open for the rest of the process
    let other = std::sync::Arc::clone(&reactor);
    let worker = std::thread::spawn(move || other.register(fd, Token(5), Interest::READABLE));
    assert_eq!(tokens(&within_bound(move || poll(&reactor))), [5]);
    worker.join().unwrap().unwrap();
}
