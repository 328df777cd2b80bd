import numpy as np
import pytest
from matplotlib import colors

from rdt_jax.analysis import curriculum
from rdt_jax.analysis.compute import Budget, Curve
from rdt_jax.figures import depth, palette
from tests import fake_depth
from tests.figures.drawn import legend, texts

WORDS = {"title": "Accuracy", "line": "One seed.", "notes": ("One seed.",)}


def panel(learned=3, trained=5, stage=None):
    found = fake_depth.measured(
        lambda k, r: float(k <= 3 and r >= k), lambda k, r: float(10 * k + r)
    )
    return depth.Panel("R = 5", found, trained, learned, stage)


def test_a_heat_map_has_hops_across_and_loops_up():
    figure = depth.hops_by_loops([panel()], **WORDS)
    axes = figure.axes[0]
    shown = np.asarray(axes.images[0].get_array())
    np.testing.assert_array_equal(shown, panel().found.accuracy.T)
    assert axes.images[0].origin == "lower"
    assert axes.get_xlim() == (1.5, 9.5) and axes.get_ylim() == (0.5, 26.75)
    _, training, ground, learned = axes.lines
    # Behind the last that counts, so that its cells are seen.
    assert training.get_ydata()[0] == 5.5 and learned.get_xdata()[0] == 3.5
    assert len(axes.collections) == 1  # The contour of what counts as answered.
    best = np.asarray(axes.images[1].get_array())
    np.testing.assert_array_equal(best, [[1, 1, 0, 0, 0, 0, 0, 0]])
    assert axes.get_title() == f"R = 5, {fake_depth.ROWS} rows a cell"
    # What is under a dark line on dark cells is light, and wider.
    assert ground.get_xdata()[0] == 3.5 and colors.same_color(ground.get_color(), "w")
    assert ground.get_linewidth() > learned.get_linewidth()
    assert ground.get_linestyle() == "-" and learned.get_linestyle() == ":"
    assert axes.images[0].norm.vmin == 0 and axes.images[0].norm.vmax == 1


def test_nothing_learned_has_no_line():
    figure = depth.hops_by_loops([panel(learned=None)], **WORDS)
    assert len(figure.axes[0].lines) == 2


@pytest.mark.parametrize(("count", "columns"), [(3, 3), (4, 2), (5, 3)])
def test_panels_take_rows_of_three_and_four_of_them_a_square(count, columns):
    figure = depth.hops_by_loops([panel()] * count, **WORDS)
    drawn = [axes for axes in figure.axes if axes.images]
    tops = [round(axes.get_position().y1, 6) for axes in drawn]
    assert len(set(tops[:columns])) == 1
    assert all(top < tops[0] for top in tops[columns:])
    labelled = [bool(axes.get_ylabel()) for axes in drawn]
    assert labelled == [k % columns == 0 for k in range(count)]


def test_steps_rise_when_hops_are_learned_and_go_on_to_the_end_of_the_run():
    run = fake_depth.make(passed={2: 500, 3: 900}, loops=2)
    figure = depth.updates_to_hops({"R = 2": [curriculum.progress(run)]}, **WORDS)
    steps, _, end = figure.axes[0].lines
    assert steps.get_drawstyle() == "steps-post"
    # Nobody knows whether one hop was learned before two were.
    assert list(steps.get_xdata()) == [500, 900, fake_depth.BUDGET]
    assert list(steps.get_ydata()) == [2, 3, 3]
    assert (end.get_xdata()[0], end.get_ydata()[0]) == (fake_depth.BUDGET, 3)


def heights(panel):
    return [
        line.get_ydata()[-1]
        for line in panel.lines
        if line.get_drawstyle() == "steps-post"
    ]


def test_groups_have_panels_and_runs_that_learn_alike_lie_beside_each_other():
    alike = [
        curriculum.progress(fake_depth.make(passed={2: 500, 3: 900}, loops=loops))
        for loops in (2, 5, 8)
    ]
    figure = depth.updates_to_hops(
        {"R = 2": alike, "R drawn from 2": alike[:1]}, **WORDS
    )
    one, other = figure.axes[:2]
    assert (one.get_title(), other.get_title()) == (
        "R = 2 (n = 3)",
        "R drawn from 2 (n = 1)",
    )
    first, second, third = heights(one)
    assert first - second == second - third == pytest.approx(0.1)
    assert second == 3 and heights(other) == [3]
    shades = [panel.lines[0].get_color() for panel in (one, other)]
    assert shades == [palette.of_loops(2).color, palette.DRAWN_LOOPS.color]
    told = depth.found_learned({"R = 2": alike})
    assert told == "Hops learned, R = 2: 3"


def test_a_run_that_passed_no_stage_stands_at_none():
    members = [
        curriculum.progress(fake_depth.make(passed=passed, loops=2, seed=seed))
        for seed, passed in enumerate([{2: 500, 3: 900}, {}])
    ]
    figure = depth.updates_to_hops({"R = 2": members}, **WORDS)
    assert heights(figure.axes[0]) == pytest.approx([3.05, 0.95])
    figure.draw_without_rendering()
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert "none" in labels and "1" not in labels and "3" in labels


def test_lines_by_loop_are_bold_where_hops_were_learned():
    figure = depth.by_loop([panel()], levels=[2, 5], quantity="mean_margin", **WORDS)
    curves = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 24]
    np.testing.assert_array_equal(curves[0].get_ydata(), 20 + np.arange(1, 25))
    np.testing.assert_array_equal(curves[1].get_ydata(), 50 + np.arange(1, 25))
    assert curves[0].get_linewidth() > 1.5 > curves[1].get_linewidth()
    dashed = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in dashed] == [2.0]
    assert colors.same_color(dashed[0].get_color(), curves[0].get_color())
    assert any(
        text.startswith("First hit: the first loop at which a row is right, mean")
        for text in texts(figure)
    )
    assert not any("trained" in text for text in texts(figure))


def test_titles_are_of_all_runs_whose_median_is_drawn():
    margins = lambda last: fake_depth.measured(
        lambda k, r: True, lambda k, r: 2.0 if r == 1 else last
    )
    shown = panel()._replace(found=margins(2.0))
    assert depth.found_kept([shown]).endswith("R = 5: 1.00")
    shown = shown._replace(seeds=(margins(2.0), margins(1.0), margins(1.0)))
    assert depth.found_kept([shown]).endswith("R = 5: 0.50")


def test_hops_that_were_not_trained_are_dotted():
    figure = depth.by_loop(
        [panel(learned=3, stage=4)],
        levels=[2, 4, 5],
        quantity="mean_margin",
        **WORDS,
    )
    curves = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 24]
    assert [line.is_dashed() for line in curves] == [False, False, True]
    widths = [line.get_linewidth() for line in curves]
    assert widths[0] > max(widths[1:])
    assert any("Dotted: hops that were not trained." in text for text in texts(figure))


def test_the_axis_of_loops_shows_the_first_ones_within_the_frame():
    figure = depth.by_loop([panel()], levels=[2], quantity="mean_margin", **WORDS)
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    assert low < 1 and high > 24
    assert list(axes.get_xticks()) == [1, 5, 10, 15, 20]


def test_ratios_have_a_dot_per_run_and_a_line_of_medians():
    figure = depth.ratios({"R = 5": {2: [1.0, 1.0, 2.5], 4: [1.25]}}, **WORDS)
    assert legend(figure) == ["R = 5 (n = 1 to 3)"]
    assert figure.axes[0].get_ylim()[1] > 2.5
    medians, *dots = figure.axes[0].lines[1:]
    assert list(medians.get_ydata()) == [1.0, 1.25]
    assert [list(line.get_ydata()) for line in dots] == [[1.0, 1.0, 2.5], [1.25]]


def test_ratios_of_equal_groups_are_seen_and_are_1():
    groups = {"R = 2": {2: [1.0, 1.0]}, "R = 5": {2: [1.0, 1.0]}}
    figure = depth.ratios(groups, **WORDS)
    (axes,) = figure.axes
    dots = [line for line in axes.lines[1:] if len(line.get_xdata()) == 2]
    one, other = (line.get_xdata()[0] for line in dots)
    assert abs(one - other) == pytest.approx(0.1) and (one + other) / 2 == 2
    assert legend(figure) == ["R = 2 (n = 2)", "R = 5 (n = 2)"]
    assert axes.get_ylim() == (0.75, 1.5)


def test_curves_by_cost_and_who_is_best():
    low = Curve(np.array([0.0, 1e9]), np.array([0.1, 0.2]))
    high = Curve(np.array([0.0, 2e9]), np.array([0.1, 0.7]))
    curves = {"R = 2": [low], "R = 5": [high]}
    best = [Budget(1e9, "R = 2", {}, 1), Budget(2e9, "R = 5", {}, 1)]
    figure = depth.accuracy_by_compute(curves, best, **WORDS)
    drawn = figure.axes[0].lines
    assert list(drawn[1].get_ydata()) == [0.1, 0.7]
    assert [line.get_xdata()[0] for line in drawn[2:]] == [1e9, 2e9]
    assert [line.get_color() for line in drawn[2:]] == [
        palette.of_loops(count).color for count in (2, 5)
    ]
    # The marks that the legend shows.
    handles = figure.legends[0].legend_handles
    for curve, handle in zip(drawn, handles, strict=False):
        assert curve.get_marker() == handle.get_marker() != "None"
        assert curve.get_linestyle() == handle.get_linestyle()
    assert drawn[0].get_linestyle() != drawn[1].get_linestyle()


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
