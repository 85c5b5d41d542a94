"""How long tests look for surprises among random cases, and what makes a case happen again."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator

# By each test. `make test` runs all of them on every Python; a longer search is somebody's wish.
SECONDS = float(os.environ.get("PYLOOP_FUZZ_SECONDS", "1"))


def seeds() -> Iterator[int]:
    """Returns seeds of cases, for `SECONDS`; a test names the seed of a case that fails."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        yield random.randrange(1 << 32)
