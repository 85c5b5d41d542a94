//! The reactor: registrations, and the wait for what they announce.
//!
//! Registering and waking are for any thread at any time, also while another one polls. Polling is for
//! one thread at a time. Which callbacks a token stands for, and in which order they run, is the
//! caller's business.

use std::{io, os::fd::RawFd, sync::Arc, time::Duration};

use crate::{event::Events, interest::Interest, sys, token::Token, waker::Waker};

/// How a reactor keeps its time-outs on Linux; elsewhere there is only one way and this is ignored.
///
/// Both are equally precise. Programs leave the choice to [`Reactor::new`]; it can be made by hand for
/// tests and benchmarks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TimeoutMethod {
    /// `epoll_pwait2`, shortened by the kernel's timer slack. Turns into `Timerfd` by itself where the
    /// kernel, a sandbox or an emulator does not have that call.
    #[default]
    Pwait2,
    /// `epoll_wait` without a time-out, and a timerfd in the epoll set.
    Timerfd,
}

/// Waits for readiness of registered descriptors.
///
/// Registrations are level-triggered: as long as a descriptor stays ready, every poll reports it.
///
/// Descriptors are plain integers, because asyncio's callers hand over integers; the reactor never
/// owns, reads or closes one. A closed descriptor disappears from the set by itself, but only once no
/// duplicate of it is left (`dup`, or a child process): who closes a registered descriptor deregisters
/// it first.
///
/// # After a fork
/// The child of a fork shares the parent's epoll set and wake-up descriptor: registering in the child
/// would change what the *parent* hears of, and waking would wake the parent. The child therefore
/// builds a new `Reactor`, registers afresh, and drops the old one, which takes nothing from the
/// parent. [`Reactor::is_inherited`] tells that this is due.
///
/// # Examples
/// ```
/// use std::{io::Write, os::{fd::AsRawFd, unix::net::UnixStream}, time::Duration};
/// use reactor::{Events, Interest, Reactor, Token};
///
/// # fn main() -> std::io::Result<()> {
/// let reactor = Reactor::new()?;
/// let (here, mut there) = UnixStream::pair()?;
/// reactor.register(here.as_raw_fd(), Token(7), Interest::READABLE)?;
/// there.write_all(b"hello")?;
///
/// let mut events = Events::with_capacity(64);
/// reactor.poll(&mut events, Some(Duration::from_secs(5)))?;
/// assert_eq!(events.get(0).map(|event| event.token()), Some(Token(7)));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Reactor {
    selector: sys::Selector,
    /// What wakers write. Shared with them, so that it outlives whichever side goes first.
    wake_source: Arc<sys::WakeSource>,
    /// The process that created the reactor; see [`Reactor::is_inherited`].
    process: u32,
}

impl Reactor {
    /// Creates a reactor with no registrations; every descriptor it opens is close-on-exec.
    ///
    /// # Errors
    /// Those of the system calls that open the descriptors; most likely that there are too many.
    pub fn new() -> io::Result<Self> {
        Self::with_timeout_method(TimeoutMethod::default())
    }

    /// Creates a reactor that keeps its time-outs in the given way.
    ///
    /// # Errors
    /// As [`Reactor::new`].
    pub fn with_timeout_method(method: TimeoutMethod) -> io::Result<Self> {
        let selector = sys::Selector::new(method)?;
        let wake_source = Arc::new(sys::WakeSource::new(&selector)?);
        Ok(Self {
            selector,
            wake_source,
            process: std::process::id(),
        })
    }

    /// Starts reporting `fd` under `token`. Other registrations may carry the same token.
    ///
    /// # Errors
    /// - `InvalidInput`: the token is one of the two that are reserved.
    /// - `EBADF`: `fd` is not open, or negative.
    /// - `EPERM`: `fd` is of a kind that is always ready, such as a regular file (epoll only).
    /// - `EEXIST`: `fd` is registered already (epoll only: kqueue replaces the registration).
    pub fn register(&self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        check_token(token)?;
        self.selector.register(fd, token, interest)
    }

    /// Replaces token and interest of a registration.
    ///
    /// # Errors
    /// As [`Reactor::register`], but `ENOENT` if `fd` is *not* registered (epoll only: kqueue registers it).
    pub fn reregister(&self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        check_token(token)?;
        self.selector.reregister(fd, token, interest)
    }

    /// Ends a registration. No later poll reports it; a buffer filled by an earlier poll may still hold it.
    ///
    /// # Errors
    /// - `EBADF`: `fd` is not open; if it was registered, that ended when it was closed.
    /// - `ENOENT`: `fd` is not registered.
    pub fn deregister(&self, fd: RawFd) -> io::Result<()> {
        self.selector.deregister(fd)
    }

    /// Waits until something is ready, a waker is used, or `timeout` has passed, and fills `events`.
    ///
    /// `None` waits without limit; zero only looks. With a time-out the poll does not return empty
    /// before it has passed by [`Instant`](std::time::Instant), except for a waker, whose own event
    /// is consumed and not reported. It may return later: by the time that the system takes to run the
    /// thread. The order of events is the system's; kqueue reports each direction as an event of its own.
    ///
    /// # Errors
    /// `events` is then empty.
    /// - `Interrupted`: a signal arrived. The poll does not go on by itself, because the caller has to
    ///   run its signal handlers first.
    /// - `ResourceBusy`: another thread is polling this reactor.
    pub fn poll(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        let woken = self.selector.wait(&mut events.buffer, timeout)?;
        if woken {
            self.wake_source.consume()?;
        }
        Ok(())
    }

    /// Returns a waker for this reactor; all of them are alike.
    #[must_use]
    pub fn waker(&self) -> Waker {
        Waker::new(Arc::clone(&self.wake_source))
    }

    /// The descriptor of the epoll or kqueue object, for embedding into another event loop.
    ///
    /// It is readable while a poll with a zero time-out would report or consume something. It says
    /// nothing of time-outs: these exist only while a poll is under way.
    #[must_use]
    pub fn as_raw_fd(&self) -> RawFd {
        self.selector.as_raw_fd()
    }

    /// Tells whether the reactor was created by another process, of which this one is a fork.
    ///
    /// Costs a system call: meant for the start of a run, not for every iteration.
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        self.process != std::process::id()
    }
}

fn check_token(token: Token) -> io::Result<()> {
    if token.is_reserved() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "token is reserved for the reactor",
        ));
    }
    Ok(())
}
