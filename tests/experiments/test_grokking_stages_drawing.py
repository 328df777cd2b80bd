"""The stages by loop depth, and the share of runs that have not arrived."""

import pytest

from experiments.grokking_stages import drawing as stages
from rdt_jax.analysis import runs as run_folders
from rdt_jax.figures import palette
from tests import fake_runs
from tests.experiments.verdicts import texts
from tests.fake_runs import staged as run

OOD = {1: (None, None, None), 2: (70, 130, None), 4: (40, 40, 40)}


def draw(**options):
    return stages.stages([run(1, None, **options), run(2, 150, **options)])


def arrivals():
    return stages.arrivals(
        [
            run(r, ood, seed)
            for r, times in OOD.items()
            for seed, ood in enumerate(times)
        ]
    )


def dash(line):
    return line._unscaled_dash_pattern


def test_curves_that_stop_early_are_explained_where_runs_do():
    note = "A run ends once all phases have completed."
    said = lambda figure: any(note in text for text in texts(figure))
    assert said(draw(stop_after_phases=True))
    assert not said(draw(stop_after_phases=False))


def test_depth_is_drawn_where_it_was_evaluated():
    jumps = {"train": 20, "id": 40, "ood": 60, "depth": 90}
    figure = stages.stages([fake_runs.make(jumps=jumps, loops=2)])
    assert figure.axes[2].get_title() == "R = 2: train, ID, OOD, depth (R)"
    assert (
        len([line for line in figure.axes[2].lines if len(line.get_xdata()) > 9])
        == 2 * 4
    )


def test_the_level_is_the_only_dashed_line_of_its_panel():
    figure = draw()
    right = figure.axes[2]
    (level,) = [line for line in right.lines if line.is_dashed()]
    assert level.get_ydata()[0] == pytest.approx(0.5)
    assert texts(right) == ["train", "ID", "OOD", "chance", "OOD\nlevel"]
    upright = [
        line.get_xdata()[0] for line in right.lines if list(line.get_ydata()) == [0, 1]
    ]
    assert upright == [40, 60, 170]


def test_one_loop_lies_above_the_line_of_chance_and_is_dashed():
    left = draw().axes[0]
    level = [run_folders.chance(run(2, None), "ood")] * 2
    (chance,) = [line for line in left.lines if list(line.get_ydata()) == level]
    shown = palette.of_each_loops([1, 2])
    (one, *_) = [line for line in left.lines if line.get_color() == shown[1].color]
    (two, *_) = [line for line in left.lines if line.get_color() == shown[2].color]
    assert one.get_zorder() > chance.get_zorder()
    assert one.is_dashed() and not two.is_dashed() and not chance.is_dashed()


def test_arrivals_are_counted_and_their_lines_are_told_apart():
    figure = arrivals()
    assert texts(figure.legends[0]) == [
        "R = 1: 0 of 3 arrived",
        "R = 2: 2 of 3 arrived",
        "R = 4: 3 of 3 arrived",
        "censored",
    ]
    (panel,) = figure.axes
    curves = [line for line in panel.lines if line.get_marker() == "None"]
    assert len({str(dash(line)) for line in curves}) == 3
    handles = figure.legends[0].legend_handles[:3]
    assert [dash(handle) for handle in handles] == [dash(line) for line in curves]


def test_a_share_of_1_is_not_shown_as_certain():
    figure = arrivals()
    assert any(
        text.startswith("Where the share is 1 or 0 no interval is known")
        for text in texts(figure)
    )
    one, two, _ = figure.axes[0].collections
    assert not any(path.vertices.size for path in one.get_paths())
    assert any(path.vertices.size for path in two.get_paths())
