//! Context variables: capture when a callback is scheduled, enter and leave around its run.
//!
//! asyncio copies the current context for every callback, which costs an allocation, garbage-collector work and 64 bytes
//! for as long as the callback waits. Here callbacks that are scheduled while the variables do not change share one copy,
//! the *snapshot*, which is never entered; what is entered is a *runner*, a copy made when the callback runs, and used
//! again for the next one if the last has neither changed a variable nor kept the context (`Snapshots`). Nobody can tell
//! the difference. Measured on CPython 3.13, see `docs/decisions/0004-shared-contexts.md`.
//!
//! Whether variables have changed is told by the pointer to the immutable mapping inside of a context. The interpreter
//! has no call for that, so its place is found out, not known: [`Layout::discover`] looks for it at import with contexts
//! of its own making, and only ever reads there. If the search does not come to one clear answer, every callback gets a
//! copy, as in asyncio. So it is on free-threaded builds, where another thread may be at work between two reads.

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::cell::{Access, LoopCell, Owner};
use crate::core::wrong_thread;

/// A copy of the calling thread's current context, as `contextvars.copy_context()` makes it.
#[inline]
pub(crate) fn copy_current(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: attached; returns a new reference or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent()) }
}

/// A copy of `context`.
pub(crate) fn copy<'py>(context: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: `check` has seen that it is a context wherever one comes from outside; returns a new reference or null.
    unsafe { Bound::from_owned_ptr_or_err(context.py(), ffi::PyContext_Copy(context.as_ptr())) }
}

/// Refuses what is no `contextvars.Context`.
#[inline]
pub(crate) fn check(context: &Bound<'_, PyAny>) -> PyResult<()> {
    // SAFETY: a type comparison on a live object.
    if unsafe { ffi::PyContext_CheckExact(context.as_ptr()) } != 0 {
        return Ok(());
    }
    Err(PyTypeError::new_err(format!(
        "context must be a contextvars.Context or None, not {}",
        context.get_type().name()?
    )))
}

/// Makes `context` the thread's current one for the length of `body`.
///
/// # Errors
/// `RuntimeError` if the context is entered already; the error of `body`.
#[inline]
pub(crate) fn run<R>(
    context: &Bound<'_, PyAny>,
    body: impl FnOnce() -> PyResult<R>,
) -> PyResult<R> {
    enter(context)?;
    // An error is held as a `PyErr` here, so that no exception is set while the context is left.
    let result = body();
    exit(context)?;
    result
}

#[inline]
fn enter(context: &Bound<'_, PyAny>) -> PyResult<()> {
    // SAFETY: a live context; a failure sets an exception.
    if unsafe { ffi::PyContext_Enter(context.as_ptr()) } != 0 {
        return Err(PyErr::fetch(context.py()));
    }
    Ok(())
}

#[inline]
fn exit(context: &Bound<'_, PyAny>) -> PyResult<()> {
    // SAFETY: a live context, which the interpreter refuses to leave if it is not the thread's current one.
    if unsafe { ffi::PyContext_Exit(context.as_ptr()) } != 0 {
        return Err(PyErr::fetch(context.py()));
    }
    Ok(())
}

/// Where the interpreter keeps what we compare, in bytes.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// From the start of a context to the pointer to its mapping.
    vars: usize,
    /// From the start of a thread state to the pointer to its current context.
    current: usize,
}

/// Pointers that are looked through: a context has this many beyond its head, a thread state far more.
const CONTEXT_WORDS: usize = 3;
const THREAD_STATE_WORDS: usize = 36;

static LAYOUT: PyOnceLock<Option<Layout>> = PyOnceLock::new();

/// Finds out the layout; the module's import does so.
pub(crate) fn discover(py: Python<'_>) -> PyResult<()> {
    let wanted = std::env::var_os("PYLOOP_COPY_CONTEXTS").is_none_or(|value| value.is_empty());
    let found = if wanted && !cfg!(Py_GIL_DISABLED) {
        Layout::discover(py)?
    } else {
        None
    };
    // A second import finds the same.
    let _ = LAYOUT.set(py, found);
    Ok(())
}

/// Whether contexts are shared on this interpreter.
pub(crate) fn is_shared(py: Python<'_>) -> bool {
    layout(py).is_some()
}

#[inline]
fn layout(py: Python<'_>) -> Option<Layout> {
    *LAYOUT.get(py)?
}

/// The word at `offset` of an interpreter structure.
#[inline]
fn word(base: *mut ffi::PyObject, offset: usize) -> *mut ffi::PyObject {
    // SAFETY: an aligned word inside of the structure: the callers stay within the bounds above or use a found offset.
    unsafe { *base.cast::<u8>().add(offset).cast() }
}

impl Layout {
    /// Looks for the two words; `None` unless there is exactly one candidate for each, in every experiment.
    fn discover(py: Python<'_>) -> PyResult<Option<Self>> {
        let module = py.import("contextvars")?;
        let variable = module.getattr("ContextVar")?.call1(("pyloop_probe",))?;
        let empty = module.getattr("Context")?.call0()?;
        let filled = module.getattr("Context")?.call0()?;
        filled.call_method1("run", (variable.getattr("set")?, 1))?;
        let twin = copy(&filled)?;
        let changed = copy(&filled)?;
        changed.call_method1("run", (variable.getattr("set")?, 2))?;
        let head = size_of::<ffi::PyObject>();
        let mut vars = (0..CONTEXT_WORDS)
            .map(|index| head + index * size_of::<usize>())
            .filter(|&offset| {
                let [a, b, c, d] =
                    [&filled, &twin, &changed, &empty].map(|each| word(each.as_ptr(), offset));
                // The same mapping in a copy, another after a change, and never a null pointer.
                a == b && a != c && a != d && c != d && ![a, c, d].contains(&std::ptr::null_mut())
            });
        let (Some(vars), None) = (vars.next(), vars.next()) else {
            return Ok(None);
        };
        let mut current = Vec::new();
        let candidates = || (0..THREAD_STATE_WORDS).map(|index| index * size_of::<usize>());
        run(&filled, || {
            current.extend(candidates().filter(|&offset| thread_word(offset) == filled.as_ptr()));
            run(&twin, || {
                current.retain(|&offset| thread_word(offset) == twin.as_ptr());
                Ok(())
            })?;
            current.retain(|&offset| thread_word(offset) == filled.as_ptr());
            Ok(())
        })?;
        current.retain(|&offset| thread_word(offset) != filled.as_ptr());
        Ok(match current[..] {
            [current] => Some(Self { vars, current }),
            _ => None,
        })
    }

    /// The mapping of a context.
    #[inline]
    fn vars(self, context: *mut ffi::PyObject) -> *mut ffi::PyObject {
        word(context, self.vars)
    }

    /// The mapping of the thread's current context; null if it has none yet.
    #[inline]
    fn current_vars(self) -> *mut ffi::PyObject {
        let current = thread_word(self.current);
        if current.is_null() {
            current
        } else {
            self.vars(current)
        }
    }
}

/// A word of the calling thread's state.
#[inline]
fn thread_word(offset: usize) -> *mut ffi::PyObject {
    // SAFETY: attached, as everybody in this module is.
    let state = unsafe { ffi::PyThreadState_Get() };
    word(state.cast(), offset)
}

/// The contexts that a loop shares between callbacks.
#[derive(Default)]
pub(crate) struct Snapshots {
    /// A copy of the context that was current at the last capture. Never entered.
    snapshot: Option<Py<PyAny>>,
    /// What the last callback ran in.
    runner: Option<Runner>,
}

/// A copy of a snapshot that callbacks run in, one after the other.
///
/// It stays entered between callbacks, and is left before anything else of Python's runs on the loop's thread: before
/// a poll and what follows from it, a flush, an exception handler, the end of the run.
struct Runner {
    object: Py<PyAny>,
    /// Whether it is the current context of the thread that runs the loop.
    entered: bool,
}

impl Runner {
    /// Whether nobody kept it, and its variables are what they were when it was copied from `snapshot`.
    #[inline]
    fn is_copy_of(&self, snapshot: &Bound<'_, PyAny>, layout: Layout) -> bool {
        // Ours, and that of the thread whose current context it is.
        let references = 1 + isize::from(self.entered);
        self.object.get_refcnt(snapshot.py()) == references
            && layout.vars(self.object.as_ptr()) == layout.vars(snapshot.as_ptr())
    }
}

impl Snapshots {
    pub(crate) const fn new() -> Self {
        Self {
            snapshot: None,
            runner: None,
        }
    }

    /// What the loop lets go of when it is closed.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}

/// A context for a callback that is scheduled now, and whether it is shared.
#[inline]
pub(crate) fn capture<'py>(
    py: Python<'py>,
    access: &Access<'_>,
    cell: &LoopCell<Snapshots>,
) -> PyResult<(Bound<'py, PyAny>, bool)> {
    let Some(layout) = layout(py) else {
        return Ok((copy_current(py)?, false));
    };
    let vars = layout.current_vars();
    let known = cell.with(access, |shared| match &shared.snapshot {
        Some(snapshot) if layout.vars(snapshot.as_ptr()) == vars => Some(snapshot.clone_ref(py)),
        _ => None,
    });
    match known {
        Some(snapshot) => Ok((snapshot.into_bound(py), true)),
        None => renew(py, access, cell),
    }
}

/// The variables have changed since the last capture.
#[cold]
fn renew<'py>(
    py: Python<'py>,
    access: &Access<'_>,
    cell: &LoopCell<Snapshots>,
) -> PyResult<(Bound<'py, PyAny>, bool)> {
    let fresh = copy_current(py)?;
    let kept = fresh.clone().unbind();
    let previous = cell.with(access, |shared| shared.snapshot.replace(kept));
    drop(previous);
    Ok((fresh, true))
}

/// Makes a context with the variables of `snapshot` the current one, and returns it. It stays so until
/// [`leave_runner`], which the next callback need not wait for.
///
/// # Errors
/// `MemoryError`; `RuntimeError` if somebody else has changed the thread's current context.
#[inline]
pub(crate) fn enter_runner<'py>(
    snapshot: &Bound<'py, PyAny>,
    owner: &Owner,
    cell: &LoopCell<Snapshots>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = snapshot.py();
    let Some(layout) = layout(py) else {
        return change_runner(snapshot, None, owner, cell);
    };
    let access = owner.access(py).ok_or_else(wrong_thread)?;
    let entered = cell.with(&access, |shared| {
        let runner = shared.runner.as_ref()?;
        (runner.entered && runner.is_copy_of(snapshot, layout)).then(|| runner.object.clone_ref(py))
    });
    drop(access);
    match entered {
        Some(runner) => Ok(runner.into_bound(py)),
        None => change_runner(snapshot, Some(layout), owner, cell),
    }
}

/// Leaves the runner that is entered, if one is, and enters it again or another.
fn change_runner<'py>(
    snapshot: &Bound<'py, PyAny>,
    layout: Option<Layout>,
    owner: &Owner,
    cell: &LoopCell<Snapshots>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = snapshot.py();
    leave_runner(py, owner, cell)?;
    let access = owner.access(py).ok_or_else(wrong_thread)?;
    let last = cell.with(&access, |shared| shared.runner.take());
    drop(access);
    let object = match (layout, last) {
        (Some(layout), Some(last)) if last.is_copy_of(snapshot, layout) => {
            last.object.into_bound(py)
        }
        (_, last) => {
            drop(last);
            copy(snapshot)?
        }
    };
    enter(&object)?;
    let runner = Runner {
        object: object.clone().unbind(),
        entered: true,
    };
    let access = owner.access(py).ok_or_else(wrong_thread)?;
    let replaced = cell.with(&access, |shared| shared.runner.replace(runner));
    drop(access);
    drop(replaced);
    Ok(object)
}

/// Gives the thread back the context that it had before the first [`enter_runner`].
///
/// # Errors
/// `RuntimeError` if somebody else has changed the thread's current context.
#[inline]
pub(crate) fn leave_runner(
    py: Python<'_>,
    owner: &Owner,
    cell: &LoopCell<Snapshots>,
) -> PyResult<()> {
    let access = owner.access(py).ok_or_else(wrong_thread)?;
    let entered = cell.with(&access, |shared| {
        let runner = shared.runner.as_mut()?;
        std::mem::take(&mut runner.entered).then(|| runner.object.clone_ref(py))
    });
    drop(access);
    match entered {
        Some(runner) => exit(runner.bind(py)),
        None => Ok(()),
    }
}
