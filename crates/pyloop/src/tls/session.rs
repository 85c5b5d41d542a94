//! One `ssl.SSLObject` between two `ssl.MemoryBIO`s: records in and out on one side, plaintext on the other.
//!
//! Every operation may run Python code: callbacks of the context, methods of a class that the application derived
//! (`SSLContext.sslobject_class`). No loop state may be lent meanwhile.
//!
//! Two engines move the data. One calls the objects' methods; a read that finds nothing costs an exception there, five
//! times as much as one that finds a record, so [`Records`] tells beforehand whether there is one to find. The other calls
//! OpenSSL underneath them (`py/openssl.rs`), and Python's methods only to raise the exception of a call that failed.
//! Handshake and shutdown are Python's with both.

use engine::Records;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::imports::{imports, load};
use super::lower::Lower;
use crate::core::LoopCore;
use crate::py::bytes::{View, Written, filled};
use crate::py::call;
use crate::py::cell::LoopCell;
use crate::py::openssl::{Connection, Outcome};
use crate::py::payload::Visitor;

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

/// What a read came to.
pub(super) enum Plain<T> {
    Data(T),
    /// There is no complete record.
    Again,
    /// The peer has announced its end.
    Closed,
}

/// How far reading has come.
struct Progress {
    records: Records,
    /// A read may find something.
    readable: bool,
    /// The peer has announced its end; OpenSSL says so once.
    closed: bool,
    /// What the next read raises: it came up behind data that were delivered first.
    failed: Option<PyErr>,
}

/// An `ssl.SSLObject` and its surroundings.
pub(super) struct Session {
    /// What `get_extra_info("ssl_object")` shows.
    pub(super) object: Py<PyAny>,
    /// What data goes through: the object underneath, unless the application has derived a class.
    data: Py<PyAny>,
    incoming: Py<PyAny>,
    outgoing: Py<PyAny>,
    /// The way past Python's methods, if there is one; the three objects above keep it valid.
    direct: Option<Connection>,
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
        keywords.set_item("server_side", server_side)?;
        keywords.set_item("server_hostname", server_hostname)?;
        let object = context.call_method("wrap_bio", (&incoming, &outgoing), Some(&keywords))?;
        let (data, direct) = if object.get_type().is(imports.ssl_object.bind(py)) {
            let raw = object.getattr("_sslobj")?;
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

    fn progress<R>(
        &self,
        py: Python<'_>,
        core: &LoopCore,
        body: impl FnOnce(&mut Progress) -> R,
    ) -> PyResult<R> {
        let access = core.access(py)?;
        Ok(self.progress.with(&access, body))
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
            Some(Outcome::Done(_)) => return Ok(Step::Done),
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

    /// Decrypts what has arrived, at most [`BATCH`] bytes.
    ///
    /// # Errors
    /// `ssl.SSLError` of a record that cannot be decrypted.
    pub(super) fn read<'py>(
        &self,
        py: Python<'py>,
        core: &LoopCore,
    ) -> PyResult<Plain<Bound<'py, PyBytes>>> {
        if let Some(nothing) = self.nothing_to_read(py, core)? {
            return Ok(nothing);
        }
        if let Some(direct) = &self.direct {
            return core.with_read_buffer(py, |buffer| {
                let memory = &mut buffer.memory(py)[..BATCH];
                Ok(match self.read_direct(py, core, direct, memory)? {
                    Plain::Data(count) => Plain::Data(buffer.give(py, count)),
                    Plain::Again => Plain::Again,
                    Plain::Closed => Plain::Closed,
                })
            })?;
        }
        let first = match self.record(py, core)? {
            Plain::Data(first) => first,
            other => return Ok(other),
        };
        if !self.has_more(py, core)? {
            return Ok(Plain::Data(first));
        }
        let mut size = first.as_bytes().len();
        let mut parts = vec![first];
        while size + engine::backlog::RECORD_SIZE <= BATCH && self.has_more(py, core)? {
            match self.record(py, core) {
                Ok(Plain::Data(part)) => {
                    size += part.as_bytes().len();
                    parts.push(part);
                }
                Ok(Plain::Again | Plain::Closed) => break, // The next read says so again.
                Err(error) => {
                    self.fail_later(py, core, error)?;
                    break;
                }
            }
        }
        let joined = filled(py, size, |memory| {
            let mut filled = 0;
            for part in &parts {
                let bytes = part.as_bytes();
                memory[filled..filled + bytes.len()].copy_from_slice(bytes);
                filled += bytes.len();
            }
            Ok::<_, std::convert::Infallible>(filled)
        })?;
        let Ok(joined) = joined;
        Ok(Plain::Data(joined))
    }

    /// Decrypts into a buffer of the application's until it is full; the number of bytes.
    ///
    /// # Errors
    /// `ssl.SSLError` of a record that cannot be decrypted; what a buffer raises that is none.
    pub(super) fn read_into(
        &self,
        py: Python<'_>,
        core: &LoopCore,
        buffer: &Bound<'_, PyAny>,
    ) -> PyResult<Plain<usize>> {
        if let Some(nothing) = self.nothing_to_read(py, core)? {
            return Ok(nothing);
        }
        let mut view = View::write(buffer)?;
        let memory = view.as_slice_mut();
        if let Some(direct) = &self.direct {
            return self.read_direct(py, core, direct, memory);
        }
        let mut filled = 0;
        while filled < memory.len() && (filled == 0 || self.has_more(py, core)?) {
            match self.read_record(py, core, memory.len() - filled) {
                Ok(Plain::Data(data)) => {
                    let bytes = data.as_bytes();
                    memory[filled..filled + bytes.len()].copy_from_slice(bytes);
                    filled += bytes.len();
                }
                Ok(Plain::Again) if filled == 0 => return Ok(Plain::Again),
                Ok(Plain::Closed) if filled == 0 => return Ok(Plain::Closed),
                Err(error) if filled == 0 => return Err(error),
                Ok(Plain::Again | Plain::Closed) => break, // The next read says so again.
                Err(error) => {
                    self.fail_later(py, core, error)?;
                    break;
                }
            }
        }
        Ok(Plain::Data(filled))
    }

    /// Decrypts into `memory` what has arrived, until it is full.
    fn read_direct(
        &self,
        py: Python<'_>,
        core: &LoopCore,
        direct: &Connection,
        memory: &mut [u8],
    ) -> PyResult<Plain<usize>> {
        let mut filled = 0;
        while filled < memory.len() {
            let ended = match direct.read(&mut memory[filled..]) {
                Outcome::Done(count) => {
                    filled += count;
                    continue;
                }
                Outcome::Again => Plain::Again,
                Outcome::Closed => Plain::Closed,
                Outcome::Failed => match self.read_record(py, core, 1) {
                    Err(error) if filled > 0 => {
                        self.fail_later(py, core, error)?;
                        break;
                    }
                    Err(error) => return Err(error),
                    Ok(Plain::Data(data)) => {
                        memory[filled] = data.as_bytes()[0];
                        filled += 1;
                        continue;
                    }
                    Ok(Plain::Again) => Plain::Again,
                    Ok(Plain::Closed) => Plain::Closed,
                },
            };
            self.progress(py, core, |progress| {
                progress.readable = false;
                progress.closed |= matches!(ended, Plain::Closed);
            })?;
            if filled == 0 {
                return Ok(ended);
            }
            break;
        }
        Ok(Plain::Data(filled))
    }

    /// Has the next read raise: what came before the failure is delivered first.
    fn fail_later(&self, py: Python<'_>, core: &LoopCore, error: PyErr) -> PyResult<()> {
        let previous = self.progress(py, core, |progress| progress.failed.replace(error))?;
        drop(previous);
        Ok(())
    }

    /// What a read would come to without asking OpenSSL, if that is known.
    ///
    /// # Errors
    /// What the last read came upon behind the data that it returned.
    pub(super) fn nothing_to_read<T>(
        &self,
        py: Python<'_>,
        core: &LoopCore,
    ) -> PyResult<Option<Plain<T>>> {
        let (failed, nothing) = self.progress(py, core, |progress| {
            let nothing = if progress.closed {
                Some(Plain::Closed)
            } else if !progress.readable {
                Some(Plain::Again)
            } else {
                None
            };
            (progress.failed.take(), nothing)
        })?;
        match failed {
            Some(error) => Err(error),
            None => Ok(nothing),
        }
    }

    /// After a record: whether there is another one, or the rest of this one.
    fn has_more(&self, py: Python<'_>, core: &LoopCore) -> PyResult<bool> {
        let held = self.incoming_size(py)?;
        let rest: usize =
            call::method0(self.data.bind(py), &imports(py).names.pending)?.extract()?;
        self.progress(py, core, |progress| {
            progress.readable = rest > 0 || !progress.records.only_partial(held);
            progress.readable
        })
    }

    fn record<'py>(
        &self,
        py: Python<'py>,
        core: &LoopCore,
    ) -> PyResult<Plain<Bound<'py, PyBytes>>> {
        self.read_record(py, core, engine::backlog::RECORD_SIZE)
    }

    fn read_record<'py>(
        &self,
        py: Python<'py>,
        core: &LoopCore,
        size: usize,
    ) -> PyResult<Plain<Bound<'py, PyBytes>>> {
        let size = size.min(engine::backlog::RECORD_SIZE).into_pyobject(py)?;
        let plain = match call::method1(self.data.bind(py), &imports(py).names.read, size.as_any())
        {
            Ok(data) => {
                let data = data.cast_into::<PyBytes>()?;
                if data.as_bytes().is_empty() {
                    Plain::Closed
                } else {
                    return Ok(Plain::Data(data));
                }
            }
            Err(error) if error.is_instance(py, imports(py).again.bind(py)) => Plain::Again,
            Err(error) if error.is_instance(py, imports(py).zero_return.bind(py)) => Plain::Closed,
            Err(error) => return Err(error),
        };
        self.progress(py, core, |progress| {
            progress.readable = false;
            progress.closed |= matches!(plain, Plain::Closed);
        })?;
        Ok(plain)
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
