"""Waiting for what another process does."""

import time


def wait_until(condition, what, seconds=30.0):
    """Until the condition is true; a test that waits longer fails, and says for what."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not in time: {what}"
        time.sleep(0.02)
