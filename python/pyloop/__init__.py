"""An asyncio event loop whose engine is written in Rust.

    import pyloop

    pyloop.run(main())

Importing the package changes nothing: no policy is touched and nothing is patched.
"""

from ._loop import PyLoop
from ._policy import EventLoopPolicy, install, uninstall
from ._pyloop import Handle, StreamTransport, TimerHandle
from ._run import new_event_loop, run
from ._version import __version__
from .timers import interval

__all__ = (
    "EventLoopPolicy",
    "Handle",
    "PyLoop",
    "StreamTransport",
    "TimerHandle",
    "__version__",
    "install",
    "interval",
    "new_event_loop",
    "run",
    "uninstall",
)
