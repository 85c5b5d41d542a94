//! From records to plaintext: the reading half of a [`Session`].

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::imports::imports;
use super::session::{BATCH, Session};
use crate::core::LoopCore;
use crate::py::bytes::{View, filled};
use crate::py::call;
use crate::py::openssl::{Connection, Outcome};

/// Bytes of records that are decrypted into an object of that size: less is cheaper to copy out of the loop's read buffer than to
/// cut to its length, more is lent out of it.
const EXACT: std::ops::Range<usize> = 8 * 1024..64 * 1024;

/// What a read came to.
pub(super) enum Plain<T> {
    Data(T),
    /// There is no complete record.
    Again,
    /// The peer has announced its end.
    Closed,
}

impl<T> Plain<T> {
    /// The same with other data.
    pub(super) fn map<U>(self, other: impl FnOnce(T) -> U) -> Plain<U> {
        match self {
            Self::Data(data) => Plain::Data(other(data)),
            Self::Again => Plain::Again,
            Self::Closed => Plain::Closed,
        }
    }
}

impl Session {
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
            let waiting = direct.incoming_size();
            if EXACT.contains(&waiting) {
                let data = filled(py, waiting, |memory| {
                    match self.read_direct(py, core, direct, memory) {
                        Ok(Plain::Data(count)) => Ok(count),
                        Ok(Plain::Again) => Err(Ok(Plain::Again)),
                        Ok(Plain::Closed) => Err(Ok(Plain::Closed)),
                        Err(error) => Err(Err(error)),
                    }
                })?;
                return data.map_or_else(|nothing| nothing, |data| Ok(Plain::Data(data)));
            }
            return core.with_read_buffer(py, |buffer| {
                let memory = &mut buffer.memory(py)[..BATCH];
                let plain = self.read_direct(py, core, direct, memory)?;
                Ok(plain.map(|count| buffer.give(py, count)))
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
        let ended = loop {
            let (count, outcome) = direct.read(&mut memory[filled..]);
            filled += count;
            match outcome {
                Outcome::Done => return Ok(Plain::Data(filled)),
                Outcome::Again => break Plain::Again,
                Outcome::Closed => break Plain::Closed,
                Outcome::Failed => match self.read_record(py, core, 1) {
                    Err(error) if filled > 0 => {
                        self.fail_later(py, core, error)?;
                        return Ok(Plain::Data(filled));
                    }
                    Err(error) => return Err(error),
                    Ok(Plain::Data(data)) => {
                        memory[filled] = data.as_bytes()[0];
                        filled += 1;
                    }
                    Ok(Plain::Again) => break Plain::Again,
                    Ok(Plain::Closed) => break Plain::Closed,
                },
            }
        };
        self.progress(py, core, |progress| {
            progress.readable = false;
            progress.closed |= matches!(ended, Plain::Closed);
        })?;
        Ok(if filled > 0 {
            Plain::Data(filled)
        } else {
            ended
        })
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
