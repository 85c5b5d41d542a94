"""What a call came to, in a form that can be compared between two loops."""

from __future__ import annotations

import asyncio
import inspect
import linecache
import re
from collections.abc import Callable
from typing import Any

# A call that is wrong is answered at once; one that is not waits for something.
SECONDS = 5.0
_ASYNCIO = asyncio.__file__.rpartition("/")[0]
# How the interpreter says that arguments do not fit the parameters, in Python code and in native code.
_MISFIT = re.compile(r"\(\) (missing|takes|got)|unsupported keyword|required (positional )?argument|keyword argument")


def _said_by_asyncio(error: BaseException) -> bool:
    """Whether a `raise` in asyncio's Python code made the message, and no operator or function that it used."""
    traceback = error.__traceback__
    if traceback is None:
        return False
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    filename = traceback.tb_frame.f_code.co_filename
    line = linecache.getline(filename, traceback.tb_lineno).strip()
    return filename.startswith(_ASYNCIO) and line.startswith("raise")


def _plain(message: str) -> str:
    """A message without what differs from one object to the next: representations and addresses."""
    while (shorter := re.sub(r"<[^<>]*>", "OBJECT", message)) != message:
        message = shorter
    return message


def _shown(value: Any) -> str:
    """A result: plain values as they are, others by the class of asyncio's that they are instances of."""
    if value is None or isinstance(value, (bool, int, float, str, bytes, tuple)):
        return repr(value)
    for base in type(value).__mro__:
        if base.__module__.partition(".")[0] in ("asyncio", "_asyncio") and not base.__name__.startswith("_"):
            return base.__name__
    return type(value).__name__


class Outcome:
    """What a call returned or raised."""

    def __init__(self, value: Any = None, error: BaseException | None = None) -> None:
        self.kind = _shown(value) if error is None else type(error).__name__
        self.message = None if error is None else _plain(str(error))
        self.misfit = isinstance(error, TypeError) and bool(_MISFIT.search(str(error)))
        # asyncio's own code came upon a None of its own: nothing that a program could rely on.
        self.stumbled = isinstance(error, (AttributeError, TypeError)) and "NoneType" in str(error)
        self.documented = error is not None and not self.misfit and _said_by_asyncio(error)

    def agrees_with(self, oracle: Outcome) -> bool:
        """Whether this is what the oracle did; messages count where asyncio's own code words them."""
        if self.kind != oracle.kind or (self.message is None) != (oracle.message is None):
            return False
        return not oracle.documented or self.message == oracle.message

    def __repr__(self) -> str:
        return self.kind if self.message is None else f"{self.kind}: {self.message}"


async def outcome(call: Callable[[], Any]) -> Outcome:
    """Calls, awaits what wants to be awaited, and tells what came of it."""
    try:
        value = call()
        if inspect.iscoroutine(value) or isinstance(value, asyncio.Future):
            value = await asyncio.wait_for(value, SECONDS)
    except Exception as error:
        return Outcome(error=error)
    return Outcome(value)
