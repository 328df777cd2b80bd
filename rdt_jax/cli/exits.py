"""Exit codes of the command, and errors that the user can put right."""

import contextlib
import errno
import sys
from collections.abc import Iterator, Sequence
from typing import Any

# Success; a run failed; the user made a mistake.
WELL, FAILED, MISTAKE = 0, 1, 2


class Mistake(Exception):
    """An error that the user can put right; reported without a traceback."""


def tell(text: str) -> None:
    """Prints a message on standard error; `sweep.driver` finds its `rdt: ` in logs."""
    print(f"rdt: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def mistakes(
    *kinds: type[Exception],
) -> Iterator[None]:
    """Turns errors of these kinds, by default ValueError, into a Mistake."""
    kinds = kinds or (ValueError,)
    try:
        yield
    except kinds as error:
        raise Mistake(str(error)) from error


@contextlib.contextmanager
def writing_elsewhere(verb: str, place: str = "DIR") -> Iterator[None]:
    """Names the option for another place where one may not be written."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            hint = f"`rdt {verb} --out={place}` writes elsewhere."
            raise Mistake(f"{error}. {hint}") from error
        raise


def report_lost(runs: Sequence[Any], sweep: str) -> int:
    """Reports missing and unreadable runs of a sweep; returns the exit code."""
    from rdt_jax.analysis import runs as run_folders

    description = run_folders.describe_lost(runs)
    if not description:
        return WELL
    tell(f"{sweep}: {description}")
    for run in runs:
        if run.is_lost:
            print(f"  {run.status['message']}", file=sys.stderr)
    return FAILED
