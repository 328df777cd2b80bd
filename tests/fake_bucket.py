"""A workdir in fsspec's memory file system, and outages of its store."""

import contextlib
import time

import fsspec
import pytest

from rdt_jax.store.bucket import Bucket


@pytest.fixture
def bucket_url(tmp_path):
    """The name of an empty bucket."""
    yield f"memory://{tmp_path.name}"
    with contextlib.suppress(FileNotFoundError):  # Not all write to it.
        fsspec.filesystem("memory").rm(f"/{tmp_path.name}", recursive=True)


@pytest.fixture
def machine(bucket_url, tmp_path):
    """Returns a function that gives a machine with an empty disk its copy."""
    return lambda name: Bucket.connect(bucket_url, tmp_path / name)


@pytest.fixture
def clock(monkeypatch):
    """Seconds that have passed, of which sleeping takes no time."""
    passed = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: passed[0])
    monkeypatch.setattr(
        time, "sleep", lambda seconds: passed.append(passed.pop() + seconds)
    )
    return passed


class Outage:
    """A file system that does not answer some of its calls.

    Attributes:
      calls: that it answers; after as many failures as `fails` says it answers again.
      kind: of the error.
      lost: whether it does what it was asked, before it fails.
    """

    def __init__(self, fs, calls, fails, kind=ConnectionError, lost=False):
        self.fs, self.calls, self.fails, self.kind = fs, calls, fails, kind
        self.lost, self.failed = lost, 0

    def __getattr__(self, name):
        call = getattr(self.fs, name)
        return call if name == "invalidate_cache" else lambda *a, **n: self(call, a, n)

    def __call__(self, call, arguments, named):
        self.calls -= 1
        if self.calls >= 0 or self.failed == self.fails:
            return call(*arguments, **named)
        self.failed += 1
        if self.lost:
            call(*arguments, **named)
        raise self.kind("an outage")
