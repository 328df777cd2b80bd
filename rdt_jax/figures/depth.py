"""How far a model follows hops, by the loops of training and of inference.

One panel per way of drawing the loops of training, each of one run. The figures are
those of Kohli et al. (2026), arXiv:2604.07822: 5 and 7 (`hops_by_loops`), 6
(`updates_to_hops`), 8 (`by_loop`) and 19 (`ratios`).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib import axes, colors, lines, ticker
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from rdt_jax import wording
from rdt_jax.analysis import curriculum, depth, grokking
from rdt_jax.analysis.compute import Budget, Curve
from rdt_jax.analysis.curriculum import Progress
from rdt_jax.analysis.depth import Depth
from rdt_jax.analysis.runs import Run
from rdt_jax.figures import page, palette

LABELS = {
    "mean_margin": "mean logit margin",
    "mean_change": "mean change / norm of the state",
}

_TRAINED, _LEARNED = "#d55e00", "#222222"
_COLUMNS = 3
_APART = 0.1  # hops between the lines of two groups
_SPREAD = 0.5  # hops between the first and the last of them, at most
_UNTRAINED = (0, (1, 1.2))
_FIRST_HIT = (
    "First hit: the first loop at which a row is right, mean over the rows that are "
    "right at any."
)


class Panel(NamedTuple):
    """One run, and what was measured of it."""

    title: str  # how its loops are drawn, and which seed it is of how many
    found: Depth  # of `analysis.depth.measure`
    trained: int  # R, or the most loops of training
    learned: int | None  # hops that were learned when it was measured; None for none
    # Most hops that had been trained by then; None where it is not to be said.
    stage: int | None = None


def panel_of(
    run: Run, found: Depth, learned: int | None, stage: int | None = None
) -> Panel:
    """Returns the panel of a run; what follows it is as of Panel."""
    title = f"{curriculum.name_of(run)}, seed {run.config.seed}"
    return Panel(title, found, depth.most_loops(run.config), learned, stage)


def median_note(runs: Sequence[Run]) -> str:
    """Says whose run a panel is, where each is the median run of a recurrence."""
    seeds = max(map(len, curriculum.by_recurrence(runs).values()))
    if seeds == 1:
        return "One seed."
    which = "" if seeds % 2 else ", of the middle two the higher"
    return f"Each panel: the median run of {seeds} seeds by hops learned{which}."


def hops_by_loops(
    panels: Sequence[Panel], *, title: str, notes: Sequence[str]
) -> Figure:
    """Draws accuracy by hops and loops at inference as heat maps.

    Raises:
      ValueError: if there is no panel.
    """
    _check(panels)
    handles = [
        lines.Line2D([], [], color=_TRAINED, lw=1.8, label="most loops of training"),
        lines.Line2D([], [], color=_LEARNED, lw=1.8, ls=":", label="hops learned"),
    ]
    figure, flat = _grid(
        len(panels), title, notes, handles, "hops of the question", 2.3, 0.75
    )
    norm, shades = colors.Normalize(0, 1), matplotlib.colormaps["Blues"]
    for panel, shown in zip(flat, panels, strict=True):
        found = shown.found
        hops, loops = found.levels, found.loops
        panel.imshow(
            found.accuracy.T,
            origin="lower",
            aspect="auto",
            extent=(hops[0] - 0.5, hops[-1] + 0.5, loops[0] - 0.5, loops[-1] + 0.5),
            cmap=shades,
            norm=norm,
            interpolation="nearest",
        )
        panel.axhline(shown.trained, color=_TRAINED, lw=1.8)
        if shown.learned is not None:
            panel.axvline(shown.learned, color="white", lw=3.0)  # On dark cells.
            panel.axvline(shown.learned, color=_LEARNED, lw=1.8, ls=":")
        panel.set_title(shown.title, fontsize=page.TEXT)
        panel.xaxis.set_major_locator(ticker.MaxNLocator(8, integer=True))
        panel.yaxis.set_major_locator(ticker.MaxNLocator(7, integer=True))
    _label_rows(flat, "loops at inference")
    page.add_scale(figure, flat[-1], ScalarMappable(norm, shades), "accuracy")
    return figure


def updates_to_hops(
    progress: Mapping[str, Sequence[Progress]],
    *,
    title: str,
    notes: Sequence[str],
) -> Figure:
    """Draws the hops that runs of groups have learned over the updates of training.

    A line begins when the first stage is passed, and a run that passed none is at the
    level `none`. Lines of several groups are a little above each other, as a note says.

    Raises:
      ValueError: if there is no run.
    """
    _check([run for members in progress.values() for run in members])
    handles = _handles(progress, ms=4.5, lw=1.5)
    style: dict[str, Any] = {"ls": "", "marker": ">", "mfc": "white", "ms": 5}
    handles.append(
        lines.Line2D([], [], color=page.INK, **style, label="end of the run")
    )
    label = "optimizer updates, from the start of the curriculum"
    if len(progress) > 1:
        notes = (*notes, "Lines are moved up or down by group, so that none is hidden.")
    figure, ((panel,),) = page.make(
        1, 1, title=title, notes=notes, handles=handles, label=label, height=2.6
    )
    runs = [run for members in progress.values() for run in members]
    none = min((hops for run in runs for hops in run.passed), default=2) - 1
    for (color, dash, mark), shift, members in zip(
        _styles(progress).values(),
        _shifts(len(progress)),
        progress.values(),
        strict=True,
    ):
        for run in members:
            hops = [count + shift for count in run.passed] or [none + shift]
            steps = [*run.passed.values()]
            panel.step(
                [*steps, run.last_step],
                [*hops[: len(steps)], hops[-1]],
                where="post",
                color=color,
                ls=dash,
                lw=1.5,
            )
            panel.plot(steps, hops[: len(steps)], mark, color=color, ms=4.5)
            panel.plot(run.last_step, hops[-1], color=color, **style)
    panel.set_ylabel("most hops learned", fontsize=page.TEXT)
    panel.yaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    panel.yaxis.set_major_formatter(lambda k, _: "none" if k == none else f"{k:g}")
    panel.xaxis.set_major_formatter(lambda step, _: grokking.format_steps(step))
    panel.set_xlim(left=0)
    page.rule(panel)
    return figure


def by_loop(
    panels: Sequence[Panel],
    *,
    levels: Sequence[int],
    quantity: str,
    title: str,
    notes: Sequence[str],
) -> Figure:
    """Draws a mean by loop, a line for each number of hops of `levels`.

    Hops that had been learned are bold, with a dashed line at the mean of the first
    loops at which they are right, as a note says; hops that had not been trained are
    dotted. The quantity is a key of LABELS.

    Raises:
      ValueError: if there is no panel.
    """
    _check(panels)
    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(levels)))
    handles = [
        lines.Line2D([], [], color=shade, lw=1.8, label=wording.count(level, "hop"))
        for level, shade in zip(levels, shades, strict=True)
    ]
    handles += [
        lines.Line2D([], [], color=page.INK, lw=1, ls="--", label="first hit"),
        lines.Line2D([], [], color=_TRAINED, lw=1.2, label="most loops of training"),
    ]
    explained = _FIRST_HIT
    if any(shown.stage is not None for shown in panels):
        explained += " Dotted: hops that were not trained."
    figure, flat = _grid(
        len(panels), title, (*notes, explained), handles, "loop", 2.1, 0.2
    )
    for panel, shown in zip(flat, panels, strict=True):
        found = shown.found
        panel.axhline(0, color=page.FAINT, lw=0.8)
        panel.axvline(shown.trained, color=_TRAINED, lw=1.2)
        for level, shade in zip(levels, shades, strict=True):
            index = int(np.searchsorted(found.levels, level))
            learned = shown.learned is not None and level <= shown.learned
            values = getattr(found, quantity)[index]
            style: dict[str, Any] = {"color": shade, "lw": 1.9 if learned else 0.9}
            if shown.stage is not None and level > shown.stage:
                style |= {"ls": _UNTRAINED, "lw": 1.3}
            panel.plot(found.loops, values, **style)
            if learned and np.isfinite(found.first_hit[index]):
                panel.axvline(found.first_hit[index], color=shade, lw=1, ls="--")
        panel.set_title(shown.title, fontsize=page.TEXT)
        panel.set_xlim(found.loops[0] - 0.5, found.loops[-1] + 0.5)
        panel.set_xticks(_loop_ticks(int(found.loops[-1])))
        page.rule(panel)
    low = min(panel.get_ylim()[0] for panel in flat)
    high = max(panel.get_ylim()[1] for panel in flat)
    for panel in flat:
        panel.set_ylim(low, high)
    _label_rows(flat, LABELS[quantity])
    return figure


def ratios(
    found: Mapping[str, Mapping[int, Sequence[float]]],
    *,
    title: str,
    notes: Sequence[str],
) -> Figure:
    """Draws the generalization ratio of runs by group over the hops that were learned.

    Groups are moved apart at every number of hops; the legend says how many runs stand
    behind a median.

    Raises:
      ValueError: if there is no ratio.
    """
    _check([value for each in found.values() for value in each])
    names = [f"{name} ({_runs_of(ratio)})" for name, ratio in found.items()]
    handles = _handles(names, ms=5, lw=1.5)
    label = "hops learned when it was measured"
    if len(found) > 1:
        notes = (*notes, "Groups are moved to the sides, so that none is hidden.")
    figure, ((panel,),) = page.make(
        1, 1, title=title, notes=notes, handles=handles, label=label, height=2.2
    )
    panel.axhline(1, color=page.FAINT, lw=0.9, ls=(0, (4, 3)))
    for (color, dash, mark), shift, ratio in zip(
        _styles(found).values(), _shifts(len(found)), found.values(), strict=True
    ):
        learned = sorted(ratio)
        medians = [np.median(ratio[hops]) for hops in learned]
        across = [hops + shift for hops in learned]
        panel.plot(across, medians, color=color, ls=dash, lw=1.5)
        for at, hops in zip(across, learned, strict=True):
            panel.plot([at] * len(ratio[hops]), ratio[hops], mark, color=color, ms=5)
    stages = [hops for ratio in found.values() for hops in ratio]
    panel.set_xlim(min(stages) - 0.5, max(stages) + 0.5)
    # Where all ratios are 1, their noise is not what is to be seen.
    panel.set_ylim(min(0.75, panel.get_ylim()[0]), max(1.5, panel.get_ylim()[1]))
    panel.set_ylabel("most hops answered / learned", fontsize=page.TEXT)
    panel.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    page.rule(panel)
    return figure


def accuracy_by_compute(
    curves: Mapping[str, Sequence[Curve]],
    best: Sequence[Budget],
    *,
    title: str,
    notes: Sequence[str],
) -> Figure:
    """Draws accuracy over the operations of training, and who is best with so many.

    The best of each budget is a mark in a strip above the curves.

    Raises:
      ValueError: if there is no curve.
    """
    _check([curve for members in curves.values() for curve in members])
    handles = _handles(curves, ms=4, lw=1.5)
    label = "operations of training (forward and backward, at the least)"
    figure, ((panel,),) = page.make(
        1, 1, title=title, notes=notes, handles=handles, label=label, height=2.4
    )
    styles = _styles(curves)
    for name, members in curves.items():
        color, dash, mark = styles[name]
        style: dict[str, Any] = {"color": color, "ls": dash, "marker": mark, "ms": 4}
        for curve in members:
            panel.plot(curve.flops, curve.accuracy, lw=1.5, markevery=0.12, **style)
    for budget in best:
        color, _, mark = styles[budget.best]
        panel.plot(budget.flops, 1.1, mark, color=color, ms=4)
    panel.set_ylabel("accuracy", fontsize=page.TEXT)
    panel.set_ylim(-0.03, 1.16)
    panel.set_yticks([0, 0.25, 0.5, 0.75, 1, 1.1], ["0", "", "0.5", "", "1", "best"])
    panel.set_xlim(left=0)
    panel.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
    page.rule(panel)
    return figure


def _styles(groups: Iterable[str]) -> dict[str, palette.Style]:
    return {name: palette.of_place(index) for index, name in enumerate(groups)}


def _handles(groups: Iterable[str], **size: Any) -> list[Any]:
    return [
        lines.Line2D([], [], color=color, ls=dash, marker=mark, label=name, **size)
        for name, (color, dash, mark) in _styles(groups).items()
    ]


def _shifts(count: int) -> np.ndarray:
    """Returns how far groups are moved so that none hides another, around 0."""
    half = min(_APART * (count - 1), _SPREAD) / 2
    return np.linspace(half, -half, count)


def _runs_of(ratio: Mapping[int, Sequence[float]]) -> str:
    counts = sorted({len(values) for values in ratio.values()})
    return f"n = {' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))}"


def _loop_ticks(last: int) -> list[int]:
    """Returns loops of the steep beginning, and every fifth or tenth from there on."""
    ticks = [1, 2, 5, *range(10, last + 1, 5 if last <= 30 else 10)]
    return [tick for tick in ticks if tick <= last]


def _check(shown: Sequence[Any]) -> None:
    if not shown:
        raise ValueError("At least one run is drawn, got none.")


def _grid(
    count: int,
    title: str,
    notes: Sequence[str],
    handles: Sequence[Any],
    label: str,
    height: float,
    right: float,
) -> tuple[Figure, list[axes.Axes]]:
    """Makes a figure of `count` panels, row by row."""
    columns = _columns(count)
    rows = -(-count // columns)
    figure, panels = page.make(
        rows,
        columns,
        title=title,
        notes=notes,
        handles=handles,
        label=label,
        height=height,
        right=right,
        titled=True,
    )
    flat = [panel for row in panels for panel in row]
    page.hide_rest(panels, count)
    return figure, flat[:count]


def _columns(count: int) -> int:
    return 2 if count == 4 else min(count, _COLUMNS)


def _label_rows(panels: Sequence[axes.Axes], label: str) -> None:
    for panel in panels[:: _columns(len(panels))]:
        panel.set_ylabel(label, fontsize=page.TEXT)
