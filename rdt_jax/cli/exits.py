"""How the command ends: its exit codes, and the mistakes that a user can put right."""

import contextlib
import errno
import sys
from collections.abc import Iterator, Sequence
from typing import Any

# All is well; a run failed; the user made a mistake.
WELL, FAILED, MISTAKE = 0, 1, 2


class Mistake(Exception):
    """Something the user can put right; reported without a traceback."""


def tell(text: str) -> None:
    """Says something on standard error; `sweep.driver` looks for `rdt: ` in logs."""
    print(f"rdt: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def mistakes(
    *kinds: type[Exception],
) -> Iterator[None]:
    """Turns errors of these kinds, by default ValueError, into one."""
    kinds = kinds or (ValueError,)
    try:
        yield
    except kinds as error:
        raise Mistake(str(error)) from error


@contextlib.contextmanager
def writing_elsewhere(verb: str) -> Iterator[None]:
    """Where a folder refuses what is written, names the option for another one."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            hint = f"`rdt {verb} --out=DIR` writes elsewhere."
            raise Mistake(f"{error}. {hint}") from error
        raise


def report_lost(runs: Sequence[Any], sweep: str) -> int:
    """Says which runs of a sweep are missing or unreadable; returns the exit code."""
    from rdt_jax.analysis import runs as run_folders

    lost = run_folders.describe_lost(runs)
    if not lost:
        return WELL
    tell(f"{sweep}: {lost}")
    for run in runs:
        if run.is_lost:
            print(f"  {run.status['message']}", file=sys.stderr)
    return FAILED
