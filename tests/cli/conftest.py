"""A bucket for verbs that read."""

from tests.fake_bucket import bucket_url

__all__ = ["bucket_url"]
