import numpy as np
import pytest

from rdt_jax.figures import comparison
from tests.figures.drawn import legend, texts

INF = np.inf
SOLO = np.array([100.0, 140, 140, 200, 300])
PACKED = np.array([120.0, 140, 160, 180, 320])


def draw(first=SOLO, second=PACKED, budget=900):
    return comparison.paired_times(
        {"solo": np.array(first), "packed": np.array(second)},
        budget=budget,
        title="Runs trained in two ways: modular",
        line="",
        notes=("Paired test: p = 0.5.", "Unpaired test: p = 0.7."),
        event="ID generalized",
    )


def curves(figure):
    """Shares drawn in the left panel: (times, shares) of each group."""
    return [np.array(line.get_data()) for line in figure.axes[0].lines]


def dots(figure, marker):
    """Points of the right panel with a marker, as a list of (solo, packed)."""
    points = [
        point
        for line in figure.axes[1].lines
        if line.get_marker() == marker
        for point in zip(*line.get_data(), strict=True)
    ]
    return sorted((float(x), float(y)) for x, y in points)


def test_curves_rise_by_one_run_at_its_time():
    solo, packed = curves(draw())
    np.testing.assert_allclose(solo[1], [0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    np.testing.assert_array_equal(solo[0][1:-1], SOLO)
    np.testing.assert_array_equal(packed[0][1:-1], PACKED)
    left = draw().axes[0]
    # Where all have arrived, the curve goes on to the edge.
    assert min(solo[0][-1], packed[0][-1]) > left.get_xlim()[1]
    assert [line.get_color() for line in left.lines] == list(comparison.COLORS)
    assert {line.get_drawstyle() for line in left.lines} == {"steps-post"}


def test_a_dot_per_pair_and_equal_times_on_the_diagonal():
    figure = draw()
    assert dots(figure, "o") == list(zip(SOLO, PACKED, strict=True))
    assert dots(figure, ">") == []
    right = figure.axes[1]
    assert right.get_xlim() == right.get_ylim() == figure.axes[0].get_xlim()
    assert legend(figure) == ["solo", "packed", "a pair"]


def beyond(figure, budget):
    """Strips of each panel that lie beyond the budget, (across, up)."""
    found = []
    for panel in figure.axes:
        boxes = [patch.get_extents().transformed(panel.transData.inverted())
                 for patch in panel.patches]  # fmt: skip
        found.append((
            sum(np.isclose(box.x0, budget) for box in boxes),
            sum(np.isclose(box.y0, budget) for box in boxes),
        ))  # fmt: skip
    return found


def test_censored_runs_stay_below_one_and_lie_beyond_the_budget():
    figure = draw([100, 200, INF, INF], [120, INF, 300, INF])
    low, high = figure.axes[0].get_xlim()
    assert low < 100 < 900 < high < 1000
    assert beyond(figure, 900) == [(1, 0), (1, 1)]
    assert max(figure.axes[0].get_xticks()) <= 900
    for times, shares in curves(figure):
        # Constant where the axis ends, at the share that has arrived.
        assert shares[times <= high].max() == pytest.approx(0.5)
        assert times.max() > high
    assert dots(figure, "o") == [(100, 120)]
    # Each points to where the time lies that is not known.
    ((known, late),) = dots(figure, "^")
    assert known == 200 and 900 < late < high
    assert dots(figure, ">") == [(late, 300)]
    assert dots(figure, "D") == [(late, late)]
    assert legend(figure)[3:] == [
        "solo not in budget", "packed not in budget", "neither in budget",
    ]  # fmt: skip


def test_an_arrival_at_the_budget_is_not_covered_by_a_censored_run():
    figure = draw([100, 200, 900], [120, INF, 900])
    assert dots(figure, "o") == [(100, 120), (900, 900)]
    assert dots(figure, "^")[0][1] > 900
    assert legend(figure)[3:] == ["packed not in budget"]


def test_without_censoring_the_budget_is_not_shown():
    assert draw(budget=9e6).axes[1].get_xlim()[1] < 400
    assert beyond(draw(budget=9e6), 9e6) == [(0, 0), (0, 0)]


def test_nobody_arrives_or_all_at_once():
    figure = draw([INF, INF], [INF, INF], budget=500)
    assert len(dots(figure, "D")) == 2
    low, high = draw([50, 50], [50, 50]).axes[0].get_xlim()
    assert low < 50 < high


def test_says_what_is_drawn():
    figure = draw()
    expected = {"Runs trained in two ways: modular", "Paired test: p = 0.5."}
    assert expected <= set(texts(figure))
    left, right = figure.axes
    assert left.get_xlabel() == "updates to ID generalized"
    assert left.get_ylabel() == "share of runs"
    assert (right.get_xlabel(), right.get_ylabel()) == (
        "updates, solo",
        "updates, packed",
    )
    figure.draw_without_rendering()
    labels = [text.get_text() for text in right.get_yticklabels()]
    assert "200" in labels


@pytest.mark.parametrize(
    ("times", "sizes"),
    [
        ({"solo": SOLO}, r"\[5\]"),
        ({"solo": SOLO, "packed": PACKED[:3]}, r"\[5, 3\]"),
        ({"solo": SOLO[:0], "packed": SOLO[:0]}, r"\[0, 0\]"),
        ({"solo": SOLO, "packed": PACKED, "third": SOLO}, r"\[5, 5, 5\]"),
    ],
)
def test_only_two_groups_of_one_size_are_drawn(times, sizes):
    with pytest.raises(
        ValueError, match=f"Two groups of one size .*, got sizes {sizes}"
    ):
        comparison.paired_times(times, budget=9, title="", line="", notes=(), event="")


# Any number of groups.


def test_a_row_of_dots_for_each_group_and_a_bar_at_a_known_median():
    times = {"one": np.array([100.0, 300, 500]), "other": np.array([900.0, INF, INF])}
    options = {"budget": 900, "title": "t", "line": "", "notes": ("n",), "event": "ID"}
    figure = comparison.times_by_group(times, **options)
    (panel,) = figure.axes
    points = {
        marker: sorted(
            (float(x), float(y))
            for line in panel.lines
            if line.get_marker() == marker
            for x, y in zip(*line.get_data(), strict=True)
        )
        for marker in ("o", ">", "|")
    }
    assert points["o"] == [(100, 0), (300, 0), (500, 0), (900, 1)]
    ((at, row), _) = points[">"]
    assert 900 < at < panel.get_xlim()[1] and row == 1
    assert max(panel.get_xticks()) <= 900
    assert beyond(figure, 900) == [(1, 0)]
    assert [(text.get_text(), text.xy) for text in panel.texts] == [
        ("n = 3", (1, 0)), ("2", (at, 1)), ("n = 3", (1, 1)),
    ]  # fmt: skip
    assert legend(figure)[-1] == ("median, 95 % interval (no bar: not within budget)")
    known = comparison.times_by_group({"one": times["one"]}, **options)
    assert legend(known)[-1] == "median, 95 % interval"
    assert points["|"] == [(300, 0)]  # The other's median lies beyond the budget.
    assert panel.get_ylim() == (1.5, -0.5)  # The first group stands above.
    many = {"one": np.arange(100.0, 900, 100)}
    told = {"told": {"one": "p = 0.3"}}
    (panel,) = comparison.times_by_group(many, **options, **told).axes
    (interval,) = panel.collections[0].get_segments()
    assert (interval[0][0], interval[1][0]) == (100, 800)  # of eight, at 95 %
    assert texts(panel) == ["n = 8, p = 0.3"]
    with pytest.raises(ValueError, match="At least one group of times is drawn, got"):
        comparison.times_by_group({}, **options)
