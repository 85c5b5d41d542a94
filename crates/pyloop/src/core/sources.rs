//! Which descriptor belongs to which watcher, transport or listener.
//!
//! The table is indexed by descriptor, as small integers are what descriptors are. A token carries the descriptor and
//! the generation of its entry: an event that was collected before an entry was removed, and its descriptor's number
//! given to a new one, finds a generation that has moved on, and is dropped.

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyWeakrefReference;
use reactor::{Interest, Reactor, Token};

use crate::py::handle::Handle;
use crate::sys::socket::bad_descriptor;

/// What a descriptor's readiness means.
#[derive(Debug)]
pub(crate) enum Source {
    /// Callbacks of `add_reader` and `add_writer`, and `sock_*` operations that wait.
    Watcher {
        reader: Option<Watch>,
        writer: Option<Watch>,
    },
    /// A stream transport.
    Stream(Py<PyAny>),
    /// A datagram transport.
    Datagram(Py<PyAny>),
    /// A transport that waits for nothing (reading is paused, all is sent); the application keeps it alive.
    Idle {
        transport: Py<PyWeakrefReference>,
        address: usize,
    },
    /// A listening socket.
    Listener(Py<crate::transport::Listener>),
}

/// Who hears of one direction of a watched descriptor.
#[derive(Debug)]
pub(crate) enum Watch {
    /// A callback, every time.
    Callback(Handle),
    /// An `asyncio.Future`, once.
    Once(Py<PyAny>),
}

impl Watch {
    /// Cancels a callback; a future is only let go of, as the selector of asyncio's loop would do.
    pub(super) fn cancel(self, py: Python<'_>) -> PyResult<()> {
        match self {
            Self::Callback(handle) => handle.cancel(py),
            Self::Once(_) => Ok(()),
        }
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Callback(handle) => handle.visit(visit),
            Self::Once(future) => visit.call(future),
        }
    }
}

impl Source {
    /// The source of a transport that waits for nothing.
    pub(crate) fn idle(transport: &Bound<'_, PyAny>) -> PyResult<Self> {
        let weak = PyWeakrefReference::new(transport)?.unbind();
        Ok(Self::Idle {
            transport: weak,
            address: transport.as_ptr() as usize,
        })
    }

    /// Whether this is the source of `transport`. (An idle one that dies takes its row out of the table.)
    pub(crate) fn is_stream(&self, transport: &Bound<'_, PyAny>) -> bool {
        match self {
            Self::Stream(own) | Self::Datagram(own) => own.is(transport),
            Self::Idle { address, .. } => *address == transport.as_ptr() as usize,
            _ => false,
        }
    }

    /// Cancels what a watcher had; a transport or listener is only let go of.
    pub(super) fn cancel(self, py: Python<'_>) -> PyResult<()> {
        if let Self::Watcher { reader, writer } = self {
            let cancel = |watch: Option<Watch>| watch.map_or(Ok(()), |watch| watch.cancel(py));
            return cancel(reader).and(cancel(writer));
        }
        Ok(())
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Watcher { reader, writer } => {
                for watch in [reader, writer].into_iter().flatten() {
                    watch.visit(visit)?;
                }
                Ok(())
            }
            Self::Stream(transport) | Self::Datagram(transport) => visit.call(transport),
            Self::Idle { transport, .. } => visit.call(transport),
            Self::Listener(listener) => visit.call(listener),
        }
    }
}

/// One row of the table.
#[derive(Debug)]
struct Entry {
    /// Counts what has occupied this row.
    generation: u32,
    /// What the reactor watches for.
    interest: Interest,
    source: Option<Source>,
}

/// All descriptors that a loop watches.
pub(crate) struct Sources {
    /// `None` once the loop is closed.
    reactor: Option<Arc<Reactor>>,
    rows: Vec<Entry>,
}

impl Sources {
    pub(super) const fn new(reactor: Arc<Reactor>) -> Self {
        Self {
            reactor: Some(reactor),
            rows: Vec::new(),
        }
    }

    /// The reactor, for a poll.
    ///
    /// # Errors
    /// `EBADF` if the loop is closed.
    pub(super) fn reactor(&self) -> io::Result<Arc<Reactor>> {
        self.reactor.clone().ok_or_else(bad_descriptor)
    }

    pub(crate) fn get(&self, fd: RawFd) -> Option<&Source> {
        self.row(fd)?.source.as_ref()
    }

    pub(crate) fn get_mut(&mut self, fd: RawFd) -> Option<&mut Source> {
        self.rows
            .get_mut(usize::try_from(fd).ok()?)?
            .source
            .as_mut()
    }

    /// What the reactor watches `fd` for.
    pub(crate) fn interest(&self, fd: RawFd) -> Interest {
        self.row(fd).map_or(Interest::NONE, |row| row.interest)
    }

    /// The source that an event belongs to, with its descriptor; `None` for an event that came too late.
    #[inline]
    pub(crate) fn resolve(&self, token: Token) -> Option<(RawFd, &Source)> {
        let fd = token.0 as u32;
        let row = self.rows.get(fd as usize)?;
        if row.generation != (token.0 >> 32) as u32 {
            return None;
        }
        Some((fd as RawFd, row.source.as_ref()?))
    }

    /// Begins to watch `fd` for `source`. What was there before is returned.
    ///
    /// # Errors
    /// What the reactor says to the descriptor; the table is then as it was.
    pub(crate) fn insert(
        &mut self,
        fd: RawFd,
        interest: Interest,
        source: Source,
    ) -> io::Result<Option<Source>> {
        let reactor = self.reactor()?;
        let index = usize::try_from(fd).map_err(|_| bad_descriptor())?;
        let generation = self
            .rows
            .get(index)
            .map_or(0, |row| row.generation.wrapping_add(1));
        let token = Token(u64::from(generation) << 32 | index as u64);
        // The reactor goes first: it refuses absurd numbers before the table grows to them.
        if !interest.is_empty() {
            match reactor.register(fd, token, interest) {
                // The number was watched before, and its row says for what: it was closed behind the loop's back.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    reactor.reregister(fd, token, interest)?;
                }
                other => other?,
            }
        }
        if index >= self.rows.len() {
            self.rows.resize_with(index + 1, || Entry {
                generation: 0,
                interest: Interest::NONE,
                source: None,
            });
        }
        let row = &mut self.rows[index];
        row.generation = generation;
        row.interest = interest;
        Ok(row.source.replace(source))
    }

    /// Changes what `fd` is watched for; its source stays.
    ///
    /// # Errors
    /// What the reactor says; the table is then as it was.
    pub(crate) fn set_interest(&mut self, fd: RawFd, interest: Interest) -> io::Result<()> {
        let reactor = self.reactor()?;
        let Some(row) = usize::try_from(fd)
            .ok()
            .and_then(|index| self.rows.get_mut(index))
        else {
            return Err(bad_descriptor());
        };
        if row.interest == interest {
            return Ok(());
        }
        let token = Token(u64::from(row.generation) << 32 | fd as u64);
        if interest.is_empty() {
            forgive_absent(reactor.deregister(fd))?;
        } else if row.interest.is_empty() {
            reactor.register(fd, token, interest)?;
        } else {
            match reactor.reregister(fd, token, interest) {
                // Closed and opened again under the same number: the kernel has forgotten it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    reactor.register(fd, token, interest)?;
                }
                other => other?,
            }
        }
        row.interest = interest;
        Ok(())
    }

    /// Exchanges the source of a row; what it is watched for stays.
    pub(crate) fn replace(&mut self, fd: RawFd, source: Source) -> Option<Source> {
        self.rows
            .get_mut(usize::try_from(fd).ok()?)?
            .source
            .replace(source)
    }

    /// Stops watching `fd`; returns its source.
    pub(crate) fn remove(&mut self, fd: RawFd) -> Option<Source> {
        let row = self.rows.get_mut(usize::try_from(fd).ok()?)?;
        let source = row.source.take()?;
        if let Some(reactor) = &self.reactor
            && !row.interest.is_empty()
        {
            // A descriptor that was closed first is gone from the kernel's set already.
            let _ = reactor.deregister(fd);
        }
        row.interest = Interest::NONE;
        row.generation = row.generation.wrapping_add(1);
        Some(source)
    }

    /// Everything, for closing the loop; the reactor is closed with it.
    pub(super) fn take_all(&mut self) -> Vec<Source> {
        self.reactor = None;
        std::mem::take(&mut self.rows)
            .into_iter()
            .filter_map(|row| row.source)
            .collect()
    }

    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.rows
            .iter()
            .filter_map(|row| row.source.as_ref())
            .try_for_each(|source| source.visit(visit))
    }

    fn row(&self, fd: RawFd) -> Option<&Entry> {
        self.rows.get(usize::try_from(fd).ok()?)
    }
}

/// A descriptor that the kernel does not know any more was closed first, which is as good.
fn forgive_absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || error.raw_os_error() == Some(libc::EBADF) =>
        {
            Ok(())
        }
        other => other,
    }
}
