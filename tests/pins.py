"""Records of results that tests hold: what may be written over, and what may not."""

from collections.abc import Mapping
from typing import Any


def merged(
    kept: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]
) -> dict[str, Mapping[str, Any]]:
    """Returns the records of `kept` and `now`, of which those of now count.

    Args:
      kept: name -> record, with the `version` that made it and, where the result
        depends on them, its `arguments`.
      now: the same, of what is to be written.

    Raises:
      ValueError: if a record of now differs from that of its name, though version and
        arguments are the same: the code has changed and its VERSION has not.
    """
    same = ("version", "arguments")
    for name, record in now.items():
        before = kept.get(name, record)
        is_same_code = all(before.get(key) == record.get(key) for key in same)
        if is_same_code and before != record:
            raise ValueError(
                f"{name} has other results than it had, so its VERSION must be another "
                f"one: raise it in its module, got {record['version']} as before."
            )
    return {**kept, **now}
