//! One `ssl.SSLObject` between two `ssl.MemoryBIO`s: records in and out on one side, plaintext on the other.
//!
//! Every operation may run Python code: callbacks of the context, methods of a class that the application derived
//! (`SSLContext.sslobject_class`). No loop state may be lent meanwhile.
//!
//! Two engines move the data. One calls the objects' methods; a read that finds nothing costs an exception there, five
//! times as much as one that finds a record, so [`Records`] tells beforehand whether there is one to find. The other calls
//! OpenSSL underneath them (`py/openssl/`), and Python's methods only to raise the exception of a call that failed.
//! Handshake and shutdown are Python's with both.

use engine::Records;
use pyo3::exceptions::PyMemoryError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::imports::{imports, load};
use super::lower::Lower;
use crate::core::LoopCore;
use crate::py::bytes::Written;
use crate::py::call;
use crate::py::cell::LoopCell;
use crate::py::openssl::{Connection, Outcome};
use crate::py::payload::Visitor;
use crate::py::read_buffer::READ_SIZE;
use crate::sys::socket::Attempt;

/// Bytes of plaintext that are handed to a protocol, or encrypted, at once: seven records. What is larger than 128 KiB
/// glibc maps afresh and unmaps each time.
pub(super) const BATCH: usize = 7 * engine::backlog::RECORD_SIZE;

/// What a step of a handshake or shutdown, or a write, came to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Done,
    /// More must arrive first.
    Again,
}

/// How far reading has come.
pub(super) struct Progress {
    pub(super) records: Records,
    /// A read may find something.
    pub(super) readable: bool,
    /// The peer has announced its end; OpenSSL says so once.
    pub(super) closed: bool,
    /// What the next read raises: it came up behind data that were delivered first.
    pub(super) failed: Option<PyErr>,
}

/// An `ssl.SSLObject` and its surroundings.
pub(super) struct Session {
    /// What `get_extra_info("ssl_object")` shows.
    pub(super) object: Py<PyAny>,
    /// What data goes through: the object underneath, unless the application has derived a class.
    pub(super) data: Py<PyAny>,
    pub(super) incoming: Py<PyAny>,
    outgoing: Py<PyAny>,
    /// The way past Python's methods, if there is one; the three objects above keep it valid.
    pub(super) direct: Option<Connection>,
    progress: LoopCell<Progress>,
}

impl Session {
    /// # Errors
    /// What `SSLContext.wrap_bio` raises.
    pub(super) fn new(
        context: &Bound<'_, PyAny>,
        server_side: bool,
        server_hostname: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let py = context.py();
        let imports = load(py)?;
        let incoming = imports.memory_bio.bind(py).call0()?;
        let outgoing = imports.memory_bio.bind(py).call0()?;
        let keywords = PyDict::new(py);
        keywords.set_item(intern!(py, "server_side"), server_side)?;
        keywords.set_item(intern!(py, "server_hostname"), server_hostname)?;
        let wrap = intern!(py, "wrap_bio");
        let object = context.call_method(wrap, (&incoming, &outgoing), Some(&keywords))?;
        let (data, direct) = if object.get_type().is(imports.ssl_object.bind(py)) {
            let raw = object.getattr(intern!(py, "_sslobj"))?;
            let direct = if imports.direct {
                Connection::of(&raw, context, &incoming, &outgoing)?
            } else {
                None
            };
            (raw, direct)
        } else {
            (object.clone(), None)
        };
        Ok(Self {
            object: object.unbind(),
            data: data.unbind(),
            incoming: incoming.unbind(),
            outgoing: outgoing.unbind(),
            direct,
            progress: LoopCell::new(Progress {
                records: Records::default(),
                readable: false,
                closed: false,
                failed: None,
            }),
        })
    }

    /// The name of the engine that moves the data.
    pub(super) fn engine(&self) -> &'static str {
        if self.direct.is_some() {
            "openssl"
        } else {
            "memorybio"
        }
    }

    pub(super) fn visit(&self, visitor: &Visitor) {
        visitor.object(&self.object);
        visitor.object(&self.data);
        visitor.object(&self.incoming);
        visitor.object(&self.outgoing);
    }

    pub(super) fn progress<R>(
        &self,
        py: Python<'_>,
        core: &LoopCore,
        body: impl FnOnce(&mut Progress) -> R,
    ) -> PyResult<R> {
        let access = core.access(py)?;
        Ok(self.progress.with(&access, body))
    }

    /// Has `receive` receive records into a vector's spare capacity, and takes them in.
    ///
    /// # Errors
    /// `MemoryError`.
    pub(super) fn receive(
        &self,
        py: Python<'_>,
        core: &LoopCore,
        receive: impl FnOnce(&mut Vec<u8>) -> Attempt<usize>,
    ) -> PyResult<Attempt<usize>> {
        let mut memory = core.records.with(&core.access(py)?, std::mem::take);
        memory
            .try_reserve(READ_SIZE)
            .map_err(|error| PyMemoryError::new_err(error.to_string()))?;
        let Some(direct) = &self.direct else {
            let attempt = receive(&mut memory);
            let fed = if memory.is_empty() {
                Ok(())
            } else {
                self.feed(py, core, &memory)
            };
            Self::keep(py, core, memory)?;
            return fed.map(|()| attempt);
        };
        let attempt = direct.fill(&mut memory, receive);
        if let Attempt::Done(count) = attempt {
            self.progress(py, core, |progress| {
                progress.readable |= progress.records.feed(direct.newest(count));
            })?;
        }
        Self::keep(py, core, memory)?;
        if !matches!(attempt, Attempt::Done(count) if count > 0) {
            self.give_back(py, core)?; // Nothing to serve.
        }
        Ok(attempt)
    }

    /// Gives the memory of [`receive`](Self::receive) back to the loop: what received is through with it.
    pub(super) fn give_back(&self, py: Python<'_>, core: &LoopCore) -> PyResult<()> {
        match self.direct.as_ref().and_then(Connection::give_back) {
            Some(memory) => Self::keep(py, core, memory),
            None => Ok(()),
        }
    }

    fn keep(py: Python<'_>, core: &LoopCore, mut memory: Vec<u8>) -> PyResult<()> {
        if (READ_SIZE..=2 * READ_SIZE).contains(&memory.capacity()) {
            memory.clear();
            let access = core.access(py)?;
            core.records.with(&access, |kept| *kept = memory);
        }
        Ok(())
    }

    /// Takes in what has arrived.
    pub(super) fn feed(&self, py: Python<'_>, core: &LoopCore, records: &[u8]) -> PyResult<()> {
        self.progress(py, core, |progress| {
            progress.readable |= progress.records.feed(records);
        })?;
        if let Some(direct) = &self.direct {
            direct.feed(records);
            return Ok(());
        }
        let data = PyBytes::new(py, records);
        call::method1(
            self.incoming.bind(py),
            &imports(py).names.write,
            data.as_any(),
        )?;
        Ok(())
    }

    /// Goes on with the handshake.
    ///
    /// # Errors
    /// `ssl.SSLError` of a handshake that failed; what callbacks raise.
    pub(super) fn handshake(&self, py: Python<'_>) -> PyResult<Step> {
        step(
            py,
            call::method0(self.object.bind(py), &imports(py).names.do_handshake),
        )
    }

    /// Announces the end, or waits for the peer's announcement.
    ///
    /// # Errors
    /// `ssl.SSLError` of a peer that goes on sending data, among others.
    pub(super) fn shutdown(&self, py: Python<'_>) -> PyResult<Step> {
        step(
            py,
            call::method0(self.object.bind(py), &imports(py).names.unwrap),
        )
    }

    /// Encrypts a piece, all of it or nothing; `object` is the piece, if there is such an object.
    ///
    /// # Errors
    /// `ssl.SSLError`.
    pub(super) fn write(
        &self,
        py: Python<'_>,
        piece: &[u8],
        object: Option<&Bound<'_, PyBytes>>,
    ) -> PyResult<Step> {
        match self.direct.as_ref().map(|direct| direct.write(piece)) {
            Some(Outcome::Done) => return Ok(Step::Done),
            Some(Outcome::Again) => return Ok(Step::Again),
            // Repeated through Python, which raises the exception.
            Some(Outcome::Closed | Outcome::Failed) | None => {}
        }
        let made = match object {
            Some(object) => object.clone(),
            None => PyBytes::new(py, piece),
        };
        let name = &imports(py).names.write;
        step(py, call::method1(self.data.bind(py), name, made.as_any()))
    }

    /// Sends the records that were made, if there are any.
    pub(super) fn send(&self, py: Python<'_>, lower: &Lower) -> PyResult<()> {
        let Some(direct) = &self.direct else {
            let name = &imports(py).names.read;
            let records = call::method0(self.outgoing.bind(py), name)?.cast_into::<PyBytes>()?;
            if records.as_bytes().is_empty() {
                return Ok(());
            }
            return lower.send(py, &Written::Bytes(&records));
        };
        if direct.outgoing_size() == 0 {
            return Ok(());
        }
        let records = direct.outgoing();
        let result = lower.send(py, &Written::Slice(&records));
        direct.reuse(records);
        result
    }

    /// Forgets records that nobody will send.
    pub(super) fn drop_outgoing(&self, py: Python<'_>) -> PyResult<()> {
        if let Some(direct) = &self.direct {
            drop(direct.outgoing());
            return Ok(());
        }
        call::method0(self.outgoing.bind(py), &imports(py).names.read).map(drop)
    }

    /// Bytes of records that wait to be decrypted.
    pub(super) fn incoming_size(&self, py: Python<'_>) -> PyResult<usize> {
        if let Some(direct) = &self.direct {
            return Ok(direct.incoming_size());
        }
        self.incoming
            .bind(py)
            .getattr(&imports(py).names.pending)?
            .extract()
    }

    /// Bytes of records that wait to be sent.
    pub(super) fn outgoing_size(&self, py: Python<'_>) -> PyResult<usize> {
        if let Some(direct) = &self.direct {
            return Ok(direct.outgoing_size());
        }
        self.outgoing
            .bind(py)
            .getattr(&imports(py).names.pending)?
            .extract()
    }
}

/// Tells "not yet" from a failure.
fn step(py: Python<'_>, result: PyResult<Bound<'_, PyAny>>) -> PyResult<Step> {
    match result {
        Ok(_) => Ok(Step::Done),
        Err(error) if error.is_instance(py, imports(py).again.bind(py)) => Ok(Step::Again),
        Err(error) => Err(error),
    }
}
