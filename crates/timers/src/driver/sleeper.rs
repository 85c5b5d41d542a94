//! Sleeping until a deadline: exactly on Linux, to the next millisecond elsewhere.

#[cfg(target_os = "linux")]
pub(super) use linux::Sleeper;
#[cfg(not(target_os = "linux"))]
pub(super) use portable::Sleeper;

/// A timerfd in tokio's reactor. Tokio's own timer counts in milliseconds and would add up to one to every
/// deadline; a timerfd is exact and not subject to the timer slack of the thread (50 us by default).
#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::os::fd::OwnedFd;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    use crate::clock::NANOS_PER_SECOND;
    use crate::node::Deadline;

    #[derive(Debug)]
    pub(in crate::driver) struct Sleeper {
        timer: AsyncFd<OwnedFd>,
    }

    impl Sleeper {
        /// To be called within a tokio runtime.
        // `allow` and not `expect`: tokio before 1.54 does not know the unsafe successor yet.
        #[allow(
            deprecated,
            reason = "its successor is unsafe, for descriptors that close while registered; an `OwnedFd` does not"
        )]
        pub(in crate::driver) fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            Ok(Self {
                timer: AsyncFd::with_interest(timer, Interest::READABLE)?,
            })
        }

        /// Returns at `deadline` or, for a reason of the system's, before it: the caller looks at the clock.
        pub(in crate::driver) async fn until(&mut self, deadline: Deadline) {
            if self.set(deadline).is_err() {
                // Cannot happen to a valid descriptor and value; if it does, being late is the lesser evil.
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                return;
            }
            loop {
                let Ok(mut guard) = self.timer.readable().await else {
                    return; // The runtime is shutting down.
                };
                // Setting the timer has cleared what it had counted before: readiness that is left over from an
                // earlier deadline reads as "would block", and is forgotten by `try_io`.
                let read =
                    guard.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut [0_u8; 8])?));
                if read.is_ok() {
                    return;
                }
            }
        }

        fn set(&self, deadline: Deadline) -> io::Result<()> {
            // Zero would disarm the timer. Values beyond what the kernel can count are cut to its maximum there.
            let deadline = deadline.max(1);
            let spec = Itimerspec {
                it_interval: Timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                },
                it_value: Timespec {
                    tv_sec: (deadline / NANOS_PER_SECOND) as _,
                    tv_nsec: (deadline % NANOS_PER_SECOND) as _,
                },
            };
            timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::ABSTIME, &spec)?;
            Ok(())
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod portable {
    use std::io;
    use std::time::Duration;

    use crate::clock;
    use crate::node::Deadline;

    #[derive(Debug)]
    pub(in crate::driver) struct Sleeper;

    impl Sleeper {
        pub(in crate::driver) fn new() -> io::Result<Self> {
            Ok(Self)
        }

        /// Returns at `deadline` or up to a millisecond after it.
        pub(in crate::driver) async fn until(&mut self, deadline: Deadline) {
            tokio::time::sleep(Duration::from_nanos(deadline.saturating_sub(clock::now()))).await;
        }
    }
}
