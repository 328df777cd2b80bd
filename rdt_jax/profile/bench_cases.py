"""The cases of `rdt bench`: what each measures, and what must come out."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ml_collections

from rdt_jax import config as configs
from rdt_jax.training import validation

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Bound(NamedTuple):
    """What a quantity of a case must reach."""

    quantity: str  # its name among those of the case
    at_least: float | None = None  # None for no such bound
    at_most: float | None = None  # None for no such bound
    aim: float | None = None  # a further value that is hoped for


class Updates(NamedTuple):
    """Updates of one run: their rate, `share of peak`, and `ratio` to PyTorch's."""

    config: str  # FILE.py:PRESET, from the repository's root
    overrides: Mapping[str, Any]  # on top of it
    bounds: Sequence[Bound] = ()  # what must come out
    against_torch: bool = False  # whether PyTorch trains it as well
    # Tokens to which PyTorch pads a row; None for no more than we do.
    torch_length: int | None = None
    seconds: float = 2.0  # that a dispatch lasts, about
    rounds: int = 5  # dispatches of each


class Seeds(NamedTuple):
    """Seeds of one run, trained as `rdt sweep` would and in other packings.

    A program is named by its processes and the lanes that each trains at a time. The
    `ratio` is that of `rdt sweep` by default to PyTorch's runs one after another.
    """

    config: str  # FILE.py:PRESET, from the repository's root
    overrides: Mapping[str, Any]  # on top of it
    bounds: Sequence[Bound] = ()  # what must come out
    num_seeds: int = 8  # trials
    seconds: float = 2.0  # that a dispatch lasts, about
    rounds: int = 5  # dispatches of each


class Loops(NamedTuple):
    """What more loops cost to compile and in temporary memory, with `remat` full.

    `compile seconds` is the ratio of medians; `growth of memory` is relative to the
    states of the loops that came to it (B T D numbers of four bytes each).
    """

    config: str  # FILE.py:PRESET, from the repository's root
    overrides: Mapping[str, Any]  # on top of it
    bounds: Sequence[Bound] = ()  # what must come out
    loops: tuple[int, int] = (4, 32)  # few and many


class Overhead(NamedTuple):
    """A whole `rdt train`: the `share of wall time` that is no training dispatch.

    From the first evaluation (which compiles) to the run's last status, without the
    compilation of the training chunk.
    """

    config: str  # FILE.py:PRESET, from the repository's root
    overrides: Mapping[str, Any]  # on top of it
    bounds: Sequence[Bound] = ()  # what must come out


Case = Updates | Seeds | Loops | Overhead


def read_cases(path: pathlib.Path, names: Sequence[str] = ()) -> dict[str, Case]:
    """Returns the cases of a file, CASES, or the named ones among them, checked.

    ValueError if the file or a case does not exist, or a config is wrong.
    """
    module = configs.load_module(path, "cases")
    cases = getattr(module, "CASES", None)
    if not cases:
        raise ValueError(f"{path} must define CASES, a table of cases.")
    if unknown := [name for name in names if name not in cases]:
        raise ValueError(
            f"Unknown case {', '.join(unknown)}; choose from {', '.join(cases)}."
        )
    chosen = {name: cases[name] for name in names or cases}
    for case in chosen.values():
        validation.check(resolve(case))
    return chosen


def resolve(case: Case) -> ml_collections.ConfigDict:
    """Returns the config of a case; ValueError if it cannot be made."""
    config = configs.load(str(ROOT / case.config))
    return configs.override(config, dict(case.overrides))
