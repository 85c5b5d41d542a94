"""What is different on purpose, each with its reason. A line that is not needed fails a test."""

from __future__ import annotations

import asyncio
import inspect
import sys

# Public names of asyncio's objects that pyloop's do not have: (kind, name).
MISSING_NAMES: dict[tuple[str, str], str] = {
    (kind, "max_size"): "the size of asyncio's reads: a constant of its implementation, documented nowhere"
    for kind in ("stream", "datagram", "read pipe")
}

# Methods whose parameters differ.
DIFFERENT_SIGNATURES: dict[tuple[str, str], str] = {}
if set(inspect.signature(asyncio.BaseEventLoop.create_task).parameters) != {"self", "coro", "kwargs"}:
    DIFFERENT_SIGNATURES["loop", "create_task"] = (
        "takes the keywords of the running Python's loops; its signature says **kwargs, as asyncio's later does"
    )

if sys.version_info < (3, 11):
    DIFFERENT_SIGNATURES["loop", "start_tls"] = "takes ssl_shutdown_timeout on every Python"

# Calls that are answered differently: (kind, method, what it was called with).
DIFFERENT_ANSWERS: dict[tuple[str, str, str], str] = {}
if sys.version_info >= (3, 12):
    for _form in ("None", "None, by name"):
        DIFFERENT_ANSWERS["stream", "writelines", _form] = "asyncio takes for an empty list whatever is false"
if sys.version_info < (3, 11):
    for _form in ("None", "None, by name"):
        DIFFERENT_ANSWERS["loop", "call_at", _form] = "a TypeError on every Python; asyncio had an assertion"

# Answers at some stage of a transport's life that are others: (kind, method).
DIFFERENT_STAGES: dict[tuple[str, str], str] = {}
if sys.version_info < (3, 11):
    DIFFERENT_STAGES["tls", "get_write_buffer_limits"] = "the same TLS on every Python: marks of its own"
    DIFFERENT_STAGES["tls", "is_reading"] = "the same TLS on every Python: true after abort()"
