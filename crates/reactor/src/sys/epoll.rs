//! Linux: epoll, with time-outs that keep their nanoseconds.
//!
//! A plain epoll time-out comes late by the kernel's allowance (see `slack`). So the wait asks for that
//! much less than wanted; the kernel then usually ends it just when wanted, and if an interrupt happens
//! to end it within the allowance, a timerfd (which has none) covers the rest, at most a few times ten
//! microseconds for short time-outs. Where `epoll_pwait2` is missing the timerfd serves alone.
//!
//! Lateness p50/p99 in us, 2-core virtual machine, kernel 6.18, little else running, ways alternating in
//! one process; `benches/lateness.rs` repeats the comparison:
//!
//! | time-out | epoll_pwait2 as it is | shortened (chosen) | timerfd alone | epoll_wait (ms) |
//! |---|---|---|---|---|
//! | 0.3 ms | 60/117 | 10/80 | 12/83 | 765/859 |
//! | 1 ms | 72/104 | 22/57 | 24/61 | 70/102 |
//! | 5.5 ms | 90/3473 | 35/213 | 45/86 | 589/3188 |
//! | 20 ms | 100/3481 | 47/3764 | 52/85 | 97/3062 |
//! | 1.5 s | 1537 | 49 | 69 | 1557 |
//!
//! (A p99 of milliseconds is another process on the core: it met each way in one run or another.)
//! The timerfd is as precise, but costs another system call (0.34 us) for each new deadline: a poll that
//! ends at once for readiness took 1.0 us with moving deadlines where the timerfd took 1.65
//! (`benches/poll.rs`). The shortened wait needed a second wait in at most 2 of 100 cases. Lowering the
//! thread's timer slack instead would leak into the program's own waits, threads and children.

#![expect(
    unsafe_code,
    reason = "epoll with raw descriptors, and a call that old C libraries lack"
)]

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    ptr,
    sync::{Mutex, MutexGuard, TryLockError},
    time::{Duration, Instant},
};

use rustix::event::epoll;

use super::{slack, timerfd::Timer};
use crate::{event::Event, interest::Interest, reactor::TimeoutMethod, token::Token};

const IN: u32 = libc::EPOLLIN as u32;
const OUT: u32 = libc::EPOLLOUT as u32;
const ERR: u32 = libc::EPOLLERR as u32;
const HUP: u32 = libc::EPOLLHUP as u32;
const EDGE: u32 = libc::EPOLLET as u32;

/// Room for the events of one wait.
pub(crate) struct EventBuffer {
    events: Vec<libc::epoll_event>,
}

impl EventBuffer {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self {
            events: Vec::with_capacity(capacity),
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.events.capacity()
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<Event> {
        let libc::epoll_event { events, u64: token } = *self.events.get(index)?;
        Some(Event {
            token: Token(token),
            readable: events & !OUT != 0,
            writable: events & !IN != 0,
            error: events & ERR != 0,
            hangup: events & HUP != 0,
        })
    }

    pub(crate) fn clear(&mut self) {
        self.events.clear();
    }

    /// Where and how many events a system call may write. Negative counts never arise.
    fn space(&mut self) -> (*mut libc::epoll_event, libc::c_int) {
        self.events.clear();
        let count = libc::c_int::try_from(self.events.capacity()).unwrap_or(libc::c_int::MAX);
        (self.events.as_mut_ptr(), count)
    }

    /// Takes over what a wait wrote into [`EventBuffer::space`] and returned.
    fn filled(&mut self, returned: libc::c_long) -> io::Result<()> {
        let count = usize::try_from(returned).map_err(|_| io::Error::last_os_error())?;
        assert!(
            count <= self.events.capacity(),
            "the kernel reports no more than it was given room for"
        );
        // SAFETY: the wait wrote the first `count` elements of the buffer, which holds as many.
        unsafe { self.events.set_len(count) };
        Ok(())
    }

    /// Takes out the reactor's own events.
    fn remove_own(&mut self) -> Own {
        let mut own = Own::default();
        // One pass that mostly finds nothing is cheaper than `retain`, which moves as it goes.
        if self
            .events
            .iter()
            .any(|event| Token(event.u64).is_reserved())
        {
            self.events.retain(|event| {
                let token = Token(event.u64);
                own.waker |= token == Token::WAKER;
                own.timer |= token == Token::TIMER;
                !token.is_reserved()
            });
        }
        own
    }
}

/// Which of the reactor's own descriptors a wait reported.
#[derive(Clone, Copy, Default)]
struct Own {
    waker: bool,
    timer: bool,
}

/// What the polling thread needs to keep a time-out.
#[derive(Debug)]
struct Clockwork {
    method: TimeoutMethod,
    /// Opened at once and not at first use: a poll must not fail because descriptors have run out.
    timer: Timer,
}

/// An epoll set.
#[derive(Debug)]
pub(crate) struct Selector {
    epoll: OwnedFd,
    /// Held by the polling thread for the length of its poll; nobody waits for it.
    clockwork: Mutex<Clockwork>,
}

impl Selector {
    pub(crate) fn new(method: TimeoutMethod) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let timer = Timer::new()?;
        control(
            &epoll,
            libc::EPOLL_CTL_ADD,
            timer.as_raw_fd(),
            Token::TIMER,
            IN | EDGE,
        )?;
        Ok(Self {
            epoll,
            clockwork: Mutex::new(Clockwork { method, timer }),
        })
    }

    pub(crate) fn register(&self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        control(&self.epoll, libc::EPOLL_CTL_ADD, fd, token, bits(interest))
    }

    pub(crate) fn reregister(&self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        control(&self.epoll, libc::EPOLL_CTL_MOD, fd, token, bits(interest))
    }

    pub(crate) fn deregister(&self, fd: RawFd) -> io::Result<()> {
        control(&self.epoll, libc::EPOLL_CTL_DEL, fd, Token(0), 0)
    }

    pub(super) fn register_waker(&self, fd: RawFd) -> io::Result<()> {
        control(
            &self.epoll,
            libc::EPOLL_CTL_ADD,
            fd,
            Token::WAKER,
            IN | EDGE,
        )
    }

    pub(crate) fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }

    pub(crate) fn wait(
        &self,
        buffer: &mut EventBuffer,
        timeout: Option<Duration>,
    ) -> io::Result<bool> {
        let mut clockwork = self.clockwork()?;
        match timeout {
            Some(Duration::ZERO) => self.look(&mut clockwork, buffer),
            // A deadline beyond what the clock can express is none.
            Some(timeout) => match Instant::now().checked_add(timeout) {
                Some(deadline) => self.wait_until(&mut clockwork, buffer, deadline, timeout),
                None => self.wait_forever(&mut clockwork, buffer),
            },
            None => self.wait_forever(&mut clockwork, buffer),
        }
    }

    fn clockwork(&self) -> io::Result<MutexGuard<'_, Clockwork>> {
        match self.clockwork.try_lock() {
            Ok(guard) => Ok(guard),
            // It holds no half-made state: a panic in an earlier poll is no reason to stop polling.
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::ResourceBusy.into()),
        }
    }

    fn look(&self, clockwork: &mut Clockwork, buffer: &mut EventBuffer) -> io::Result<bool> {
        // The older call takes half the time of epoll_pwait2 (97 against 193 ns) and a zero needs no more.
        self.wait_millis(buffer, 0)?;
        Ok(clockwork.take_own(buffer).waker)
    }

    fn wait_forever(
        &self,
        clockwork: &mut Clockwork,
        buffer: &mut EventBuffer,
    ) -> io::Result<bool> {
        clockwork.timer.disarm()?;
        loop {
            self.wait_millis(buffer, -1)?;
            let own = clockwork.take_own(buffer);
            if own.waker || buffer.len() > 0 {
                return Ok(own.waker);
            }
        }
    }

    fn wait_until(
        &self,
        clockwork: &mut Clockwork,
        buffer: &mut EventBuffer,
        deadline: Instant,
        timeout: Duration,
    ) -> io::Result<bool> {
        let mut remaining = timeout;
        loop {
            self.wait_about(clockwork, buffer, deadline, remaining)?;
            let own = clockwork.take_own(buffer);
            if own.waker || buffer.len() > 0 {
                return Ok(own.waker);
            }
            remaining = deadline.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                return Ok(false);
            }
        }
    }

    /// Waits once, until `remaining` has passed or somewhat less.
    fn wait_about(
        &self,
        clockwork: &mut Clockwork,
        buffer: &mut EventBuffer,
        deadline: Instant,
        remaining: Duration,
    ) -> io::Result<()> {
        if clockwork.method == TimeoutMethod::Pwait2 {
            let sure = remaining.saturating_sub(slack::of(remaining));
            if !sure.is_zero() {
                match self.wait_nanos(buffer, sure) {
                    Err(error) if is_missing(&error) => clockwork.method = TimeoutMethod::Timerfd,
                    result => return result,
                }
            }
        }
        clockwork.timer.arm(deadline, remaining)?;
        self.wait_millis(buffer, -1)
    }

    fn wait_millis(&self, buffer: &mut EventBuffer, millis: libc::c_int) -> io::Result<()> {
        let (events, count) = buffer.space();
        // SAFETY: `events` has room for `count` elements, which nothing else refers to meanwhile.
        let returned = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events, count, millis) };
        buffer.filled(returned.into())
    }

    fn wait_nanos(&self, buffer: &mut EventBuffer, timeout: Duration) -> io::Result<()> {
        let (events, count) = buffer.space();
        let timeout = KernelTimespec {
            seconds: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            nanoseconds: timeout.subsec_nanos().into(),
        };
        let no_mask = ptr::null::<libc::sigset_t>();
        // By number: the function of this name came with glibc 2.35, and pyloop runs from 2.17 on.
        // SAFETY: `events` has room for `count` elements, which nothing else refers to meanwhile;
        // `timeout` has the kernel's layout; with a null mask its size is not looked at.
        let returned = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.as_raw_fd(),
                events,
                count,
                &raw const timeout,
                no_mask,
                0_usize,
            )
        };
        buffer.filled(returned)
    }
}

impl Clockwork {
    /// Takes the reactor's own events out of the buffer.
    fn take_own(&mut self, buffer: &mut EventBuffer) -> Own {
        let own = buffer.remove_own();
        if own.timer {
            self.timer.expired();
        }
        own
    }
}

/// The time-out of `epoll_pwait2`: 64 bits each, also where the C library's `timespec` has 32.
#[repr(C)]
struct KernelTimespec {
    seconds: i64,
    nanoseconds: i64,
}

/// Whether the error says that there is no such system call.
///
/// Kernels and emulators say `ENOSYS`; sandboxes that were written before the call existed say `EPERM`,
/// which `epoll_pwait2` itself never does.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM))
}

fn bits(interest: Interest) -> u32 {
    let read = if interest.is_readable() { IN } else { 0 };
    let write = if interest.is_writable() { OUT } else { 0 };
    read | write
}

fn control(
    epoll: &OwnedFd,
    operation: libc::c_int,
    fd: RawFd,
    token: Token,
    events: u32,
) -> io::Result<()> {
    let mut event = libc::epoll_event {
        events,
        u64: token.0,
    };
    // SAFETY: `event` lives through the call. Any integer may be passed as `fd`: the kernel looks it up,
    // and a registration does not touch what the descriptor refers to.
    let returned = unsafe { libc::epoll_ctl(epoll.as_raw_fd(), operation, fd, &raw mut event) };
    if returned == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
