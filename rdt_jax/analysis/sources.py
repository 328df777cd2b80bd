"""Which code the result of a measure depends on, so that a stored one can be stale."""

import ast
import functools
import hashlib
import pathlib
from collections.abc import Iterator

_ROOT = pathlib.Path(__file__).parents[2]
_ANALYSIS = _ROOT / "rdt_jax" / "analysis"
_MODELS = _ROOT / "rdt_jax" / "models"


def fingerprint(path: pathlib.Path) -> str:
    """Returns a hash of the code that a measure runs, whatever its comments and layout.

    It is that of the measure's file, of the files of this package that it imports and
    those that they import in turn, of what these import from other layers, and of all
    of rdt_jax/models. What those other layers import is not followed: most of it reads
    configs and makes tables, and a run is named by its config.

    Args:
      path: of the file that holds the measure.
    """
    files = sorted({*_reached(path), *_MODELS.glob("*.py")})
    return hashlib.sha256("".join(map(_digest, files)).encode()).hexdigest()


def _reached(path: pathlib.Path) -> set[pathlib.Path]:
    found, left = {path}, [path]
    while left:
        new = set(_imported(left.pop())) - found
        found |= new
        left += [each for each in new if each.parent == _ANALYSIS]
    return found


@functools.cache
def _imported(path: pathlib.Path) -> frozenset[pathlib.Path]:
    names: set[str] = set()
    for node in ast.walk(_parse(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            # What is imported is a module of its own, or is part of one.
            names |= {node.module, *(f"{node.module}.{a.name}" for a in node.names)}
    return frozenset(file for name in names for file in _files_of(name))


def _files_of(module: str) -> Iterator[pathlib.Path]:
    name, *rest = module.split(".")
    if name == "rdt_jax":
        place = _ROOT.joinpath(name, *rest)
        yield from filter(
            pathlib.Path.is_file, (place.with_suffix(".py"), place / "__init__.py")
        )


@functools.cache
def _digest(path: pathlib.Path) -> str:
    return hashlib.sha256(ast.dump(_parse(path)).encode()).hexdigest()


def _parse(path: pathlib.Path) -> ast.Module:
    return ast.parse(path.read_text())
