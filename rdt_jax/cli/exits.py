"""How the command ends: its exit codes, and the mistakes that a user can put right."""

import contextlib
from collections.abc import Iterator

# All is well; a run failed; the user made a mistake.
WELL, FAILED, MISTAKE = 0, 1, 2


class Mistake(Exception):
    """Something the user can put right; reported without a traceback."""


@contextlib.contextmanager
def mistakes(
    *kinds: type[Exception],
) -> Iterator[None]:
    """Turns errors of these kinds, by default ValueError and TypeError, into one."""
    kinds = kinds or (ValueError, TypeError)
    try:
        yield
    except kinds as error:
        raise Mistake(str(error)) from error
