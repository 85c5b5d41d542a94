//! The descriptors that a reactor opens: closed in new programs, harmless in a fork, and given back.
#![cfg(target_os = "linux")]
#![expect(unsafe_code, reason = "fork")]
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod common;

use std::{
    collections::BTreeSet,
    os::{
        fd::{AsRawFd, BorrowedFd, RawFd},
        unix::net::UnixStream,
    },
    sync::Mutex,
};

use common::{METHODS, look, poll, tokens};
use reactor::{Interest, Reactor, Token};

/// Held by every test: they count what is open in the process.
static ALONE: Mutex<()> = Mutex::new(());

fn open_descriptors() -> BTreeSet<RawFd> {
    let listing = std::fs::read_dir("/proc/self/fd").unwrap();
    let mut open: BTreeSet<RawFd> = listing
        .map(|entry| {
            entry
                .unwrap()
                .file_name()
                .to_str()
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect();
    // The listing's own descriptor is closed by now.
    open.retain(|fd| std::fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_ok());
    open
}

#[test]
fn every_descriptor_is_close_on_exec() {
    let _alone = ALONE.lock().unwrap();
    for method in METHODS {
        let before = open_descriptors();
        let reactor = Reactor::with_timeout_method(method).unwrap();
        let _waker = reactor.waker();
        let opened: Vec<RawFd> = open_descriptors().difference(&before).copied().collect();
        assert_eq!(opened.len(), 3, "epoll, eventfd, timerfd");
        for fd in opened {
            // SAFETY: open as long as the reactor is.
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };
            let flags = rustix::io::fcntl_getfd(fd).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        }
    }
}

#[test]
fn dropped_reactors_leave_nothing_open() {
    let _alone = ALONE.lock().unwrap();
    let before = open_descriptors();
    for _ in 0..1000 {
        let reactor = Reactor::new().unwrap();
        let waker = reactor.waker();
        waker.wake().unwrap();
        look(&reactor);
    }
    assert_eq!(open_descriptors(), before);
}

/// What the child of a fork does; the result becomes its exit status.
fn rebuild_in_child(inherited: Reactor, fd: RawFd) -> Result<(), u8> {
    if !inherited.is_inherited() {
        return Err(1);
    }
    drop(inherited);
    let own = Reactor::new().map_err(|_| 2)?;
    if own.is_inherited() {
        return Err(3);
    }
    own.register(fd, Token(2), Interest::WRITABLE)
        .map_err(|_| 4)?;
    if tokens(&poll(&own)) != [2] {
        Err(5)
    } else {
        Ok(())
    }
}

#[test]
fn child_of_a_fork_builds_its_own_and_the_parent_notices_nothing() {
    let _alone = ALONE.lock().unwrap();
    let reactor = Reactor::new().unwrap();
    let (here, _there) = UnixStream::pair().unwrap();
    reactor
        .register(here.as_raw_fd(), Token(1), Interest::WRITABLE)
        .unwrap();

    // SAFETY: the other threads of this process only wait for a lock that the child does not take.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let status = rebuild_in_child(reactor, here.as_raw_fd())
            .err()
            .unwrap_or(0);
        // SAFETY: ends the child without running what belongs to the parent.
        unsafe { libc::_exit(status.into()) };
    }
    assert!(child > 0);
    let mut status = -1;
    // SAFETY: `status` lives through the call.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "wait status of the child");
    assert!(!reactor.is_inherited());
    assert_eq!(
        tokens(&look(&reactor)),
        [1],
        "the registration is still there"
    );
}
