"""The toy run of the training tests, for what it leaves in a workdir; buckets."""

from tests.fake_bucket import bucket_url, clock, machine
from tests.training.conftest import build, toy, train, undisturbed

__all__ = [
    "bucket_url", "build", "clock", "machine", "toy", "train", "undisturbed",
]  # fmt: skip
