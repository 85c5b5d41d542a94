"""The loops that take part, and how to make one of each."""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
from dataclasses import dataclass

from benchmarks.model import LoopFactory

STOCK = "asyncio"
OURS = "pyloop"


@dataclass(frozen=True)
class Entry:
    """A loop known by name."""

    distribution: str | None  # whose version the report shows; None for the interpreter's own
    transports_only: bool = False  # changes nothing but sockets: takes part in I/O cases only


KNOWN: dict[str, Entry] = {
    STOCK: Entry(None),
    OURS: Entry("pyloop-rs"),
    "uvloop": Entry("uvloop"),
    "rloop": Entry("rloop"),
    "rsloop": Entry("rsloop"),
    "zuvloop": Entry("zuvloop"),
    "aiofastnet": Entry("aiofastnet", transports_only=True),
    "aiofastnet+uvloop": Entry("aiofastnet", transports_only=True),
}


def factory_of(name: str) -> LoopFactory:
    """Returns the loop factory for a known name or for `module:callable`.

    Raises:
        ImportError: the loop is not installed here.
    """
    if name == STOCK:
        return asyncio.SelectorEventLoop
    if name == "aiofastnet":
        return _patched(asyncio.SelectorEventLoop)
    if name == "aiofastnet+uvloop":
        return _patched(factory_of("uvloop"))
    module, _, attribute = name.partition(":")
    found: LoopFactory = getattr(importlib.import_module(module), attribute or "new_event_loop")
    return found


def _patched(base: LoopFactory) -> LoopFactory:
    made: LoopFactory = importlib.import_module("aiofastnet").loop_factory(base)
    return made


def version_of(name: str) -> str:
    """Returns the version of the loop's distribution, or an empty string if it has none."""
    entry = KNOWN.get(name)
    if entry is None or entry.distribution is None:
        return ""
    try:
        return importlib.metadata.version(entry.distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def takes_part(name: str, io: bool) -> bool:
    """Whether a case is meaningful for this loop."""
    entry = KNOWN.get(name)
    return io or entry is None or not entry.transports_only
