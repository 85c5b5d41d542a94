"""Every public name of every object: there, of the same kind, with the same signature."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

from .differences import DIFFERENT_SIGNATURES, MISSING_NAMES
from .specimens import SPECIMENS, factories, on_a_loop

# What asyncio documents for programs that define transports and loops, on top of the public names.
_OPERATORS = {
    "timer": ("__eq__", "__ge__", "__gt__", "__hash__", "__le__", "__lt__"),
    "server": ("__aenter__", "__aexit__"),
}


def _public_names(specimen: Any, kind: str) -> set[str]:
    return {name for name in dir(specimen) if not name.startswith("_")} | set(_OPERATORS.get(kind, ()))


def _parameters(method: Any) -> list[tuple[str, str, Any]]:
    return [
        (parameter.name, parameter.kind.description, parameter.default)
        for parameter in inspect.signature(method).parameters.values()
    ]


def _what(value: Any) -> str:
    if inspect.iscoroutinefunction(value):
        return "coroutine function"
    return "method" if callable(value) else "attribute"


def _described(kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of both loops, by name: what an attribute is, and the parameters of a method."""

    async def describe(specimen: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in _public_names(specimen, kind):
            value = getattr(specimen, name)
            found[name] = (_what(value), _parameters(value) if inspect.isroutine(value) else None)
        return found

    made = factories()
    return on_a_loop(made["asyncio"], kind, describe), on_a_loop(made["pyloop"], kind, describe)


@pytest.mark.parametrize("kind", SPECIMENS)
def test_every_public_name_is_there_and_of_the_same_kind(kind: str) -> None:
    stock, ours = _described(kind)
    missing = {name for name in stock if name not in ours and (kind, name) not in MISSING_NAMES}
    assert missing == set()
    other = {name: (ours[name][0], stock[name][0]) for name in stock if name in ours}
    assert {name: kinds for name, kinds in other.items() if kinds[0] != kinds[1]} == {}


@pytest.mark.parametrize("kind", SPECIMENS)
def test_every_method_has_the_signature_of_asyncios(kind: str) -> None:
    stock, ours = _described(kind)
    wrong = {
        name: {"asyncio": stock[name][1], "pyloop": ours[name][1]}
        for name in stock
        if name in ours and stock[name][1] != ours[name][1] and (kind, name) not in DIFFERENT_SIGNATURES
    }
    assert wrong == {}


def test_every_difference_that_is_listed_is_one() -> None:
    described = {kind: _described(kind) for kind in {kind for kind, _ in (*MISSING_NAMES, *DIFFERENT_SIGNATURES)}}
    for kind, name in MISSING_NAMES:
        stock, ours = described[kind]
        assert name in stock and name not in ours, f"{kind}.{name} is not missing"
    for kind, name in DIFFERENT_SIGNATURES:
        stock, ours = described[kind]
        assert stock[name][1] != ours[name][1], f"{kind}.{name} has the signature of asyncio's"


def test_the_abstract_loop_has_no_method_that_is_left_out() -> None:
    import pyloop

    for name, method in vars(asyncio.AbstractEventLoop).items():
        if name.startswith("_") and not name.startswith("__"):
            continue
        assert getattr(pyloop.PyLoop, name) is not method or not callable(method) or name in object.__dict__, name
