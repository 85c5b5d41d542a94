"""Tests of the project itself: what it may depend on, what importing it does, and that its examples run."""
