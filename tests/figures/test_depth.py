import numpy as np
import pytest
from matplotlib import colors

from rdt_jax.analysis import curriculum
from rdt_jax.analysis.compute import Budget, Curve
from rdt_jax.figures import depth
from tests import fake_depth

WORDS = {"title": "Accuracy: knowledge depth", "notes": ("One seed.",)}


def panel(learned=3, trained=5):
    found = fake_depth.measured(
        lambda k, r: float(k <= 3 and r >= k), lambda k, r: float(10 * k + r)
    )
    return depth.Panel("R = 5", found, trained, learned)


def test_a_heat_map_has_hops_across_and_loops_up():
    figure = depth.hops_by_loops([panel()], **WORDS)
    axes = figure.axes[0]
    shown = np.asarray(axes.images[0].get_array())
    np.testing.assert_array_equal(shown, panel().found.accuracy.T)
    assert axes.images[0].origin == "lower"
    assert axes.get_xlim() == (1.5, 9.5) and axes.get_ylim() == (0.5, 24.5)
    training, learned = axes.lines
    assert training.get_ydata()[0] == 5 and learned.get_xdata()[0] == 3
    assert axes.images[0].norm.vmin == 0 and axes.images[0].norm.vmax == 1


def test_nothing_learned_has_no_line():
    figure = depth.hops_by_loops([panel(learned=None)], **WORDS)
    assert len(figure.axes[0].lines) == 1


def test_four_panels_take_two_rows():
    figure = depth.hops_by_loops([panel()] * 4, **WORDS)
    drawn = [axes for axes in figure.axes if axes.images]
    tops = [round(axes.get_position().y1, 6) for axes in drawn]
    assert len(set(tops[:3])) == 1 and tops[3] < tops[0]


def test_steps_rise_when_hops_are_learned_and_go_on_to_the_end_of_the_run():
    run = fake_depth.make(passed={2: 500, 3: 900}, loops=2)
    figure = depth.updates_to_hops({"R = 2": [curriculum.progress(run)]}, **WORDS)
    steps, _, end = figure.axes[0].lines
    assert steps.get_drawstyle() == "steps-post"
    assert list(steps.get_xdata()) == [0, 500, 900, fake_depth.BUDGET]
    assert list(steps.get_ydata()) == [1, 2, 3, 3]
    assert (end.get_xdata()[0], end.get_ydata()[0]) == (fake_depth.BUDGET, 3)


def test_lines_by_loop_are_bold_where_hops_were_learned():
    figure = depth.by_loop([panel()], levels=[2, 5], quantity="mean_margin", **WORDS)
    curves = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 24]
    np.testing.assert_array_equal(curves[0].get_ydata(), 20 + np.arange(1, 25))
    np.testing.assert_array_equal(curves[1].get_ydata(), 50 + np.arange(1, 25))
    assert curves[0].get_linewidth() > 1.5 > curves[1].get_linewidth()
    dashed = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in dashed] == [2.0]
    assert colors.same_color(dashed[0].get_color(), curves[0].get_color())


def test_ratios_have_a_dot_per_run_and_a_line_of_medians():
    figure = depth.ratios({"R = 5": {2: [1.0, 1.0, 2.5], 4: [1.25]}}, **WORDS)
    medians, *dots = figure.axes[0].lines[1:]
    assert list(medians.get_ydata()) == [1.0, 1.25]
    assert [list(line.get_ydata()) for line in dots] == [[1.0, 1.0, 2.5], [1.25]]


def test_curves_by_cost_and_who_is_best():
    low = Curve(np.array([0.0, 1e9]), np.array([0.1, 0.2]))
    high = Curve(np.array([0.0, 2e9]), np.array([0.1, 0.7]))
    curves = {"R = 2": [low], "R = 5": [high]}
    best = [Budget(1e9, "R = 2", {}, 1), Budget(2e9, "R = 5", {}, 1)]
    figure = depth.accuracy_by_compute(curves, best, **WORDS)
    drawn = figure.axes[0].lines
    assert list(drawn[1].get_ydata()) == [0.1, 0.7]
    assert [line.get_xdata()[0] for line in drawn[2:]] == [1e9, 2e9]
    assert [line.get_color() for line in drawn[2:]] == list(depth.COLORS[:2])


@pytest.mark.parametrize(
    "draw",
    [
        lambda: depth.hops_by_loops([], **WORDS),
        lambda: depth.updates_to_hops({"R = 2": []}, **WORDS),
        lambda: depth.by_loop([], levels=[], quantity="mean_margin", **WORDS),
        lambda: depth.ratios({}, **WORDS),
        lambda: depth.accuracy_by_compute({}, [], **WORDS),
    ],
)
def test_nothing_to_draw_is_refused(draw):
    with pytest.raises(ValueError, match="At least one run is drawn, got none"):
        draw()
