"""How far a model follows hops, by the loops of training and of inference.

One panel per way of drawing the loops of training, each of one run. The figures are
those of Kohli et al. (2026), arXiv:2604.07822: 5 and 7 (`hops_by_loops`), 6
(`updates_to_hops`), 8 (`by_loop`) and 19 (`ratios`). With nothing to draw each raises
ValueError.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Unpack

import matplotlib
import numpy as np
from matplotlib import axes, colors, lines, patches, ticker
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from rdt_jax import wording
from rdt_jax.analysis import curriculum, depth, grokking, scaling
from rdt_jax.analysis.compute import Budget, Curve
from rdt_jax.analysis.curriculum import Progress
from rdt_jax.analysis.depth import Depth
from rdt_jax.analysis.runs import Run
from rdt_jax.analysis.scaling import ANSWERED
from rdt_jax.figures import page, palette

LABELS = {
    "mean_margin": "mean logit margin",
    "mean_change": "mean change / norm of the state",
}

_LEARNED = "#222222"
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
    # Those of all runs of its recurrence, of which lines are the median.
    seeds: tuple[Depth, ...] = ()

    @property
    def name(self) -> str:
        """How its loops are drawn, without the seed."""
        return self.title.rpartition(", seed")[0] or self.title

    @property
    def runs(self) -> tuple[Depth, ...]:
        """Those whose median is drawn."""
        return tuple(self.seeds) or (self.found,)


def panel_of(
    run: Run,
    found: Depth,
    learned: int | None,
    stage: int | None = None,
    seeds: Sequence[Depth] = (),
) -> Panel:
    """Returns the panel of a run; what follows it is as of Panel."""
    title = f"{curriculum.name_of(run)}, seed {run.config.seed}"
    return Panel(
        title, found, depth.most_loops(run.config), learned, stage, tuple(seeds)
    )


def found_learned(progress: Mapping[str, Sequence[Progress]]) -> str:
    """Says how many hops the runs of each group learned: `R = 2: 2 to 3, R = 8: 8`."""
    parts = []
    for name, members in progress.items():
        counts = sorted({run.learned or 0 for run in members})
        ends = dict.fromkeys((counts[0], counts[-1])) if counts else {}
        parts.append(f"{name}: {' to '.join(str(c or 'none') for c in ends)}")
    return f"Hops learned, {'; '.join(parts)}"


def found_answered(panels: Sequence[Panel]) -> str:
    """Says how many hops are answered with the loops that serve best, and learned."""
    parts = []
    for shown in panels:
        reach = scaling.reach(shown.found, scaling.scaled(shown.found, 1).accuracy)
        name = shown.name
        parts.append(f"{name}: {reach or 'none'} ({shown.learned or 'none'})")
    return f"Hops answered with the best loops (learned): {'; '.join(parts)}"


def found_kept(panels: Sequence[Panel]) -> str:
    """Says which share of its peak the margin on learned hops has at the last loop."""
    parts = []
    for shown in panels:
        kept = [
            margin[-1] / margin.max()
            for found in shown.runs
            for level, margin in zip(found.levels, found.mean_margin, strict=True)
            if level <= (shown.learned or 0) and margin.max() > 0
        ]
        told = f"{np.median(kept) + 0.0:.2f}" if kept else "nothing learned"
        parts.append(f"{shown.name}: {told}")
    last = panels[0].found.loops[-1]
    return f"Of its peak the margin keeps at loop {last}: {'; '.join(parts)}"


def found_moving(panels: Sequence[Panel]) -> str:
    """Says by how much of its norm the state still moves at the last loop."""
    moved = [
        float(np.median([found.mean_change[:, -1] for found in shown.runs]))
        for shown in panels
    ]
    names = [shown.name for shown in panels]
    parts = [f"{name}: {value:.2f}" for name, value in zip(names, moved, strict=True)]
    last = panels[0].found.loops[-1]
    return f"Of its norm loop {last} moves the state by {'; '.join(parts)}"


def median_note(runs: Sequence[Run]) -> str:
    """Says whose run a panel is, where each is the median run of a recurrence."""
    seeds = max(map(len, curriculum.by_recurrence(runs).values()))
    if seeds == 1:
        return "One seed."
    which = "" if seeds % 2 else ", of the middle two the higher"
    return f"Each panel: the median run of {seeds} seeds by hops learned{which}."


def hops_by_loops(panels: Sequence[Panel], **said: Unpack[page.Said]) -> Figure:
    """Draws accuracy by hops and loops at inference as heat maps.

    Shades are those of the square root, so that chance and 0 are told apart. The strip
    above a map has the loop count that serves every other row best, scored on the rest.
    """
    _check(panels)
    color = palette.of_loops(panels[0].trained).color
    handles = [
        lines.Line2D([], [], color=color, lw=1.8, label="most loops of training"),
        lines.Line2D([], [], color=_LEARNED, lw=1.8, ls=":", label="hops learned"),
        lines.Line2D([], [], color=_LEARNED, lw=1.1, label=f"accuracy {ANSWERED}"),
    ]
    note = "Lines of loops and hops stand behind the last that counts."
    label = "hops of the question"
    figure, flat = _grid(len(panels), _with(said, note), handles, label, 2.3, 0.75)
    norm, shades = colors.PowerNorm(0.5, 0, 1), matplotlib.colormaps["Blues"]
    for panel, shown in zip(flat, panels, strict=True):
        found = shown.found
        hops, loops = found.levels, found.loops
        # A gap, and the strip of the best loops, above the map.
        best = scaling.scaled(found, 1).accuracy
        height = max(1.0, loops.size / 16)
        ends = hops[0] - 0.5, hops[-1] + 0.5
        top = loops[-1] + 0.5
        style: dict[str, Any] = {
            "origin": "lower", "aspect": "auto", "cmap": shades, "norm": norm,
            "interpolation": "nearest",
        }  # fmt: skip
        panel.imshow(found.accuracy.T, extent=(*ends, loops[0] - 0.5, top), **style)
        strip = (*ends, top + height / 2, top + 1.5 * height)
        panel.imshow(best[None, :], extent=strip, **style)
        if found.accuracy.min() < ANSWERED <= found.accuracy.max():
            where: dict[str, Any] = {"colors": _LEARNED, "linewidths": 1.1}
            panel.contour(hops, loops, found.accuracy.T, [ANSWERED], **where)
        color = palette.of_loops(shown.trained).color
        panel.axhline(shown.trained + 0.5, color="white", lw=3.2)
        panel.axhline(shown.trained + 0.5, color=color, lw=1.8)
        if shown.learned is not None:
            behind = shown.learned + 0.5
            panel.axvline(behind, color="white", lw=3.0)  # On dark cells.
            panel.axvline(behind, color=_LEARNED, lw=1.8, ls=":")
        panel.set_ylim(loops[0] - 0.5, strip[-1])
        rows = int(found.num_rows.min())
        panel.set_title(f"{shown.title}, {rows} rows a cell", fontsize=page.SMALL)
        panel.xaxis.set_major_locator(ticker.MaxNLocator(8, integer=True))
        ticks = _loop_ticks(int(loops[-1]))
        panel.set_yticks([*ticks, top + height], [*map(str, ticks), "best"])
    _label_rows(flat, "loops at inference")
    page.add_scale(figure, flat[-1], ScalarMappable(norm, shades), "accuracy")
    return figure


def updates_to_hops(
    progress: Mapping[str, Sequence[Progress]], **said: Unpack[page.Said]
) -> Figure:
    """Draws the hops that runs have learned over updates: a panel per group.

    A line, one of each run, begins when the first stage is passed, and a run that
    passed none is at the level `none`.
    """
    runs = [run for members in progress.values() for run in members]
    _check(runs)
    end: dict[str, Any] = {"ls": "", "marker": ">", "mfc": "white", "ms": 5}
    handles = _handles(progress, ms=4, lw=1.3)
    handles.append(lines.Line2D([], [], color=page.INK, **end, label="end of the run"))
    label = "optimizer updates, from the start of the curriculum"
    figure, flat = _grid(len(progress), said, handles, label, 1.7, 0.2)
    none = min((hops for run in runs for hops in run.passed), default=2) - 1
    most = max((hops for run in runs for hops in run.passed), default=2)
    for panel, (name, members) in zip(flat, progress.items(), strict=True):
        style = _styles(progress)[name]
        # Runs that learn alike are a little above each other.
        for run, shift in zip(members, _shifts(len(members)), strict=True):
            hops = [count + shift for count in run.passed] or [none + shift]
            steps = [*run.passed.values()]
            look: dict[str, Any] = {"color": style.color, "lw": 1.0, "alpha": 0.85}
            across = [*steps, run.last_step]
            up = [*hops[: len(steps)], hops[-1]]
            panel.step(across, up, where="post", **look)
            panel.plot(steps, hops[: len(steps)], style.mark, color=style.color, ms=3)
            panel.plot(run.last_step, hops[-1], color=style.color, **end)
        panel.set_title(f"{name} (n = {len(members)})", fontsize=page.TEXT)
        panel.set_ylim(none - 0.4, most + 0.6)
        panel.yaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
        panel.yaxis.set_major_formatter(lambda k, _: "none" if k == none else f"{k:g}")
        panel.xaxis.set_major_locator(ticker.MaxNLocator(4, integer=True))
        panel.xaxis.set_major_formatter(lambda step, _: grokking.format_steps(step))
        panel.set_xlim(0, 1.05 * max(1, *(run.last_step for run in runs)))
        page.rule(panel)
    _label_rows(flat, "most hops learned")
    return figure


def by_loop(
    panels: Sequence[Panel],
    *,
    levels: Sequence[int],
    quantity: str,
    **said: Unpack[page.Said],
) -> Figure:
    """Draws a mean by loop, a line for each number of hops of `levels`.

    Lines are medians over the seeds of a panel, bands reach from the lowest to the
    highest. Hops that had been learned are bold, with a dashed line at the mean of the
    first loops at which they are right, as a note says; hops that had not been trained
    are dotted. The quantity is a key of LABELS.
    """
    _check(panels)
    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(levels)))
    handles: list[Any] = [
        lines.Line2D([], [], color=shade, lw=1.8, label=wording.count(level, "hop"))
        for level, shade in zip(levels, shades, strict=True)
    ]
    handles += [
        lines.Line2D([], [], color=page.INK, lw=1, ls="--", label="first hit"),
        patches.Patch(fc=page.ASIDE, ec=page.RULE, label="loops of training"),
    ]
    explained = _FIRST_HIT
    if any(shown.stage is not None for shown in panels):
        explained += " Dotted: hops that were not trained."
    told = _with(said, explained)
    figure, flat = _grid(len(panels), told, handles, "loop", 2.1, 0.2)
    for panel, shown in zip(flat, panels, strict=True):
        found = shown.found
        panel.axhline(0, color=page.FAINT, lw=0.8)
        panel.axvspan(0, shown.trained + 0.5, color=page.ASIDE, lw=0, zorder=0)
        every = shown.runs
        for level, shade in zip(levels, shades, strict=True):
            index = int(np.searchsorted(found.levels, level))
            learned = shown.learned is not None and level <= shown.learned
            all_values = [getattr(each, quantity)[index] for each in every]
            values = np.median(all_values, axis=0)
            low, high = np.min(all_values, axis=0), np.max(all_values, axis=0)
            if len(every) > 1:
                panel.fill_between(
                    found.loops, low, high, color=shade, alpha=0.15, lw=0
                )
            style: dict[str, Any] = {"color": shade, "lw": 1.9 if learned else 0.9}
            if shown.stage is not None and level > shown.stage:
                style |= {"ls": _UNTRAINED, "lw": 1.3}
            panel.plot(found.loops, values, **style)
            first = np.median([each.first_hit[index] for each in every])
            if learned and np.isfinite(first):
                panel.axvline(first, color=shade, lw=1, ls="--")
        panel.set_title(f"{shown.name} (n = {len(every)})", fontsize=page.TEXT)
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
    found: Mapping[str, Mapping[int, Sequence[float]]], **said: Unpack[page.Said]
) -> Figure:
    """Draws the generalization ratio of runs by group over the hops that were learned.

    Groups are moved apart at every number of hops; the legend says how many runs stand
    behind a median.
    """
    _check([value for each in found.values() for value in each])
    names = [f"{name} ({_runs_of(ratio)})" for name, ratio in found.items()]
    handles = _handles(names, ms=5, lw=1.5)
    label = "hops learned when it was measured"
    if len(found) > 1:
        said = _with(said, "Groups are moved to the sides, so that none is hidden.")
    figure, ((panel,),) = page.make(
        1, 1, handles=handles, label=label, height=2.2, **said
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
    **said: Unpack[page.Said],
) -> Figure:
    """Draws accuracy over the operations of training, and who is best with so many.

    The best of each budget is a mark in a strip above the curves.
    """
    _check([curve for members in curves.values() for curve in members])
    handles = _handles(curves, ms=4, lw=1.5)
    label = "operations of training (forward and backward, at the least)"
    figure, ((panel,),) = page.make(
        1, 1, handles=handles, label=label, height=2.4, **said
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
    """Returns the styles of groups that are named as `curriculum.name_of` does.

    Those of one loop count have its color, and differ in their dashes; so have those
    whose loops are drawn.
    """
    found: dict[str, palette.Style] = {}
    for name in groups:
        count = re.match(r"R = (\d+)", name)
        style = palette.of_loops(int(count[1])) if count else palette.DRAWN_LOOPS
        same = sum(other.color == style.color for other in found.values())
        mark = palette.MARKS[(palette.MARKS.index(style.mark) + same) % 9]
        dashes = [style.dash, *palette.DASHES]
        found[name] = style._replace(dash=dashes[same % len(dashes)], mark=mark)
    return found


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
    ticks = [1, 5, *range(10, last + 1, 5 if last <= 30 else 10)]
    return [tick for tick in ticks if tick <= last]


def _check(shown: Sequence[Any]) -> None:
    if not shown:
        raise ValueError("At least one run is drawn, got none.")


def _with(said: page.Said, note: str) -> page.Said:
    return {**said, "notes": (*said["notes"], note)}


def _grid(
    count: int,
    said: page.Said,
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
        handles=handles,
        label=label,
        height=height,
        right=right,
        titled=True,
        **said,
    )
    flat = [panel for row in panels for panel in row]
    page.hide_rest(panels, count)
    return figure, flat[:count]


def _columns(count: int) -> int:
    return 2 if count == 4 else min(count, _COLUMNS)


def _label_rows(panels: Sequence[axes.Axes], label: str) -> None:
    for panel in panels[:: _columns(len(panels))]:
        panel.set_ylabel(label, fontsize=page.TEXT)
