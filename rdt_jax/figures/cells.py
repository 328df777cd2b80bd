"""What the cells of a sweep are called, and where they stand on a page.

    sweep = cells.Sweep.of(runs)
    sweep.keys                      # ("recurrence.num_loops", "model.width")
    sweep.label((2, 64))            # "R = 2, width 64"
    sweep.cells[2, 64]              # the runs of that cell, by ascending seeds
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rdt_jax import wording
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.runs import LOOPS, SEEDS, WEIGHT_DECAY, Run
from rdt_jax.sweep import links

_NAMES = {LOOPS: "R", WEIGHT_DECAY: "decay"}
_KINDS = ("name", "preset")  # Such as optimizer.name: the section says more.
_LONGEST = 20  # characters of a value


class Placed(NamedTuple):
    """Cells as rows of panels.

    Attributes:
      rows: cells by their values, a row after the other, also those without runs.
      titles: texts above the panels, by row; of a grid in the first row only.
      sides: texts to the right of the rows of a grid.
      left_out: number of cells for which the page has no room.
    """

    rows: Sequence[Sequence[tuple]]
    titles: Sequence[Sequence[str]]
    sides: Sequence[str] = ()
    left_out: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Sweep:
    """Runs by cell, and how axes, values and cells are written.

    Attributes:
      keys: axes that are shown, dotted config keys.
      cells: runs by the values of the axes, ascending.
    """

    keys: tuple[str, ...]
    cells: Mapping[tuple, Sequence[Run]]

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
    def is_grid(self) -> bool:
        """Whether the cells fill at least half of a grid of at most two axes."""
        size = 1
        for key in self.keys:
            size *= len(self.values[key])
        return len(self.keys) <= 2 and size <= 2 * len(self.cells)

    @property
    def repeats(self) -> str:
        """What the runs of a cell are: `seed`, or `run` where other seeds differ too."""
        runs = [run for members in self.cells.values() for run in members]
        others = [len(run_folders.values_of(runs, key)) for key in SEEDS[1:]]
        return "seed" if max(others, default=1) < 2 else "run"

    @property
    def most_runs(self) -> int:
        """The number of runs of the largest cell."""
        return max(map(len, self.cells.values()), default=0)

    def name(self, key: str) -> str:
        """Names an axis by the shortest end of its key that is no other axis's."""
        names = {k: short for short, k in links.short_names(self.keys).items()}
        short = key.split(".")[-2] if names[key] in _KINDS else names[key]
        return _NAMES.get(key, short.replace("_", " "))

    def written(self, key: str, value: Any) -> str:
        """Writes a value of an axis, as briefly as it differs from the others."""
        for write in (_briefly, links.text):
            texts = [write(other) for other in self.values[key]]
            if len(set(texts)) == len(texts):
                return write(value)
        return repr(value)

    def title(self, key: str, value: Any) -> str:
        """Writes an axis and a value in full: `R = 2 loops`, `weight decay 0.1`."""
        if key == LOOPS:
            return "R = 1 (no loop)" if value == 1 else f"R = {value} loops"
        return f"{axis_title(self.name(key))} {self.written(key, value)}"

    def label(self, cell: tuple, keys: Sequence[str] | None = None) -> str:
        """Writes the values of a cell: `R = 2, decay 0.1, optimizer muon`.

        Args:
          cell: values.
          keys: their axes; None for all.
        """
        return ", ".join(
            f"{self.name(key)}{' =' * (key == LOOPS)} {self.written(key, value)}"
            for key, value in zip(keys or self.keys, cell, strict=True)
        )

    def place(self, columns: int, most: int) -> Placed:
        """Places the cells in panels: in a grid if there is one, else one by one.

        Args:
          columns: panels that stand beside each other at most.
          most: panels that a page has room for.
        """
        grid = self._grid(columns, most) if len(self.keys) == 2 else None
        if grid is not None:
            return grid
        found = list(self.cells)[:most]
        beside = -(-len(found) // -(-len(found) // min(columns, 4)))
        rows = [found[i : i + beside] for i in range(0, len(found), beside)]
        write = (
            self.label
            if len(self.keys) > 1
            else lambda cell: self.title(self.keys[0], *cell)
        )
        titles = [list(map(write, row)) for row in rows]
        return Placed(rows, titles, left_out=len(self.cells) - len(found))

    def _grid(self, columns: int, most: int) -> Placed | None:
        across, down = self.keys
        if len(self.values[across]) > columns:
            across, down = down, across
        beside, below = self.values[across], self.values[down]
        if not self.is_grid or len(beside) > columns or len(beside) * len(below) > most:
            return None
        pick = lambda x, y: (x, y) if across == self.keys[0] else (y, x)
        return Placed(
            rows=[[pick(x, y) for x in beside] for y in below],
            titles=[[self.title(across, x) for x in beside]],
            sides=[self.title(down, y) for y in below],
        )


def axis_title(name: str) -> str:
    """Writes the name of an axis in full: `weight decay` for `decay`."""
    return {"R": "training loops R", "decay": "weight decay"}.get(name, name)


def seeds_of(runs: Sequence[Run]) -> str:
    """Says how often cells are repeated: `3 seeds`, `6 runs (3 seeds, 2 task seeds)`."""
    sweep = Sweep.of(runs)
    total = wording.count(sweep.most_runs, sweep.repeats)
    if sweep.repeats == "seed":
        return total
    counts = [
        wording.count(number, key.replace(".", " ").replace("recurrence", "loop"))
        for key in SEEDS
        if (number := len(run_folders.values_of(runs, key))) > 1
    ]
    return f"{total} ({', '.join(counts)})"


def _briefly(value: Any) -> str:
    text = links.text(value)
    if isinstance(value, float):
        text = f"{value:g}" if len(f"{value:g}") <= 6 else f"{value:.3g}"
    return text if len(text) <= _LONGEST else f"{text[:9]}..{text[-9:]}"
