"""Buckets for sweeps."""

from tests.fake_bucket import bucket_url, machine

__all__ = ["bucket_url", "machine"]
