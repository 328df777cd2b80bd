"""What is drawn is what was given: every run, the law, the snapshots."""

import numpy as np
import pytest

from experiments.modular_addition import drawing as modular
from rdt_jax.analysis import fourier
from rdt_jax.analysis.laws import PowerLaw
from tests.experiments.verdicts import texts

INF = np.inf
TIMES = {
    "memorized": {0.5: np.array([40.0, 50]), 1.0: np.array([40.0, 60])},
    "id_generalized": {0.5: np.array([800.0, INF, INF]), 1.0: np.array([300.0, 500])},
}
LAW = PowerLaw(1.0, 0.8, 1.2, 400.0, 5, 2)


def draw(times=TIMES, laws=None, is_log=True):
    return modular.times_by_value(
        times,
        budget=900,
        title="Updates by weight decay",
        notes=("R = 1.",),
        label="weight decay",
        is_log=is_log,
        laws=laws or {},
    )


def dots(figure, marker):
    return sorted(
        float(y)
        for line in figure.axes[0].lines
        if line.get_marker() == marker
        for y in line.get_ydata()
    )


@pytest.mark.parametrize("is_log", [True, False])
def test_every_run_is_a_dot_or_a_triangle_beyond_the_budget(is_log):
    figure = draw(is_log=is_log)
    (panel,) = figure.axes
    assert dots(figure, "o") == [40, 40, 50, 60, 300, 500, 800]
    late, same = dots(figure, "^")
    assert 900 < late == same < panel.get_ylim()[1]
    (count, budget) = (text for text in panel.texts)
    assert (count.get_text(), count.xy[1]) == ("2", late)
    assert (budget.get_text(), budget.xy[1]) == ("budget\n900", 900)
    assert max(panel.get_yticks()) <= 900
    # A median that is censored has no bar.
    assert dots(figure, "_") == [45, 50, 400]
    assert figure.axes[0].get_xscale() == ("log" if is_log else "linear")


def test_a_law_is_a_line_through_its_scale():
    (line,) = [
        line
        for line in draw(laws={"id_generalized": LAW}).axes[0].lines
        if line.get_linestyle() == "--"
    ]
    x, y = line.get_data()
    np.testing.assert_allclose(x * y, 400)
    assert (x[0], x[-1]) == pytest.approx((0.5, 1.0))
    unknown = LAW._replace(scale=np.nan)
    drawn = draw(laws={"id_generalized": unknown}).axes[0].lines
    assert not [line for line in drawn if line.get_linestyle() == "--"]


def test_a_law_ends_at_the_budget_and_the_figure_says_so():
    note = "The power law is drawn up to the budget."
    assert note not in texts(draw(laws={"id_generalized": LAW}))
    figure = draw(laws={"id_generalized": LAW._replace(scale=600.0)})
    (line,) = [each for each in figure.axes[0].lines if each.get_linestyle() == "--"]
    x, y = line.get_data()
    assert y[0] == pytest.approx(900, rel=0.01) and y.max() <= 900
    assert x[-1] == pytest.approx(1.0)
    assert note in texts(figure)


def test_there_must_be_a_time():
    with pytest.raises(ValueError, match="At least one value with times"):
        draw({"memorized": {}})


def progress(keys=2, steps=(0, 10, 100, 1000)):
    """Returns measures in which every number is another one."""
    count, groups, waves = len(steps), len(fourier.GROUPS), 5
    rng = np.random.default_rng(0)
    make = lambda *shape: rng.uniform(1, 9, shape)
    return fourier.Progress(
        step=np.array(steps),
        is_key=np.arange(waves) < keys,
        share=make(count, 2, waves),
        embedding_share=make(count, waves),
        gini=make(count, 2),
        embedding_gini=make(count),
        loss=make(count, 2, groups),
        restricted_loss=make(count, 2, groups),
        excluded_loss=make(count, 2, groups),
        excluded_by_frequency=make(count, 2, waves),
        accuracy=make(count, 2, groups),
        sum_squared_weights=make(count),
    )


def test_all_rows_are_those_after_the_last_loop():
    found = progress()
    run = modular.Followed(
        "R = 2 loops", found, {"memorized": 10, "id_generalized": None}
    )
    figure = modular.progress([run], title="t", notes=("n",), chance=3.4)
    accuracy, loss, per_key, gini, weights = figure.axes
    curve = lambda panel, index: panel.lines[index].get_ydata().tolist()
    is_curve = lambda line: line.get_marker() == "."
    train, id_, *images = map(fourier.GROUPS.index, fourier.GROUPS[1:])
    # Step 0 is not on a logarithmic axis; the first line marks when it memorized.
    expected = {
        accuracy: tuple(found.accuracy[1:, 1, [train, id_, *images]].T),
        loss: (
            found.loss[1:, 1, train],
            found.loss[1:, 1, id_],
            found.restricted_loss[1:, 1, id_],
            found.excluded_loss[1:, 1, train],
        ),
        per_key: tuple(found.excluded_by_frequency[1:, 1, :2].T),
        gini: (found.embedding_gini[1:], found.gini[1:, 1]),
        weights: (found.sum_squared_weights[1:],),
    }
    for panel, values in expected.items():
        drawn = [line.get_ydata() for line in panel.lines if is_curve(line)]
        np.testing.assert_array_equal(drawn, values)
        assert panel.lines[0].get_xdata() == [10, 10]
        assert curve(panel, 1) == values[0].tolist()
    assert loss.get_yscale() == per_key.get_yscale() == "log"
    # Outside of the panel, where no line is crossed.
    (keys,) = per_key.texts
    assert keys.get_text() == "k = 1, 2, a line each"
    assert keys.get_position()[1] > 1 and keys.get_verticalalignment() == "bottom"
    styles = [line.get_linestyle() for line in accuracy.lines if is_curve(line)]
    assert styles == ["-", "-", "--", ":"]
    (note,) = [note for note in texts(figure) if "mirror" in note]
    assert "dashed, those whose mirror image (b, a) is trained; dotted," in note
    labels = texts(figure.legends[0])
    assert labels[-2:] == ["Gini: embedding", "Gini: logits"]


def test_a_run_without_keys_says_so_and_columns_are_runs():
    runs = [
        modular.Followed(f"R = {loops}", progress(keys), {})
        for loops, keys in ((1, 2), (2, 0))
    ]
    figure = modular.progress(runs, title="t", notes=("n",), chance=3.4)
    assert len(figure.axes) == 10
    assert [panel.get_title() for panel in figure.axes[:2]] == ["R = 1", "R = 2"]
    assert texts(figure.axes[5]) == ["no key frequency at the end"]
    for left, right in zip(figure.axes[::2], figure.axes[1::2], strict=True):
        assert left.get_ylim() == right.get_ylim()
    with pytest.raises(ValueError, match="At least one run is followed"):
        modular.progress([], title="t", notes=(), chance=1.0)
