"""What installed packages add to a table, through entry points."""

import functools
import importlib.metadata
import inspect
import pathlib
import re
from collections.abc import Callable, Mapping

from rdt_jax import user_code

RESERVED = ("check", "export")  # `rdt tasks check NAME` is no task.


def extend(
    group: str,
    built_in: Mapping[str, Callable],
    expected: str,
    is_valid: Callable[..., bool],
    of_rows: Callable[[Callable], Callable] = lambda function: function,
) -> Mapping[str, Callable]:
    """Returns `built_in` and the entry points of `group`, by name, which are read once.

    Their functions are called by `user_code.call`, so that what goes wrong in them, or
    is not valid, is a ValueError with their line; generator functions are made tasks by
    `of_rows`. ValueError too if a name is taken, reserved or not in lower case with
    underscores, or if an entry point cannot be loaded or is no function.
    """
    table = dict(built_in)
    owner = dict.fromkeys(table, "rdt_jax")
    for name, package, load in entry_points(group):
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
        kind = group.rpartition(".")[2].removesuffix("s")
        must = f"The function of {kind} {name} must return {expected}"
        function, owner[name] = load(), package
        function = (
            of_rows(function) if inspect.isgeneratorfunction(function) else function
        )
        table[name] = guarded(function, must, is_valid)
    return table


def guarded(function: Callable, expected: str, is_valid: Callable) -> Callable:
    """Returns a function of the user's that is called by `user_code.call`.

    `expected` is a demand on its result, a sentence without its period, and `is_valid`
    says whether that is its first argument, given those of the function too.
    """
    path = pathlib.Path(inspect.getfile(inspect.unwrap(function))).resolve()

    @functools.wraps(function)
    def guarded(*arguments, **keywords):
        return user_code.call(
            path,
            functools.partial(function, *arguments, **keywords),
            expected=expected,
            is_valid=lambda value: is_valid(value, *arguments, **keywords),
        )

    return guarded


@functools.cache
def entry_points(group: str) -> list[tuple[str, str, Callable[[], Callable]]]:
    """Returns name, package and loader of each entry point that is installed.

    It looks once a process; `entry_points.cache_clear()` makes it look again.
    """
    found = []
    for point in importlib.metadata.entry_points(group=group):
        package = point.dist.name if point.dist else "unknown"
        load = functools.partial(_load, point, package)
        found.append((point.name, package, functools.cache(load)))
    return sorted(found, key=lambda entry: entry[:2])


def _load(point: importlib.metadata.EntryPoint, package: str) -> Callable:
    module = point.module.replace(".", "/")
    path = pathlib.Path(str(point.dist.locate_file(module) if point.dist else module))
    return user_code.call(
        path / "__init__.py" if path.is_dir() else path.with_suffix(".py"),
        point.load,
        expected=f"Package {package} offers {point.group} {point.name!r} as "
        f"{point.value}, which must be a function",
        is_valid=lambda found: inspect.isfunction(inspect.unwrap(found)),
    )
