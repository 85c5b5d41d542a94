//! macOS and the BSDs: kqueue.
//!
//! A registration is one filter per direction. Unlike epoll, kqueue keeps no record of a descriptor as
//! such: it cannot tell a first registration from a second, and reports each direction by itself.
//!
//! Compiled for macOS, but never run: untested.

#![expect(unsafe_code, reason = "kevent with raw descriptors")]

use std::{
    io,
    mem::ManuallyDrop,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    ptr,
    sync::{Mutex, TryLockError},
    time::{Duration, Instant},
};

use rustix::{
    buffer::spare_capacity,
    event::kqueue::{self, EventFilter, EventFlags},
    io::{Errno, FdFlags},
};

use crate::{event::Event, interest::Interest, reactor::TimeoutMethod, token::Token};

/// Room for the events of one wait.
pub(crate) struct EventBuffer {
    events: Vec<kqueue::Event>,
}

// SAFETY: the pointer that makes the system's events neither is a token in disguise, never followed.
unsafe impl Send for EventBuffer {}
// SAFETY: as above; and a shared buffer is only read.
unsafe impl Sync for EventBuffer {}

impl EventBuffer {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self {
            events: Vec::with_capacity(capacity),
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.events.capacity()
    }

    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    pub(crate) fn get(&self, index: usize) -> Option<Event> {
        let event = self.events.get(index)?;
        let filter = event.filter();
        // End of file in one direction says nothing of the other: a peer that only shut down its
        // sending side can still be written to.
        Some(Event {
            token: token_of(event),
            readable: matches!(filter, EventFilter::Read(_)),
            writable: matches!(filter, EventFilter::Write(_)),
            error: event.flags().contains(EventFlags::ERROR),
            hangup: event.flags().contains(EventFlags::EOF),
        })
    }

    pub(crate) fn clear(&mut self) {
        self.events.clear();
    }
}

/// A kqueue.
#[derive(Debug)]
pub(crate) struct Selector {
    /// Not closed in a forked child, see `Drop`.
    kqueue: ManuallyDrop<OwnedFd>,
    /// The process in which the kqueue exists.
    process: u32,
    /// Held by the polling thread for the length of its poll; nobody waits for it.
    polling: Mutex<()>,
}

impl Selector {
    pub(crate) fn new(_: TimeoutMethod) -> io::Result<Self> {
        let kqueue = kqueue::kqueue()?;
        rustix::io::fcntl_setfd(&kqueue, FdFlags::CLOEXEC)?;
        Ok(Self {
            kqueue: ManuallyDrop::new(kqueue),
            process: std::process::id(),
            polling: Mutex::new(()),
        })
    }

    pub(crate) fn register(&self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        let result = self.add(fd, token, interest);
        if result.is_err() {
            let _ = self.remove(fd, interest); // half a registration must not stay; the error told is the first
        }
        result
    }

    pub(crate) fn reregister(&self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        self.add(fd, token, interest)?;
        let unwanted = (Interest::READABLE | Interest::WRITABLE).without(interest);
        match self.remove(fd, unwanted) {
            Err(error) if is(&error, Errno::NOENT) => Ok(()),
            result => result,
        }
    }

    pub(crate) fn deregister(&self, fd: RawFd) -> io::Result<()> {
        let read = self.remove(fd, Interest::READABLE);
        let write = self.remove(fd, Interest::WRITABLE);
        // Either filter is a registration.
        match (read, write) {
            (Ok(()), Err(error)) | (Err(error), Ok(())) if is(&error, Errno::NOENT) => Ok(()),
            (read, write) => read.and(write),
        }
    }

    pub(super) fn register_waker(&self, fd: RawFd) -> io::Result<()> {
        self.add(fd, Token::WAKER, Interest::READABLE)
    }

    pub(crate) fn as_raw_fd(&self) -> RawFd {
        self.kqueue.as_raw_fd()
    }

    pub(crate) fn wait(
        &self,
        buffer: &mut EventBuffer,
        timeout: Option<Duration>,
    ) -> io::Result<bool> {
        let _polling = match self.polling.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::ResourceBusy.into()),
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        };
        // A deadline beyond what the clock can express is none.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut remaining = deadline.and(timeout);
        loop {
            let woken = self.wait_once(buffer, remaining)?;
            if woken || buffer.len() > 0 {
                return Ok(woken);
            }
            remaining = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if remaining == Some(Duration::ZERO) {
                return Ok(false);
            }
        }
    }

    fn wait_once(&self, buffer: &mut EventBuffer, timeout: Option<Duration>) -> io::Result<bool> {
        buffer.clear();
        // SAFETY: no descriptor is passed in.
        unsafe {
            kqueue::kevent(
                &*self.kqueue,
                &[],
                spare_capacity(&mut buffer.events),
                timeout,
            )?
        };
        let reported = buffer.len();
        buffer
            .events
            .retain(|event| token_of(event) != Token::WAKER);
        Ok(buffer.len() < reported)
    }

    fn add(&self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        let udata = udata_of(token)?;
        for filter in filters(fd, interest) {
            match self.change(filter, EventFlags::ADD, udata) {
                // macOS says so for a pipe whose other end is gone, but does add the filter, which
                // then reports the end of file.
                Err(Errno::PIPE) => {}
                result => result?,
            }
        }
        Ok(())
    }

    fn remove(&self, fd: RawFd, interest: Interest) -> io::Result<()> {
        for filter in filters(fd, interest) {
            self.change(filter, EventFlags::DELETE, 0)?;
        }
        Ok(())
    }

    fn change(&self, filter: EventFilter, flags: EventFlags, udata: usize) -> Result<(), Errno> {
        let change = kqueue::Event::new(filter, flags, ptr::without_provenance_mut(udata));
        loop {
            // SAFETY: the kernel looks the descriptor up, and forgets it when it is closed: nothing
            // depends on it staying open.
            let result = unsafe {
                kqueue::kevent(
                    &*self.kqueue,
                    &[change],
                    &mut [] as &mut [kqueue::Event],
                    Some(Duration::ZERO),
                )
            };
            match result {
                Err(Errno::INTR) => {}
                result => return result.map(drop),
            }
        }
    }
}

impl Drop for Selector {
    /// A kqueue does not exist in a forked child: there its number may by now be another descriptor.
    fn drop(&mut self) {
        if self.process == std::process::id() {
            // SAFETY: dropped here only, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.kqueue) };
        }
    }
}

fn filters(fd: RawFd, interest: Interest) -> impl Iterator<Item = EventFilter> {
    let read = interest.is_readable().then_some(EventFilter::Read(fd));
    let write = interest.is_writable().then_some(EventFilter::Write(fd));
    read.into_iter().chain(write)
}

/// The pointer that carries a token through the kernel; the waker has the greatest one.
fn udata_of(token: Token) -> io::Result<usize> {
    match (token, usize::try_from(token.0)) {
        (Token::WAKER, _) => Ok(usize::MAX),
        (_, Ok(udata)) if udata < usize::MAX => Ok(udata),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "token does not fit into a pointer",
        )),
    }
}

fn token_of(event: &kqueue::Event) -> Token {
    match event.udata().addr() {
        usize::MAX => Token::WAKER,
        udata => Token(udata as u64),
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}
