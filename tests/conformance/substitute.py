"""Makes one event loop the only one that CPython's asyncio tests can get hold of, inside the present process.

Nothing on disk is touched. The tests reach a loop in four ways, and each is led to the loop under test: the default
policy, the names `asyncio.SelectorEventLoop` and `asyncio.EventLoop`, `create_event_loop()` of the mixin classes, and
`new_test_loop()`, which otherwise hands out a simulation. Some classes complete a bare `BaseEventLoop` with mocks; a
complete loop needs none of them, and most of those tests hold for it as well.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import unittest
from collections.abc import Callable
from typing import Any
from unittest import mock

LOOPS = ("pyloop", "asyncio", "uvloop")

SCRIPTED_CLOCK = "drives a simulated loop by a scripted clock, which a loop on the real clock cannot follow"

_CLASS_NAMES = {"pyloop": "PyLoop", "uvloop": "Loop"}


class LoopUnderTest:
    """The class of the loop under test, and how many loops of it have been created in this process."""

    def __init__(self, loop_class: type[asyncio.AbstractEventLoop], policy: Any) -> None:
        self.loop_class = loop_class
        self.policy = policy
        self.created = 0

    def count_creations(self) -> None:
        """Counts every loop created from now on, subclasses included.

        The report needs the number: a test that passes without having made a loop says nothing about the loop.
        """
        original: Callable[..., None] = self.loop_class.__init__

        @functools.wraps(original)
        def counting(loop: Any, *args: Any, **keywords: Any) -> None:
            self.created += 1
            original(loop, *args, **keywords)

        setattr(self.loop_class, "__init__", counting)  # noqa: B010  (mypy rejects the plain assignment)


def find_loop(name: str) -> LoopUnderTest:
    """Imports the loop called `name`; stock asyncio keeps its own policy, so that it can serve as the oracle."""
    if name == "asyncio":
        return LoopUnderTest(asyncio.SelectorEventLoop, None)
    module = importlib.import_module(name)
    return LoopUnderTest(getattr(module, _CLASS_NAMES[name]), module.EventLoopPolicy)


def install(name: str) -> LoopUnderTest:
    """Puts the loop called `name` where the tests look for one; to be called before any test module is imported."""
    loop = find_loop(name)
    loop.count_creations()
    _replace_simulated_loop(loop)  # first: importing it derives a class from the genuine BaseEventLoop
    if loop.policy is not None:
        _set_existing(asyncio, "DefaultEventLoopPolicy", loop.policy)
        _set_existing(asyncio.unix_events, "DefaultEventLoopPolicy", loop.policy)
        _set_existing(asyncio.unix_events, "_DefaultEventLoopPolicy", loop.policy)  # 3.14 and later
    _set_existing(asyncio, "SelectorEventLoop", loop.loop_class)
    _set_existing(asyncio, "EventLoop", loop.loop_class)
    return loop


def adapt(case: type[unittest.TestCase], loop: LoopUnderTest) -> None:
    """Makes a test class that builds its loop from chosen parts build the loop under test instead."""
    if hasattr(case, "create_event_loop"):
        setattr(case, "create_event_loop", lambda _self: loop.loop_class())  # noqa: B010
    elif hasattr(case, "_run_loop") and case.__module__.endswith(".test_tasks"):
        setattr(case, "_run_loop", _run_until_idle)  # noqa: B010
    elif case.setUp.__qualname__ in _MOCKED_SET_UPS and case.__module__.endswith((".test_base_events", ".test_pep492")):

        def set_up(self: Any) -> None:
            importlib.import_module("test.test_asyncio.utils").TestCase.setUp(self)
            self.loop = _refusing_mocks(loop.loop_class)()
            self.set_event_loop(self.loop)

        setattr(case, "setUp", set_up)  # noqa: B010
    elif case.__module__.endswith(".test_runners"):
        setattr(case, "new_loop", lambda _self: _new_loop_for_runners(loop.loop_class))  # noqa: B010


# They make a `BaseEventLoop` and go on to script the mock that they gave it as a selector.
_MOCKED_SET_UPS = ("BaseEventLoopTests.setUp", "BaseTest.setUp")


def _run_until_idle(_self: object, loop: Any) -> None:
    """Takes the place of a `_run_loop` that asks the private `_ready` whether there is anything left to run."""
    run_briefly = importlib.import_module("test.test_asyncio.utils").run_briefly
    for _ in range(10):  # `gather`, which is what is tested, settles within three iterations
        run_briefly(loop)


def _new_loop_for_runners(loop_class: Callable[[], Any]) -> Any:
    """Takes the place of `test_runners.BaseTest.new_loop`, with the one mock that its tests look at."""
    loop = loop_class()
    loop.shutdown_ag_run = False

    async def shutdown_asyncgens() -> None:
        loop.shutdown_ag_run = True

    loop.shutdown_asyncgens = shutdown_asyncgens
    return loop


def _refusing_mocks(loop_class: type[asyncio.AbstractEventLoop]) -> type[asyncio.AbstractEventLoop]:
    """Returns a subclass in which the mocks that complete a bare `BaseEventLoop` find no place."""

    def set_attribute(self: object, name: str, value: object) -> None:
        if name not in ("_process_events", "_write_to_self") or not isinstance(value, mock.NonCallableMock):
            object.__setattr__(self, name, value)

    return type(loop_class.__name__, (loop_class,), {"__setattr__": set_attribute})


def _replace_simulated_loop(loop: LoopUnderTest) -> None:
    """Hands out real loops where CPython's tests want a simulated one whose clock they do not script."""
    utils = importlib.import_module("test.test_asyncio.utils")

    def new_test_loop(self: Any, gen: Any = None) -> asyncio.AbstractEventLoop:
        if gen is not None:
            self.skipTest(SCRIPTED_CLOCK)
        created = loop.loop_class()
        self.set_event_loop(created)
        return created

    utils.TestCase.new_test_loop = new_test_loop


def _set_existing(owner: Any, name: str, value: object) -> None:
    """Replaces an attribute that is there; Pythons differ in which they have."""
    if name in vars(owner):
        setattr(owner, name, value)
