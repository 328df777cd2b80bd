"""What installed packages add to a table, through entry points."""

import functools
import importlib.metadata
import re
from collections.abc import Callable, Mapping

RESERVED = ("check", "export")  # `rdt tasks check NAME` is no task.


def extend(group: str, built_in: Mapping[str, Callable]) -> Mapping[str, Callable]:
    """Returns `built_in` and the entry points of `group`, by name.

    The entry points are read once in a process.

    Raises:
      ValueError: if a name is taken, reserved or not in lower case with underscores,
        or if an entry point cannot be loaded.
    """
    table = dict(built_in)
    owner = dict.fromkeys(table, "rdt_jax")
    for name, package, load in _entry_points(group):
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in RESERVED:
            raise ValueError(
                f"Package {package} must name its entry points {group} in lower case "
                f"with underscores, and not {' or '.join(RESERVED)}, got {name!r}."
            )
        if name in table:
            raise ValueError(
                f"Packages {owner[name]} and {package} both offer {group} {name!r}; "
                "rename one, or uninstall one of the packages."
            )
        table[name], owner[name] = load(), package
    return table


@functools.cache
def _entry_points(group: str) -> list[tuple[str, str, Callable[[], Callable]]]:
    found = []
    for point in importlib.metadata.entry_points(group=group):
        package = point.dist.name if point.dist else "unknown"
        load = functools.partial(_load, point, package)
        found.append((point.name, package, functools.cache(load)))
    return sorted(found, key=lambda entry: entry[:2])


def _load(point: importlib.metadata.EntryPoint, package: str) -> Callable:
    try:
        return point.load()
    # Anything can go wrong in other people's modules.
    except (Exception, SystemExit) as error:
        raise ValueError(
            f"Package {package} offers {point.group} {point.name!r} as {point.value}, "
            f"which cannot be loaded: {error!r}."
        ) from error
