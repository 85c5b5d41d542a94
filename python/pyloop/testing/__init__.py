"""For the tests of programs: a clock that moves by itself, and fixtures for pytest.

`pyloop.testing.plugin` is a pytest plugin, which pytest finds by itself. Nothing here imports pytest.
"""

from ._clock import VirtualClock

__all__ = ("VirtualClock",)
