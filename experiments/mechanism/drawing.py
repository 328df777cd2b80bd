"""What stands where inside a model, by effective depth, at the stages of its training.

Lines are medians over seeds, bands reach from the lowest to the highest seed. Dotted
lines stand between loops. Everything drawn is read from the stored analyses of the runs
of one study; without a run each function raises ValueError.
"""

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import axes, lines, patches, ticker
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from rich.table import Table

from rdt_jax.analysis import geometry as geometries
from rdt_jax.analysis import grokking, questions, stages
from rdt_jax.analysis import knockout as knockouts
from rdt_jax.analysis import lens as lenses
from rdt_jax.analysis.patching import FEWEST
from rdt_jax.analysis.runs import Run
from rdt_jax.analysis.stages import Seen
from rdt_jax.figures import page, palette, terminal
from rdt_jax.figures.palette import SPLITS as SPLIT_COLORS
from rdt_jax.figures.words import SPLIT_NAMES, task_name

DEPTH = "effective depth (blocks run so far)"
BAND = (
    "Median over seeds; band (hatched: of the dashed line): lowest to highest seed. "
    "Dotted: between loops. Rows: loops x blocks.",
    "Above a panel: its checkpoints, after how many updates (first to last seed), of n "
    "seeds.",
)
OOD = questions.GROUPS.index("ood")
STYLES = ("-", (0, (4, 2)))  # of the two quantities in a panel
# Train and ID often coincide: the line below shows at both sides of the one above.
_WIDTHS = {"train": 4.2, "id": 1.6, "ood": 1.6}

# Rows of questions in a map of patching: (stage, group).
MAPS = (("id", "id"), ("end", "id"), ("end", "ood"))
_PALETTE = matplotlib.colormaps["Blues"]
_HATCHED: dict[str, Any] = {"fc": "#f0f0f0", "ec": "#c4c4c4", "hatch": "////"}

Draw = Callable[[axes.Axes, Sequence[Seen]], None]


def lens(members: Sequence[Run]) -> Figure:
    """Draws the accuracy of bridge and target by effective depth.

    One row of panels per model, one column per stage, as Kohli et al. (2026),
    arXiv:2604.07822, Figure 4.
    """
    untrained = lines.Line2D([], [], lw=2, color=page.FAINT, label="OOD, untrained")
    # Train lies on ID nearly everywhere; the numbers are in the stored analyses.
    groups = questions.GROUPS[1:]
    handles = [
        *_splits(groups), untrained, *_styles(("bridge at r1", "target at the answer")),
    ]  # fmt: skip

    def draw(panel: axes.Axes, seen: Sequence[Seen]) -> None:
        for name in groups:
            for style, read in zip(
                STYLES, (lenses.bridge_at_r1, lenses.target_at_answer), strict=True
            ):
                curves = [read(s.result)[questions.GROUPS.index(name)] for s in seen]
                _draw_band(panel, curves, SPLIT_COLORS[name], style, _WIDTHS[name])
        for word, style in enumerate(STYLES):
            control = [
                lenses.where_looked_for(s.result, s.result.untrained)[OOD, word]
                for s in seen
            ]
            _draw_band(panel, control, page.FAINT, style)

    return _by_stage(
        members,
        "lens",
        draw,
        finding=(
            "OOD targets decoded at the end",
            lambda result: lenses.target_at_answer(result)[OOD],
        ),
        notes=(
            "Share of two-hop questions h r1 r2 whose bridge, or target, ranks first "
            "among all words: final norm and output matrix on every state. At depth 0: "
            "the embedding alone.",
        ),
        handles=handles,
        ylabel="share of rows",
    )


def knockout(members: Sequence[Run]) -> Figure:
    """Draws what is lost when a hop's edge of attention is cut in one loop, or others.

    Loops are in the order in which they run, and the positions are those of the core.
    """
    hops = {"r1 attends to h": "#0072b2", "the answer attends to r1": "#d55e00"}
    handles = [
        *(lines.Line2D([], [], lw=2, color=hops[name], label=name) for name in hops),
        *_styles(("cut in this loop", "cut in all others")),
    ]

    def draw(panel: axes.Axes, seen: Sequence[Seen]) -> None:
        counted = [s for s in seen if s.result.rows[OOD] >= FEWEST]
        if not counted:
            page.write_in(panel, f"no seed with {FEWEST} answers")
        for hop, color in enumerate(hops.values()):
            for style, field in zip(STYLES, ("in_loop", "in_others"), strict=True):
                curves = [
                    getattr(s.result, field)[OOD, :, knockouts.hops(s.result)[hop]]
                    for s in counted
                ]
                _draw_band(panel, curves, color, style, first=1)

    return _by_stage(
        members,
        "knockout",
        draw,
        finding=(
            "OOD answers lost without the answer's look at r1",
            lambda result: np.where(
                result.rows[OOD] >= FEWEST,
                result.in_loop[OOD, :, knockouts.hops(result)[1]],
                np.nan,
            ),
        ),
        notes=(
            "Share of the OOD questions that are answered, and no longer once no head "
            f"of a loop reads a word from another's place; {FEWEST} or more of a seed.",
        ),
        handles=handles,
        ylabel="share lost",
        label="loop, from 1",
    )


def geometry(members: Sequence[Run]) -> Figure:
    """Draws how near the state at r1 is to the embedding of its bridge, by depth."""

    def draw(panel: axes.Axes, seen: Sequence[Seen]) -> None:
        for group, name in enumerate(questions.GROUPS):
            curves = [geometries.alignment(s.result)[group] for s in seen]
            _draw_band(panel, curves, SPLIT_COLORS[name], STYLES[0], _WIDTHS[name])

    return _by_stage(
        members,
        "geometry",
        draw,
        finding=(
            "OOD bridges along their entity at the end",
            lambda result: geometries.alignment(result)[OOD],
        ),
        notes=(
            "Mean cosine of the state at r1 with the bridge's embedding, less that "
            "with all other entities; states and embeddings centered.",
        ),
        handles=_splits(questions.GROUPS),
        ylabel="alignment (cosine)",
        bottom=-0.15,
    )


def patching(members: Sequence[Run]) -> Figure:
    """Draws maps of what a restored state recovers: one row of panels per model.

    As Kohli et al. (2026), arXiv:2604.07822, Figure 11, for all positions.
    """
    models = stages.models(members)
    figure, panels = page.make(
        len(models),
        len(MAPS),
        title=_at_end(
            members,
            "patching",
            "OOD answers brought back by a state at r1",
            lambda result: np.where(
                result.rows[OOD] >= FEWEST,
                result.recovered[OOD, :, questions.FIRST],
                np.nan,
            ),
        ),
        line=f"{task_name(members)}; median over seeds; n: seeds, questions of the "
        "seed with the fewest",
        notes=(
            "h and r1 are replaced, then one state of the clean pass is restored. "
            "Color: share with the clean answer again (median over seeds).",
            "Only questions that the clean pass answers and the corrupted does not; "
            "n: seeds, and questions of the seed with the fewest.",
            f"Seeds with fewer than {FEWEST} such questions are left out. Dotted: "
            "between two loops. Rows: loops x blocks.",
        ),
        handles=[
            patches.Patch(**_HATCHED, label=f"no seed with {FEWEST} such questions")
        ],
        label="effective depth of the restored state (blocks run before it)",
        height=0.85,
        gap=0.22,
        right=1.1,
        titled=True,
    )
    for row, (model, runs) in zip(panels, models.items(), strict=True):
        loops, blocks = runs[0].num_loops, runs[0].config.model.core_blocks
        for panel, (stage, group) in zip(row, MAPS, strict=True):
            seen = stages.look(runs, "patching", stage)
            index = questions.GROUPS.index(group)
            title = f"{_name(stage, seen)}: {SPLIT_NAMES[group]}"
            asked = [int(s.result.rows[index]) for s in seen]
            counted = [s for s in seen if s.result.rows[index] >= FEWEST]
            if counted:
                fewest = min(rows for rows in asked if rows >= FEWEST)
                title += f"; n = {len(counted)}, {fewest}"
            elif seen:
                title += f"; at most {max(asked)}"
            panel.set_title(title, fontsize=page.SMALL)
            _draw_map(panel, seen, counted, index, loops, blocks)
        page.label_row(row[-1], model)
    _draw_colorbar(figure, [row[-1] for row in panels])
    return figure


def table(members: Sequence[Run]) -> Table:
    """Builds the table of a study: one row per model and stage, medians over seeds."""
    found = terminal.table(
        f"OOD questions inside: {task_name(members)}",
        (
            "loops x\nblocks",
            "stage",
            "seeds",
            "bridge\nat r1",
            "target",
            "recovered",
            "alignment",
        ),
        caption="Medians over seeds, each the largest over effective depths, on OOD "
        "questions; in brackets the greater control, of the embedding alone and of the "
        "untrained model; recovered: by a clean state at r1, of seeds with at least "
        f"{FEWEST} that count; - where no seed has it.",
        words=("loops x\nblocks", "stage"),
    )
    ood = questions.GROUPS.index("ood")
    first = questions.FIRST
    reads: dict[str, list[Callable[[Any], Sequence[float]]]] = {
        "lens": [
            lambda x: (
                lenses.bridge_at_r1(x)[ood].max(), lenses.controls(x)[ood, 0].max(),
            ),
            lambda x: (
                lenses.target_at_answer(x)[ood].max(), lenses.controls(x)[ood, 1].max(),
            ),
        ],
        "patching": [
            lambda x: (
                x.recovered[ood, 1:, first].max() if x.rows[ood] >= FEWEST else np.nan,
            )
        ],
        "geometry": [lambda x: (geometries.alignment(x)[ood].max(),)],
    }  # fmt: skip
    for index, (model, runs) in enumerate(stages.models(members).items()):
        if index:
            found.add_section()
        for stage in stages.STAGES:
            seeds, entries = 0, []
            for what, functions in reads.items():
                seen = stages.look(runs, what, stage)
                seeds = max(seeds, len(seen))
                for read in functions:
                    every = np.array([read(s.result) for s in seen])
                    known = [values for values in every if np.isfinite(values).all()]
                    middle = np.median(known, axis=0) if known else []
                    number, *control = [f"{v:.2f}" for v in middle] or ["-"]
                    entries.append(number + "".join(f" ({c})" for c in control))
            shape = model.replace(" blocks", "").replace(" block", "")
            name = shape if stage == "memorized" else ""
            found.add_row(name, stages.NAMES[stage], str(seeds), *entries)
    return found


def _by_stage(
    members: Sequence[Run],
    what: str,
    draw: Draw,
    *,
    finding: tuple[str, Callable[[Any], np.ndarray]],
    notes: Sequence[str],
    handles: Sequence[Any],
    ylabel: str,
    label: str = DEPTH,
    bottom: float = -0.04,
) -> Figure:
    """Draws one row of panels per model and one column per stage.

    The title says the quantity of `finding` at the end, as of `_at_end`.
    """
    models = stages.models(members)
    figure, panels = page.make(
        len(models),
        len(stages.STAGES),
        title=_at_end(members, what, *finding),
        line=f"{task_name(members)}; median of n seeds, band: lowest to highest; "
        "columns are events, their updates stand above",
        notes=(*notes, *BAND),
        handles=handles,
        label=label,
        titled=True,
        height=1.2,
        gap=0.24,
        above=0.14,
    )
    for row, (model, runs) in zip(panels, models.items(), strict=True):
        loops, blocks = runs[0].num_loops, runs[0].config.model.core_blocks
        for panel, stage in zip(row, stages.STAGES, strict=True):
            seen = stages.look(runs, what, stage)
            name = stages.NAMES[stage] if row is panels[0] else ""
            panel.set_title(name, fontsize=page.TEXT, pad=17)
            panel.set_ylim(bottom, 1.04)
            panel.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
            by_loop = what == "knockout"
            last = loops if by_loop else loops * blocks
            panel.set_xlim(by_loop - 0.3, last + 0.3)
            panel.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
            panel.tick_params(labelbottom=True)
            page.rule(panel, "y")
            if by_loop:
                panel.set_xticks(range(1, loops + 1))
            else:
                _draw_loops(panel, loops, blocks, 0)
            if not seen:
                page.write_in(panel, "no run with this analysis")
                continue
            draw(panel, seen)
            for at, text, side in (
                (0, _when(stage, seen), "left"), (1, f"n = {len(seen)}", "right"),
            ):  # fmt: skip
                panel.text(
                    at, 1.03, text, transform=panel.transAxes, va="bottom", ha=side,
                    fontsize=page.SMALL, color=page.FAINT,
                )  # fmt: skip
        row[0].set_ylabel(ylabel, fontsize=page.TEXT)
        page.label_row(row[-1], model)
    return figure


def _at_end(
    members: Sequence[Run],
    what: str,
    of: str,
    read: Callable[[Any], np.ndarray],
) -> str:
    """Says the most of a quantity over depths at the end, of each model, its median."""
    parts = []
    for model, runs in stages.models(members).items():
        best = [float(np.max(read(s.result))) for s in stages.look(runs, what, "end")]
        known = [value for value in best if np.isfinite(value)]
        told = f"{np.median(known):.2f}" if known else "not known"
        parts.append(f"{model.replace(' blocks', '')}: {told}")
    return f"{of}: {', '.join(parts)}"


def _when(stage: str, seen: Sequence[Seen]) -> str:
    """Says after how many updates checkpoints were kept; at the end, which they are."""
    if stage != "end":
        return _range(seen)
    kinds = {"OOD": True, "end": False}
    parts = {
        name: [s for s in seen if s.generalized == done] for name, done in kinds.items()
    }
    known = {name: some for name, some in parts.items() if some}
    counts = {name: f"{len(some)} " * (len(known) > 1) for name, some in known.items()}
    return ", ".join(f"{counts[k]}{k} {_range(some)}" for k, some in known.items())


def _range(seen: Sequence[Seen]) -> str:
    steps = sorted(stages.step_of(s) for s in seen)
    ends = dict.fromkeys(map(grokking.format_steps, (steps[0], steps[-1])))
    return "-".join(ends)


def _name(stage: str, seen: Sequence[Seen]) -> str:
    """Names a stage by the checkpoints that stand for it."""
    kinds = {s.generalized for s in seen}
    if stage != "end" or len(kinds) != 1:
        return stages.NAMES[stage]
    return "OOD generalized" if kinds.pop() else "the end"


def _draw_band(
    panel: axes.Axes,
    curves: Sequence[np.ndarray],
    color: str,
    style: Any,
    width: float = 1.6,
    first: int = 0,
) -> None:
    known = [curve for curve in curves if np.isfinite(curve).all()]
    if not known:
        return
    depth = first + np.arange(len(known[0]))
    low, high = np.min(known, axis=0), np.max(known, axis=0)
    # The bands of both styles share a color, and often a place.
    band: dict[str, Any] = {"color": color, "alpha": 0.12}
    if style != STYLES[0]:
        band = {"fc": "none", "ec": color, "alpha": 0.2, "hatch": "/////"}
    panel.fill_between(depth, low, high, lw=0, zorder=2, **band)
    middle = np.median(known, axis=0)
    panel.plot(depth, middle, color=color, ls=style, lw=width, marker=".", zorder=3)


def _draw_loops(panel: axes.Axes, loops: int, blocks: int, shift: float) -> None:
    for loop in range(1, loops):
        panel.axvline(loop * blocks + shift, color=page.FAINT, lw=0.8, ls=":", zorder=1)


def _draw_map(
    panel: axes.Axes,
    seen: Sequence[Seen],
    counted: Sequence[Seen],
    group: int,
    loops: int,
    blocks: int,
) -> None:
    """Draws the medians over the seeds that are counted, of those that were seen."""
    length = max((s.result.recovered.shape[2] for s in seen), default=3)
    names = questions.TOKENS[:length]
    panel.set_xlim(-0.5, loops * blocks - 0.5)
    panel.set_ylim(length - 0.5, -0.5)
    panel.set_yticks(range(length), names)
    panel.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    panel.tick_params(length=0, labelbottom=True)
    if not seen:
        page.write_in(panel, "no run with this analysis")
        return
    if not counted:
        corner, width, height = (-0.5, -0.5), loops * blocks, length
        panel.add_patch(patches.Rectangle(corner, width, height, lw=0, **_HATCHED))
        return
    shares = np.median([s.result.recovered[group] for s in counted], axis=0)  # [E, T]
    panel.imshow(shares.T, cmap=_PALETTE, vmin=0, vmax=1, aspect="auto")
    for depth, column in enumerate(shares):
        for position, share in enumerate(column):
            if loops * blocks <= 8:
                color = matplotlib.colors.to_hex(_PALETTE(share))
                panel.text(
                    depth, position, f"{share:.2f}".lstrip("0") or "0", ha="center",
                    va="center", fontsize=page.SMALL - 1, color=palette.ink_on(color),
                )  # fmt: skip
    _draw_loops(panel, loops, blocks, -0.5)


def _draw_colorbar(figure: Figure, column: Sequence[axes.Axes]) -> None:
    low, high = column[-1].get_position(), column[0].get_position()
    scale = figure.add_axes(
        (low.x1 + 0.32 / page.WIDTH, low.y0, 0.11 / page.WIDTH, high.y1 - low.y0)
    )
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), _PALETTE), cax=scale)
    bar.outline.set_visible(False)
    scale.tick_params(labelsize=page.SMALL, length=2, color=page.RULE)
    scale.set_ylabel("share recovered", fontsize=page.SMALL, color=page.INK)


def _splits(groups: Sequence[str]) -> list[Any]:
    return [
        lines.Line2D([], [], lw=2, color=SPLIT_COLORS[group], label=SPLIT_NAMES[group])
        for group in groups
    ]


def _styles(names: Sequence[str]) -> list[Any]:
    return [
        lines.Line2D([], [], lw=1.6, color=page.INK, ls=style, label=name)
        for style, name in zip(STYLES, names, strict=True)
    ]
