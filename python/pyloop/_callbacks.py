"""The rare turns in a callback's life: failure, debug mode."""

from __future__ import annotations

import sys
import time
import traceback
from asyncio import Handle, base_events, coroutines, format_helpers
from typing import TYPE_CHECKING, Any

from . import _compat

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._loop import PyLoop


def callback_failed(loop: PyLoop, handle: Any, error: BaseException) -> None:
    """Reports what a callback raised, in asyncio's words."""
    source = format_helpers._format_callback_source(handle._callback, handle._args or ())
    context: dict[str, Any] = {
        "message": f"Exception in callback {source}",
        "exception": error,
        "handle": handle,
    }
    if handle._source_traceback:
        context["source_traceback"] = handle._source_traceback
    loop.call_exception_handler(context)


def run_watched(loop: PyLoop, handle: Handle, run: Callable[[], None]) -> None:
    """Runs one handle in debug mode: a slow one is logged."""
    loop._current_handle = handle
    started = time.monotonic()
    try:
        run()
    finally:
        loop._current_handle = None
    report_slow(loop, handle, time.monotonic() - started)


def report_slow(loop: PyLoop, what: Any, elapsed: float) -> None:
    """Logs a handle, or a transport whose protocol was called, that has taken long (`elapsed` in seconds)."""
    if elapsed < loop.slow_callback_duration:
        return
    shown = base_events._format_handle(what) if isinstance(what, Handle) else repr(what)  # type: ignore[attr-defined]
    logger = base_events.logger  # type: ignore[attr-defined]  # There, where programs replace it.
    logger.warning("Executing %s took %.3f seconds", shown, elapsed)


def check_callback(callback: Any, method: str) -> None:
    """Debug mode refuses at once what could never be called.

    Raises:
        TypeError: for a coroutine, a coroutine function, or anything that is not callable.
    """
    if coroutines.iscoroutine(callback) or _compat.is_coroutine_function(callback):
        raise TypeError(f"coroutines cannot be used with {method}()")
    if not callable(callback):
        raise TypeError(f"a callable object was expected by {method}(), got {callback!r}")


def creation_traceback() -> traceback.StackSummary:
    """Where the caller of the loop's method stands; nowhere, if that is a thread without Python code."""
    caller = sys._getframe().f_back
    if caller is None:
        return traceback.StackSummary()
    summary: traceback.StackSummary = format_helpers.extract_stack(caller)
    return summary
