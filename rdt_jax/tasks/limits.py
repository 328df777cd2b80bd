"""Limits of a task's arguments; a value beyond one is a ValueError that names its key.

What holds of several arguments at once is said by what stands before or behind the
limit: `limits.at_least(7, "max_hops + 2 = ", length=5)` raises `task.kwargs.length must
be at least max_hops + 2 = 7, got 5.`
"""

from collections.abc import Iterable
from typing import Any


def require(holds: bool, key: str, must: str, value: Any) -> None:
    """Raises ValueError `task.kwargs.KEY must MUST, got VALUE.` unless it holds."""
    if not holds:
        raise ValueError(f"task.kwargs.{key} must {must}, got {value}.")


def at_least(least: int, why: str = "", /, **values: int) -> None:
    """Raises ValueError for the first of the arguments that is less than `least`.

    The reason for it, `why`, is shown before it, such as "max_hops + 1 = ".
    """
    for key, value in values.items():
        require(value >= least, key, f"be at least {why}{least}", value)


def inside(low: int, high: int, why: str = "", /, **values: int) -> None:
    """Raises ValueError for the first of the arguments outside of [low, high].

    The reason for them, `why`, is shown behind them, such as " with groups".
    """
    for key, value in values.items():
        require(low <= value <= high, key, f"be in [{low}, {high}]{why}", value)


def one_of(choices: Iterable[str], **values: str) -> None:
    """Raises ValueError for the first of the arguments that is none of `choices`."""
    for key, value in values.items():
        require(value in choices, key, f"be one of {', '.join(choices)}", repr(value))


def share(low_open: bool, **values: float) -> None:
    """Raises ValueError for the first of the arguments that is no share of a whole.

    It is 0 (refused too if `low_open`) or more, and less than 1.
    """
    interval = "(0, 1)" if low_open else "[0, 1)"
    for key, value in values.items():
        inside = 0 < value < 1 or (value == 0 and not low_open)
        require(inside, key, f"be in {interval}", value)
