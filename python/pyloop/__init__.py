"""An asyncio event loop whose engine is written in Rust.

    import pyloop

    pyloop.run(main())

Importing the package changes nothing: no policy is touched and nothing is patched.
"""

import importlib
from typing import Any

from ._loop import PyLoop
from ._policy import EventLoopPolicy, install, uninstall
from ._pyloop import (
    DatagramTransport,
    Handle,
    ReadPipeTransport,
    SSLProtocol,
    SSLTransport,
    StreamTransport,
    TimerHandle,
    WritePipeTransport,
    __version__,
)
from ._run import new_event_loop, run
from .timers import interval

__all__ = (
    "DatagramTransport",
    "EventLoopPolicy",
    "Handle",
    "PyLoop",
    "ReadPipeTransport",
    "SSLProtocol",
    "SSLTransport",
    "StreamTransport",
    "TimerHandle",
    "WritePipeTransport",
    "__version__",
    "install",
    "interval",
    "new_event_loop",
    "run",
    "uninstall",
)


def __getattr__(name: str) -> Any:
    # `pyloop.testing` without an import of its own; programs that are no tests do without it.
    if name == "testing":
        return importlib.import_module(".testing", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
