"""Lets `python -m tests.conformance` run the suite."""

import sys

from .cli import main

sys.exit(main())
