"""Wrong calls of every public method: the exceptions of stock asyncio, in its words where the words are its own."""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .differences import DIFFERENT_ANSWERS
from .outcomes import Outcome, outcome
from .specimens import SPECIMENS, factories, on_a_loop


class Wrong:
    """No number, no buffer, no callable, no socket: nothing that any method takes."""

    def __repr__(self) -> str:
        return "<Wrong>"


# Given for every required parameter at once.
VALUES: dict[str, Any] = {
    "an object": Wrong(),
    "None": None,
    "a negative number": -1,
    "text": "text",
    "bytes": b"bytes",
    "a fraction": 1.5,
    "an empty list": [],
    "an empty tuple": (),
}
# More positional arguments than any method takes; those with `*args` are left alone.
TOO_MANY = 30


class Broken(Outcome):
    """The call was taken, and something came to grief over it afterwards."""


def _required(method: Any) -> list[inspect.Parameter]:
    return [
        parameter
        for parameter in inspect.signature(method).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]


def _takes(method: Any, kind: Any) -> bool:
    return any(parameter.kind is kind for parameter in inspect.signature(method).parameters.values())


def _calls(method: Any) -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    """Wrong arguments for a method, each with a name. Calls that would be right, and have an effect, are left out."""
    required = _required(method)
    if required:
        yield "nothing", (), {}
    if not _takes(method, inspect.Parameter.VAR_POSITIONAL):
        yield "too many", (None,) * TOO_MANY, {}
    if not _takes(method, inspect.Parameter.VAR_KEYWORD):
        yield "an unknown keyword", (None,) * len(required), {"unheard_of": 1}
    positional = [parameter for parameter in required if parameter.kind is not parameter.KEYWORD_ONLY]
    if positional:
        yield "a parameter twice", (None,) * len(positional), {positional[0].name: None}
    for name, value in VALUES.items():
        if required:
            by_keyword = {parameter.name: value for parameter in required if parameter not in positional}
            yield name, (value,) * len(positional), by_keyword
            yield f"{name}, by name", (), {parameter.name: value for parameter in required}


def _methods(kind: str) -> dict[str, Any]:
    """The public methods of stock asyncio's object, bound, by name."""

    async def find(specimen: Any) -> dict[str, Any]:
        return {
            name: getattr(specimen, name)
            for name in dir(specimen)
            if not name.startswith("_") and inspect.isroutine(getattr(specimen, name))
        }

    found: dict[str, Any] = on_a_loop(factories()["asyncio"], kind, find)
    return found


def _answer(factory: Callable[[], Any], kind: str, name: str, args: Any, keywords: Any) -> Outcome:
    async def call(specimen: Any) -> Outcome:
        reported: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context))
        found = await outcome(lambda: getattr(specimen, name)(*args, **keywords))
        for _ in range(3):
            await asyncio.sleep(0)
        return Broken() if reported and found.message is None else found

    try:
        answer: Outcome = on_a_loop(factory, kind, call)
    except Exception as error:
        return Broken(error=error)
    return answer


def _disagreements(kind: str) -> dict[tuple[str, str, str], dict[str, Outcome]]:
    made = factories()
    found = {}
    for name, method in _methods(kind).items():
        for what, args, keywords in _calls(method):
            stock, ours = (_answer(made[loop], kind, name, args, keywords) for loop in ("asyncio", "pyloop"))
            # What asyncio takes and then trips over may be refused at once.
            refused = isinstance(stock, Broken) and ours.message is not None
            if not refused and not ours.agrees_with(stock):
                found[kind, name, what] = {"asyncio": stock, "pyloop": ours}
    return found


@pytest.mark.filterwarnings(
    # A wrong call that asyncio trips over may keep its loop, and what that holds, from being closed.
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
@pytest.mark.parametrize("kind", SPECIMENS)
def test_wrong_calls_are_answered_alike(kind: str) -> None:
    found = _disagreements(kind)
    gc.collect()  # What was left warns now, and to this test.
    listed = {key for key in DIFFERENT_ANSWERS if key[0] == kind}
    assert {key: answers for key, answers in found.items() if key not in listed} == {}
    assert listed - set(found) == set(), "listed, but answered alike"
