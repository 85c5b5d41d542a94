"""What differs between the Pythons that pyloop serves, and nothing else."""

from __future__ import annotations

import asyncio
import inspect
import sys
import warnings
from asyncio import base_events, constants, events, sslproto, unix_events
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ._pyloop import StreamTransport

# 3.13 counts connections as transports, earlier versions as a number.
_ATTACHES_TRANSPORTS = len(inspect.signature(base_events.Server._attach).parameters) > 1  # type: ignore[attr-defined]


def server_attach(server: Any, transport: StreamTransport) -> None:
    """Counts a new connection in its server."""
    if _ATTACHES_TRANSPORTS:
        server._attach(transport)
    else:
        server._attach()


def server_detach(server: Any, transport: StreamTransport) -> None:
    """Counts a connection out that was lost."""
    if _ATTACHES_TRANSPORTS:
        server._detach(transport)
    else:
        server._detach()


def is_coroutine_function(callback: Any) -> bool:
    """Whether calling it makes a coroutine. asyncio's own test, which 3.14 deprecates, knows marked functions, too."""
    if sys.version_info >= (3, 14):
        return inspect.iscoroutinefunction(callback)
    return asyncio.iscoroutinefunction(callback)


# 3.11 brought ssl_shutdown_timeout, and with it a second element in what `Server` passes to `_start_serving`.
TLS_TIMEOUTS: tuple[str, ...] = tuple(
    name
    for name in ("ssl_handshake_timeout", "ssl_shutdown_timeout")
    if name in inspect.signature(sslproto.SSLProtocol).parameters
)

# 3.14 moves the file's position to where sendfile began even if nothing was sent.
SENDFILE_ALWAYS_SEEKS = (
    "total_sent" not in inspect.signature(unix_events._UnixSelectorEventLoop._sock_sendfile_update_filepos).parameters  # type: ignore[attr-defined]
)


def child_watcher() -> Any:
    """The application's own watcher of child processes, which asyncio knows until 3.13; None if it has set none.

    asyncio's default ones do for any program what the loop does by itself with less: they are left alone.
    """
    if sys.version_info >= (3, 14):
        return None
    policy = events._event_loop_policy  # type: ignore[attr-defined]
    if policy is None:  # Nobody has asked for one yet, let alone given it a watcher.
        return None
    method = type(policy).get_child_watcher
    if method is asyncio.AbstractEventLoopPolicy.get_child_watcher:
        return None
    if method is unix_events._UnixDefaultEventLoopPolicy.get_child_watcher:
        watcher = policy._watcher
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            watcher = policy.get_child_watcher()
    return None if watcher is None or type(watcher) in _DEFAULT_WATCHERS else watcher


# Until 3.11 the watcher by process descriptors is never the default, and wants to be attached to a loop.
_DEFAULT_WATCHERS: tuple[type, ...] = ()
if sys.version_info < (3, 14):
    _DEFAULT_WATCHERS = (unix_events.ThreadedChildWatcher,)
    if sys.version_info >= (3, 12):
        _DEFAULT_WATCHERS += (unix_events.PidfdChildWatcher,)


def is_active(watcher: Any, entered: Any) -> bool:
    """Whether a child watcher works; until 3.11 asyncio asks what its `with` block gave, later the watcher."""
    asked = watcher if sys.version_info >= (3, 12) else entered
    return bool(asked.is_active())


# 3.10 waits for ever; ours does not.
SSL_SHUTDOWN_TIMEOUT: float = getattr(constants, "SSL_SHUTDOWN_TIMEOUT", 30.0)


def run(
    main: Coroutine[Any, Any, Any],
    debug: bool | None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> Any:
    """`asyncio.run()` with a loop of our own, on every version."""
    if sys.version_info >= (3, 12):
        return asyncio.run(main, debug=debug, loop_factory=loop_factory)
    if sys.version_info >= (3, 11):
        if asyncio._get_running_loop() is not None:
            raise RuntimeError("asyncio.run() cannot be called from a running event loop")
        with asyncio.Runner(debug=debug, loop_factory=loop_factory) as runner:
            return runner.run(main)
    return _run_310(main, debug, loop_factory)


def _run_310(
    main: Coroutine[Any, Any, Any],
    debug: bool | None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> Any:
    """3.10 has no `Runner`: its `asyncio.run()`, step by step."""
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("asyncio.run() cannot be called from a running event loop")
    if not asyncio.iscoroutine(main):
        raise ValueError(f"a coroutine was expected, got {main!r}")
    loop = loop_factory()
    try:
        asyncio.set_event_loop(loop)
        if debug is not None:
            loop.set_debug(debug)
        return loop.run_until_complete(main)
    finally:
        try:
            _cancel_all_tasks(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


def _cancel_all_tasks(loop: asyncio.AbstractEventLoop) -> None:
    pending = asyncio.all_tasks(loop)
    if not pending:
        return
    for task in pending:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
    for task in pending:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            loop.call_exception_handler(
                {
                    "message": "unhandled exception during asyncio.run() shutdown",
                    "exception": error,
                    "task": task,
                }
            )
