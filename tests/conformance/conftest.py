"""Fixtures of the conformance suite."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def bounded_time() -> None:
    """Takes the place of the bound for all other tests: a class of CPython's may take long, and each test in it has its
    own bound in the process that runs it."""
