"""A bucket for verbs that read, and processes that end with their test."""

import pytest

from tests.fake_bucket import bucket_url

__all__ = ["bucket_url", "started"]


@pytest.fixture
def started():
    """An empty list of processes; what it has in the end is ended."""
    processes = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()
