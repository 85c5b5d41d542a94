//! A timer in the epoll set that, unlike epoll's own time-out, has no slack.
//!
//! Registered edge-triggered: an expiry announces itself once, and nothing has to be read.
//! One thread uses it at a time: whoever is polling.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    time::{Duration, Instant},
};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// A setting this near to the wanted deadline is left as it is.
///
/// Callers give time-outs, not deadlines: the same deadline, polled for again, differs by the time from
/// the caller's clock reading to ours. Less than what waking a thread varies by.
const TOLERANCE: Duration = Duration::from_micros(2);

/// A one-shot timer. Its clock is the one behind [`Instant`].
#[derive(Debug)]
pub(super) struct Timer {
    fd: OwnedFd,
    /// When the timer will make its epoll event, if it has not been taken from the set yet.
    due: Option<Instant>,
}

impl Timer {
    pub(super) fn new() -> io::Result<Self> {
        let fd = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        Ok(Self { fd, due: None })
    }

    pub(super) fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Makes the timer expire at `deadline`, which lies `remaining` ahead.
    pub(super) fn arm(&mut self, deadline: Instant, remaining: Duration) -> io::Result<()> {
        if let Some(due) = self.due
            && due.saturating_duration_since(deadline) <= TOLERANCE
            && deadline.saturating_duration_since(due) <= TOLERANCE
        {
            return Ok(());
        }
        // A setting of zero would disarm the timer.
        self.set(remaining.max(Duration::from_nanos(1)))?;
        self.due = Some(deadline);
        Ok(())
    }

    /// Makes sure that the timer does not expire any more.
    pub(super) fn disarm(&mut self) -> io::Result<()> {
        if self.due.is_some() {
            self.set(Duration::ZERO)?;
            self.due = None;
        }
        Ok(())
    }

    /// Notes that the event of the last setting was taken from the epoll set.
    pub(super) fn expired(&mut self) {
        self.due = None;
    }

    fn set(&self, value: Duration) -> io::Result<()> {
        let setting = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: Timespec {
                tv_sec: i64::try_from(value.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: value.subsec_nanos().into(),
            },
        };
        timerfd_settime(self.fd.as_fd(), TimerfdTimerFlags::empty(), &setting)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn left(timer: &Timer) -> Duration {
        let setting = rustix::time::timerfd_gettime(timer.fd.as_fd()).expect("a timerfd tells");
        let seconds = setting.it_value.tv_sec.cast_unsigned();
        Duration::from_secs(seconds)
            + Duration::from_nanos(setting.it_value.tv_nsec.cast_unsigned())
    }

    #[test]
    fn nearly_the_same_deadline_is_not_set_again() {
        let mut timer = Timer::new().expect("a timerfd");
        let deadline = Instant::now() + HOUR;
        timer.arm(deadline, HOUR).expect("armed");
        // The second time is a lie, which would show if it had been set.
        timer.arm(deadline + TOLERANCE, 2 * HOUR).expect("armed");
        assert!(left(&timer) <= HOUR);
        timer
            .arm(deadline + 2 * TOLERANCE, 2 * HOUR)
            .expect("armed");
        assert!(left(&timer) > HOUR);
    }

    /// Otherwise a timer that fired within the tolerance before its deadline would never fire again.
    #[test]
    fn expired_timer_is_set_again_for_the_same_deadline() {
        let mut timer = Timer::new().expect("a timerfd");
        let deadline = Instant::now() + HOUR;
        timer.arm(deadline, HOUR).expect("armed");
        timer.expired();
        timer.arm(deadline, 2 * HOUR).expect("armed");
        assert!(left(&timer) > HOUR);
    }

    #[test]
    fn disarmed_timer_has_no_time_left() {
        let mut timer = Timer::new().expect("a timerfd");
        timer.arm(Instant::now() + HOUR, HOUR).expect("armed");
        timer.disarm().expect("disarmed");
        assert_eq!(left(&timer), Duration::ZERO);
    }
}
