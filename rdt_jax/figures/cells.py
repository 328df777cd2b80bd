"""What the cells of a sweep are called, and where they stand on a page.

sweep = cells.Sweep.of(runs)
sweep.keys                      # ("recurrence.num_loops", "model.width")
sweep.label((2, 64))            # "R = 2, width 64"
sweep.cells[2, 64]              # the runs of that cell, by ascending seeds
"""

import dataclasses
import functools
import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rdt_jax import config as configs
from rdt_jax import wording
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.runs import BLOCKS, LOOPS, SEEDS, WEIGHT_DECAY, Run
from rdt_jax.figures import palette
from rdt_jax.sweep import links

_NAMES = {LOOPS: "R", WEIGHT_DECAY: "decay"}
_KINDS = ("name", "preset")  # Such as optimizer.name: the section says more.
_LONGEST = 20  # characters of a value


class Placed(NamedTuple):
    """Where cells stand: as panels, or as the fields of a diagram."""

    # Cells by their values, a row after the other, also those without runs.
    rows: Sequence[Sequence[tuple]]
    # Texts above the cells, by row; of a grid above the first row only.
    titles: Sequence[Sequence[str]]
    sides: Sequence[str] = ()  # texts beside the rows; of panels in a grid only
    is_list: bool = False  # whether the cells stand one after the other, and in no grid
    left_out: int = 0  # number of cells for which the page has no room


@dataclasses.dataclass(frozen=True, eq=False)
class Sweep:
    """Runs by cell, and how axes, values and cells are written."""

    keys: tuple[str, ...]  # axes that are shown, dotted config keys
    cells: Mapping[tuple, Sequence[Run]]  # runs by the values of the axes, ascending

    @classmethod
    def of(cls, runs: Sequence[Run]) -> "Sweep":
        """Returns the sweep that runs are; its axes are those of `runs.shown_axes`."""
        keys = run_folders.shown_axes(runs)
        return cls(keys, run_folders.group(runs, keys))

    @functools.cached_property
    def values(self) -> Mapping[str, list[Any]]:
        """The values of each axis, ascending."""
        runs = [run for members in self.cells.values() for run in members]
        return {key: run_folders.values_of(runs, key) for key in self.keys}

    @property
    def first(self) -> list[Any]:
        """The values of the first axis, ascending."""
        return self.values[self.keys[0]]

    @functools.cached_property
    def rest(self) -> list[tuple]:
        """The values of the other axes that go with any of the first."""
        others = itertools.product(*(self.values[key] for key in self.keys[1:]))
        known = {cell[1:] for cell in self.cells}
        return [values for values in others if values in known]

    @property
    def by_first(self) -> dict[str, list[Run]]:
        """The runs of each value of the first axis, by its name: `R = 2`."""
        found: dict[str, list[Run]] = {}
        for (value, *_), members in self.cells.items():
            name = self._phrase(self.keys[0], value)
            found.setdefault(name, []).extend(members)
        return found

    @property
    def is_full(self) -> bool:
        """Whether cells are at least half of the first axis times all others."""
        return len(self.first) * len(self.rest) <= 2 * len(self.cells)

    @property
    def styles(self) -> Mapping[Any, palette.Style]:
        """How lines of the values of the first axis are drawn, if there are few."""
        if self.keys[0] == LOOPS:
            return palette.of_each_loops(self.first)
        if all(isinstance(value, int | float) for value in self.first):
            return palette.shades_of(self.first)
        return {value: palette.of_place(i) for i, value in enumerate(self.first)}

    @functools.cached_property
    def _seeds(self) -> Mapping[str, int]:
        """The number of values of each of SEEDS that has several."""
        runs = [run for members in self.cells.values() for run in members]
        counts = {key: len(run_folders.values_of(runs, key)) for key in SEEDS}
        return {key: count for key, count in counts.items() if count > 1}

    @property
    def repeats(self) -> str:
        """What repeats a cell: `seed`, or `run` where other seeds differ too."""
        return "seed" if set(self._seeds) <= {"seed"} else "run"

    @property
    def repetitions(self) -> str:
        """How often cells are repeated: `3 seeds`, `6 runs: 2 graphs x 3 seeds`.

        What a task draws by its seed is a graph where it has entities, else a split.
        """
        total = wording.count(self.most_runs, self.repeats)
        if self.repeats == "seed":
            return total
        runs = [run for members in self.cells.values() for run in members]
        has_graph = any("num_entities" in run.config.task.kwargs for run in runs)
        words = {"task.seed": "graph" if has_graph else "split"}
        counts = [
            wording.count(self._seeds[key], words.get(key, key.replace(".", " ")))
            for key in ("task.seed", "recurrence.seed", "seed")
            if key in self._seeds
        ]
        is_product = math.prod(self._seeds.values()) == self.most_runs
        return f"{total}: {(' x ' if is_product else ', ').join(counts)}"

    @property
    def most_runs(self) -> int:
        """The number of runs of the largest cell."""
        return max(map(len, self.cells.values()), default=0)

    def name(self, key: str) -> str:
        """Names an axis by the shortest end of its key that is no other axis's."""
        names = {k: short for short, k in configs.short_names(self.keys).items()}
        short = key.split(".")[-2] if names[key] in _KINDS else names[key]
        return _NAMES.get(key, short.replace("_", " "))

    def axis_title(self, key: str) -> str:
        """Names an axis in full: `training loops R`, `weight decay`, `width`."""
        full = {LOOPS: "training loops R", WEIGHT_DECAY: "weight decay"}
        return full.get(key) or self.name(key)

    def written(self, key: str, value: Any) -> str:
        """Writes a value of an axis, as briefly as it differs from the others."""
        for digits in (3, 6, 9):
            texts = [_briefly(other, digits) for other in self.values[key]]
            if len(set(texts)) == len(texts):
                return _briefly(value, digits)
        return _briefly(value, 17)

    def title(self, key: str, value: Any) -> str:
        """Writes an axis and a value in full: `R = 2 loops`, `weight decay 0.1`."""
        if key == LOOPS:
            return "R = 1 (no loop)" if value == 1 else f"R = {value} loops"
        return f"{self.axis_title(key)} {self.written(key, value)}"

    def label(self, values: tuple, keys: Sequence[str] | None = None) -> str:
        """Writes the values of a cell: `R = 2, decay 0.1, optimizer muon`."""
        keys = self.keys if keys is None else keys
        if len(keys) == 1:
            return self.title(keys[0], *values)
        return ", ".join(map(self._phrase, keys, values))

    def _phrase(self, key: str, value: Any) -> str:
        if key == BLOCKS:
            return wording.count(value, "block")
        return f"{self.name(key)}{' =' * (key == LOOPS)} {self.written(key, value)}"

    def _crossed(self, most: int) -> tuple[str, list[tuple]] | None:
        """Returns an axis that all combinations of the others go with, and these.

        It is the last there is; None if there is none, or if more than `most` combine.
        """
        for place in reversed(range(len(self.keys))):
            key = self.keys[place]
            others = [cell[:place] + cell[place + 1 :] for cell in self.cells]
            combined = list(dict.fromkeys(others))
            is_full = len(combined) * len(self.values[key]) == len(self.cells)
            if is_full and len(self.keys) > 2 and len(combined) <= most:
                return key, combined
        return None

    def panels(self, columns: int, most: int) -> Placed:
        """Places the cells as panels: `most` on a page, `columns` beside each other."""
        if len(self.keys) == 2 and self.is_full:
            across, down = self.keys
            if len(self.first) > columns:
                across, down = down, across
            beside, below = self.values[across], self.values[down]
            if len(beside) <= columns and len(beside) * len(below) <= most:
                order = 1 if across == self.keys[0] else -1
                return Placed(
                    rows=[[(x, y)[::order] for x in beside] for y in below],
                    titles=[[self.title(across, x) for x in beside]],
                    sides=[self.title(down, y) for y in below],
                )
        if (found := self._crossed(columns)) and len(self.cells) <= most:
            key, combined = found
            place = self.keys.index(key)
            rest = [other for other in self.keys if other != key]
            return Placed(
                rows=[
                    [(*c[:place], value, *c[place:]) for c in combined]
                    for value in self.values[key]
                ],
                titles=[[self.label(each, rest) for each in combined]],
                sides=[self.title(key, value) for value in self.values[key]],
            )
        shown = list(self.cells)[:most]
        lines = -(-len(shown) // min(columns, 4))
        width = -(-len(shown) // lines)
        rows = [shown[i : i + width] for i in range(0, len(shown), width)]
        titles = [list(map(self.label, row)) for row in rows]
        left_out = len(self.cells) - len(shown)
        return Placed(rows, titles, is_list=True, left_out=left_out)

    def diagram(self, columns: int, most: int) -> Placed:
        """Places the cells as fields, `columns` across at most and `most` rows.

        The first axis is by rows, the second by columns.
        """
        first, *others = self.keys
        if len(self.keys) < 3 and self.is_full and len(self.rest) <= columns:
            if 2 * len(self.first) <= most:  # Rows of a grid are twice as high.
                above = [
                    "".join(
                        self.written(*pair) for pair in zip(others, rest, strict=True)
                    )
                    for rest in self.rest
                ]
                return Placed(
                    rows=[
                        [(value, *rest) for rest in self.rest] for value in self.first
                    ],
                    titles=[above],
                    sides=[self.written(first, value) for value in self.first],
                )
        rows = [[cell] for cell in self.cells][:most]
        sides = [self.label(cell) for (cell,) in rows]
        return Placed(rows, [[""]], sides, True, len(self.cells) - len(rows))


def folded(label: str, width: int) -> str:
    """Breaks a label into lines, between its axes where these are not too long."""
    parts = label.split(", ")
    kept = [p.replace(" ", "\xa0") if len(p) < width else p for p in parts]
    return textwrap.fill(", ".join(kept), width).replace("\xa0", " ")


def _briefly(value: Any, digits: int) -> str:
    text = links.text(value) or repr(value)
    if isinstance(value, tuple):
        text = f"({links.text(value)})"
    if isinstance(value, float):
        text = min(str(value), f"{value:.{digits}g}", key=len)
    if len(text) <= _LONGEST or digits > 3:
        return text
    return f"{text[:9]}..{text[-9:]}"
