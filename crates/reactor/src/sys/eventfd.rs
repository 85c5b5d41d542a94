//! The wake-up descriptor on Linux: an eventfd, registered edge-triggered.
//!
//! Edge-triggered, because then every write announces itself and nothing has to be read: a wake-up
//! costs the polling thread no system call. The counter only grows, and would refuse a write after
//! 2^64 - 2 of them; [`WakeSource::wake`] resets it then, so that not even that loses a wake-up.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use rustix::{
    event::{EventfdFlags, eventfd},
    io::Errno,
};

use super::epoll::Selector;

/// An eventfd that the epoll set watches.
#[derive(Debug)]
pub(crate) struct WakeSource {
    fd: OwnedFd,
}

impl WakeSource {
    pub(crate) fn new(selector: &Selector) -> io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        selector.register_waker(fd.as_raw_fd())?;
        Ok(Self { fd })
    }

    #[inline]
    pub(crate) fn wake(&self) -> io::Result<()> {
        match self.add(1) {
            Err(Errno::AGAIN) => {
                // The reset may find that another thread was faster; either way there is room again.
                let _ = rustix::io::read(self.fd.as_fd(), &mut [0; 8]); // nothing to read is as good
                Ok(self.add(1)?)
            }
            result => Ok(result?),
        }
    }

    /// Does nothing: see the module's header.
    pub(crate) fn consume(&self) -> io::Result<()> {
        Ok(())
    }

    /// Adds to the counter, which is what makes a new edge.
    fn add(&self, count: u64) -> Result<(), Errno> {
        loop {
            match rustix::io::write(self.fd.as_fd(), &count.to_ne_bytes()) {
                Ok(_) => return Ok(()), // an eventfd takes all eight bytes or none
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{reactor::TimeoutMethod, sys::EventBuffer};

    #[test]
    fn full_counter_loses_no_wake_up() {
        let selector = Selector::new(TimeoutMethod::default()).expect("an epoll set");
        let source = WakeSource::new(&selector).expect("an eventfd");
        let mut buffer = EventBuffer::with_capacity(4);
        source
            .add(u64::MAX - 1)
            .expect("an empty counter takes the greatest value");
        assert!(
            selector
                .wait(&mut buffer, Some(Duration::from_secs(10)))
                .expect("the first edge")
        );
        assert_eq!(source.add(1), Err(Errno::AGAIN), "the counter is full");

        source.wake().expect("a full counter is no error");
        assert!(
            selector
                .wait(&mut buffer, Some(Duration::from_secs(10)))
                .expect("another edge")
        );
    }
}
