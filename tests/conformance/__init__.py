"""Runs CPython's own asyncio tests on a loop of choice; `README.md` here says how to read the result."""
