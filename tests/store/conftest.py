"""The toy run of the training tests, for what it leaves in a workdir."""

from tests.training.conftest import build, toy, train, undisturbed

__all__ = ["build", "toy", "train", "undisturbed"]
