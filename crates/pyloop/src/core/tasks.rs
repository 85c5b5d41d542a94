//! `create_future` and `create_task` without the detour through Python, for the plain case.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::schedule::core;
use crate::py::call;
use crate::py::fastcall::{Args, method};
use crate::py::imports::imports;

method! {
    pub(super) CreateFuture c"create_future", c"create_future($self, /)\n--\n\nMakes an asyncio.Future that belongs to this loop.",
    |slf, args| {
        args.expect("create_future", 0, 0)?;
        let imports = imports(args.py());
        call::with_keywords(
            args.py(),
            &imports.future,
            &[slf.as_ptr()],
            &imports.loop_keyword,
        )
    }
}

/// Whether every keyword is one that each Python from 3.11 on passes on to `Task` unchanged.
fn is_simple(args: &Args<'_, '_>) -> PyResult<bool> {
    for index in 0..args.keyword_count() {
        let (name, _) = args.keyword(index);
        let known = name.eq("name")? || (cfg!(Py_3_11) && name.eq("context")?);
        if !known {
            return Ok(false);
        }
    }
    Ok(args.len() == 1)
}

method! {
    pub(super) CreateTask c"create_task", c"create_task($self, coro, **kwargs)\n--\n\nSchedules a coroutine as an asyncio.Task, or through the task factory if there is one.\n\nTakes the keywords of the running Python's own loops: name, context (3.11), eager_start (3.14).",
    |slf, args| {
        let py = args.py();
        let imports = imports(py);
        let object = core(slf);
        let plain = object.get().is_plain()
            && is_simple(&args)?
            && object.getattr(&imports.names.task_factory)?.is_none();
        if plain && args.keyword_count() == 0 {
            let coroutine = args.rest(0)[0];
            return call::with_keywords(
                py,
                &imports.task,
                &[coroutine, slf.as_ptr()],
                &imports.loop_keyword,
            );
        }
        let keywords = PyDict::new(py);
        for index in 0..args.keyword_count() {
            let (name, value) = args.keyword(index);
            keywords.set_item(name, value)?;
        }
        if plain {
            keywords.set_item(imports.names.r#loop.bind(py), object)?;
            return imports
                .task
                .bind(py)
                .call(args.rest_tuple(0)?, Some(&keywords));
        }
        let mut positional = vec![object.clone().into_any()];
        positional.extend(args.rest_tuple(0)?.iter());
        imports
            .base_loop
            .bind(py)
            .getattr("create_task")?
            .call(PyTuple::new(py, positional)?, Some(&keywords))
    }
}
