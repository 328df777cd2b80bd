"""What the figures of mechanism say of the checkpoints and questions behind them."""

import numpy as np
import pytest
from matplotlib import colors

from experiments.mechanism import drawing as mechanism
from rdt_jax.analysis import stages
from tests import fake_runs
from tests.experiments.verdicts import texts
from tests.fake_inside import FIRST, OOD, knockout_of, lens_of, patching_of

SEEDS, LOOPS, BLOCKS = 3, 2, 2
DEPTH = LOOPS * BLOCKS
# Where each seed ended: two completed OOD, one did not.
ENDS = ("ood_generalized-after-90", "ood_generalized-after-140", "final")


@pytest.fixture
def world(monkeypatch):
    """Returns runs, and what -> result of a seed, which stages then look up."""
    runs = [
        fake_runs.make(
            jumps={"train": 0, "id": 0, "ood": None},
            loops=LOOPS,
            seed=seed,
            model__core_blocks=BLOCKS,
        )
        for seed in range(SEEDS)
    ]
    made = {}

    def look(members, what, stage):
        kept = {"memorized": ("memorized-after-20",) * 3, "end": ENDS}.get(
            stage, tuple(f"id_generalized-after-{40 + 10 * s}" for s in range(SEEDS))
        )
        return [
            stages.Seen(run, kept[run.config.seed], made[what](run.config.seed))
            for run in members
            if what in made
        ]

    monkeypatch.setattr(mechanism.stages, "look", look)
    return runs, made


def panels(figure, title):
    return [panel for panel in figure.axes if panel.get_title().startswith(title)]


def test_a_map_is_a_median_over_seeds_with_enough_questions_only(world):
    runs, made = world
    # Of OOD questions one seed has enough, whose share is that of its seed.
    counts = (mechanism.FEWEST - 1, mechanism.FEWEST, 2)
    made["patching"] = lambda seed: patching_of(
        DEPTH * [0.1 * seed], (50, 30 + seed, counts[seed])
    )
    figure = mechanism.patching(runs)
    id_, end, ood = figure.axes[:3]
    assert id_.get_title() == "ID generalized: ID; n = 3, 30"
    assert end.get_title() == "OOD, or the end: ID; n = 3, 30"
    assert ood.get_title() == f"OOD, or the end: OOD; n = 1, {mechanism.FEWEST}"
    np.testing.assert_allclose(ood.images[0].get_array()[FIRST], 0.1)
    np.testing.assert_allclose(end.images[0].get_array()[FIRST], 0.1)
    assert any(
        f"fewer than {mechanism.FEWEST} such questions are left out" in text
        for text in texts(figure)
    )


def test_without_a_seed_of_enough_questions_a_map_is_hatched(world):
    runs, made = world
    made["patching"] = lambda seed: patching_of(DEPTH * [1.0], (50, 50, 1 + seed))
    figure = mechanism.patching(runs)
    ood = figure.axes[2]
    assert not ood.images and [patch.get_hatch() for patch in ood.patches] == ["////"]
    assert ood.get_title() == "OOD, or the end: OOD; at most 3"
    assert texts(ood) == ["2 x 2 blocks"]  # No number of a cell.
    (handle,) = figure.legends[0].legend_handles
    assert handle.get_hatch() == "////"
    assert texts(figure.legends[0]) == ["no seed with 20 such questions"]


def test_the_table_leaves_out_seeds_with_few_questions(world):
    runs, made = world
    made["patching"] = lambda seed: patching_of(
        DEPTH * [0.4], (50, 50, 5 + 15 * (seed == 1))
    )
    recovered = mechanism.table(runs).columns[5]
    assert "recovered" in str(recovered.header)
    assert list(recovered.cells) == ["0.40"] * 3
    made["patching"] = lambda seed: patching_of(DEPTH * [0.4], (50, 50, 5))
    assert list(mechanism.table(runs).columns[5].cells) == ["-"] * 3


def test_panels_say_which_checkpoints_they_show_and_when_these_were_kept(world):
    runs, made = world
    made["lens"] = lambda seed: lens_of({OOD: (DEPTH + 1) * [0.1 * seed]}, {})
    first, second, end = mechanism.lens(runs).axes
    assert [panel.get_title() for panel in (first, second, end)] == list(
        stages.NAMES.values()
    )
    assert texts(first) == ["20", "n = 3"]
    assert texts(second) == ["40-60", "n = 3"]
    # The last one ended with its budget.
    assert texts(end)[:2] == [f"2 OOD 90-140, 1 end {fake_runs.BUDGET}", "n = 3"]
    assert texts(mechanism.lens(runs[:2]).axes[2])[0] == "OOD 90-140"
    assert texts(mechanism.lens(runs[2:]).axes[2])[0] == f"end {fake_runs.BUDGET}"


def test_a_map_is_named_by_the_checkpoints_that_it_is_of(world):
    runs, made = world
    made["patching"] = lambda seed: patching_of(DEPTH * [1.0], (50, 50, 50))
    assert len(panels(mechanism.patching(runs[:2]), "OOD generalized: ")) == 2
    assert len(panels(mechanism.patching(runs[2:]), "the end: ")) == 2
    assert len(panels(mechanism.patching(runs), "OOD, or the end: ")) == 2


def test_what_stands_above_a_panel_does_not_touch(world):
    runs, made = world
    made["lens"] = lambda seed: lens_of({OOD: (DEPTH + 1) * [0.1 * seed]}, {})
    figure = mechanism.lens(runs)
    figure.canvas.draw()
    for panel in figure.axes:
        when, count = panel.texts[:2]
        title = panel.title.get_window_extent()
        assert when.get_window_extent().x1 < count.get_window_extent().x0
        assert title.y0 >= when.get_window_extent().y1
        assert title.y1 < figure.legends[0].get_window_extent().y0


def test_bands_of_one_color_are_told_apart(world):
    runs, made = world
    hop = lambda seed: (LOOPS * [0.2 + 0.1 * seed], LOOPS * [0.3])
    made["knockout"] = lambda seed: knockout_of(hop(seed), hop(seed))
    figure = mechanism.knockout(runs)
    bands = figure.axes[0].collections
    by_color = {}
    for band in bands:
        for color in {colors.to_hex(each) for each in band.get_edgecolor()}:
            by_color.setdefault(color, []).append(band.get_hatch())
    assert sorted(map(str, by_color.popitem()[1])) == ["/////", "None"]
    assert any("hatched: of the dashed line" in text for text in texts(figure))


def test_titles_say_what_was_measured_at_the_end(world):
    runs, made = world
    target = lambda seed: {OOD: [0, 0, 0, 0, 0.1 * seed]}
    made["lens"] = lambda seed: lens_of(target(seed), target(seed))
    (title, *_) = texts(mechanism.lens(runs))
    assert title == "OOD targets decoded at the end: 2 x 2: 0.10"
    made["patching"] = lambda seed: patching_of(DEPTH * [0.4], (50, 50, 5))
    (title, *_) = texts(mechanism.patching(runs))
    assert title.endswith("brought back by a state at r1: 2 x 2: not known")


def test_of_few_answers_nothing_is_said_to_be_lost(world):
    runs, made = world
    hop = (LOOPS * [0.5], LOOPS * [0.5])
    made["knockout"] = lambda seed: knockout_of(hop, hop, (50, 50, 19))
    figure = mechanism.knockout(runs)
    assert texts(figure)[0].endswith("look at r1: 2 x 2: not known")
    panel = figure.axes[2]
    assert "no seed with 20 answers" in texts(panel) and not panel.lines
    assert panel.get_xticks().tolist() == [1, 2]
