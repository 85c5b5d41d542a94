"""The loops that a suite can be run on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pyloop import new_event_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# By the names that tests are shown with. asyncio's own is named by its class: a policy may make others.
LOOP_FACTORIES: Mapping[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "pyloop": new_event_loop,
}
