//! The wake-up descriptor where there is no eventfd: a pipe.
//!
//! Not a kqueue user event, although that needs no descriptor: `kevent` is not among the calls that
//! POSIX allows in a signal handler, while `write` is; and a waker that outlives its reactor would
//! have to keep the whole kqueue alive.
//!
//! Compiled for macOS, but never run: untested.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use rustix::io::{Errno, FdFlags};

use super::kqueue::Selector;

/// A pipe whose reading end the kqueue watches.
#[derive(Debug)]
pub(crate) struct WakeSource {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl WakeSource {
    pub(crate) fn new(selector: &Selector) -> io::Result<Self> {
        let (reader, writer) = rustix::pipe::pipe()?;
        for end in [&reader, &writer] {
            rustix::io::fcntl_setfd(end, FdFlags::CLOEXEC)?;
            rustix::io::ioctl_fionbio(end, true)?;
        }
        selector.register_waker(reader.as_raw_fd())?;
        Ok(Self { reader, writer })
    }

    #[inline]
    pub(crate) fn wake(&self) -> io::Result<()> {
        loop {
            match rustix::io::write(&self.writer, &[1]) {
                // A full pipe is readable, which is all that a wake-up is.
                Ok(_) | Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Empties the pipe.
    pub(crate) fn consume(&self) -> io::Result<()> {
        let mut bytes = [0; 1024];
        loop {
            match rustix::io::read(&self.reader, &mut bytes) {
                // A byte that arrives after a short read makes the next poll return: late, not lost.
                Ok(count) if count < bytes.len() => return Ok(()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
